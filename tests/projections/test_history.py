"""Is every event told in plain words, to each reader as far as they may know?"""

from typing import Any

import pytest

from domain import rulebook
from domain.fields import Label
from domain.grant import SuspendGrant
from domain.request import Countersign, Recuse, SignOff
from domain.sign_offs import ProposedCondition
from projections.history import ACTS, HAPPENINGS, entry, history
from tests.projections.shelf import a_full_story, as_
from tests.spec import Story, granted, in_review


def told(story: Story, stream: str, person: str, clearance: Label = Label.INTERAGENCY) -> list[dict[str, Any]]:
    facts = [fact for fact in story.facts if fact.stream == stream]
    return history(facts, as_(person), clearance)


def test_every_event_has_its_words() -> None:
    assert set(ACTS) | set(HAPPENINGS) == set(rulebook.EVENTS.values())
    assert not set(ACTS) & set(HAPPENINGS)


@pytest.mark.parametrize("clearance", list(Label))
def test_every_event_of_a_long_story_makes_a_sentence_for_every_reader(clearance: Label) -> None:
    for fact in a_full_story().facts:
        found = entry(fact, clearance)
        if found is not None:
            assert found["text"][0].isupper() or found["text"][0].isdigit()
            assert found["text"].endswith(".")
            assert "None" not in found["text"]
            assert "  " not in found["text"]


def test_a_sign_off_is_told_with_person_role_organization_and_conditions() -> None:
    condition = ProposedCondition("Report misuse within 24 hours")
    story = in_review().given(SignOff("nw", "commerce", "approve_with_conditions", (condition,)), by="cora")
    found = told(story, "request-nw", "olga")[-1]
    assert found["text"] == (
        "Cora (reviewer, commerce) approved revision 1 for commerce with 1 condition: Report misuse within 24 hours."
    )
    assert (found["person"], found["organization"], found["role"], found["via"]) == ("cora", "commerce", "reviewer", ())
    assert (found["type"], found["position"]) == ("AgencySignedOff", story.facts[-1].position)


def test_what_follows_from_an_act_names_its_cause() -> None:
    story = granted()
    approved = told(story, "request-nw", "olga")[-1]
    assert approved["text"] == "The request was approved; grant g was issued."
    assert story.facts[approved["cause"]].type == "SignOffCountersigned"


def test_what_time_alone_did_is_nobodys_act() -> None:
    story = in_review().when_time_passes("2026-09-01T00:00:00Z").story
    missed = told(story, "request-nw", "olga")[-1]
    assert missed["text"].endswith("did not sign off by 27 July 2026, 21:00 UTC.")
    assert (missed["person"], missed["role"]) == ("system", "system")


def test_an_applicant_reads_no_deliberation_and_no_officers_name() -> None:
    story = in_review().given(SignOff("nw", "oncd", "approve", reason="Sound"), by="olga")
    story.given(SignOff("nw", "ostp", "approve"), by="sam").given(Recuse("nw", "sue"), by="omar")
    story.given(SignOff("nw", "commerce", "approve"), by="cora").given(
        Countersign("nw", "commerce"), by="carl", ids=["g"]
    )
    found = told(story, "request-nw", "nina", Label.APPLICANT)
    assert [each["type"] for each in found] == ["RequestSubmitted", "RequestRegistered", "RequestApproved"] or [
        each["type"] for each in found
    ] == ["RequestDrafted", "RequestSubmitted", "RequestRegistered", "RequestApproved"]
    assert found[0]["person"] == "nina"
    for name in ("olga", "sam", "cora", "carl", "rita", "Sound"):
        assert name not in str(found)
    registered = next(each for each in found if each["type"] == "RequestRegistered")
    assert (registered["organization"], registered["person"], "dues" in registered["data"]) == ("assent", None, False)
    assert (found[-1]["organization"], found[-1]["person"]) == (None, None)


def test_a_suspension_names_the_organization_to_the_customer_but_not_the_officer_or_finding() -> None:
    story = granted().given(SuspendGrant("g", "Report is late", "Internal finding"), by="cora")
    found = told(story, "grant-g", "nina", Label.APPLICANT)[-1]
    assert found["text"] == "Commerce suspended the grant: Report is late."
    assert found["data"] == {"reason": "Report is late", "review_by": None}


def test_a_note_is_for_the_acting_agencys_own_officers_and_auditors() -> None:
    story = in_review().given(SignOff("nw", "commerce", "approve", note="Weak case"), by="cora")
    assert "note" not in told(story, "request-nw", "olga")[-1]["data"]
    assert told(story, "request-nw", "carl")[-1]["data"]["note"] == "Weak case"
    assert told(story, "request-nw", "ada", Label.AUDITOR)[-1]["data"]["note"] == "Weak case"


def test_sealed_texts_stay_out_of_the_sentences() -> None:
    story = in_review()
    assert not any("Fraud analysis" in each["text"] for each in told(story, "request-nw", "nina"))
    assert any(each["data"].get("use") == "Fraud analysis" for each in told(story, "request-nw", "nina"))
