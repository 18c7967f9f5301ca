"""Retention: for how long must the free text of people be kept, at least?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from domain.errors import Malformed
from domain.facts import By, Fact
from domain.fields import Days
from domain.organization import ASSENT
from domain.values import unguarded
from domain.world import World

KIND = "retention"
STREAM = f"{KIND}-{ASSENT}"


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class RetentionSet:
    """From now on, a person's texts are kept for so many days after their last appointment."""

    days: int


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Retention:
    days: int


def days(world: World) -> int:
    """How long texts are kept; as long as nobody has said so, they need not be."""
    here = world.state(STREAM, Retention)
    return here.days if here else 0


# Commands


@dataclass(frozen=True, slots=True)
class SetRetention:
    """Say for how many days after a person's last appointment their texts are kept."""

    days: Days


Command = SetRetention


def decide(command: Command, world: World, by: By, now: datetime) -> Iterator[tuple[str, RetentionSet]]:
    match command:
        case SetRetention(wanted):
            if wanted == days(world):
                raise Malformed(f"Texts are kept for {wanted} days already.", "another number of days")
            yield STREAM, RetentionSet(wanted)
        case _:
            assert_never(command)


def evolve(state: Retention | None, fact: Fact) -> Retention | None:
    match fact.event:
        case RetentionSet(wanted):
            return Retention(wanted)
        case _:
            return state
