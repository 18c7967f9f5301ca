"""What is a table of rows that follow from the state of one stream, and how do facts change them?

A table says which rows each of the two views of a stream makes. After a fact that changed a view its rows are made
again; where one differs, the earlier one is closed (it held from `since` up to `until`, excluded) and the new one takes
its place. So rows depend on the log alone, not on how it was cut into batches.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import msgspec
from psycopg import sql

from domain.facts import Fact
from domain.world import Stream
from projections.copying import Copying, Load, form_of, since, since_until
from projections.statements import DOCUMENT, Changes, Connection, Key, Row, Statements
from projections.tables import Known
from projections.views import View, Views

TEXT = 'text COLLATE "C"'

HELD_AT = "USING gist (int8range(since, until))"
"""Finds the rows of the past that held at a position, among all that ever were."""

FILLED_PERCENT = 70
"""Of each page of `current` when rows come: the rest is for their later versions, which then stay on the page."""


@dataclass(frozen=True)
class StateTable:
    """What is asked of a table: its columns (name → SQL type), its key, its indexes, and the rows that a stream makes.

    `rows(name, view, stream)` gives tuples in the order of `columns`, for each of `views` in which anything happened:
    texts, instants, lists of texts for TEXTS, and for a DOCUMENT, which comes last, whatever msgspec encodes. No two
    streams, and no two views of one, ever make rows of the same key.
    """

    name: str
    version: int
    kinds: frozenset[str]
    columns: Mapping[str, str]
    key: tuple[str, ...]
    rows: Callable[[str, View, Stream], Iterable[Row]]
    views: tuple[View, ...] = ("full", "applicant")
    indexes: tuple[str, ...] = ()
    keeps_past: bool = True

    @property
    def tables(self) -> tuple[str, ...]:
        return ("current", "past") if self.keeps_past else ("current",)

    def at_work(self, schema: str) -> "StateRows":
        return StateRows(self, schema)

    def filling(self, schema: str) -> "StateFilling":
        return StateFilling(self, schema)

    def create(self, schema: str) -> sql.Composed:
        """The statements that make the tables, in a schema that is there, without any index."""
        columns = ", ".join(f"{name} {type_}" for name, type_ in self.columns.items())
        since = ", since bigint NOT NULL" if self.keeps_past else ""
        tables = {"current": f"({columns}{since}) WITH (fillfactor = {FILLED_PERCENT})"}
        if self.keeps_past:
            tables["past"] = f"({columns}{since}, until bigint NOT NULL)"
        statements = [
            sql.SQL("CREATE TABLE {} {}").format(sql.Identifier(schema, table), sql.SQL(parts))
            for table, parts in tables.items()
        ]
        return sql.SQL(";\n").join(statements)

    def index(self, schema: str) -> sql.Composed:
        """The statements that make keys and indexes: for many rows, faster after them than row by row."""
        keys = {"current": self.key, "past": (*self.key, "since")}
        statements = []
        for table in self.tables:
            within = sql.Identifier(schema, table)
            statements.append(sql.SQL(f"ALTER TABLE {{}} ADD PRIMARY KEY ({', '.join(keys[table])})").format(within))
            indexes = (*self.indexes, HELD_AT) if table == "past" else self.indexes
            statements += [sql.SQL("CREATE INDEX ON {} {}").format(within, sql.SQL(index)) for index in indexes]
        return sql.SQL(";\n").join(statements)


_encode = msgspec.json.Encoder().encode


def _key_of(columns: list[str], key: Sequence[str]) -> Callable[[Row], Key]:
    places = [columns.index(name) for name in key]
    return itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)


Held = dict[Key, Row]


class StateRows:
    """A state table at work in one schema."""

    def __init__(self, table: StateTable, schema: str) -> None:
        self.table = table
        self._key = _key_of(list(table.columns), table.key)
        self._has_document = DOCUMENT in table.columns.values()
        self._places = [(view, (table.name, view)) for view in table.views]
        self._statements = Statements(schema, table.columns, table.key, table.keeps_past)
        self._changes = Changes()

    def hold(self, stream: str, known: Known, facts: Sequence[Fact]) -> None:
        """The rows that a stream makes, as it is known, are in the table already."""
        for view, place in self._places:
            known.held[place] = self._made(stream, view, getattr(known.views, view))

    def note(self, fact: Fact, before: Views, known: Known) -> None:
        """Make the rows of the views that changed again, and note which of them end and begin at a fact."""
        for view, place in self._places:
            stream: Stream = getattr(known.views, view)
            if stream is not getattr(before, view):
                held, made = known.held.get(place, {}), self._made(fact.stream, view, stream)
                self._compare(held, made, fact.position)
                known.held[place] = made

    def _made(self, name: str, view: View, stream: Stream) -> Held:
        if stream.state is None:
            return {}
        key, made = self._key, self.table.rows(name, view, stream)
        if self._has_document:
            return {key(row): (*row[:-1], _encode(row[-1]).decode()) for row in made}
        return {key(row): row for row in made}

    def _compare(self, held: Held, made: Held, position: int) -> None:
        changes = self._changes
        for key in held:
            if key not in made:
                changes.end(key, position)
        for key, row in made.items():
            earlier = held.get(key)
            if earlier is None:
                changes.begin(key, row, position)
            elif earlier != row:
                changes.end(key, position)
                changes.begin(key, row, position)

    async def write(self, conn: Connection) -> None:
        """Bring the tables up to the last fact that was noted."""
        changes, self._changes = self._changes, Changes()
        await self._statements.execute(conn, changes)

    def forget(self) -> None:
        """Drop what was noted: the transaction it belonged to came to nothing."""
        self._changes = Changes()


class StateFilling:
    """A state table that is being filled, stream by stream."""

    def __init__(self, table: StateTable, schema: str) -> None:
        self.table = table
        self._key = _key_of(list(table.columns), table.key)
        self._written = form_of(table.columns)
        range_ = ["since"] if table.keeps_past else []
        self._current = Copying(schema, "current", [*table.columns, *range_])
        self._past = Copying(schema, "past", [*table.columns, "since", "until"])
        self._held: dict[View, dict[Key, tuple[bytes, int]]] = {view: {} for view in table.views}

    @property
    def waiting_bytes(self) -> int:
        return self._current.waiting_bytes + self._past.waiting_bytes

    def note(self, fact: Fact, before: Views, views: Views) -> None:
        if not self.table.keeps_past:
            return
        for view, held in self._held.items():
            stream: Stream = getattr(views, view)
            if stream is not getattr(before, view):
                self._held[view] = self._after(held, self._made(fact.stream, view, stream), fact.position)

    def _made(self, name: str, view: View, stream: Stream) -> dict[Key, bytes]:
        if stream.state is None:
            return {}
        key, written = self._key, self._written
        return {key(row): written(row) for row in self.table.rows(name, view, stream)}

    def _after(
        self, held: dict[Key, tuple[bytes, int]], made: dict[Key, bytes], position: int
    ) -> dict[Key, tuple[bytes, int]]:
        """What is held from a position on; what no longer holds goes to the past."""
        after = {key: (row, position) for key, row in made.items()}
        for key, (row, began) in held.items():
            if made.get(key) == row:
                after[key] = row, began
            else:
                self._past.add(row, since_until(began, position))
        return after

    def end(self, stream: str, views: Views) -> None:
        for view, held in self._held.items():
            if self.table.keeps_past:
                for row, began in held.values():
                    self._current.add(row, since(began))
                self._held[view] = {}
            else:
                for row in self._made(stream, view, getattr(views, view)).values():
                    self._current.add(row)

    def taken(self) -> list[Load]:
        return [self._current.taken(), self._past.taken()]
