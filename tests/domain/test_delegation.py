"""Delegation: an officer lets another person use some of their powers."""

import pytest

from domain.errors import Malformed, NotAuthorised, NotDelegable, NotDelegated, NotFound, SeparationOfDuties, TwoPeople
from domain.grant import (
    ConcurConditionChange,
    DecideAppeal,
    FileAppeal,
    NotifyIntentToRevoke,
    ProposeConditionChange,
    ReinstateGrant,
    RevokeGrant,
    SuspendGrant,
)
from domain.organization import (
    Appoint,
    Delegate,
    DelegationEnded,
    EndAppointment,
    EndDelegation,
    PowersDelegated,
)
from domain.request import AgencySignedOff, Countersign, Recuse, RequestInformation, SignOff
from domain.sign_offs import AllOf, Leaf, ProposedCondition
from tests.spec import COMMERCE, ONCD, OSTP, Story, in_review, instant

TWO = AllOf((ONCD, OSTP))


def delegated(*powers: str, story: Story | None = None, **given: object) -> Story:
    """Omar, head at oncd, lets dora use these powers."""
    story = story or in_review(TWO)
    return story.given(Delegate("oncd", "dora", powers, **given), by="omar")  # type: ignore[arg-type]


def test_a_head_lets_another_person_use_powers() -> None:
    story = in_review(TWO)
    story.when(Delegate("oncd", "dora", ("SignOff",), until=instant("2026-08-01")), by="omar").then(
        PowersDelegated(1, "omar", "dora", ("SignOff",), story.now, instant("2026-08-01"))
    )


def test_i6_what_is_done_by_delegation_records_the_chain() -> None:
    story = delegated("SignOff")
    story.when(SignOff("nw", "oncd", "approve"), by="dora").then(AgencySignedOff("oncd", 1, "approve"))
    by = story.facts[-1].by
    assert (by.person, by.organization, by.role, by.via) == ("dora", "oncd", "head", ("omar",))


def test_i6_a_delegation_counts_for_its_powers_only() -> None:
    delegated("SignOff").when(RequestInformation("nw", "oncd", "Why?"), by="dora").refused(
        NotAuthorised, *(f"an appointment as {role}" for role in ("countersigner", "head", "reviewer"))
    )


def test_i6_a_delegation_counts_while_it_is_in_force() -> None:
    story = delegated("SignOff", from_=instant("2026-06-28"), until=instant("2026-06-29"))
    story.when(SignOff("nw", "oncd", "approve"), by="dora").refused(NotFound)
    story.at("2026-06-29").when(SignOff("nw", "oncd", "approve"), by="dora").refused(NotFound)


def test_i6_a_delegation_is_not_wider_than_the_delegators_power_today() -> None:
    story = delegated("SignOff").given(EndAppointment("oncd", "omar", "head"))
    story.when(SignOff("nw", "oncd", "approve"), by="dora").refused(NotFound)


def test_a_delegation_is_ended_before_its_time() -> None:
    story = delegated("SignOff")
    story.when(EndDelegation("oncd", 1), by="omar").then(DelegationEnded(1))
    story.when(SignOff("nw", "oncd", "approve"), by="dora").refused(NotFound)
    story.when(EndDelegation("oncd", 1), by="omar").refused(NotDelegated, "a delegation in force")
    story.when(EndDelegation("oncd", 2), by="omar").refused(NotFound)


@pytest.mark.parametrize("power", ["IssueDirective", "Delegate", "Appoint", "Decide", "Nonsense"])
def test_directives_appointments_and_delegations_are_not_delegated(power: str) -> None:
    in_review(TWO).when(Delegate("oncd", "dora", (power,)), by="omar").refused(NotDelegable)


def test_nobody_delegates_to_themselves_or_backwards_in_time() -> None:
    story = in_review(TWO)
    story.when(Delegate("oncd", "omar", ("SignOff",)), by="omar").refused(NotDelegable, "another person")
    story.when(Delegate("oncd", "dora", ("SignOff",), until=story.now), by="omar").refused(
        Malformed, "an `until` after `from`"
    )


def test_i4_nobody_does_by_delegation_what_they_may_not_do_themselves() -> None:
    story = delegated("SignOff").given(Delegate("oncd", "nina", ("SignOff",)), by="omar")
    story.when(SignOff("nw", "oncd", "approve"), by="nina").refused(SeparationOfDuties, "another officer")


def test_i4_a_delegated_power_counts_once() -> None:
    story = delegated("SignOff", story=in_review(Leaf("oncd", quorum=2)))
    story.given(SignOff("nw", "oncd", "approve"), by="dora")
    story.when(SignOff("nw", "oncd", "approve"), by="omar").refused(SeparationOfDuties, "another officer")


def test_i4_nobody_countersigns_by_delegation_what_the_delegator_signed() -> None:
    story = in_review(COMMERCE).given(Delegate("commerce", "dora", ("Countersign",)), by="cleo")
    story.given(SignOff("nw", "commerce", "approve"), by="cleo")
    story.when(Countersign("nw", "commerce"), by="dora").refused(SeparationOfDuties, "another countersigner")


def test_i5_nobody_acts_for_a_recused_person() -> None:
    story = delegated("SignOff").given(Recuse("nw", "omar"), by="rita")
    story.when(SignOff("nw", "oncd", "approve"), by="dora").refused(NotAuthorised)


def test_i4_and_i16_a_power_that_acted_first_does_not_act_second() -> None:
    powers = ("SuspendGrant", "ReinstateGrant", "NotifyIntentToRevoke", "ProposeConditionChange")
    condition = ProposedCondition("Report misuse")
    story = in_review(ONCD).given(SignOff("nw", "oncd", "approve_with_conditions", (condition,)), by="olga", ids=["g"])
    story.given(Delegate("oncd", "dora", powers), by="omar")
    story.given(ProposeConditionChange("g", 1, "Report at once"), by="dora")
    story.when(ConcurConditionChange("g", 1, 1), by="omar").refused(SeparationOfDuties, "another officer")
    story.given(SuspendGrant("g", "Inspection"), by="omar")
    story.given(NotifyIntentToRevoke("g", "Misuse", instant("2026-08-01")), by="omar")
    story.given(ReinstateGrant("g"), by="dora")
    story.when(ReinstateGrant("g"), by="omar").refused(TwoPeople, "a second person")


def test_i4_nobody_decides_an_appeal_against_what_was_done_with_their_power() -> None:
    story = in_review(ONCD).given(SignOff("nw", "oncd", "approve"), by="olga", ids=["g"])
    story.given(Delegate("oncd", "dora", ("RevokeGrant",)), by="omar").given(Appoint("assent", "omar", "decider"))
    story.given(RevokeGrant("g", "Misuse", "Breach"), by="dora").given(FileAppeal("g", "It was not us"), by="nina")
    story.when(DecideAppeal("g", 1, "uphold", "It was"), by="omar").refused(SeparationOfDuties, "somebody uninvolved")


def test_i4_a_power_that_was_delegated_twice_still_counts_once() -> None:
    story = in_review(TWO)
    for person in ("dora", "dave"):
        story.given(Delegate("oncd", person, ("SignOff",), until=instant("2026-09-01")), by="omar")
    story.given(SignOff("nw", "oncd", "approve"), by="dora")
    for person in ("dave", "omar"):
        story.when(SignOff("nw", "oncd", "approve"), by=person).refused(SeparationOfDuties, "another officer")
