"""Is a service refused that comes up on an old backup, and can an operator have it go on, for all to see?"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.log import LogKeyRotated, RollbackAccepted
from domain.organization import RegisterOrganization
from services.assent import running
from services.cli import main
from services.handle import Order
from services.log import note
from services.log.folder import LogRefused, SignerFolder
from services.log.note import Checkpoint, KeyChain
from services.log.record import read
from services.settings import Settings
from tests.services.log.grown import tell

BACKUP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


@contextmanager
def template_of(database: str) -> Iterator[str]:
    """A backup of the database, as another one beside it."""
    name = conninfo_to_dict(database)["dbname"]
    server = make_conninfo(database, dbname="postgres")
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE backup_{name} TEMPLATE {name} STRATEGY file_copy")
        try:
            yield f"backup_{name}"
        finally:
            conn.execute(f"DROP DATABASE IF EXISTS backup_{name} WITH (FORCE)")


def restore(database: str, backup: str) -> None:
    name = conninfo_to_dict(database)["dbname"]
    with psycopg.connect(make_conninfo(database, dbname="postgres"), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {backup} STRATEGY file_copy")


async def served(settings: Settings, *organizations: str) -> None:
    """A service that takes these in, and ends once all is signed."""
    async with running(settings) as assent:
        for id in organizations:
            await assent.handler.handle(
                Order(RegisterOrganization(id, "agency", id, "US"), "root", key=id.encode() * 16)
            )
        for _ in range(400):
            signed = SignerFolder(settings.data / "signer", settings.origin).signed()
            if signed is not None and signed.size == assent.handler.writer.end.size and signed.accepted is None:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it was not signed in time")


def records(database: str) -> list[Any]:
    with psycopg.connect(database) as conn:
        return [read(bytes(r)) for (r,) in conn.execute("SELECT record FROM event ORDER BY position")]


@pytest.fixture
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = Settings(data=tmp_path / "assent", database_url=_url(database), port=0, roles=frozenset({"sign"}))
    monkeypatch.setenv("ASSENT_DATA", str(found.data))
    monkeypatch.setenv("DATABASE_URL", found.database_url)
    return found


def _url(database: str) -> str:
    given = conninfo_to_dict(database)
    return f"postgresql:///{given['dbname']}?" + "&".join(
        f"{name}={value}" for name, value in given.items() if name != "dbname"
    )


def override(capsys: pytest.CaptureFixture[str], *given: str) -> None:
    """An operator looks, and then names what was seen."""
    assert main(["log", "override"]) == 1
    name = capsys.readouterr().out.split("--accept ")[1].split()[0]
    assert main(["log", "override", "--accept", name]) == 2, "without a reason"
    assert main(["log", "override", "--accept", name, *given]) == 0


def test_a_restored_backup_is_refused_until_an_operator_accepts_it_and_the_log_tells_of_it(
    database: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SignerFolder(settings.data / "signer", settings.origin)
    asyncio.run(served(settings, "oncd"))
    with template_of(database) as backup:
        asyncio.run(served(settings, "ostp", "commerce"))
        given_up = folder.signed()
        assert given_up is not None
        restore(database, backup)
    found_size = len(records(database))
    with pytest.raises(LogRefused, match="assent log override"):
        asyncio.run(served(settings))
    override(capsys, "--reason", "The disk was lost", "--operator", "rosa")
    asyncio.run(served(settings, "bis"))
    asyncio.run(served(settings))
    told = records(database)[found_size]
    assert told.event == RollbackAccepted(
        given_up.size, told.event.signed_root, given_up.note, found_size, told.event.found_root, found_size,
        str(folder.verifier()), "rosa", "The disk was lost",
    )  # fmt: skip
    assert (told.position, told.by.person, told.stream) == (found_size, "system", "log-assent")
    assert [type(fact.event).__name__ for fact in records(database)[found_size + 1 :]] == ["OrganizationRegistered"]
    every_checkpoint_is_signed_as_the_records_say(database, folder)
    assert main(["log", "verify"]) == 0
    assert "rosa" in capsys.readouterr().out


def every_checkpoint_is_signed_as_the_records_say(database: str, folder: SignerFolder) -> None:
    facts = records(database)
    (first,) = [each.event.key for each in facts if isinstance(each.event, LogKeyRotated)]
    chain = KeyChain(note.Verifier.parse(first))
    for fact in facts:
        if isinstance(fact.event, RollbackAccepted):
            chain.rolled_back(fact.position, fact.event.key)
    with psycopg.connect(database) as conn:
        covered = 0
        for size, text, root in conn.execute("SELECT size, note, root FROM checkpoint JOIN tree_head USING (size)"):
            signed = note.parse(text)
            assert signed.verified_by(*chain.signers(size, covered))
            assert Checkpoint.parse(signed.text) == Checkpoint(folder.origin, size, bytes(root))
            covered = size


def test_after_the_loss_of_everything_but_the_folder_the_service_begins_anew_with_that_record(
    database: str, empty_database: str, settings: Settings, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asyncio.run(served(settings, "oncd"))
    monkeypatch.setenv("DATABASE_URL", _url(empty_database))
    override(capsys, "--reason", "All was lost")
    anew = Settings(data=settings.data, database_url=_url(empty_database), port=0, roles=frozenset({"sign"}))
    asyncio.run(served(anew, "oncd"))
    told = records(empty_database)
    assert isinstance(told[0].event, RollbackAccepted)
    assert told[1].type == "OrganizationRegistered"
    assert [fact.type for fact in told].count("LogKeyRotated") == 0, "the first record names the key"
    assert main(["log", "verify"]) == 0


def test_a_service_that_finds_something_else_appended_first_does_not_start(
    database: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(served(settings, "oncd"))
    with template_of(database) as backup:
        asyncio.run(served(settings, "ostp"))
        restore(database, backup)
    override(capsys, "--reason", "The disk was lost")
    with psycopg.connect(database, autocommit=True) as conn:
        tell(conn, LogKeyRotated("key", None, "Nobody asked for it"))
    with pytest.raises(LogRefused, match="something else was appended"):
        asyncio.run(_start(settings))


async def _start(settings: Settings) -> None:
    async with running(settings):
        pass


def test_two_services_that_start_at_once_after_an_override_record_it_once(
    database: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(served(settings, "oncd"))
    with template_of(database) as backup:
        asyncio.run(served(settings, "ostp"))
        restore(database, backup)
    override(capsys, "--reason", "The disk was lost")

    async def both() -> None:
        await asyncio.gather(_start(settings), _start(settings), return_exceptions=False)

    asyncio.run(both())
    assert [fact.type for fact in records(database)].count("RollbackAccepted") == 1
