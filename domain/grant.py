"""Grant: what may a customer use, under which conditions, until when, and what ends it?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal, assert_never

from domain import appeals, policy, release
from domain.appeals import Appeal
from domain.errors import (
    AlreadySuspended,
    ChangeIsSettled,
    ConditionNotOpen,
    GrantHasEnded,
    Malformed,
    NamesUnknown,
    NoNotice,
    NotBarred,
    NotDue,
    NotFound,
    NothingToAppeal,
    NoticeAlreadyIssued,
    NoticeOrFinding,
    NotNarrower,
    NotSuspended,
    RenewalIsOpen,
    SeparationOfDuties,
    SuspendedByAnother,
    TwoPeople,
)
from domain.facts import By, Event, Fact
from domain.fields import (
    Applicant,
    Count,
    Identifier,
    Label,
    Name,
    OptionalSealedText,
    OptionalText,
    SealedText,
    SomeDays,
    Text,
)
from domain.values import replace, unguarded
from domain.world import World

KIND = "grant"
Ids = Callable[[], str]
Ended = Literal["revoked", "surrendered", "expired", "superseded"]
State = Literal["pending_conditions", "active", "suspended", "revoked", "surrendered", "expired", "superseded"]


def stream(grant: str) -> str:
    return f"{KIND}-{grant}"


@dataclass(frozen=True, slots=True)
class ConditionSet:
    """A proviso as the grant carries it; `due` is when a precondition or report is due (None: no date)."""

    number: int
    agency: str
    text: str
    kind: str
    due: datetime | None = None


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class GrantIssued:
    """An approved request became an authorization. `agencies` are those of the pinned tree."""

    WHO: ClassVar = Label.INTERAGENCY

    request: Applicant[str]
    customer: Applicant[str]
    release: Applicant[str]
    provider: Applicant[str]
    policy: Applicant[str]
    policy_version: Applicant[int]
    agencies: Applicant[tuple[str, ...]]
    tiers: Applicant[tuple[str, ...]]
    user_classes: Applicant[tuple[str, ...]]
    affiliates: Applicant[tuple[str, ...]]
    conditions: Applicant[tuple[ConditionSet, ...]]
    until: Applicant[datetime | None]
    supersedes: Applicant[str | None] = None


@dataclass(frozen=True, slots=True)
class ConditionSatisfied:
    """The agency that set the condition found it satisfied."""

    number: Applicant[int]
    evidence: Applicant[OptionalSealedText] = ""


@dataclass(frozen=True, slots=True)
class ComplianceReported:
    """The customer reported on a condition, or on all."""

    condition: Applicant[int | None]
    text: Applicant[SealedText]


@dataclass(frozen=True, slots=True)
class ConditionBreached:
    """The agency that set the condition found it broken."""

    number: Applicant[int]
    finding: Applicant[str]


@dataclass(frozen=True, slots=True)
class ConditionChangeProposed:
    """Somebody asks that a condition be worded otherwise, or dropped; its agency has to concur. None: as it is."""

    condition: Applicant[int]
    number: Applicant[int]
    text: Applicant[str | None]
    due_days: Applicant[int | None]
    drop: Applicant[bool] = False


@dataclass(frozen=True, slots=True)
class ConditionChanged:
    """The agency that set the condition concurred in a proposed change."""

    condition: Applicant[int]
    number: Applicant[int]
    text: Applicant[str]
    due: Applicant[datetime | None]
    dropped: Applicant[bool] = False


@dataclass(frozen=True, slots=True)
class RenewalRequested:
    """A request for renewal was handed in; a timely one keeps the grant in force until it is decided."""

    request: Applicant[str]
    timely: Applicant[bool]


@dataclass(frozen=True, slots=True)
class RenewalEnded:
    """The renewal came to nothing: the grant's own time counts again."""

    WHO: ClassVar = Label.INTERAGENCY

    request: Applicant[str]


@dataclass(frozen=True, slots=True)
class GrantAmended:
    """The grant was narrowed. None: unchanged."""

    tiers: Applicant[tuple[str, ...] | None]
    user_classes: Applicant[tuple[str, ...] | None]
    until: Applicant[datetime | None]
    reason: Applicant[str] = ""


@dataclass(frozen=True, slots=True)
class GrantSuspended:
    """An organization stopped the use for now; only it lets it go on."""

    reason: Applicant[str]
    finding: str = ""
    review_by: Applicant[datetime | None] = None


@dataclass(frozen=True, slots=True)
class ReinstatementProposed:
    """After a notice of revocation two people reinstate: this is the first."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class GrantReinstated:
    """The organization ended its suspension."""

    reason: Applicant[str] = ""


@dataclass(frozen=True, slots=True)
class RevocationNoticeIssued:
    """The customer was told that the grant will be revoked, and may respond until then."""

    reason: Applicant[str]
    respond_by: Applicant[datetime]


@dataclass(frozen=True, slots=True)
class RevocationNoticeWithdrawn:
    """The notice was taken back; the grant goes on."""

    reason: Applicant[str] = ""


@dataclass(frozen=True, slots=True)
class GrantRevoked:
    """The grant is at an end; with a bar the customer may not use the release at all."""

    reason: Applicant[str]
    finding: str = ""
    bar: Applicant[bool] = False


@dataclass(frozen=True, slots=True)
class BarLiftingProposed:
    """The first of two people wants the bar lifted."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class BarLifted:
    """The second of two people confirmed. The grant stays revoked."""

    reason: Applicant[str] = ""


@dataclass(frozen=True, slots=True)
class GrantSurrendered:
    """The customer gave the grant back."""

    reason: Applicant[OptionalSealedText] = ""


@dataclass(frozen=True, slots=True)
class GrantExpired:
    """The grant's time is over."""

    until: Applicant[datetime]


@dataclass(frozen=True, slots=True)
class GrantSuperseded:
    """A newer grant took this one's place."""

    WHO: ClassVar = Label.INTERAGENCY

    by: Applicant[str]


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Condition:
    """A proviso as it stands; `reported`: when the customer last reported on it, or on all."""

    number: int
    agency: str
    text: str
    kind: str
    due: datetime | None
    state: Literal["open", "satisfied", "breached", "dropped"] = "open"
    reported: datetime | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class Change:
    """A proposed change of a condition; numbered from 1 within its condition."""

    condition: int
    number: int
    text: str | None
    due_days: int | None
    drop: bool
    proposers: frozenset[str]
    settled: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class Grant:
    id: str
    request: str
    customer: str
    release: str
    provider: str
    policy: str
    policy_version: int
    agencies: tuple[str, ...]
    tiers: tuple[str, ...]
    user_classes: tuple[str, ...]
    affiliates: tuple[str, ...]
    conditions: tuple[Condition, ...]
    issued: datetime
    until: datetime | None
    supersedes: str | None = None
    suspensions: dict[str, str] = field(default_factory=dict)
    notice_respond_by: datetime | None = None
    reinstatements_proposed: dict[str, frozenset[str]] = field(default_factory=dict)
    ended: Ended | None = None
    ended_at: datetime | None = None
    superseded_by: str | None = None
    barred: bool = False
    bar_lifting_proposed_by: frozenset[str] | None = None
    revoked_by: frozenset[str] = frozenset()
    changes: tuple[Change, ...] = ()
    renewal: str | None = None
    renewal_timely: bool = False
    appeals: tuple[Appeal, ...] = ()

    @property
    def state(self) -> State:
        if self.ended:
            return self.ended
        if self.suspensions:
            return "suspended"
        if any(c.kind == "precondition" and c.state in ("open", "breached") for c in self.conditions):
            return "pending_conditions"
        return "active"

    @property
    def kept_by_renewal(self) -> bool:
        """I14: whether a timely request for renewal is under review."""
        return self.renewal is not None and self.renewal_timely

    def condition(self, number: int) -> Condition:
        found = next((c for c in self.conditions if c.number == number), None)
        if found is None:
            raise NotFound
        return found


def find(world: World, grant: str) -> Grant | None:
    return world.state(stream(grant), Grant)


# Commands


@dataclass(frozen=True, slots=True)
class SatisfyCondition:
    """Find a condition satisfied."""

    grant: Identifier
    number: Count
    evidence: OptionalSealedText = ""


@dataclass(frozen=True, slots=True)
class RecordBreach:
    """Find a condition broken."""

    grant: Identifier
    number: Count
    finding: Text


@dataclass(frozen=True, slots=True)
class ReportCompliance:
    """Report how a condition, or all of them, are kept."""

    grant: Identifier
    text: SealedText
    condition: Count | None = None


@dataclass(frozen=True, slots=True)
class ProposeConditionChange:
    """Ask that a condition be worded otherwise, or dropped."""

    grant: Identifier
    number: Count
    text: Text | None = None
    due_days: SomeDays | None = None
    drop: bool = False


@dataclass(frozen=True, slots=True)
class ConcurConditionChange:
    """Concur, for the agency that set the condition, in a proposed change."""

    grant: Identifier
    number: Count
    change: Count


@dataclass(frozen=True, slots=True)
class FileAppeal:
    """Ask somebody uninvolved to look at a revocation again."""

    grant: Identifier
    grounds: SealedText


@dataclass(frozen=True, slots=True)
class DecideAppeal:
    """Uphold a revocation, reverse it by a new grant, or send it back to the agencies."""

    grant: Identifier
    number: Count
    outcome: appeals.Outcome
    reason: Text


@dataclass(frozen=True, slots=True)
class AmendGrant:
    """Narrow a grant: fewer tiers, fewer classes of users, an earlier end."""

    grant: Identifier
    reason: Text
    tiers: tuple[Name, ...] | None = None
    user_classes: tuple[Name, ...] | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SuspendGrant:
    """Stop the use for now."""

    grant: Identifier
    reason: Text
    finding: OptionalText = ""
    review_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReinstateGrant:
    """End one's own organization's suspension; while a notice of revocation stands, two people do it."""

    grant: Identifier
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class NotifyIntentToRevoke:
    """Tell the customer that the grant will be revoked, and by when to respond."""

    grant: Identifier
    reason: Text
    respond_by: datetime


@dataclass(frozen=True, slots=True)
class WithdrawNotice:
    """Take a notice of revocation back."""

    grant: Identifier
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class RevokeGrant:
    """End a grant: after a notice whose time is over, or at once on a stated finding."""

    grant: Identifier
    reason: Text
    finding: OptionalText = ""
    bar: bool = False


@dataclass(frozen=True, slots=True)
class LiftBar:
    """Let a barred customer ask again: the first call proposes, another person's confirms."""

    grant: Identifier
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class SurrenderGrant:
    """Give a grant back."""

    grant: Identifier
    reason: OptionalSealedText = ""


@dataclass(frozen=True, slots=True)
class ExpireGrant:
    """Timer: the grant's time is over."""

    grant: Identifier


Using = (
    SatisfyCondition
    | RecordBreach
    | ReportCompliance
    | ProposeConditionChange
    | ConcurConditionChange
    | AmendGrant
    | SuspendGrant
    | ReinstateGrant
    | NotifyIntentToRevoke
    | WithdrawNotice
    | RevokeGrant
    | SurrenderGrant
    | ExpireGrant
)
"""The commands that need a grant which has not ended."""

Command = Using | LiftBar | FileAppeal | DecideAppeal

Written = Iterator[tuple[str, Event]]


def decide(command: Command, world: World, by: By, now: datetime, ids: Ids) -> Written:
    here, id = _existing(world, command.grant), stream(command.grant)
    match command:
        case LiftBar():
            yield id, lift_bar(command, here, by)
        case FileAppeal(_, grounds):
            yield id, file_appeal(revoked(here), grounds, world, now)
        case DecideAppeal():
            yield from decide_appeal(command, revoked(here), world, by, now, ids)
        case _:
            yield from use(command, live(here), world, by, now)


def live(here: Grant) -> Grant:
    if here.ended:
        raise GrantHasEnded(f"The grant is {here.ended}, and that is final (I12).", "a grant that has not ended")
    return here


def use(command: Using, here: Grant, world: World, by: By, now: datetime) -> Written:
    """What may be done with a grant while it lives."""
    id = stream(here.id)
    match command:
        case SatisfyCondition(_, number, evidence):
            _open_condition(here, number)
            yield id, ConditionSatisfied(number, evidence)
        case RecordBreach(_, number, finding):
            if here.condition(number).state in ("breached", "dropped"):
                raise ConditionNotOpen(f"Condition {number} is {here.condition(number).state}.", "an open condition")
            yield id, ConditionBreached(number, finding)
        case ReportCompliance(_, text, condition):
            if condition is not None and condition not in [c.number for c in here.conditions]:
                raise NamesUnknown(f"The grant has no condition {condition}.", f"condition {condition}")
            yield id, ComplianceReported(condition, text)
        case ProposeConditionChange():
            yield id, propose_change(command, here)
        case ConcurConditionChange(_, number, change):
            yield id, concur(here, number, change, world, by, now)
        case AmendGrant():
            yield id, narrow(command, here)
        case SuspendGrant(_, reason, finding, review_by):
            if by.organization in here.suspensions:
                raise AlreadySuspended(f"{by.organization} has suspended this grant already.", "another organization")
            yield id, GrantSuspended(reason, finding, review_by)
        case ReinstateGrant(_, reason):
            yield id, reinstate(here, by, reason)
        case NotifyIntentToRevoke(_, reason, respond_by):
            if here.notice_respond_by:
                raise NoticeAlreadyIssued("A notice of revocation stands already.", "withdrawal of the notice")
            if respond_by <= now:
                raise Malformed("A notice leaves time to respond.", "a respond_by in the future")
            yield id, RevocationNoticeIssued(reason, respond_by)
        case WithdrawNotice(_, reason):
            if here.notice_respond_by is None:
                raise NoNotice("No notice of revocation stands.", "a notice of revocation")
            yield id, RevocationNoticeWithdrawn(reason)
        case RevokeGrant():
            yield from end(here, world, revoke(command, here, now))
        case SurrenderGrant(_, reason):
            yield from end(here, world, GrantSurrendered(reason))
        case ExpireGrant():
            yield from end(here, world, expire(here, now))
        case _:
            assert_never(command)


def expire(here: Grant, now: datetime) -> GrantExpired:
    """I14: a timely request for renewal keeps the grant in force until it is decided."""
    if here.until is None or now < here.until or here.kept_by_renewal:
        raise NotDue("The grant's time is not over.", "the end of its time")
    return GrantExpired(here.until)


def end(here: Grant, world: World, ending: Event) -> Written:
    """I13: the customer leaves the release only with the last live grant."""
    yield stream(here.id), ending
    admitted = release.must_exist(world, here.release).admitted.get(here.customer, ())
    others = (find(world, id) for id in admitted)
    if not any(other.ended is None for other in others if other):
        yield release.stream(here.release), release.CustomerLeft(here.customer)


def request_renewal(here: Grant, request: str, due: datetime | None, now: datetime) -> RenewalRequested:
    """One renewal at a time; timely at or before `due` (None: at any time)."""
    if here.renewal is not None:
        raise RenewalIsOpen(f"Request {here.renewal} renews this grant already.", "its decision")
    return RenewalRequested(request, due is None or now <= due)


def propose_change(command: ProposeConditionChange, here: Grant) -> ConditionChangeProposed:
    condition = here.condition(command.number)
    if condition.state == "dropped":
        raise ConditionNotOpen(f"Condition {command.number} was dropped.", "a condition in force")
    if command.text is None and command.due_days is None and not command.drop:
        raise Malformed("Nothing would change.", "text, due_days or drop")
    if command.drop and (command.text is not None or command.due_days is not None):
        raise Malformed("A condition is dropped or worded otherwise, not both.", "drop, or text and due_days")
    number = sum(change.condition == command.number for change in here.changes) + 1
    return ConditionChangeProposed(command.number, number, command.text, command.due_days, command.drop)


def concur(here: Grant, number: int, change: int, world: World, by: By, now: datetime) -> ConditionChanged:
    """I7: a condition changes only with the recorded concurrence of the agency that set it."""
    condition = here.condition(number)
    proposed = next((c for c in here.changes if (c.condition, c.number) == (number, change)), None)
    if proposed is None:
        raise NotFound
    if proposed.settled or condition.state == "dropped":
        raise ChangeIsSettled("The change is settled already.", "a proposed change")
    if not proposed.proposers.isdisjoint(by.people):
        raise SeparationOfDuties(f"{by.person} proposed it; another officer concurs (I4).", "another officer")
    due = condition.due
    if proposed.due_days is not None:
        due = policy.due_under(here.policy, here.policy_version, proposed.due_days, "calendar", now, world)
    return ConditionChanged(number, change, proposed.text or condition.text, due, proposed.drop)


def narrow(command: AmendGrant, here: Grant) -> GrantAmended:
    """An amendment may only narrow."""
    wider = [
        *(f"tier {tier}" for tier in command.tiers or () if tier not in here.tiers),
        *(
            f"class {name}"
            for name in command.user_classes or ()
            if here.user_classes and name not in here.user_classes
        ),
    ]
    if here.until and command.until and command.until > here.until:
        wider.append(f"until {command.until.isoformat()}")
    if wider:
        raise NotNarrower("An amendment may only narrow a grant; a wider one is asked for anew.", *wider)
    if command.tiers == () or command.user_classes == ():
        raise NotNarrower("A grant covers something until it ends.", "at least one tier and class")
    amended = GrantAmended(
        command.tiers if command.tiers != here.tiers else None,
        command.user_classes if command.user_classes != here.user_classes else None,
        command.until if command.until != here.until else None,
        command.reason,
    )
    if amended == GrantAmended(None, None, None, command.reason):
        raise Malformed("Nothing would change.", "tiers, user_classes or until")
    return amended


def reinstate(here: Grant, by: By, reason: str) -> GrantReinstated | ReinstatementProposed:
    """I12: a suspension is ended by the organization that set it. I16: after a notice of revocation by two people."""
    if not here.suspensions:
        raise NotSuspended("The grant is not suspended.", "a suspension")
    if by.organization not in here.suspensions:
        holders = sorted(here.suspensions)
        raise SuspendedByAnother(f"It is suspended by {', '.join(holders)}.", f"an officer of {holders[0]}")
    if here.notice_respond_by is None:
        return GrantReinstated(reason)
    proposers = here.reinstatements_proposed.get(by.organization)
    if proposers is None:
        return ReinstatementProposed(reason)
    if not proposers.isdisjoint(by.people):
        raise TwoPeople(f"{by.person} proposed it; another person confirms (I16).", "a second person")
    return GrantReinstated(reason)


def revoke(command: RevokeGrant, here: Grant, now: datetime) -> GrantRevoked:
    heard = here.notice_respond_by is not None and here.notice_respond_by <= now
    if not command.finding and not heard:
        raise NoticeOrFinding(
            "A grant is revoked on a stated finding, or after a notice whose time to respond is over.",
            "a finding, or a notice whose respond_by has passed",
        )
    return GrantRevoked(command.reason, command.finding, command.bar)


def lift_bar(command: LiftBar, here: Grant, by: By) -> BarLiftingProposed | BarLifted:
    """I16: two different people lift a bar."""
    if not here.barred:
        raise NotBarred("The customer is not barred by this grant's revocation.", "a bar")
    if here.bar_lifting_proposed_by is None:
        return BarLiftingProposed(command.reason)
    if not here.bar_lifting_proposed_by.isdisjoint(by.people):
        raise TwoPeople(f"{by.person} proposed it; another person confirms (I16).", "a second person")
    return BarLifted(command.reason)


def revoked(here: Grant) -> Grant:
    if here.ended != "revoked":
        raise NothingToAppeal(f"The grant is {here.state}; an appeal is made against a revocation.", "a revocation")
    return here


def file_appeal(here: Grant, grounds: str, world: World, now: datetime) -> appeals.AppealFiled:
    assert here.ended_at is not None, "a revoked grant has ended"
    under = policy.clocks_of(here.policy, here.policy_version, world)
    due = None
    if under.appeal_days is not None:
        due = policy.due_under(here.policy, here.policy_version, under.appeal_days, under.days, here.ended_at, world)
    return appeals.file(here.appeals, grounds, due, now)


def decide_appeal(command: DecideAppeal, here: Grant, world: World, by: By, now: datetime, ids: Ids) -> Written:
    """A reversal issues a new grant that names the old one; what was revoked stays revoked (I12)."""
    appeals.decidable(here.appeals, command.number, by, here.revoked_by)
    yield stream(here.id), appeals.AppealDecided(command.number, command.outcome, command.reason)
    if command.outcome == "reverse":
        id = ids()
        offered = release.must_be_offered(world, here.release)
        yield stream(id), issued_again(here)
        yield release.stream(here.release), release.admit(offered, here.customer, id)


def issued_again(here: Grant) -> GrantIssued:
    """The authorization as it was before the revocation, with the conditions that were in force."""
    return GrantIssued(
        here.request,
        here.customer,
        here.release,
        here.provider,
        here.policy,
        here.policy_version,
        here.agencies,
        here.tiers,
        here.user_classes,
        here.affiliates,
        tuple(
            ConditionSet(number, c.agency, c.text, c.kind, c.due)
            for number, c in enumerate((c for c in here.conditions if c.state != "dropped"), 1)
        ),
        here.until,
        here.id,
    )


def _open_condition(here: Grant, number: int) -> None:
    if here.condition(number).state in ("satisfied", "dropped"):
        raise ConditionNotOpen(f"Condition {number} is {here.condition(number).state}.", "an open condition")


def _existing(world: World, grant: str) -> Grant:
    found = find(world, grant)
    if found is None:
        raise NamesUnknown(f"There is no grant {grant!r}.", f"grant {grant}")
    return found


def timer(state: Grant, now: datetime) -> tuple[datetime, ExpireGrant] | None:
    """The end of the grant's time, if it has come by now and nothing ended it before."""
    if state.ended or state.until is None or state.until > now or state.kept_by_renewal:
        return None
    return state.until, ExpireGrant(state.id)


def evolve(state: Grant | None, fact: Fact) -> Grant | None:
    match fact.event:
        case GrantIssued() as e:
            return issued(fact, e)
    if state is None:
        return None
    match fact.event:
        case ConditionSatisfied(number):
            return _with_condition(state, number, "satisfied")
        case ConditionBreached(number):
            return _with_condition(state, number, "breached")
        case ComplianceReported(about):
            return _reported(state, about, fact.occurred)
        case GrantAmended(tiers, user_classes, until):
            return replace(
                state,
                tiers=state.tiers if tiers is None else tiers,
                user_classes=state.user_classes if user_classes is None else user_classes,
                until=state.until if until is None else until,
            )
        case GrantSuspended(reason):
            return replace(state, suspensions={**state.suspensions, fact.by.organization: reason})
        case ReinstatementProposed():
            proposed = {**state.reinstatements_proposed, fact.by.organization: fact.by.people}
            return replace(state, reinstatements_proposed=proposed)
        case GrantReinstated():
            return _without_suspension(state, fact.by.organization)
        case RevocationNoticeIssued(_, respond_by):
            return replace(state, notice_respond_by=respond_by)
        case RevocationNoticeWithdrawn():
            return replace(state, notice_respond_by=None, reinstatements_proposed={})
        case GrantRevoked(_, _, bar):
            people = fact.by.people
            return replace(state, ended="revoked", ended_at=fact.occurred, barred=bar, revoked_by=people)
        case ConditionChangeProposed(condition, number, text, due_days, drop):
            change = Change(condition, number, text, due_days, drop, fact.by.people)
            return replace(state, changes=(*state.changes, change))
        case ConditionChanged():
            return _changed(state, fact.event)
        case RenewalRequested(request, timely):
            return replace(state, renewal=request, renewal_timely=timely)
        case RenewalEnded():
            return replace(state, renewal=None, renewal_timely=False)
        case appeals.AppealFiled():
            return replace(state, appeals=appeals.evolve(state.appeals, fact))
        case appeals.AppealDecided(_, outcome):
            barred = state.barred and outcome != "reverse"
            return replace(state, appeals=appeals.evolve(state.appeals, fact), barred=barred)
        case BarLiftingProposed():
            return replace(state, bar_lifting_proposed_by=fact.by.people)
        case BarLifted():
            return replace(state, barred=False, bar_lifting_proposed_by=None)
        case GrantSurrendered():
            return replace(state, ended="surrendered", ended_at=fact.occurred)
        case GrantExpired():
            return replace(state, ended="expired", ended_at=fact.occurred)
        case GrantSuperseded(by):
            return replace(state, ended="superseded", ended_at=fact.occurred, superseded_by=by)
        case _:
            return state


def issued(fact: Fact, e: GrantIssued) -> Grant:
    return Grant(
        fact.stream.removeprefix(f"{KIND}-"),
        e.request,
        e.customer,
        e.release,
        e.provider,
        e.policy,
        e.policy_version,
        e.agencies,
        e.tiers,
        e.user_classes,
        e.affiliates,
        tuple(Condition(c.number, c.agency, c.text, c.kind, c.due) for c in e.conditions),
        fact.occurred,
        e.until,
        e.supersedes,
    )


def _changed(state: Grant, e: ConditionChanged) -> Grant:
    def reworded(c: Condition) -> Condition:
        return replace(c, text=e.text, due=e.due, state="dropped" if e.dropped else c.state)

    return replace(
        state,
        conditions=tuple(reworded(c) if c.number == e.condition else c for c in state.conditions),
        changes=tuple(
            replace(c, settled=True) if (c.condition, c.number) == (e.condition, e.number) else c for c in state.changes
        ),
    )


def _without_suspension(state: Grant, organization: str) -> Grant:
    return replace(
        state,
        suspensions={o: reason for o, reason in state.suspensions.items() if o != organization},
        reinstatements_proposed={o: p for o, p in state.reinstatements_proposed.items() if o != organization},
    )


def _reported(state: Grant, about: int | None, when: datetime) -> Grant:
    """`about` is a condition's number, or None for all."""
    return replace(
        state,
        conditions=tuple(replace(c, reported=when) if about in (None, c.number) else c for c in state.conditions),
    )


def _with_condition(state: Grant, number: int, condition_state: Literal["satisfied", "breached"]) -> Grant:
    return replace(
        state,
        conditions=tuple(replace(c, state=condition_state) if c.number == number else c for c in state.conditions),
    )
