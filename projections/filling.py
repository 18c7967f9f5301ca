"""How do empty tables get what a long log makes of them, without looking at anything twice?

Stream by stream: all facts of one stream follow each other, so what it makes is known when they end. Nothing is folded
again, compared with rows in the database or moved there; rows of now and of the past are written once, by COPY. What
was made is written while more is being made. Tables have no index yet, so each row only goes to the end of its table.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from domain.facts import Fact
from projections.copying import Load
from projections.statements import Connection
from projections.streams import kind_of
from projections.tables import Filling, Table
from projections.views import Views, folded

LOAD_BYTES = 4 << 20
"""So much is made before it is written; twice as much, and what the longest stream leaves, is the most in memory."""

FACTS_AT_A_STRETCH = 64
"""After so many facts what waits to be written gets its turn."""

Pages = AsyncIterator[Sequence[Fact]]
Report = Callable[[int], None]
"""Told how many more facts have been folded."""


class Unfit(Exception):
    """A table could not take in a fact; the message says which of both."""


async def fill(conn: Connection, pages: Pages, tables: Sequence[tuple[Table, str]], report: Report) -> None:
    """Fill each of the tables, in its schema, with all that these pages of whole streams make.

    The facts come in order of stream and version, those of a stream from its first one on. Raises Unfit.
    """
    loading = _Loading(conn, [table.filling(schema) for table, schema in tables])
    life = _Life("", ())
    async for facts in pages:
        for nth, fact in enumerate(facts):
            if fact.stream != life.stream:
                life.end()
                life = _Life(fact.stream, loading.of_kind(kind_of(fact)))
            life.go_on(fact)
            if nth % FACTS_AT_A_STRETCH == 0:
                await loading.go_on()
        report(len(facts))
    life.end()
    await loading.finish()


class _Life:
    """One stream from its first fact to its last, and the tables that it concerns."""

    def __init__(self, stream: str, concerned: Sequence[Filling]) -> None:
        self.stream = stream
        self._concerned = concerned
        self._views = Views()

    def go_on(self, fact: Fact) -> None:
        before, self._views = self._views, folded(self._views, fact)
        for filling in self._concerned:
            try:
                filling.note(fact, before, self._views)
            except Exception as error:
                raise Unfit(f"{filling.table.name} cannot take in {fact.position} ({fact.type}): {error}") from error

    def end(self) -> None:
        for filling in self._concerned:
            try:
                filling.end(self.stream, self._views)
            except Exception as error:
                raise Unfit(f"{filling.table.name} cannot take in the stream {self.stream}: {error}") from error


class _Loading:
    """What was made and is not written yet. One load is on its way while the next is made."""

    def __init__(self, conn: Connection, fillings: Sequence[Filling]) -> None:
        self._conn = conn
        self._fillings = fillings
        self._under_way: asyncio.Task[None] | None = None

    def of_kind(self, kind: str) -> list[Filling]:
        return [filling for filling in self._fillings if kind in filling.table.kinds]

    async def go_on(self) -> None:
        """Let what is on its way get further; send the next load where there is enough of it."""
        if sum([filling.waiting_bytes for filling in self._fillings]) >= LOAD_BYTES:
            await self._send()
        await asyncio.sleep(0)

    async def _send(self) -> None:
        await self._sent()
        loads = [load for filling in self._fillings for load in filling.taken()]
        self._under_way = asyncio.create_task(self._write(loads))

    async def _sent(self) -> None:
        if self._under_way is not None:
            await self._under_way

    async def _write(self, loads: Sequence[Load]) -> None:
        for load in loads:
            await load.write(self._conn)

    async def finish(self) -> None:
        await self._send()
        await self._sent()
