"""How is a projection made again from the log while it serves, and how do we know that it says what the log says?

A rebuild works in a schema of its own beside the live one; its indexes come after its rows. Once it has come as far,
the live one is held still for a moment, and a row is changed: from then on the new schema is the live one. A crash
before leaves the old one serving.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from psycopg import sql

from domain.errors import Refused
from domain.facts import Fact
from projections.projector import Log, Work, begin, create, drop, drop_retired, index, write
from projections.statements import Connection
from projections.tables import Table
from projections.tracking import NotReady, standing

BUILD_LOCK = 0x4153
"""First half of the advisory lock that a rebuild holds; the second is its projection's name, hashed."""

Report = Callable[[int], None]
"""Told the position reached, now and then."""


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


def _silent(position: int) -> None:
    pass


async def rebuild(conn: Connection, log: Log, table: Table, report: Report = _silent) -> int:
    """Build beside and swap; the position at the swap. The connection is in autocommit mode. Raises BeingRebuilt."""
    cursor = await conn.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (BUILD_LOCK, table.name))
    if not (await cursor.fetchone() or (False,))[0]:
        raise BeingRebuilt(f"{table.name} is being rebuilt by another process.")
    try:
        await conn.execute("SET synchronous_commit = off")
        await drop_retired(conn)
        left_over = await standing(conn, table.name, "building")
        if left_over is not None:
            await drop(conn, left_over.schema)
        schema = await _free_schema(conn, table)
        await create(conn, table, schema, "building")
        work = begin(table, schema, log)
        await _follow(conn, log, work, report)
        await index(conn, table, schema)
        await _follow(conn, log, work, report)
        await _swap(conn, log, work)
        return work.position
    finally:
        await conn.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (BUILD_LOCK, table.name))


async def _follow(conn: Connection, log: Log, work: Work, report: Report) -> None:
    """Come as far as the log is."""
    while facts := await log.page(work.position):
        await write(conn, [work], facts)
        report(work.position)


async def _free_schema(conn: Connection, table: Table) -> str:
    cursor = await conn.execute("SELECT schema FROM projection WHERE name = %s", (table.name,))
    taken = {schema for (schema,) in await cursor.fetchall()}
    first = f"{table.name}_v{table.version}"
    return next(name for nth in count(1) if (name := first if nth == 1 else f"{first}_{nth}") not in taken)


async def _swap(conn: Connection, log: Log, work: Work) -> None:
    """Hold the live one still, come exactly as far, and change which one is live: one transaction."""
    async with conn.transaction():
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


async def verify(conn: Connection, log: Log, table: Table, report: Report = _silent) -> Verified:
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
        work = begin(table, schema, log)
        while facts := await _next(log, work, live.position + 1):
            await work.streams.take(facts, [work.rows])
            await work.rows.write(conn)
            work.position = facts[-1].position
            report(work.position)
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
