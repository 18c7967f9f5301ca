"""Is the log signed on without a gap or a contradiction, whenever a signer is killed, and however many there are?"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from domain.log import LogKeyRotated
from services.log import note
from services.log.folder import SignerFolder
from services.log.note import Checkpoint
from services.log.signer import Signer, check, sign_once
from tests.services.log.dying_signer import MOMENTS, UNSIGNED
from tests.services.log.grown import ORIGIN, as_superuser, grow, published, tell

ROOT = Path(__file__).parents[3]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def signing(moment: str, database: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A signer in a process of its own."""
    command = [sys.executable, "-m", "tests.services.log.dying_signer", moment, database, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def notes(conn: Connection[Any]) -> dict[int, str]:
    return dict(conn.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall())


def every_checkpoint_is_of_the_log(conn: Connection[Any]) -> bool:
    roots = dict(conn.execute("SELECT size, root FROM tree_head").fetchall())
    heads = [Checkpoint.parse(note.parse(text).text) for text in notes(conn).values()]
    return all(Checkpoint(ORIGIN, head.size, bytes(roots[head.size])) == head for head in heads)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signer_killed_at_any_moment_has_signed_all_or_nothing_and_another_goes_on(
    database: str, conn: Connection[Any], folder: SignerFolder, tmp_path: Path, moment: str
) -> None:
    """A rotation and two complete tiles are in what it was about."""
    grow(conn, 2)
    sign_once(conn, folder)
    old, new = folder.verifier(), folder.next()
    tell(conn, LogKeyRotated(str(new), str(old), "It is time"))
    grow(conn, 597)
    with signing(moment, database, tmp_path / "signer") as dying:
        assert dying.wait(30) == -signal.SIGKILL
    kept = folder.signed()
    assert kept is not None
    assert (kept.size, kept.key) == ((2, str(old)) if moment in UNSIGNED else (600, str(new)))
    assert published(conn) == ([2, 600] if moment == "after publishing" else [2])
    running = Signer(database, folder)
    running.start()
    try:
        wait_until(lambda: published(conn) == [2, 600])
        grow(conn, 300)
        wait_until(lambda: published(conn) == [2, 600, 900])
    finally:
        running.stop()
    assert running.failure is None
    found = notes(conn)
    assert note.parse(found[600]).verified_by(old, new)
    assert note.parse(found[900]).verified_by(new) and not note.parse(found[900]).verified_by(old)
    assert moment in UNSIGNED or found[600] == kept.note
    assert every_checkpoint_is_of_the_log(conn)
    assert conn.execute("SELECT array_agg(index ORDER BY index) FROM tile WHERE level = 0").fetchone() == ([0, 1, 2],)
    check(conn, folder)


def test_of_two_processes_one_signs_and_the_other_goes_on_when_it_is_killed(
    database: str, conn: Connection[Any], tmp_path: Path
) -> None:
    with signing("never", database, tmp_path / "signer") as first:
        grow(conn, 1)
        wait_until(lambda: published(conn) == [1])
        with signing("never", database, tmp_path / "signer") as second:
            grow(conn, 1)
            wait_until(lambda: published(conn) == [1, 2])
            first.kill()
            grow(conn, 1)
            wait_until(lambda: published(conn) == [1, 2, 3])
            assert second.poll() is None
    assert every_checkpoint_is_of_the_log(conn)


def test_a_signer_with_a_folder_of_its_own_never_takes_the_log_over(
    database: str, conn: Connection[Any], tmp_path: Path
) -> None:
    ours = SignerFolder(tmp_path / "signer", ORIGIN)
    with signing("never", database, tmp_path / "signer") as first:
        grow(conn, 1)
        wait_until(lambda: published(conn) == [1])
        with signing("never", database, tmp_path / "other") as second:
            for size in (2, 3, 4):
                grow(conn, 1)
                wait_until(lambda size=size: published(conn)[-1:] == [size])  # type: ignore[misc]
            assert second.poll() is None, "it waits for its turn"
            first.kill()
            assert second.wait(30) == 3
            assert second.stdout is not None
            assert "another key" in second.stdout.read()
    assert published(conn) == [1, 2, 3, 4]
    assert all(note.parse(text).verified_by(ours.verifier()) for text in notes(conn).values())


def test_of_two_folders_that_start_at_once_one_becomes_the_logs_and_the_other_refuses_it(
    database: str, conn: Connection[Any], tmp_path: Path
) -> None:
    grow(conn, 3)
    with (
        signing("never", database, tmp_path / "one") as one,
        signing("never", database, tmp_path / "other") as other,
    ):
        wait_until(lambda: published(conn) == [3])
        grow(conn, 1)
        wait_until(lambda: published(conn) == [3, 4])
        keys = {name: SignerFolder(tmp_path / name, ORIGIN).verifier() for name in ("one", "other")}
        (leads,) = [name for name, key in keys.items() if note.parse(notes(conn)[3]).verified_by(key)]
        {"one": one, "other": other}[leads].kill()
        refusing = {"one": other, "other": one}[leads]
        assert refusing.wait(30) == 3
    assert all(note.parse(text).verified_by(keys[leads]) for text in notes(conn).values())


def test_a_database_put_back_under_a_running_signer_is_not_signed(
    database: str, conn: Connection[Any], tmp_path: Path
) -> None:
    """The signer still has its connection; the log under it is another one now."""
    with signing("never", database, tmp_path / "signer") as running:
        for size in (3, 6):
            grow(conn, 3)
            wait_until(lambda size=size: published(conn)[-1:] == [size])  # type: ignore[misc]
        with conn.transaction():
            for table, end in (("checkpoint", "size"), ("tree_head", "size"), ("event", "position + 1")):
                as_superuser(conn, f"DELETE FROM {table} WHERE {end} > 3")  # noqa: S608
            grow(conn, 7, "other")
        assert running.wait(30) == 3
        assert running.stdout is not None
        assert "do not hash to the head" in running.stdout.read()
    assert published(conn) == [3]
