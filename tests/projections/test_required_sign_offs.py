"""Who must still act on a request, who is eligible, and what would settle it?"""

from copy import deepcopy
from typing import Any

from domain.fields import Label
from domain.organization import Appoint, Delegate, EndAppointment
from domain.request import AcceptInformation, ProvideInformation, Recuse, RequestInformation, SignOff
from domain.sign_offs import AllOf, Leaf
from projections.required_sign_offs import organizations_needed, required_sign_offs
from projections.views import views_of
from tests.spec import PEOPLE, Story, appoint, approve, in_review


def answer(story: Story, clearance: Label = Label.INTERAGENCY) -> dict[str, Any]:
    views = views_of(fact for fact in story.facts if fact.stream == "request-nw")
    here = views.full.state
    organizations = {id: story.state(f"organization-{id}") for id in organizations_needed(here)}
    return required_sign_offs(views, organizations, clearance, story.now)


def required(story: Story, agency: str) -> dict[str, Any]:
    return next(each for each in answer(story)["sign_offs"] if each["agency"] == agency)


def eligible(story: Story, agency: str) -> list[str]:
    return [each["person"] for each in required(story, agency)["eligible"]]


def test_at_first_every_officer_of_every_agency_may_sign() -> None:
    found = answer(in_review())
    assert [each["agency"] for each in found["sign_offs"]] == ["oncd", "ostp", "commerce"]
    assert found["waiting_on"] == ["oncd", "ostp", "commerce"]
    oncd = found["sign_offs"][0]
    assert oncd["eligible"] == [
        {"person": "olga", "roles": ["reviewer"], "via": []},
        {"person": "omar", "roles": ["head"], "via": []},
    ]
    assert (oncd["lacks"], oncd["quorum_left"], oncd["settled_by"]) == ("sign_off", 1, "An approval of oncd.")
    assert oncd["due"].isoformat() == "2026-07-27T21:00:00+00:00"
    assert found["sign_offs"][2]["settled_by"] == "An approval of commerce, and a countersignature."


def test_a_countersignature_is_for_seniors_other_than_the_signer() -> None:
    story = in_review().given(SignOff("nw", "commerce", "approve"), by="carl")
    assert eligible(story, "commerce") == ["cleo"]
    found = required(story, "commerce")
    assert (found["lacks"], found["quorum_left"]) == ("countersignature", 0)
    assert found["settled_by"] == "A countersignature, by another, of what carl signed for commerce."


def test_who_signed_for_one_agency_cannot_for_another() -> None:
    story = in_review().given(Appoint("ostp", "olga", "reviewer"))
    assert eligible(story, "ostp") == ["olga", "sam", "sue"]
    assert eligible(story.given(SignOff("nw", "oncd", "approve"), by="olga"), "ostp") == ["sam", "sue"]


def test_the_recused_the_applicants_people_and_those_out_of_office_cannot() -> None:
    story = appoint(in_review(), "oncd", "reviewer", "nina", "otto", "oren")
    appoint(story, "northwind", "applicant", "otto").given(EndAppointment("oncd", "oren", "reviewer"))
    assert eligible(story, "oncd") == ["olga", "omar"]
    assert eligible(story.given(Recuse("nw", "olga"), by="omar"), "oncd") == ["omar"]


def test_a_quorum_asks_for_distinct_people() -> None:
    story = in_review(AllOf((Leaf("oncd", quorum=2), Leaf("ostp"))))
    assert required(story, "oncd")["settled_by"] == "Approvals by 2 further officers of oncd."
    story.given(SignOff("nw", "oncd", "approve"), by="olga")
    assert (required(story, "oncd")["quorum_left"], eligible(story, "oncd")) == (1, ["omar"])


def test_an_open_question_waits_for_the_applicant_and_then_for_its_acceptance() -> None:
    story = in_review().at("2026-07-01T15:00:00Z").given(RequestInformation("nw", "oncd", "Why?"), by="olga")
    found = required(story, "oncd")
    assert (found["lacks"], found["eligible"]) == ("information", [])
    assert found["settled_by"] == "The applicant's answer to question 1, and its acceptance by oncd."
    assert answer(story)["waiting_on"] == ["applicant"]
    story.at("2026-07-02T15:00:00Z").given(ProvideInformation("nw", 1, "So."), by="nina")
    assert eligible(story, "oncd") == ["olga", "omar"]
    assert required(story, "oncd")["settled_by"] == "The acceptance by oncd of the answer to question 1."
    assert required(story.given(AcceptInformation("nw", 1), by="olga"), "oncd")["lacks"] == "sign_off"


def test_whoever_was_lent_the_power_may_use_it_unless_its_lender_may_not() -> None:
    story = in_review().given(Delegate("oncd", "tess", ("SignOff",)), by="omar")
    assert required(story, "oncd")["eligible"][2] == {"person": "tess", "roles": ["head"], "via": ["omar"]}
    assert eligible(story.given(Recuse("nw", "omar"), by="sue"), "oncd") == ["olga"]


def test_those_named_eligible_and_no_others_may_in_fact_sign() -> None:
    story = in_review().given(SignOff("nw", "oncd", "approve"), by="olga").given(Recuse("nw", "cleo"), by="omar")
    appoint(story, "ostp", "reviewer", "olga", "nina", "cleo")
    for agency in ("ostp", "commerce"):
        allowed = [
            person
            for person in sorted({*PEOPLE, "root"})
            if deepcopy(story).when(SignOff("nw", agency, "approve"), by=person).refusal is None
        ]
        assert eligible(story, agency) == allowed
        assert len(allowed) == 2


def test_nothing_is_required_of_a_decided_request() -> None:
    found = answer(approve(in_review(), "nw", "g"))
    assert (found["state"], found["sign_offs"], found["waiting_on"]) == ("approved", [], [])


def test_an_applicant_learns_whom_it_waits_for_and_by_when_and_no_more() -> None:
    found = answer(in_review().given(SignOff("nw", "oncd", "approve"), by="olga"), Label.APPLICANT)
    assert found["waiting_on"] == ["agencies"]
    assert found["due"].isoformat() == "2026-07-27T21:00:00+00:00"
    assert set(found) == {"waiting_on", "due"}
