"""What does this gateway hold of what it enforces, may it still answer from that, and what is the answer?

It is fed with the events of the feed and does no I/O: a thread (`gate.Gate`) or a task (`gate.AsyncGate`) brings them.
Whatever is doubtful is refused, with a reason of its own.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, cast

from assent_client.access import ANSWERS_MAX, NEVER, Access, Answer, Reason, Record, Use, from_json
from assent_client.notes import Checkpoint, Key, NoteRefused, checkpoint_of
from assent_client.stream import Event

VERSION = 1
BEATS_KEPT = 30
"""So many heartbeats say what the service's clock shows: the one that took least time to arrive says it best."""

WithheldReason = Literal["not_ready", "stale", "untrusted", "not_caught_up"]
MISSING: dict[WithheldReason, str] = {
    "not_ready": "a snapshot and a heartbeat of the feed",
    "stale": "a heartbeat of the feed within the bound",
    "untrusted": "a checkpoint that a known key signed",
    "not_caught_up": "the position that was asked for",
}


class Withheld(Answer):
    """No answer: refused, because what is known here may not be relied on. `reason` is a WithheldReason."""

    __slots__ = ()

    @property
    def because(self) -> tuple[int, ...]:
        return ()

    @property
    def missing(self) -> tuple[str, ...]:
        return (MISSING[cast(WithheldReason, self.reason)],)


def withheld(use: Use, reason: WithheldReason) -> Withheld:
    return Withheld(use, False, cast(Reason, reason))


class FeedRefused(ConnectionError):
    """What the feed says cannot be; what is known stays as it is, until it is stale."""


class BeginAnew(FeedRefused):
    """The feed cannot go on from where this replica is: it needs a snapshot."""


class Untrusted(FeedRefused):
    """A checkpoint is not signed by a known key, or contradicts what was signed before. Nothing is allowed any more."""


class Hooks:
    """What a gateway may want to count or log. Called where it happens: be quick, and raise nothing."""

    def connected(self, snapshot: bool) -> None:
        """The feed began, with a snapshot or where it was left."""

    def disconnected(self, error: Exception) -> None:
        """The feed ended; it is tried again."""

    def changed(self, position: int) -> None:
        """The fact at that position is enforced from now on."""

    def beat(self, position: int, skew_seconds: float) -> None:
        """A heartbeat: all up to there is known. The skew is our clock less the service's, and the way of the beat."""

    def withheld(self, reason: str) -> None:
        """An answer was refused because what is known may not be relied on."""

    def acknowledged(self, position: int) -> None:
        """The service knows that this position is enforced here."""

    def unwritten(self, error: Exception) -> None:
        """The snapshot could not be written, or read."""


class Clocks(NamedTuple):
    """`steady`: seconds that only go on, also while the machine sleeps; `wall`: microseconds since 1970."""

    steady: Callable[[], float]
    wall: Callable[[], int]


def _wall() -> int:
    return time.time_ns() // 1000


REAL = Clocks(
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic, _wall
)


class Status(NamedTuple):
    """`state`: ready, or why every answer is withheld. `heard_seconds_ago`: None before the first heartbeat."""

    state: str
    position: int
    heard_seconds_ago: float | None
    skew_seconds: float | None
    checkpoint_size: int | None
    grants: int


class Place(NamedTuple):
    """Where a replica is in which log, and whose releases it holds (None: everybody's)."""

    position: int
    epoch: int
    providers: tuple[str, ...] | None


class Kept(NamedTuple):
    """All that is worth keeping of a replica: `heard` and `wall` are the service's time, and ours at that moment."""

    place: Place
    heard: int
    wall: int
    checkpoint: str
    records: Sequence[Record]


class Check(Protocol):
    def __call__(
        self,
        customer: str,
        release: str,
        tier: str | None = None,
        person_class: str | None = None,
        affiliate: str | None = None,
    ) -> Answer: ...


class Replica:
    """`check` answers from memory, from any thread; `take` takes in what the feed says, from one."""

    check: Check
    """May this customer use this release now? The answer of `access.Answer`, or `Withheld`."""

    def __init__(
        self,
        max_staleness_seconds: float,
        keys: Iterable[Key] = (),
        clock_skew_seconds_max: float | None = None,
        hooks: Hooks | None = None,
        clocks: Clocks = REAL,
        answers_max: int = ANSWERS_MAX,
    ) -> None:
        self.hooks = hooks or Hooks()
        self._max_staleness = max_staleness_seconds
        self._keys = tuple(keys)
        self._skew_max = clock_skew_seconds_max
        self._clocks = clocks
        self._answers_max = answers_max
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._access: Access | None = None
        self._coming: Access | None = None
        self._place: Place | None = None
        self._told: Place | None = None
        self._ahead: deque[float] = deque(maxlen=BEATS_KEPT)
        self._heard: float | None = None
        self._beat: tuple[int, int] = (0, 0)
        self._skew: float | None = None
        self._checkpoint: Checkpoint | None = None
        self._note = ""
        self._is_trusted = True
        self.heartbeat_seconds = 2.0
        self.check, self._point = self._answering()

    # Answers

    def _answering(self) -> tuple[Check, Callable[[Callable[..., Answer | None], float], None]]:
        """A check whose common case is one look into a dict, and what says into which, and until when."""
        steady, decide = self._clocks.steady, self._decide

        def nothing(key: Any) -> Answer | None:
            return None

        known: Callable[..., Answer | None] = nothing
        good_until = 0.0

        def check(
            customer: str,
            release: str,
            tier: str | None = None,
            person_class: str | None = None,
            affiliate: str | None = None,
        ) -> Answer:
            answer = known((customer, release, tier, person_class, affiliate))
            if answer is not None and steady() < good_until:
                return answer
            return decide(Use(customer, release, tier, person_class, affiliate))

        def point(to: Callable[..., Answer | None], until: float) -> None:
            nonlocal known, good_until
            known, good_until = to, until

        return check, point

    def _decide(self, use: Use) -> Answer:
        with self._lock:
            reason = self._doubt()
            if reason is None:
                assert self._access is not None
                answer = self._access.check(use, self._now())
                self._point_at_answers()
                return answer
        self.hooks.withheld(reason)
        return withheld(use, reason)

    def check_after(self, position: int, use: Use, seconds: float) -> Answer:
        """The answer once everything up to that position is known; `not_caught_up` where it is not in time."""
        with self._news:
            in_time = self._news.wait_for(lambda: self.position >= position, seconds)
        if not in_time:
            self.hooks.withheld("not_caught_up")
            return withheld(use, "not_caught_up")
        return self.check(*use)

    def other_than(self, position: int, seconds: float, given_up: Callable[[], bool]) -> None:
        """Wait until another position is enforced, or for so long, or until it is given up, which `wake` tells."""
        with self._news:
            self._news.wait_for(lambda: self.position != position or given_up(), seconds)

    def wake(self) -> None:
        """Let all who wait look again."""
        with self._news:
            self._news.notify_all()

    def alternatives(self, use: Use, most: int = 10) -> list[tuple[str, str | None]]:
        """Other releases that this customer may use now instead, each with a tier; none where answers are withheld."""
        with self._lock:
            if self._access is None or self._doubt() is not None:
                return []
            return list(self._access.alternatives(use, self._now(), most=most))

    def _doubt(self) -> WithheldReason | None:
        """Why nothing may be answered."""
        if not self._is_trusted:
            return "untrusted"
        if self._access is None or self._heard is None or (self._keys and self._checkpoint is None):
            return "not_ready"
        return "stale" if self._clocks.steady() >= self._heard + self._max_staleness else None

    def _now(self) -> int:
        """The service's time in microseconds, as far as it can be known here, and rather too late than too early."""
        told = int(max(self._ahead) + self._clocks.steady() * 1e6)
        return told if self._skew_max is None else max(told, self._clocks.wall())

    def _point_at_answers(self) -> None:
        """What is remembered is good until time changes it, or until we have heard nothing for too long."""
        if self._access is None or self._heard is None or self._doubt() is not None:
            self._point(dict[Any, Answer]().get, 0.0)
            return
        until = self._heard + self._max_staleness
        if self._access.due < NEVER:
            until = min(until, self._clocks.steady() + (self._access.due - self._now()) / 1e6)
        self._point(self._access.answers.get, until)

    # What is known of it

    @property
    def position(self) -> int:
        """How far the log is enforced here; -1 before anything is known."""
        return -1 if self._place is None else self._place.position

    @property
    def place(self) -> Place | None:
        """From where on the feed can go on."""
        return self._place

    def status(self) -> Status:
        with self._lock:
            ago = None if self._heard is None else self._clocks.steady() - self._heard
            grants = sum(map(len, self._access.grants.values())) if self._access else 0
            size = self._checkpoint.size if self._checkpoint else None
            return Status(self._doubt() or "ready", self.position, ago, self._skew, size, grants)

    # The feed

    def take(self, event: Event) -> None:
        """Take in what the feed says next. Raises FeedRefused; what is known then stays as it was."""
        try:
            match event.name:
                case "hello":
                    self._hello(json.loads(event.data))
                case "records":
                    self._records(json.loads(event.data))
                case "complete":
                    self._complete(int(event.id))
                case "change":
                    self._change(int(event.id), json.loads(event.data))
                case "heartbeat":
                    self._heartbeat(json.loads(event.data))
                case "ended":
                    self._ended(json.loads(event.data))
        except (ValueError, TypeError, KeyError) as error:
            raise FeedRefused(f"An event {event.name!r} that cannot be read: {error}") from error

    def _hello(self, data: dict[str, Any]) -> None:
        if data["version"] != VERSION:
            raise FeedRefused(f"The feed is of version {data['version']}; this client knows version {VERSION}.")
        providers = None if data["providers"] is None else tuple(data["providers"])
        self._told = Place(data["position"], data["epoch"], providers)
        self.heartbeat_seconds = float(data["heartbeat_seconds"])
        self._coming = Access(self._answers_max) if data["snapshot"] else None
        if not data["snapshot"] and (self._place is None or self._place[1:] != self._told[1:]):
            raise BeginAnew("The feed goes on for other readers, or in another log, than this replica knows.")
        self.hooks.connected(data["snapshot"])

    def _records(self, rows: list[Any]) -> None:
        if self._coming is None:
            raise FeedRefused("Records come with a snapshot alone.")
        for record in read(rows):
            self._coming.put(record)

    def _complete(self, position: int) -> None:
        """The snapshot is whole, and replaces what was known, unless it is older than that."""
        if self._coming is None or self._told is None:
            raise FeedRefused("A snapshot ended that never began.")
        here = self._place
        if here is not None and (self._told.epoch, position) < (here.epoch, here.position):
            raise FeedRefused(f"The snapshot is of position {position}; {here.position} is enforced here already.")
        with self._news:
            if here is not None and here.epoch != self._told.epoch:
                self._checkpoint, self._note, self._heard = None, "", None
            self._access, self._coming = self._coming, None
            self._reach(self._told._replace(position=position))
        self.hooks.changed(position)

    def _change(self, position: int, rows: list[Any]) -> None:
        records = list(read(rows))
        with self._news:
            if self._place is None or self._access is None:
                raise FeedRefused("A change came before the snapshot was whole.")
            if position <= self._place.position:
                raise FeedRefused(f"Position {position} came after {self._place.position}.")
            for record in records:
                self._access.put(record)
            self._reach(self._place._replace(position=position))
        self.hooks.changed(position)

    def _reach(self, place: Place) -> None:
        self._place = place
        if self._access is not None:
            self._access.position = place.position
        self._point_at_answers()
        self._news.notify_all()

    def _heartbeat(self, data: dict[str, Any]) -> None:
        position, now, note = int(data["position"]), int(data["now"]), data.get("checkpoint", "")
        if self._place is None:
            raise FeedRefused("A heartbeat came before the snapshot was whole.")
        if position < self._place.position:
            raise FeedRefused(f"The feed was at position {self._place.position}, and is at {position} now.")
        self._check_note(note, position)
        steady, wall = self._clocks.steady(), self._clocks.wall()
        skew = (wall - now) / 1e6
        with self._news:
            self._skew = skew
            if self._skew_max is None or skew <= self._skew_max:
                self._ahead.append(now - steady * 1e6)
                self._heard, self._beat = steady, (now, wall)
            self._reach(self._place._replace(position=position))
        self.hooks.beat(position, skew)

    def _check_note(self, note: str, position: int) -> None:
        """Raises Untrusted, from when on nothing is allowed until a checkpoint is right again."""
        if not note or not self._keys:
            return
        try:
            found = checkpoint_of(note, self._keys)
            if found.size > position + 1:
                raise NoteRefused(f"It is of size {found.size}, but the feed ends at position {position}.")
            known = self._checkpoint
            if known is not None and known.size == found.size and known.root != found.root:
                raise NoteRefused(f"Another of the same size {known.size} has another root: there are two histories.")
        except NoteRefused as refused:
            with self._news:
                self._is_trusted = False
                self._point_at_answers()
            raise Untrusted(f"The checkpoint is not to be trusted: {refused}") from refused
        with self._news:
            self._is_trusted = True
            if known is None or found.size >= known.size:
                self._checkpoint, self._note = found, note

    def _ended(self, data: dict[str, Any]) -> None:
        raise BeginAnew(f"{data['rule']}: {data['detail']}")

    # What is kept for a cold start

    def kept(self) -> Kept | None:
        """What to keep, as of now; None where nothing may be relied on."""
        with self._lock:
            if self._place is None or self._access is None or self._heard is None or not self._is_trusted:
                return None
            heard, wall = self._beat
            return Kept(self._place, heard, wall, self._note, list(self._access.records()))

    def restore(self, kept: Kept) -> None:
        """Take in what was kept: it is as old as it is. Raises Untrusted, FeedRefused."""
        steady, wall = self._clocks.steady(), self._clocks.wall()
        if wall < kept.wall:
            raise FeedRefused("The snapshot is from a time that has not come: a clock went back.")
        self._check_note(kept.checkpoint, kept.place.position)
        access = Access(self._answers_max)
        for record in kept.records:
            access.put(record)
        with self._news:
            self._access = access
            self._heard, self._beat = steady - (wall - kept.wall) / 1e6, (kept.heard, kept.wall)
            self._ahead.append(kept.heard - self._heard * 1e6)
            self._reach(kept.place)


def read(rows: Iterable[Any]) -> Iterator[Record]:
    """The records of such arrays; kinds that are not known yet are left out. Raises TypeError, ValueError."""
    for row in rows:
        record = from_json(row)
        if record is not None:
            yield record
