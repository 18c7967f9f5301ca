"""Is the trail as hard to change, and as easy to verify, as the log it stands beside?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from getpass import getuser
from pathlib import Path

import psycopg
import pytest

from domain import rulebook, trail
from domain.fields import Label, labels
from services.cli import main
from services.clock import RealClock
from services.log.bundle import Bundle
from services.log.export import export
from services.log.folder import LogRefused
from services.log.record import read
from services.log.schema import MAIN, MIGRATIONS, TRAIL
from services.log.signer import sign_once
from services.log.snapshot import Snapshot
from services.log.streams import READINGS, Differs
from services.log.verify import Verified, verify
from services.trail import Trail, TrailUnavailable, check_trail_at_start, signer_folder

ORIGIN = "log.test"
CALLER = trail.Caller(("oncd/reviewer",), "a-request", "127.0.0.1")


def read_of(request: str) -> trail.DocumentRead:
    return trail.DocumentRead(CALLER, "/api/v1/requests/{id}", {}, (f"request-{request}",))


@asynccontextmanager
async def recording(database: str, data: Path, queue_max: int = 1024) -> AsyncIterator[Trail]:
    clock = RealClock()
    async with Trail(database, database, signer_folder(data, ORIGIN), lambda: clock, queue_max) as opened:
        yield opened


async def record_many(database: str, data: Path, *people: str, each: int = 40) -> None:
    async with recording(database, data) as here:
        await asyncio.gather(*(here.record(person, read_of(str(nth))) for nth in range(each) for person in people))


def sign(database: str, data: Path) -> None:
    with psycopg.connect(TRAIL.within(database), autocommit=True) as conn:
        while sign_once(conn, signer_folder(data, ORIGIN)):
            pass


def verified(database: str, data: Path) -> Verified:
    with Snapshot(TRAIL.within(database), signer_folder(data, ORIGIN)) as snapshot:
        return verify(snapshot, book=READINGS)


def test_the_log_s_own_tables_are_made_as_ever_and_the_trail_s_are_the_same_in_another_schema() -> None:
    (first, _, _, second) = (step for step in MIGRATIONS if step.number in (1, 2, 10, 30))
    assert first.digest == "93494c0f0eb23a7114a65b8a8a10b77d9cf399bc0fef786850bfc99948b250ee"
    assert "pg_catalog, trail, pg_temp" in second.sql and "public" not in second.sql
    assert len({MAIN.append_lock, MAIN.signer_lock, TRAIL.append_lock, TRAIL.signer_lock}) == 4


def test_only_auditors_may_know_of_a_record_and_no_name_is_an_event_of_the_rule_book() -> None:
    assert {label for event in trail.EVENTS.values() for label in labels(event).values()} == {Label.AUDITOR}
    assert not set(trail.EVENTS) & set(rulebook.EVENTS)


async def test_many_records_go_into_few_appends_and_are_verified(database: str, tmp_path: Path) -> None:
    await record_many(database, tmp_path, "olga", "Nina.B@northwind", "key.1")
    await record_many(database, tmp_path, "olga")
    sign(database, tmp_path)
    found = verified(database, tmp_path)
    assert (found.size, found.signed_size, found.streams) == (160, 160, {"trail": 3})
    assert found.heads < 60
    with psycopg.connect(TRAIL.within(database)) as conn:
        versions = conn.execute("SELECT version FROM event WHERE stream = 'trail-olga' ORDER BY position").fetchall()
    assert versions == [(nth,) for nth in range(1, 81)]
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM event").fetchall() == [(0,)]


async def test_processes_share_the_trail_without_gaps(database: str, tmp_path: Path) -> None:
    async with recording(database, tmp_path) as one, recording(database, tmp_path) as other:
        for nth in range(10):
            await asyncio.gather(*(each.record("olga", read_of(str(nth))) for each in (one, other) for _ in range(3)))
    sign(database, tmp_path)
    assert verified(database, tmp_path).size == 60


async def test_an_export_of_the_trail_is_verified_offline(database: str, tmp_path: Path) -> None:
    await record_many(database, tmp_path, "olga")
    sign(database, tmp_path)
    with Snapshot(TRAIL.within(database), signer_folder(tmp_path, ORIGIN)) as snapshot:
        export(snapshot, tmp_path / "trail.zip")
    with Bundle(tmp_path / "trail.zip") as bundle:
        assert verify(bundle, book=READINGS).size == 40
    with Bundle(tmp_path / "trail.zip") as bundle, pytest.raises(Differs, match="no kind of stream"):
        verify(bundle)


async def test_an_export_at_a_terminal_is_recorded_before_it_is_written(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_many(database, tmp_path, "olga")
    sign(database, tmp_path)
    monkeypatch.setenv("ASSENT_DATA", str(tmp_path))
    monkeypatch.setenv("ASSENT_ORIGIN", ORIGIN)
    monkeypatch.setenv("DATABASE_URL", _url(database))
    export_it = ["log", "export", "--trail", "--to", str(tmp_path / "trail.zip")]
    assert await asyncio.to_thread(main, export_it) == 0
    with psycopg.connect(TRAIL.within(database), autocommit=True) as conn:
        ((record,),) = conn.execute("SELECT record FROM event WHERE type = 'ExportRun'").fetchall()
        event = read(record).event
        assert (event.operator, event.origin, event.size) == (getuser(), f"{ORIGIN}/trail", 40)
        conn.execute("ALTER FUNCTION append RENAME TO gone")
    (tmp_path / "trail.zip").unlink()
    assert await asyncio.to_thread(main, export_it) == 2
    assert not (tmp_path / "trail.zip").exists(), "what cannot be recorded does not leave"


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE event SET record = replace(convert_from(record, 'UTF8'), 'request-7', 'request-8')::bytea"
        " WHERE position = 7",
        "DELETE FROM event WHERE position = 7",
        "UPDATE event SET stream = 'trail-nina', version = 1 WHERE position = 7",
    ],
)
async def test_what_a_superuser_changes_is_found(database: str, tmp_path: Path, edit: str) -> None:
    await record_many(database, tmp_path, "olga")
    sign(database, tmp_path)
    with psycopg.connect(TRAIL.within(database)) as conn:
        conn.execute("SET session_replication_role = replica")
        assert conn.execute(edit.encode()).rowcount == 1
    with pytest.raises(Differs) as found:
        verified(database, tmp_path)
    assert found.value.position == 7


async def test_nobody_changes_a_record_by_a_statement(database: str, tmp_path: Path) -> None:
    await record_many(database, tmp_path, "olga", each=1)
    with psycopg.connect(TRAIL.within(database), autocommit=True) as conn:
        for statement in (
            b"DELETE FROM event",
            b"UPDATE event SET version = 2",
            b"TRUNCATE event",
            b"DELETE FROM tree_head",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                conn.execute(statement)


async def test_what_cannot_be_recorded_is_said_to_be_unavailable(database: str, tmp_path: Path) -> None:
    told: list[TrailUnavailable | None] = []
    async with recording(database, tmp_path, queue_max=2) as here:
        for nth in range(4):
            here.put("olga", read_of(str(nth)), told.append)
        assert [type(each) for each in told] == [TrailUnavailable] * 2, "no room for these"
        await asyncio.sleep(0)
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("ALTER FUNCTION trail.append RENAME TO gone")
            with pytest.raises(TrailUnavailable):
                await here.record("olga", read_of("5"))
            conn.execute("ALTER FUNCTION trail.gone RENAME TO append")
        await here.record("olga", read_of("6"))


async def test_a_trail_that_is_older_than_what_was_signed_waits_for_an_operator(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await record_many(database, tmp_path, "olga", each=3)
    sign(database, tmp_path)
    with psycopg.connect(TRAIL.within(database)) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("DELETE FROM event")
        conn.execute("DELETE FROM tree_head")
        conn.execute("DELETE FROM checkpoint")
    with pytest.raises(LogRefused, match="The trail of reads"):
        check_trail_at_start(database, signer_folder(tmp_path, ORIGIN))
    monkeypatch.setenv("ASSENT_DATA", str(tmp_path))
    monkeypatch.setenv("ASSENT_ORIGIN", ORIGIN)
    monkeypatch.setenv("DATABASE_URL", _url(database))

    def at_the_terminal(*more: str) -> int:
        return main(["log", "override", "--trail", *more])

    assert await asyncio.to_thread(at_the_terminal) == 1
    name = capsys.readouterr().out.split("--accept ")[1].split()[0]
    assert await asyncio.to_thread(at_the_terminal, "--accept", name, "--reason", "The disk was lost.") == 0
    await record_many(database, tmp_path, "olga", each=2)
    sign(database, tmp_path)
    found = verified(database, tmp_path)
    assert found.streams == {"log": 1, "trail": 1} and "The disk was lost." in found.rollbacks[0]
    check_trail_at_start(database, signer_folder(tmp_path, ORIGIN))


def _url(database: str) -> str:
    given = psycopg.conninfo.conninfo_to_dict(database)
    more = "&".join(f"{name}={value}" for name, value in given.items() if name != "dbname")
    return f"postgresql:///{given['dbname']}?{more}"
