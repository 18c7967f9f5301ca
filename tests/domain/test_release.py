"""Through which phases does a release go, and what stops it?"""

from dataclasses import replace
from typing import Any

import pytest

from domain import rulebook
from domain.errors import (
    AlreadyExists,
    AlreadyHeld,
    AlreadySigned,
    CustomerCapReached,
    GateNotSatisfied,
    HeldByAnother,
    IncidentIsClosed,
    IncidentOpen,
    Malformed,
    NamesUnknown,
    NotAuthorised,
    NotFound,
    NotHeld,
    NothingToCountersign,
    NotTheNextPhase,
    NotTheOpener,
    ReleaseHeld,
    ReleaseWithdrawnAlready,
    SeparationOfDuties,
    TooSoon,
)
from domain.facts import By
from domain.grant import RevokeGrant, SurrenderGrant
from domain.organization import Appoint
from domain.policy import PublishPolicy
from domain.release import (
    AdvancePhase,
    AnnounceRelease,
    CloseIncident,
    CountersignPhase,
    CustomerAdmitted,
    CustomerLeft,
    HoldRollout,
    IncidentClosed,
    IncidentOpened,
    OpenIncident,
    Phase,
    PhaseAdvanced,
    PhaseCountersignRefused,
    PhaseRolledBack,
    PhaseSignedOff,
    PhaseSignOffCountersigned,
    ReleaseAnnounced,
    ReleaseWithdrawn,
    ResumeRollout,
    RollBackPhase,
    RolloutHeld,
    RolloutResumed,
    SignOffPhase,
    WithdrawRelease,
)
from domain.request import Countersign, SignOff
from domain.sign_offs import AllOf, Leaf
from tests.spec import COMMERCE, ONCD, OSTP, PHASES, Story, appoint, approve, cast, granted, preview, second_request

GA = "general_availability"
WITHOUT_GATE = (*PHASES[:2], Phase(GA, "open"))


def announcement(**given: Any) -> AnnounceRelease:
    plain: dict[str, Any] = {
        "id": "gpt-6",
        "provider": "openai",
        "model": "GPT-6",
        "tiers": ("standard", "pro"),
        "policy": "frontier-preview",
        "incident_threshold": "high",
        "phases": PHASES,
    }
    return AnnounceRelease(**{**plain, **given})


def signed_gate(story: Story) -> Story:
    for agency, person in (("oncd", "olga"), ("ostp", "sam")):
        story.given(SignOffPhase("gpt-5.6", GA, agency, "approve"), by=person)
    return story


def advance(to: str = GA) -> AdvancePhase:
    return AdvancePhase("gpt-5.6", to, "It is time")


# Announcing


def test_a_release_is_announced_and_its_first_phase_begins() -> None:
    story = (
        preview()
        .when(announcement(), by="rae")
        .then(ReleaseAnnounced("openai", "GPT-6", ("standard", "pro"), "frontier-preview", "high", PHASES))
    )
    here = story.state("release-gpt-6")
    assert (here.phase.name, here.held, here.withdrawn, here.phase_began) == ("announced", False, False, story.now)


def test_a_releases_id_is_taken_once() -> None:
    preview().when(announcement(id="gpt-5.6"), by="rae").refused(AlreadyExists)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"policy": "nothing"}, "policy nothing"),
        ({"phases": (Phase("first", "closed"), Phase("second", "open", gate=Leaf("nobody")))}, "agency nobody"),
        ({"phases": (Phase("first", "closed", gate=AllOf((ONCD, Leaf("tinker")))),)}, "agency tinker"),
    ],
)
def test_what_a_release_names_exists(given: dict[str, Any], missing: str) -> None:
    preview().when(announcement(**given), by="rae").refused(NamesUnknown, missing)


@pytest.mark.parametrize(
    "given",
    [{"phases": (Phase("same", "closed"), Phase("same", "open"))}, {"tiers": ("standard", "standard")}],
)
def test_phases_and_tiers_have_names_of_their_own(given: dict[str, Any]) -> None:
    preview().when(announcement(**given), by="rae").refused(Malformed)


def test_a_release_manager_announces_for_their_own_provider_only() -> None:
    preview().when(announcement(provider="anthropic"), by="rae").refused(NotAuthorised)


# Phases (I15)


def test_i15_a_phase_begins_when_its_gate_is_satisfied_and_its_days_are_over() -> None:
    story = signed_gate(preview()).at("2026-07-10T15:00:00Z")
    story.when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))
    here = story.state("release-gpt-5.6")
    assert (here.phase.name, here.phase_began, here.next_phase) == (GA, story.now, None)


@pytest.mark.parametrize("to", ["announced", "limited_preview", "nonsense"])
def test_i15_phases_follow_their_order(to: str) -> None:
    preview().when(advance(to), by="rae").refused(NotTheNextPhase, f"phase {GA}")


def test_i15_no_phase_is_skipped() -> None:
    story = preview().given(announcement(), by="rae")
    story.when(AdvancePhase("gpt-6", GA), by="rae").refused(NotTheNextPhase, "phase limited_preview")


def test_i15_after_the_last_phase_comes_none() -> None:
    story = preview(phases=WITHOUT_GATE).given(advance(), by="rae")
    story.when(advance(), by="rae").refused(NotTheNextPhase, "a further phase")


def test_i15_the_minimum_days_count_from_the_beginning_of_the_phase_holds_included() -> None:
    story = signed_gate(preview()).at("2026-07-01T15:00:00Z").given(HoldRollout("gpt-5.6", "Wait"), by="olga")
    story.at("2026-07-09T15:00:00Z").given(ResumeRollout("gpt-5.6"), by="olga")
    story.when(advance(), by="rae").refused(TooSoon, "1 more days")
    story.at("2026-07-10T15:00:00Z").when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))


def test_i15_the_gate_names_whose_sign_off_is_missing() -> None:
    story = preview().given(SignOffPhase("gpt-5.6", GA, "oncd", "approve"), by="olga").at("2026-08-01T15:00:00Z")
    story.when(advance(), by="rae").refused(GateNotSatisfied, "sign-off of ostp")


def test_i15_a_refusal_closes_the_gate_until_it_is_revised() -> None:
    story = signed_gate(preview()).given(SignOffPhase("gpt-5.6", GA, "oncd", "refuse", "Not yet"), by="olga")
    story.at("2026-08-01T15:00:00Z").when(advance(), by="rae").refused(GateNotSatisfied)
    story.given(SignOffPhase("gpt-5.6", GA, "oncd", "approve"), by="olga")
    story.when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))


def test_i15_a_held_rollout_does_not_advance() -> None:
    story = preview(phases=WITHOUT_GATE).given(HoldRollout("gpt-5.6", "Wait"), by="olga")
    story.when(advance(), by="rae").refused(ReleaseHeld, "resumption by oncd")


def test_i15_an_open_incident_at_the_threshold_stops_the_advance() -> None:
    story = preview(phases=WITHOUT_GATE).given(OpenIncident("gpt-5.6", "high", "Jailbreak"), by="rae")
    story.when(advance(), by="rae").refused(ReleaseHeld, "resumption by openai")
    story.happened("release-gpt-5.6", RolloutResumed(), by=story.facts[-1].by)
    story.when(advance(), by="rae").refused(IncidentOpen, "closure of incident 1")


def test_i15_quiet_days_count_from_the_last_closure_at_the_threshold() -> None:
    phases = (*PHASES[:2], Phase(GA, "open", quiet_days=7))
    story = preview(phases=phases).given(OpenIncident("gpt-5.6", "high", "One"), by="rae")
    story.given(OpenIncident("gpt-5.6", "critical", "Two"), by="rae")
    story.at("2026-07-01T15:00:00Z").given(CloseIncident("gpt-5.6", 2, "Fixed"), by="rae")
    story.at("2026-07-03T15:00:00Z").given(CloseIncident("gpt-5.6", 1, "Fixed"), ResumeRollout("gpt-5.6"), by="rae")
    story.at("2026-07-10T14:59:59Z").when(advance(), by="rae").refused(TooSoon, "1 more quiet days")
    story.at("2026-07-10T15:00:00Z").when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))


def test_i15_an_incident_below_the_threshold_disturbs_no_quiet_days() -> None:
    phases = (*PHASES[:2], Phase(GA, "open", quiet_days=7))
    story = preview(phases=phases).given(
        OpenIncident("gpt-5.6", "medium", "Small"), CloseIncident("gpt-5.6", 1, "Done"), by="rae"
    )
    story.when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))


def test_i17_a_phase_with_too_small_a_cap_does_not_begin() -> None:
    phases = (*PHASES[:2], Phase("smaller", "granted", customer_cap=1))
    story = approve(second_request(granted(phases=phases)), "tk", "t")
    story.when(advance("smaller"), by="rae").refused(CustomerCapReached, "1 customers fewer")
    story.given(SurrenderGrant("t"), by="tom").when(advance("smaller"), by="rae").then(
        PhaseAdvanced("smaller", "It is time")
    )


def test_a_rollback_goes_to_any_earlier_phase_at_once() -> None:
    story = preview(phases=WITHOUT_GATE).given(advance(), by="rae").given(HoldRollout("gpt-5.6", "Wait"), by="olga")
    story.when(RollBackPhase("gpt-5.6", "announced", "Harm"), by="rae").then(PhaseRolledBack("announced", "Harm"))
    assert story.state("release-gpt-5.6").phase.name == "announced"


@pytest.mark.parametrize("to", ["limited_preview", GA, "nonsense"])
def test_a_rollback_goes_to_no_other_phase(to: str) -> None:
    preview().when(RollBackPhase("gpt-5.6", to, "Harm"), by="rae").refused(NotTheNextPhase, "an earlier phase")


def test_i15_a_rollback_voids_the_phases_sign_offs_and_starts_its_days_anew() -> None:
    story = signed_gate(preview()).at("2026-07-10T15:00:00Z")
    story.given(RollBackPhase("gpt-5.6", "announced", "Harm"), AdvancePhase("gpt-5.6", "limited_preview"), by="rae")
    story.when(advance(), by="rae").refused(TooSoon, "14 more days")
    story.at("2026-07-24T15:00:00Z").when(advance(), by="rae").refused(
        GateNotSatisfied, "sign-off of oncd", "sign-off of ostp"
    )


# Sign-offs for a phase


def test_an_agency_of_the_gate_signs_off_the_next_phase() -> None:
    preview().when(SignOffPhase("gpt-5.6", GA, "oncd", "approve", "Fine"), by="olga").then(
        PhaseSignedOff(GA, "oncd", "approve", "Fine")
    )


def test_only_the_next_phase_is_signed_off() -> None:
    story = preview()
    gate = replace(PHASES[1], gate=AllOf((ONCD, OSTP)))
    story.given(announcement(phases=(PHASES[0], gate, PHASES[2])), by="rae")
    story.when(SignOffPhase("gpt-6", GA, "oncd", "approve"), by="olga").refused(
        NotTheNextPhase, "phase limited_preview"
    )


def test_i4_nobody_signs_a_phase_for_two_agencies() -> None:
    story = preview().given(Appoint("ostp", "olga", "reviewer"))
    story.given(SignOffPhase("gpt-5.6", GA, "oncd", "approve"), by="olga")
    story.when(SignOffPhase("gpt-5.6", GA, "ostp", "approve"), by="olga").refused(SeparationOfDuties)


def test_the_same_position_is_taken_once() -> None:
    signature = SignOffPhase("gpt-5.6", GA, "oncd", "approve")
    preview().given(signature, by="olga").when(signature, by="olga").refused(AlreadySigned)


def countersigned_gate() -> Story:
    story = preview(phases=(*PHASES[:2], Phase(GA, "open", gate=COMMERCE)))
    return story.given(SignOffPhase("gpt-5.6", GA, "commerce", "approve"), by="cora")


def test_a_gate_that_asks_for_a_countersignature_waits_for_it() -> None:
    story = countersigned_gate()
    story.when(advance(), by="rae").refused(GateNotSatisfied, "sign-off of commerce")
    story.when(CountersignPhase("gpt-5.6", "commerce", reason="Seen"), by="carl").then(
        PhaseSignOffCountersigned(GA, "commerce", ("cora",), "Seen")
    )
    story.when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))


def test_a_refused_countersignature_sends_the_position_back() -> None:
    story = countersigned_gate()
    story.when(CountersignPhase("gpt-5.6", "commerce", "refuse", "No"), by="carl").then(
        PhaseCountersignRefused(GA, "commerce", ("cora",), "No")
    )
    story.when(CountersignPhase("gpt-5.6", "commerce"), by="carl").refused(NothingToCountersign)
    story.when(SignOffPhase("gpt-5.6", GA, "commerce", "approve"), by="cora").then(
        PhaseSignedOff(GA, "commerce", "approve")
    )


def test_i4_nobody_countersigns_their_own_sign_off_for_a_phase() -> None:
    story = preview(phases=(*PHASES[:2], Phase(GA, "open", gate=COMMERCE)))
    story.given(SignOffPhase("gpt-5.6", GA, "commerce", "approve"), by="cleo")
    story.when(CountersignPhase("gpt-5.6", "commerce"), by="cleo").refused(SeparationOfDuties)


# Holds


def test_i16_one_suffices_to_hold_a_rollout() -> None:
    story = preview().when(HoldRollout("gpt-5.6", "Wait"), by="cora").then(RolloutHeld("Wait"))
    assert story.state("release-gpt-5.6").held


def test_an_organization_holds_once() -> None:
    preview().given(HoldRollout("gpt-5.6", "Wait"), by="olga").when(HoldRollout("gpt-5.6", "Wait"), by="omar").refused(
        AlreadyHeld
    )


def test_i12_each_hold_is_ended_by_the_organization_that_set_it() -> None:
    story = preview().given(HoldRollout("gpt-5.6", "Wait"), by="olga").given(HoldRollout("gpt-5.6", "Wait"), by="rae")
    story.when(ResumeRollout("gpt-5.6"), by="sam").refused(HeldByAnother, "a hold of ostp")
    story.when(ResumeRollout("gpt-5.6", "Go on"), by="rae").then(RolloutResumed("Go on"))
    assert story.state("release-gpt-5.6").holds == {"oncd"}
    story.when(ResumeRollout("gpt-5.6"), by="omar").then(RolloutResumed())
    assert not story.state("release-gpt-5.6").held


def test_what_is_not_held_is_not_resumed() -> None:
    preview().when(ResumeRollout("gpt-5.6"), by="rae").refused(NotHeld)


# Incidents


@pytest.mark.parametrize("severity", ["high", "critical"])
def test_i15_an_incident_at_the_threshold_holds_the_rollout_in_the_same_append(severity: Any) -> None:
    story = (
        preview()
        .when(OpenIncident("gpt-5.6", severity, "Jailbreak"), by="rae")
        .then(IncidentOpened(1, severity, "Jailbreak", True), RolloutHeld("Incident 1 is open.", 1))
    )
    assert story.state("release-gpt-5.6").holds == {"openai"}


@pytest.mark.parametrize("severity", ["low", "medium"])
def test_i15_an_incident_below_the_threshold_holds_nothing(severity: Any) -> None:
    story = (
        preview()
        .when(OpenIncident("gpt-5.6", severity, "Odd answers"), by="rae")
        .then(IncidentOpened(1, severity, "Odd answers", False))
    )
    assert not story.state("release-gpt-5.6").held


def test_an_organization_that_holds_already_need_not_hold_again_for_its_incident() -> None:
    story = preview().given(HoldRollout("gpt-5.6", "Wait"), by="olga")
    story.when(OpenIncident("gpt-5.6", "high", "Jailbreak"), by="olga").then(
        IncidentOpened(1, "high", "Jailbreak", True)
    )


def test_i15_an_incident_at_the_threshold_voids_the_phases_sign_offs() -> None:
    story = signed_gate(preview()).given(OpenIncident("gpt-5.6", "high", "Jailbreak"), by="rae")
    story.given(CloseIncident("gpt-5.6", 1, "Fixed"), ResumeRollout("gpt-5.6"), by="rae").at("2026-08-01T15:00:00Z")
    story.when(advance(), by="rae").refused(GateNotSatisfied, "sign-off of oncd", "sign-off of ostp")


def test_i15_an_incident_below_the_threshold_leaves_the_sign_offs() -> None:
    story = signed_gate(preview()).given(OpenIncident("gpt-5.6", "low", "Odd answers"), by="rae")
    story.at("2026-07-10T15:00:00Z").when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))


def test_i15_only_the_organization_that_opened_an_incident_closes_it() -> None:
    story = preview().given(OpenIncident("gpt-5.6", "high", "Jailbreak"), by="olga")
    story.when(CloseIncident("gpt-5.6", 1, "Fixed"), by="rae").refused(NotTheOpener, "an officer of oncd")
    story.when(CloseIncident("gpt-5.6", 1, "Fixed"), by="omar").then(IncidentClosed(1, "Fixed"))


def test_i15_the_rollout_is_not_resumed_while_ones_own_incident_is_open() -> None:
    story = preview().given(OpenIncident("gpt-5.6", "high", "Jailbreak"), by="rae")
    story.when(ResumeRollout("gpt-5.6"), by="rae").refused(IncidentOpen, "closure of incident 1")
    story.given(CloseIncident("gpt-5.6", 1, "Fixed"), by="rae")
    assert story.state("release-gpt-5.6").held, "closing an incident does not resume the rollout by itself"
    story.when(ResumeRollout("gpt-5.6"), by="rae").then(RolloutResumed())


def test_an_incident_is_closed_once() -> None:
    story = preview().given(OpenIncident("gpt-5.6", "low", "Odd"), CloseIncident("gpt-5.6", 1, "Done"), by="rae")
    story.when(CloseIncident("gpt-5.6", 1, "Done"), by="rae").refused(IncidentIsClosed)


# Withdrawal


def test_a_release_is_withdrawn_for_good() -> None:
    story = preview().when(WithdrawRelease("gpt-5.6", "Unsafe"), by="rae").then(ReleaseWithdrawn("Unsafe"))
    assert story.state("release-gpt-5.6").withdrawn


@pytest.mark.parametrize(
    ("command", "by"),
    [
        (WithdrawRelease("gpt-5.6", "Again"), "rae"),
        (advance(), "rae"),
        (RollBackPhase("gpt-5.6", "announced", "Harm"), "rae"),
        (HoldRollout("gpt-5.6", "Wait"), "olga"),
        (OpenIncident("gpt-5.6", "high", "Jailbreak"), "olga"),
        (SignOffPhase("gpt-5.6", GA, "oncd", "approve"), "olga"),
    ],
)
def test_nothing_happens_to_a_withdrawn_release(command: Any, by: str) -> None:
    story = preview().given(WithdrawRelease("gpt-5.6", "Unsafe"), by="rae")
    story.when(command, by=by).refused(ReleaseWithdrawnAlready)


@pytest.mark.parametrize(
    "command", [AdvancePhase("nothing", GA), HoldRollout("nothing", "Wait"), WithdrawRelease("nothing", "Gone")]
)
def test_an_unknown_release_is_not_found(command: Any) -> None:
    preview().when(command, by="rae").refused(NotFound)


# Customers (I17)


def test_i17_a_cap_counts_customers_admitted_and_not_grants() -> None:
    phases = (PHASES[0], replace(PHASES[1], customer_cap=1))
    story = second_request(granted(phases=phases), "northwind", "nina", "nw-2")
    approve(story, "nw-2", "g-2")
    assert story.state("release-gpt-5.6").admitted == {"northwind": ("g", "g-2")}
    assert story.events("release-gpt-5.6")[-1] == CustomerAdmitted("northwind", "g-2")


def test_i17_a_full_phase_takes_no_further_customer_until_one_leaves() -> None:
    phases = (PHASES[0], replace(PHASES[1], customer_cap=1))
    story = second_request(granted(phases=phases))
    for agency, person in (("oncd", "olga"), ("ostp", "sam"), ("commerce", "cora")):
        story.given(SignOff("tk", agency, "approve"), by=person)
    story.when(Countersign("tk", "commerce"), by="carl").refused(CustomerCapReached, "a free place")
    story.given(RevokeGrant("g", "Misuse", "Breach"), by="carl")
    assert story.events("release-gpt-5.6")[-1] == CustomerLeft("northwind")
    story.given(Countersign("tk", "commerce"), by="carl", ids=["t"])
    assert story.events("release-gpt-5.6")[-1] == CustomerAdmitted("tinker", "t")


# Who takes part in a rollout


def test_agencies_of_a_gate_hold_a_rollout_though_its_policy_does_not_name_them() -> None:
    story = cast().given(PublishPolicy("alone", "Own", Leaf("ostp")))
    phases = (PHASES[0], Phase("wider", "granted", gate=Leaf("bis")))
    story.given(announcement(policy="alone", phases=phases), by="rae")
    story.when(HoldRollout("gpt-6", "Wait"), by="bea").then(RolloutHeld("Wait"))
    story.when(HoldRollout("gpt-6", "Wait"), by="olga").refused(NotAuthorised)


def test_any_officer_of_a_gates_agency_may_fill_its_quorum() -> None:
    story = preview(phases=(*PHASES[:2], Phase(GA, "open", gate=Leaf("oncd", 2))))
    appoint(story, "oncd", "reviewer", "otto")
    story.given(SignOffPhase("gpt-5.6", GA, "oncd", "approve"), by="olga")
    story.when(advance(), by="rae").refused(GateNotSatisfied, "sign-off of oncd")
    story.given(SignOffPhase("gpt-5.6", GA, "oncd", "approve"), by="otto")
    story.when(advance(), by="rae").then(PhaseAdvanced(GA, "It is time"))


def test_after_the_last_phase_nothing_is_signed_or_countersigned() -> None:
    story = preview(phases=PHASES[:2])
    story.when(SignOffPhase("gpt-5.6", "more", "oncd", "approve"), by="olga").refused(NotAuthorised)
    commands = SignOffPhase("gpt-5.6", "more", "oncd", "approve"), CountersignPhase("gpt-5.6", "oncd")
    for command in commands:
        with pytest.raises(NotTheNextPhase) as refusal:
            rulebook.decide(command, story.world(), By("olga", "oncd", "head"), story.now, lambda: "id")
        assert refusal.value.missing == ("a further phase",)
        assert "limited_preview" in refusal.value.detail
    story.when(AdvancePhase("gpt-5.6", "more"), by="rae").refused(NotTheNextPhase, "a further phase")
    assert story.facts[-1].type == "PhaseAdvanced"


def test_an_incident_that_nobody_opened_is_not_closed() -> None:
    preview().when(CloseIncident("gpt-5.6", 1, "Solved"), by="olga").refused(NotFound)
