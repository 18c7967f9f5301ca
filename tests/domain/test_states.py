"""What does a stream's state remember of its events, whoever asks for it: a rule, a page, or an auditor?"""

from dataclasses import replace
from typing import Any

import pytest

from domain.appeals import Appeal, AppealDecided, AppealFiled
from domain.calendar import Calendar, CalendarAmended
from domain.directive import Directive, DirectiveEased, DirectiveIssued, DirectiveLifted, LiftingProposed, Uses
from domain.facts import By
from domain.grant import (
    BarLifted,
    BarLiftingProposed,
    Change,
    Condition,
    ConditionBreached,
    ConditionChanged,
    ConditionChangeProposed,
    ConditionSatisfied,
    ConditionSet,
    Grant,
    GrantAmended,
    GrantExpired,
    GrantIssued,
    GrantReinstated,
    GrantRevoked,
    GrantSuperseded,
    GrantSurrendered,
    GrantSuspended,
    ReinstatementProposed,
    RenewalEnded,
    RenewalRequested,
    RevocationNoticeIssued,
    RevocationNoticeWithdrawn,
)
from domain.log import LogKeyRotated
from domain.organization import (
    AffiliateAdded,
    Appointment,
    AppointmentEnded,
    Delegation,
    DelegationEnded,
    Organization,
    OrganizationChanged,
    OrganizationRegistered,
    PersonAppointed,
    PowersDelegated,
)
from domain.policy import Clocks, GrantTerms, Policy, PolicyPublished, Version
from domain.release import (
    CustomerAdmitted,
    CustomerLeft,
    Incident,
    IncidentClosed,
    IncidentOpened,
    Phase,
    PhaseAdvanced,
    PhaseSignedOff,
    Release,
    ReleaseAnnounced,
)
from domain.request import (
    AccessRequest,
    AgencySignedOff,
    Changes,
    DeadlineMissed,
    DisputeResolved,
    DueDateMoved,
    InformationAccepted,
    InformationProvided,
    InformationRequested,
    InformationRequestLapsed,
    NoObjectionDeemed,
    Question,
    RequestAmended,
    RequestApproved,
    RequestDenied,
    RequestEscalated,
    RequestRegistered,
    RequestReturned,
    RequestSubmitted,
    RequestWithdrawn,
    ReviewExtended,
    Terms,
)
from domain.sign_offs import BLANK, AllOf, Leaf, Sheet, Signature
from tests.spec import Story, days, instant

BEGAN, NEXT, SOON, LATER = (instant(f"2026-{day}T15:00:00Z") for day in ("06-20", "06-21", "07-27", "12-27"))
OLGA, SAM, NINA, RAE, DEAN = (
    By("olga", "oncd", "reviewer"),
    By("sam", "ostp", "reviewer"),
    By("nina", "northwind", "applicant"),
    By("rae", "openai", "release_manager"),
    By("dean", "assent", "decider"),
)
TREE = AllOf((Leaf("oncd"), Leaf("ostp")))
TERMS = Terms("p", 1, TREE, "deny", False, Clocks(), 180)
PHASES = (Phase("announced", "closed"), Phase("preview", "granted"))


def after(stream: str, *events: Any, by: By = OLGA, on: Story | None = None) -> Any:
    """The state when these events have happened, one day after whatever was before."""
    story = on or Story("2026-06-20T15:00:00Z")
    return story.happened(stream, *events, by=by).state(stream)


def then(stream: str, first: Any, *events: Any, by: By = OLGA, opened_by: By = OLGA) -> tuple[Any, Any]:
    """The state after the first event, on 20 June, and after the others, on the 21st."""
    story = Story("2026-06-20T15:00:00Z").happened(stream, first, by=opened_by)
    before = story.state(stream)
    return before, after(stream, *events, by=by, on=story.at("2026-06-21T15:00:00Z"))


# Organizations, calendars, policies, directives

NORTHWIND = OrganizationRegistered("customer", "Northwind Bank", "US", "large")


def test_an_organization_is_what_was_registered() -> None:
    assert after("organization-oncd", OrganizationRegistered("agency", "ONCD", "US", None, True)) == Organization(
        "oncd", "agency", "ONCD", "US", None, True
    )


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (OrganizationChanged(name="Northwind"), {"name": "Northwind"}),
        (OrganizationChanged(size_class="medium"), {"size_class": "medium"}),
        (OrganizationChanged(closed=True), {"closed": True}),
    ],
)
def test_a_change_of_an_organization_leaves_the_rest_as_it_was(change: Any, changed: dict[str, Any]) -> None:
    before, now = then("organization-northwind", NORTHWIND, change)
    assert now == replace(before, **changed)


def test_an_organization_remembers_who_held_which_role_and_whose_powers() -> None:
    before, now = then(
        "organization-northwind",
        NORTHWIND,
        AffiliateAdded("nw-labs", "Northwind Labs", "GB"),
        PersonAppointed("nina", "applicant", BEGAN, LATER),
        PersonAppointed("tom", "applicant", BEGAN, None),
        AppointmentEnded("nobody", "applicant"),
        AppointmentEnded("tom", "applicant"),
        PowersDelegated(1, "nina", "tom", ("ReportCompliance",), BEGAN, LATER),
        PowersDelegated(2, "nina", "tom", ("SurrenderGrant",), BEGAN, LATER),
        DelegationEnded(1),
    )
    assert (now.name, now.affiliates[0].id) == (before.name, "nw-labs")
    assert now.appointments == {
        "nina": (Appointment("applicant", BEGAN, LATER),),
        "tom": (Appointment("applicant", BEGAN, NEXT),),
        "nobody": (),
    }
    assert now.delegations == (
        Delegation(1, "nina", "tom", ("ReportCompliance",), BEGAN, NEXT),
        Delegation(2, "nina", "tom", ("SurrenderGrant",), BEGAN, LATER),
    )


def test_a_calendar_remembers_every_closure() -> None:
    amended = CalendarAmended(days("2026-07-03"), "Holiday"), CalendarAmended(days("2026-11-26"), "Thanksgiving")
    assert after("calendar-us-federal", *amended) == Calendar("us-federal", frozenset(days("2026-07-03", "2026-11-26")))


def test_a_policy_remembers_every_version() -> None:
    first = PolicyPublished("Order 1", TREE, "deny", False, Clocks(30), GrantTerms(180), BEGAN)
    second = PolicyPublished("Order 2", TREE, "escalate", True, Clocks(20), GrantTerms(90), SOON)
    assert after("policy-p", first, second) == Policy(
        "p",
        (
            Version(1, "Order 1", TREE, "deny", False, Clocks(30), GrantTerms(180), BEGAN),
            Version(2, "Order 2", TREE, "escalate", True, Clocks(20), GrantTerms(90), SOON),
        ),
    )


def test_a_directive_remembers_what_it_orders_and_who_wants_it_lifted() -> None:
    scope, exempt = Uses(releases=("gpt-5.6",)), Uses(organizations=("tinker",))
    issued = DirectiveIssued("Letter", scope, exempt, "Security")
    before, eased = then("directive-d", issued, DirectiveEased(Uses(organizations=("northwind",)), "Listed"))
    assert before == Directive("d", "oncd", "Letter", scope, exempt, "Security", BEGAN)
    assert eased == replace(before, carve_outs=Uses(organizations=("tinker", "northwind")))
    before, lifted = then("directive-d", issued, LiftingProposed("Verified"), DirectiveLifted("Yes"))
    assert (lifted.lifting_proposed_by, lifted.lifted, lifted.state) == ("olga", NEXT, "lifted")


# Releases


def test_a_release_remembers_its_incidents_and_whom_it_admitted() -> None:
    announced = ReleaseAnnounced("openai", "GPT-5.6", ("standard",), "p", "high", PHASES)
    before, now = then(
        "release-gpt-5.6",
        announced,
        PhaseAdvanced("preview", "Ready"),
        PhaseSignedOff("everywhere", "oncd", "approve", "Fine"),
        IncidentOpened(1, "low", "Slow", False),
        IncidentOpened(2, "medium", "Odd", False),
        IncidentClosed(1, "Faster"),
        CustomerAdmitted("northwind", "g"),
        CustomerAdmitted("northwind", "g-2"),
        CustomerAdmitted("tinker", "t"),
        CustomerLeft("tinker"),
    )
    assert before == Release("gpt-5.6", "openai", "GPT-5.6", ("standard",), "p", "high", PHASES, BEGAN, 0, BEGAN)
    assert now == replace(
        before,
        current=1,
        phase_began=NEXT,
        sheet=Sheet((Signature("oncd", "olga", "approve", (), "Fine"),)),
        incidents=(
            Incident(1, "low", "Slow", False, "oncd", NEXT, NEXT, "Faster"),
            Incident(2, "medium", "Odd", False, "oncd", NEXT),
        ),
        admitted={"northwind": ("g", "g-2")},
    )


def test_a_sign_off_remembers_whose_power_it_used() -> None:
    dora = By("dora", "oncd", "head", ("omar", "import:rosa"))
    announced = ReleaseAnnounced("openai", "GPT-5.6", ("standard",), "p", "high", PHASES)
    _, now = then("release-gpt-5.6", announced, PhaseSignedOff("preview", "oncd", "approve"), by=dora)
    assert now.sheet.signatures == (Signature("oncd", "dora", "approve", via=("omar",)),)
    _, reviewing = reviewed(AgencySignedOff("oncd", 1, "approve"), by=dora)
    assert reviewing.sheet.signatures == (Signature("oncd", "dora", "approve", via=("omar",)),)


# Requests

SUBMITTED = RequestSubmitted(
    "northwind", "gpt-5.6", "openai", "standard", "Fraud", TERMS, ("us_person",), ("nw-labs",), 90, "old", SOON
)
DUES = {"oncd": SOON, "ostp": LATER}


def reviewed(*events: Any, by: By = OLGA) -> tuple[AccessRequest, AccessRequest]:
    """A request in review since 20 June, and what became of it on the 21st."""
    story = Story("2026-06-20T15:00:00Z").happened("request-nw", SUBMITTED, by=NINA)
    story.happened("request-nw", RequestRegistered(LATER, DUES), by=OLGA)
    before = story.state("request-nw")
    return before, after("request-nw", *events, by=by, on=story.at("2026-06-21T15:00:00Z"))


def test_a_request_remembers_what_was_asked_for_and_when_it_is_due() -> None:
    here, _ = reviewed()
    assert (here.id, here.customer, here.release, here.provider) == ("nw", "northwind", "gpt-5.6", "openai")
    assert (here.tier, here.use) == ("standard", "Fraud")
    assert (here.user_classes, here.affiliates) == (("us_person",), ("nw-labs",))
    assert (here.duration_days, here.renews, here.applicant, here.terms) == (90, "old", "nina", TERMS)
    assert (here.submitted, here.registered, here.clock_started) == (BEGAN, BEGAN, BEGAN)
    assert (here.intake_due, here.due, here.dues) == (SOON, LATER, DUES)
    assert here.agencies == ("oncd", "ostp")


@pytest.mark.parametrize(
    ("decision", "outcome", "reason"),
    [
        (RequestReturned("No use"), "returned", "No use"),
        (RequestWithdrawn("Too slow"), "withdrawn", "Too slow"),
        (InformationRequestLapsed(1), "lapsed", "Question 1 was not answered in time."),
        (RequestApproved("g", "Agreed"), "approved", "Agreed"),
        (RequestDenied("Risky", ("oncd",)), "denied", "Risky"),
    ],
)
def test_a_decision_is_remembered_with_who_when_and_why(decision: Any, outcome: str, reason: str) -> None:
    before, now = reviewed(RequestEscalated("Stuck"), InformationRequested(1, "oncd", "Who?"), decision)
    assert (now.outcome, now.reason, now.decided, now.decided_by) == (outcome, reason, NEXT, "olga")
    assert (now.escalated, now.stopped) == (False, None)
    assert now.grant == ("g" if outcome == "approved" else None)
    assert now.use == before.use


def test_an_applicant_does_not_learn_who_decided() -> None:
    _, now = reviewed(RequestDenied("Risky", ()), by=By("", "", ""))
    assert now.decided_by is None


def test_a_question_is_remembered_with_its_answer_and_the_time_it_took() -> None:
    story = Story("2026-06-20T15:00:00Z").happened("request-nw", SUBMITTED, by=NINA)
    story.happened("request-nw", RequestRegistered(LATER, DUES), InformationRequested(1, "oncd", "Who?", SOON), by=OLGA)
    story.happened("request-nw", InformationRequested(2, "ostp", "Where?"), by=SAM)
    assert story.state("request-nw").stopped == BEGAN
    story.at("2026-06-21T15:00:00Z").happened("request-nw", InformationProvided(1, "We"), by=NINA)
    here = story.state("request-nw")
    assert (here.stopped, here.waits, here.sheet.asking) == (BEGAN, (), {"oncd", "ostp"})
    story.happened("request-nw", InformationProvided(2, "Here"), InformationAccepted(1), by=NINA)
    here = story.state("request-nw")
    assert here.questions == (
        Question(1, "oncd", "Who?", BEGAN, SOON, "We", NEXT, True),
        Question(2, "ostp", "Where?", BEGAN, None, "Here", NEXT),
    )
    assert (here.stopped, here.waits, here.sheet.asking) == (None, ((BEGAN, NEXT),), {"ostp"})


def test_due_dates_are_remembered_as_they_were_moved_and_missed() -> None:
    moved = {"oncd": LATER, "ostp": LATER}
    _, now = reviewed(ReviewExtended("oncd", 7, SOON, moved, "Holidays"))
    assert (now.extension_days, now.due, now.dues) == (7, SOON, moved)
    _, now = reviewed(DueDateMoved(SOON, DUES, "The applicant was slow."))
    assert (now.extension_days, now.due, now.dues) == (0, SOON, DUES)
    _, now = reviewed(DeadlineMissed("oncd", SOON), NoObjectionDeemed("ostp", LATER))
    assert (now.missed, now.sheet.deemed) == ({"oncd", "ostp"}, {"ostp"})


def test_a_resolved_dispute_is_none_any_more() -> None:
    _, now = reviewed(RequestEscalated("Stuck"), DisputeResolved("approve", ("ostp",), "Overruled"))
    assert (now.escalated, now.sheet.overruled) == (False, {"ostp"})


def stuck() -> tuple[Any, ...]:
    """What the review had come to: an extension, a wait, an open question, silence, a missed date, a ruling."""
    return (
        ReviewExtended("oncd", 7, LATER, DUES),
        InformationRequested(1, "oncd", "Who?"),
        InformationProvided(1, "We"),
        InformationRequested(2, "oncd", "Where?"),
        NoObjectionDeemed("ostp", SOON),
        DeadlineMissed("oncd", SOON),
        DisputeResolved("return", ("oncd",), "Again"),
    )


def test_a_material_change_begins_the_review_anew() -> None:
    _, now = reviewed(*stuck(), RequestAmended(2, Changes(tier="pro"), True))
    assert (now.tier, now.revision, now.use) == ("pro", 2, "Fraud")
    assert (now.sheet, now.missed, now.waits) == (Sheet(asking=frozenset({"oncd"})), frozenset(), ())
    assert (now.clock_started, now.stopped) == (NEXT, NEXT)
    _, now = reviewed(RequestAmended(2, Changes(tier="pro"), True))
    assert now.stopped is None
    story = Story("2026-06-20T15:00:00Z").happened("request-nw", SUBMITTED, by=NINA)
    story.happened("request-nw", RequestRegistered(LATER, DUES), InformationRequested(1, "oncd", "Who?"), by=OLGA)
    assert story.state("request-nw").stopped == BEGAN
    story.at("2026-06-21T15:00:00Z")
    assert after("request-nw", RequestAmended(2, Changes(tier="pro"), True), on=story).stopped == NEXT


def test_another_change_changes_the_application_alone() -> None:
    before, now = reviewed(RequestAmended(2, Changes(duration_days=30), False))
    assert now == replace(before, revision=2, duration_days=30)
    draft = Story("2026-06-20T15:00:00Z").happened("request-nw", SUBMITTED, by=NINA)
    unregistered = draft.state("request-nw")
    now = after("request-nw", RequestAmended(2, Changes(tier="pro"), True), on=draft)
    assert now == replace(unregistered, revision=2, tier="pro")


def test_an_appeal_is_remembered_with_its_grounds_and_its_end() -> None:
    story = Story("2026-06-20T15:00:00Z").happened("request-nw", SUBMITTED, RequestDenied("No", ()), by=OLGA)
    story.happened("request-nw", AppealFiled(1, "They misread it"), by=NINA)
    assert story.state("request-nw").appeals == (Appeal(1, "They misread it", BEGAN),)
    story.at("2026-06-21T15:00:00Z").happened("request-nw", AppealDecided(1, "remand", "Look again"), by=DEAN)
    story.happened("request-nw", AppealFiled(2, "Still"), AppealDecided(2, "uphold", "Enough"), by=DEAN)
    assert story.state("request-nw").appeals == (
        Appeal(1, "They misread it", BEGAN, "remand", NEXT, "Look again"),
        Appeal(2, "Still", NEXT, "uphold", NEXT, "Enough"),
    )


def test_a_remand_leaves_nothing_of_the_old_review() -> None:
    events = (*stuck(), RequestDenied("No", ()), AppealFiled(1, "x"), AppealDecided(1, "remand", "Look again"))
    _, now = reviewed(*events)
    assert (now.outcome, now.cycle, now.extension_days) == (None, 2, 0)
    assert (now.sheet, now.missed, now.waits) == (Sheet(asking=frozenset({"oncd"})), frozenset(), ())
    assert (now.clock_started, now.stopped) == (NEXT, NEXT)
    _, now = reviewed(RequestDenied("No", ()), AppealFiled(1, "x"), AppealDecided(1, "remand", "Look again"))
    assert (now.sheet, now.stopped) == (BLANK, None)


def test_a_reversal_leaves_the_sign_offs_but_the_overruled() -> None:
    signed = AgencySignedOff("oncd", 1, "approve", (), "Fine")
    reversed_ = AppealDecided(1, "reverse", "Wrong", ("ostp",))
    _, now = reviewed(signed, RequestDenied("No", ()), AppealFiled(1, "x"), reversed_)
    assert (now.outcome, now.sheet.overruled) == (None, {"ostp"})
    assert now.sheet.signatures == (Signature("oncd", "olga", "approve", (), "Fine"),)


# Grants

AUDIT, REPORT = ConditionSet(1, "oncd", "Audit", "precondition", SOON), ConditionSet(2, "ostp", "Report", "ongoing")
ISSUED = GrantIssued(
    *("nw", "northwind", "gpt-5.6", "openai", "p", 1, ("oncd", "ostp")),
    *(("standard", "pro"), ("us_person", "ally"), ("nw-labs",), (AUDIT, REPORT), LATER, "old"),
)


def granted(*events: Any, by: By = OLGA) -> tuple[Grant, Grant]:
    """A grant issued on 20 June, and what became of it on the 21st."""
    return then("grant-g", ISSUED, *events, by=by)


def test_a_grant_is_what_was_issued() -> None:
    before, _ = granted()
    assert before == Grant(
        *("g", "nw", "northwind", "gpt-5.6", "openai", "p", 1, ("oncd", "ostp")),
        *(("standard", "pro"), ("us_person", "ally"), ("nw-labs",)),
        (Condition(1, "oncd", "Audit", "precondition", SOON), Condition(2, "ostp", "Report", "ongoing", None)),
        *(BEGAN, LATER, "old"),
    )


@pytest.mark.parametrize(
    ("amendment", "changed"),
    [
        (GrantAmended(("pro",), None, None), {"tiers": ("pro",)}),
        (GrantAmended(None, ("ally",), None), {"user_classes": ("ally",)}),
        (GrantAmended(None, None, SOON), {"until": SOON}),
    ],
)
def test_an_amendment_leaves_the_rest_of_the_grant_as_it_was(amendment: Any, changed: dict[str, Any]) -> None:
    before, now = granted(amendment)
    assert now == replace(before, **changed)


@pytest.mark.parametrize(
    ("ending", "remembered"),
    [
        (GrantSurrendered("Enough"), {"ended": "surrendered"}),
        (GrantExpired(LATER), {"ended": "expired"}),
        (GrantSuperseded("g-2"), {"ended": "superseded", "superseded_by": "g-2"}),
        (GrantRevoked("Misuse", "Logs", True), {"ended": "revoked", "barred": True, "revoked_by": frozenset({"olga"})}),
    ],
)
def test_the_end_of_a_grant_is_remembered(ending: Any, remembered: dict[str, Any]) -> None:
    before, now = granted(ending)
    assert now == replace(before, ended_at=NEXT, **remembered)


def test_an_applicant_does_not_learn_who_revoked() -> None:
    assert granted(GrantRevoked("Misuse"), by=By("", "oncd", ""))[1].revoked_by == frozenset()


def test_a_condition_changes_alone() -> None:
    before, now = granted(ConditionSatisfied(1), ConditionBreached(2, "Nothing came"))
    assert [c.state for c in now.conditions] == ["satisfied", "breached"]
    before, now = granted(
        ConditionChangeProposed(1, 1, "Audit twice", 30, False),
        ConditionChangeProposed(1, 2, None, None, True),
        ConditionChangeProposed(2, 1, None, None, True),
        ConditionChanged(1, 1, "Audit twice", LATER, False),
    )
    audit, report = before.conditions
    assert now.conditions == (replace(audit, text="Audit twice", due=LATER), report)
    assert now.changes == (
        Change(1, 1, "Audit twice", 30, False, frozenset({"olga"}), True),
        Change(1, 2, None, None, True, frozenset({"olga"})),
        Change(2, 1, None, None, True, frozenset({"olga"})),
    )
    before, now = granted(ConditionChanged(1, 1, "Audit", None, True))
    assert now.conditions == (replace(audit, due=None, state="dropped"), report)


def test_a_suspension_and_its_proposed_end_belong_to_one_organization() -> None:
    story = Story("2026-06-20T15:00:00Z").happened("grant-g", ISSUED, GrantSuspended("Misuse"), by=OLGA)
    story.happened("grant-g", ReinstatementProposed("Cleared"), by=OLGA)
    story.happened("grant-g", GrantSuspended("Doubt"), ReinstatementProposed("Cleared"), by=SAM)
    here = story.state("grant-g")
    assert here.suspensions == {"oncd": "Misuse", "ostp": "Doubt"}
    assert here.reinstatements_proposed == {"oncd": frozenset({"olga"}), "ostp": frozenset({"sam"})}
    here = after("grant-g", GrantReinstated("Cleared"), on=story)
    assert (here.suspensions, here.reinstatements_proposed) == ({"ostp": "Doubt"}, {"ostp": frozenset({"sam"})})


def test_what_is_taken_back_leaves_the_grant_as_it_was() -> None:
    before, now = granted(
        RevocationNoticeIssued("Misuse", SOON),
        GrantSuspended("Misuse"),
        ReinstatementProposed("Cleared"),
        RevocationNoticeWithdrawn("Cleared"),
        GrantReinstated("Cleared"),
        RenewalRequested("nw-2", True),
        RenewalEnded("nw-2"),
    )
    assert now == before
    notice = RevocationNoticeIssued("Misuse", SOON), GrantSuspended("Misuse"), ReinstatementProposed("Cleared")
    _, now = granted(*notice, RevocationNoticeWithdrawn("Cleared"))
    assert (now.notice_respond_by, now.suspensions, now.reinstatements_proposed) == (None, {"oncd": "Misuse"}, {})
    _, now = granted(RenewalRequested("nw-2", True), RevocationNoticeIssued("Misuse", SOON))
    assert (now.renewal, now.renewal_timely, now.notice_respond_by) == ("nw-2", True, SOON)


def test_a_bar_is_lifted_once_and_for_all() -> None:
    _, proposed = granted(GrantRevoked("Misuse", "", True), BarLiftingProposed("Reformed"))
    assert (proposed.barred, proposed.bar_lifting_proposed_by) == (True, frozenset({"olga"}))
    _, lifted = granted(GrantRevoked("Misuse", "", True), BarLiftingProposed("Reformed"), BarLifted("Yes"))
    assert (lifted.barred, lifted.bar_lifting_proposed_by) == (False, None)


@pytest.mark.parametrize(("outcome", "barred"), [("uphold", True), ("remand", True), ("reverse", False)])
def test_a_bar_falls_only_with_the_revocation(outcome: Any, barred: bool) -> None:
    revoked = GrantRevoked("Misuse", "", True), AppealFiled(1, "Not us"), AppealDecided(1, outcome, "So")
    _, now = granted(*revoked)
    assert now.barred is barred
    assert now.appeals == (Appeal(1, "Not us", NEXT, outcome, NEXT, "So"),)


# Whatever else there is

FIRSTS = {
    "organization-northwind": NORTHWIND,
    "policy-p": PolicyPublished("Order", TREE, "deny", False, Clocks(), GrantTerms(), BEGAN),
    "calendar-us-federal": CalendarAmended(days("2026-07-03"), "Holiday"),
    "release-gpt-5.6": ReleaseAnnounced("openai", "GPT-5.6", ("standard",), "p", "high", PHASES),
    "request-nw": SUBMITTED,
    "grant-g": ISSUED,
    "directive-d": DirectiveIssued("Letter", Uses(releases=("gpt-5.6",)), Uses(), "Security"),
    "log-assent": LogKeyRotated("log+00000001+A"),
}


@pytest.mark.parametrize("stream", FIRSTS)
def test_an_event_that_a_stream_does_not_know_changes_nothing(stream: str) -> None:
    foreign = IncidentClosed(7, "Elsewhere") if stream != "release-gpt-5.6" else GrantReinstated("Elsewhere")
    before, now = then(stream, FIRSTS[stream], foreign)
    assert now == before is not None
