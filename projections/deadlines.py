"""Deadlines: what will time alone do next, to which stream?"""

from collections.abc import Iterator
from datetime import datetime

from psycopg import sql
from psycopg.rows import tuple_row

from domain import clocks, grant, request
from domain.rulebook import due_timer
from domain.world import Stream
from projections import tracking
from projections.state_table import TEXT, StateTable
from projections.statements import Connection, Row
from projections.tracking import NotReady, standing
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    due = next_of(stream)
    if due is not None and not stream.imported:
        yield name, due


def next_of(stream: Stream) -> datetime | None:
    """When time alone next does something to a stream, if nobody acts before."""
    timer = due_timer(stream, clocks.NEVER)
    return timer and timer[0]


TABLE = StateTable(
    name="deadlines",
    version=2,
    kinds=frozenset({request.KIND, grant.KIND}),
    columns={"stream": TEXT, "due": "timestamptz NOT NULL"},
    key=("stream",),
    rows=rows,
    views=("full",),
    indexes=("(due, stream)",),
    keeps_past=False,
)


async def due_streams(conn: Connection, now: datetime, limit: int) -> list[str]:
    """The streams to which something is due by now, in due order, at most `limit`. Raises NotReady."""
    query = "SELECT stream FROM {} WHERE due <= %s ORDER BY due, stream LIMIT %s"
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(sql.SQL(query).format(await _table(conn)), (now, limit))
        return [stream for (stream,) in await cursor.fetchall()]


async def next_due(conn: Connection) -> datetime | None:
    """When the next thing is due; None: time alone will do nothing. Raises NotReady."""
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(sql.SQL("SELECT min(due) FROM {}").format(await _table(conn)))
        found = await cursor.fetchone()
    return found[0] if found else None


async def wait_until(conn: Connection, position: int) -> None:
    """Wait until the deadlines that follow from a position are known. Raises NotReady."""
    await tracking.wait_until(conn, TABLE.name, position)


async def _table(conn: Connection) -> sql.Identifier:
    live = await standing(conn, TABLE.name)
    if live is None or live.version != TABLE.version:
        raise NotReady("The deadlines are being worked out.")
    return sql.Identifier(live.schema, "current")
