"""Are the rows that a projector keeps up those that are made from scratch, in thousands of random histories?

Each history is a random world of the simulation, which goes its own way; some hundred of them, at random turns, make
one log. A projector takes it in by batches of all sizes, now and then without what it remembered; then all rows are
compared with those of a rebuild: docs/benchmarks.md.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.facts import Fact
from projections import PROJECTIONS
from projections.projector import Work, index, naming, place, write
from projections.statements import Connection
from projections.streams import Streams
from projections.tables import Table
from services.assent import MIGRATIONS
from services.log.source import PostgresLog, reading
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from services.project import Projecting
from tests.benchmarks import grown
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.tampering import history

STEPS = 40, 160
"""How long a history goes on: at least, at most."""

BATCHES = (1, 2, 5, 30, 300)
"""Facts that a projector may find new."""

FORGETS = 0.02
"""How often it begins a batch with nothing in memory."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--histories", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--at-a-time", type=int, default=500, help="how many make one log (500)")
    parser.add_argument("--seed", default="1", help="the same seed gives the same histories and batches (1)")


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured where a row differs."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="assent-bench-") as name,
        EmbeddedPostgres(Path(name, "data"), {"fsync": "off"}) as server,
    ):
        migrate(server, MIGRATIONS)
        total = Compared()
        for first in range(0, options.histories, options.at_a_time):
            progress(f"{first:,} of {options.histories:,} histories")
            count = min(options.at_a_time, options.histories - first)
            total += _in_a_database_of_its_own(server, f"{options.seed}.{first}", count)
    return Report(
        figures={
            "histories": options.histories,
            "seed": options.seed,
            "events": total.events,
            "batches": total.batches,
            "rows_compared": total.rows,
            "rows_that_differ": 0,
            "seconds": round(time.monotonic() - began, 1),
        }
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """How many events were taken in, by how many batches, and how many rows were the same."""

    events: int = 0
    batches: int = 0
    rows: int = 0

    def __add__(self, other: "Compared") -> "Compared":
        return Compared(self.events + other.events, self.batches + other.batches, self.rows + other.rows)


def _in_a_database_of_its_own(server: str, seed: str, count: int) -> Compared:
    with psycopg.connect(make_conninfo(server, dbname="template1"), autocommit=True) as conn:
        template = sql.Identifier(str(conninfo_to_dict(server)["dbname"]))
        conn.execute("DROP DATABASE IF EXISTS histories WITH (FORCE)")
        conn.execute(sql.SQL("CREATE DATABASE histories TEMPLATE {}").format(template))
    return asyncio.run(compared(make_conninfo(server, dbname="histories"), seed, count))


async def compared(conninfo: str, seed: str, count: int) -> Compared:
    """So many histories in that database, whose log is empty. Raises Unmeasured where a row differs."""
    chance = Random(seed)
    worlds = [history.lived(f"{seed}.{nth}", chance.randint(*STEPS)) for nth in range(count)]
    size = grown.grow_by_appends(conninfo, history.side_by_side(worlds, chance))
    async with reading(conninfo) as log, await AsyncConnection.connect(conninfo, autocommit=True) as conn:
        batches = await followed(conn, log, PROJECTIONS, chance)
    rows = 0
    for table in PROJECTIONS:
        found = await Projecting(conninfo).verify(table)
        if found.difference is not None or found.position != size - 1:
            raise Unmeasured(f"Seed {seed}, {table.name}: up to {found.position} of {size}, {found.difference}")
        rows += found.rows
    return Compared(size, batches, rows)


async def followed(conn: Connection, log: PostgresLog, tables: Sequence[Table], chance: Random) -> int:
    """Take the log in by batches of random sizes, as a projector does; how many there were."""
    streams, works, batches = Streams(log.facts_of), [], 0
    async with conn.transaction():
        await naming(conn)
        for table in tables:
            schema = await place(conn, table, "live")
            await index(conn, table, schema)
            works.append(Work(schema, -1, table.at_work(schema), streams))
    waiting: list[Fact] = []
    while waiting or (waiting := list(await log.page(works[0].position))):
        if chance.random() < FORGETS:
            streams.forget()
        size = chance.choice(BATCHES)
        await write(conn, works, waiting[:size])
        waiting, batches = waiting[size:], batches + 1
    return batches
