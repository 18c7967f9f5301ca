"""Whatever people try, in whatever order: do the invariants hold, and does access say what the log says?"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from domain import tasks
from domain.access import Use, microseconds
from domain.directive import DirectiveEased, DirectiveIssued, DirectiveLifted, IssueDirective, ProposeLifting, Uses
from domain.enforcement import Enforcement
from domain.errors import CustomerCapReached
from domain.facts import By, Fact
from domain.grant import (
    BarLifted,
    ConditionSatisfied,
    ConditionSet,
    GrantAmended,
    GrantExpired,
    GrantIssued,
    GrantReinstated,
    GrantRevoked,
    GrantSuperseded,
    GrantSurrendered,
    GrantSuspended,
    LiftBar,
    NotifyIntentToRevoke,
    ReinstateGrant,
    RevokeGrant,
    SatisfyCondition,
    SurrenderGrant,
    SuspendGrant,
    WithdrawNotice,
)
from domain.organization import Appoint, EndAppointment, OrganizationRegistered
from domain.policy import Clocks
from domain.release import (
    AdvancePhase,
    CloseIncident,
    CustomerAdmitted,
    CustomerLeft,
    HoldRollout,
    IncidentClosed,
    IncidentOpened,
    OpenIncident,
    Phase,
    PhaseAdvanced,
    PhaseRolledBack,
    ReleaseAnnounced,
    ReleaseWithdrawn,
    ResumeRollout,
    RollBackPhase,
    RolloutHeld,
    RolloutResumed,
    SignOffPhase,
)
from domain.request import (
    AcceptInformation,
    AgencySignedOff,
    AmendRequest,
    Changes,
    Countersign,
    CountersignRefused,
    DraftRequest,
    Escalate,
    InformationRequestLapsed,
    ProvideInformation,
    Recuse,
    RegisterRequest,
    RequestApproved,
    RequestDenied,
    RequestInformation,
    RequestReturned,
    RequestWithdrawn,
    ResolveDispute,
    SignOff,
    SignOffCountersigned,
    SignOffVoided,
    WithdrawRequest,
)
from domain.sign_offs import AllOf, Leaf, ProposedCondition, waiting
from domain.tasks import Task
from tests.spec import COMMERCE, ONCD, PHASES, ROOT, Story, application, instant, preview

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Random commands

PEOPLE = ("root", "rita", "dean", "rae", "olga", "omar", "sam", "cora", "carl", "cleo", "bea", "ben", "nina", "tom")
REQUESTS, GRANTS = ("r1", "r2", "r3", "r4"), ("g1", "g2", "g3")
AGENCIES = ("oncd", "ostp", "commerce")
CONDITION = (ProposedCondition("First this", "precondition"),)

requests, grants, agencies = st.sampled_from(REQUESTS), st.sampled_from(GRANTS), st.sampled_from(AGENCIES)
numbers = st.integers(1, 2)
answers = st.sampled_from(("approve", "approve", "refuse"))


def build(command: Callable[..., Any], *parts: st.SearchStrategy[Any] | Any) -> st.SearchStrategy[Any]:
    return st.builds(command, *(part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts))


def ask(customer: str, renews: str | None) -> Any:
    return application(customer, renews=renews)


COMMANDS = st.one_of(
    build(ask, st.sampled_from(("northwind", "tinker")), st.sampled_from((None, None, *GRANTS))),
    build(RegisterRequest, requests),
    build(SignOff, requests, agencies, answers),
    build(SignOff, requests, agencies, "approve"),
    build(SignOff, requests, agencies, "approve_with_conditions", CONDITION),
    build(Countersign, requests, "commerce", answers),
    build(RequestInformation, requests, agencies, "Why?"),
    build(ProvideInformation, requests, numbers, "Because"),
    build(AcceptInformation, requests, numbers),
    build(AmendRequest, requests, st.sampled_from((Changes(use="More"), Changes(duration_days=90)))),
    build(WithdrawRequest, requests),
    build(Escalate, requests, "Stuck"),
    build(Recuse, requests, st.sampled_from(PEOPLE)),
    build(ResolveDispute, requests, st.sampled_from(("approve", "deny")), "So be it", agencies.map(lambda a: (a,))),
    build(SuspendGrant, grants, "Misuse"),
    build(ReinstateGrant, grants),
    build(NotifyIntentToRevoke, grants, "Misuse", instant("2027-01-01")),
    build(WithdrawNotice, grants),
    build(RevokeGrant, grants, "Misuse", "Breach", st.booleans()),
    build(LiftBar, grants),
    build(SurrenderGrant, grants),
    build(SatisfyCondition, grants, numbers),
    build(HoldRollout, "gpt-5.6", "Wait"),
    build(ResumeRollout, "gpt-5.6"),
    build(OpenIncident, "gpt-5.6", st.sampled_from(("low", "high")), "Odd"),
    build(CloseIncident, "gpt-5.6", numbers, "Done"),
    build(SignOffPhase, "gpt-5.6", "wider", st.sampled_from(("oncd", "ostp")), answers),
    build(AdvancePhase, "gpt-5.6", st.sampled_from(("limited_preview", "wider"))),
    build(RollBackPhase, "gpt-5.6", st.sampled_from(("announced", "limited_preview")), "Harm"),
    build(IssueDirective, "Letter", Uses(releases=("gpt-5.6",)), "Danger"),
    build(ProposeLifting, "d1"),
    build(Appoint, agencies, st.sampled_from(PEOPLE), "reviewer"),
    build(EndAppointment, agencies, st.sampled_from(PEOPLE), "reviewer"),
)
ACTS = st.lists(st.tuples(COMMANDS, st.sampled_from(PEOPLE), st.integers(0, 20)), min_size=12, max_size=60)
LIKELY = {
    RegisterRequest: "rita",
    Countersign: "carl",
    RevokeGrant: "carl",
    NotifyIntentToRevoke: "carl",
    WithdrawNotice: "carl",
    SuspendGrant: "sam",
    ReinstateGrant: "sam",
    Escalate: "omar",
    ResolveDispute: "dean",
    AdvancePhase: "rae",
    RollBackPhase: "rae",
    IssueDirective: "bea",
    AmendRequest: "nina",
    SurrenderGrant: "nina",
    ProvideInformation: "nina",
}
OFFICERS = {"oncd": "olga", "ostp": "sam", "commerce": "cora"}


def opening() -> Story:
    """Northwind holds g1; tinker's r2 and a renewal r3 are in review, and each lacks the countersignature only."""
    tree = AllOf((ONCD, Leaf("ostp", due_days=30, silence="escalate"), COMMERCE))
    wider = Phase("wider", "granted", gate=AllOf((ONCD, Leaf("ostp"))), customer_cap=2)
    phases = (PHASES[0], replace(PHASES[1], customer_cap=1), wider)
    story = preview(tree, phases=phases, clocks=Clocks(60, "business", 20), on_refusal="escalate")
    for name, request in (("r1", application()), ("r2", application("tinker")), ("r3", application(renews="g1"))):
        story.given(request, by="tom" if name == "r2" else "nina", ids=[name]).given(RegisterRequest(name), by="rita")
        for agency, person in OFFICERS.items():
            story.given(SignOff(name, agency, "approve_with_conditions", CONDITION), by=person)
        if name == "r1":
            story.given(Countersign("r1", "commerce"), by="carl", ids=["g1"])
    return story


def play(acts: list[tuple[Any, str, int]]) -> Story:
    """Give the commands, most of them by somebody who may; the refused ones leave nothing."""
    story = opening()
    for command, person, luck in acts:
        story.at((story.now + timedelta(hours=luck)).isoformat())
        by = (
            person if luck % 3 == 0 else LIKELY.get(type(command), OFFICERS.get(getattr(command, "agency", ""), person))
        )
        if isinstance(command, DraftRequest):
            by = {"northwind": "nina", "tinker": "tom"}[command.customer]
        kind = {DraftRequest: "request", IssueDirective: "directive"}.get(type(command), "grant")
        opened = sum(name.startswith(f"{kind}-") for name in story.streams)
        outcome = story.when(command, by=by, ids=[f"{kind[0]}{opened + 1}"])
        if outcome.facts:
            note(f"{story.now:%m-%d %H:%M} {by}: {command} -> {', '.join(fact.type for fact in outcome.facts)}")
    return story


FINAL = {RequestApproved, RequestDenied, RequestReturned, RequestWithdrawn, InformationRequestLapsed}
ENDS = {GrantRevoked, GrantSurrendered, GrantExpired, GrantSuperseded}


def by_stream(facts: list[Fact], kind: str) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.stream.startswith(f"{kind}-"):
            found.setdefault(fact.stream, []).append(fact)
    return found


@QUICK
@given(ACTS)
def test_whatever_people_try_the_invariants_hold(acts: list[tuple[Any, str, int]]) -> None:
    story = play(acts)
    for stream, facts in by_stream(story.facts, "request").items():
        one_decision_per_cycle(facts)
        approved_on_the_current_revision(stream, facts)
    for facts in by_stream(story.facts, "grant").values():
        ended_stays_ended(facts)
        suspensions_are_ended_by_who_set_them(facts)
    for facts in by_stream(story.facts, "release").values():
        cap_is_never_exceeded(facts)
        no_phase_begins_while_held(facts)
    for facts in by_stream(story.facts, "directive").values():
        two_people_lift(facts)
    issues_and_approvals_are_one_append(story.facts)


def one_decision_per_cycle(facts: list[Fact]) -> None:
    """I1, and nothing happens in a cycle after its decision."""
    final = [n for n, fact in enumerate(facts) if type(fact.event) in FINAL]
    assert final in ([], [len(facts) - 1])


def approved_on_the_current_revision(stream: str, facts: list[Fact]) -> None:
    """I2, I4: counted again from the log: each agency of this play's tree needs one person, commerce two."""
    stands: dict[tuple[str, str], str] = {}
    countersigned: set[tuple[str, str]] = set()
    overruled: set[str] = set()
    for fact in facts:
        match fact.event:
            case AgencySignedOff(agency, _, position):
                stands[agency, fact.by.person] = position
                countersigned.discard((agency, fact.by.person))
            case SignOffVoided(agency, people) | CountersignRefused(agency, people):
                for person in people:
                    stands.pop((agency, person), None)
            case SignOffCountersigned(agency, people):
                assert fact.by.person not in people, "I4: nobody countersigns their own sign-off"
                countersigned |= {(agency, person) for person in people}
            case RequestApproved():
                for agency in {"oncd", "ostp", "commerce"} - overruled:
                    good = {key for key, position in stands.items() if key[0] == agency and position != "refuse"}
                    assert good & countersigned if agency == "commerce" else good, f"I2: {agency} has not approved"
                signers = [person for (agency, person) in stands if agency not in overruled]
                assert len(signers) == len(set(signers)), "I4: nobody counts twice in a tree"
            case _:
                overruled |= set(getattr(fact.event, "overrules", ()))


def ended_stays_ended(facts: list[Fact]) -> None:
    """I12: after the end only the bar is spoken of."""
    ends = [n for n, fact in enumerate(facts) if type(fact.event) in ENDS]
    assert len(ends) <= 1
    assert all("Bar" in fact.type for fact in facts[ends[0] + 1 :]) if ends else True


def suspensions_are_ended_by_who_set_them(facts: list[Fact]) -> None:
    """I12."""
    suspending: list[str] = []
    for fact in facts:
        if isinstance(fact.event, GrantSuspended):
            assert fact.by.organization not in suspending
            suspending.append(fact.by.organization)
        if isinstance(fact.event, GrantReinstated):
            suspending.remove(fact.by.organization)


def cap_is_never_exceeded(facts: list[Fact]) -> None:
    """I17: nobody is admitted beyond the cap of the phase of that time."""
    admitted: set[str] = set()
    cap: int | None = None
    for fact in facts:
        match fact.event:
            case PhaseAdvanced(to) | PhaseRolledBack(to):
                cap = {"announced": None, "limited_preview": 1, "wider": 2}[to]
            case CustomerAdmitted(customer):
                assert customer in admitted or cap is None or len(admitted) < cap
                admitted.add(customer)
            case CustomerLeft(customer):
                admitted.remove(customer)


def no_phase_begins_while_held(facts: list[Fact]) -> None:
    """I15: each incident at the threshold is held for; nothing advances while held or open."""
    holding: set[str] = set()
    open_: dict[int, str] = {}
    for fact in facts:
        match fact.event:
            case RolloutHeld():
                holding.add(fact.by.organization)
            case RolloutResumed():
                holding.remove(fact.by.organization)
            case IncidentOpened(number, _, _, True):
                open_[number] = fact.by.organization
            case IncidentClosed(number):
                assert open_.pop(number, fact.by.organization) == fact.by.organization
            case PhaseAdvanced():
                assert not holding
                assert not open_


def two_people_lift(facts: list[Fact]) -> None:
    """I16."""
    for before, fact in pairwise(facts):
        if isinstance(fact.event, DirectiveLifted):
            assert before.by.person != fact.by.person


def issues_and_approvals_are_one_append(facts: list[Fact]) -> None:
    """Each grant stands right behind the approval that names it, and the admission behind both."""
    for n, fact in enumerate(facts):
        if isinstance(fact.event, RequestApproved):
            assert facts[n + 1].stream == f"grant-{fact.event.grant}"
            assert any(
                f.event == CustomerAdmitted(facts[n + 1].event.customer, fact.event.grant) for f in facts[n : n + 4]
            )


# Access, computed anew from the whole log for each question


def naive(facts: list[Fact], use: Use, now: datetime) -> str:
    """I10 in the words of the design, by looking through the log again for every answer."""

    def events(stream: str, *kinds: type) -> list[Any]:
        return [f.event for f in facts if f.stream == stream and isinstance(f.event, kinds or object)]

    announced = events(f"release-{use.release}", ReleaseAnnounced)
    if not announced:
        return "unknown_release"
    if not any(e.kind == "customer" for e in events(f"organization-{use.customer}", OrganizationRegistered)):
        return "unknown_customer"
    if events(f"release-{use.release}", ReleaseWithdrawn):
        return "withdrawn"
    if any(naive_directive(events(name), use, announced[0].provider) for name in streams_of(facts, "directive")):
        return "directive"
    grants = [name for name in streams_of(facts, "grant") if concerns(events(name)[0], use)]
    if any(e.bar and not events(name, BarLifted) for name in grants for e in events(name, GrantRevoked)):
        return "barred"
    names = [
        announced[0].phases[0].name,
        *(e.to for e in events(f"release-{use.release}", PhaseAdvanced, PhaseRolledBack)),
    ]
    access = next(phase.access for phase in announced[0].phases if phase.name == names[-1])
    if access != "granted":
        return {"closed": "phase_closed", "open": "open_phase"}[access]
    order = ["pending_conditions", "grant_suspended", "grant_revoked", "grant_expired"]
    order = ["no_grant", *order, "tier_not_covered", "class_not_covered", "affiliate_not_covered", "granted"]
    found = [naive_grant([f for f in facts if f.stream == name], use, announced[0].tiers, now) for name in grants]
    return max(["no_grant", *found], key=order.index)


def streams_of(facts: list[Fact], kind: str) -> set[str]:
    return {fact.stream for fact in facts if fact.stream.startswith(f"{kind}-")}


def concerns(issued: GrantIssued, use: Use) -> bool:
    return (issued.customer, issued.release) == (use.customer, use.release)


def naive_directive(events: list[Any], use: Use, provider: str) -> bool:
    if any(isinstance(e, DirectiveLifted) for e in events):
        return False
    issued = events[0]
    eased = {o for e in events if isinstance(e, DirectiveEased) for o in e.carve_outs.organizations}
    values = {
        "releases": {use.release},
        "providers": {provider},
        "organizations": {use.customer} | ({use.affiliate} if use.affiliate else set()),
        "person_classes": {use.person_class} if use.person_class else set(),
    }
    for part, mine in values.items():
        wanted = set(getattr(issued.scope, part))
        unknown_class = part == "person_classes" and use.person_class is None
        if wanted and not wanted & mine and not unknown_class:
            return False
        if mine & (set(getattr(issued.carve_outs, part)) | (eased if part == "organizations" else set())):
            return False
    return True


def naive_grant(facts: list[Fact], use: Use, tiers: tuple[str, ...], now: datetime) -> str:
    events = [fact.event for fact in facts]
    issued = events[0]
    happened = {type(e) for e in events}
    if happened & {GrantSurrendered, GrantSuperseded}:
        return "no_grant"
    met = {e.number for e in events if isinstance(e, ConditionSatisfied)}
    if any(c.kind == "precondition" and c.number not in met for c in issued.conditions):
        return "pending_conditions"
    balance: dict[str, int] = {}
    for fact in facts:
        change = {GrantSuspended: 1, GrantReinstated: -1}.get(type(fact.event), 0)
        balance[fact.by.organization] = balance.get(fact.by.organization, 0) + change
    if any(balance.values()):
        return "grant_suspended"
    if GrantRevoked in happened:
        return "grant_revoked"
    latest = {part: getattr(issued, part) for part in ("tiers", "user_classes", "until")}
    for e in events:
        if isinstance(e, GrantAmended):
            latest |= {part: value for part in latest if (value := getattr(e, part)) is not None}
    if GrantExpired in happened or (latest["until"] and now >= latest["until"]):
        return "grant_expired"
    tier = tiers[0] if use.tier is None and len(tiers) == 1 else use.tier
    if tier not in latest["tiers"]:
        return "tier_not_covered"
    if latest["user_classes"] and use.person_class not in latest["user_classes"]:
        return "class_not_covered"
    return "affiliate_not_covered" if use.affiliate and use.affiliate not in issued.affiliates else "granted"


ONE = By("olga", "oncd", "reviewer"), By("sam", "ostp", "reviewer")
MONTHS = [instant(f"2026-{month:02}-01") for month in range(7, 12)]
CLASSES, BODIES, TIERS = ("us_person", "ally"), ("northwind", "nw-labs", "tinker"), ("standard", "pro")


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


USES = st.builds(Uses, some(("gpt-5.6", "other")), some(("openai", "anthropic")), some(BODIES), some(CLASSES))
ISSUES = st.builds(
    lambda tiers, classes, affiliates, kinds, until: GrantIssued(
        *("nw", "northwind", "gpt-5.6", "openai", "policy", 1, ("oncd",), tiers, classes, affiliates),
        tuple(ConditionSet(n, "oncd", "Text", kind) for n, kind in enumerate(kinds, 1)),
        until,
    ),
    st.lists(st.sampled_from(TIERS), min_size=1, unique=True).map(tuple),
    some(CLASSES),
    some(("nw-labs",)),
    st.lists(st.sampled_from(("precondition", "ongoing")), max_size=2),
    st.sampled_from([None, *MONTHS]),
)
GRANT_EVENTS = st.one_of(
    build(ConditionSatisfied, numbers),
    build(
        GrantAmended,
        st.sampled_from((None, ("standard",))),
        st.sampled_from((None, ("ally",))),
        st.sampled_from([None, *MONTHS]),
    ),
    build(GrantSuspended, "Misuse"),
)
GRANT_ENDS = st.one_of(
    build(GrantRevoked, "Misuse", "", st.booleans()),
    build(GrantSurrendered),
    build(GrantSuperseded, "next"),
    build(GrantExpired, MONTHS[0]),
)


@st.composite
def grant_life(draw: st.DrawFn) -> list[tuple[Any, By]]:
    """A grant's events as the rules let them happen: suspensions balance, and after the end only a bar is lifted."""
    life: list[tuple[Any, By]] = [(draw(ISSUES), ONE[0])]
    suspended: set[By] = set()
    for event in draw(st.lists(GRANT_EVENTS, max_size=4)):
        by = draw(st.sampled_from(ONE))
        again = isinstance(event, GrantSuspended) and by in suspended
        life.append((GrantReinstated() if again else event, by))
        suspended ^= {by} if isinstance(event, GrantSuspended) else set()
    if draw(st.booleans()):
        life.append((draw(GRANT_ENDS), ONE[0]))
        if isinstance(life[-1][0], GrantRevoked) and life[-1][0].bar and draw(st.booleans()):
            life.append((BarLifted(), ONE[1]))
    return life


@st.composite
def histories(draw: st.DrawFn) -> Story:
    story = Story("2026-06-20T13:00:00Z")
    for customer in ("northwind", "tinker"):
        story.happened(f"organization-{customer}", OrganizationRegistered("customer", customer, "US", "large"))
    story.happened("organization-oncd", OrganizationRegistered("agency", "Office", "US"))
    phases = (Phase("a", "closed"), Phase("b", "granted"), Phase("c", "open"))
    tiers = draw(st.sampled_from((TIERS, TIERS[:1])))
    story.happened("release-gpt-5.6", ReleaseAnnounced("openai", "GPT", tiers, "policy", "high", phases), by=ROOT)
    for to in draw(st.sampled_from(((), ("b",), ("b",), ("b",), ("b", "c"), ("b", "c", "b"), ("b", "a")))):
        story.happened("release-gpt-5.6", PhaseRolledBack(to) if to == "a" else PhaseAdvanced(to), by=ROOT)
    for n, life in enumerate(draw(st.lists(grant_life(), max_size=3))):
        for event, by in life:
            story.happened(f"grant-g{n}", event, by=by)
    for n, (scope, carve_outs) in enumerate(
        draw(st.lists(st.tuples(USES.filter(lambda u: not u.is_empty), USES), max_size=2))
    ):
        story.happened(f"directive-d{n}", DirectiveIssued("Letter", scope, carve_outs), by=ROOT)
        for body in draw(some(("northwind", "tinker"))):
            story.happened(f"directive-d{n}", DirectiveEased(Uses(organizations=(body,))), by=ROOT)
        if draw(st.booleans()):
            story.happened(f"directive-d{n}", DirectiveLifted(), by=ROOT)
    if draw(st.integers(0, 9)) == 0:
        story.happened("release-gpt-5.6", ReleaseWithdrawn("Unsafe"), by=ROOT)
    return story


QUESTIONS = st.lists(
    st.tuples(
        st.builds(
            Use,
            st.sampled_from(("northwind", "northwind", "northwind", "tinker", "oncd", "nobody")),
            st.sampled_from(("gpt-5.6", "gpt-5.6", "gpt-5.6", "other")),
            st.sampled_from((None, *TIERS)),
            st.sampled_from((None, *CLASSES)),
            st.sampled_from((None, None, "nw-labs", "stranger")),
        ),
        st.sampled_from([month + timedelta(seconds=shift) for month in MONTHS for shift in (-1, 0)]),
    ),
    min_size=1,
    max_size=8,
)


@QUICK
@given(histories(), QUESTIONS)
def test_i10_access_says_what_a_naive_look_through_the_log_says(
    story: Story, questions: list[tuple[Use, datetime]]
) -> None:
    enforcement = Enforcement()
    for fact in story.facts:
        enforcement.take(fact)
    for use, now in questions:
        answer = enforcement.access.check(use, microseconds(now))
        assert answer.reason == naive(story.facts, use, now)
        assert answer.allowed == (answer.reason in ("granted", "open_phase"))
        assert all(0 <= position < len(story.facts) for position in answer.because)


@settings(QUICK, max_examples=25)
@given(ACTS)
def test_a_task_is_open_to_exactly_those_whom_the_rules_let_do_it(acts: list[tuple[Any, str, int]]) -> None:
    """For every request in review, every agency that is waited for, and everybody; whatever happened before."""
    story = play(acts)
    requests = [stream.state for name, stream in story.streams.items() if name.startswith("request-")]
    for here in [each for each in requests if each.terms and each.registered and not each.outcome]:
        customer = story.state(f"organization-{here.customer}")
        for leaf in waiting(here.terms.sign_offs, here.sheet):
            task = tasks.of_request(leaf, here)
            agency = story.state(f"organization-{leaf.agency}")
            for person in PEOPLE:
                roles = set(agency.roles(person, story.now)) & set(task.roles)
                kept = task.customer is not None and customer.employs(frozenset({person}), story.now)
                is_open = bool(roles) and task.is_open_to(frozenset({person})) and not kept
                assert is_open == rules_let(story, task, here.id, leaf.agency, person), (task, person)


def rules_let(story: Story, task: Task, request: str, agency: str, person: str) -> bool:
    """Whether they may; that the release is full (I17) keeps nobody from it in particular."""
    match task.act:
        case None:
            return False
        case "SignOff":
            commands: list[Any] = [SignOff(request, agency, "approve", reason="New")]
        case "Countersign":
            commands = [Countersign(request, agency)]
        case _:
            asked = story.state(f"request-{request}").questions
            commands = [AcceptInformation(request, q.number) for q in asked if q.agency == agency and not q.accepted]
    refusals = [deepcopy(story).when(command, by=person).refusal for command in commands]
    return any(refusal is None or isinstance(refusal, CustomerCapReached) for refusal in refusals)
