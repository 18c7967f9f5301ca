"""Does the auditor notice each invariant broken, and name it?

Every story below is true, and passes; then a record is slipped in, rewritten or taken out. Each function is one
forgery, and its name says what was forged.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain.directive import ConfirmLifting, DirectiveLifted, IssueDirective, LiftingProposed, ProposeLifting, Uses
from domain.facts import By
from domain.grant import (
    BarLifted,
    BarLiftingProposed,
    ConditionChanged,
    GrantExpired,
    GrantIssued,
    GrantReinstated,
    GrantSuperseded,
    NotifyIntentToRevoke,
    ProposeConditionChange,
    RevokeGrant,
    SuspendGrant,
)
from domain.hold import LegalHoldReleased, PlaceLegalHold, ReleaseLegalHold
from domain.key import IssueKey, KeyRotated, RevokeKey
from domain.organization import Appoint, Delegate, EndDelegation
from domain.policy import Clocks
from domain.release import (
    AdvancePhase,
    CloseIncident,
    CustomerLeft,
    HoldRollout,
    IncidentClosed,
    IncidentOpened,
    OpenIncident,
    Phase,
    PhaseAdvanced,
    RolloutResumed,
)
from domain.request import (
    AgencySignedOff,
    Countersign,
    DisputeResolved,
    ExtendReview,
    NoObjectionDeemed,
    ProvideInformation,
    Recuse,
    RequestApproved,
    RequestDenied,
    RequestEscalated,
    RequestInformation,
    RequestRenewal,
    ReviewExtended,
    SignOff,
    SignOffCountersigned,
    WithdrawRequest,
)
from domain.retention import SetRetention
from domain.sign_offs import AllOf, Leaf, ProposedCondition
from domain.subject import SubjectErased
from tests.simulation.books import Violation
from tests.simulation.forgery import Forgery, breach_of, honest, of
from tests.spec import OSTP, PHASES, Story, appoint, approve, granted, in_review, instant, preview, second_request

OLGA, OMAR, OTTO = of("olga@oncd/reviewer"), of("omar@oncd/head"), of("otto@oncd/head")
REX = of("rex@assent/records_officer")
SAM, CORA, CARL = of("sam@ostp/reviewer"), of("cora@commerce/reviewer"), of("carl@commerce/countersigner")
RAE, DEAN, SYSTEM = of("rae@openai/release_manager"), of("dean@assent/decider"), of("system")
REQUEST, GRANT, RELEASE = "request-nw", "grant-g", "release-gpt-5.6"

FORGERIES: list[tuple[str, Callable[[], Forgery]]] = []


def breaks(invariant: str) -> Callable[[Callable[[], Forgery]], Callable[[], Forgery]]:
    def entered(forge: Callable[[], Forgery]) -> Callable[[], Forgery]:
        FORGERIES.append((invariant, forge))
        return forge

    return entered


# True stories


def signed(agency: str = "oncd", revision: int = 1) -> AgencySignedOff:
    return AgencySignedOff(agency, revision, "approve")


def conditional() -> Story:
    """Northwind's grant carries a condition of the ONCD, numbered 1."""
    monthly = (ProposedCondition("Report monthly"),)
    story = in_review().given(SignOff("nw", "oncd", "approve_with_conditions", monthly), by="olga")
    story.given(SignOff("nw", "ostp", "approve"), by="sam").given(SignOff("nw", "commerce", "approve"), by="cora")
    return story.given(Countersign("nw", "commerce"), by="carl", ids=["g"])


def stopped() -> Story:
    """A directive of the ONCD, which omar has proposed to lift."""
    story = appoint(granted(), "oncd", "head", "otto")
    story.given(IssueDirective("Order", Uses(releases=("gpt-5.6",)), "Danger"), by="omar", ids=["d"])
    return story.given(ProposeLifting("d"), by="omar")


def renewing() -> Story:
    """A timely request for renewal is under review; the grant's time ends on 27 December."""
    story = granted(clocks=Clocks(60, "calendar", 10, renewal_days=20)).at("2026-11-20T15:00:00Z")
    return story.given(RequestRenewal("g"), by="nina", ids=["nw2"])


def two_grants() -> Story:
    """Northwind has two grants, `g` and `g2`."""
    return approve(second_request(granted(), "northwind", "nina", "nw2"), "nw2", "g2")


def free_to_advance() -> Story:
    return preview(phases=(PHASES[0], PHASES[1], Phase("wider", "granted")))


def silent(silence: str) -> Story:
    """ONCD and OSTP have signed nothing until the ONCD's date passes; nobody has noticed yet."""
    return in_review(AllOf((Leaf("oncd", silence=silence), OSTP))).at("2026-09-01T15:00:00Z")


def due_of(story: Story) -> str:
    return str(story.state(REQUEST).dues["oncd"].isoformat())


STORIES = [
    *(conditional, stopped, renewing, two_grants, free_to_advance, granted, in_review),
    lambda: granted().given(RevokeGrant("g", "Misuse", "Stolen", bar=True), by="omar"),
    lambda: silent("no_objection").when_time_passes("2026-09-02T15:00:00Z").story,
]


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_found_in_a_true_story(story: Callable[[], Story]) -> None:
    assert honest(story()).size == len(story().facts)


# I1


@breaks("I1")
def a_request_is_decided_twice() -> Forgery:
    return Forgery(granted()).slip(REQUEST, RequestDenied("No"), DEAN)


@breaks("I1")
def a_sign_off_comes_after_the_withdrawal() -> Forgery:
    return Forgery(in_review().given(WithdrawRequest("nw"), by="nina")).slip(REQUEST, signed(), OLGA)


@breaks("I1")
def the_decision_is_taken_out_of_the_log_and_another_put_in_behind_it() -> Forgery:
    denied = in_review().given(SignOff("nw", "oncd", "refuse"), by="olga")
    return Forgery(denied).slip(REQUEST, RequestApproved("g9"), OLGA, follows=True)


# I2


@breaks("I2")
def approved_without_a_countersignature() -> Forgery:
    story = (
        in_review().given(SignOff("nw", "oncd", "approve"), by="olga").given(SignOff("nw", "ostp", "approve"), by="sam")
    )
    return (
        Forgery(story).slip(REQUEST, signed("commerce"), CORA).slip(REQUEST, RequestApproved("g"), CORA, follows=True)
    )


@breaks("I2")
def a_sign_off_is_for_another_revision() -> Forgery:
    return Forgery(in_review()).slip(REQUEST, signed(revision=2), OLGA)


@breaks("I2")
def a_grant_that_no_approval_names() -> Forgery:
    terms = ("gpt-5.6", "openai", "frontier-preview", 1, ("oncd", "ostp", "commerce"), ("standard",), (), ())
    return Forgery(granted()).slip("grant-g9", GrantIssued("nw", "northwind", *terms, (), None), CARL, follows=True)


@breaks("I2")
def an_approval_without_its_grant() -> Forgery:
    return Forgery(granted()).drop("CustomerAdmitted").drop("GrantIssued")


@breaks("I2")
def a_satisfied_tree_without_its_approval() -> Forgery:
    return Forgery(granted()).drop("CustomerAdmitted").drop("GrantIssued").drop("RequestApproved")


@breaks("I2")
def the_grant_covers_more_than_was_asked() -> Forgery:
    return Forgery(granted()).change("GrantIssued", tiers=["standard", "pro"])


@breaks("I2")
def the_request_is_pinned_to_an_easier_tree() -> Forgery:
    story = in_review()
    terms = Forgery(story).newest("RequestSubmitted")["data"]["terms"]
    return Forgery(story).change("RequestSubmitted", terms={**terms, "sign_offs": terms["sign_offs"]["all_of"][0]})


# I3


@breaks("I3")
def silence_counts_where_the_policy_says_block() -> Forgery:
    story = silent("block")
    deemed = NoObjectionDeemed("oncd", story.state(REQUEST).dues["oncd"])
    return Forgery(story).slip(REQUEST, deemed, SYSTEM, at=due_of(story))


@breaks("I3")
def silence_counts_before_its_date() -> Forgery:
    story = silent("no_objection")
    deemed = NoObjectionDeemed("oncd", story.state(REQUEST).dues["oncd"])
    return Forgery(story).slip(REQUEST, deemed, SYSTEM, at="2026-07-10T12:00:00Z")


@breaks("I3")
def a_person_declares_an_agency_silent() -> Forgery:
    story = silent("no_objection")
    deemed = NoObjectionDeemed("oncd", story.state(REQUEST).dues["oncd"])
    return Forgery(story).slip(REQUEST, deemed, OLGA, at="2026-07-10T12:00:00Z")


@breaks("I3")
def the_system_signs_off() -> Forgery:
    return Forgery(in_review()).slip(REQUEST, signed(), SYSTEM)


# I4


@breaks("I4")
def an_applicant_of_the_customer_signs_off() -> Forgery:
    story = in_review().given(Appoint("northwind", "olga", "applicant"))
    return Forgery(story).slip(REQUEST, signed(), OLGA)


@breaks("I4")
def somebody_countersigns_their_own_sign_off() -> Forgery:
    forgery = Forgery(in_review()).slip(REQUEST, signed("commerce"), CARL)
    return forgery.slip(REQUEST, SignOffCountersigned("commerce", ("carl",)), CARL)


@breaks("I4")
def one_person_counts_for_two_agencies() -> Forgery:
    story = appoint(in_review(), "ostp", "reviewer", "olga")
    return Forgery(story).slip(REQUEST, signed(), OLGA).slip(REQUEST, signed("ostp"), of("olga@ostp/reviewer"))


@breaks("I4")
def a_decider_settles_what_they_signed() -> Forgery:
    forgery = Forgery(appoint(in_review(), "oncd", "reviewer", "dean")).slip(
        REQUEST, signed(), of("dean@oncd/reviewer")
    )
    forgery.slip(REQUEST, RequestEscalated("Stuck"), OMAR)
    return forgery.slip(REQUEST, DisputeResolved("deny", (), "No"), DEAN)


@breaks("I4")
def an_applicant_signs_off_by_delegation() -> Forgery:
    story = in_review().given(Delegate("oncd", "nina", ("SignOff",)), by="omar")
    return Forgery(story).slip(REQUEST, signed(), of("nina@oncd/head", "omar"))


@breaks("I4")
def a_delegate_countersigns_what_the_delegator_signed() -> Forgery:
    story = in_review().given(Delegate("commerce", "zoe", ("Countersign",)), by="cleo")
    forgery = Forgery(story).slip(REQUEST, signed("commerce"), of("cleo@commerce/head"))
    return forgery.slip(REQUEST, SignOffCountersigned("commerce", ("cleo",)), of("zoe@commerce/head", "cleo"))


# I5


@breaks("I5")
def somebody_recused_signs_off() -> Forgery:
    return Forgery(in_review().given(Recuse("nw", "olga"), by="omar")).slip(REQUEST, signed(), OLGA)


@breaks("I5")
def somebody_acts_with_the_powers_of_one_who_is_recused() -> Forgery:
    story = in_review().given(Delegate("oncd", "zoe", ("SignOff",)), by="omar").given(Recuse("nw", "omar"), by="olga")
    return Forgery(story).slip(REQUEST, signed(), of("zoe@oncd/head", "omar"))


def test_somebody_recused_learns_only_that_nothing_is_there() -> None:
    auditor = honest(in_review().given(Recuse("nw", "olga"), by="omar"))
    auditor.refused("c", "olga", REQUEST, refusal(404, "need_to_know"))
    with pytest.raises(Violation, match="I5"):
        auditor.refused("c", "olga", REQUEST, refusal(409, "one_position_each"))


# I6


@breaks("I6")
def somebody_uses_a_power_that_nobody_delegated() -> Forgery:
    return Forgery(in_review()).slip(REQUEST, signed(), of("zoe@oncd/reviewer", "olga"))


@breaks("I6")
def a_delegate_does_more_than_was_delegated() -> Forgery:
    story = in_review().given(Delegate("oncd", "zoe", ("ExtendReview",)), by="omar")
    return Forgery(story).slip(REQUEST, signed(), of("zoe@oncd/head", "omar"))


@breaks("I6")
def a_delegation_is_used_after_its_end() -> Forgery:
    story = in_review().given(Delegate("oncd", "zoe", ("SignOff",)), by="omar")
    story.at("2026-06-28T14:00:00Z").given(EndDelegation("oncd", 1), by="omar")
    return Forgery(story).slip(REQUEST, signed(), of("zoe@oncd/head", "omar"))


@breaks("I6")
def the_delegator_no_longer_holds_the_power() -> Forgery:
    story = in_review().given(Delegate("oncd", "zoe", ("SignOff",)), by="omar")
    return Forgery(story).slip(REQUEST, signed(), of("zoe@oncd/countersigner", "omar"))


# I7


@breaks("I7")
def a_condition_changes_without_a_proposal() -> Forgery:
    return Forgery(conditional()).slip(GRANT, ConditionChanged(1, 1, "Never mind", None), OLGA)


@breaks("I7")
def another_agency_concurs() -> Forgery:
    story = conditional().given(ProposeConditionChange("g", 1, "Report yearly"), by="nina")
    return Forgery(story).slip(GRANT, ConditionChanged(1, 1, "Report yearly", None), SAM)


@breaks("I7")
def a_condition_changes_to_something_else_than_was_proposed() -> Forgery:
    story = conditional().given(ProposeConditionChange("g", 1, "Report yearly"), by="nina")
    return Forgery(story).slip(GRANT, ConditionChanged(1, 1, "Never mind", None), OLGA)


@breaks("I7")
def the_grant_leaves_a_condition_out() -> Forgery:
    return Forgery(conditional()).change("GrantIssued", conditions=[])


# I8


@breaks("I8")
def an_event_is_backdated_before_the_last_of_its_stream() -> Forgery:
    return Forgery(in_review()).slip(REQUEST, signed(), OLGA, at="2026-06-26T17:00:00Z")


@breaks("I8")
def a_record_is_taken_out() -> Forgery:
    return Forgery(granted()).change("AgencySignedOff", position=1_000)


@breaks("I8")
def a_version_is_used_twice() -> Forgery:
    return Forgery(granted()).change("AgencySignedOff", version=1)


@breaks("I8")
def something_is_recorded_before_it_occurred() -> Forgery:
    return Forgery(in_review()).change("RequestRegistered", occurred="2026-06-27T14:00:01Z")


@breaks("I8")
def the_log_s_time_goes_back() -> Forgery:
    return Forgery(in_review()).change(
        "RequestRegistered", recorded="2026-06-20T14:00:01Z", occurred="2026-06-20T14:00:01Z"
    )


@breaks("I8")
def somebody_acts_before_a_timer_that_was_due() -> Forgery:
    return Forgery(silent("block")).slip(REQUEST, signed(), OLGA)


@breaks("I8")
def what_follows_takes_another_time() -> Forgery:
    return Forgery(granted()).change("GrantIssued", occurred="2026-06-29T15:00:00Z")


# I9


@breaks("I9")
def a_review_is_extended_twice() -> Forgery:
    story = in_review().given(ExtendReview("nw", "oncd", 5, "Hard"), by="olga")
    dues = {agency: due + timedelta(days=7) for agency, due in story.state(REQUEST).dues.items()}
    return Forgery(story).slip(REQUEST, ReviewExtended("oncd", 5, max(dues.values()), dues), OLGA)


@breaks("I9")
def a_due_date_is_a_day_late() -> Forgery:
    story = in_review()
    dues = {agency: (due + timedelta(days=1)).isoformat() for agency, due in story.state(REQUEST).dues.items()}
    return Forgery(story).change("RequestRegistered", dues=dues)


@breaks("I9")
def waiting_on_the_applicant_counts() -> Forgery:
    story = in_review().given(RequestInformation("nw", "oncd", "Why?"), by="olga").at("2026-07-03T15:00:00Z")
    return Forgery(story.given(ProvideInformation("nw", 1, "So"), by="nina")).drop("DueDateMoved")


# I10


USE: dict[str, Any] = {
    "customer": "northwind",
    "release": "gpt-5.6",
    "tier": None,
    "person_class": None,
    "affiliate": None,
}


@pytest.mark.parametrize(
    ("story", "truth", "lie"),
    [
        (granted, "granted", "no_grant"),
        (lambda: granted().given(SuspendGrant("g", "Look"), by="olga"), "grant_suspended", "granted"),
        (stopped, "directive", "granted"),
        (lambda: granted().at("2026-12-27T15:00:00Z"), "grant_expired", "granted"),
    ],
)
def test_i10_a_wrong_answer_is_noticed(story: Callable[[], Story], truth: str, lie: str) -> None:
    told = story()
    auditor = honest(told)
    auditor.answered(USE, told.now, truth, truth == "granted")
    with pytest.raises(Violation, match="I10"):
        auditor.answered(USE, told.now, lie, lie == "granted")
    with pytest.raises(Violation, match="I10"):
        auditor.answered(USE, told.now, truth, truth != "granted")


# I11


@breaks("I11")
def lifting_a_directive_reinstates_a_grant() -> Forgery:
    story = stopped().given(SuspendGrant("g", "Look"), by="olga")
    return (
        Forgery(story).slip("directive-d", DirectiveLifted(), OTTO).slip(GRANT, GrantReinstated(), OTTO, follows=True)
    )


@breaks("I11")
def a_lifted_directive_goes_on() -> Forgery:
    story = stopped().given(ConfirmLifting("d"), by="otto")
    return Forgery(story).slip("directive-d", LiftingProposed(), OMAR)


# I12


@breaks("I12")
def a_revoked_grant_becomes_active() -> Forgery:
    return Forgery(granted().given(RevokeGrant("g", "Misuse", "Stolen"), by="omar")).slip(
        GRANT, GrantReinstated(), OMAR
    )


@breaks("I12")
def another_organization_ends_a_suspension() -> Forgery:
    return Forgery(granted().given(SuspendGrant("g", "Look"), by="olga")).slip(GRANT, GrantReinstated(), SAM)


@breaks("I12")
def another_organization_ends_a_hold() -> Forgery:
    return Forgery(preview().given(HoldRollout("gpt-5.6", "Wait"), by="rae")).slip(RELEASE, RolloutResumed(), OMAR)


# I13


@breaks("I13")
def a_customer_leaves_with_a_live_grant() -> Forgery:
    story = two_grants().given(RevokeGrant("g", "Misuse", "Stolen"), by="omar")
    return Forgery(story).slip(RELEASE, CustomerLeft("northwind"), OMAR, follows=True)


# I14


@breaks("I14")
def a_grant_expires_while_its_renewal_is_under_review() -> Forgery:
    story, until = renewing().at("2027-01-04T15:00:00Z"), "2026-12-27T15:00:00Z"
    return Forgery(story).slip(GRANT, GrantExpired(instant(until)), SYSTEM, at=until)


@breaks("I14")
def a_timely_renewal_is_called_late() -> Forgery:
    return Forgery(renewing()).change("RenewalRequested", timely=False)


@breaks("I14")
def a_renewal_is_denied_and_the_grant_does_not_know() -> Forgery:
    return Forgery(renewing().given(WithdrawRequest("nw2"), by="nina")).drop("RenewalEnded")


@breaks("I14")
def a_grant_is_superseded_by_one_that_does_not_renew_it() -> Forgery:
    return Forgery(two_grants()).slip(GRANT, GrantSuperseded("g2"), CARL, follows=True)


# I15


@breaks("I15")
def a_phase_begins_while_held() -> Forgery:
    return Forgery(free_to_advance().given(HoldRollout("gpt-5.6", "Wait"), by="omar")).slip(
        RELEASE, PhaseAdvanced("wider"), RAE
    )


@breaks("I15")
def a_phase_is_skipped() -> Forgery:
    phases = (PHASES[0], PHASES[1], Phase("wider", "granted"), Phase("all", "open"))
    return Forgery(preview(phases=phases)).slip(RELEASE, PhaseAdvanced("all"), RAE)


@breaks("I15")
def a_phase_begins_too_soon() -> Forgery:
    return Forgery(preview()).slip(RELEASE, PhaseAdvanced("general_availability"), RAE)


@breaks("I15")
def a_phase_begins_without_its_gate() -> Forgery:
    return Forgery(preview().at("2026-07-20T15:00:00Z")).slip(RELEASE, PhaseAdvanced("general_availability"), RAE)


@breaks("I15")
def a_phase_begins_too_soon_after_an_incident() -> Forgery:
    story = preview(phases=(PHASES[0], PHASES[1], Phase("wider", "granted", quiet_days=7)))
    story.given(OpenIncident("gpt-5.6", "high", "Leak"), by="rae").given(
        CloseIncident("gpt-5.6", 1, "Mended"), by="rae"
    )
    return Forgery(story).slip(RELEASE, RolloutResumed(), RAE).slip(RELEASE, PhaseAdvanced("wider"), RAE)


@breaks("I15")
def a_grave_incident_does_not_hold_the_rollout() -> Forgery:
    return Forgery(preview()).slip(RELEASE, IncidentOpened(1, "critical", "Leak", True), RAE)


@breaks("I15")
def a_grave_incident_is_called_light() -> Forgery:
    return Forgery(preview()).slip(RELEASE, IncidentOpened(1, "critical", "Leak", False), RAE)


@breaks("I15")
def another_organization_closes_an_incident() -> Forgery:
    story = preview().given(OpenIncident("gpt-5.6", "high", "Leak"), by="rae")
    return Forgery(story).slip(RELEASE, IncidentClosed(1, "Mended"), OMAR)


# I16


@breaks("I16")
def one_person_lifts_a_directive() -> Forgery:
    return Forgery(stopped()).slip("directive-d", DirectiveLifted(), OMAR)


@breaks("I16")
def one_person_lifts_a_bar() -> Forgery:
    story = granted().given(RevokeGrant("g", "Misuse", "Stolen", bar=True), by="omar")
    return Forgery(story).slip(GRANT, BarLiftingProposed(), OMAR).slip(GRANT, BarLifted(), OMAR)


@breaks("I16")
def one_person_reinstates_after_a_notice() -> Forgery:
    story = granted().given(SuspendGrant("g", "Look"), by="olga")
    story.given(NotifyIntentToRevoke("g", "Misuse", story.now + timedelta(days=9)), by="omar")
    return Forgery(story).slip(GRANT, GrantReinstated(), OLGA)


# I17


@breaks("I17")
def a_cap_is_overrun() -> Forgery:
    forgery = Forgery(approve(second_request(granted()), "tk", "g2"))
    phases = forgery.newest("ReleaseAnnounced")["data"]["phases"]
    phases[1]["customer_cap"] = 1
    return forgery


@breaks("I17")
def a_customer_is_let_in_without_being_counted() -> Forgery:
    return Forgery(granted()).drop("CustomerAdmitted")


@breaks("I17")
def a_customer_whose_last_grant_ended_keeps_its_place() -> Forgery:
    return Forgery(granted().given(RevokeGrant("g", "Misuse", "Stolen"), by="omar")).drop("CustomerLeft")


# I18


def refusal(status: int, rule: str) -> dict[str, Any]:
    return {"status": status, "rule": rule, "title": "No", "detail": "It may not be.", "missing": ["another"]}


def test_i18_a_refused_command_that_left_an_event_is_noticed() -> None:
    story = in_review()
    auditor = honest(story)
    auditor.refused("command-1", "olga", REQUEST, refusal(409, "I1"))
    forged = Forgery(story).slip(REQUEST, signed(), OLGA, command="command-1").lines()[-1:]
    with pytest.raises(Violation, match="I18"):
        auditor.append(forged)


@pytest.mark.parametrize("lacking", ["rule", "title", "detail", "missing"])
def test_i18_a_refusal_that_does_not_say_why_is_noticed(lacking: str) -> None:
    with pytest.raises(Violation, match="I18"):
        honest(in_review()).refused("c", "olga", REQUEST, {**refusal(409, "I1"), lacking: ""})


# Authority


@breaks("§9")
def somebody_acts_without_an_appointment() -> Forgery:
    return Forgery(in_review()).slip(REQUEST, signed(), By("mallory", "oncd", "reviewer"))


@breaks("§9")
def an_administrator_signs_off() -> Forgery:
    return Forgery(in_review()).slip(REQUEST, signed("assent"), By("root", "assent", "administrator"))


@breaks("§9")
def an_agency_advances_a_phase() -> Forgery:
    return Forgery(free_to_advance()).slip(RELEASE, PhaseAdvanced("wider"), OMAR)


# Machines and texts


def kept() -> Story:
    story = in_review().given(Appoint("assent", "rex", "records_officer"))
    return story.given(PlaceLegalHold("nina", "Inquiry"), by="rex", ids=["h"])


@breaks("legal_hold")
def a_person_is_erased_under_a_legal_hold() -> Forgery:
    return Forgery(kept()).slip("subject-nina", SubjectErased(), REX)


@breaks("legal_hold")
def a_hold_is_not_told_to_the_stream_of_whom_it_keeps() -> Forgery:
    return Forgery(kept()).drop("SubjectHeld")


@breaks("legal_hold")
def a_hold_is_released_twice() -> Forgery:
    return Forgery(kept().given(ReleaseLegalHold("h"), by="rex")).slip("hold-h", LegalHoldReleased(), REX)


@breaks("retention")
def a_person_is_erased_before_their_texts_time_is_over() -> Forgery:
    story = in_review().given(Appoint("assent", "rex", "records_officer")).given(SetRetention(10), by="rex")
    return Forgery(story).slip("subject-nina", SubjectErased(), REX)


@breaks("§9")
def a_revoked_key_gets_a_new_secret() -> Forgery:
    story = in_review().given(IssueKey("openai", "Gateway", ("access",)), ids=["k"]).given(RevokeKey("k"))
    rotated = KeyRotated(instant("2026-07-01T00:00:00Z"), "0" * 64)
    return Forgery(story).slip("key-k", rotated, of("root@assent/administrator"))


# All of them


@pytest.mark.parametrize(("invariant", "forge"), FORGERIES, ids=[forge.__name__ for _, forge in FORGERIES])
def test_the_auditor_notices_when(invariant: str, forge: Callable[[], Forgery]) -> None:
    assert breach_of(forge()) == invariant


def test_every_invariant_is_broken_by_some_forgery() -> None:
    elsewhere = {"I10", "I18"}
    assert {invariant for invariant, _ in FORGERIES} | elsewhere >= {f"I{n}" for n in range(1, 19)}


def test_the_second_phase_may_begin_where_nothing_forbids_it() -> None:
    """The forgeries of I15 break a rule, and not the story."""
    assert honest(free_to_advance().given(AdvancePhase("gpt-5.6", "wider"), by="rae")).size > 0
