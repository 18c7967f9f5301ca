"""Calendar: on which days is the licensing office closed?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, assert_never

from domain.errors import Malformed
from domain.facts import By, Fact
from domain.fields import Bounds, Public, Slug, Text
from domain.values import replace, unguarded
from domain.world import World

KIND = "calendar"
FEDERAL = "us-federal"


def stream(calendar: str) -> str:
    return f"{KIND}-{calendar}"


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class CalendarAmended:
    """Days were added on which the office is closed."""

    dates: Public[tuple[date, ...]]
    reason: Public[str]


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Calendar:
    id: str
    closures: frozenset[date] = frozenset()


def closures(world: World, calendar: str) -> frozenset[date]:
    """The recorded closures; a calendar nobody has amended has none."""
    state = world.state(stream(calendar), Calendar)
    return state.closures if state else frozenset()


# Commands


@dataclass(frozen=True, slots=True)
class AmendCalendar:
    """Record days on which the office is closed."""

    calendar: Slug
    dates: Annotated[tuple[date, ...], Bounds(1, 366)]
    reason: Text


Command = AmendCalendar


def decide(command: Command, world: World, by: By, now: datetime) -> Iterator[tuple[str, CalendarAmended]]:
    match command:
        case AmendCalendar():
            new = sorted(set(command.dates) - closures(world, command.calendar))
            if not new:
                raise Malformed("Every one of these dates is recorded as closed already.", "a date that is new")
            yield stream(command.calendar), CalendarAmended(tuple(new), command.reason)
        case _:
            assert_never(command)


def evolve(state: Calendar | None, fact: Fact) -> Calendar:
    calendar = state or Calendar(fact.stream.removeprefix(f"{KIND}-"))
    match fact.event:
        case CalendarAmended(dates):
            return replace(calendar, closures=calendar.closures | frozenset(dates))
        case _:
            return calendar
