"""Are old rows and what an event changes in them just the rows that are made from scratch, event by event?"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence

from psycopg import sql

from domain import rulebook, trail
from domain.facts import Fact
from projections import PROJECTIONS
from projections.filling import fill
from projections.projector import Work, create, index, naming, place, write
from projections.state_table import StateTable
from projections.statements import Connection
from projections.streams import Streams, kind_of
from services.log.record import read
from services.log.source import reading
from tests.benchmarks.grown import grow_by_appends
from tests.projections.shelf import connected
from tests.tampering.history import lived

TIMES = 2
"""How often each type of event is looked at."""

STATES = [table for table in PROJECTIONS if isinstance(table, StateTable)]


async def test_after_every_type_of_event_its_streams_rows_are_those_made_from_scratch(log: str) -> None:
    appends = lived("every event", 2_500)
    facts = [read(row.record) for append in appends for row in append]
    grow_by_appends(log, iter(appends))
    looked: Counter[str] = Counter()
    lives: defaultdict[str, list[Fact]] = defaultdict(list)
    async with await connected(log) as conn, reading(log) as source:
        works = await placed(conn, Streams(source.facts_of))
        waiting: list[Fact] = []
        for fact in facts:
            waiting.append(fact)
            lives[fact.stream].append(fact)
            if looked[fact.type] < TIMES:
                looked[fact.type] += 1
                await write(conn, works, waiting)
                waiting = []
                for work in works:
                    await assert_made_from_scratch(conn, work, lives[fact.stream])
    assert len(looked) > 0.7 * len(rulebook.EVENTS.keys() - trail.EVENTS.keys()), f"only {sorted(looked)} happened"


async def placed(conn: Connection, streams: Streams) -> list[Work]:
    """Every state table, live, and beside each an empty one."""
    works = []
    async with conn.transaction():
        await naming(conn)
        for table in STATES:
            schema = await place(conn, table, "live")
            await index(conn, table, schema)
            await create(conn, table, f"{table.name}_replay", "retired")
            works.append(Work(schema, -1, table.at_work(schema), streams))
    return works


async def assert_made_from_scratch(conn: Connection, work: Work, facts: Sequence[Fact]) -> None:
    """The rows whose keys this stream ever had are those that its facts make, from the first on."""

    async def pages() -> AsyncIterator[Sequence[Fact]]:
        yield facts

    table = work.rows.table
    assert isinstance(table, StateTable)
    if kind_of(facts[0]) not in table.kinds:
        return
    schema = f"{table.name}_replay"
    for name in table.tables:
        await conn.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(schema, name)))
    await fill(conn, pages(), [(table, schema)], lambda facts: None)
    key = sql.SQL(", ").join(map(sql.Identifier, table.key))
    scratch = [sql.SQL("SELECT {} FROM {}").format(key, sql.Identifier(schema, name)) for name in table.tables]
    for name in table.tables:
        query = sql.SQL("SELECT t::text FROM {} AS t WHERE ({}) IN ({}) ORDER BY 1")
        keys = key, sql.SQL(" UNION ").join(scratch)
        found = [
            await (await conn.execute(query.format(sql.Identifier(of, name), *keys))).fetchall()
            for of in (work.schema, schema)
        ]
        assert found[0] == found[1], f"{table.name}.{name} after {facts[-1].type} at {facts[-1].position}"
