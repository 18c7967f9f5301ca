"""Does each part of the work go on wherever it is done: beside serving, or in a process of its own?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from projections import PROJECTIONS
from services.assent import Assent, following, running
from services.clock import ManualClock
from services.log.writer import Writer
from services.settings import Settings
from tests.projections.shelf import eventually
from tests.services.test_handle import START, cast, in_review

Answers = tuple[int, int]
"""The last position that every projection has reached (-1: none is made), and the size that is signed."""


@asynccontextmanager
async def serving_alone(database: str, folder: Path) -> AsyncIterator[Assent]:
    settings = Settings(data=folder, database_url=database, port=0, roles=frozenset())
    async with running(settings, ManualClock(START)) as assent:
        yield assent


async def answers(database: str) -> Answers:
    async with await AsyncConnection.connect(database) as conn:
        cursor = await conn.execute(
            "SELECT count(*), min(position), (SELECT coalesce(max(size), 0) FROM checkpoint) FROM projection"
        )
        found: Any = await cursor.fetchone()
    count, position, signed = found
    return position if count == len(PROJECTIONS) else -1, signed


async def caught_up(database: str, size: int) -> None:
    async def so() -> bool:
        return await answers(database) == (size - 1, size)

    await eventually(so)


async def test_what_follows_from_the_log_is_brought_up_by_a_process_that_serves_nobody(
    database: str, tmp_path: Path
) -> None:
    async with serving_alone(database, tmp_path) as assent:
        await cast(assent)
        await in_review(assent, "northwind", "nina")
        size = assent.handler.writer.end.size
        assert await answers(database) == (-1, 0)
        async with following(Settings(data=tmp_path, database_url=database)):
            await caught_up(database, size)


async def test_a_fact_of_another_process_is_known_to_one_that_only_serves(database: str, tmp_path: Path) -> None:
    async with serving_alone(database, tmp_path) as here, serving_alone(database, tmp_path) as there:
        await cast(there)
        end = there.handler.writer.end.size - 1
        assert await here.handler.replica.at_least(end, 10)
        await in_review(here, "northwind", "nina")
        assert await there.handler.replica.at_least(here.handler.writer.end.size - 1, 10)


async def test_who_was_appointed_while_a_service_starts_may_act_at_once(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Writer.start

    async def start_late(writer: Writer) -> None:
        monkeypatch.setattr(Writer, "start", start)
        await cast(one)
        await start(writer)

    async with serving_alone(database, tmp_path) as one:
        monkeypatch.setattr(Writer, "start", start_late)
        async with serving_alone(database, tmp_path) as two:
            await in_review(two, "northwind", "nina")


async def test_nothing_is_projected_or_signed_twice_where_two_do_it(database: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url=database, port=0)
    async with running(settings, ManualClock(START)) as assent, following(settings):
        await cast(assent)
        await caught_up(database, assent.handler.writer.end.size)
    with psycopg.connect(database) as conn:
        errors = conn.execute("SELECT name FROM projection WHERE error IS NOT NULL").fetchall()
    assert errors == []


@pytest.mark.parametrize("roles", [frozenset[str](), frozenset({"timers"})])
async def test_a_service_ends_cleanly_whatever_its_roles(database: str, tmp_path: Path, roles: frozenset[str]) -> None:
    settings = Settings(data=tmp_path, database_url=database, port=0, roles=roles)
    async with running(settings, ManualClock(START)):
        running_tasks = {task.get_name() for task in asyncio.all_tasks()}
    assert ("timers" in running_tasks) == ("timers" in roles)
    left = {task.get_name() for task in asyncio.all_tasks()}
    assert left.isdisjoint({"timers", "replica", "projector", "writer", "postgres"})
