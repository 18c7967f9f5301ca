"""How do commands become part of the log: in order, many in one append, each decided on exactly what it follows?

One task takes whatever waits, has it decided, seals the records and appends them under "the log's size is still S".
While one batch is being appended the next is decided upon it; if the first is lost, so is the second, and both are
decided again. The writer knows no rule: a Decider does. Four things make it safe:

- Nothing is answered before its batch is settled; a batch without events checks the size as well.
- A batch is sent when the one it was decided upon is in the log, and not before: one append at a time.
- A batch is known by its leaves, for salts are random: after a lost connection the log tells whether it was written.
- A late commit of a lost batch and its repetition expect the same size, so only one of them can succeed.
"""

import asyncio
import logging
from binascii import b2a_base64
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from domain.errors import Refused
from domain.facts import Fact
from domain.values import unguarded
from services.log import reader
from services.log.append import PREPARE, Found, append
from services.log.merkle import Frontier, leaf_hash
from services.log.reader import Connection, LogEnd
from services.log.receipt import Receipt
from services.log.record import RecordTooLarge, seal_fact
from services.log.schema import MAIN, Ledger

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long a batch may stay unsettled before its callers are told that the storage is unavailable."""

RETRY_SECONDS_MAX = 1.0

AHEAD_MAX = 32
"""How many are decided at a time while an append is under way, or could be."""

SKIPPED_MIN = 5_000
"""So many facts are not folded one by one, where nobody has to know them all."""

LOADS_MAX = 100
"""A decider that still asks for streams after so many loads asks in circles."""

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
        """One decision for each work, each upon those before it and upon what was decided and is not yet folded.

        Facts take positions from `end.size` on, and are recorded at `end.taken_in`. Raises NeedsStreams; then nothing
        was decided.
        """

    def forget(self) -> None:
        """What was decided and is not yet folded does not count: it may be decided again."""

    def load(self, stream: str, facts: Sequence[Fact]) -> None:
        """Take in a stream that was asked for: all its facts as far as the log was folded."""

    async def skip(self, size: int) -> bool:
        """Whether it can go on at that size of the log without being told of the facts before; nothing is decided."""

    def fold(self, facts: Sequence[Fact]) -> None:
        """Take in what was appended, by this writer or another, in order of position and without gaps.

        What was decided first, and is not yet folded, are these facts; or none of it is left.
        """


@unguarded
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

    def receipt(self, nth: int = -1) -> Receipt:
        """Where a fact stands and what was hashed: enough to ask for its proof later."""
        return Receipt(self.facts[nth].position, b2a_base64(self.leaves[nth], newline=False).decode(), self.size)


Tell = Callable[[Settled | Exception], None]


@dataclass(slots=True, eq=False)
class _Job:
    work: Any
    key: bytes | None
    fingerprint: bytes | None
    tell: Tell | None
    in_row: bool = False
    too_large: RecordTooLarge | None = None

    def settle(self, outcome: Settled | Exception) -> None:
        """The first outcome is told."""
        tell, self.tell = self.tell, None
        if tell is not None:
            try:
                tell(outcome)
            except Exception:
                _log.exception("Nobody heard what became of a command")


class _Attempt:
    """Jobs as they were decided and sealed on the log of size `base`; it grows until it is appended."""

    def __init__(self, frontier: Frontier, recorded: datetime) -> None:
        self.base = frontier.size
        self.frontier = frontier
        self.recorded = recorded
        self.jobs: list[_Job] = []
        self.decisions: list[Decision] = []
        self.facts: list[Fact] = []
        self.keys: list[bytes | None] = []
        self.fingerprints: list[bytes | None] = []
        self.records: list[bytes] = []
        self.leaves: list[bytes] = []
        self.other_keys: list[bytes] = []
        self.all_keys: set[bytes] = set()

    @property
    def end(self) -> LogEnd:
        """The log's end once the attempt is appended."""
        return LogEnd(self.frontier.size, self.recorded)

    @property
    def inside(self) -> LogEnd:
        """The same for what joins the attempt: an append has one time."""
        return LogEnd(self.frontier.size, self.recorded, within=bool(self.facts))

    def add(self, jobs: Sequence[_Job], decisions: Sequence[Decision]) -> None:
        """Seal what was decided upon it. Raises RecordTooLarge, and marks the job; the attempt is then of no use."""
        leaves_before = len(self.leaves)
        for job, decision in zip(jobs, decisions, strict=True):
            if job.key is not None:
                self.all_keys.add(job.key)
            facts = decision.facts
            if not facts:
                if job.key is not None:
                    self.other_keys.append(job.key)
                continue
            try:
                records = [seal_fact(fact) for fact in facts]
            except RecordTooLarge as refusal:
                job.too_large = refusal
                raise
            own = len(self.facts) + decision.own
            self.facts += facts
            self.records += records
            self.leaves += map(leaf_hash, records)
            self.keys += [None] * len(records)
            self.keys[own] = job.key
            self.fingerprints += [None] * len(records)
            self.fingerprints[own] = job.fingerprint
        self.jobs += jobs
        self.decisions += decisions
        if self.facts:
            self.recorded = self.facts[-1].recorded
        self.frontier.extend(self.leaves[leaves_before:])

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


def _keys_of(*attempts: _Attempt | None) -> set[bytes]:
    return set().union(*(attempt.all_keys for attempt in attempts if attempt is not None))


def resolve(future: "asyncio.Future[T]", outcome: T | Exception) -> None:
    """Tell whoever waits at the future."""
    if future.done():  # whoever waited gave up
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Writer:
    """The only way into the log. Start it, submit works, stop it."""

    def __init__(
        self,
        conninfo: str,
        decider: Decider,
        queue_max: int = 1024,
        patience_seconds: float = PATIENCE_SECONDS,
        ledger: Ledger = MAIN,
    ) -> None:
        """`conninfo` is within the ledger."""
        self._conninfo = conninfo
        self._ledger = ledger
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
        self.frontier = Frontier()
        self._doubt = False
        self._draft: _Attempt | None = None
        self._held_up = False
        self._needed: frozenset[str] = frozenset()

    @property
    def end(self) -> LogEnd:
        """The log's end as far as it was folded."""
        return self._end

    @property
    def backend(self) -> int:
        """The process id of the database's backend that appends for this writer; 0: none does."""
        return self._backend or 0

    def is_own(self, pid: int) -> bool:
        """Whether the backend of that process id is the one that appends for this writer."""
        return pid == self._backend

    async def start(self) -> None:
        """Connect, and take the log's present end as the beginning: nothing is in memory yet. Raises psycopg.Error."""
        self._conn = await self._connect()
        self._end = await reader.end(self._conn)
        self.frontier = Frontier(self._end.size, self._end.frontier)
        self._task = asyncio.create_task(self._run(), name="writer")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Nobody waits for a writer that is no more: a fault of ours is told to everybody, and takes no more in."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.critical("The writer stopped; this process takes no commands any more", exc_info=error)
        self._stopping = True
        for job in (*(self._draft.jobs if self._draft is not None else ()), *self._queue):
            job.settle(StorageUnavailable("The writer stopped."))
        self._queue.clear()

    async def stop(self) -> None:
        """Settle what waits, then end."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._disconnect()

    async def submit(self, work: Any, key: bytes | None = None, fingerprint: bytes | None = None) -> Settled:
        """Have a work decided and, where it yields facts, appended under its command key and fingerprint.

        Raises QueueFull, StorageUnavailable, RecordTooLarge, or the decision's refusal.
        """
        return await self.promise(work, key, fingerprint)

    def promise(
        self, work: Any, key: bytes | None = None, fingerprint: bytes | None = None, *, in_row: bool = False
    ) -> "asyncio.Future[Settled]":
        """As `submit`, but the work is in the queue when this returns."""
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        try:
            self.put(work, key, fingerprint, partial(resolve, future), in_row=in_row)
        except Refused as refusal:
            future.set_exception(refusal)
        return future

    def put(self, work: Any, key: bytes | None, fingerprint: bytes | None, tell: Tell, *, in_row: bool = False) -> None:
        """As `submit`; `tell` is called once with what became of it. Raises QueueFull, StorageUnavailable.

        `in_row`: it is decided in one go with the work that was put before it.
        """
        if self._stopping:
            raise StorageUnavailable("The service is stopping.")
        drafted = len(self._draft.jobs) if self._draft is not None else 0
        if len(self._queue) + drafted >= self._queue_max:
            raise QueueFull(f"{self._queue_max} commands are waiting already.")
        self._queue.append(_Job(work, key, fingerprint, tell, in_row))
        self._wake.set()

    async def _run(self) -> None:
        while not self._stopping or self._queue:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                self._draft_upon(None)
                if self._draft is not None:
                    await self._append_drafts()
                else:
                    batch = _Batch(self._take(), self._end.size)
                    await self._or_fail(batch.jobs, self._settle(batch))
                    self._held_up = False

    def _take(self, most: int | None = None, under_way: Collection[bytes] = ()) -> list[_Job]:
        """What waits; of works under one command key only the first, whose outcome decides the others'.

        At most so many, but a row is never divided.
        """
        batch: list[_Job] = []
        later: list[_Job] = []
        keys = set(under_way)
        while self._queue and (most is None or len(batch) < most or self._queue[0].in_row):
            job = self._queue.popleft()
            if job.key is None:
                batch.append(job)
            elif job.key in keys:
                later.append(job)
            else:
                keys.add(job.key)
                batch.append(job)
        self._put_back(later)
        return batch

    def _put_back(self, jobs: Sequence[_Job]) -> None:
        self._queue.extendleft(reversed(jobs))

    async def _or_fail(self, jobs: Sequence[_Job], settling: Coroutine[Any, Any, T]) -> T | None:
        """Have jobs settled, or say that they are not."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await settling
        except (psycopg.Error, TimeoutError) as error:
            _log.exception("A batch of %s commands was not settled", len(jobs))
            self._doubt = True
            outcome: Exception = StorageUnavailable(f"The storage did not settle it: {type(error).__name__}.")
        except Exception as error:
            _log.exception("A batch of %s commands could not be decided", len(jobs))
            outcome = error
        for job in jobs:
            job.settle(outcome)
        self._forget_draft()
        await self._disconnect()
        return None

    # As a rule: one append after the other, and while one is under way the next is decided upon it

    async def _append_drafts(self) -> None:
        """Append what is drafted, then what was drafted meanwhile, until nothing is or something was unusual."""
        appended: _Attempt | None = None
        while (attempt := self._draft) is not None:
            self._draft = None
            sent = self._sent(attempt)
            if appended is not None:
                appended.answer()  # not before the next is on its way, so that the database need not wait
            appended = await self._or_fail(attempt.jobs, self._see_through(attempt, sent))
        if appended is not None:
            appended.answer()

    def _sent(self, attempt: _Attempt) -> "asyncio.Future[Found]":
        assert self._conn is not None, "without a connection nothing is drafted"
        sent: asyncio.Future[Found]
        try:
            sent = asyncio.ensure_future(self._append(self._conn, attempt))
        except Exception as error:
            sent = asyncio.get_running_loop().create_future()
            sent.set_exception(error)
        sent.add_done_callback(lambda _: self._wake.set())
        return sent

    async def _see_through(self, attempt: _Attempt, sent: "asyncio.Future[Found]") -> _Attempt | None:
        """The attempt once it is in the log, to be answered; None where its jobs had to be settled otherwise."""
        conn, batch = self._conn, _Batch(list(attempt.jobs), attempt.base)
        try:
            while not sent.done():
                if self._draft_upon(attempt):
                    await asyncio.sleep(0)  # the answer may have come while this was decided
                else:
                    await self._wake.wait()
                    self._wake.clear()
        finally:
            if not sent.done():
                sent.cancel()
                await asyncio.wait([sent])
        if sent.exception() is None and sent.result() == (attempt.base, None) and not self._doubt:
            self._fold(attempt)
            return attempt
        self._forget_draft()
        if attempt.records:
            batch.doubtful.append(attempt)

        async def conclude() -> None:
            assert conn is not None
            await self._conclude(conn, batch, attempt, await sent)

        await self._settle(batch, conclude())
        return None

    def _draft_upon(self, under_way: _Attempt | None) -> bool:
        """Decide some of what waits upon what is under way and what is drafted, if all that it needs is in memory.

        Whether any was decided, so that there may be more.
        """
        if self._held_up or self._doubt or self._conn is None or not self._queue:
            return False
        draft = self._draft
        jobs = self._take(AHEAD_MAX, _keys_of(under_way, draft))
        if not jobs:
            return False
        if draft is None:
            before = under_way or self
            draft = _Attempt(before.frontier.copy(), before.end.recorded)
        try:
            decisions = self._decider.decide([job.work for job in jobs], draft.inside)
        except Exception as error:  # what has to be loaded, or cannot be decided, waits until nothing is under way
            self._needed = error.streams if isinstance(error, NeedsStreams) else frozenset()
            self._held_up = True
            self._put_back(jobs)
            return False
        self._draft = draft
        try:
            draft.add(jobs, decisions)
        except RecordTooLarge:
            self._held_up = True
            self._put_back(jobs)
            self._forget_draft()
            return False
        return True

    def _forget_draft(self) -> None:
        """What was decided upon something that is not in the log was decided in vain."""
        self._decider.forget()
        draft, self._draft = self._draft, None
        if draft is not None:
            self._put_back(draft.jobs)

    # Whatever it takes

    async def _settle(self, batch: _Batch, begun: Coroutine[Any, Any, None] | None = None) -> None:
        """Decide, append and answer, whatever it takes: other writers, repeated keys, lost connections."""
        pause_seconds = 0.01
        while batch.jobs:
            try:
                if begun is not None:
                    step, begun = begun, None
                    await step
                else:
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
            found = Found(attempt.base, None)
            if landed is None:
                if attempt.records:
                    batch.doubtful.append(attempt)
                found = await self._append(conn, attempt)
        await self._conclude(conn, batch, attempt, found, landed is not None)

    async def _conclude(
        self, conn: Connection, batch: _Batch, attempt: _Attempt, found: Found, is_folded: bool = False
    ) -> None:
        """What an append that came back means for the batch."""
        await self._dispel_doubt(conn)
        if found.size != attempt.base:
            batch.rivals = True
        elif found.used_keys:
            self._decider.forget()  # for it is not in the log, and there may be nothing left to decide again
            batch.jobs = await self._answer_repeated(conn, batch.jobs, found.used_keys)
        else:
            if not is_folded:
                self._fold(attempt)
            attempt.answer()
            batch.jobs = []

    @asynccontextmanager
    async def _turn(self, conn: Connection, batch: _Batch) -> AsyncIterator[None]:
        """Room for one attempt: where others append too, behind the lock and with their news folded."""
        if not batch.rivals:
            yield
            return
        self._decider.forget()
        await self._catch_up(conn, batch)  # most of the news before the lock, which holds up every writer
        async with conn.transaction():
            await conn.execute("SELECT pg_advisory_xact_lock(%s)", (self._ledger.append_lock,))
            await self._catch_up(conn, batch)
            yield

    async def _catch_up(self, conn: Connection, batch: _Batch) -> None:
        """Fold what the log holds beyond what was folded, and note its leaves."""
        while True:
            facts, leaves = await reader.page_with_leaves(conn, self._end.size - 1, reader.PAGE_ROWS)
            if not facts:
                return
            self._decider.fold(facts)
            self.frontier.extend(leaves)
            self._end = LogEnd(self.frontier.size, facts[-1].recorded)
            batch.news += leaves
            if len(facts) == reader.PAGE_ROWS and not batch.doubtful:
                await self._skip(conn, batch)

    async def _skip(self, conn: Connection, batch: _Batch) -> None:
        """Far behind the log, go on at its end as at the start, with nothing in memory."""
        end = await reader.end(conn)
        if end.size - self._end.size > SKIPPED_MIN and await self._decider.skip(end.size):
            self._end, self.frontier = end, Frontier(end.size, end.frontier)
            batch.base, batch.news = end.size, []

    async def _decided(self, conn: Connection, jobs: Sequence[_Job]) -> _Attempt | None:
        """The batch decided and sealed on the log as folded; None where a job turned out to be too large."""
        fitting = [job for job in jobs if job.too_large is None]
        too_large = [job for job in jobs if job.too_large is not None]
        self._decider.forget()
        needed, self._needed = self._needed, frozenset()
        for _ in range(LOADS_MAX):
            if needed:
                found = await reader.facts_of(conn, needed, before=self._end.size)
                for stream in needed:
                    self._decider.load(stream, found.get(stream, ()))
            try:
                decisions = self._decider.decide([job.work for job in fitting], self._end)
                break
            except NeedsStreams as needs:
                needed = needs.streams
        else:
            raise RuntimeError("The rules ask for streams in circles.")
        attempt = _Attempt(self.frontier.copy(), self._end.recorded)
        try:
            attempt.add(fitting, decisions)
        except RecordTooLarge:
            return None
        attempt.add(too_large, [Decision(refusal=job.too_large) for job in too_large])
        return attempt

    def _append(self, conn: Connection, attempt: _Attempt) -> Awaitable[Found]:
        """What the log says to the attempt; it is on its way when this returns."""
        facts = attempt.facts
        return append(
            conn,
            attempt.base,
            [fact.stream for fact in facts],
            [fact.version for fact in facts],
            [fact.type for fact in facts],
            attempt.keys,
            attempt.fingerprints,
            attempt.records,
            attempt.leaves,
            attempt.frontier.root(),
            bytes(attempt.frontier),
            attempt.other_keys,
        )

    def _fold(self, attempt: _Attempt) -> None:
        if attempt.facts:
            self._decider.fold(attempt.facts)
            self.frontier, self._end = attempt.frontier, attempt.end

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
        await conn.execute(PREPARE)
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
