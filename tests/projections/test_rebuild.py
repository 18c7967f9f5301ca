"""Can every projection be thrown away and made again while it serves, and does `verify` find the row that is wrong?"""

import asyncio
import os
import signal
from collections import Counter
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from domain.world import Stream
from projections import PROJECTIONS, grants, organizations, policies, projector, requests, tracking
from projections.filling import Unfit
from projections.pages import Asked
from projections.projector import create
from projections.rebuild import BUILD_LOCK, BeingRebuilt, Placed, Report, rebuild
from projections.state_table import StateTable
from projections.statements import Row
from projections.tracking import NotReady
from projections.views import View
from services.building import Building, WorkerGone, parts_of
from services.log.source import reading
from services.project import Projecting, command
from tests.benchmarks.histories import compared
from tests.projections.shelf import (
    a_full_story,
    all_rows,
    append,
    as_,
    connected,
    eventually,
    many_requests,
    projecting,
    reached,
)
from tests.projections.test_projector import assert_equal_to_the_replay, failing_at, has_stopped, standing_of
from tests.spec import Story, preview


async def test_rows_made_again_are_the_live_ones_row_by_row(log: str) -> None:
    story = a_full_story()
    async with projecting(log) as processes:
        for fact in story.facts:
            append(log, [fact])
        await reached(log, len(story.facts) - 1)
        before = await all_rows(log)
        for table in PROJECTIONS:
            assert await processes.rebuild([table]) == len(story.facts) - 1
        assert await all_rows(log) == before


async def test_several_processes_make_the_same_rows_in_one_pass(log: str) -> None:
    story = many_requests(a_full_story(), 20)
    append(log, story.facts)
    async with projecting(log) as processes:
        await reached(log, len(story.facts) - 1)
        before = await all_rows(log)
        told: list[tuple[int, int]] = []
        position = await processes.rebuild(PROJECTIONS, lambda *how_far: told.append(how_far), processes=2)
        assert position == len(story.facts) - 1
        assert await all_rows(log) == before
    assert {(await standing_of(log, table.name)).schema for table in PROJECTIONS} == {
        f"{table.name}_v{table.version}_2" for table in PROJECTIONS
    }
    assert told == sorted(told) and 0 < told[-1][0] <= told[-1][1]


def test_parts_have_about_as_many_facts_and_together_every_stream() -> None:
    streams = [f"request-{nth:03}" for nth in range(60) for _ in range(3)] + ["grant-a", "grant-b"] * 10 + ["key-k"]
    parts = parts_of(streams, frozenset({"request", "grant", "directive"}), 10)
    assert [part.kind for part in parts] == ["request"] * 9 + ["grant", "directive"]
    assert sum(part.share for part in parts) == pytest.approx(200 / 201)
    assert max(part.share for part in parts) < 0.15
    for stream in {*streams, "request-", "request-zzz", "grant-0", "directive-x"} - {"key-k"}:
        assert sum(part.begin <= stream < part.end for part in parts) == 1
    assert not any(part.begin <= "key-k" < part.end for part in parts)


async def test_of_a_long_log_tables_that_were_never_made_are_built(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = a_full_story()
    append(log, story.facts[:60])
    async with projecting(log, [requests.TABLE]):
        await reached(log, 59, [requests.TABLE])
    monkeypatch.setattr(projector, "FOLLOWED_MAX", 50)
    folded: list[int] = []
    monkeypatch.setattr(Building, "build", _told_of(Building.build, folded))
    async with projecting(log):
        append(log, story.facts[60:])
        await eventually(lambda: _are_live(log, len(PROJECTIONS)))
        await reached(log, len(story.facts) - 1)
    assert folded == [len(PROJECTIONS) - 1], "all but one, in one pass"
    await assert_equal_to_the_replay(log)


async def _are_live(conninfo: str, count: int) -> bool:
    return [each.role for each in await Projecting(conninfo).standings()].count("live") == count


def _told_of(build: Any, counts: list[int]) -> Any:
    async def told(self: Building, placed: Placed, before: int, report: Report) -> None:
        counts.append(len(placed))
        await build(self, placed, before, report)

    return told


async def test_a_rebuild_may_begin_before_anything_is_live(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    projecting_began, building = asyncio.Event(), Building(log, 1)

    async def build(placed: Placed, before: int, report: Report) -> None:
        """The first projector of this database comes while the rebuild is at work."""
        projecting_began.set()
        await reached(log, len(story.facts) - 1)
        await building.build(placed, before, report)

    async with reading(log) as source, await connected(log) as conn:
        rebuilding = asyncio.create_task(rebuild(conn, source, [requests.TABLE, grants.TABLE], build))
        await projecting_began.wait()
        async with projecting(log):
            await rebuilding
            await reached(log, len(story.facts) - 1)
            assert (await standing_of(log, "requests")).schema == "requests_v1"
    await assert_equal_to_the_replay_of(log, "requests")


async def test_a_rebuild_that_cannot_take_in_a_fact_says_which_and_leaves_all_as_it_was(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    broken = failing_at("request-tk", 3, requests.TABLE)
    failed = next(fact for fact in story.facts if (fact.stream, fact.version) == ("request-tk", 3))
    async with projecting(log) as processes:
        await reached(log, len(story.facts) - 1)
        with pytest.raises(Unfit, match=rf"requests cannot take in {failed.position} \({failed.type}\)"):
            await processes.rebuild([organizations.TABLE, broken])
        for name in ("requests", "organizations"):
            assert (await standing_of(log, name)).schema == f"{name}_v1"
        await processes.rebuild([requests.TABLE])
    await assert_equal_to_the_replay_of(log, "requests")


async def test_a_fact_that_a_process_of_its_own_cannot_take_in_is_named_as_well(log: str) -> None:
    append(log, (story := a_full_story()).facts)
    position = next(fact.position for fact in story.facts if fact.stream.startswith("policy-"))
    async with projecting(log) as processes:
        await reached(log, len(story.facts) - 1)
        with pytest.raises(Unfit, match=rf"^policies cannot take in {position} \(PolicyPublished\): no policy is"):
            await processes.rebuild([replace(policies.TABLE, rows=_refusing), requests.TABLE], processes=2)
        assert (await standing_of(log, "policies")).schema == "policies_v1"


async def test_a_process_that_is_killed_in_a_rebuild_leaves_the_old_rows_serving(log: str) -> None:
    append(log, (story := a_full_story()).facts)
    async with projecting(log) as processes, await connected(log) as conn:
        await reached(log, len(story.facts) - 1)
        with pytest.raises(WorkerGone):
            await processes.rebuild([replace(policies.TABLE, rows=_killing), requests.TABLE], processes=2)
        assert (await requests.page(conn, as_("ada"))).items
        half_made = await tracking.standing(conn, "requests", "building")
        assert half_made is not None
        await processes.rebuild([requests.TABLE, policies.TABLE], processes=2)
        assert {each.role for each in await processes.standings()} == {"live"}
    await assert_equal_to_the_replay_of(log, "requests")


def _killing(name: str, view: View, stream: Stream) -> list[Row]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def _refusing(name: str, view: View, stream: Stream) -> list[Row]:
    raise ValueError("no policy is\ngood enough")


async def test_while_it_is_built_its_row_tells_how_far_it_is_and_how_fast(log: str) -> None:
    append(log, a_full_story().facts)
    seen: list[tracking.Standing] = []

    async def build(placed: Placed, before: int, report: Report) -> None:
        report(30, 120)
        while not seen or seen[-1].built is None:
            await asyncio.sleep(0.02)
            seen.extend(each for each in await processes.standings() if each.role == "building")
        await Building(log, 1).build(placed, before, lambda done, total: None)

    async with projecting(log) as processes, reading(log) as source, await connected(log) as conn:
        await reached(log, len(a_full_story().facts) - 1)
        await rebuild(conn, source, [requests.TABLE], build)
        assert [each.role for each in await processes.standings()].count("building") == 0
    last = seen[-1]
    assert (last.name, last.built, last.to_build) == ("requests", 30, 120)
    assert last.build_seconds is not None and last.per_second == 30 / last.build_seconds
    assert last.seconds_left == pytest.approx(3 * last.build_seconds)


async def test_a_schema_made_again_has_the_indexes_of_one_made_anew(log: str) -> None:
    append(log, (story := a_full_story()).facts)
    async with projecting(log) as processes, await connected(log) as conn:
        await reached(log, len(story.facts) - 1)
        for table in PROJECTIONS:
            await processes.rebuild([table])
            made: dict[str, set[str]] = {}
            found = await conn.execute(
                "SELECT schemaname, tablename, indexdef FROM pg_indexes WHERE schemaname LIKE %s", (f"{table.name}_v%",)
            )
            for schema, of, definition in await found.fetchall():
                made.setdefault(schema, set()).add(f"{of}: {definition.partition(' USING ')[2]}")
            first, again = made.values()
            assert first == again
            if isinstance(table, StateTable):
                assert len(again) == (len(table.indexes) + 1) * (1 + table.keeps_past) + table.keeps_past


async def test_the_projector_goes_on_in_the_schema_that_was_swapped_in(log: str) -> None:
    story = a_full_story()
    append(log, story.facts[:50])
    async with projecting(log) as processes:
        await reached(log, 49)
        await processes.rebuild([requests.TABLE])
        assert (await standing_of(log, "requests")).schema == "requests_v1_2"
        append(log, story.facts[50:])
        await reached(log, len(story.facts) - 1)
    await assert_equal_to_the_replay(log)


async def test_readers_notice_nothing_of_rebuilds_under_load(log: str) -> None:
    """While requests come in, and all projections are made again and again, each read shows just what was so."""
    story = preview()
    append(log, story.facts)
    swapped_in: set[str] = set()
    async with projecting(log) as processes:
        await reached(log, len(story.facts) - 1)
        rebuilding = asyncio.create_task(_rebuild_again_and_again(processes, swapped_in))
        reading_ = asyncio.create_task(_read_until(log, story, rebuilding))
        nth = 0
        while not rebuilding.done():
            size = len(story.facts)
            many_requests(story, 2, 2 * nth)
            append(log, story.facts[size:])
            nth += 1
            await asyncio.sleep(0.02)
        await rebuilding
        assert await reading_ > 50, "readers were there all the time"
        await reached(log, len(story.facts) - 1)
    assert len(swapped_in) == 3
    await assert_equal_to_the_replay_of(log, "requests")
    await assert_equal_to_the_replay_of(log, "pending_sign_offs")


async def _rebuild_again_and_again(processes: Projecting, swapped_in: set[str]) -> None:
    for _ in range(3):
        await processes.rebuild(PROJECTIONS)
        swapped_in |= {each.schema for each in await processes.standings() if each.name == "requests"}


async def _read_until(log: str, story: Story, rebuilding: "asyncio.Task[None]") -> int:
    """How many times the list was read, now and as of a while ago; each time it showed what was there by then."""
    reads, shown = 0, -1
    async with await connected(log) as conn:
        while not rebuilding.done():
            now = await requests.page(conn, as_("ada"), Asked(limit=200))
            assert now.position >= shown, "a reader never goes back in time"
            then = await requests.page(conn, as_("ada"), Asked(at=max(0, now.position - 10), limit=200))
            for page in (now, then):
                known = [fact.stream for fact in story.facts[: page.position + 1] if fact.stream.startswith("request-")]
                versions = {f"request-{item['id']}": item["version"] for item in page.items}
                assert versions == dict(sorted(Counter(known).items())[:200])
            reads, shown = reads + 1, now.position
    return reads


async def assert_equal_to_the_replay_of(conninfo: str, name: str) -> None:
    table = next(table for table in PROJECTIONS if table.name == name)
    assert (await Projecting(conninfo).verify(table)).difference is None


async def test_a_projection_that_stopped_is_made_again_by_a_better_program(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    broken = failing_at("request-tk", 3, requests.TABLE)
    async with projecting(log, [broken]):
        await eventually(lambda: has_stopped(log, "requests"))
        await Projecting(log).rebuild([requests.TABLE])
        await reached(log, len(story.facts) - 1, [requests.TABLE])
    await assert_equal_to_the_replay_of(log, "requests")


async def test_a_new_version_is_built_beside_and_swapped_in(log: str) -> None:
    story = a_full_story()
    append(log, story.facts[:60])
    async with projecting(log):
        await reached(log, 59)
    newer = replace(requests.TABLE, version=2)
    async with projecting(log, [newer, *(table for table in PROJECTIONS if table.name != "requests")]):
        await eventually(lambda: _is_live(log, newer))
        append(log, story.facts[60:])
        await reached(log, len(story.facts) - 1)
    assert (await standing_of(log, "requests")).schema == "requests_v2"
    assert (await Projecting(log).verify(newer)).difference is None
    async with await connected(log) as conn:
        with pytest.raises(NotReady):
            await requests.page(conn, as_("ada"))


async def _is_live(conninfo: str, table: StateTable) -> bool:
    return (await standing_of(conninfo, table.name)).version == table.version


async def test_a_rebuild_that_crashed_leaves_the_old_one_serving_and_the_next_one_begins_anew(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    async with projecting(log) as processes:
        await reached(log, len(story.facts) - 1)
        async with await connected(log) as conn:
            await create(conn, requests.TABLE, "requests_v1_2", "building")
            assert (await requests.page(conn, as_("ada"))).items
            await processes.rebuild([requests.TABLE])
            assert await tracking.standing(conn, "requests", "building") is None
    await assert_equal_to_the_replay_of(log, "requests")


async def test_one_rebuild_at_a_time(log: str) -> None:
    with psycopg.connect(log) as conn:
        conn.execute("SELECT pg_advisory_lock(%s, hashtext('requests'))", (BUILD_LOCK,))
        with pytest.raises(BeingRebuilt):
            await Projecting(log).rebuild([requests.TABLE])


async def test_verify_names_the_first_row_that_differs(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    async with projecting(log) as processes:
        await reached(log, len(story.facts) - 1)
        with psycopg.connect(log, autocommit=True) as conn:
            conn.execute("UPDATE organizations_v1.past SET kind = 'customer' WHERE id = 'oncd' AND view = 'full'")
        found = (await processes.verify(organizations.TABLE)).difference
    assert found is not None
    assert (found.table, found.only_in) == ("past", "replay")
    assert found.row.startswith("(full,oncd,agency")


async def test_verify_finds_a_row_that_is_missing_or_there_twice(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    async with projecting(log) as processes:
        await reached(log, len(story.facts) - 1)
        with psycopg.connect(log, autocommit=True) as conn:
            conn.execute("DELETE FROM organizations_v1.current WHERE id = 'tinker' AND view = 'applicant'")
        missing = (await processes.verify(organizations.TABLE)).difference
    assert missing is not None
    assert missing.row.startswith("(applicant,tinker,customer")


async def test_at_a_terminal_the_exit_code_says_whether_all_is_well(
    log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    append(log, a_full_story().facts)

    async def run(*arguments: object) -> int:
        return await asyncio.to_thread(command, log, *arguments)  # type: ignore[arg-type]

    assert await run("verify", [], 1, False) == 2, "nothing is live yet"
    assert await run("rebuild", [], 1, False) == 0
    assert await run("verify", [], 1, True) == 0
    assert await run("list", ["requests"], 1, False) == 0
    assert "live, version 1 in requests_v1" in capsys.readouterr().out
    with psycopg.connect(log, autocommit=True) as conn:
        conn.execute("UPDATE requests_v1.current SET state = 'approved' WHERE id = 'tk'")
    assert await run("verify", ["requests"], 1, False) == 1
    assert "differs from the replay" in capsys.readouterr().out
    assert await run("list", ["nonsense"], 1, False) == 2


async def test_whatever_happened_in_random_histories_live_rows_are_those_of_a_rebuild(log: str) -> None:
    found = await compared(log, "tests", 100)
    assert found.rows > found.events > 4_000 and found.batches > 50
