"""Activity: what did a person do, when, for which organization, and by whose power?

A row only says where an act stands in the log, and whose it was: the act itself is read from there. What time alone did
is nobody's act. Acts come the latest first, and so do pages.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import tuple_row

from domain.authority import Reach
from domain.errors import Malformed
from domain.facts import SYSTEM, Fact
from domain.fields import Label, is_visible
from domain.rulebook import EVENTS, STREAMS
from projections import pages, requests
from projections.copying import Copying, Load, form_of
from projections.history import clearance_for, entry
from projections.pages import Asked, Clause, Document, Page
from projections.state_table import TEXT
from projections.statements import Connection, Row
from projections.tables import Known
from projections.views import Views

COLUMNS = {"person": TEXT, "position": "bigint NOT NULL", "type": TEXT, "stream": TEXT, "organization": TEXT}


@dataclass(frozen=True)
class Acts:
    """One row for each fact that is somebody's act. Nothing is ever changed in it."""

    name: str = "activity"
    version: int = 1
    kinds: frozenset[str] = frozenset(STREAMS)
    keeps_past: bool = True
    tables: tuple[str, ...] = ("act",)

    def create(self, schema: str) -> sql.Composed:
        columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        return sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(schema, "act"), sql.SQL(columns))

    def index(self, schema: str) -> sql.Composed:
        return sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (person, position)").format(sql.Identifier(schema, "act"))

    def at_work(self, schema: str) -> "ActsAtWork":
        return ActsAtWork(self, schema)

    def filling(self, schema: str) -> "ActsFilling":
        return ActsFilling(self, schema)


def row(fact: Fact) -> Row | None:
    """The row of an act; None where it is nobody's."""
    by = fact.by
    return None if by.role == SYSTEM.role else (by.person, fact.position, fact.type, fact.stream, by.organization)


class ActsAtWork:
    """The table at work in one schema."""

    def __init__(self, table: Acts, schema: str) -> None:
        self.table = table
        arrays = ", ".join(f"%b::{type_.partition(' ')[0]}[]" for type_ in COLUMNS.values())
        insert = sql.SQL(f"INSERT INTO {{}} SELECT * FROM unnest({arrays})")  # noqa: S608 - types of ours
        self._insert = insert.format(sql.Identifier(schema, "act"))
        self._rows: list[Row] = []

    def hold(self, stream: str, known: Known, facts: Sequence[Fact]) -> None:
        """No row depends on what was before."""

    def note(self, fact: Fact, before: Views, known: Known) -> None:
        if (made := row(fact)) is not None:
            self._rows.append(made)

    async def write(self, conn: Connection) -> None:
        made, self._rows = self._rows, []
        if made:
            await conn.execute(self._insert, [list(column) for column in zip(*made, strict=True)], prepare=True)

    def forget(self) -> None:
        self._rows = []


class ActsFilling:
    """The table while it is filled."""

    def __init__(self, table: Acts, schema: str) -> None:
        self.table = table
        self._written = form_of(COLUMNS)
        self._acts = Copying(schema, "act", list(COLUMNS))

    @property
    def waiting_bytes(self) -> int:
        return self._acts.waiting_bytes

    def note(self, fact: Fact, before: Views, views: Views) -> None:
        if (made := row(fact)) is not None:
            self._acts.add(self._written(made))

    def end(self, stream: str, views: Views) -> None:
        """Every act was written when it was noted."""

    def taken(self) -> list[Load]:
        return [self._acts.taken()]


TABLE = Acts()
TABLES = (TABLE, requests.TABLE)

FIELDS = (
    "position",
    "stream",
    "type",
    "text",
    "recorded",
    "occurred",
    "person",
    "organization",
    "role",
    "via",
    "cause",
)
"""What an item tells, in order."""

FactsAt = Callable[[Collection[int]], Awaitable[Sequence[Fact]]]
"""The facts at these positions of the log, in order."""


@dataclass(frozen=True, slots=True)
class Seat:
    """As what somebody asks: the organizations for which they act, by a lent power too, and those that they head."""

    acts_for: frozenset[str] = frozenset()
    heads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Acting:
    """Whose acts are asked for, and which: from a position to a position, both included."""

    person: str
    organization: str | None = None
    stream: str | None = None
    type: str | None = None
    first: int | None = None
    last: int | None = None


async def page(conn: Connection, reach: Reach, seat: Seat, asked: Asked, acting: Acting, *, facts_at: FactsAt) -> Page:
    """What the person did, the latest first, as far as the reader may know. Raises Malformed, NotReady."""
    before = _position_of(asked.cursor)
    at = await pages.common_position(conn, TABLES, asked.at)
    sight = shown(reach, seat, acting.person)
    if sight is None:
        return Page([], None, at)
    clauses = [*sight, *asked_for(acting, at), *([] if before is None else [Clause("position < %s", (before,))])]
    query = "SELECT position FROM {act} WHERE {conditions} ORDER BY position DESC LIMIT {limit}"
    found = [position for (position,) in await rows(conn, query, clauses, asked.limit + 1)]
    some = found[: asked.limit]
    following = str(some[-1]) if len(found) > len(some) else None
    facts = {fact.position: fact for fact in await facts_at(some)}
    return Page(pages.as_documents([_item(facts[position], reach) for position in some]), following, at)


def shown(reach: Reach, seat: Seat, person: str) -> list[Clause] | None:
    """What of a person's acts the reader sees; None: nothing.

    Auditors see all; everybody their own, and heads those for their agency: of what they may know at all, for the
    organizations for which they act today, and not on a request from which they are recused (I5).
    """
    recused = Clause(
        "stream <> ALL (ARRAY(SELECT 'request-' || id FROM {current_requests} WHERE recused @> ARRAY[%s::text]))",
        (reach.person,),
    )
    if reach.clearance is Label.AUDITOR:
        return [recused]
    organizations = seat.heads | (seat.acts_for if person == reach.person else frozenset())
    if not organizations:
        return None
    known = [name for name, schema in EVENTS.items() if is_visible(schema, reach.general)]
    return [recused, Clause("organization = ANY (%s)", (sorted(organizations),)), Clause("type = ANY (%s)", (known,))]


def asked_for(acting: Acting, at: int) -> list[Clause]:
    """The acts that were asked for, as of a position. Raises Malformed for what no column can hold."""
    last = at if acting.last is None else min(at, acting.last)
    return [
        Clause("position BETWEEN %s AND %s", (acting.first or 0, last)),
        *pages.equal(person=acting.person, organization=acting.organization, stream=acting.stream, type=acting.type),
    ]


async def rows(conn: Connection, query: str, clauses: Sequence[Clause], limit: int) -> list[Row]:
    """The rows of a query of `{act}`, with `{conditions}` and a `{limit}`."""
    names: Mapping[str, sql.Composable] = {
        "act": sql.Identifier(await pages.schema_of(conn, TABLE), "act"),
        "current_requests": sql.Identifier(await pages.schema_of(conn, requests.TABLE), "current"),
        "limit": sql.Literal(limit),
    }
    conditions = sql.SQL(" AND ").join(sql.SQL(f"({clause.text})").format(**names) for clause in clauses)
    async with conn.cursor(row_factory=tuple_row) as cursor:
        values = [value for clause in clauses for value in clause.values]
        await cursor.execute(sql.SQL(query).format(**names, conditions=conditions), values)
        return await cursor.fetchall()


def _item(fact: Fact, reach: Reach) -> Document:
    """The act in words as far as the reader may know; whose it was they know, for they asked for it."""
    clearance = clearance_for(fact, reach, reach.general)
    told = entry(fact, clearance)
    assert told is not None, "acts of a type that the reader may not know were left out"
    cause = fact.cause if clearance >= Label.INTERAGENCY else None
    by = fact.by
    whose = {"person": by.person, "organization": by.organization, "role": by.role, "via": by.via, "cause": cause}
    known = {"stream": fact.stream, **told, **whose}
    return {name: known[name] for name in FIELDS}


def _position_of(cursor: str | None) -> int | None:
    """The position before which a page begins. Raises Malformed."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise Malformed("That cursor is none of ours.", "the `next` of an earlier answer to the same question")
    return int(cursor)
