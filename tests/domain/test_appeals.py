"""Appeals: somebody uninvolved looks again at a denial or a revocation; what was decided stays as it was (I1)."""

from unittest.mock import ANY

import pytest

from domain import grant, request
from domain.appeals import AppealDecided, AppealFiled
from domain.calendar import AmendCalendar
from domain.errors import (
    AppealIsDecided,
    AppealIsOpen,
    CustomerCapReached,
    NotFound,
    NothingToAppeal,
    SeparationOfDuties,
    TooLateToAppeal,
)
from domain.facts import By
from domain.grant import ConcurConditionChange, ConditionSet, GrantIssued, ProposeConditionChange, RevokeGrant
from domain.organization import Appoint
from domain.policy import Clocks, PublishPolicy
from domain.release import CustomerAdmitted, Phase
from domain.request import AgencySignedOff, DueDateMoved, RequestApproved, RequestDenied, SignOff
from domain.sign_offs import AllOf, ProposedCondition
from tests.spec import ONCD, OSTP, Story, application, days, granted, in_review, instant

APPEALABLE = Clocks(30, "calendar", 10, appeal_days=20)


def refused_by_ostp() -> Story:
    """Northwind's request was denied on 1 July because ostp refused."""
    story = in_review(AllOf((ONCD, OSTP)), clocks=APPEALABLE).at("2026-07-01T15:00:00Z")
    story.given(SignOff("nw", "oncd", "approve"), by="olga")
    return story.given(SignOff("nw", "ostp", "refuse", reason="Too risky"), by="sam")


def appealed() -> Story:
    return refused_by_ostp().given(request.FileAppeal("nw", "They misread it"), by="nina")


def test_i1_an_appeal_opens_a_new_cycle() -> None:
    story = refused_by_ostp()
    story.when(request.FileAppeal("nw", "They misread it"), by="nina").then(AppealFiled(1, "They misread it"))
    here = story.state("request-nw")
    assert (here.state, here.cycle, here.outcome) == ("awaiting_decision", 2, "denied")


def test_an_appeal_is_made_against_a_denial() -> None:
    in_review().when(request.FileAppeal("nw", "Faster"), by="nina").refused(NothingToAppeal, "a denial")
    granted().when(grant.FileAppeal("g", "More"), by="nina").refused(NothingToAppeal, "a revocation")


def test_an_appeal_is_filed_in_time_and_one_at_a_time() -> None:
    refused_by_ostp().at("2026-07-21T21:00:00Z").when(request.FileAppeal("nw", "x"), by="nina").then(ANY)
    refused_by_ostp().at("2026-07-21T21:00:01Z").when(request.FileAppeal("nw", "x"), by="nina").refused(TooLateToAppeal)
    appealed().when(request.FileAppeal("nw", "Again"), by="nina").refused(AppealIsOpen, "its decision")


def test_upheld_the_denial_stands_for_good() -> None:
    story = appealed()
    story.when(request.DecideAppeal("nw", 1, "uphold", "Rightly denied"), by="dean").then(
        AppealDecided(1, "uphold", "Rightly denied")
    )
    assert story.state("request-nw").state == "denied"
    story.when(request.FileAppeal("nw", "Again"), by="nina").refused(AppealIsDecided, "another decision")
    story.when(request.DecideAppeal("nw", 1, "reverse", "No"), by="dean").refused(AppealIsDecided, "an open appeal")
    story.when(request.DecideAppeal("nw", 2, "reverse", "No"), by="dean").refused(NotFound)


def test_i2_a_reversal_names_the_overruled_agency_and_approves() -> None:
    story = appealed()
    story.when(request.DecideAppeal("nw", 1, "reverse", "Wrongly denied"), by="dean", ids=["g"]).then(
        AppealDecided(1, "reverse", "Wrongly denied", ("ostp",)),
        RequestApproved("g", ""),
        ANY,
        CustomerAdmitted("northwind", "g"),
    )
    assert [type(event) for event in story.events("request-nw")].count(RequestDenied) == 1


def test_i17_a_reversal_respects_the_cap() -> None:
    phases = (Phase("announced", "closed"), Phase("limited_preview", "granted", customer_cap=1))
    story = in_review(AllOf((ONCD, OSTP)), phases=phases).at("2026-07-01T15:00:00Z")
    story.given(SignOff("nw", "ostp", "refuse"), by="sam").given(request.FileAppeal("nw", "x"), by="nina")
    story.happened("release-gpt-5.6", CustomerAdmitted("tinker", "other"))
    story.when(request.DecideAppeal("nw", 1, "reverse", "Yes"), by="dean").refused(CustomerCapReached, "a free place")


def test_a_remand_begins_the_review_anew() -> None:
    story = appealed().at("2026-07-10T15:00:00Z")
    story.when(request.DecideAppeal("nw", 1, "remand", "Look again"), by="dean").then(
        AppealDecided(1, "remand", "Look again"),
        DueDateMoved(instant("2026-08-10T21:00:00Z"), ANY, "The appeal was sent back for a new review."),
    )
    assert story.state("request-nw").state == "in_review"
    story.when(SignOff("nw", "oncd", "approve"), by="olga").then(AgencySignedOff("oncd", 1, "approve"))
    story.when(SignOff("nw", "ostp", "refuse"), by="sam").then(ANY, ANY)
    story.when(request.FileAppeal("nw", "Again"), by="nina").then(AppealFiled(2, "Again"))


@pytest.mark.parametrize("person", ["olga", "sam"])
def test_i4_nobody_decides_an_appeal_against_their_own_act(person: str) -> None:
    story = appealed().given(Appoint("assent", person, "decider"))
    story.when(request.DecideAppeal("nw", 1, "uphold", "Right"), by=person).refused(
        SeparationOfDuties, "somebody uninvolved"
    )


def revoked(bar: bool = False) -> Story:
    return granted().at("2026-07-10T15:00:00Z").given(RevokeGrant("g", "Misuse", "Breach", bar), by="omar")


def test_i12_a_reversed_revocation_issues_a_new_grant_that_names_the_old_one() -> None:
    story = revoked(bar=True).given(grant.FileAppeal("g", "It was not us"), by="nina")
    story.when(grant.DecideAppeal("g", 1, "reverse", "It was not them"), by="dean", ids=["g2"]).then(
        AppealDecided(1, "reverse", "It was not them"), ANY, CustomerAdmitted("northwind", "g2")
    )
    issued = story.events("grant-g2")[0]
    assert isinstance(issued, GrantIssued) and issued.supersedes == "g"
    assert issued.until == story.state("grant-g").until
    assert (story.state("grant-g").state, story.state("grant-g").barred) == ("revoked", False)
    assert story.state("grant-g2").state == "active"


def test_an_upheld_revocation_stands() -> None:
    story = revoked(bar=True).given(grant.FileAppeal("g", "It was not us"), by="nina")
    story.when(grant.DecideAppeal("g", 1, "uphold", "It was"), by="dean").then(AppealDecided(1, "uphold", "It was"))
    assert story.state("grant-g").barred


def test_i4_whoever_revoked_does_not_decide_the_appeal() -> None:
    story = revoked().given(grant.FileAppeal("g", "It was not us"), by="nina")
    story.given(Appoint("assent", "omar", "decider"))
    story.when(grant.DecideAppeal("g", 1, "uphold", "It was"), by="omar").refused(
        SeparationOfDuties, "somebody uninvolved"
    )


def conditioned() -> Story:
    """Northwind's grant with three conditions of ONCD, the first of which was dropped again."""
    story = in_review(ONCD, clocks=APPEALABLE, ask=application(user_classes=("us_person",), affiliates=()))
    words = ("Audit", "precondition", 10), ("Report", "ongoing", None), ("Train", "ongoing", 30)
    conditions = tuple(ProposedCondition(*word) for word in words)
    story.given(SignOff("nw", "oncd", "approve_with_conditions", conditions), by="olga", ids=["g"])
    story.given(ProposeConditionChange("g", 1, drop=True), by="nina")
    return story.given(ConcurConditionChange("g", 1, 1), by="olga")


def test_a_reversed_revocation_issues_the_grant_as_it_was_without_what_was_dropped() -> None:
    story = conditioned()
    before = story.state("grant-g")
    story.given(RevokeGrant("g", "Misuse", "Breach"), by="omar").given(grant.FileAppeal("g", "Not us"), by="nina")
    story.given(grant.DecideAppeal("g", 1, "reverse", "Not them"), by="dean", ids=["g2"])
    assert story.events("grant-g2") == [
        GrantIssued(
            *("nw", "northwind", "gpt-5.6", "openai", "frontier-preview", 1, ("oncd",)),
            *(("standard",), ("us_person",), ()),
            (ConditionSet(1, "oncd", "Report", "ongoing"), ConditionSet(2, "oncd", "Train", "ongoing", ANY)),
            before.until,
            "g",
        )
    ]
    assert story.state("grant-g2").conditions[1].due == before.conditions[2].due
    assert story.state("release-gpt-5.6").admitted == {"northwind": ("g2",)}


def test_an_appeal_against_a_revocation_is_filed_in_time() -> None:
    revocation = RevokeGrant("g", "Misuse", "Breach")
    ended = conditioned().at("2026-07-01T15:00:00Z").given(revocation, by="omar")
    ended.at("2026-07-21T21:00:00Z").when(grant.FileAppeal("g", "Not us"), by="nina").then(AppealFiled(1, "Not us"))
    ended = conditioned().at("2026-07-01T15:00:00Z").given(revocation, by="omar")
    ended.at("2026-07-21T21:00:01Z").when(grant.FileAppeal("g", "Not us"), by="nina").refused(TooLateToAppeal)


def test_who_revoked_is_unknown_to_whoever_sees_no_names_and_everybody_is_uninvolved() -> None:
    story = conditioned().happened("grant-g", grant.GrantRevoked("Misuse"), by=By("", "oncd", ""))
    story.given(grant.FileAppeal("g", "Not us"), by="nina")
    story.when(grant.DecideAppeal("g", 1, "uphold", "Right"), by="dean").then(AppealDecided(1, "uphold", "Right"))


def test_an_appeal_is_due_by_the_version_that_the_grant_is_pinned_to_and_its_closures() -> None:
    story = conditioned().given(AmendCalendar("us-federal", days("2026-07-21", "2026-07-22"), "Flood"))
    story.given(PublishPolicy("frontier-preview", "Order 2", ONCD, clocks=Clocks(30, "calendar", 10, appeal_days=2)))
    story.at("2026-07-01T15:00:00Z").given(RevokeGrant("g", "Misuse", "Breach"), by="omar")
    story.at("2026-07-23T21:00:00Z").when(grant.FileAppeal("g", "Not us"), by="nina").then(AppealFiled(1, "Not us"))


def test_a_remand_moves_the_due_dates_of_the_request_itself() -> None:
    story = appealed().at("2026-07-10T15:00:00Z")
    story.given(request.DecideAppeal("nw", 1, "remand", "Look again"), by="dean")
    here = story.state("request-nw")
    assert here.dues == {"oncd": here.due, "ostp": here.due}
    assert here.due == instant("2026-08-10T21:00:00Z")
