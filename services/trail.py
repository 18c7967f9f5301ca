"""How does what somebody read, or was refused, get into the trail before they hear the answer?

The trail is a second log beside the first, in a schema of its own: the same writer appends to it, many records at once,
and the same signer signs it. Only what is decided here is simpler: whatever comes is recorded.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from domain import log, trail
from domain.errors import Refused
from domain.facts import SYSTEM, By, Fact
from services.clock import Clock, RealClock
from services.log import reader
from services.log.folder import LogRefused, SignerFolder
from services.log.reader import Connection, LogEnd, Pool
from services.log.schema import TRAIL
from services.log.signer import check, check_at_start
from services.log.writer import Decision, Settled, Writer

POOL_MAX = 4

_log = logging.getLogger(__name__)

Work = tuple[str, trail.Event] | log.RollbackAccepted
"""Whose act it was, and what; or that an operator accepted another trail than was signed."""


class TrailUnavailable(Refused):
    """What cannot be recorded is not shown."""

    status, rule, title = 503, "trail", "What was asked for cannot be recorded, so it is not answered"
    retry_after = 1

    def __init__(self) -> None:
        super().__init__("Who reads what is recorded before it is answered, and that is not possible now.", "the trail")


def signer_folder(data: Path, origin: str) -> SignerFolder:
    """Where the trail's signer keeps its key and what it signed last."""
    return SignerFolder(data / "signer" / TRAIL.schema, f"{origin}/{TRAIL.schema}")


def check_trail_at_start(conninfo: str, folder: SignerFolder) -> None:
    """Refuse to serve where the trail is not what was signed. Raises LogRefused, psycopg.Error."""
    try:
        check_at_start(TRAIL.within(conninfo), folder)
    except LogRefused as refused:
        raise LogRefused(f"The trail of reads and refusals (`--trail` at a terminal): {refused}") from refused


class Trail:
    """Takes records of one process, and shows the trail of all, for as long as the block lasts."""

    def __init__(
        self, writing: str, reading: str, folder: SignerFolder, clock: Callable[[], Clock], queue_max: int
    ) -> None:
        """`writing` and `reading` are the database, as somebody logs in who may do that."""
        self._folder = folder
        self._versions = _Versions(clock)
        self._writer = Writer(TRAIL.within(writing), self._versions, queue_max, ledger=TRAIL)
        self.pool: Pool = AsyncConnectionPool(
            TRAIL.within(reading),
            min_size=1,
            max_size=POOL_MAX,
            open=False,
            kwargs={"autocommit": True},
            timeout=5.0,
            reconnect_timeout=2.0,
        )

    async def __aenter__(self) -> "Trail":
        """Raises psycopg.Error, LogRefused; then nothing of it goes on."""
        try:
            await self._begin()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _begin(self) -> None:
        await self.pool.open()
        await self._writer.start()
        async with self.pool.connection() as conn:
            self._versions.know(await _last_versions(conn, self._writer.end.size))
            told = (await reader.facts_of(conn, [log.STREAM])).get(log.STREAM, ())
        await self._record_rollback([fact.event for fact in told])

    async def _record_rollback(self, told: Sequence[log.RollbackAccepted]) -> None:
        """What an operator accepted while nobody served comes before anything else. Raises LogRefused."""
        signed = await asyncio.to_thread(self._folder.signed)
        accepted = signed.accepted if signed is not None else None
        if accepted is None or accepted in told:
            return
        if self._writer.end.size != accepted.found_size:
            raise LogRefused(
                f"The trail was accepted with {accepted.found_size} records, but something else was appended before "
                "that could be recorded. Look at what there is now: `assent log override --trail`."
            )
        await self._writer.submit(accepted)

    async def __aexit__(self, *_: object) -> None:
        """Record what waits, then end."""
        await self._writer.stop()
        await self.pool.close()

    def signed(self) -> tuple[int, int]:
        """How much of the trail is signed, and how much there is. Blocks. Raises LogRefused, psycopg.Error."""
        conninfo = self.pool.conninfo
        assert isinstance(conninfo, str)
        with psycopg.connect(conninfo, autocommit=True) as conn:
            signed = check(conn, self._folder)
            ((size,),) = conn.execute("SELECT coalesce(max(size), 0) FROM tree_head").fetchall()
        return signed.size if signed else 0, size

    async def record(self, person: str, event: trail.Event) -> None:
        """Returns once it is in the trail for good. Raises TrailUnavailable."""
        try:
            await self._writer.submit((person, event))
        except Exception as error:
            raise _unavailable(error) from error

    def put(self, person: str, event: trail.Event, tell: Callable[[TrailUnavailable | None], None]) -> None:
        """As `record`, without a task: `tell` is told once that it is in the trail (None), or why it is not."""

        def told(outcome: Settled | Exception) -> None:
            tell(_unavailable(outcome) if isinstance(outcome, Exception) else None)

        try:
            self._writer.put((person, event), None, None, told)
        except Refused as refusal:
            told(refusal)


def record_at_terminal(writing: str, reading: str, folder: SignerFolder, event: trail.Event) -> None:
    """Record what is done without a service, before it is done. Raises TrailUnavailable, LogRefused."""

    async def record() -> None:
        clock = RealClock()
        async with Trail(writing, reading, folder, lambda: clock, queue_max=1) as here:
            await here.record(SYSTEM.person, event)

    try:
        asyncio.run(record())
    except psycopg.Error as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> TrailUnavailable:
    _log.error("A record of the trail was not written: %r", error)
    return TrailUnavailable()


class _Versions:
    """How far each person's stream goes, for those who decide nothing: the writer's Decider."""

    def __init__(self, clock: Callable[[], Clock]) -> None:
        self._clock = clock
        self._folded: dict[str, int] = {}
        self._drafted: dict[str, int] = {}

    def know(self, versions: dict[str, int]) -> None:
        self._folded |= versions

    def decide(self, works: Sequence[Work], end: LogEnd) -> list[Decision]:
        recorded = end.taken_in(self._clock().now())
        decisions = []
        for position, work in enumerate(works, end.size):
            event: Any
            match work:
                case (person, event):
                    stream, by = trail.stream(person), By(person, "", "")
                case event:
                    stream, by = log.STREAM, SYSTEM
            version = 1 + (self._drafted.get(stream) or self._folded.get(stream, 0))
            self._drafted[stream] = version
            decisions.append(Decision([Fact(position, stream, version, recorded, recorded, by, "", None, event)]))
        return decisions

    def forget(self) -> None:
        self._drafted.clear()

    def load(self, stream: str, facts: Sequence[Fact]) -> None:
        raise AssertionError("every stream's version is known")

    async def skip(self, size: int) -> bool:
        """Every version is to be known."""
        return False

    def fold(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            self._folded[fact.stream] = fact.version
            if self._drafted.get(fact.stream) == fact.version:
                del self._drafted[fact.stream]


async def _last_versions(conn: Connection, size: int) -> dict[str, int]:
    """The last version of every stream in the trail of that size: from name to name in the index, however long."""
    query = """
        WITH RECURSIVE name (stream) AS (
            (SELECT stream FROM event ORDER BY stream LIMIT 1)
            UNION ALL
            SELECT (SELECT event.stream FROM event WHERE event.stream > name.stream ORDER BY event.stream LIMIT 1)
            FROM name WHERE name.stream IS NOT NULL
        )
        SELECT stream, (
            SELECT version FROM event WHERE event.stream = name.stream AND position < %s ORDER BY version DESC LIMIT 1
        ) FROM name WHERE stream IS NOT NULL"""
    return {stream: version for stream, version in await reader.rows(conn, query, size) if version is not None}
