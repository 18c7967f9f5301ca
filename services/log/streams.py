"""Does each stream of the log hold together: is every record a fact, in order, and does it fold upon those before it?

Streams know nothing of each other, so that they can be folded in several processes, each stream in one of them.
"""

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol
from zlib import crc32

import msgspec

from domain import log, rulebook, trail
from domain.world import EMPTY, Evolve, Stream, fold, kind_of
from services.log import record
from services.log.record import Outline


@dataclass(frozen=True, slots=True)
class Book:
    """What a log may hold: how each kind of stream folds, and every event by its name."""

    kinds: Mapping[str, Evolve]
    events: Mapping[str, type]


RULES = Book({kind: module.evolve for kind, module in rulebook.STREAMS.items()}, rulebook.EVENTS)
READINGS = Book(
    {trail.KIND: trail.evolve, log.KIND: log.evolve},
    {**trail.EVENTS, log.RollbackAccepted.__name__: log.RollbackAccepted},
)

BATCH_RECORDS = 500
"""Records that are handed to another process at once."""


class Differs(Exception):
    """The log is not what it should be. The sentence says how; the position is the first that it speaks of."""

    def __init__(self, position: int, sentence: str) -> None:
        super().__init__(position, sentence)
        self.position = position
        self.sentence = sentence

    def __str__(self) -> str:
        return f"Position {self.position}: {self.sentence}"


class Folds(Protocol):
    """Whoever folds the streams."""

    def take(self, position: int, line: bytes, parts: Outline) -> None:
        """The record at a position, in order of position. Raises Differs, perhaps later."""

    def end(self) -> Counter[str]:
        """How many streams of each kind there are. Raises the Differs of the lowest position."""


class Folding:
    """Every stream, folded in this process."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._streams: dict[str, Stream] = {}

    def take(self, position: int, line: bytes, parts: Outline) -> None:
        """Raises Differs."""
        self.fold(position, line, parts.data)

    def fold(self, position: int, line: bytes, data: bytes) -> None:
        """As `take`; the event itself is all that matters of the record's parts. Raises Differs."""
        try:
            fact = record.read(line)
            _check_exact(data, fact.event)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Differs(position, f"the record cannot be read: {error}") from error
        before = self._streams.get(fact.stream, EMPTY)
        if fact.version != before.version + 1:
            raise Differs(position, f"version {before.version} of {fact.stream} is followed by {fact.version}.")
        if fact.occurred < before.occurred:
            raise Differs(position, f"it occurred before the last event of {fact.stream} (I8).")
        kind, of, kinds = fact.stream.partition("-")[0], kind_of(fact.event), self._book.kinds
        if kind not in kinds:
            raise Differs(position, f"there is no kind of stream like that of {fact.stream}.")
        if (of in kinds and of != kind) or fact.type not in self._book.events:
            raise Differs(position, f"{fact.type} is an event of {of}, not of {kind}.")
        try:
            self._streams[fact.stream] = fold(before, fact, kinds[kind])
        except Exception as error:  # whatever an impossible history makes of the rules is a finding
            sentence = f"{fact.type} does not fold upon version {before.version} of {fact.stream}: {error!r}."
            raise Differs(position, sentence) from error

    def end(self) -> Counter[str]:
        return Counter(name.partition("-")[0] for name in self._streams)


_encode = msgspec.json.Encoder().encode


def _check_exact(data: bytes, event: Any) -> None:
    """Readers must not disagree about what a record says: no name twice, and none that this program ignores.

    Fields that came later have defaults, so an old event may have fewer than it would be written with today.
    """
    written = _encode(event)
    if data != written:
        _check_names(json.loads(data, object_pairs_hook=_once), json.loads(written))


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its data has a name twice.")
    return found


def _check_names(found: Any, known: Any) -> None:
    if isinstance(found, dict) and isinstance(known, dict):
        for name, value in found.items():
            if name not in known:
                raise ValueError(f"its data has a field {name!r}, which this program does not know.")
            _check_names(value, known[name])
    elif isinstance(found, list) and isinstance(known, list):
        for one, other in zip(found, known, strict=True):
            _check_names(one, other)


# In several processes


class _Elsewhere:
    """A process that folds some of the streams. What differs in them is told as soon as it is heard of."""

    def __init__(self, book: Book) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_fold_what_comes, args=(there, book), daemon=True)
        self._process.start()
        there.close()
        self._batch: list[tuple[int, bytes, bytes]] = []
        self._outcome: Differs | Counter[str] | None = None

    def take(self, position: int, line: bytes, parts: Outline) -> None:
        self._batch.append((position, line, parts.data))
        if len(self._batch) == BATCH_RECORDS:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._outcome is None and self._here.poll():
            self._outcome = self._here.recv()
        if isinstance(self._outcome, Differs):
            raise self._outcome
        self._here.send(self._batch)
        self._batch = []

    def end(self) -> Counter[str]:
        self._hand_over()
        self._here.send(None)
        outcome: Differs | Counter[str] = self._here.recv()
        if isinstance(outcome, Differs):
            raise outcome
        return outcome

    def stop(self) -> None:
        self._here.close()
        self._process.terminate()
        self._process.join()


def _fold_what_comes(there: Connection, book: Book) -> None:
    folding = Folding(book)
    try:
        while (batch := there.recv()) is not None:
            for each in batch:
                folding.fold(*each)
        there.send(folding.end())
    except Differs as differs:
        there.send(differs)
        while there.recv() is not None:
            pass  # whoever hands over hears of it at the next batch, and must not wait for room until then
    except (EOFError, KeyboardInterrupt):
        return


class _Spread:
    """Every stream, each folded in one of several processes."""

    def __init__(self, processes: Sequence[_Elsewhere]) -> None:
        self._processes = processes

    def take(self, position: int, line: bytes, parts: Outline) -> None:
        self._processes[crc32(parts.stream) % len(self._processes)].take(position, line, parts)

    def end(self) -> Counter[str]:
        found: Counter[str] = Counter()
        differences = []
        for process in self._processes:
            try:
                found += process.end()
            except Differs as differs:
                differences.append(differs)
        if differences:
            raise min(differences, key=lambda each: each.position)
        return found


@contextmanager
def folding(processes: int, book: Book = RULES) -> Iterator[Folds]:
    """Somebody to fold the streams: this process (0), or so many others."""
    if processes == 0:
        yield Folding(book)
        return
    others: list[_Elsewhere] = []
    try:
        for _ in range(processes):
            others.append(_Elsewhere(book))
        yield _Spread(others)
    finally:
        for other in others:
            other.stop()
