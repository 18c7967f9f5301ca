"""Log: with which key is it signed, and was any of what was signed ever given up?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, assert_never

from domain.errors import KeyInUse, RollbackTooLate
from domain.facts import By, Event, Fact
from domain.fields import MINTED, Pattern, Public, Text
from domain.values import replace, unguarded
from domain.world import World

KIND = "log"
ID = "assent"
STREAM = f"{KIND}-{ID}"
"""There is one log, so there is one such stream: the log's own acts."""

VerifierKey = Annotated[str, Pattern(r"[^\s+]{1,255}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}")]
"""A public key as C2SP signed notes write it: `name+id+key`."""


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class LogKeyRotated:
    """Another key signs the log: the first checkpoint that covers this bears both signatures, later ones the new one.

    Both are verifier keys (C2SP signed notes). The log's first key has none before it: it signed from the beginning.
    """

    key: Public[str]
    previous: Public[str | None] = None
    reason: Public[str] = ""


@dataclass(frozen=True, slots=True)
class RollbackAccepted:
    """An operator had the service go on from a log that is shorter, or other, than what was signed.

    `signed_…` is what was given up, with its signed note as evidence (empty where none is left); `found_…` the log that
    the service goes on from: this event's position is `found_size`. The first `agreed_size` records are known to be the
    same in both. Checkpoints signed earlier for a size above `agreed_size` need not fit the log any more. `key` signs
    from here on, whatever records before it say. Roots are in base64.
    """

    signed_size: Public[int]
    signed_root: Public[str]
    note: Public[str]
    found_size: Public[int]
    found_root: Public[str]
    agreed_size: Public[int]
    key: Public[str]
    operator: Public[str]
    reason: Public[str]


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Log:
    """The key that signs from the last record on, and what operators accepted, in order."""

    key: str | None = None
    rollbacks: tuple[RollbackAccepted, ...] = ()


def find(world: World) -> Log:
    return world.state(STREAM, Log) or Log()


# Commands


@dataclass(frozen=True, slots=True)
class RotateLogKey:
    """Have the log signed with another key. The service names it: the secret half never leaves the signer's folder."""

    log: ClassVar[str] = ID
    reason: Text
    key: Annotated[VerifierKey, MINTED] = ""


@dataclass(frozen=True, slots=True)
class AcceptRollback:
    """Record what an operator accepted while the service stood still, before anything else is appended."""

    log: ClassVar[str] = ID
    accepted: RollbackAccepted


Command = RotateLogKey | AcceptRollback


def decide(command: Command, world: World, by: By, now: datetime) -> Iterator[tuple[str, Event]]:
    here = find(world)
    match command:
        case RotateLogKey():
            if here.key == command.key:
                raise KeyInUse(
                    "The log's records name that key already.", "a checkpoint that covers the rotation to it"
                )
            yield STREAM, LogKeyRotated(command.key, here.key, command.reason)
        case AcceptRollback():
            if world.position != command.accepted.found_size:
                raise RollbackTooLate(
                    f"The log holds {world.position} records, and not the {command.accepted.found_size} accepted.",
                    "a log to which nothing was appended since it was accepted",
                )
            yield STREAM, command.accepted
        case _:
            assert_never(command)


def evolve(state: Log | None, fact: Fact) -> Log | None:
    log = state or Log()
    match fact.event:
        case LogKeyRotated(key):
            return replace(log, key=key)
        case RollbackAccepted(key=key) as accepted:
            return replace(log, key=key, rollbacks=(*log.rollbacks, accepted))
        case _:
            return state
