"""What does one process of a rebuild do? It fills tables with what some streams of the log make.

The database and then jobs come in by standard input, each a pickle behind its length; how many more facts were folded
goes out, line by line, then `end`, or `unfit` and why. Nobody but the process that began this one can reach either.
"""

import asyncio
import pickle
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from projections.filling import Unfit, fill
from projections.rebuild import Placed
from projections.statements import Connection
from services.collector import rarely_collect
from services.log.source import PostgresLog, reading

LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Part:
    """The streams of one kind from `begin` up to `end`, and what share of all facts they have, about."""

    kind: str
    begin: str
    end: str
    share: float


@dataclass(frozen=True, slots=True)
class Job:
    """A part of the log, below a position, and the tables that it makes rows of."""

    part: Part
    placed: Placed
    before: int


class Filler:
    """Fills tables, over two connections: one reads the log, the other writes."""

    def __init__(self, log: PostgresLog, conn: Connection) -> None:
        self._log = log
        self._conn = conn

    async def fill(self, job: Job, folded: Callable[[int], None]) -> None:
        """Fill the tables with what the part makes; `folded` is told how many more facts. Raises Unfit."""
        lives = self._log.lives(job.part.begin, job.part.end, job.before)
        await fill(self._conn, lives, job.placed, folded)


@asynccontextmanager
async def filler(conninfo: str) -> AsyncIterator[Filler]:
    async with reading(conninfo) as log, connected(conninfo) as conn:
        yield Filler(log, conn)


@asynccontextmanager
async def connected(conninfo: str) -> AsyncIterator[Connection]:
    """A connection whose commits need not be durable: what a crash loses is built again."""
    async with await AsyncConnection.connect(conninfo, autocommit=True) as conn:
        await conn.execute("SET synchronous_commit = off")
        yield conn


def said(what: "Job | str") -> bytes:
    """What a process is sent: the database first, then jobs."""
    pickled = pickle.dumps(what)
    return len(pickled).to_bytes(LENGTH_BYTES) + pickled


async def work() -> None:
    """Do the jobs that come in, until there are no more."""
    rarely_collect()
    async with filler(await asyncio.to_thread(_next)) as here:
        while job := await asyncio.to_thread(_next):
            try:
                await here.fill(job, _tell)
                _tell("end")
            except Unfit as unfit:
                _tell(" ".join(f"unfit {unfit}".split()))


def _next() -> Any:
    length = sys.stdin.buffer.read(LENGTH_BYTES)
    return pickle.loads(sys.stdin.buffer.read(int.from_bytes(length))) if length else None  # noqa: S301 - of our own making


def _tell(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work())
