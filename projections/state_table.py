"""How do rows that follow from the state of one stream stay current, and how is their past kept?

A stream is folded twice: from all that officers see, and from all that applicants see. A table says which rows the two
make. After every fact the rows are made again; where one differs, the earlier one is closed (it held from `since` up to
`until`, excluded) and the new one takes its place. So rows depend on the log alone, not on how it was cut into batches.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection, sql

from domain.facts import Fact, seen
from domain.fields import Label
from domain.rulebook import evolve_of
from domain.world import EMPTY, Stream, fold

Connection = AsyncConnection[Any]
Row = tuple[Any, ...]
Load = Callable[[Collection[str], int], Awaitable[Mapping[str, Sequence[Fact]]]]
"""All facts of these streams below a position, each stream's in order of version."""

STREAMS_MAX = 10_000
"""Folded streams that one table keeps in memory; others are folded again from the log when they change."""

FACTS_AT_A_STRETCH = 50
"""After so many facts, others in the same process get their turn."""

TEXT = 'text COLLATE "C"'
TEXTS = "text[]"


@dataclass(frozen=True, slots=True)
class Views:
    """One stream as officers see it and as applicants see it."""

    full: Stream = EMPTY
    applicant: Stream = EMPTY


Folds = dict[int, Views]
"""The views of a fact's stream just after it, by the fact's position."""


def folded(views: Views, fact: Fact) -> Views:
    """Both views after one more fact."""
    evolve = evolve_of(fact.stream)
    full, applicant = seen(fact, Label.INTERAGENCY), seen(fact, Label.APPLICANT)
    return Views(
        fold(views.full, full, evolve) if full else views.full,
        fold(views.applicant, applicant, evolve) if applicant else views.applicant,
    )


def views_of(facts: Iterable[Fact]) -> Views:
    """Both views of one stream, from its facts in order of version."""
    views = Views()
    for fact in facts:
        views = folded(views, fact)
    return views


@dataclass(frozen=True)
class StateTable:
    """What is asked of a table: its columns (name → SQL type), its key, its indexes, and the rows that a stream makes.

    `rows` gives tuples in the order of `columns`; no two streams ever make rows of the same key.
    """

    name: str
    version: int
    kinds: frozenset[str]
    columns: Mapping[str, str]
    key: tuple[str, ...]
    rows: Callable[[str, Views], Iterable[Row]]
    indexes: tuple[str, ...] = ()
    keeps_past: bool = True

    def create(self, schema: str) -> sql.Composed:
        """The statements that make the tables, in a schema of their own."""
        columns = ", ".join(f"{name} {type_}" for name, type_ in self.columns.items())
        tables = {"current": ("since bigint NOT NULL", self.key)}
        if self.keeps_past:
            tables["past"] = ("since bigint NOT NULL, until bigint NOT NULL", (*self.key, "since"))
        statements = [sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema))]
        for table, (range_, key) in tables.items():
            name = sql.Identifier(schema, table)
            parts = sql.SQL(f"{columns}, {range_}, PRIMARY KEY ({', '.join(key)})")
            statements.append(sql.SQL("CREATE TABLE {} ({})").format(name, parts))
            statements += [sql.SQL("CREATE INDEX ON {} {}").format(name, sql.SQL(index)) for index in self.indexes]
        return sql.SQL(";\n").join(statements)

    def begin(self, schema: str, load: Load) -> "Rows":
        """The table at work in that schema."""
        return Rows(self, schema, load)


Key = tuple[Any, ...]


@dataclass(slots=True)
class _Known:
    """One stream as it was folded, and the rows it makes, each with the position since which it has held."""

    views: Views = field(default_factory=Views)
    version: int = 0
    rows: dict[Key, tuple[Row, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Changes:
    """What a batch does to the tables."""

    gone: set[Key] = field(default_factory=set)
    new: dict[Key, Row] = field(default_factory=dict)
    closed: list[Row] = field(default_factory=list)


class Rows:
    """One table at work: folds facts in memory and writes what changed, in the caller's transaction."""

    def __init__(self, table: StateTable, schema: str, load: Load) -> None:
        self.table = table
        self._load = load
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._key = [list(table.columns).index(name) for name in table.key]
        columns = sql.SQL(", ").join(map(sql.Identifier, [*table.columns, "since"]))
        current, past = sql.Identifier(schema, "current"), sql.Identifier(schema, "past")
        self._delete = sql.SQL("DELETE FROM {} AS row USING unnest({}) AS gone ({}) WHERE ({}) = ({})").format(
            current,
            sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in table.key),
            sql.SQL(", ").join(map(sql.Identifier, table.key)),
            sql.SQL(", ").join(sql.Identifier("row", name) for name in table.key),
            sql.SQL(", ").join(sql.Identifier("gone", name) for name in table.key),
        )
        self._copy_current = sql.SQL("COPY {} ({}) FROM STDIN").format(current, columns)
        self._copy_past = sql.SQL("COPY {} ({}, until) FROM STDIN").format(past, columns)

    def forget(self) -> None:
        """Drop what was folded: the transaction it belonged to came to nothing."""
        self._known.clear()

    async def write(self, conn: Connection, facts: Sequence[Fact], folds: Folds) -> None:
        """Bring the tables up to the last of these facts. What one table folds here, the next need not fold again."""
        mine = [fact for fact in facts if fact.stream.partition("-")[0] in self.table.kinds]
        if not mine:
            return
        await self._recall(mine)
        changes = _Changes()
        for nth, fact in enumerate(mine):
            if nth % FACTS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
            self._apply(self._known[fact.stream], fact, changes, folds)
        self._trim()
        if changes.gone:
            columns = zip(*changes.gone, strict=True)
            await conn.execute(self._delete, [list(column) for column in columns])
        await _copy(conn, self._copy_current, changes.new.values())
        if self.table.keeps_past:
            await _copy(conn, self._copy_past, changes.closed)

    async def _recall(self, facts: Sequence[Fact]) -> None:
        """Fold, from the log, the streams that are not in memory."""
        first: dict[str, Fact] = {}
        for fact in facts:
            first.setdefault(fact.stream, fact)
        missing = {name for name, fact in first.items() if name not in self._known and fact.version > 1}
        found = await self._load(missing, facts[0].position) if missing else {}
        for name, fact in first.items():
            known = self._known.setdefault(name, _Known())
            self._known.move_to_end(name)
            for earlier in found.get(name, ()):
                self._apply(known, earlier, _Changes(), {})
            assert known.version == fact.version - 1, f"{name} misses facts before version {fact.version}"

    def _apply(self, known: _Known, fact: Fact, changes: _Changes, folds: Folds) -> None:
        """Fold one fact, and note the rows that it ends and begins."""
        views = folds.get(fact.position)
        if views is None:
            views = folds[fact.position] = folded(known.views, fact)
        known.views, known.version = views, fact.version
        rows = {tuple(row[nth] for nth in self._key): row for row in self.table.rows(fact.stream, known.views)}
        for key in known.rows.keys() | rows.keys():
            before, row = known.rows.get(key), rows.get(key)
            if before is not None and before[0] == row:
                continue
            if before is not None:
                del known.rows[key]
                changes.closed.append((*before[0], before[1], fact.position))
                if changes.new.pop(key, None) is None:
                    changes.gone.add(key)
            if row is not None:
                known.rows[key] = row, fact.position
                changes.new[key] = (*row, fact.position)

    def _trim(self) -> None:
        while len(self._known) > STREAMS_MAX:
            self._known.popitem(last=False)


async def _copy(conn: Connection, statement: sql.Composed, rows: Collection[Row]) -> None:
    if rows:
        async with conn.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                await copy.write_row(row)
