"""Organization: who takes part, who acts for it, and in which role?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal, assert_never

from domain.errors import (
    AlreadyAppointed,
    AlreadyExists,
    Malformed,
    NamesUnknown,
    NotAppointed,
    NotDelegable,
    NotDelegated,
    NotFound,
    OrganizationClosed,
)
from domain.facts import By, Event, Fact
from domain.fields import Bounds, Count, Country, Name, Person, Public, Slug, Text
from domain.values import replace, unguarded
from domain.world import World

KIND = "organization"
ASSENT = "assent"
OrganizationKind = Literal["provider", "agency", "customer", "assent"]
SizeClass = Literal["startup", "small", "medium", "large"]
Role = Literal[
    "reviewer",
    "countersigner",
    "head",
    "release_manager",
    "gateway",
    "applicant",
    "administrator",
    "registrar",
    "decider",
    "auditor",
    "records_officer",
]

SENIORS: tuple[Role, ...] = ("countersigner", "head")
"""The roles whose countersignature confirms what an officer of an agency signed."""

DELEGABLE = frozenset(
    (
        "SignOffPhase",
        "CountersignPhase",
        "HoldRollout",
        "ResumeRollout",
        "OpenIncident",
        "CloseIncident",
        "SignOff",
        "Countersign",
        "ExtendReview",
        "RequestInformation",
        "AcceptInformation",
        "Recuse",
        "Escalate",
        "SatisfyCondition",
        "RecordBreach",
        "ProposeConditionChange",
        "ConcurConditionChange",
        "AmendGrant",
        "SuspendGrant",
        "ReinstateGrant",
        "NotifyIntentToRevoke",
        "WithdrawNotice",
        "RevokeGrant",
    )
)
"""What an officer may let another do: an agency's daily work, never directives, appointments or a delegation."""

ROLES: dict[OrganizationKind, tuple[Role, ...]] = {
    "agency": ("reviewer", "countersigner", "head"),
    "provider": ("release_manager", "gateway"),
    "customer": ("applicant",),
    "assent": ("administrator", "registrar", "decider", "auditor", "records_officer"),
}


def stream(organization: str) -> str:
    return f"{KIND}-{organization}"


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class OrganizationRegistered:
    """An organization takes part."""

    kind: Public[OrganizationKind]
    name: Public[str]
    country: Public[str]
    size_class: Public[SizeClass | None] = None
    government: Public[bool] = False


@dataclass(frozen=True, slots=True)
class OrganizationChanged:
    """Its name or size changed, or it closed or opened again. None: unchanged."""

    name: Public[str | None] = None
    size_class: Public[SizeClass | None] = None
    closed: Public[bool | None] = None


@dataclass(frozen=True, slots=True)
class AffiliateAdded:
    """A body that may use the organization's grants where they say so."""

    id: Public[str]
    name: Public[str]
    country: Public[str]


@dataclass(frozen=True, slots=True)
class PersonAppointed:
    """A person holds a role from a date until a date (until excluded)."""

    person: str
    role: Role
    starts: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AppointmentEnded:
    """The person no longer holds the role."""

    person: str
    role: Role


@dataclass(frozen=True, slots=True)
class PowersDelegated:
    """An officer lets another person use some of their powers, from a date until a date (until excluded)."""

    number: int
    delegator: str
    to: str
    powers: tuple[str, ...]
    starts: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DelegationEnded:
    """The delegation is over before its time."""

    number: int


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Delegation:
    """Powers are names of commands. In force from `starts` until `until` (excluded; None: open-ended)."""

    number: int
    delegator: str
    to: str
    powers: tuple[str, ...]
    starts: datetime
    until: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        return self.starts <= now and (self.until is None or now < self.until)


@unguarded
@dataclass(frozen=True, slots=True)
class Appointment:
    """In force from `starts` until `until` (excluded; None: open-ended)."""

    role: Role
    starts: datetime
    until: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        return self.starts <= now and (self.until is None or now < self.until)

    def overlaps(self, starts: datetime, until: datetime | None) -> bool:
        """Whether it is in force at any time from `starts` until `until` (excluded; None: open-ended)."""
        return (until is None or self.starts < until) and (self.until is None or starts < self.until)


@unguarded
@dataclass(frozen=True, slots=True)
class Affiliate:
    id: str
    name: str
    country: str


@unguarded
@dataclass(frozen=True, slots=True)
class Organization:
    id: str
    kind: OrganizationKind
    name: str
    country: str
    size_class: SizeClass | None = None
    government: bool = False
    closed: bool = False
    affiliates: tuple[Affiliate, ...] = ()
    appointments: dict[str, tuple[Appointment, ...]] = field(default_factory=dict)
    delegations: tuple[Delegation, ...] = ()

    def roles(self, person: str, now: datetime) -> tuple[Role, ...]:
        """The roles that person holds here at that time."""
        return tuple([a.role for a in self.appointments.get(person, ()) if a.in_force(now)])

    def turns(self, person: str) -> Iterator[datetime]:
        """The times at which that person may come to hold a role here, or to use another's, or cease to."""
        lent = [d for d in self.delegations if d.to == person]
        holders = (person, *(d.delegator for d in lent))
        held = [appointment for holder in holders for appointment in self.appointments.get(holder, ())]
        terms: list[Delegation | Appointment] = [*lent, *held]
        for term in terms:
            yield term.starts
            if term.until is not None:
                yield term.until

    def employs(self, people: frozenset[str], now: datetime) -> bool:
        """Whether any of these people holds a role here at that time."""
        return not self.appointments.keys().isdisjoint(people) and any(self.roles(person, now) for person in people)

    def officers(self, now: datetime) -> Iterator[tuple[str, Role]]:
        """Everybody who holds a role here at that time."""
        for person, appointments in self.appointments.items():
            for appointment in appointments:
                if appointment.in_force(now):
                    yield person, appointment.role


def find(world: World, organization: str) -> Organization | None:
    return world.state(stream(organization), Organization)


def must_be(world: World, organization: str, kind: OrganizationKind) -> Organization:
    """The organization of that kind that a command's body names."""
    found = find(world, organization)
    if found is None or found.kind != kind:
        raise NamesUnknown(f"There is no {kind} {organization!r}.", f"{kind} {organization}")
    return found


def must_be_agencies(world: World, agencies: Iterable[str]) -> None:
    for agency in agencies:
        must_be(world, agency, "agency")


# Commands


@dataclass(frozen=True, slots=True)
class RegisterOrganization:
    """Let an organization take part."""

    id: Slug
    kind: OrganizationKind
    name: Text
    country: Country
    size_class: SizeClass | None = None
    government: bool = False


@dataclass(frozen=True, slots=True)
class ChangeOrganization:
    """Record a new name or size, or that it closed."""

    organization: Slug
    name: Text | None = None
    size_class: SizeClass | None = None
    closed: bool | None = None


@dataclass(frozen=True, slots=True)
class AddAffiliate:
    """Record a body that belongs to the organization."""

    organization: Slug
    id: Slug
    name: Text
    country: Country


@dataclass(frozen=True, slots=True)
class Appoint:
    """Appoint a person to a role."""

    organization: Slug
    person: Person
    role: Role
    from_: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EndAppointment:
    """End a person's appointment to a role."""

    organization: Slug
    person: Person
    role: Role


@dataclass(frozen=True, slots=True)
class Delegate:
    """Let another person use some of one's powers; each is named by its command, such as SignOff."""

    organization: Slug
    to: Person
    powers: Annotated[tuple[Name, ...], Bounds(1, 100)]
    from_: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EndDelegation:
    """End a delegation before its time."""

    organization: Slug
    number: Count


Command = RegisterOrganization | ChangeOrganization | AddAffiliate | Appoint | EndAppointment | Delegate | EndDelegation


def decide(command: Command, world: World, by: By, now: datetime) -> Iterator[tuple[str, Event]]:
    match command:
        case RegisterOrganization():
            yield stream(command.id), register(command, world)
        case ChangeOrganization(id):
            yield stream(id), change(command, _existing(world, id))
        case AddAffiliate(id):
            here = _existing(world, id)
            if any(affiliate.id == command.id for affiliate in here.affiliates):
                raise AlreadyExists(f"{here.name} has an affiliate {command.id!r} already.", "an id that is free")
            yield stream(id), AffiliateAdded(command.id, command.name, command.country)
        case Appoint(id):
            yield stream(id), appoint(command, _existing(world, id), now)
        case EndAppointment(id, person, role):
            if role not in _existing(world, id).roles(person, now):
                raise NotAppointed(f"{person} is not {role} of {id}.", f"an appointment of {person} as {role}")
            yield stream(id), AppointmentEnded(person, role)
        case Delegate(id):
            yield stream(id), delegate(command, _existing(world, id), by, now)
        case EndDelegation(id, number):
            yield stream(id), end_delegation(_existing(world, id), number, now)
        case _:
            assert_never(command)


def register(command: RegisterOrganization, world: World) -> OrganizationRegistered:
    if find(world, command.id) is not None:
        raise AlreadyExists(f"An organization {command.id!r} is registered already.", "an id that is free")
    if (command.kind == "assent") != (command.id == ASSENT):
        raise Malformed(f"The organization that runs the service is {ASSENT!r}, and there is one.", "another kind")
    if (command.kind == "customer") != (command.size_class is not None):
        raise Malformed("A customer, and only a customer, has a size class.", "size_class")
    if command.government and command.kind != "agency":
        raise Malformed("Only an agency can be of the government.", "government false")
    return OrganizationRegistered(command.kind, command.name, command.country, command.size_class, command.government)


def change(command: ChangeOrganization, here: Organization) -> OrganizationChanged:
    if command.size_class is not None and here.kind != "customer":
        raise Malformed("Only a customer has a size class.", "a customer")
    changed = OrganizationChanged(
        command.name if command.name != here.name else None,
        command.size_class if command.size_class != here.size_class else None,
        command.closed if command.closed != here.closed else None,
    )
    if changed == OrganizationChanged():
        raise Malformed("Nothing would change.", "a name, size_class or closed that differs")
    return changed


def appoint(command: Appoint, here: Organization, now: datetime) -> PersonAppointed:
    if here.closed:
        raise OrganizationClosed(f"{here.name} is closed.", "an organization that is open")
    if command.role not in ROLES[here.kind]:
        raise Malformed(f"{here.kind} has the roles {', '.join(ROLES[here.kind])}.", "a role of that kind")
    starts = command.from_ or now
    if command.until is not None and command.until <= starts:
        raise Malformed("An appointment ends after it begins.", "an `until` after `from`")
    held = here.appointments.get(command.person, ())
    if any(a.role == command.role and a.overlaps(starts, command.until) for a in held):
        raise AlreadyAppointed(f"{command.person} is {command.role} of {here.name} in that time.", "another time")
    return PersonAppointed(command.person, command.role, starts, command.until)


def delegate(command: Delegate, here: Organization, by: By, now: datetime) -> PowersDelegated:
    """I6: a delegation is not wider than the delegator's power, which is checked again whenever it is used."""
    fixed = sorted(set(command.powers) - DELEGABLE)
    if fixed:
        raise NotDelegable(
            f"{fixed[0]} is no power that can be delegated.", f"powers of: {', '.join(sorted(DELEGABLE))}"
        )
    if command.to in by.people:
        raise NotDelegable("Nobody delegates to themselves.", "another person")
    starts = command.from_ or now
    if command.until is not None and command.until <= starts:
        raise Malformed("A delegation ends after it begins.", "an `until` after `from`")
    number = len(here.delegations) + 1
    return PowersDelegated(number, by.person, command.to, command.powers, starts, command.until)


def end_delegation(here: Organization, number: int, now: datetime) -> DelegationEnded:
    found = next((d for d in here.delegations if d.number == number), None)
    if found is None:
        raise NotFound
    if found.until is not None and found.until <= now:
        raise NotDelegated(f"Delegation {number} is over already.", "a delegation in force")
    return DelegationEnded(number)


def _existing(world: World, id: str) -> Organization:
    found = find(world, id)
    if found is None:
        raise NamesUnknown(f"There is no organization {id!r}.", f"organization {id}")
    return found


def evolve(state: Organization | None, fact: Fact) -> Organization | None:
    match fact.event:
        case OrganizationRegistered(kind, name, country, size_class, government):
            id = fact.stream.removeprefix(f"{KIND}-")
            return Organization(id, kind, name, country, size_class, government)
    if state is None:
        return None
    match fact.event:
        case OrganizationChanged(new_name, size_class, closed):
            return replace(
                state,
                name=state.name if new_name is None else new_name,
                size_class=state.size_class if size_class is None else size_class,
                closed=state.closed if closed is None else closed,
            )
        case AffiliateAdded(id, name, country):
            return replace(state, affiliates=(*state.affiliates, Affiliate(id, name, country)))
        case PersonAppointed(person, role, starts, until):
            held = (*state.appointments.get(person, ()), Appointment(role, starts, until))
            return replace(state, appointments={**state.appointments, person: held})
        case PowersDelegated(number, delegator, to, powers, starts, until):
            delegation = Delegation(number, delegator, to, powers, starts, until)
            return replace(state, delegations=(*state.delegations, delegation))
        case DelegationEnded(number):
            ended = tuple(replace(d, until=fact.occurred) if d.number == number else d for d in state.delegations)
            return replace(state, delegations=ended)
        case AppointmentEnded(person, role):
            kept = tuple(
                replace(a, until=fact.occurred) if a.role == role and a.in_force(fact.occurred) else a
                for a in state.appointments.get(person, ())
            )
            return replace(state, appointments={**state.appointments, person: kept})
        case _:
            return state
