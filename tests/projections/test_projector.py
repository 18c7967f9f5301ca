"""Do rows and position move together, does an error stop one projection only, and does one process lead?"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, Tracking

from domain.request import SignOff
from domain.world import Stream
from projections import PROJECTIONS, grants, organizations, requests, streams, tracking
from projections.projector import LEADER_LOCK, Gap, begin, create, index, write
from projections.state_table import Row, StateTable, View
from projections.tracking import NotReady
from services.log.source import reading
from services.project import Projecting
from tests.projections.shelf import a_full_story, append, connected, eventually, projecting, reached, rows
from tests.spec import approve, in_review, second_request

LEADERS = """
    SELECT granted, pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE datname = current_database() AND locktype = 'advisory' AND objid = %s ORDER BY granted"""
"""Who leads this database's projections, and who waits for it."""


def failing_at(stream: str, version: int, table: StateTable) -> StateTable:
    """The same table as an earlier, worse program would have it: it fails at one fact."""

    def fails(name: str, view: View, folded: Stream) -> Iterator[Row]:
        if (name, view, folded.version) == (stream, "full", version):
            raise ValueError("this program does not know what to do")
        yield from table.rows(name, view, folded)

    return replace(table, rows=fails)


async def standing_of(conninfo: str, name: str) -> tracking.Standing:
    async with await connected(conninfo) as conn:
        found = await tracking.standing(conn, name)
    assert found is not None
    return found


async def has_stopped(conninfo: str, name: str) -> bool:
    async with await connected(conninfo) as conn:
        found = await tracking.standing(conn, name)
    return found is not None and found.error is not None


async def assert_equal_to_the_replay(conninfo: str) -> None:
    for table in PROJECTIONS:
        found = await Projecting(conninfo).verify(table)
        assert found.difference is None
        assert found.rows > 0


async def test_every_projection_follows_the_log_as_it_grows(log: str) -> None:
    story = a_full_story()
    async with projecting(log):
        for size in range(0, len(story.facts), 9):
            append(log, story.facts[size : size + 9])
            await reached(log, min(size + 9, len(story.facts)) - 1)
    await assert_equal_to_the_replay(log)


async def test_rows_do_not_depend_on_how_the_log_was_cut_into_batches(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    async with await connected(log) as conn, reading(log) as source:
        for table in PROJECTIONS:
            at_once, one_by_one = (begin(table, schema, source) for schema in (f"{table.name}_v1", f"{table.name}_v2"))
            for work, batches in ((at_once, [story.facts]), (one_by_one, [[fact] for fact in story.facts])):
                await create(conn, table, work.schema, "retired")
                await index(conn, table, work.schema)
                await conn.execute("UPDATE projection SET role = 'building' WHERE schema = %s", (work.schema,))
                for batch in batches:
                    await write(conn, [work], batch)
                await conn.execute("UPDATE projection SET role = 'retired' WHERE schema = %s", (work.schema,))
            assert await rows(conn, at_once.schema, table) == await rows(conn, one_by_one.schema, table)


async def test_only_the_views_that_a_fact_changed_are_made_again(log: str) -> None:
    made: list[tuple[View, int]] = []

    def counted(name: str, view: View, folded: Stream) -> Iterator[Row]:
        if name == "request-nw":
            made.append((view, folded.version))
        yield from requests.TABLE.rows(name, view, folded)

    story = in_review()
    known = len(story.facts)
    append(log, story.given(SignOff("nw", "oncd", "approve"), by="olga").facts)
    table = replace(requests.TABLE, rows=counted)
    async with await connected(log) as conn, reading(log) as source:
        await create(conn, table, "requests_v1", "live")
        await index(conn, table, "requests_v1")
        work = begin(table, "requests_v1", source)
        await write(conn, [work], story.facts[:known])
        assert {view for view, _ in made} == {"full", "applicant"}
        made.clear()
        await write(conn, [work], story.facts[known:])
    assert made == [("full", story.facts[known].version)]


async def test_a_stream_that_is_not_in_memory_is_folded_again_from_the_log(
    log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STREAMS_MAX", 1)
    story = a_full_story()
    async with projecting(log):
        for nth, fact in enumerate(story.facts):
            append(log, [fact])
            if nth % 5 == 0:
                await reached(log, fact.position)
        await reached(log, len(story.facts) - 1)
    monkeypatch.undo()
    await assert_equal_to_the_replay(log)


async def test_a_projector_killed_between_position_and_rows_leaves_neither(log: str) -> None:
    story = a_full_story()
    append(log, story.facts[:40])
    async with projecting(log):
        await reached(log, 39)
    with psycopg.connect(log, autocommit=True) as conn:
        conn.execute("CREATE SEQUENCE deaths")
        conn.execute(
            """
            CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('public.deaths') <= 3 THEN
                    PERFORM pg_terminate_backend(pg_backend_pid());
                    PERFORM pg_sleep(5);
                END IF;
                RETURN NEW;
            END $$"""
        )
        conn.execute("CREATE TRIGGER die BEFORE INSERT ON requests_v1.current FOR EACH ROW EXECUTE FUNCTION die()")
        append(log, story.facts[40:])
        async with projecting(log):
            await reached(log, len(story.facts) - 1)
        deaths = conn.execute("SELECT last_value FROM deaths").fetchone()
        assert deaths is not None
        assert deaths[0] > 3
    await assert_equal_to_the_replay(log)


async def test_a_row_that_is_too_large_for_an_index_stops_its_projection_and_no_other(log: str) -> None:
    """Postgres calls that an error of operation; it is none that passes."""
    story = in_review()
    append(log, story.facts)
    unwieldy = random.Random(1).randbytes(10_000).hex()

    def rows_(name: str, view: View, folded: Stream) -> Iterator[Row]:
        for view_, id, _, *others in requests.TABLE.rows(name, view, folded):
            yield view_, id, unwieldy, *others

    async with projecting(log, [replace(requests.TABLE, rows=rows_), organizations.TABLE]):
        await eventually(lambda: has_stopped(log, "requests"))
        await reached(log, len(story.facts) - 1, [organizations.TABLE])
    stopped = await standing_of(log, "requests")
    assert stopped.error is not None and stopped.error.startswith("ProgramLimitExceeded: index row")
    assert (stopped.failed_position, stopped.failed_type) == (stopped.position + 1, "RequestSubmitted")


async def test_an_error_undoes_the_position_as_well(log: str) -> None:
    story = in_review()
    append(log, story.facts)
    broken = failing_at("request-nw", 2, requests.TABLE)
    async with await connected(log) as conn, reading(log) as source:
        await create(conn, broken, "requests_v1", "live")
        await index(conn, broken, "requests_v1")
        work = begin(broken, "requests_v1", source)
        with pytest.raises(ValueError, match="does not know"):
            await write(conn, [work], story.facts)
        assert await rows(conn, "requests_v1", broken) == {"current": [], "past": []}
    assert (await standing_of(log, "requests")).position == -1


async def test_a_projection_that_meets_an_error_stops_at_that_fact_and_the_others_go_on(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    broken = failing_at("request-tk", 4, requests.TABLE)
    failed = next(fact for fact in story.facts if (fact.stream, fact.version) == ("request-tk", 4))
    others = [table for table in PROJECTIONS if table.name != "requests"]
    async with projecting(log, [broken, *others]):
        await reached(log, len(story.facts) - 1, others)
        await asyncio.sleep(0.05)
        append(log, more := second_request(story, id="later").facts[len(story.facts) - 2 :])
        await reached(log, more[-1].position, others)
        with pytest.raises(NotReady, match=f"stopped at position {failed.position}"):
            await reached(log, more[-1].position, [broken])
    stopped = await standing_of(log, "requests")
    assert (stopped.position, stopped.failed_position, stopped.failed_type) == (
        failed.position - 1,
        failed.position,
        failed.type,
    )
    assert stopped.error == "ValueError: this program does not know what to do"


async def test_a_better_program_goes_on_where_the_worse_one_stopped(log: str) -> None:
    story = a_full_story()
    append(log, story.facts)
    broken = failing_at("request-tk", 4, requests.TABLE)
    async with projecting(log, [broken, grants.TABLE]):
        await reached(log, len(story.facts) - 1, [grants.TABLE])
        await eventually(lambda: has_stopped(log, "requests"))
    async with projecting(log):
        await reached(log, len(story.facts) - 1)
    assert (await standing_of(log, "requests")).error is None
    await assert_equal_to_the_replay(log)


async def test_one_process_leads_and_another_takes_its_place(log: str) -> None:
    story = a_full_story()
    async with projecting(log):
        async with projecting(log):
            append(log, story.facts[:40])
            await reached(log, 39)
            with psycopg.connect(log) as conn:
                assert [granted for granted, _ in conn.execute(LEADERS, (LEADER_LOCK,))] == [False, True]
        append(log, story.facts[40:60])
        await reached(log, 59)
    async with projecting(log):
        append(log, story.facts[60:])
        await reached(log, len(story.facts) - 1)
    await assert_equal_to_the_replay(log)


async def test_a_leader_that_lost_its_connection_comes_back(log: str) -> None:
    story = a_full_story()
    async with projecting(log):
        append(log, story.facts[:30])
        await reached(log, 29)
        with psycopg.connect(log, autocommit=True) as conn:
            ((leads, pid),) = conn.execute(LEADERS, (LEADER_LOCK,)).fetchall()
            assert leads
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
        append(log, story.facts[30:])
        await reached(log, len(story.facts) - 1)
    await assert_equal_to_the_replay(log)


async def test_two_that_both_believe_they_lead_do_not_write_twice(log: str) -> None:
    story = approve(in_review(), "nw", "g")
    append(log, story.facts)
    async with await connected(log) as conn, await connected(log) as other, reading(log) as source:
        await create(conn, requests.TABLE, "requests_v1", "live")
        await index(conn, requests.TABLE, "requests_v1")
        first, second = (begin(requests.TABLE, "requests_v1", source) for _ in "12")
        await write(conn, [first], story.facts)
        with pytest.raises(IntegrityError):
            await write(other, [second], story.facts)
    assert (await Projecting(log).verify(requests.TABLE)).difference is None


async def test_facts_that_do_not_follow_are_refused_and_known_ones_passed_over(log: str) -> None:
    story = in_review()
    append(log, story.facts)
    async with await connected(log) as conn, reading(log) as source:
        await create(conn, requests.TABLE, "requests_v1", "live")
        await index(conn, requests.TABLE, "requests_v1")
        work = begin(requests.TABLE, "requests_v1", source)
        await write(conn, [work], story.facts[:5])
        with pytest.raises(Gap):
            await write(conn, [work], story.facts[6:])
        await write(conn, [work], story.facts)
    assert (await standing_of(log, "requests")).position == len(story.facts) - 1


async def test_progress_is_the_librarys_tracking_and_only_goes_on_from_where_it_stands(log: str) -> None:
    assert tracking.progress("requests_v1", 4) == Tracking("requests_v1", 5)
    async with await connected(log) as conn:
        await create(conn, requests.TABLE, "requests_v1", "live")
        await index(conn, requests.TABLE, "requests_v1")
        nothing, some = tracking.progress("requests_v1", -1), tracking.progress("requests_v1", 4)
        await tracking.track(conn, [nothing], [some])
        with pytest.raises(IntegrityError):
            await tracking.track(conn, [nothing], [some])
        live = await tracking.standing(conn, "requests")
        assert live is not None and live.position == 4


async def test_waiting_for_a_position_ends_when_it_is_there_or_the_time_is_over(log: str) -> None:
    async with await connected(log) as conn:
        with pytest.raises(NotReady):
            await tracking.wait_until(conn, "requests", 0, 0.05)
        async with projecting(log):
            waiting = asyncio.create_task(tracking.wait_until(conn, "requests", len(in_review().facts) - 1, 20.0))
            append(log, in_review().facts)
            await waiting
        with pytest.raises(NotReady, match="not reached"):
            await tracking.wait_until(conn, "requests", 10_000, 0.05)
