"""Who brings the projections up to the log, and what happens when one of them cannot go on?

One process leads, by an advisory lock; others wait to take its place. It takes whatever the log has new and writes, for
all projections in one transaction, their rows and how far they came. Where that fails, each goes on by itself, so that
the one that cannot stops alone: loudly, before the fact it failed at, with that fact's name in its tracking row.

Projections are the log's shadow, so their commits need not be durable: what a crash loses, it loses with its position,
and it is done again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import psycopg
from eventsourcing.persistence import IntegrityError
from psycopg.errors import ProgramLimitExceeded

from domain.facts import Fact
from projections.statements import Connection
from projections.streams import Streams
from projections.tables import Rows, Table
from projections.tracking import Standing, progress, record_error, standings, track

LEADER_LOCK = 0x41535350
"""The session's advisory lock that the leading projector holds."""

NAMING_LOCK = 0x4153534E
"""The transaction's advisory lock of whoever names a schema, or makes one live where none was."""

LOOK_SECONDS = 1.0
"""How often the leader looks whether a projection was swapped under it."""

TURN_SECONDS = 0.02
"""From one batch to the next under load: so that more is written together, and others here get their turn."""

PAUSE_SECONDS = 0.005
"""After a batch that took longer than that."""

FOLLOWED_MAX = 50_000
"""A table that was never made follows the log from its beginning up to this size; of a longer log it is built."""

KEEP_RETIRED = "1 minute"
"""Longer than any answer takes that still reads a schema which was swapped out."""

_log = logging.getLogger(__name__)


class Log(Protocol):
    """The log, as the projector reads it; services hand it in."""

    def follow(self, after: int) -> AsyncGenerator[Sequence[Fact], None]:
        """What comes after a position (excluded; -1: from the beginning), in order, without gaps, for ever."""

    async def page(self, after: int, before: int | None = None) -> Sequence[Fact]:
        """The next facts after a position, below `before`; none: that was all."""

    async def facts_of(self, streams: Collection[str], before: int) -> Mapping[str, Sequence[Fact]]:
        """All facts of these streams below a position, each stream's in order of version."""

    async def size(self) -> int:
        """The last position + 1."""

    def lives(self, begin: str, end: str, before: int) -> AsyncGenerator[Sequence[Fact], None]:
        """All facts below a position of the streams from `begin` up to `end`: by stream, then by version."""


class Swapped(Exception):
    """A projection was swapped or moved on by another: what was folded here no longer counts."""


class Gap(Exception):
    """The log handed over facts that do not follow from what was projected: nothing may be skipped."""


@dataclass(slots=True)
class Work:
    """One projection at work: how far it came, the streams it holds in memory, perhaps together with others that came
    equally far, and whether an error stopped it.
    """

    schema: str
    position: int
    rows: Rows
    streams: Streams
    stopped: bool = False

    @property
    def name(self) -> str:
        return self.rows.table.name

    def alone(self, log: "Log") -> None:
        """Forget what came to nothing, and go on apart from the others."""
        self.rows.forget()
        self.streams = Streams(log.facts_of)


def begin(table: Table, schema: str, log: "Log", position: int = -1) -> Work:
    """The projection at work by itself."""
    return Work(schema, position, table.at_work(schema), Streams(log.facts_of))


async def place(conn: Connection, table: Table, role: str) -> str:
    """Make the tables in a schema whose name is free, and give it; the caller's transaction must hold `naming`."""
    cursor = await conn.execute("SELECT schema FROM projection WHERE name = %s", (table.name,))
    taken = {schema for (schema,) in await cursor.fetchall()}
    first = f"{table.name}_v{table.version}"
    schema = next(name for nth in count(1) if (name := first if nth == 1 else f"{first}_{nth}") not in taken)
    await create(conn, table, schema, role)
    return schema


async def naming(conn: Connection) -> None:
    """Until this transaction ends nobody else names a schema, or decides which one is live where none was."""
    await conn.execute("SELECT pg_advisory_xact_lock(%s)", (NAMING_LOCK,))


async def create(conn: Connection, table: Table, schema: str, role: str) -> None:
    """Make the tables, which nobody reads yet, and the tracking row, at position -1, in one transaction.

    They have no index, without which nothing can be written but by COPY.
    """
    async with conn.transaction():
        await conn.execute("SELECT make_projection_schema(%s)", (schema,))
        await conn.execute(table.create(schema))
        await conn.execute("SELECT show_projection(%s)", (schema,))
        await conn.execute(
            "INSERT INTO projection (schema, name, version, role) VALUES (%s, %s, %s, %s)",
            (schema, table.name, table.version, role),
        )


async def index(conn: Connection, table: Table, schema: str) -> None:
    """Make keys and indexes, by which the tables are read and written."""
    await conn.execute(table.index(schema))


async def drop(conn: Connection, schema: str) -> None:
    async with conn.transaction():
        await conn.execute("SELECT drop_projection_schema(%s)", (schema,))
        await conn.execute("DELETE FROM projection WHERE schema = %s", (schema,))


async def drop_retired(conn: Connection) -> None:
    """Drop schemas that were swapped out a while ago: no answer can still be reading them."""
    cursor = await conn.execute(
        "SELECT schema FROM projection WHERE role = 'retired' AND retired < now() - %s::interval", (KEEP_RETIRED,)
    )
    for (schema,) in await cursor.fetchall():
        await drop(conn, schema)


async def write(conn: Connection, works: Sequence[Work], facts: Sequence[Fact]) -> None:
    """Rows and positions in one transaction. Raises IntegrityError where another moved one of them, or Gap."""
    last = facts[-1].position
    moving = [work for work in works if work.position < last]
    if not moving:
        return
    async with conn.transaction():
        before = [progress(work.schema, work.position) for work in moving]
        await track(conn, before, [progress(work.schema, last) for work in moving])
        for streams in {id(work.streams): work.streams for work in moving}.values():
            await _take(streams, [work for work in moving if work.streams is streams], facts)
        async with conn.pipeline():  # the tables' statements go out together
            for work in moving:
                await work.rows.write(conn)
    for work in moving:
        work.position = last


async def _take(streams: Streams, works: Sequence[Work], facts: Sequence[Fact]) -> None:
    """Fold what comes next for works that came equally far."""
    position = works[0].position
    fresh = facts if facts[0].position > position else [fact for fact in facts if fact.position > position]
    if fresh[0].position != position + 1:
        raise Gap(f"{works[0].name} has come to {position}; next came {fresh[0].position}.")
    await streams.take(fresh, [work.rows for work in works])


class Projector:
    """Runs projections on one connection, which is in autocommit mode and its own."""

    def __init__(self, conn: Connection, log: Log, tables: Sequence[Table]) -> None:
        self._conn = conn
        self._log = log
        self._tables = tables

    async def lead(self) -> None:
        """Wait until no other process leads. Ends with the connection."""
        await self._conn.execute("SET synchronous_commit = off")
        await self._conn.execute("SELECT pg_advisory_lock(%s)", (LEADER_LOCK,))

    async def make_missing(self) -> list[Table]:
        """Make what was never made, drop what was swapped out; the tables that are to be built instead.

        Those are the tables of which only another version is there, and, where the log is long, those of which none is.
        """
        await drop_retired(self._conn)
        to_build = []
        is_long = await self._log.size() > FOLLOWED_MAX
        async with self._conn.transaction():
            await naming(self._conn)
            live = {each.name: each for each in await standings(self._conn) if each.role == "live"}
            for table in self._tables:
                if table.name in live:
                    to_build += [] if live[table.name].version == table.version else [table]
                elif is_long:
                    to_build.append(table)
                else:
                    await index(self._conn, table, await place(self._conn, table, "live"))
        return to_build

    async def run(self) -> None:
        """Follow the log for ever. Raises psycopg.OperationalError when the connection is lost."""
        while True:
            works = await self._works()
            if works:
                with suppress(Swapped):
                    await self._follow(works)
            else:
                await asyncio.sleep(LOOK_SECONDS)

    async def _standings(self) -> list[Standing]:
        versions = {table.name: table.version for table in self._tables}
        found = await standings(self._conn)
        return [each for each in found if each.role == "live" and versions.get(each.name) == each.version]

    async def _works(self) -> list[Work]:
        """A projection that stopped is tried again: after a new start the program may be a better one."""
        tables = {table.name: table for table in self._tables}
        found = await self._standings()
        streams = {position: Streams(self._log.facts_of) for position in {each.position for each in found}}
        return [
            Work(each.schema, each.position, tables[each.name].at_work(each.schema), streams[each.position])
            for each in found
        ]

    async def _follow(self, works: Sequence[Work]) -> None:
        """Write what comes; raises Swapped when another schema became live."""
        loop = asyncio.get_running_loop()
        batches = self._log.follow(min(work.position for work in works))
        coming = asyncio.ensure_future(anext(batches))
        looked = loop.time()
        try:
            while True:
                await asyncio.wait({coming}, timeout=LOOK_SECONDS)
                if coming.done():
                    began = loop.time()
                    await self._project(works, coming.result())
                    await asyncio.sleep(max(PAUSE_SECONDS, began + TURN_SECONDS - loop.time()))
                    coming = asyncio.ensure_future(anext(batches))
                if loop.time() - looked >= LOOK_SECONDS:
                    looked = loop.time()
                    if {each.schema for each in await self._standings()} != {work.schema for work in works}:
                        raise Swapped
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, psycopg.Error):
                await coming
            await batches.aclose()

    async def _project(self, works: Sequence[Work], facts: Sequence[Fact]) -> None:
        running = [work for work in works if not work.stopped]
        try:
            await write(self._conn, running, facts)
        except IntegrityError as error:
            raise Swapped from error
        except Exception as error:
            if _passes(error):
                raise
            for work in running:
                work.alone(self._log)
            for work in running:
                await self._project_alone(work, facts)

    async def _project_alone(self, work: Work, facts: Sequence[Fact]) -> None:
        """One projection, as far as it gets: all of it, or fact by fact up to the one it fails at."""
        for part in (facts, *([fact] for fact in facts)):
            try:
                await write(self._conn, [work], part)
            except IntegrityError as error:
                raise Swapped from error
            except Exception as error:
                if _passes(error):
                    raise
                work.alone(self._log)
                if part is not facts:
                    await self._stop(work, part[0], error)
                    return

    async def _stop(self, work: Work, fact: Fact, error: Exception) -> None:
        """A projection never skips what it cannot take in: it stops, and says so."""
        work.stopped = True
        what = f"{type(error).__name__}: {error}"
        _log.error("%s stops before position %s (%s): %s", work.name, fact.position, fact.type, what, exc_info=error)
        await record_error(self._conn, work.schema, what, fact.position, fact.type)


def _passes(error: Exception) -> bool:
    """Whether no fact is to blame, but the storage, which is away or busy. What is too large for it stays too large."""
    return isinstance(error, psycopg.OperationalError) and not isinstance(error, ProgramLimitExceeded)
