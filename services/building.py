"""How is the work of a rebuild split: which process folds which streams, and who makes indexes meanwhile?

The log is cut into parts, each of some streams of one kind, so that every part has about as many facts. Kinds with the
most facts come first: when all of a table's parts are in it its indexes are made, while other streams are being folded.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

from projections.filling import Unfit
from projections.projector import index
from projections.rebuild import Placed, Report
from projections.tables import Table
from services import worker
from services.log.source import reading
from services.worker import Job, Part, connected, filler, said

PARTS = 8
"""For each process: so that none waits long for the others in the end."""

PART_FACTS = 10_000
"""A part has at least so many facts, where there are."""

SAMPLED = 2_000
"""Facts by which the parts are measured."""

INDEXING = 2
"""Tables that are being indexed at once."""

INDEX_MEMORY = "256MB"
"""For sorting what is indexed; Postgres may use that much for each of the tables."""


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
        count = min(PARTS * self._processes, 1 + before // PART_FACTS)
        async with reading(self._conninfo) as log:
            parts = parts_of(await log.streams_along(before, SAMPLED), kinds, count)
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
        def job(part: Part) -> Job:
            return Job(part, concerned(part.kind, placed), before)

        if self._processes == 1:
            async with filler(self._conninfo) as here:
                for part in parts:
                    await here.fill(job(part), folded)
                    filled(part)
            return
        waiting = iter(parts)
        workers = [_Worker(self._conninfo) for _ in range(self._processes)]

        async def work(each: _Worker) -> None:
            for part in waiting:
                await each.fill(job(part), folded)
                filled(part)

        try:
            await asyncio.gather(*map(work, workers))
        finally:
            await asyncio.gather(*(each.stop() for each in workers))


def concerned(kind: str, placed: Placed) -> Placed:
    """The tables that streams of this kind make rows of."""
    return [(table, schema) for table, schema in placed if kind in table.kinds]


# Processes of their own


class _Worker:
    """A process that fills tables. It starts with its first job."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._process: Process | None = None

    async def fill(self, job: Job, folded: Callable[[int], None]) -> None:
        """Raises Unfit, or WorkerGone where the process ended; what it wrote to standard error is seen there."""
        if self._process is None:
            command = sys.executable, "-P", "-m", worker.__name__
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
            assert self._process.stdin is not None
            self._process.stdin.write(said(self._conninfo))
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(said(job))
        while line := await stdout.readline():
            word, _, sentence = line.decode().rstrip().partition(" ")
            if word == "end":
                return
            if word == "unfit":
                raise Unfit(sentence)
            folded(int(word))
        raise WorkerGone("A process of the rebuild ended before its work did.")

    async def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class WorkerGone(Exception):
    """A process that took part in a rebuild is no more."""


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
        async with self._turns, connected(self._conninfo) as conn:
            await conn.execute("SELECT set_config('maintenance_work_mem', %s, false)", (INDEX_MEMORY,))
            await index(conn, table, schema)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
