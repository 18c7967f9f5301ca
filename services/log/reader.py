"""What does the log hold: of these streams, after this position, under this command key, at that time?

Every function takes an asynchronous connection, so a caller may read many things of one snapshot. What was appended
never changes: two reads bounded by the same size agree whatever happens in between.
"""

from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from domain.facts import Fact
from domain.world import LONG_AGO
from services.log.receipt import Receipt
from services.log.record import read, recorded_at

PAGE_ROWS = 5000
"""Rows of one page: past that, a larger page is no faster."""

_END = 2**63 - 1
"""Beyond every position."""

Connection = AsyncConnection[Any]
Pool = AsyncConnectionPool[Connection]


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How far the log goes: its size, when its last record was taken in, and the right edge of its tree.

    `within`: that record waits for its append, and those which join it there were taken in at that same time.
    """

    size: int = 0
    recorded: datetime = LONG_AGO
    frontier: bytes = b""
    within: bool = False

    def taken_in(self, now: datetime) -> datetime:
        """When the log takes in what is decided now."""
        return self.recorded if self.within else max(now, self.recorded)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a command wrote earlier: its facts, their leaves, the log's size after that append, its fingerprint."""

    facts: Sequence[Fact]
    leaves: Sequence[bytes]
    size: int
    fingerprint: bytes | None


async def rows(conn: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query, in Postgres' binary format whatever the connection's own settings."""
    async with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


async def end(conn: Connection) -> LogEnd:
    found = await rows(
        conn,
        "SELECT size, record, frontier FROM tree_head JOIN event ON position = size - 1 ORDER BY size DESC LIMIT 1",
    )
    if not found:
        return LogEnd()
    size, record, frontier = found[0]
    return LogEnd(size, recorded_at(record), frontier)


async def page(conn: Connection, after: int, limit: int = PAGE_ROWS, before: int | None = None) -> list[Fact]:
    """The facts after a position (exclusive), at most `limit`, below `before` where it is given."""
    return [read(record) for record, _ in await _page(conn, after, limit, before)]


async def page_with_leaves(
    conn: Connection, after: int, limit: int = PAGE_ROWS, before: int | None = None
) -> tuple[list[Fact], list[bytes]]:
    """As `page`, and the leaf hashes beside the facts."""
    found = await _page(conn, after, limit, before)
    return [read(record) for record, _ in found], [leaf for _, leaf in found]


async def _page(conn: Connection, after: int, limit: int, before: int | None) -> list[tuple[Any, ...]]:
    query = "SELECT record, leaf FROM event WHERE position > %s AND position < %s ORDER BY position LIMIT %s"
    return await rows(conn, query, after, _END if before is None else before, limit)


async def page_of_kinds(conn: Connection, kinds: Collection[str], after: int, before: int) -> list[Fact]:
    """As `page`, of streams of these kinds (`organization`) only: the others are passed over in the database."""
    query = """
        SELECT record FROM event WHERE position > %s AND position < %s AND split_part(stream, '-', 1) = ANY (%s)
        ORDER BY position LIMIT %s"""
    return [read(record) for (record,) in await rows(conn, query, after, before, list(kinds), PAGE_ROWS)]


async def facts_at(conn: Connection, positions: Collection[int]) -> list[Fact]:
    """The facts at these positions, in order."""
    query = "SELECT record FROM event WHERE position = ANY (%s) ORDER BY position"
    return [read(record) for (record,) in await rows(conn, query, list(positions))]


async def page_of_streams(conn: Connection, after: tuple[str, int], end: str, before: int) -> list[Fact]:
    """The next facts in order of stream and version: behind that stream and version, of streams below `end`, at most
    5,000, each below the position `before`.
    """
    query = """
        SELECT record FROM event WHERE (stream, version) > (%s, %s) AND stream < %s AND position < %s
        ORDER BY stream, version LIMIT %s"""
    return [read(record) for (record,) in await rows(conn, query, *after, end, before, PAGE_ROWS)]


async def streams_along(conn: Connection, before: int, count: int) -> list[str]:
    """The streams of the facts at so many evenly spread positions below one: the longer a stream, the more often."""
    query = """
        SELECT stream FROM generate_series(0, %s - 1, greatest(1, %s / %s)) AS position JOIN event USING (position)"""
    return [stream for (stream,) in await rows(conn, query, before, before, count)]


async def facts_of(conn: Connection, streams: Collection[str], before: int | None = None) -> dict[str, list[Fact]]:
    """The facts of many streams in one query, each in order of version; streams without facts are absent."""
    query = "SELECT record FROM event WHERE stream = ANY (%s) AND position < %s ORDER BY stream, version"
    return _by_stream(await rows(conn, query, list(streams), _END if before is None else before))


async def facts_of_kind(conn: Connection, kind: str, before: int | None = None) -> dict[str, list[Fact]]:
    """The facts of all streams of a kind (`organization`), each in order of version."""
    query = "SELECT record FROM event WHERE stream >= %s AND stream < %s AND position < %s ORDER BY stream, version"
    return _by_stream(await rows(conn, query, f"{kind}-", f"{kind}.", _END if before is None else before))


def _by_stream(records: Sequence[tuple[Any, ...]]) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for (record,) in records:
        fact = read(record)
        found.setdefault(fact.stream, []).append(fact)
    return found


async def kept(conn: Connection, command_keys: Sequence[bytes]) -> dict[bytes, Kept]:
    """What commands wrote, by command key: from the event that bears it to the last of its command in that append."""
    query = """
        SELECT first.command_key, first.fingerprint, head.size, event.record, event.leaf
        FROM event AS first
        CROSS JOIN LATERAL (SELECT min(size) AS size FROM tree_head WHERE size > first.position) AS head
        JOIN event ON event.position >= first.position AND event.position < head.size
        WHERE first.command_key = ANY (%s)
        ORDER BY first.position, event.position"""
    found: dict[bytes, Kept] = {}
    over: set[bytes] = set()
    for key, fingerprint, size, record, leaf in await rows(conn, query, list(command_keys)):
        fact = read(record)
        if key not in found:
            found[key] = Kept([fact], [leaf], size, fingerprint)
        elif key not in over and fact.command == found[key].facts[0].command:
            found[key] = Kept([*found[key].facts, fact], [*found[key].leaves, leaf], size, fingerprint)
        else:
            over.add(key)
    return found


async def position_at(conn: Connection, instant: datetime) -> int:
    """The last position recorded at or before the instant; -1 before the first."""
    found = await rows(conn, "SELECT position_at(%s)", instant)
    position: int = found[0][0]
    return position


async def receipts(conn: Connection, positions: Collection[int]) -> dict[int, Receipt]:
    """What was promised to whoever had these positions written: each leaf, and the log's size after its append."""
    query = """
        SELECT position, leaf, (SELECT min(size) FROM tree_head WHERE size > position) FROM event
        WHERE position = ANY (%s)"""
    found = await rows(conn, query, list(positions))
    return {position: Receipt(position, b64encode(leaf).decode(), size) for position, leaf, size in found}


async def types(conn: Connection, positions: Collection[int]) -> dict[int, str]:
    """The types of the events at these positions."""
    return dict(await rows(conn, "SELECT position, type FROM event WHERE position = ANY (%s)", list(positions)))


async def leaves(conn: Connection, start: int, end: int) -> list[bytes]:
    """The leaf hashes of the positions from start up to end."""
    query = "SELECT leaf FROM event WHERE position >= %s AND position < %s ORDER BY position"
    return [leaf for (leaf,) in await rows(conn, query, start, end)]


async def records(conn: Connection, start: int, end: int) -> list[bytes]:
    """The records of the positions from start up to end, exactly as they were hashed."""
    query = "SELECT record FROM event WHERE position >= %s AND position < %s ORDER BY position"
    return [record for (record,) in await rows(conn, query, start, end)]
