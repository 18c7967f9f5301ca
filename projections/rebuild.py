"""How are projections made again from the log while they serve, and how do we know that they say what the log says?

A rebuild fills tables in schemas of their own beside the live ones, several projections in one pass over the log;
indexes come after the rows. Then it comes as far as the log is, and for each projection in turn the live schema is held
still for a moment, and a row is changed: from then on the new one is live. A crash before leaves the old one serving,
and the next rebuild drops what is half made.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from psycopg import sql

from domain.errors import Refused
from domain.facts import Fact
from projections.filling import fill
from projections.projector import Log, Work, create, drop, drop_retired, index, naming, place, write
from projections.statements import Connection
from projections.streams import Streams
from projections.tables import Table
from projections.tracking import NotReady, built, filled, standing

BUILD_LOCK = 0x4153
"""First half of the advisory lock that a rebuild holds; the second is its projection's name, hashed."""

TELL_SECONDS = 0.5
"""How often a rebuild says in its tracking rows how far it is."""

Placed = Sequence[tuple[Table, str]]
"""Tables, each with the schema it is filled in."""

Report = Callable[[int, int], None]
"""Told how many facts were folded, and how many there are, about."""

Build = Callable[[Placed, int, Report], Awaitable[None]]
"""Fills tables that are empty with what all facts below a position make, and indexes them."""


class BeingRebuilt(Refused):
    rule, title = "one_rebuild", "The projection is being rebuilt already"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first row that is only in the live tables, or only in the replay; as Postgres writes it."""

    table: str
    only_in: str
    row: str


@dataclass(frozen=True, slots=True)
class Verified:
    """Up to which position live rows and replay were compared, how many rows, and the first difference, if any."""

    position: int
    rows: int
    difference: Difference | None


def silent(done: int, total: int) -> None:
    pass


async def rebuild(conn: Connection, log: Log, tables: Sequence[Table], build: Build, report: Report = silent) -> int:
    """Build beside and swap; the position that all have reached. The connection is in autocommit mode.

    Raises BeingRebuilt, and Unfit where a table cannot take in a fact: then all of them stay as they were.
    """
    async with _alone(conn, tables):
        await conn.execute("SET synchronous_commit = off")
        await drop_retired(conn)
        placed = [(table, await _begun(conn, table)) for table in tables]
        schemas = [schema for _, schema in placed]
        size = await log.size()
        async with _telling(conn, schemas, report) as told:
            await build(placed, size, told)
        await filled(conn, schemas, size - 1)
        streams = Streams(log.facts_of)
        works = [Work(schema, size - 1, table.at_work(schema), streams) for table, schema in placed]
        while facts := await log.page(works[0].position):
            await write(conn, works, facts)
        for work in works:
            work.alone(log)
            await _swap(conn, log, work)
        return min(work.position for work in works)


@asynccontextmanager
async def _alone(conn: Connection, tables: Sequence[Table]) -> AsyncIterator[None]:
    """Nobody else rebuilds one of them. Raises BeingRebuilt."""
    held: list[str] = []
    try:
        for table in tables:
            cursor = await conn.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (BUILD_LOCK, table.name))
            if not (await cursor.fetchone() or (False,))[0]:
                raise BeingRebuilt(f"{table.name} is being rebuilt by another process.")
            held.append(table.name)
        yield
    finally:
        for name in held:
            await conn.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (BUILD_LOCK, name))


async def _begun(conn: Connection, table: Table) -> str:
    """The schema in which it is to be built. What an earlier rebuild left half made is dropped."""
    left_over = await standing(conn, table.name, "building")
    if left_over is not None:
        await drop(conn, left_over.schema)
    async with conn.transaction():
        await naming(conn)
        return await place(conn, table, "building")


@asynccontextmanager
async def _telling(conn: Connection, schemas: Sequence[str], report: Report) -> AsyncIterator[Report]:
    """A function that is told how far the work is, and passes it on: to `report`, and now and then to the rows."""
    latest = 0, 0

    def told(done: int, total: int) -> None:
        nonlocal latest
        latest = done, total
        report(done, total)

    async def tell() -> None:
        while True:
            await built(conn, schemas, *latest)
            await asyncio.sleep(TELL_SECONDS)

    telling = asyncio.create_task(tell())
    try:
        yield told
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling


async def _swap(conn: Connection, log: Log, work: Work) -> None:
    """Hold the live one still, come exactly as far, and change which one is live: one transaction."""
    async with conn.transaction():
        await naming(conn)
        live = await standing(conn, work.name, lock=True)
        if live is not None:
            while facts := await _next(log, work, live.position + 1):
                await write(conn, [work], facts)
            await conn.execute(
                "UPDATE projection SET role = 'retired', retired = now() WHERE schema = %s", (live.schema,)
            )
        await conn.execute("UPDATE projection SET role = 'live' WHERE schema = %s", (work.schema,))


async def _next(log: Log, work: Work, before: int) -> list[Fact]:
    return list(await log.page(work.position, before)) if work.position + 1 < before else []


async def verify(conn: Connection, log: Log, table: Table, report: Report = silent) -> Verified:
    """Replay the log up to the live position, and compare every row with the live ones of the same snapshot.

    Everything happens in one transaction that is undone, so it leaves no trace and disturbs nobody. Raises NotReady.
    """
    async with conn.transaction(force_rollback=True):
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        live = await standing(conn, table.name)
        if live is None or live.version != table.version:
            raise NotReady(f"Version {table.version} of {table.name} is not live.")
        schema = f"{table.name}_replay"
        await create(conn, table, schema, "retired")
        done = 0

        def folded(facts: int) -> None:
            nonlocal done
            done += facts
            report(done, live.position + 1)

        for kind in sorted(table.kinds):
            lives = log.lives(f"{kind}-", f"{kind}.", live.position + 1)
            await fill(conn, lives, [(table, schema)], folded)
        await index(conn, table, schema)
        rows, difference = 0, None
        for name in table.tables:
            compared, found = await _compare(conn, name, live.schema, schema)
            rows, difference = rows + compared, difference or found
        return Verified(live.position, rows, difference)


async def _compare(conn: Connection, table: str, live: str, replay: str) -> tuple[int, Difference | None]:
    """How many rows the live table has, and the first one (in order of its text) that is not in both alike."""
    names = {"live": sql.Identifier(live, table), "replay": sql.Identifier(replay, table)}
    counted = await (await conn.execute(sql.SQL("SELECT count(*) FROM {live}").format(**names))).fetchone()
    different = sql.SQL(
        """
        SELECT * FROM (
            (SELECT 'live', t::text FROM {live} AS t EXCEPT ALL SELECT 'live', t::text FROM {replay} AS t)
            UNION ALL
            (SELECT 'replay', t::text FROM {replay} AS t EXCEPT ALL SELECT 'replay', t::text FROM {live} AS t)
        ) AS found (only_in, row) ORDER BY row COLLATE "C" LIMIT 1"""
    ).format(**names)
    found = await (await conn.execute(different)).fetchone()
    return counted[0] if counted else 0, Difference(table, *found) if found else None
