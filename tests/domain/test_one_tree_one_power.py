"""Nobody counts twice in a tree (I4), for requests and for phases alike; silence of an agency means one thing (I3)."""

from domain.errors import ConditionNotOpen, GateNotSatisfied, NotNarrower, SeparationOfDuties
from domain.grant import AmendGrant, ConcurConditionChange, ProposeConditionChange, RecordBreach, SatisfyCondition
from domain.organization import Appoint, Delegate
from domain.policy import Clocks
from domain.release import AdvancePhase, CountersignPhase, Phase, PhaseSignedOff, SignOffPhase
from domain.request import DeadlineMissed, SignOff
from domain.sign_offs import AllOf, Leaf, ProposedCondition
from tests.spec import Story, in_review, preview

GATE = AllOf((Leaf("oncd", countersign=True), Leaf("ostp", quorum=2, countersign=True)))
PHASES = (Phase("announced", "closed"), Phase("preview", "granted"), Phase("wide", "open", gate=GATE))


def at_the_gate() -> Story:
    """The next phase's gate asks oncd and, twice, ostp; omar holds office in both."""
    return preview(phases=PHASES).given(Appoint("ostp", "omar", "head"), Appoint("oncd", "una", "countersigner"))


def test_i4_who_countersigned_for_one_agency_of_a_gate_signs_for_no_other() -> None:
    story = at_the_gate().given(SignOffPhase("gpt-5.6", "wide", "oncd", "approve"), by="olga")
    story.given(CountersignPhase("gpt-5.6", "oncd"), by="omar", acting_as="oncd/head")
    story.when(SignOffPhase("gpt-5.6", "wide", "ostp", "approve"), by="omar", acting_as="ostp/head").refused(
        SeparationOfDuties, "another officer"
    )
    story.given(SignOffPhase("gpt-5.6", "wide", "ostp", "approve"), by="sam")
    story.when(CountersignPhase("gpt-5.6", "ostp"), by="omar", acting_as="ostp/head").refused(
        SeparationOfDuties, "another officer"
    )


def test_i4_a_delegated_power_counts_once_in_a_gate() -> None:
    story = at_the_gate().given(Delegate("ostp", "dora", ("SignOffPhase", "CountersignPhase")), by="sue")
    story.given(SignOffPhase("gpt-5.6", "wide", "ostp", "approve"), by="sue")
    story.when(SignOffPhase("gpt-5.6", "wide", "ostp", "approve"), by="dora").refused(SeparationOfDuties)
    story.when(CountersignPhase("gpt-5.6", "ostp"), by="dora").refused(SeparationOfDuties, "another countersigner")
    story.when(SignOffPhase("gpt-5.6", "wide", "ostp", "approve"), by="sam").then(
        PhaseSignedOff("wide", "ostp", "approve")
    )


def test_i18_a_gate_that_refuses_names_whose_position_stands_against_it() -> None:
    phases = (Phase("announced", "closed"), Phase("preview", "granted"), Phase("wide", "open", gate=Leaf("oncd")))
    story = preview(phases=phases).given(SignOffPhase("gpt-5.6", "wide", "oncd", "refuse"), by="olga")
    story.when(AdvancePhase("gpt-5.6", "wide"), by="rae").refused(GateNotSatisfied, "another position of oncd")


def test_i3_the_strictest_of_an_agencys_leaves_says_what_its_silence_means() -> None:
    twice = AllOf((Leaf("oncd", silence="no_objection"), Leaf("oncd", quorum=2)))
    story = in_review(twice, clocks=Clocks(5, "calendar"))
    (missed,) = story.when_time_passes("2026-08-01").facts
    assert isinstance(missed.event, DeadlineMissed)
    assert story.state("request-nw").state == "in_review"


def test_a_dropped_condition_is_neither_satisfied_nor_broken() -> None:
    story = in_review(Leaf("oncd")).at("2026-07-01T15:00:00Z")
    condition = ProposedCondition("Audit first", "precondition")
    story.given(SignOff("nw", "oncd", "approve_with_conditions", (condition,)), by="olga", ids=["g"])
    story.given(ProposeConditionChange("g", 1, drop=True), by="nina").given(ConcurConditionChange("g", 1, 1), by="olga")
    story.when(RecordBreach("g", 1, "Broken"), by="olga").refused(ConditionNotOpen, "an open condition")
    story.when(SatisfyCondition("g", 1), by="olga").refused(ConditionNotOpen, "an open condition")
    story.when(AmendGrant("g", "Nothing left", tiers=()), by="omar").refused(NotNarrower, "at least one tier and class")
