"""What must a table know to be followed, filled, made again, verified and swapped like any other?

Its rows follow from the log alone, stream by stream: not from how the log was cut into batches, nor from the order in
which different streams came. So any number of processes may fill it from streams of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from psycopg import sql

from domain.facts import Fact
from projections.copying import Load
from projections.statements import Connection
from projections.views import View, Views


@dataclass(slots=True)
class Known:
    """One stream as it was folded, and what it makes in each table, by the table's name and the view."""

    views: Views = field(default_factory=Views)
    version: int = 0
    held: dict[tuple[str, View], Any] = field(default_factory=dict)


class Rows(Protocol):
    """A table at work in one schema: notes what facts change in it, and writes that in the caller's transaction."""

    @property
    def table(self) -> "Table": ...

    def hold(self, stream: str, known: Known, facts: Sequence[Fact]) -> None:
        """What this stream makes, as it is known from these facts, is in the table already."""

    def note(self, fact: Fact, before: Views, known: Known) -> None:
        """Note what changes by a fact, of whose stream `before` was known before it, and `known` is after it.

        Where the table needs no facts one by one (`keeps_past` is false), several of a stream may come as one.
        """

    async def write(self, conn: Connection) -> None:
        """Bring the table, which has its indexes, up to what was noted."""

    def forget(self) -> None:
        """Drop what was noted: the transaction it belonged to came to nothing."""


class Filling(Protocol):
    """A table that is being filled, stream by stream, from a whole log. Nobody reads it, and it has no index yet."""

    @property
    def table(self) -> "Table": ...

    @property
    def waiting_bytes(self) -> int:
        """How much waits to be written."""

    def note(self, fact: Fact, before: Views, views: Views) -> None:
        """The next fact of a stream, of which these were the views before it and these are they after it."""

    def end(self, stream: str, views: Views) -> None:
        """That was the last of this stream; these are its views."""

    def taken(self) -> Sequence[Load]:
        """What was made so far and will not change; from now on it is the taker's to write."""


class Table(Protocol):
    """What is asked of a projection's table; each schema that holds it has its own SQL tables of these names."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of streams that concern it."""

    @property
    def keeps_past(self) -> bool:
        """Whether it must be told of every single fact."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The SQL tables that hold what it says: all that `verify` compares."""

    def create(self, schema: str) -> sql.Composed:
        """The statements that make the SQL tables, in a schema that is there, without any index."""

    def index(self, schema: str) -> sql.Composed:
        """The statements that make keys and all else by which they are read and written; after many rows."""

    def at_work(self, schema: str) -> Rows: ...

    def filling(self, schema: str) -> Filling: ...
