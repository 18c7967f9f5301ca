"""How is the work of a rebuild split: which process folds which streams, and who makes indexes meanwhile?

The log is cut into parts, each of some streams of one kind, so that every part has about as many facts. Kinds with the
most facts come first: when all of a table's parts are in it its indexes are made, while other streams are being folded.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context

from psycopg import AsyncConnection

from projections.filling import fill
from projections.projector import index
from projections.rebuild import Placed, Report
from projections.statements import Connection
from projections.tables import Table
from services.collector import rarely_collect
from services.log.source import reading

PARTS = 8
"""For each process: so that none waits long for the others in the end."""

SAMPLED = 2_000
"""Facts by which the parts are measured."""

INDEXING = 2
"""Tables that are being indexed at once."""

INDEX_MEMORY = "256MB"
"""For sorting what is indexed; Postgres may use that much for each of the tables."""


@dataclass(frozen=True, slots=True)
class Part:
    """The streams of one kind from `begin` up to `end`, and what share of all facts they have, about."""

    kind: str
    begin: str
    end: str
    share: float


Filled = Callable[[Part], None]
"""Told of a part all of whose rows are in the tables."""


def parts_of(streams: Sequence[str], kinds: frozenset[str], count: int) -> list[Part]:
    """About so many parts of these kinds, by the streams of some facts: the kinds with the most facts first."""
    concerned = [stream for stream in streams if stream.partition("-")[0] in kinds]
    facts = Counter(stream.partition("-")[0] for stream in concerned)
    found = []
    for kind in sorted(kinds, key=lambda kind: (-facts[kind], kind)):
        mine = sorted(stream for stream in concerned if stream.startswith(f"{kind}-"))
        pieces = max(1, round(count * len(mine) / max(1, len(concerned))))
        cuts = sorted({mine[nth * len(mine) // pieces] for nth in range(1, pieces)})
        bounds = [f"{kind}-", *cuts, f"{kind}."]
        share = len(mine) / max(1, len(streams)) / (len(bounds) - 1)
        found += [Part(kind, *ends, share) for ends in pairwise(bounds)]
    return found


class Building:
    """Fills tables by several processes, or by this one."""

    def __init__(self, conninfo: str, processes: int) -> None:
        self._conninfo = conninfo
        self._processes = processes

    async def build(self, placed: Placed, before: int, report: Report) -> None:
        """Fill and index the tables with what all facts below a position make. Raises Unfit."""
        kinds = frozenset[str]().union(*(table.kinds for table, _ in placed))
        async with reading(self._conninfo) as log:
            parts = parts_of(await log.streams_along(before, SAMPLED), kinds, PARTS * self._processes)
        done, total = 0, round(before * sum(part.share for part in parts))

        def folded(facts: int) -> None:
            nonlocal done
            done += facts
            report(done, max(done, total))

        indexing = _Indexing(self._conninfo, placed, parts)
        try:
            await self._fill(parts, placed, before, folded, indexing.filled)
            await indexing.finish()
        finally:
            await indexing.stop()

    async def _fill(
        self, parts: Sequence[Part], placed: Placed, before: int, folded: Callable[[int], None], filled: Filled
    ) -> None:
        if self._processes == 1:
            for part in parts:
                await fill_part(self._conninfo, part, concerned(part.kind, placed), before, folded)
                filled(part)
            return
        loop = asyncio.get_running_loop()
        executor = ProcessPoolExecutor(self._processes, get_context("spawn"), rarely_collect)

        async def elsewhere(part: Part) -> None:
            given = self._conninfo, part, concerned(part.kind, placed), before
            folded(await loop.run_in_executor(executor, _part_of_its_own, *given))
            filled(part)

        try:
            await asyncio.gather(*map(elsewhere, parts))
        finally:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)


def concerned(kind: str, placed: Placed) -> Placed:
    """The tables that streams of this kind make rows of."""
    return [(table, schema) for table, schema in placed if kind in table.kinds]


async def fill_part(conninfo: str, part: Part, placed: Placed, before: int, folded: Callable[[int], None]) -> None:
    """Fill these tables with what the streams of a part make below a position. Raises Unfit."""
    async with reading(conninfo) as log, _connected(conninfo) as conn:
        await fill(conn, log.lives(part.begin, part.end, before), placed, folded)


def _part_of_its_own(conninfo: str, part: Part, placed: Placed, before: int) -> int:
    """The same in a process of its own: how many facts were folded."""
    count = 0

    def folded(facts: int) -> None:
        nonlocal count
        count += facts

    asyncio.run(fill_part(conninfo, part, placed, before, folded))
    return count


class _Indexing:
    """Indexes each table as soon as all of its parts are in it, on a connection of its own."""

    def __init__(self, conninfo: str, placed: Placed, parts: Sequence[Part]) -> None:
        self._conninfo = conninfo
        self._left = Counter(part.kind for part in parts)
        self._waiting = list(placed)
        self._turns = asyncio.Semaphore(INDEXING)
        self._tasks: list[asyncio.Task[None]] = []

    def filled(self, part: Part) -> None:
        self._left[part.kind] -= 1
        ready = [(table, schema) for table, schema in self._waiting if not any(self._left[k] for k in table.kinds)]
        self._waiting = [each for each in self._waiting if each not in ready]
        self._tasks += [asyncio.create_task(self._index(table, schema)) for table, schema in ready]

    async def _index(self, table: Table, schema: str) -> None:
        async with self._turns, _connected(self._conninfo) as conn:
            await conn.execute("SELECT set_config('maintenance_work_mem', %s, false)", (INDEX_MEMORY,))
            await index(conn, table, schema)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def _connected(conninfo: str) -> AsyncIterator[Connection]:
    """A connection whose commits need not be durable: what a crash loses is built again."""
    async with await AsyncConnection.connect(conninfo, autocommit=True) as conn:
        await conn.execute("SET synchronous_commit = off")
        yield conn
