"""Subject: may a person's free text be forgotten, and was it?

The log keeps such text as ciphertext under a key per person. Erasing a person destroys that key; the records stay as
they are, and so does every proof.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from domain import organization, retention
from domain.errors import HeldForLaw, NamesUnknown, NotFound, StillRetained
from domain.facts import By, Event, Fact
from domain.fields import OptionalText, Person
from domain.values import replace, unguarded
from domain.world import World

KIND = "subject"


def stream(person: str) -> str:
    return f"{KIND}-{person}"


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class SubjectHeld:
    """A legal hold keeps the person's texts."""

    hold: str


@dataclass(frozen=True, slots=True)
class SubjectFreed:
    """That hold does not keep them any more."""

    hold: str


@dataclass(frozen=True, slots=True)
class SubjectErased:
    """The key of the person's texts so far is destroyed: nobody reads them again."""

    reason: str = ""


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Subject:
    """`holds` are those that stand; `erased` is when the person's texts were erased last."""

    person: str
    holds: tuple[str, ...] = ()
    erased: datetime | None = None


def find(world: World, person: str) -> Subject | None:
    return world.state(stream(person), Subject)


def must_be_known(world: World, person: str) -> None:
    """The person whom a command's body names: someone whom an organization appointed at some time."""
    if not _appointments(world, person):
        raise NamesUnknown(f"Nobody ever appointed {person!r}.", "a person who holds or held an office")


# Commands


@dataclass(frozen=True, slots=True)
class EraseSubject:
    """Make a person's free text unreadable for ever."""

    subject: Person
    reason: OptionalText = ""


Command = EraseSubject


def decide(command: Command, world: World, by: By, now: datetime) -> Iterator[tuple[str, Event]]:
    match command:
        case EraseSubject(person, reason):
            may_be_erased(world, person, now)
            yield stream(person), SubjectErased(reason)
        case _:
            assert_never(command)


def may_be_erased(world: World, person: str, now: datetime) -> None:
    """Not while a legal hold stands, nor before the time has passed for which the rule asks to keep such texts."""
    appointments = _appointments(world, person)
    if not appointments:
        raise NotFound
    here = find(world, person)
    if here is not None and here.holds:
        raise HeldForLaw("A legal hold keeps these texts.", *(f"the release of hold {id}" for id in here.holds))
    days = retention.days(world)
    if days == 0:
        return
    for appointment in appointments:
        if appointment.until is None or appointment.until > now:
            raise StillRetained("The person may still write as an applicant.", "the end of that appointment")
        kept_until = appointment.until + timedelta(days=days)
        if kept_until > now:
            raise StillRetained(
                f"Texts are kept for {days} days after the last appointment.", f"a time after {kept_until.isoformat()}"
            )


def _appointments(world: World, person: str) -> list[organization.Appointment]:
    found = [here for id in world.organizations_of(person) if (here := organization.find(world, id))]
    return [appointment for here in found for appointment in here.appointments.get(person, ())]


def evolve(state: Subject | None, fact: Fact) -> Subject:
    here = state or Subject(fact.stream.removeprefix(f"{KIND}-"))
    match fact.event:
        case SubjectHeld(hold):
            return replace(here, holds=(*here.holds, hold))
        case SubjectFreed(hold):
            return replace(here, holds=tuple(each for each in here.holds if each != hold))
        case SubjectErased():
            return replace(here, erased=fact.occurred)
        case _:
            return here
