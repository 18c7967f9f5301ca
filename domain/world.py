"""What does a rule see while it decides: the streams as the log has them, and what this command has written so far?"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from domain.facts import SYSTEM, By, Event, Fact
from domain.fields import Label, is_visible
from domain.values import unguarded

S = TypeVar("S")

LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)


@unguarded
@dataclass(frozen=True, slots=True)
class Stream:
    """One stream folded: its state, its version for those who see all and for applicants, its last time and place.

    `imported`: its last act was told by an importer, so time alone does nothing to it beyond what was imported; what
    time did up to there leaves that as it is.
    """

    state: Any = None
    version: int = 0
    applicant_version: int = 0
    occurred: datetime = LONG_AGO
    position: int = -1
    imported: bool = False


EMPTY = Stream()


class Unloaded(LookupError):
    """A rule asked for a stream that is not in memory; whoever runs the rule loads it and decides again."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.stream = stream


Evolve = Callable[[Any, Fact], Any]


def fold(stream: Stream, fact: Fact, evolve: Evolve) -> Stream:
    """The stream after one more fact of it."""
    schema: type = type(fact.event)
    return Stream(
        evolve(stream.state, fact),
        fact.version,
        stream.applicant_version + _is_applicants(schema),
        fact.occurred,
        fact.position,
        fact.by.imported or (stream.imported and fact.by.role == SYSTEM.role),
    )


@cache
def _is_applicants(schema: type) -> bool:
    return is_visible(schema, Label.APPLICANT)


def kind_of(command: Any) -> str:
    """The kind of stream a command acts on: the name of the file it is written in."""
    schema: type = type(command)
    return _file_of(schema)


@cache
def _file_of(schema: type) -> str:
    return schema.__module__.rpartition(".")[2]


def own_stream(command: Any) -> str | None:
    """The stream a command acts on (its file's kind, or ACTS_ON); None where it opens one that has no name yet."""
    schema: type = type(command)
    prefix, name = _address_of(schema)
    return prefix + getattr(command, name) if name else None


@cache
def _address_of(schema: type) -> tuple[str, str | None]:
    """How the name of the stream begins that such a command acts on, and which of its fields ends it, if any does."""
    kind: str = getattr(schema, "ACTS_ON", _file_of(schema))
    return f"{kind}-", next((name for name in (kind, "id") if hasattr(schema, name)), None)


class _Now(dict[str, Stream]):
    """The streams as they are now; whichever is asked for first comes from the base, and is noted as found."""

    __slots__ = ("_base", "_found")

    def __init__(self, base: Callable[[str], Stream], found: dict[str, Stream]) -> None:
        self._base = base
        self._found = found

    def __missing__(self, name: str) -> Stream:
        here = self[name] = self._found[name] = self._base(name)
        return here


class World:
    """The streams a command is decided on: reading notes what was read, writing folds at once.

    `base` gives a stream by name and raises Unloaded where it does not know it; `organizations_of` names the
    organizations that ever appointed a person (perhaps more); `position` and `recorded` are the next fact's. What a
    world comes to know of people's standings (`authority.standing`), it may pass on to the next.
    """

    def __init__(
        self,
        base: Callable[[str], Stream],
        organizations_of: Callable[[str], Iterable[str]],
        evolve_of: Callable[[str], Evolve],
        position: int,
        recorded: datetime,
        standings: dict[str, Any] | None = None,
    ) -> None:
        self.organizations_of = organizations_of
        self._evolve_of = evolve_of
        self._found: dict[str, Stream] = {}
        self._written: dict[str, Stream] = {}
        self._now = _Now(base, self._found)
        self.facts: list[Fact] = []
        self.position = position
        self.recorded = recorded
        self.standings = {} if standings is None else standings

    def stream(self, name: str) -> Stream:
        return self._now[name]

    @property
    def read(self) -> Mapping[str, Stream]:
        """The streams that were read, or written, as they were before this command wrote anything."""
        return self._found

    def state(self, name: str, kind: type[S]) -> S | None:
        """The state of a stream, or None where nothing has happened in it."""
        state = self._now[name].state
        assert state is None or isinstance(state, kind), f"{name} holds {type(state).__name__}, not {kind.__name__}"
        return state

    def write(self, name: str, event: Event, by: By, occurred: datetime, command: str, cause: int | None) -> Fact:
        """Append to what this command has written. A stream's occurred never goes back (I8): the later counts."""
        before = self._now[name]
        fact = Fact(
            self.position + len(self.facts),
            name,
            before.version + 1,
            self.recorded,
            max(occurred, before.occurred),
            by,
            command,
            cause,
            event,
        )
        self._now[name] = self._written[name] = fold(before, fact, self._evolve_of(name))
        self.facts.append(fact)
        return fact

    @property
    def written(self) -> Mapping[str, Stream]:
        """The streams this command changed, as they stand after it."""
        return self._written
