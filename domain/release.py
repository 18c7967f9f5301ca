"""Release: through which phases does a model reach its users, and what holds it?"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal, assert_never

from domain import organization, policy
from domain.clocks import elapsed_days
from domain.errors import (
    AlreadyExists,
    AlreadyHeld,
    CustomerCapReached,
    GateNotSatisfied,
    HeldByAnother,
    IncidentIsClosed,
    IncidentOpen,
    Malformed,
    NamesUnknown,
    NotFound,
    NotHeld,
    NotTheNextPhase,
    NotTheOpener,
    Refused,
    ReleaseHeld,
    ReleaseWithdrawnAlready,
    TooSoon,
)
from domain.facts import By, Event, Fact
from domain.fields import Answer, Bounds, Count, Days, Interagency, Name, OptionalText, Public, Slug, Text
from domain.sign_offs import (
    BLANK,
    Sheet,
    Signature,
    Tree,
    Verdict,
    agencies,
    countersignable,
    signs_for_one_agency,
    takes_position,
    verdict,
    waiting,
)
from domain.values import replace, unguarded
from domain.world import World

KIND = "release"
Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
Access = Literal["closed", "granted", "open"]


def stream(release: str) -> str:
    return f"{KIND}-{release}"


@dataclass(frozen=True, slots=True)
class Phase:
    """A step of the rollout: who may use the release in it, and what must be so before it begins."""

    name: Name
    access: Access
    min_days: Days = 0
    quiet_days: Days = 0
    gate: Tree | None = None
    customer_cap: Count | None = None


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class ReleaseAnnounced:
    """A model release was announced; its first phase began."""

    provider: Public[str]
    model: Public[str]
    tiers: Public[tuple[str, ...]]
    policy: Public[str]
    incident_threshold: Public[Severity]
    phases: Public[tuple[Phase, ...]]


@dataclass(frozen=True, slots=True)
class PhaseSignedOff:
    """An agency's officer took a position on entering a phase."""

    phase: str
    agency: str
    position: Answer
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PhaseSignOffCountersigned:
    """The positions of these people for the agency were countersigned."""

    phase: str
    agency: str
    people: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PhaseCountersignRefused:
    """The positions of these people for the agency were sent back and no longer stand."""

    phase: str
    agency: str
    people: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PhaseAdvanced:
    """The next phase began."""

    to: Public[str]
    reason: Interagency[str] = ""


@dataclass(frozen=True, slots=True)
class PhaseRolledBack:
    """The rollout went back to an earlier phase; the sign-offs for going on are void."""

    to: Public[str]
    reason: Interagency[str] = ""


@dataclass(frozen=True, slots=True)
class RolloutHeld:
    """An organization holds the rollout: no phase may begin until it resumes."""

    reason: str
    incident: int | None = None


@dataclass(frozen=True, slots=True)
class RolloutResumed:
    """The organization that held the rollout lets it go on."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class IncidentOpened:
    """Something went wrong. At the threshold it voids the sign-offs for the next phase."""

    number: int
    severity: Severity
    summary: str
    at_threshold: bool


@dataclass(frozen=True, slots=True)
class IncidentClosed:
    """The organization that opened the incident reports it resolved."""

    number: int
    resolution: str


@dataclass(frozen=True, slots=True)
class ReleaseWithdrawn:
    """The release is at an end for everybody."""

    reason: Public[str]


@dataclass(frozen=True, slots=True)
class CustomerAdmitted:
    """A grant admitted a customer to the release."""

    customer: str
    grant: str


@dataclass(frozen=True, slots=True)
class CustomerLeft:
    """The customer's last live grant ended."""

    customer: str


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Incident:
    number: int
    severity: Severity
    summary: str
    at_threshold: bool
    organization: str
    opened: datetime
    closed: datetime | None = None
    resolution: str = ""


@unguarded
@dataclass(frozen=True, slots=True)
class Release:
    id: str
    provider: str
    model: str
    tiers: tuple[str, ...]
    policy: str
    incident_threshold: Severity
    phases: tuple[Phase, ...]
    announced: datetime
    current: int
    phase_began: datetime
    sheet: Sheet = BLANK
    holds: frozenset[str] = frozenset()
    incidents: tuple[Incident, ...] = ()
    admitted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    withdrawn: bool = False

    @property
    def phase(self) -> Phase:
        return self.phases[self.current]

    @property
    def next_phase(self) -> Phase | None:
        return self.phases[self.current + 1] if self.current + 1 < len(self.phases) else None

    @property
    def held(self) -> bool:
        return bool(self.holds)

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The open incidents at or above the release's threshold."""
        return tuple(i for i in self.incidents if i.at_threshold and i.closed is None)

    @property
    def quiet_since(self) -> datetime | None:
        """When the last incident at the threshold was closed."""
        return max((i.closed for i in self.incidents if i.at_threshold and i.closed), default=None)

    @property
    def gate_agencies(self) -> tuple[str, ...]:
        """The agencies of every phase's gate, each once."""
        return tuple(dict.fromkeys(agency for phase in self.phases for agency in agencies(phase.gate)))


def find(world: World, release: str) -> Release | None:
    return world.state(stream(release), Release)


def must_exist(world: World, release: str) -> Release:
    found = find(world, release)
    if found is None:
        raise NamesUnknown(f"There is no release {release!r}.", f"release {release}")
    return found


def must_be_offered(world: World, release: str) -> Release:
    """A release that is not withdrawn."""
    found = must_exist(world, release)
    if found.withdrawn:
        raise ReleaseWithdrawnAlready(f"{release} has been withdrawn.", "a release that is offered")
    return found


# Commands


@dataclass(frozen=True, slots=True)
class AnnounceRelease:
    """Announce a model release; its first phase begins."""

    id: Slug
    provider: Slug
    model: Text
    tiers: Annotated[tuple[Name, ...], Bounds(1, 50)]
    policy: Slug
    incident_threshold: Severity
    phases: Annotated[tuple[Phase, ...], Bounds(1, 50)]


@dataclass(frozen=True, slots=True)
class SignOffPhase:
    """Take an agency's position on entering the next phase."""

    release: Slug
    phase: Name
    agency: Slug
    position: Answer
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class CountersignPhase:
    """Confirm, or send back, what an agency's officers signed for the next phase."""

    release: Slug
    agency: Slug
    position: Answer = "approve"
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class AdvancePhase:
    """Let the next phase begin."""

    release: Slug
    to: Name
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class RollBackPhase:
    """Go back to an earlier phase."""

    release: Slug
    to: Name
    reason: Text


@dataclass(frozen=True, slots=True)
class HoldRollout:
    """Let no further phase begin."""

    release: Slug
    reason: Text


@dataclass(frozen=True, slots=True)
class ResumeRollout:
    """End one's own hold."""

    release: Slug
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """Report that something went wrong with the release."""

    release: Slug
    severity: Severity
    summary: Text


@dataclass(frozen=True, slots=True)
class CloseIncident:
    """Report that it is resolved."""

    release: Slug
    number: Count
    resolution: Text


@dataclass(frozen=True, slots=True)
class WithdrawRelease:
    """End the release for everybody."""

    release: Slug
    reason: Text


Command = (
    AnnounceRelease
    | SignOffPhase
    | CountersignPhase
    | AdvancePhase
    | RollBackPhase
    | HoldRollout
    | ResumeRollout
    | OpenIncident
    | CloseIncident
    | WithdrawRelease
)


def decide(command: Command, world: World, by: By, now: datetime) -> Iterator[tuple[str, Event]]:
    if isinstance(command, AnnounceRelease):
        yield stream(command.id), announce(command, world)
        return
    here, id = must_be_offered(world, command.release), stream(command.release)
    match command:
        case SignOffPhase():
            yield id, sign_off_phase(command, here, by)
        case CountersignPhase():
            yield id, countersign_phase(command, here, by)
        case AdvancePhase(_, to, reason):
            may_advance(here, to, now)
            yield id, PhaseAdvanced(to, reason)
        case RollBackPhase(_, to, reason):
            may_roll_back(here, to)
            yield id, PhaseRolledBack(to, reason)
        case HoldRollout(_, reason):
            if by.organization in here.holds:
                raise AlreadyHeld(f"{by.organization} holds this rollout already.", "another organization")
            yield id, RolloutHeld(reason)
        case ResumeRollout(_, reason):
            may_resume(here, by)
            yield id, RolloutResumed(reason)
        case OpenIncident():
            yield from open_incident(command, here, by)
        case CloseIncident():
            yield id, close_incident(command, here, by)
        case WithdrawRelease(_, reason):
            yield id, ReleaseWithdrawn(reason)
        case _:
            assert_never(command)


def announce(command: AnnounceRelease, world: World) -> ReleaseAnnounced:
    if find(world, command.id) is not None:
        raise AlreadyExists(f"A release {command.id!r} is announced already.", "an id that is free")
    organization.must_be(world, command.provider, "provider")
    policy.must_exist(world, command.policy)
    names = [phase.name for phase in command.phases]
    if len(set(names)) < len(names):
        raise Malformed("Each phase of a release has a name of its own.", "phases with different names")
    if len(set(command.tiers)) < len(command.tiers):
        raise Malformed("Each tier of a release has a name of its own.", "tiers with different names")
    for phase in command.phases:
        organization.must_be_agencies(world, agencies(phase.gate))
    return ReleaseAnnounced(
        command.provider, command.model, command.tiers, command.policy, command.incident_threshold, command.phases
    )


def sign_off_phase(command: SignOffPhase, here: Release, by: By) -> PhaseSignedOff:
    coming = here.next_phase
    if coming is None or coming.name != command.phase:
        raise NotTheNextPhase(
            f"Sign-offs are taken for the phase after {here.phase.name}.",
            f"phase {coming.name}" if coming else "a further phase",
        )
    signs_for_one_agency(here.sheet, command.agency, by)
    takes_position(
        here.sheet, Signature(command.agency, by.person, command.position, (), command.reason, None, by.delegators)
    )
    return PhaseSignedOff(command.phase, command.agency, command.position, command.reason)


def countersign_phase(
    command: CountersignPhase, here: Release, by: By
) -> PhaseSignOffCountersigned | PhaseCountersignRefused:
    if here.next_phase is None:
        raise NotTheNextPhase(f"No phase comes after {here.phase.name}.", "a further phase")
    people = countersignable(here.sheet, command.agency, by)
    outcome = PhaseSignOffCountersigned if command.position == "approve" else PhaseCountersignRefused
    return outcome(here.next_phase.name, command.agency, people, command.reason)


def may_advance(here: Release, to: str, now: datetime) -> None:
    """I15: in order, not held, no incident open, long enough, quiet enough, the gate satisfied, within the cap."""
    coming = here.next_phase
    if coming is None or coming.name != to:
        raise NotTheNextPhase(
            f"After {here.phase.name} comes {coming.name if coming else 'no further phase'}.",
            f"phase {coming.name}" if coming else "a further phase",
        )
    for hindrance in hindrances(here, coming, len(here.admitted), now):
        raise hindrance


def hindrances(here: Release, coming: Phase, admitted: int, now: datetime) -> Iterator[Refused]:
    """I15: all that keeps the next phase from beginning, while so many customers are admitted."""
    if here.held:
        yield ReleaseHeld(
            f"The rollout is held by {', '.join(sorted(here.holds))}.",
            *(f"resumption by {holder}" for holder in sorted(here.holds)),
        )
    if here.open_incidents:
        yield IncidentOpen(
            "Incidents at the threshold are open.", *(f"closure of incident {i.number}" for i in here.open_incidents)
        )
    days = elapsed_days(here.phase_began, now)
    if days < coming.min_days:
        yield TooSoon(
            f"{here.phase.name} began {days} days ago; {coming.name} needs {coming.min_days}.",
            f"{coming.min_days - days} more days",
        )
    quiet = None if here.quiet_since is None else elapsed_days(here.quiet_since, now)
    if quiet is not None and quiet < coming.quiet_days:
        yield TooSoon(
            f"The last incident was closed {quiet} days ago; {coming.name} needs {coming.quiet_days} quiet days.",
            f"{coming.quiet_days - quiet} more quiet days",
        )
    if coming.gate and verdict(coming.gate, here.sheet) is not Verdict.APPROVES:
        missing = [f"sign-off of {leaf.agency}" for leaf in waiting(coming.gate, here.sheet)]
        refused = [f"another position of {s.agency}" for s in here.sheet.signatures if s.position == "refuse"]
        yield GateNotSatisfied(f"The gate of {coming.name} is not satisfied.", *missing, *refused)
    if coming.customer_cap is not None and admitted > coming.customer_cap:
        yield CustomerCapReached(
            f"{admitted} customers are admitted; {coming.name} takes {coming.customer_cap}.",
            f"{admitted - coming.customer_cap} customers fewer",
        )


def may_roll_back(here: Release, to: str) -> None:
    if to not in [phase.name for phase in here.phases[: here.current]]:
        raise NotTheNextPhase(f"{to} is not a phase before {here.phase.name}.", "an earlier phase")


def may_resume(here: Release, by: By) -> None:
    """I12: a hold is ended by the organization that set it. I15: not while an incident at the threshold is open."""
    if not here.held:
        raise NotHeld("The rollout is not held.", "a hold")
    if by.organization not in here.holds:
        raise HeldByAnother(f"The rollout is held by {', '.join(sorted(here.holds))}.", f"a hold of {by.organization}")
    own = tuple(i for i in here.open_incidents if i.organization == by.organization)
    if own:
        raise IncidentOpen(
            "An incident that holds the rollout is open.", *(f"closure of incident {i.number}" for i in own)
        )


def open_incident(command: OpenIncident, here: Release, by: By) -> Iterator[tuple[str, Event]]:
    """I15: an incident at the threshold holds the rollout in the same append."""
    number = len(here.incidents) + 1
    at_threshold = SEVERITIES.index(command.severity) >= SEVERITIES.index(here.incident_threshold)
    yield stream(here.id), IncidentOpened(number, command.severity, command.summary, at_threshold)
    if at_threshold and by.organization not in here.holds:
        yield stream(here.id), RolloutHeld(f"Incident {number} is open.", number)


def close_incident(command: CloseIncident, here: Release, by: By) -> IncidentClosed:
    incident = next((i for i in here.incidents if i.number == command.number), None)
    if incident is None:
        raise NotFound
    if incident.organization != by.organization:
        raise NotTheOpener(f"{incident.organization} opened this incident.", f"an officer of {incident.organization}")
    if incident.closed:
        raise IncidentIsClosed(f"Incident {incident.number} is closed.", "an open incident")
    return IncidentClosed(command.number, command.resolution)


def obstacle(here: Release, customer: str) -> str | None:
    """Why a customer cannot be admitted now; None: it can."""
    cap = here.phase.customer_cap
    if here.withdrawn:
        return f"{here.id} has been withdrawn."
    if cap is not None and customer not in here.admitted and len(here.admitted) >= cap:
        return f"{here.phase.name} takes {cap} customers, and {len(here.admitted)} are admitted."
    return None


def admit(here: Release, customer: str, grant: str) -> CustomerAdmitted:
    """I17: a phase's cap counts the customers admitted to the release."""
    found = obstacle(here, customer)
    if found is not None:
        raise CustomerCapReached(found, "a free place")
    return CustomerAdmitted(customer, grant)


def evolve(state: Release | None, fact: Fact) -> Release | None:
    match fact.event:
        case ReleaseAnnounced() as e:
            return Release(
                fact.stream.removeprefix(f"{KIND}-"),
                e.provider,
                e.model,
                e.tiers,
                e.policy,
                e.incident_threshold,
                e.phases,
                fact.occurred,
                0,
                fact.occurred,
            )
    if state is None:
        return None
    match fact.event:
        case PhaseSignedOff(_, agency, position, reason):
            signature = Signature(agency, fact.by.person, position, (), reason, None, fact.by.delegators)
            return replace(state, sheet=state.sheet.sign(signature))
        case PhaseSignOffCountersigned(_, agency, people):
            return replace(state, sheet=state.sheet.countersign(agency, people, fact.by.person))
        case PhaseCountersignRefused(_, agency, people):
            return replace(state, sheet=state.sheet.strike(agency, people))
        case PhaseAdvanced(to) | PhaseRolledBack(to):
            current = [phase.name for phase in state.phases].index(to)
            return replace(state, current=current, phase_began=fact.occurred, sheet=BLANK)
        case RolloutHeld():
            return replace(state, holds=state.holds | {fact.by.organization})
        case RolloutResumed():
            return replace(state, holds=state.holds - {fact.by.organization})
        case IncidentOpened(number, severity, summary, at_threshold):
            incident = Incident(number, severity, summary, at_threshold, fact.by.organization, fact.occurred)
            sheet = BLANK if at_threshold else state.sheet
            return replace(state, incidents=(*state.incidents, incident), sheet=sheet)
        case IncidentClosed(number, resolution):
            return replace(
                state,
                incidents=tuple(
                    replace(i, closed=fact.occurred, resolution=resolution) if i.number == number else i
                    for i in state.incidents
                ),
            )
        case ReleaseWithdrawn():
            return replace(state, withdrawn=True)
        case CustomerAdmitted(customer, grant):
            grants = (*state.admitted.get(customer, ()), grant)
            return replace(state, admitted={**state.admitted, customer: grants})
        case CustomerLeft(customer):
            return replace(state, admitted={c: g for c, g in state.admitted.items() if c != customer})
        case _:
            return state
