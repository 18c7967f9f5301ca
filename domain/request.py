"""Request: may this customer have what it asks for, and how far is the review?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, assert_never

from domain import appeals, calendar, clocks, grant, organization, release
from domain import policy as policies
from domain.appeals import Appeal
from domain.errors import (
    AlreadyAnswered,
    AlreadyEscalated,
    AlreadyExtended,
    AlreadyRecused,
    GrantHasEnded,
    Malformed,
    NamesUnknown,
    NoPolicyInForce,
    NotADraft,
    NotAnswered,
    NotDue,
    NotEscalated,
    NotFound,
    NothingToAppeal,
    NotInReview,
    NotRegistrable,
    NotWaitingForDecision,
    OrganizationClosed,
    RequestIsDecided,
    SeparationOfDuties,
    SignOffsMissing,
    TooLate,
)
from domain.facts import SYSTEM, By, Event, Fact
from domain.fields import (
    AgencyOnly,
    Answer,
    Applicant,
    Bounds,
    Count,
    Identifier,
    Interagency,
    Label,
    Name,
    OptionalSealedText,
    OptionalText,
    Person,
    Position,
    SealedText,
    Slug,
    SomeDays,
    Text,
)
from domain.organization import SENIORS
from domain.sign_offs import (
    BLANK,
    Leaf,
    ProposedCondition,
    Sheet,
    Signature,
    Tree,
    Verdict,
    agencies,
    countersignable,
    leaves,
    signs_for_one_agency,
    silence_of,
    takes_position,
    verdict,
    waiting,
)
from domain.values import replace, unguarded
from domain.world import World

KIND = "request"
Ids = Callable[[], str]
Outcome = Literal["approved", "denied", "returned", "withdrawn", "lapsed"]
State = Literal[
    "draft",
    "submitted",
    "in_review",
    "on_hold",
    "escalated",
    "awaiting_decision",
    "approved",
    "denied",
    "returned",
    "withdrawn",
    "lapsed",
]
Dues = dict[str, datetime]


def stream(request: str) -> str:
    return f"{KIND}-{request}"


@dataclass(frozen=True, slots=True)
class Terms:
    """The version of the policy that a request is pinned to."""

    policy: str
    version: int
    sign_offs: Tree
    on_refusal: policies.OnRefusal
    decider: bool
    clocks: policies.Clocks
    grant_days: int | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What an amendment changes. None: unchanged."""

    use: SealedText | None = None
    tier: Name | None = None
    user_classes: tuple[Name, ...] | None = None
    affiliates: tuple[Slug, ...] | None = None
    duration_days: SomeDays | None = None


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class RequestDrafted:
    """An applicant began to write an application."""

    customer: Applicant[str]
    release: Applicant[str]
    provider: Applicant[str]
    tier: Applicant[str]
    use: Applicant[SealedText]
    user_classes: Applicant[tuple[str, ...]] = ()
    affiliates: Applicant[tuple[str, ...]] = ()
    duration_days: Applicant[int | None] = None
    renews: Applicant[str | None] = None


@dataclass(frozen=True, slots=True)
class RequestSubmitted:
    """The application was handed in, and pinned to the policy in force."""

    customer: Applicant[str]
    release: Applicant[str]
    provider: Applicant[str]
    tier: Applicant[str]
    use: Applicant[SealedText]
    terms: Applicant[Terms]
    user_classes: Applicant[tuple[str, ...]] = ()
    affiliates: Applicant[tuple[str, ...]] = ()
    duration_days: Applicant[int | None] = None
    renews: Applicant[str | None] = None
    intake_due: Applicant[datetime | None] = None


@dataclass(frozen=True, slots=True)
class RequestRegistered:
    """The application is complete; the clock of each agency starts."""

    due: Applicant[datetime]
    dues: Interagency[Dues]


@dataclass(frozen=True, slots=True)
class RequestReturned:
    """The application went back without action."""

    deficiencies: Applicant[str]


@dataclass(frozen=True, slots=True)
class RequestAmended:
    """The applicant changed the application: a new revision."""

    revision: Applicant[int]
    changes: Applicant[Changes]
    material: Applicant[bool]
    reason: Applicant[OptionalSealedText] = ""


@dataclass(frozen=True, slots=True)
class SignOffVoided:
    """A material change voided an agency's positions."""

    agency: str
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestWithdrawn:
    """The applicant took the application back."""

    reason: Applicant[OptionalSealedText] = ""


@dataclass(frozen=True, slots=True)
class AgencySignedOff:
    """An agency's officer took a position on the current revision."""

    agency: str
    revision: int
    position: Position
    conditions: tuple[ProposedCondition, ...] = ()
    reason: str = ""
    note: AgencyOnly[str] = ""


@dataclass(frozen=True, slots=True)
class SignOffCountersigned:
    """The positions of these people for the agency were countersigned."""

    agency: str
    people: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CountersignRefused:
    """The positions of these people for the agency were sent back and no longer stand."""

    agency: str
    people: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReviewExtended:
    """The review may take longer, once."""

    agency: Interagency[str]
    days: Applicant[int]
    due: Applicant[datetime]
    dues: Interagency[Dues]
    reason: Interagency[str] = ""


@dataclass(frozen=True, slots=True)
class InformationRequested:
    """An agency asks the applicant; the clock stops."""

    number: Applicant[int]
    agency: Applicant[str]
    question: Applicant[str]
    due: Applicant[datetime | None] = None


@dataclass(frozen=True, slots=True)
class InformationProvided:
    """The applicant answered; the clock runs unless another question waits."""

    number: Applicant[int]
    answer: Applicant[SealedText]


@dataclass(frozen=True, slots=True)
class InformationAccepted:
    """The agency that asked closed the question."""

    number: Applicant[int]


@dataclass(frozen=True, slots=True)
class PersonRecused:
    """The person neither acts on nor reads this request any more."""

    person: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RequestEscalated:
    """The agencies cannot settle it among themselves."""

    reason: str


@dataclass(frozen=True, slots=True)
class DisputeResolved:
    """A decider settled an escalated request; the leaves of the overruled agencies count as approving."""

    outcome: Literal["approve", "deny", "return"]
    overrules: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class NoObjectionDeemed:
    """The agency was silent until its due date, and the policy takes that for no objection."""

    agency: str
    due: datetime


@dataclass(frozen=True, slots=True)
class InformationRequestLapsed:
    """The applicant did not answer in time."""

    number: Applicant[int]


@dataclass(frozen=True, slots=True)
class DeadlineMissed:
    """A due date passed without what it was for: an agency's sign-off, or (no agency) the registration."""

    agency: str | None
    due: datetime


@dataclass(frozen=True, slots=True)
class DueDateMoved:
    """The due dates moved: the applicant kept the agencies waiting, or changed the application."""

    due: Applicant[datetime]
    dues: Interagency[Dues]
    reason: Applicant[str]


@dataclass(frozen=True, slots=True)
class RequestApproved:
    """The request was granted. Who settled it is part of the deliberations."""

    WHO: ClassVar = Label.INTERAGENCY

    grant: Applicant[str]
    reason: Applicant[str] = ""


@dataclass(frozen=True, slots=True)
class RequestDenied:
    """The request was refused. Who refused is part of the deliberations."""

    WHO: ClassVar = Label.INTERAGENCY

    reason: Applicant[str]
    refused_by: Interagency[tuple[str, ...]] = ()


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Question:
    number: int
    agency: str
    question: str
    asked: datetime
    due: datetime | None = None
    answer: str | None = None
    answered: datetime | None = None
    accepted: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class AccessRequest:
    id: str
    customer: str
    release: str
    provider: str
    tier: str
    use: str
    user_classes: tuple[str, ...]
    affiliates: tuple[str, ...]
    duration_days: int | None
    renews: str | None
    applicant: str
    revision: int = 1
    terms: Terms | None = None
    agencies: tuple[str, ...] = ()
    """The agencies of the pinned tree."""
    submitted: datetime | None = None
    intake_due: datetime | None = None
    registered: datetime | None = None
    dues: Dues = field(default_factory=dict)
    due: datetime | None = None
    missed: frozenset[str | None] = frozenset()
    clock_started: datetime | None = None
    waits: tuple[clocks.Interval, ...] = ()
    extension_days: int = 0
    sheet: Sheet = BLANK
    questions: tuple[Question, ...] = ()
    stopped: datetime | None = None
    escalated: bool = False
    recused: frozenset[str] = frozenset()
    outcome: Outcome | None = None
    decided: datetime | None = None
    decided_by: str | None = None
    reason: str = ""
    grant: str | None = None
    cycle: int = 1
    appeals: tuple[Appeal, ...] = ()

    @property
    def state(self) -> State:
        if self.appeals and self.appeals[-1].outcome is None:
            return "awaiting_decision"
        if self.outcome:
            return self.outcome
        if self.terms is None:
            return "draft"
        if self.registered is None:
            return "submitted"
        if self.escalated:
            return "escalated"
        if self.terms.decider and verdict(self.terms.sign_offs, self.sheet) is not Verdict.WAITS:
            return "awaiting_decision"
        return "on_hold" if self.stopped else "in_review"

    def question(self, number: int) -> Question:
        found = next((q for q in self.questions if q.number == number), None)
        if found is None:
            raise NotFound
        return found


def find(world: World, request: str) -> AccessRequest | None:
    return world.state(stream(request), AccessRequest)


# Commands


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """Ask for the use of a release; unless it is to stay a draft, the application is handed in at once."""

    customer: Slug
    release: Slug
    use: SealedText
    tier: Name | None = None
    user_classes: Annotated[tuple[Name, ...], Bounds(0, 100)] = ()
    affiliates: Annotated[tuple[Slug, ...], Bounds(0, 1000)] = ()
    duration_days: SomeDays | None = None
    renews: Identifier | None = None
    draft: bool = False


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """Hand a draft in."""

    request: Identifier


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """Find an application complete; the clock starts."""

    request: Identifier


@dataclass(frozen=True, slots=True)
class ReturnWithoutAction:
    """Send an application back that cannot be reviewed."""

    request: Identifier
    deficiencies: Text


@dataclass(frozen=True, slots=True)
class AmendRequest:
    """Change an application."""

    request: Identifier
    changes: Changes
    reason: OptionalSealedText = ""


@dataclass(frozen=True, slots=True)
class WithdrawRequest:
    """Take an application back."""

    request: Identifier
    reason: OptionalSealedText = ""


@dataclass(frozen=True, slots=True)
class SignOff:
    """Take an agency's position on the current revision."""

    request: Identifier
    agency: Slug
    position: Position
    conditions: Annotated[tuple[ProposedCondition, ...], Bounds(0, 100)] = ()
    reason: OptionalText = ""
    note: OptionalText = ""


@dataclass(frozen=True, slots=True)
class Countersign:
    """Confirm, or send back, what the agency's officers signed."""

    request: Identifier
    agency: Slug
    position: Answer = "approve"
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class ExtendReview:
    """Let the review take longer: once, and before it is due."""

    request: Identifier
    agency: Slug
    days: SomeDays
    reason: Text


@dataclass(frozen=True, slots=True)
class RequestInformation:
    """Ask the applicant; the clock stops."""

    request: Identifier
    agency: Slug
    question: Text


@dataclass(frozen=True, slots=True)
class ProvideInformation:
    """Answer an agency's question."""

    request: Identifier
    number: Count
    answer: SealedText


@dataclass(frozen=True, slots=True)
class AcceptInformation:
    """Close a question that was answered."""

    request: Identifier
    number: Count


@dataclass(frozen=True, slots=True)
class Recuse:
    """Keep a person out of this request."""

    request: Identifier
    person: Person
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class Escalate:
    """Hand a request to the deciders."""

    request: Identifier
    reason: Text


@dataclass(frozen=True, slots=True)
class ResolveDispute:
    """Settle an escalated request, naming the agencies that are overruled."""

    request: Identifier
    outcome: Literal["approve", "deny", "return"]
    reason: Text
    overrules: Annotated[tuple[Slug, ...], Bounds(0, 100)] = ()


@dataclass(frozen=True, slots=True)
class Decide:
    """Decide a request whose policy asks for a decider."""

    request: Identifier
    outcome: Literal["approve", "deny"]
    reason: Text


@dataclass(frozen=True, slots=True)
class FileAppeal:
    """Ask somebody uninvolved to look at a denial again; a new cycle opens."""

    request: Identifier
    grounds: SealedText


@dataclass(frozen=True, slots=True)
class DecideAppeal:
    """Uphold a denial, reverse it, or send it back for a new review."""

    request: Identifier
    number: Count
    outcome: appeals.Outcome
    reason: Text


@dataclass(frozen=True, slots=True)
class RequestRenewal:
    """Ask for a grant's renewal: a request like the one before opens, and its approval supersedes the grant."""

    ACTS_ON: ClassVar = grant.KIND

    grant: Identifier


@dataclass(frozen=True, slots=True)
class MissDeadline:
    """Timer: an agency's due date, or (no agency) the intake's, has passed."""

    request: Identifier
    agency: Slug | None


@dataclass(frozen=True, slots=True)
class LapseInformation:
    """Timer: the applicant did not answer in time."""

    request: Identifier
    number: Count


Reviewing = (
    SubmitRequest
    | RegisterRequest
    | ReturnWithoutAction
    | AmendRequest
    | WithdrawRequest
    | SignOff
    | Countersign
    | ExtendReview
    | RequestInformation
    | ProvideInformation
    | AcceptInformation
    | Recuse
    | Escalate
    | ResolveDispute
    | Decide
    | MissDeadline
    | LapseInformation
)
"""The commands of one review cycle."""

SETTLING = (SignOff, Countersign, AcceptInformation, MissDeadline)
"""The commands after which the tree may be satisfied, or cannot be any more."""

Command = DraftRequest | Reviewing | FileAppeal | DecideAppeal | RequestRenewal

Written = Iterator[tuple[str, Event]]


def decide(command: Command, world: World, by: By, now: datetime, ids: Ids) -> Written:
    match command:
        case DraftRequest(draft=True):
            yield stream(ids()), draft(command, world, now)
        case DraftRequest():
            yield from submit(ids(), draft(command, world, now), world, now)
        case RequestRenewal():
            yield from submit(ids(), draft(renewal_of(command.grant, world), world, now), world, now)
        case FileAppeal(_, grounds):
            yield stream(command.request), file_appeal(denied(world, command.request), grounds, world, now)
        case DecideAppeal():
            yield from decide_appeal(command, denied(world, command.request), world, by, now, ids)
        case _:
            yield from review(command, undecided(world, command.request), world, by, now, ids)


def review(command: Reviewing, here: AccessRequest, world: World, by: By, now: datetime, ids: Ids) -> Written:
    """What may be done to a request in its cycle, from a draft to the decision."""
    id = stream(here.id)
    match command:
        case SubmitRequest():
            yield from submit(here.id, as_drafted(here), world, now)
        case RegisterRequest():
            yield id, register(here, world, now)
        case ReturnWithoutAction(_, deficiencies):
            handed_in(here)
            yield id, RequestReturned(deficiencies)
        case AmendRequest():
            yield from amend(command, here, world, now)
        case WithdrawRequest(_, reason):
            yield id, RequestWithdrawn(reason)
        case SignOff():
            yield id, sign_off(command, in_review(here), world, by, now)
        case Countersign():
            yield id, countersign(command, in_review(here), world, by, now)
        case ExtendReview():
            yield id, extend(command, in_review(here), world, now)
        case RequestInformation():
            yield id, request_information(command, in_review(here), world, now)
        case ProvideInformation(_, number, answer):
            may_answer(in_review(here).question(number))
            yield id, InformationProvided(number, answer)
            yield from restart_clock(here, world)
        case AcceptInformation(_, number):
            may_accept(in_review(here).question(number))
            yield id, InformationAccepted(number)
        case Recuse():
            yield id, recuse(command, here)
            yield from escalate_without_officers(command.request, world, now)
        case Escalate(_, reason):
            yield id, escalate(in_review(here), reason)
        case ResolveDispute():
            yield from resolve(command, in_review(here), world, by, now, ids)
        case Decide():
            yield from decide_request(command, in_review(here), world, by, now, ids)
        case MissDeadline(_, agency):
            yield from miss_deadline(agency, here, now)
        case LapseInformation(_, number):
            yield id, lapse(here.question(number), now)
        case _:
            assert_never(command)
    if isinstance(command, SETTLING):
        yield from settle(command.request, world, by, now, ids)
    if here.renews is not None:
        yield from end_renewal(here.id, here.renews, world, now)


# What must be so before a command


def undecided(world: World, request: str) -> AccessRequest:
    """I1: one decision per review cycle."""
    here = find(world, request)
    if here is None:
        raise NamesUnknown(f"There is no request {request!r}.", f"request {request}")
    if here.outcome:
        raise RequestIsDecided(f"The request is {here.outcome}, and that is final for this cycle.", "an open request")
    return here


def handed_in(here: AccessRequest) -> Terms:
    """The terms of a request that is no draft any more."""
    if here.terms is None:
        raise NotRegistrable("A draft has not been handed in.", "a submission")
    return here.terms


def in_review(here: AccessRequest) -> AccessRequest:
    if here.registered is None:
        raise NotInReview(f"The request is {here.state}; its review has not begun.", "registration")
    return here


def terms_of(here: AccessRequest) -> Terms:
    assert here.terms is not None, "a request in review is pinned to a policy"
    return here.terms


# The application


def draft(command: DraftRequest, world: World, now: datetime) -> RequestDrafted:
    customer = organization.must_be(world, command.customer, "customer")
    if customer.closed:
        raise OrganizationClosed(f"{customer.name} is closed.", "an organization that is open")
    offered = release.must_be_offered(world, command.release)
    if command.renews is not None:
        renewable(command.renews, command.customer, command.release, world)
    drafted = RequestDrafted(
        command.customer,
        command.release,
        offered.provider,
        command.tier or offered.tiers[0],
        command.use,
        command.user_classes,
        command.affiliates,
        command.duration_days,
        command.renews,
    )
    if command.tier is None and len(offered.tiers) > 1:
        raise Malformed(f"{command.release} has several tiers.", f"a tier: {', '.join(offered.tiers)}")
    known_tier(drafted.tier, offered)
    known_affiliates(command.affiliates, customer)
    return drafted


def renewable(id: str, customer: str, of_release: str, world: World) -> grant.Grant:
    """The live grant of that customer and release that a request renews."""
    old = grant.find(world, id)
    if old is None or old.customer != customer or old.release != of_release:
        raise NamesUnknown(f"{customer} has no grant {id!r} for {of_release}.", "a grant of this customer and release")
    if old.ended:
        raise GrantHasEnded(f"The grant is {old.ended}, and that is final (I12).", "a grant that has not ended")
    return old


def known_tier(tier: str, offered: release.Release) -> None:
    if tier not in offered.tiers:
        raise NamesUnknown(f"{offered.id} has no tier {tier!r}.", f"a tier: {', '.join(offered.tiers)}")


def known_affiliates(affiliates: tuple[str, ...], customer: organization.Organization) -> None:
    unknown = [a for a in affiliates if a not in [known.id for known in customer.affiliates]]
    if unknown:
        raise NamesUnknown(f"{customer.name} has no affiliate {unknown[0]!r}.", *(f"affiliate {a}" for a in unknown))


def as_drafted(here: AccessRequest) -> RequestDrafted:
    if here.terms is not None:
        raise NotADraft("The request is handed in already.", "a draft")
    return RequestDrafted(
        here.customer,
        here.release,
        here.provider,
        here.tier,
        here.use,
        here.user_classes,
        here.affiliates,
        here.duration_days,
        here.renews,
    )


def submit(id: str, drafted: RequestDrafted, world: World, now: datetime) -> Written:
    """A request is pinned to the version of the policy in force when it is handed in."""
    rule = policies.must_exist(world, release.must_be_offered(world, drafted.release).policy)
    version = rule.in_force(now)
    if version is None:
        raise NoPolicyInForce(f"No version of {rule.id} is in force yet.", f"a version of {rule.id} in force")
    terms = Terms(
        rule.id,
        version.number,
        version.sign_offs,
        version.on_refusal,
        version.decider,
        version.clocks,
        version.grant.days,
    )
    days = version.clocks.intake_days
    submitted = RequestSubmitted(
        **{f.name: getattr(drafted, f.name) for f in fields(drafted)},
        terms=terms,
        intake_due=None if days is None else counted(now, days, version.clocks.days, terms, world),
    )
    if drafted.renews is None:
        yield stream(id), submitted
        return
    old = renewable(drafted.renews, drafted.customer, drafted.release, world)
    yield stream(id), submitted
    yield grant.stream(old.id), grant.request_renewal(old, id, renewal_due(old, world), now)


def renewal_due(old: grant.Grant, world: World) -> datetime | None:
    """I14: until when a renewal is timely; None: at any time before the grant's end."""
    days = policies.clocks_of(old.policy, old.policy_version, world).renewal_days
    return None if days is None or old.until is None else old.until - timedelta(days=days)


def renewal_of(id: str, world: World) -> DraftRequest:
    """The application that the grant was given for, asked anew."""
    old = grant.find(world, id)
    before = find(world, old.request) if old else None
    if old is None or before is None:
        raise NotFound
    return DraftRequest(
        old.customer,
        old.release,
        before.use,
        before.tier,
        before.user_classes,
        before.affiliates,
        before.duration_days,
        old.id,
    )


def amend(command: AmendRequest, here: AccessRequest, world: World, now: datetime) -> Written:
    changes = differing(command.changes, here)
    if changes == Changes():
        raise Malformed("Nothing would change.", "use, tier, user_classes, affiliates or duration_days")
    if changes.tier is not None:
        known_tier(changes.tier, release.must_be_offered(world, here.release))
    if changes.affiliates is not None:
        known_affiliates(changes.affiliates, organization.must_be(world, here.customer, "customer"))
    material = is_material(changes, here)
    yield stream(here.id), RequestAmended(here.revision + 1, changes, material, command.reason)
    if not material or here.registered is None:
        return
    for agency in dict.fromkeys(s.agency for s in here.sheet.signatures):
        yield stream(here.id), SignOffVoided(agency, tuple(s.person for s in here.sheet.of(agency)))
    dues = review_dues(undecided(world, here.id), world)
    yield stream(here.id), DueDateMoved(max(dues.values()), dues, "The application was changed materially.")


def differing(changes: Changes, here: AccessRequest) -> Changes:
    """What would change indeed. A sealed text is taken to differ, for no rule can read it."""
    given = {f.name: getattr(changes, f.name) for f in fields(changes)}
    return Changes(**{name: None if value == getattr(here, name) else value for name, value in given.items()})


def is_material(changes: Changes, here: AccessRequest) -> bool:
    """Everything an agency weighs; only a shorter duration changes nothing it agreed to."""
    longer = changes.duration_days is not None and (
        here.duration_days is not None and changes.duration_days > here.duration_days
    )
    return longer or changes != Changes(duration_days=changes.duration_days)


# The clocks


def counted(start: datetime, days: int, kind: str, terms: Terms, world: World) -> datetime:
    return clocks.due(start, days, kind, calendar.closures(world, terms.clocks.calendar))


def review_dues(here: AccessRequest, world: World, extension_days: int = 0) -> Dues:
    """When each agency's sign-off is due: the leaf's own days or the policy's, without the time spent waiting (I9).

    A due date that was missed stays. Where an agency has several leaves, the earliest counts.
    """
    terms, start = terms_of(here), here.clock_started
    assert start is not None, "a review has begun"
    closed = calendar.closures(world, terms.clocks.calendar)
    extended = here.extension_days + extension_days
    dues: Dues = {agency: due for agency, due in here.dues.items() if agency in here.missed}
    for leaf in leaves(terms.sign_offs):
        days = (leaf.due_days or terms.clocks.review_days) + extended
        due = clocks.due(start, days, leaf.days or terms.clocks.days, closed, here.waits)
        if leaf.agency not in here.missed:
            dues[leaf.agency] = min(due, dues.get(leaf.agency, due))
    return dues


def register(here: AccessRequest, world: World, now: datetime) -> RequestRegistered:
    handed_in(here)
    if here.registered:
        raise NotRegistrable("The request is registered already.", "a request that is not registered")
    dues = review_dues(replace(here, clock_started=now), world)
    return RequestRegistered(max(dues.values()), dues)


def restart_clock(here: AccessRequest, world: World) -> Written:
    """I9: the time from the first open question to the last answer does not count."""
    after = undecided(world, here.id)
    if after.stopped or here.stopped is None:
        return
    dues = review_dues(after, world)
    if dues != here.dues:
        reason = "The agencies were waiting for the applicant."
        yield stream(here.id), DueDateMoved(max(dues.values()), dues, reason)


def extend(command: ExtendReview, here: AccessRequest, world: World, now: datetime) -> ReviewExtended:
    if here.extension_days:
        raise AlreadyExtended("The review has been extended once already.", "a review not yet extended")
    if here.stopped is None and here.due is not None and here.due <= now:
        raise TooLate("The review is due; it is extended before, or not at all.", "a due date in the future")
    dues = review_dues(here, world, command.days)
    return ReviewExtended(command.agency, command.days, max(dues.values()), dues, command.reason)


# Sign-offs


def sign_off(command: SignOff, here: AccessRequest, world: World, by: By, now: datetime) -> AgencySignedOff:
    may_sign(command.agency, here, world, by, now)
    if (command.position == "approve_with_conditions") != bool(command.conditions):
        raise Malformed(
            "Conditions go with the position approve_with_conditions, and with no other.", "conditions that fit"
        )
    signature = Signature(
        command.agency, by.person, command.position, command.conditions, command.reason, None, by.delegators
    )
    takes_position(here.sheet, signature)
    return AgencySignedOff(
        command.agency, here.revision, command.position, command.conditions, command.reason, command.note
    )


def may_sign(agency: str, here: AccessRequest, world: World, by: By, now: datetime) -> None:
    """I4: nobody signs off their own organization's request, nor counts twice in a tree."""
    own = organization.must_be(world, here.customer, "customer")
    people = by.people
    if here.applicant in people or own.employs(people, now):
        raise SeparationOfDuties(f"{by.person} acts for {own.name}, whose request this is (I4).", "another officer")
    signs_for_one_agency(here.sheet, agency, by)


def countersign(
    command: Countersign, here: AccessRequest, world: World, by: By, now: datetime
) -> SignOffCountersigned | CountersignRefused:
    may_sign(command.agency, here, world, by, now)
    people = countersignable(here.sheet, command.agency, by)
    outcome = SignOffCountersigned if command.position == "approve" else CountersignRefused
    return outcome(command.agency, people, command.reason)


def involved(here: AccessRequest) -> frozenset[str | None]:
    """Everybody who signed, countersigned or decided."""
    signed = (person for s in here.sheet.signatures for person in (*s.people, s.countersigned))
    return frozenset((*signed, here.decided_by))


def uninvolved(here: AccessRequest, by: By) -> None:
    """I4: whoever signed or countersigned does not decide over it."""
    if not by.people.isdisjoint(involved(here)):
        raise SeparationOfDuties(f"{by.person} has signed for an agency of the tree (I4).", "another decider")


def request_information(
    command: RequestInformation, here: AccessRequest, world: World, now: datetime
) -> InformationRequested:
    terms = terms_of(here)
    days = terms.clocks.information_days
    due = None if days is None else counted(now, days, terms.clocks.days, terms, world)
    return InformationRequested(len(here.questions) + 1, command.agency, command.question, due)


def may_answer(question: Question) -> None:
    if question.answered:
        raise AlreadyAnswered(f"Question {question.number} is answered.", "an open question")


def may_accept(question: Question) -> None:
    if not question.answered:
        raise NotAnswered(f"Question {question.number} is not answered.", "an answer")
    if question.accepted:
        raise AlreadyAnswered(f"Question {question.number} is closed.", "an open question")


def recuse(command: Recuse, here: AccessRequest) -> PersonRecused:
    if command.person in here.recused:
        raise AlreadyRecused(f"{command.person} is recused from this request already.", "a person who is not")
    return PersonRecused(command.person, command.reason)


def escalate(here: AccessRequest, reason: str) -> RequestEscalated:
    if here.escalated:
        raise AlreadyEscalated("The request is escalated already.", "a request that is not")
    return RequestEscalated(reason)


def escalate_without_officers(request: str, world: World, now: datetime) -> Written:
    """Where recusals leave an agency nobody who could sign, or countersign, the request is escalated."""
    here = undecided(world, request)
    if here.registered is None or here.escalated:
        return
    for leaf in waiting(terms_of(here).sign_offs, here.sheet):
        if not has_officers(leaf, here, world, now):
            yield stream(request), RequestEscalated(f"No officer of {leaf.agency} is left who could sign.")
            return


def has_officers(leaf: Leaf, here: AccessRequest, world: World, now: datetime) -> bool:
    """Whether somebody may sign for the agency and, where it is asked, somebody else countersign."""
    officers = organization.must_be(world, leaf.agency, "agency").officers(now)
    eligible = [(person, role) for person, role in officers if person not in here.recused]
    signers = {person for person, _ in eligible} | {s.person for s in here.sheet.of(leaf.agency)}
    seniors = {person for person, role in eligible if role in SENIORS}
    return bool(signers) and (not leaf.countersign or any(signers - {senior} for senior in seniors))


# What settles a request


def settle(request: str, world: World, by: By, now: datetime, ids: Ids) -> Written:
    """In the same append as what settled it: approval when the tree is satisfied, the policy's answer if it cannot be.

    Time itself is never refused: where silence completes the tree and nobody can be admitted, the request is escalated.
    """
    here = find(world, request)
    if here is None or here.outcome or here.registered is None:
        return
    terms = terms_of(here)
    found = verdict(terms.sign_offs, here.sheet)
    if terms.decider or found is Verdict.WAITS:
        return
    if found is Verdict.APPROVES:
        obstacle = release.obstacle(release.must_exist(world, here.release), here.customer)
        if by == SYSTEM and obstacle is not None:
            yield from escalate_once(here, f"The sign-offs are complete, but {obstacle}")
        else:
            yield from approve(here, world, now, ids, "")
    elif terms.on_refusal == "deny":
        yield stream(request), RequestDenied("The review did not approve the request.", refusing(here))
    else:
        yield from escalate_once(here, f"Refused by {', '.join(refusing(here))}.")


def escalate_once(here: AccessRequest, reason: str) -> Written:
    if not here.escalated:
        yield stream(here.id), RequestEscalated(reason)


def refusing(here: AccessRequest) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s.agency for s in here.sheet.signatures if s.position == "refuse"))


def approve(here: AccessRequest, world: World, now: datetime, ids: Ids, reason: str) -> Written:
    """I2: the pinned tree is satisfied on the current revision. Approval, grant and admission are one append."""
    terms = terms_of(here)
    if verdict(terms.sign_offs, here.sheet) is not Verdict.APPROVES:
        missing = (f"sign-off of {leaf.agency}" for leaf in leaves(terms.sign_offs) if _lacks(leaf, here.sheet))
        raise SignOffsMissing("The tree of sign-offs is not satisfied (I2).", *missing)
    offered, id = release.must_be_offered(world, here.release), ids()
    yield stream(here.id), RequestApproved(id, reason)
    yield grant.stream(id), issue(here, terms, world, now)
    if here.renews is not None and (old := grant.find(world, here.renews)) is not None and old.ended is None:
        yield grant.stream(old.id), grant.GrantSuperseded(id)
    yield release.stream(here.release), release.admit(offered, here.customer, id)


def _lacks(leaf: Tree, sheet: Sheet) -> bool:
    return verdict(leaf, sheet) is not Verdict.APPROVES


def issue(here: AccessRequest, terms: Terms, world: World, now: datetime) -> grant.GrantIssued:
    days = min((d for d in (terms.grant_days, here.duration_days) if d is not None), default=None)
    return grant.GrantIssued(
        here.id,
        here.customer,
        here.release,
        here.provider,
        terms.policy,
        terms.version,
        here.agencies,
        (here.tier,),
        here.user_classes,
        here.affiliates,
        conditions_of(here, terms, world, now),
        None if days is None else now + timedelta(days=days),
        here.renews,
    )


def conditions_of(here: AccessRequest, terms: Terms, world: World, now: datetime) -> tuple[grant.ConditionSet, ...]:
    """The conditions of the approvals that stand, in the tree's order, numbered from 1."""
    proposed = [
        (agency, condition)
        for agency in here.agencies
        for signature in here.sheet.of(agency)
        if signature.position != "refuse"
        for condition in signature.conditions
    ]
    return tuple(
        grant.ConditionSet(
            number,
            agency,
            condition.text,
            condition.kind,
            None if condition.due_days is None else counted(now, condition.due_days, "calendar", terms, world),
        )
        for number, (agency, condition) in enumerate(proposed, 1)
    )


def resolve(command: ResolveDispute, here: AccessRequest, world: World, by: By, now: datetime, ids: Ids) -> Written:
    uninvolved(here, by)
    if not here.escalated:
        raise NotEscalated("The request is not escalated.", "an escalation")
    outside = [agency for agency in command.overrules if agency not in here.agencies]
    if outside:
        raise NamesUnknown(f"{outside[0]} is no agency of the tree.", f"an agency of: {', '.join(here.agencies)}")
    yield stream(here.id), DisputeResolved(command.outcome, command.overrules, command.reason)
    match command.outcome:
        case "approve":
            yield from approve(undecided(world, command.request), world, now, ids, "")
        case "deny":
            yield stream(here.id), RequestDenied(command.reason, refusing(here))
        case "return":
            yield stream(here.id), RequestReturned(command.reason)


def overruled(sheet: Sheet, agencies: tuple[str, ...]) -> Sheet:
    return replace(sheet, overruled=sheet.overruled | set(agencies))


def decide_request(command: Decide, here: AccessRequest, world: World, by: By, now: datetime, ids: Ids) -> Written:
    uninvolved(here, by)
    if not terms_of(here).decider:
        raise NotWaitingForDecision("The sign-offs settle this request.", "a policy that asks for a decider")
    if command.outcome == "approve":
        yield from approve(here, world, now, ids, command.reason)
    elif here.state != "awaiting_decision":
        raise NotWaitingForDecision("The sign-offs are not settled.", "a tree that approves or refuses")
    else:
        yield stream(here.id), RequestDenied(command.reason, refusing(here))


def end_renewal(request: str, renewed: str, world: World, now: datetime) -> Written:
    """I14: once a renewal is decided otherwise than by approval, the grant's own time counts again."""
    here = find(world, request)
    if here is None or here.outcome in (None, "approved"):
        return
    old = grant.find(world, renewed)
    if old is None or old.ended or old.renewal != request:
        return
    yield grant.stream(old.id), grant.RenewalEnded(request)
    if old.until is not None and old.until <= now:
        yield from grant.end(old, world, grant.GrantExpired(old.until))


# Appeals


def denied(world: World, request: str) -> AccessRequest:
    here = find(world, request)
    if here is None:
        raise NotFound
    if here.outcome != "denied":
        raise NothingToAppeal("An appeal is made against a denial.", "a denial")
    return here


def file_appeal(here: AccessRequest, grounds: str, world: World, now: datetime) -> appeals.AppealFiled:
    days, decided = terms_of(here).clocks.appeal_days, here.decided
    assert decided is not None, "a denied request was decided"
    due = None if days is None else counted(decided, days, terms_of(here).clocks.days, terms_of(here), world)
    return appeals.file(here.appeals, grounds, due, now)


def decide_appeal(command: DecideAppeal, here: AccessRequest, world: World, by: By, now: datetime, ids: Ids) -> Written:
    """A reversal overrules the agencies that refuse, by name (I2); a remand begins the review anew."""
    appeals.decidable(here.appeals, command.number, by, (person for person in involved(here) if person))
    overrules = lacking_approval(here) if command.outcome == "reverse" else ()
    decided = appeals.AppealDecided(command.number, command.outcome, command.reason, overrules)
    yield stream(here.id), decided
    if command.outcome == "reverse":
        yield from approve(undecided(world, here.id), world, now, ids, "")
    elif command.outcome == "remand":
        dues = review_dues(undecided(world, here.id), world)
        yield stream(here.id), DueDateMoved(max(dues.values()), dues, "The appeal was sent back for a new review.")


def lacking_approval(here: AccessRequest) -> tuple[str, ...]:
    """The agencies whose leaves do not approve."""
    return tuple(dict.fromkeys(leaf.agency for leaf in leaves(terms_of(here).sign_offs) if _lacks(leaf, here.sheet)))


# Timers


def lapse(question: Question, now: datetime) -> InformationRequestLapsed:
    if question.due is None or question.due > now or question.answered:
        raise NotDue("The applicant still has time to answer, or has answered.", "a due date that has passed")
    return InformationRequestLapsed(question.number)


def miss_deadline(agency: str | None, here: AccessRequest, now: datetime) -> Written:
    """I3: silence counts only as the policy says, and is an event of the system actor."""
    due = here.dues.get(agency) if agency else here.intake_due
    if due is None or due > now or agency in here.missed:
        raise NotDue("Nothing is due.", "a due date that has passed")
    silence = silence_of(agency, terms_of(here).sign_offs) if agency else "block"
    if agency and silence == "no_objection" and not here.sheet.of(agency):
        yield stream(here.id), NoObjectionDeemed(agency, due)
        return
    yield stream(here.id), DeadlineMissed(agency, due)
    if silence == "escalate":
        yield from escalate_once(here, f"{agency} was silent until its due date.")


def timer(state: AccessRequest, now: datetime) -> tuple[datetime, MissDeadline | LapseInformation] | None:
    """The first thing that time alone does to this request by now, and when it is due; None: nothing."""
    if state.outcome or state.terms is None:
        return None
    coming: list[tuple[datetime, MissDeadline | LapseInformation]] = [
        (q.due, LapseInformation(state.id, q.number))
        for q in state.questions
        if q.due and q.due <= now and not q.answered
    ]
    if state.registered is None:
        if state.intake_due and state.intake_due <= now and None not in state.missed:
            coming.append((state.intake_due, MissDeadline(state.id, None)))
    elif state.stopped is None and state.dues and min(state.dues.values()) <= now:
        coming += [
            (state.dues[leaf.agency], MissDeadline(state.id, leaf.agency))
            for leaf in waiting(state.terms.sign_offs, state.sheet)
            if leaf.agency not in state.missed and state.dues.get(leaf.agency, clocks.NEVER) <= now
        ]
    return min(coming, key=lambda pair: pair[0]) if coming else None


def evolve(state: AccessRequest | None, fact: Fact) -> AccessRequest | None:
    match fact.event:
        case RequestDrafted() as e:
            return _application(fact, e)
        case RequestSubmitted() as e:
            base = state or _application(fact, e)
            pinned = replace(base, terms=e.terms, agencies=agencies(e.terms.sign_offs))
            return replace(pinned, submitted=fact.occurred, intake_due=e.intake_due)
    if state is None:
        return None
    match fact.event:
        case RequestRegistered(due, dues):
            return replace(state, registered=fact.occurred, clock_started=fact.occurred, due=due, dues=dues or {})
        case RequestReturned(deficiencies):
            return _decided(state, fact, "returned", deficiencies)
        case RequestAmended(revision, changes, material):
            return _amended(state, fact, revision, changes, material)
        case SignOffVoided(agency, people):
            return replace(state, sheet=state.sheet.strike(agency, people))
        case RequestWithdrawn(reason):
            return _decided(state, fact, "withdrawn", reason)
        case AgencySignedOff(agency, _, position, conditions, reason):
            signature = Signature(agency, fact.by.person, position, conditions, reason, None, fact.by.delegators)
            return replace(state, sheet=state.sheet.sign(signature))
        case SignOffCountersigned(agency, people):
            return replace(state, sheet=state.sheet.countersign(agency, people, fact.by.person))
        case CountersignRefused(agency, people):
            return replace(state, sheet=state.sheet.strike(agency, people))
        case ReviewExtended(_, days, due, dues):
            return replace(state, extension_days=days, due=due, dues=dues or {})
        case DueDateMoved(due, dues):
            return replace(state, due=due, dues=dues or {})
        case InformationRequested(number, agency, question, due):
            asked = Question(number, agency, question, fact.occurred, due)
            return _with_questions(state, (*state.questions, asked), fact.occurred)
        case InformationProvided(number, answer):
            return _with_question(state, fact, number, answer=answer, answered=fact.occurred)
        case InformationAccepted(number):
            return _with_question(state, fact, number, accepted=True)
        case PersonRecused(person):
            return replace(state, recused=state.recused | {person})
        case RequestEscalated():
            return replace(state, escalated=True)
        case DisputeResolved(_, overrules):
            return replace(state, escalated=False, sheet=overruled(state.sheet, overrules))
        case NoObjectionDeemed(agency):
            sheet = replace(state.sheet, deemed=state.sheet.deemed | {agency})
            return replace(state, sheet=sheet, missed=state.missed | {agency})
        case DeadlineMissed(agency):
            return replace(state, missed=state.missed | {agency})
        case InformationRequestLapsed(number):
            return _decided(state, fact, "lapsed", f"Question {number} was not answered in time.")
        case RequestApproved(id, reason):
            return replace(_decided(state, fact, "approved", reason), grant=id)
        case RequestDenied(reason):
            return _decided(state, fact, "denied", reason)
        case appeals.AppealFiled():
            return replace(state, cycle=state.cycle + 1, appeals=appeals.evolve(state.appeals, fact))
        case appeals.AppealDecided():
            return _appealed(replace(state, appeals=appeals.evolve(state.appeals, fact)), fact)
        case _:
            return state


def _application(fact: Fact, e: RequestDrafted | RequestSubmitted) -> AccessRequest:
    return AccessRequest(
        fact.stream.removeprefix(f"{KIND}-"),
        e.customer,
        e.release,
        e.provider,
        e.tier,
        e.use,
        e.user_classes,
        e.affiliates,
        e.duration_days,
        e.renews,
        fact.by.person,
    )


def _decided(state: AccessRequest, fact: Fact, outcome: Outcome, reason: str) -> AccessRequest:
    return replace(
        state,
        outcome=outcome,
        decided=fact.occurred,
        decided_by=fact.by.person or None,
        reason=reason,
        escalated=False,
        stopped=None,
    )


def _appealed(state: AccessRequest, fact: Fact) -> AccessRequest:
    """Upheld, the denial stands; otherwise the new cycle is open, and nothing of the old one counts but its history."""
    match fact.event.outcome:
        case "reverse":
            sheet = overruled(state.sheet, fact.event.overrules or ())
            return replace(state, outcome=None, sheet=sheet)
        case "remand":
            return replace(
                state,
                outcome=None,
                sheet=replace(BLANK, asking=state.sheet.asking),
                missed=frozenset(),
                clock_started=fact.occurred,
                waits=(),
                stopped=fact.occurred if any(q.answered is None for q in state.questions) else None,
                extension_days=0,
            )
        case _:
            return state


def _amended(state: AccessRequest, fact: Fact, revision: int, changes: Changes, material: bool) -> AccessRequest:
    """A material change begins the review anew: what silence and deciders said of the old revision no longer counts."""
    given = {f.name: getattr(changes, f.name) for f in fields(changes) if getattr(changes, f.name) is not None}
    amended = replace(state, revision=revision, **given)
    if not material or state.registered is None:
        return amended
    return replace(
        amended,
        sheet=replace(state.sheet, deemed=frozenset(), overruled=frozenset()),
        missed=frozenset(),
        clock_started=fact.occurred,
        waits=(),
        stopped=fact.occurred if state.stopped else None,
    )


def _with_question(state: AccessRequest, fact: Fact, number: int, **given: Any) -> AccessRequest:
    questions = tuple(replace(q, **given) if q.number == number else q for q in state.questions)
    return _with_questions(state, questions, fact.occurred)


def _with_questions(state: AccessRequest, questions: tuple[Question, ...], now: datetime) -> AccessRequest:
    """The clock stands still from the first open question to the last answer."""
    unanswered = any(q.answered is None for q in questions)
    resumed = state.stopped is not None and not unanswered
    asking = frozenset(q.agency for q in questions if not q.accepted)
    return replace(
        state,
        questions=questions,
        stopped=(state.stopped or now) if unanswered else None,
        waits=(*state.waits, (state.stopped, now)) if resumed and state.stopped else state.waits,
        sheet=replace(state.sheet, asking=asking),
    )
