"""Does the log answer what it holds: of streams, after positions, at times?"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from domain.facts import Fact
from domain.organization import OrganizationChanged
from services.log import reader
from services.log.follower import follow
from services.log.merkle import Frontier, leaf_hash
from services.log.reader import LogEnd
from services.log.record import read, seal_fact
from services.log.schema import CHANNEL
from tests.services.log.registry import ADA

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def append(conninfo: str, streams: list[str], minute: int = 0) -> None:
    """One append of renamings, recorded so many minutes after noon."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        found = conn.execute("SELECT size, frontier FROM tree_head ORDER BY size DESC LIMIT 1").fetchone()
        tree = Frontier(*found) if found else Frontier()
        base, recorded, facts = tree.size, NOON + timedelta(minutes=minute), list[Fact]()
        for nth, stream in enumerate(streams):
            known = conn.execute("SELECT count(*) FROM event WHERE stream = %s", (stream,)).fetchone()
            version = (known[0] if known else 0) + streams[:nth].count(stream) + 1
            event = OrganizationChanged(name=f"{base + nth}")
            facts.append(Fact(base + nth, stream, version, recorded, recorded, ADA, "c", None, event))
        records = [seal_fact(fact) for fact in facts]
        leaves = [leaf_hash(record) for record in records]
        tree.extend(leaves)
        none = [None] * len(facts)
        conn.execute(
            "SELECT append(%s, %s::text[], %s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s, %s, %s, %s, '{}')",
            (base, streams, [f.version for f in facts], [f.type for f in facts], none, none, records, leaves,
             tree.root(), bytes(tree)),
        )  # fmt: skip


@pytest.fixture
async def conn(database: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database, autocommit=True) as opened:
        yield opened


async def test_the_end_of_an_empty_log_is_nothing(conn: AsyncConnection[Any]) -> None:
    assert await reader.end(conn) == LogEnd()
    assert await reader.position_at(conn, NOON) == -1


async def test_the_end_is_the_size_the_time_and_the_edge(database: str, conn: AsyncConnection[Any]) -> None:
    append(database, ["request-1"], minute=1)
    append(database, ["request-1", "request-2"], minute=2)
    end = await reader.end(conn)
    tree = Frontier()
    tree.extend(await reader.leaves(conn, 0, 3))
    assert end == LogEnd(3, NOON + timedelta(minutes=2), bytes(tree))


async def test_pages_are_in_order_of_position_and_end_where_asked(database: str, conn: AsyncConnection[Any]) -> None:
    append(database, [f"request-{nth}" for nth in range(10)])

    async def positions(*bounds: Any) -> list[int]:
        return [fact.position for fact in await reader.page(conn, *bounds)]

    assert await positions(-1) == list(range(10))
    assert await positions(3, 4) == [4, 5, 6, 7]
    assert await positions(6, 100, 9) == [7, 8]
    assert await positions(9) == []


async def test_streams_are_loaded_together_each_in_order_of_version(database: str, conn: AsyncConnection[Any]) -> None:
    append(database, ["request-1", "request-2", "request-1", "request-3", "request-1"])
    found = await reader.facts_of(conn, ["request-1", "request-2", "request-none"])
    assert {stream: [fact.version for fact in facts] for stream, facts in found.items()} == {
        "request-1": [1, 2, 3],
        "request-2": [1],
    }
    earlier = await reader.facts_of(conn, ["request-1"], before=4)
    assert [fact.position for fact in earlier["request-1"]] == [0, 2]


async def test_a_kind_is_its_streams_and_no_others(database: str, conn: AsyncConnection[Any]) -> None:
    append(database, ["organization-b", "organization-a", "organization.x", "organizations-c", "organ-d", "request-1"])
    assert list(await reader.facts_of_kind(conn, "organization")) == ["organization-a", "organization-b"]
    assert list(await reader.facts_of_kind(conn, "organization", before=1)) == ["organization-b"]


async def test_the_position_at_a_time_is_the_last_one_recorded_by_then(
    database: str, conn: AsyncConnection[Any]
) -> None:
    for minute in (0, 1, 1, 5, 8):
        append(database, [f"request-{minute}"], minute)
    asked = {minute: await reader.position_at(conn, NOON + timedelta(minutes=minute)) for minute in (-1, 0, 1, 4, 5, 9)}
    assert asked == {-1: -1, 0: 0, 1: 2, 4: 2, 5: 3, 9: 4}


async def test_the_json_view_shows_the_records(database: str, conn: AsyncConnection[Any]) -> None:
    append(database, ["request-1"])
    rows = await reader.rows(conn, "SELECT position, record ->> 'stream', record -> 'data' ->> 'name' FROM event_json")
    assert rows == [(0, "request-1", "0")]


async def test_a_follower_gets_what_is_there_and_then_what_comes(database: str) -> None:
    append(database, ["request-1", "request-2", "request-3"])
    following = follow(database, after=0, poll_seconds=30)
    async with asyncio.timeout(10):
        assert [fact.position for fact in await anext(following)] == [1, 2]
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.1)
        append(database, ["request-1"])
        assert [fact.position for fact in await coming] == [3]
    await following.aclose()


async def test_a_follower_is_not_woken_by_its_own_appends_but_misses_none_of_them(database: str) -> None:
    following = follow(database, after=-1, poll_seconds=0.5, is_own=lambda pid: True)
    async with asyncio.timeout(10):
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.1)
        append(database, ["request-1"])
        await asyncio.sleep(0.2)
        assert not coming.done()
        assert [fact.position for fact in await coming] == [0]
    await following.aclose()


async def test_a_follower_that_appends_all_the_time_hears_what_others_append(database: str) -> None:
    own: set[int] = set()
    following = follow(database, after=-1, poll_seconds=30, known=lambda: 99, is_own=own.__contains__)
    async with asyncio.timeout(20):
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.1)
        with psycopg.connect(database, autocommit=True) as conn:
            own.add(conn.info.backend_pid)
            for nth in range(99):
                conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(nth)))
        append(database, ["request-1"] * 101)
        assert [fact.position for fact in await coming] == [100]
    await following.aclose()


async def test_a_follower_reads_nothing_that_it_knows_from_elsewhere(database: str) -> None:
    append(database, ["request-1", "request-2", "request-3"])
    following = follow(database, after=-1, poll_seconds=30, known=lambda: 1)
    async with asyncio.timeout(10):
        assert [fact.position for fact in await anext(following)] == [2]
    await following.aclose()


async def test_a_follower_does_not_look_again_for_what_it_has_read_already(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []

    async def counted(conn: reader.Connection, after: int) -> list[Fact]:
        if conn.info.dbname in database:
            pages.append(after)
        return await page(conn, after)

    page = reader.page
    monkeypatch.setattr(reader, "page", counted)
    append(database, ["request-1"])
    following = follow(database, after=-1, poll_seconds=30)
    async with asyncio.timeout(10):
        await anext(following)
        for _ in range(5):
            append(database, ["request-1"])
        assert [fact.position for fact in await anext(following)] == [1, 2, 3, 4, 5]
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.2)
        assert pages == [-1, 0, 5]
        append(database, ["request-1"])
        assert [fact.position for fact in await coming] == [6]
    await following.aclose()


async def test_a_follower_outlives_its_connection(database: str) -> None:
    append(database, ["request-1"])
    following = follow(database, after=-1, poll_seconds=30)
    async with asyncio.timeout(10):
        await anext(following)
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.1)
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        append(database, ["request-1"])
        assert [fact.position for fact in await coming] == [1]
    await following.aclose()


async def test_a_follower_that_hears_nothing_looks_for_itself(database: str) -> None:
    following = follow(database, after=-1, poll_seconds=0.05)
    coming = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.1)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT'")
        conn.execute("ALTER FUNCTION append SET search_path = public, pg_catalog, pg_temp")  # its NOTIFY is lost
    append(database, ["request-1"])
    async with asyncio.timeout(10):
        assert [fact.position for fact in await coming] == [0]
    await following.aclose()


async def test_what_was_read_is_what_was_written(database: str, conn: AsyncConnection[Any]) -> None:
    append(database, ["request-1"])
    ((stored,),) = await reader.rows(conn, "SELECT record FROM event")
    assert await reader.page(conn, -1) == [read(stored)]
