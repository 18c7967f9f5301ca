"""How is a list read: which of its rows, as of which position, from which row on, and how many?

The same query answers now and then: today's rows come from `current`; as of an earlier position, those of `past` that
held at it come too. Everything one answer says is of one snapshot.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from psycopg import sql
from psycopg.rows import tuple_row

from domain.errors import Malformed, NotFound
from projections.statements import Connection, Row
from projections.tables import Table
from projections.tracking import NotReady, Standing, standing, standings

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
CURSOR_CHARACTERS_MAX = 1000

Document = dict[str, Any]


class Listed(Protocol):
    """A projection whose rows can be listed: those of now in its SQL table `current`, earlier ones in `past`."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def columns(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition on a row, with `%s` for each of its values; `{current}` and `{past}` are the table's own two."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of a list is asked for: `at` a position (inclusive; None: now), after `cursor`, an answer's `next`."""

    at: int | None = None
    cursor: str | None = None
    limit: int = LIMIT_DEFAULT


@dataclass(frozen=True, slots=True)
class Page:
    """Documents in the list's order, the cursor of the next page (None: this is the last), and as of which position."""

    items: list[Document] = field(default_factory=list)
    next: str | None = None
    position: int = -1


@dataclass(frozen=True, slots=True)
class Turn:
    """What changed between two positions: its id, and its state before (None: the reader saw nothing) and after."""

    id: str
    before: str | None
    after: str


NOW = Asked()


def equal(**given: str | None) -> list[Clause]:
    """The filters that were given: each a column and the value it has. Raises Malformed for what no column can hold."""
    return _filters("{} = %s", given)


def including(**given: str | None) -> list[Clause]:
    """The filters that were given: each a column of lists and a value among them. Raises Malformed as `equal`."""
    return _filters("{} @> ARRAY[%s::text]", given)


def _filters(condition: str, given: dict[str, str | None]) -> list[Clause]:
    for column, value in given.items():
        if value is not None and not _storable(value):
            raise Malformed(f"No {column} has such characters.", f"a {column} without NUL or lone surrogates")
    return [Clause(condition.format(column), (value,)) for column, value in given.items() if value is not None]


def _storable(text: str) -> bool:
    """Whether Postgres can hold the text at all."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def as_documents(made: Sequence[Document]) -> list[Document]:
    """What was worked out at read time, as it would be if it came from rows: times as texts, tuples as lists."""
    found: list[Document] = msgspec.json.decode(msgspec.json.encode(made))
    return found


NO_DATE = datetime(9000, 1, 1, tzinfo=UTC)
"""Where something without a due date stands in an order of due dates: behind all that have one."""


def overdue(by: bool | None, now: datetime) -> list[Clause]:
    """The filter, if one was given, for what is due by now, or what is not; `due` is the column."""
    return [] if by is None else [Clause("due <= %s" if by else "due > %s", (now,))]


def with_overdue(item: Document, now: datetime) -> Document:
    """The item, and whether it is overdue; what has no `due` never is."""
    return {**item, "overdue": item["due"] is not None and datetime.fromisoformat(item["due"]) <= now}


async def page(
    conn: Connection,
    table: Listed,
    sights: Sequence[Clause],
    filters: Sequence[Clause] = (),
    asked: Asked = NOW,
    order: tuple[str, ...] = ("id",),
    item: str = "document",
) -> Page:
    """One page of a table, in the order of columns that together identify a row; `item` is the JSON of a row, in SQL.

    `sights` says what the reader sees, as conditions of which no row fulfils two; none: nothing.
    Raises Malformed for a bad cursor or limit, NotReady while the rows are being built for the first time.
    """
    must_fit(asked)
    kinds = [table.columns[name].partition(" ")[0] for name in order]
    if asked.cursor is not None:
        filters = [*filters, _beside(order, kinds, ">", tuple(_key_of(asked.cursor, kinds)))]
    async with snapshot(conn):
        live = await _live(conn, table)
        part = _Part(live.schema, order, kinds, item, asked.limit + 1)
        at = live.position if asked.at is None else min(asked.at, live.position)
        rows = await _rows(conn, part, at if at < live.position else None, sights, filters)
    more = len(rows) > asked.limit
    rows = rows[: asked.limit]
    return Page([msgspec.json.decode(row[-1]) for row in rows], _cursor(rows[-1][:-1]) if more else None, at)


def must_fit(asked: Asked) -> None:
    """Raises Malformed for a limit that no page has."""
    if not 1 <= asked.limit <= LIMIT_MAX:
        raise Malformed(f"A page has from 1 to {LIMIT_MAX} items.", f"a limit from 1 to {LIMIT_MAX}")


async def documents(
    conn: Connection, wanted: Sequence[tuple[Table, Sequence[Clause]]], lives: Mapping[str, Standing], at: int
) -> list[list[Document]]:
    """Of each table all documents that fulfil its conditions, by id, as of a position which all have reached: few ones.

    One query, within a snapshot in which they live there.
    """
    branches: list[sql.Composed] = []
    values: list[Any] = []
    for nth, (table, conditions) in enumerate(wanted):
        for source, until in (("current", []), ("past", [Clause("until > %s", (at,))])):
            clauses = [*conditions, Clause("since <= %s", (at,)), *until]
            branches.append(
                sql.SQL("(SELECT {}, id, document::text FROM {} WHERE {})").format(
                    sql.Literal(nth),
                    sql.Identifier(lives[table.name].schema, source),
                    sql.SQL(" AND ").join(sql.SQL(f"({clause.text})") for clause in clauses),
                )
            )
            values += [value for clause in clauses for value in clause.values]
    query = sql.SQL(" UNION ALL ").join(branches) + sql.SQL(" ORDER BY 1, 2")
    found: list[list[Document]] = [[] for _ in wanted]
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, values)
        for nth, _, document in await cursor.fetchall():
            found[nth].append(msgspec.json.decode(document))
    return found


async def lives(conn: Connection, tables: Sequence[Table | Listed]) -> dict[str, Standing]:
    """Where the rows of these tables are, and which position each has reached, by name. Raises NotReady."""
    found = {each.name: each for each in await standings(conn) if each.role == "live"}
    return {table.name: _ready(found.get(table.name), table) for table in tables}


async def common_position(conn: Connection, tables: Sequence[Table | Listed], at: int | None) -> int:
    """The last position that all of these tables have reached, at most `at`. Raises NotReady."""
    reached = min([each.position for each in (await lives(conn, tables)).values()])
    return reached if at is None else min(at, reached)


@asynccontextmanager
async def snapshot(conn: Connection) -> AsyncIterator[None]:
    """Whatever is read within is of one moment, so that no row moves from `current` to `past` meanwhile."""
    async with conn.transaction():
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


async def schema_of(conn: Connection, table: Table | Listed) -> str:
    """Where the table's rows are now. Raises NotReady."""
    return (await _live(conn, table)).schema


async def detail(conn: Connection, table: Listed, sights: Sequence[Clause], id: str, at: int | None = None) -> Document:
    """The document of one id as the reader sees it. Raises NotFound, also for what is not theirs to see."""
    found = await page(conn, table, sights, equal(id=id), Asked(at, None, 1))
    if not found.items:
        raise NotFound
    return found.items[0]


async def changed(
    conn: Connection,
    table: Listed,
    sights: Sequence[Clause],
    filters: Sequence[Clause],
    after: int,
    at: int,
    limit: int = LIMIT_MAX,
) -> list[Turn]:
    """Which ids' rows, as the reader sees them, changed after a position (exclusive) up to another, by id.

    For tables with a column `state`. Raises NotReady.
    """
    if not sights:
        return []
    live = await _live(conn, table)
    own = {name: sql.Identifier(live.schema, name) for name in ("current", "past")}
    held = [Clause("int8range(since, until) && int8range(%s, %s, '[]')", (after, at))]
    either = Clause(" OR ".join(f"({s.text})" for s in sights), tuple(value for s in sights for value in s.values))
    branches, values = [], []
    for source in ("current", "past"):
        clauses = [either, *filters, *(held if source == "past" else [Clause("since <= %s", (at,))])]
        conditions = sql.SQL(" AND ").join(sql.SQL(f"({clause.text})").format(**own) for clause in clauses)
        branches.append(sql.SQL("SELECT id, state, since FROM {} WHERE {}").format(own[source], conditions))
        values += [value for clause in clauses for value in clause.values]
    query = sql.SQL("""
        SELECT id, (array_agg(state ORDER BY since DESC) FILTER (WHERE since <= %s))[1],
            (array_agg(state ORDER BY since DESC))[1]
        FROM ({}) AS held GROUP BY id HAVING max(since) > %s ORDER BY id LIMIT %s""").format(
        sql.SQL(" UNION ALL ").join(branches)
    )
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, [after, *values, after, limit])
        return [Turn(*found) for found in await cursor.fetchall()]


async def _live(conn: Connection, table: Table | Listed) -> Standing:
    """Where the rows are. Raises NotReady while they are being built for the first time."""
    return _ready(await standing(conn, table.name), table)


def _ready(live: Standing | None, table: Table | Listed) -> Standing:
    if live is None or live.version != table.version:
        raise NotReady(f"Version {table.version} of the projection {table.name} is being built.")
    return live


@dataclass(frozen=True, slots=True)
class _Part:
    """What is selected: from which schema, in the order of which columns of which kinds, what of a row, how many."""

    schema: str
    order: tuple[str, ...]
    kinds: Sequence[str]
    item: str
    limit: int


async def _rows(
    conn: Connection, part: _Part, at: int | None, sights: Sequence[Clause], filters: Sequence[Clause]
) -> list[Row]:
    """The first rows of now (`at` None), or those that held at a position.

    Where `current` alone has as many, those of `past` matter only up to the last of them.
    """
    if not sights:
        return []
    if at is None:
        return await _selected(conn, part, _WALKED, "current", sights, filters)
    held = Clause("since <= %s", (at,))
    found = await _selected(conn, part, _WALKED, "current", sights, [*filters, held])
    held = Clause("int8range(since, until) @> %s::bigint", (at,))
    within = [_beside(part.order, part.kinds, "<=", found[-1][:-1])] if len(found) == part.limit else []
    found += await _selected(conn, part, _STABBED, "past", sights, [*filters, held, *within])
    return sorted(found, key=lambda row: row[:-1])[: part.limit]


_WALKED = "(SELECT {order}, {item}::text FROM {table} WHERE {conditions} ORDER BY {order} LIMIT {limit})"
"""Walks an index in the list's order, until it has enough."""

_STABBED = """
(WITH held ({keys}, place) AS MATERIALIZED (SELECT {order}, ctid FROM {table} WHERE {conditions}),
first AS (SELECT place FROM held ORDER BY {keys} LIMIT {limit})
SELECT {order}, {item}::text FROM first JOIN {table} ON {table}.ctid = first.place)"""
"""Finds all that held at the position, then sorts them. They are few among all that ever were, and most lists have them
side by side: whoever walked an index in the list's order would pass by everything older first."""


async def _selected(
    conn: Connection, part: _Part, way: str, table: str, sights: Sequence[Clause], filters: Sequence[Clause]
) -> list[Row]:
    """The first rows of one table: of each sight in the given way, then of all of them."""
    own = {name: sql.Identifier(part.schema, name) for name in ("current", "past")}
    order = sql.SQL(", ").join(map(sql.Identifier, part.order))
    names: dict[str, sql.Composable] = {
        "order": order,
        "keys": sql.SQL(", ").join(sql.Identifier(f"key_{nth}") for nth in range(len(part.order))),
        "item": sql.SQL(part.item).format(),
        "table": own[table],
        "limit": sql.Literal(part.limit),
    }
    branches: list[sql.Composed] = []
    values: list[Any] = []
    for sight in sights:
        clauses = [sight, *filters]
        conditions = sql.SQL(" AND ").join(sql.SQL(f"({clause.text})").format(**own) for clause in clauses)
        branches.append(sql.SQL(way).format(conditions=conditions, **names))
        values += [value for clause in clauses for value in clause.values]
    query = sql.SQL("SELECT * FROM ({}) AS found ORDER BY {} LIMIT {}").format(
        sql.SQL(" UNION ALL ").join(branches), order, names["limit"]
    )
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


def _beside(order: Sequence[str], kinds: Sequence[str], side: str, key: Row) -> Clause:
    """The rows on that side of a key, in the list's order: `>` after it, `<=` up to it."""
    places = ", ".join(f"%s::{kind}" for kind in kinds)
    return Clause(f"({', '.join(order)}) {side} ({places})", key)


def _cursor(key: Row) -> str:
    values = [value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value for value in key]
    return urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def _key_of(cursor: str, kinds: Sequence[str]) -> list[str]:
    """The key of the row after which a page begins. Raises Malformed for what was never given out as `next`."""
    try:
        if len(cursor) > CURSOR_CHARACTERS_MAX:
            raise ValueError
        encoded = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        key = msgspec.json.decode(encoded, type=list[str])
        if len(key) != len(kinds) or _cursor(tuple(key)) != cursor:
            raise ValueError
        for value, kind in zip(key, kinds, strict=True):
            if not _storable(value) or (kind == "timestamptz" and datetime.fromisoformat(value).tzinfo is None):
                raise ValueError
    except ValueError:
        raise Malformed(
            "That cursor is none of ours.", "the `next` of an earlier answer to the same question"
        ) from None
    return key
