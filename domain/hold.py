"""Hold: whose texts must be kept for a court or an inquiry, whatever else says that they may be erased?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from domain import subject
from domain.errors import HoldIsReleased, NotFound
from domain.facts import By, Event, Fact
from domain.fields import Identifier, OptionalText, Person, Text
from domain.values import replace, unguarded
from domain.world import World

KIND = "hold"
Ids = Callable[[], str]


def stream(hold: str) -> str:
    return f"{KIND}-{hold}"


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class LegalHoldPlaced:
    """The person's texts are kept until the hold is released."""

    person: str
    reason: str


@dataclass(frozen=True, slots=True)
class LegalHoldReleased:
    """The hold keeps nothing any more."""

    reason: str = ""


# State


@unguarded
@dataclass(frozen=True, slots=True)
class LegalHold:
    id: str
    person: str
    reason: str
    placed: datetime
    released: datetime | None = None


def find(world: World, hold: str) -> LegalHold | None:
    return world.state(stream(hold), LegalHold)


# Commands


@dataclass(frozen=True, slots=True)
class PlaceLegalHold:
    """Keep a person's texts until further notice."""

    person: Person
    reason: Text


@dataclass(frozen=True, slots=True)
class ReleaseLegalHold:
    """The texts need not be kept for this hold any longer."""

    hold: Identifier
    reason: OptionalText = ""


Command = PlaceLegalHold | ReleaseLegalHold


def decide(command: Command, world: World, by: By, now: datetime, ids: Ids) -> Iterator[tuple[str, Event]]:
    match command:
        case PlaceLegalHold(person, reason):
            subject.must_be_known(world, person)
            id = ids()
            yield stream(id), LegalHoldPlaced(person, reason)
            yield subject.stream(person), subject.SubjectHeld(id)
        case ReleaseLegalHold(id, reason):
            here = find(world, id)
            if here is None:
                raise NotFound
            if here.released is not None:
                raise HoldIsReleased(f"It was released at {here.released.isoformat()}.", "a hold that stands")
            yield stream(id), LegalHoldReleased(reason)
            yield subject.stream(here.person), subject.SubjectFreed(id)
        case _:
            assert_never(command)


def evolve(state: LegalHold | None, fact: Fact) -> LegalHold | None:
    match fact.event:
        case LegalHoldPlaced(person, reason):
            return LegalHold(fact.stream.removeprefix(f"{KIND}-"), person, reason, fact.occurred)
        case LegalHoldReleased() if state is not None:
            return replace(state, released=fact.occurred)
        case _:
            return state
