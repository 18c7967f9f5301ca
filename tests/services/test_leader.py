"""Does one process decide for all of an installation, whatever becomes of it or of them?"""

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from domain.errors import NotAuthorised, StaleVersion
from domain.organization import Appoint, RegisterOrganization
from domain.request import SignOff
from services import leader, wire
from services.assent import Assent, running
from services.clock import ManualClock
from services.handle import Answer, Handler, Order
from services.leader import Leadership, Line, Seat, log_of
from services.log import reader, writer
from services.settings import Settings
from tests.projections.shelf import eventually
from tests.services import test_handle
from tests.services.test_handle import START, in_review, order


@asynccontextmanager
async def process(database: str, folder: Path, may_lead: bool = True, machine: str = "here") -> AsyncIterator[Assent]:
    """A process of an installation, as far as one program can stand for several."""
    settings = Settings(data=folder, database_url=database, port=0, roles=frozenset())
    async with running(settings, ManualClock(START)) as assent, led(assent, folder / machine, may_lead):
        yield assent


@asynccontextmanager
async def led(assent: Assent, folder: Path, may_lead: bool = True, log: str | None = None) -> AsyncIterator[Leadership]:
    leadership = Leadership(assent.handler, folder, log or await log_of(assent.pool), 1024, may_lead)
    task = asyncio.create_task(leadership.run())
    await leadership.settled()
    try:
        yield leadership
    finally:
        task.cancel()
        await asyncio.wait([task])


def line_of(assent: Assent) -> Line:
    """The way to whoever leads."""
    assert assent.handler.elsewhere is not None
    return cast(Line, assent.handler.elsewhere)


async def keys_in(database: str) -> list[bytes]:
    async with await psycopg.AsyncConnection.connect(database) as conn:
        cursor = await conn.execute("SELECT command_key FROM event WHERE command_key IS NOT NULL ORDER BY position")
        return [key for (key,) in await cursor.fetchall()]


def organizations(nth: int) -> RegisterOrganization:
    return RegisterOrganization(f"agency-{nth}", "agency", "An agency", "US", government=True)


async def test_the_first_process_decides_for_the_second(database: str, tmp_path: Path) -> None:
    async with process(database, tmp_path) as first, process(database, tmp_path) as second:
        assert first.handler.elsewhere is None and second.handler.elsewhere is not None
        before = second.handler.writer.end
        answers = await asyncio.gather(*(order(second, "root", organizations(nth), str(nth)) for nth in range(50)))
        assert sorted(answer.position for answer in answers) == list(range(before.size, before.size + 50))
        assert first.handler.writer.end.size == before.size + 50 and second.handler.writer.end == before


async def test_what_was_answered_is_known_where_it_was_ordered(database: str, tmp_path: Path) -> None:
    """Its offices count at once, and checks rest on it, although the log was not read."""
    async with process(database, tmp_path) as first, process(database, tmp_path) as second:
        await test_handle.cast(first)
        await eventually(lambda: _true(second.handler.replica.position == first.handler.replica.position))
        for nth in range(20):
            answer = await order(second, "root", Appoint("oncd", f"officer-{nth}", "reviewer"), str(nth))
            assert second.handler.replica.position >= answer.position
            assert list(second.handler.replica.organizations_of(f"officer-{nth}")) == ["oncd"]


async def test_what_a_rule_refuses_is_refused_by_name_and_dry_runs_write_nothing(database: str, tmp_path: Path) -> None:
    async with process(database, tmp_path) as first, process(database, tmp_path) as second:
        await test_handle.cast(first)
        request = await in_review(second, "northwind", "nina")
        size = first.handler.writer.end.size
        with pytest.raises(NotAuthorised):
            await order(second, "olga", Appoint("oncd", "otto", "reviewer"), "a")
        with pytest.raises(StaleVersion, match="2"):
            await order(second, "olga", SignOff(request, "oncd", "approve"), "b", if_match=7)
        told = await order(second, "olga", SignOff(request, "oncd", "approve"), dry_run=True)
        assert told.dry_run and told.events[0] == ("AgencySignedOff", size)
        assert first.handler.writer.end.size == size


async def test_a_key_gives_the_first_answer_whoever_is_asked(database: str, tmp_path: Path) -> None:
    async with process(database, tmp_path) as first, process(database, tmp_path) as second:
        answer = await order(first, "root", organizations(1), "key")
        assert await order(second, "root", organizations(1), "key") == answer
        again = await asyncio.gather(*(order(each, "root", organizations(2), "two") for each in (first, second) * 10))
        assert again == [again[0]] * 20
    assert len(await keys_in(database)) == 2


async def test_when_whoever_leads_ends_another_takes_over_and_nothing_is_done_twice(
    database: str, tmp_path: Path
) -> None:
    async with process(database, tmp_path) as second:
        async with process(database, tmp_path, may_lead=False) as door:
            assert door.handler.elsewhere is not None
            started: list[asyncio.Task[Answer]] = []

            async def keep_ordering(assent: Assent, tag: str) -> None:
                for nth in range(300):
                    key = f"{tag}-{nth}"
                    started.append(asyncio.create_task(order(assent, "root", organizations_of(key), key)))
                    await asyncio.sleep(0.001)

            ordering = asyncio.create_task(keep_ordering(door, "d"))
            await asyncio.sleep(0.1)
            line_of(door).transport.abort()
            await ordering
            answers = await asyncio.gather(*started)
            assert door.handler.elsewhere is not None, "it found the way again"
        assert second.handler.elsewhere is None
    positions = [answer.position for answer in answers]
    assert len(set(positions)) == len(positions) == 300
    assert len(await keys_in(database)) == 300


def organizations_of(tag: str) -> RegisterOrganization:
    return RegisterOrganization(f"agency-{tag}", "agency", "An agency", "US", government=True)


async def test_the_next_in_line_leads_when_the_first_has_ended(database: str, tmp_path: Path) -> None:
    async with process(database, tmp_path, may_lead=False) as door:
        async with process(database, tmp_path) as first:
            await eventually(lambda: _true(door.handler.elsewhere is not None))
            await order(door, "root", organizations(1), "1")
            assert first.handler.writer.end.size == door.handler.replica.position + 1
        await eventually(lambda: _true(door.handler.elsewhere is None))
        await order(door, "root", organizations(2), "2")
        assert door.handler.writer.end.size == door.handler.replica.position + 1, "it decided itself"
        async with process(database, tmp_path) as second:
            await eventually(lambda: _true(door.handler.elsewhere is not None))
            before = door.handler.writer.end
            await order(door, "root", organizations(3), "3")
            assert door.handler.writer.end == before != second.handler.writer.end
    assert len(await keys_in(database)) == 3


async def test_an_order_whose_answer_is_lost_is_not_decided_twice(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(database, tmp_path), process(database, tmp_path) as second:
        monkeypatch.setattr(leader.Desk, "_tell", lambda desk, ticket, outcome: desk.transport.abort())
        answer = await order(second, "root", organizations(1), "key")
    assert len(await keys_in(database)) == 1
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        [fact] = (await reader.facts_of(conn, ["organization-agency-1"]))["organization-agency-1"]
    assert (answer.position, answer.version) == (fact.position, 1)


async def test_who_leads_and_hangs_is_given_up(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "SILENT_SECONDS_MAX", 0.2)
    monkeypatch.setattr(leader, "WATCH_SECONDS", 0.05)
    async with process(database, tmp_path), process(database, tmp_path) as second:
        monkeypatch.setattr(leader.Desk, "take", lambda desk, frame: None)
        async with asyncio.timeout(5):
            answer = await order(second, "root", organizations(1), "key")
        assert second.handler.writer.end.size == answer.position + 1


Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def stranger(folder: Path, greeting: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Somebody at the socket of whoever leads, who was greeted and says this."""
    seat = Seat(folder)
    found = seat.connected()
    seat.close()
    assert found is not None
    streams = await asyncio.open_unix_connection(sock=found)
    await streams[0].readexactly(int.from_bytes(await streams[0].readexactly(4)))
    streams[1].write(greeting)
    return streams


@pytest.mark.parametrize(
    "words",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", wire.framed([b"\xc1"]), wire.framed([b"\x91\x00"]), b"\0\0\0\0"],
)
async def test_who_sends_what_makes_no_sense_is_cut_off_and_others_are_served(
    words: bytes, database: str, tmp_path: Path
) -> None:
    async with process(database, tmp_path) as first, process(database, tmp_path) as second:
        greeting = wire.alone(wire.Greeting(wire.SCHEMA, await log_of(first.pool)))
        incoming, outgoing = await stranger(tmp_path / "here", greeting + words)
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await incoming.readexactly(1)
        outgoing.close()
        await order(second, "root", organizations(1), "key")
        assert second.handler.elsewhere is not None


async def test_who_leaves_unread_what_it_is_told_is_cut_off(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "UNREAD_BYTES_MAX", 50_000)
    async with process(database, tmp_path) as first, process(database, tmp_path) as second:
        greeting = wire.alone(wire.Greeting(wire.SCHEMA, await log_of(first.pool)))
        _, outgoing = await stranger(tmp_path / "here", greeting)
        asked = wire.framed([wire.order_item(nth, Order(organizations(1), "x" * 1_000)) for nth in range(1_000)])
        async with asyncio.timeout(20):
            with pytest.raises(ConnectionError):
                while True:
                    outgoing.write(asked)
                    await outgoing.drain()
                    await asyncio.sleep(0.01)
        await order(second, "root", organizations(1), "key")


@pytest.mark.parametrize("other", ["log", "version"])
async def test_another_log_or_another_version_decides_for_itself(
    other: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=tmp_path, database_url=database, port=0, roles=frozenset())
    async with process(database, tmp_path), running(settings, ManualClock(START)) as second:
        if other == "version":
            monkeypatch.setattr(wire, "SCHEMA", "another")
        async with led(second, tmp_path / "here", log="another" if other == "log" else None):
            assert second.handler.elsewhere is None
            answer = await order(second, "root", organizations(1), "key")
            assert second.handler.writer.end.size == answer.position + 1


async def test_where_nobody_can_listen_each_decides_for_itself(database: str, tmp_path: Path) -> None:
    (tmp_path / "here" / "leader" / "socket").mkdir(parents=True)
    async with process(database, tmp_path) as one, process(database, tmp_path) as other:
        assert one.handler.elsewhere is None and other.handler.elsewhere is None
        answers = await asyncio.gather(
            order(one, "root", organizations(1), "1"), order(other, "root", organizations(2), "2")
        )
    assert len({answer.position for answer in answers}) == len(await keys_in(database)) == 2


async def test_processes_on_different_machines_never_meet(database: str, tmp_path: Path) -> None:
    async with process(database, tmp_path) as one, process(database, tmp_path, machine="there") as other:
        assert one.handler.elsewhere is None and other.handler.elsewhere is None
        answers = await asyncio.gather(
            *(order(each, "root", organizations_of(f"{nth}-{at}"), f"{nth}-{at}") for nth in range(10)
              for at, each in enumerate((one, other)))
        )  # fmt: skip
    assert len({answer.position for answer in answers}) == len(await keys_in(database)) == 20


async def test_only_this_user_gets_to_the_socket_however_long_its_path(database: str, tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 30) / ("path-" * 30)
    async with process(database, folder), process(database, folder) as second:
        await order(second, "root", organizations(1), "key")
        assert second.handler.elsewhere is not None
        modes = [stat.S_IMODE((folder / "here" / "leader" / name).stat().st_mode) for name in (".", "socket", "lock")]
    assert modes == [0o700, 0o600, 0o600]


async def test_a_writer_far_behind_goes_on_at_the_end_of_the_log(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PAGE_ROWS", 20)
    monkeypatch.setattr(writer, "SKIPPED_MIN", 20)
    folded: list[int] = []
    fold = Handler.fold
    async with process(database, tmp_path) as one, process(database, tmp_path, machine="there") as other:
        for nth in range(60):
            await order(one, "root", organizations(nth), str(nth))

        def counted(handler: Handler, facts: Any) -> None:
            if handler is other.handler:
                folded.append(len(facts))
            fold(handler, facts)

        monkeypatch.setattr(Handler, "fold", counted)
        answer = await order(other, "root", Appoint("agency-59", "olga", "head"), "appoint")
        assert sum(folded) < 60
        assert answer.position == one.handler.writer.end.size
        assert (await order(one, "olga", Appoint("agency-59", "otto", "reviewer"), "a")).position == answer.position + 1
    assert len(await keys_in(database)) == 62


async def _true(it_is: bool) -> bool:
    return it_is
