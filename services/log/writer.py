"""How do commands become part of the log: in order, many in one append, each decided on exactly what it follows?

One task takes whatever waits, has it decided, seals the records and appends them under "the log's size is still S". It
knows no rule: a Decider does. Three things make it safe:

- Nothing is answered before its batch is settled; a batch without events checks the size as well.
- A batch is known by its leaves, for salts are random: after a lost connection the log tells whether it was written.
- A late commit of a lost batch and its repetition expect the same size, so only one of them can succeed.
"""

import asyncio
import logging
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from domain.errors import Refused
from domain.facts import Fact
from domain.values import unguarded
from services.log import reader
from services.log.arrays import BigInts, Byteas, Texts, register_arrays
from services.log.merkle import Frontier, leaf_hash
from services.log.reader import Connection, LogEnd
from services.log.record import RecordTooLarge, seal_fact
from services.log.schema import LOG_LOCK

PATIENCE_SECONDS = 10.0
"""How long a batch may stay unsettled before its callers are told that the storage is unavailable."""

RETRY_SECONDS_MAX = 1.0

LOADS_MAX = 100
"""A decider that still asks for streams after so many loads asks in circles."""

_APPEND = "SELECT size_found, used_keys FROM append(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"

_log = logging.getLogger(__name__)


class StorageUnavailable(Refused):
    """Whether the command was recorded is unknown; repeating it with the same key is safe."""

    status, rule, title = 503, "storage", "The storage is unavailable"
    retry_after = 1


class QueueFull(Refused):
    status, rule, title = 503, "queue", "Too many commands are waiting"
    retry_after = 1


class NeedsStreams(LookupError):
    """A decider asks for streams that are not in memory; they are loaded, all at once, and the batch decided again."""

    def __init__(self, streams: Collection[str]) -> None:
        super().__init__(f"{len(streams)} streams to load")
        self.streams = frozenset(streams)


@unguarded
@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one work: facts to append, or none; `refusal` is raised to the caller, `answer` handed to it.

    `own` counts, from 0, to the first fact of the command itself, which bears its key: timers due before it come first.
    """

    facts: Sequence[Fact] = ()
    refusal: Exception | None = None
    answer: Any = None
    own: int = 0


class Decider(Protocol):
    """The rules, and the states in memory that they decide on: those of the log as far as it was folded."""

    def decide(self, works: Sequence[Any], end: LogEnd) -> Sequence[Decision]:
        """One decision for each work, each upon those before it. Facts take positions from `end.size` on.

        Changes nothing, for the batch may have to be decided again. Raises NeedsStreams.
        """

    def load(self, stream: str, facts: Sequence[Fact]) -> None:
        """Take in a stream that was asked for: all its facts as far as the log was folded."""

    def fold(self, facts: Sequence[Fact]) -> None:
        """Take in what was appended, by this writer or another, in order of position and without gaps."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A work whose batch is in the log: its facts and their leaves; `size` is the log's after that append.

    `repeated` tells that an earlier command under the same key wrote them; compare its `fingerprint`.
    """

    facts: Sequence[Fact]
    leaves: Sequence[bytes]
    size: int
    answer: Any = None
    repeated: bool = False
    fingerprint: bytes | None = None

    def receipt(self, nth: int = -1) -> dict[str, Any]:
        """Where a fact stands and what was hashed: enough to ask for its proof later. The leaf is in base64."""
        leaf = b64encode(self.leaves[nth]).decode()
        return {"position": self.facts[nth].position, "leaf": leaf, "size": self.size}


Tell = Callable[[Settled | Exception], None]


@dataclass(slots=True, eq=False)
class _Job:
    work: Any
    key: bytes | None
    fingerprint: bytes | None
    tell: Tell | None
    too_large: RecordTooLarge | None = None

    def settle(self, outcome: Settled | Exception) -> None:
        """The first outcome is told."""
        tell, self.tell = self.tell, None
        if tell is not None:
            try:
                tell(outcome)
            except Exception:
                _log.exception("Nobody heard what became of a command")


@dataclass(slots=True)
class _Attempt:
    """A batch as it was decided and sealed on the log of size `base`."""

    base: int
    jobs: Sequence[_Job]
    decisions: Sequence[Decision]
    frontier: Frontier
    facts: list[Fact] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    fingerprints: list[bytes | None] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    other_keys: list[bytes] = field(default_factory=list)

    def answer(self) -> None:
        """Tell every caller what became of its work; called once the log holds the attempt."""
        size, at = self.frontier.size, 0
        for job, decision in zip(self.jobs, self.decisions, strict=True):
            if decision.refusal is not None:
                job.settle(decision.refusal)
            else:
                upto = at + len(decision.facts)
                job.settle(Settled(decision.facts, self.leaves[at:upto], size, decision.answer))
                at = upto


@dataclass(slots=True)
class _Batch:
    """Jobs that are settled together, and what happened to the log since it was `base` long."""

    jobs: list[_Job]
    base: int
    rivals: bool = False
    doubtful: list[_Attempt] = field(default_factory=list)
    news: list[bytes] = field(default_factory=list)

    def landed(self) -> _Attempt | None:
        """The attempt that turns out to be in the log although its append seemed to fail."""
        for attempt in self.doubtful:
            at = attempt.base - self.base
            if self.news[at : at + len(attempt.leaves)] == attempt.leaves:
                return attempt
        return None


def _resolve(future: "asyncio.Future[Settled]", outcome: Settled | Exception) -> None:
    if future.done():  # whoever waited gave up
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Writer:
    """The only way into the log. Start it, submit works, stop it."""

    def __init__(
        self, conninfo: str, decider: Decider, queue_max: int = 1024, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._conninfo = conninfo
        self._decider = decider
        self._queue_max = queue_max
        self._patience_seconds = patience_seconds
        self._queue: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._conn: Connection | None = None
        self._backend: int | None = None
        self._end = LogEnd()
        self._frontier = Frontier()
        self._doubt = False

    @property
    def end(self) -> LogEnd:
        """The log's end as far as it was folded."""
        return self._end

    def is_own(self, pid: int) -> bool:
        """Whether the backend of that process id is the one that appends for this writer."""
        return pid == self._backend

    async def start(self) -> None:
        """Connect, and take the log's present end as the beginning: nothing is in memory yet. Raises psycopg.Error."""
        self._conn = await self._connect()
        self._end = await reader.end(self._conn)
        self._frontier = Frontier(self._end.size, self._end.frontier)
        self._task = asyncio.create_task(self._run(), name="writer")

    async def stop(self) -> None:
        """Settle what waits, then end."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._disconnect()

    async def submit(self, work: Any, key: bytes | None = None, fingerprint: bytes | None = None) -> Settled:
        """Have a work decided and, where it yields facts, appended under its command key and fingerprint.

        Raises QueueFull, StorageUnavailable, RecordTooLarge, or the decision's refusal.
        """
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self.put(work, key, fingerprint, partial(_resolve, future))
        return await future

    def put(self, work: Any, key: bytes | None, fingerprint: bytes | None, tell: Tell) -> None:
        """As `submit`; `tell` is called once with what became of it. Raises QueueFull, StorageUnavailable."""
        if self._stopping:
            raise StorageUnavailable("The service is stopping.")
        if len(self._queue) >= self._queue_max:
            raise QueueFull(f"{self._queue_max} commands are waiting already.")
        self._queue.append(_Job(work, key, fingerprint, tell))
        self._wake.set()

    async def _run(self) -> None:
        while not self._stopping or self._queue:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._settle_or_fail(self._take())

    def _take(self) -> list[_Job]:
        """Everything that waits; of works under one command key only the first, whose outcome decides the others'."""
        batch: list[_Job] = []
        later: list[_Job] = []
        keys: set[bytes] = set()
        for job in self._queue:
            if job.key is None:
                batch.append(job)
            elif job.key in keys:
                later.append(job)
            else:
                keys.add(job.key)
                batch.append(job)
        self._queue = deque(later)
        return batch

    async def _settle_or_fail(self, jobs: list[_Job]) -> None:
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._settle(_Batch(jobs, self._end.size))
        except (psycopg.Error, TimeoutError) as error:
            _log.exception("A batch of %s commands was not settled", len(jobs))
            self._doubt = True
            await self._disconnect()
            for job in jobs:
                job.settle(StorageUnavailable(f"The storage did not settle it: {type(error).__name__}."))
        except Exception as error:
            _log.exception("A batch of %s commands could not be decided", len(jobs))
            await self._disconnect()
            for job in jobs:
                job.settle(error)

    async def _settle(self, batch: _Batch) -> None:
        """Decide, append and answer, whatever it takes: other writers, repeated keys, lost connections."""
        pause_seconds = 0.01
        while batch.jobs:
            try:
                await self._try(self._conn or await self._connect(), batch)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                _log.warning("The outcome of an append is unknown, asking the log: %s", error)
                batch.rivals = self._doubt = True
                await self._disconnect()
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, RETRY_SECONDS_MAX)

    async def _try(self, conn: Connection, batch: _Batch) -> None:
        """One attempt at the batch. What is left in it afterwards has to be decided again."""
        async with self._turn(conn, batch):
            landed = batch.landed()
            attempt = landed or await self._decided(conn, batch.jobs)
            if attempt is None:
                return
            size_found, used_keys = attempt.base, None
            if landed is None:
                if attempt.records:
                    batch.doubtful.append(attempt)
                size_found, used_keys = await self._append(conn, attempt)
        await self._dispel_doubt(conn)
        if size_found != attempt.base:
            batch.rivals = True
        elif used_keys:
            batch.jobs = await self._answer_repeated(conn, batch.jobs, used_keys)
        else:
            if landed is None:
                self._fold(attempt)
            attempt.answer()
            batch.jobs = []

    @asynccontextmanager
    async def _turn(self, conn: Connection, batch: _Batch) -> AsyncIterator[None]:
        """Room for one attempt: where others append too, behind the lock and with their news folded."""
        if not batch.rivals:
            yield
            return
        await self._catch_up(conn, batch)  # most of the news before the lock, which holds up every writer
        async with conn.transaction():
            await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,))
            await self._catch_up(conn, batch)
            yield

    async def _catch_up(self, conn: Connection, batch: _Batch) -> None:
        """Fold what the log holds beyond what was folded, and note its leaves."""
        while True:
            facts, leaves = await reader.page_with_leaves(conn, after=self._end.size - 1)
            if not facts:
                return
            self._decider.fold(facts)
            self._frontier.extend(leaves)
            self._end = LogEnd(self._frontier.size, facts[-1].recorded)
            batch.news += leaves

    async def _decided(self, conn: Connection, jobs: Sequence[_Job]) -> _Attempt | None:
        """The batch decided and sealed on the log as folded; None where a job turned out to be too large."""
        fitting = [job for job in jobs if job.too_large is None]
        works = [job.work for job in fitting]
        for _ in range(LOADS_MAX):
            try:
                decisions = self._decider.decide(works, self._end)
            except NeedsStreams as needs:
                found = await reader.facts_of(conn, needs.streams, before=self._end.size)
                for stream in needs.streams:
                    self._decider.load(stream, found.get(stream, ()))
            else:
                return self._sealed(jobs, fitting, decisions)
        raise RuntimeError("The rules ask for streams in circles.")

    def _sealed(self, jobs: Sequence[_Job], fitting: Sequence[_Job], decisions: Sequence[Decision]) -> _Attempt | None:
        too_large = [Decision(refusal=job.too_large) for job in jobs if job.too_large]
        ordered = [*fitting, *(job for job in jobs if job.too_large)]
        attempt = _Attempt(self._end.size, ordered, [*decisions, *too_large], self._frontier.copy())
        for job, decision in zip(attempt.jobs, attempt.decisions, strict=True):
            if not decision.facts:
                if job.key is not None:
                    attempt.other_keys.append(job.key)
                continue
            try:
                records = [seal_fact(fact) for fact in decision.facts]
            except RecordTooLarge as refusal:
                job.too_large = refusal
                return None
            own = len(attempt.facts) + decision.own
            attempt.facts += decision.facts
            attempt.records += records
            attempt.keys += [None] * len(records)
            attempt.keys[own] = job.key
            attempt.fingerprints += [None] * len(records)
            attempt.fingerprints[own] = job.fingerprint
        attempt.leaves = [leaf_hash(record) for record in attempt.records]
        attempt.frontier.extend(attempt.leaves)
        return attempt

    async def _append(self, conn: Connection, attempt: _Attempt) -> tuple[int, list[bytes] | None]:
        """The size found and the keys used before; the attempt is in the log if they are its base and none."""
        facts = attempt.facts
        cursor = await conn.execute(
            _APPEND,
            (
                attempt.base,
                Texts([fact.stream for fact in facts]),
                BigInts([fact.version for fact in facts]),
                Texts([fact.type for fact in facts]),
                Byteas(attempt.keys),
                Byteas(attempt.fingerprints),
                Byteas(attempt.records),
                Byteas(attempt.leaves),
                attempt.frontier.root(),
                bytes(attempt.frontier),
                Byteas(attempt.other_keys),
            ),
            prepare=True,
            binary=True,
        )
        found = await cursor.fetchone()
        assert found is not None
        return found[0], found[1]

    def _fold(self, attempt: _Attempt) -> None:
        if attempt.facts:
            self._decider.fold(attempt.facts)
            self._frontier = attempt.frontier
            self._end = LogEnd(self._frontier.size, attempt.facts[-1].recorded)

    async def _answer_repeated(self, conn: Connection, jobs: Sequence[_Job], used_keys: Sequence[bytes]) -> list[_Job]:
        """Answer repeated commands with what they wrote the first time; the other jobs are left."""
        found = await reader.kept(conn, used_keys)
        left = []
        for job in jobs:
            kept = found.get(job.key) if job.key is not None else None
            if kept is None:
                left.append(job)
            else:
                job.settle(Settled(kept.facts, kept.leaves, kept.size, None, True, kept.fingerprint))
        return left

    async def _connect(self) -> Connection:
        conn = await AsyncConnection.connect(self._conninfo, autocommit=True)
        conn.add_notice_handler(self._notice)
        register_arrays(conn)
        self._conn, self._backend = conn, conn.info.backend_pid
        return conn

    async def _disconnect(self) -> None:
        if self._conn is not None:
            conn, self._conn, self._backend = self._conn, None, None
            await conn.close()

    def _notice(self, diagnostic: Diagnostic) -> None:
        """A warning at commit says that the commit may not be replicated: then nothing may be answered yet."""
        if diagnostic.severity_nonlocalized == "WARNING":
            _log.warning("The database warns: %s", diagnostic.message_primary)
            self._doubt = True

    async def _dispel_doubt(self, conn: Connection) -> None:
        """After a doubtful commit: one more, which has to be as durable as asked for, covers all those before it."""
        if not self._doubt:
            return
        self._doubt = False
        await conn.execute("SELECT pg_logical_emit_message(true, 'assent', '')")
        if self._doubt:
            raise psycopg.OperationalError("The database does not confirm that what was committed is replicated.")
