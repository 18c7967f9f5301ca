"""What time alone does: once, in due order, as of the time it was due, whoever sees to it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.request import SignOff
from domain.sign_offs import AllOf, Leaf
from services.assent import Assent, running
from services.clock import ManualClock
from services.log import reader
from services.settings import Settings
from services.timers import Timers
from tests.services.test_handle import START, cast, in_review, order, service


async def system_facts(assent: Assent) -> list[tuple[str, str, datetime]]:
    pool = assent.handler._pool
    async with pool.connection() as conn:
        facts = await reader.page(conn, after=-1)
    return [(f.stream, f.type, f.occurred) for f in facts if f.by.person == "system" and f.command.startswith("timer")]


async def test_after_a_weeks_outage_everything_due_happens_once_in_due_order(database: str, tmp_path: Path) -> None:
    tree = AllOf((Leaf("oncd", due_days=5), Leaf("ostp", due_days=3, silence="no_objection")))
    async with service(database, tmp_path) as assent:
        await cast(assent, tree)
        ids = [await in_review(assent, "northwind", "nina"), await in_review(assent, "tinker", "tom")]
        clock = assent.handler.clock
        assert isinstance(clock, ManualClock)
        await settled(assent)
    async with running(
        Settings(data=tmp_path, database_url=database, port=0), ManualClock(START + timedelta(days=8))
    ) as assent:
        timers = [Timers(assent.handler, assent.handler._pool) for _ in range(2)]
        now = START + timedelta(days=8)
        await asyncio.gather(*(each.see_to(now) for each in timers))
        await asyncio.gather(*(each.see_to(now) for each in timers))
        found = await system_facts(assent)
        assert sorted((stream, type) for stream, type, _ in found) == sorted(
            (f"request-{id}", type) for id in ids for type in ("NoObjectionDeemed", "DeadlineMissed")
        )
        by_stream = [[(t, at) for s, t, at in found if s == f"request-{id}"] for id in ids]
        assert [[t for t, _ in each] for each in by_stream] == [["NoObjectionDeemed", "DeadlineMissed"]] * 2
        assert by_stream[0][0][1] == datetime(2026, 6, 25, 21, tzinfo=UTC)
        assert (await order(assent, "olga", SignOff(ids[0], "oncd", "approve"))).version == 6


async def test_a_manual_clock_stops_wherever_something_is_due(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        await cast(assent)
        id = await in_review(assent, "northwind", "nina")
        await order(assent, "olga", SignOff(id, "oncd", "approve"))
        timers = Timers(assent.handler, assent.handler._pool)
        await timers.advance(START + timedelta(days=400))
        found = await system_facts(assent)
        end = START + timedelta(days=180)
        assert [(type, at) for _, type, at in found] == [("GrantExpired", end), ("CustomerLeft", end)]
        assert assent.handler.clock.now() == START + timedelta(days=400)


async def settled(assent: Assent) -> None:
    """Until the deadlines that follow from the log are known."""
    from projections import deadlines

    async with assent.handler._pool.connection() as conn:
        await deadlines.wait_until(conn, assent.handler.writer.end.size - 1)
