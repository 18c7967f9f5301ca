"""Does the embedded Postgres survive what happens to it, and is a Postgres that will not do refused clearly?

These tests start durable servers of their own, kill them, and run both as root and as an ordinary user: as root, the
second kind runs as `nobody`, with one power left, to read (our interpreter may lie in a folder that only root enters).
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.postgres import EmbeddedPostgres, GivenPostgres, PostgresUnavailable, open_database
from services.settings import Settings

ROOT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0

HOLDER = """
import sys
from pathlib import Path
from services.postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as conninfo:
    print(conninfo, flush=True)
    sys.stdin.read()
"""
"""A process that uses the server until its input ends."""


def query(conninfo: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def as_user() -> tuple[str, ...]:
    """What to put before a command to run it as an ordinary user."""
    if not AS_ROOT:
        return ()
    caps = "-all,+dac_read_search"
    nobody = pwd.getpwnam("nobody")
    user = (f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    powers = (f"--bounding-set={caps}", f"--inh-caps={caps}", f"--ambient-caps={caps}")
    return ("setpriv", "--securebits=+no_setuid_fixup", *user, *powers)


@contextmanager
def holder(
    data: Path, before: tuple[str, ...] = (), environment: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Another process that uses the server of that folder: its conninfo and the process."""
    process = subprocess.Popen(
        [*before, sys.executable, "-P", "-c", HOLDER, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
    )
    try:
        assert process.stdout is not None
        conninfo = process.stdout.readline().strip()
        if not conninfo:
            pytest.fail(process.communicate()[1])
        yield conninfo, process
    finally:
        if process.poll() is None:
            _, said = process.communicate(timeout=60)
            assert process.returncode == 0, said


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder, which no server uses any more when the test has ended."""
    folder = tmp_path / "data"
    yield folder
    server = EmbeddedPostgres(folder)
    if (folder / "postgres" / "cluster").exists():
        server.start()
    server.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which an ordinary user may do as they like, with a short path that everybody may pass through."""
    folder = Path(subprocess.check_output([*as_user(), "mktemp", "-d"], text=True).strip())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_first_start_makes_a_durable_utf8_database(data: Path) -> None:
    with EmbeddedPostgres(data) as conninfo:
        names = ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "TimeZone", "server_encoding")
        shown = [query(conninfo, f"SHOW {name}")[0][0] for name in names]
        assert shown == ["on", "on", "on", "", "UTC", "UTF8"]
        assert query(conninfo, "SELECT datcollate FROM pg_database WHERE datname = 'assent'") == [("C.UTF-8",)]
        assert conninfo_to_dict(conninfo)["dbname"] == "assent"


def test_what_was_written_is_there_after_a_restart(data: Path) -> None:
    with EmbeddedPostgres(data) as conninfo:
        query(conninfo, "CREATE TABLE kept AS SELECT 'ø' AS word")
    with EmbeddedPostgres(data) as conninfo:
        assert query(conninfo, "SELECT word FROM kept") == [("ø",)]


def test_nobody_else_gets_in(data: Path) -> None:
    with EmbeddedPostgres(data) as conninfo:
        home = data / "postgres"
        socket = Path(str(conninfo_to_dict(conninfo)["host"]))
        assert [folder.stat().st_mode & 0o777 for folder in (home, home / "cluster", socket)] == [0o700] * 3
        assert (home / "password").stat().st_mode & 0o777 == 0o600
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(conninfo, password="guess"))
        assert "trust" not in (home / "cluster" / "pg_hba.conf").read_text().split("# TYPE")[1]


def test_nothing_outside_the_data_folder_is_touched(data: Path) -> None:
    outside = {each: each.stat().st_mode for each in data.parents}
    with EmbeddedPostgres(data):
        assert {each: each.stat().st_mode for each in data.parents} == outside
    assert list(data.parent.iterdir()) == [data]


def test_stopping_ends_the_server_within_two_seconds(data: Path) -> None:
    with EmbeddedPostgres(data) as conninfo:
        query(conninfo, "CREATE TABLE some_rows AS SELECT generate_series(1, 300000) AS n")
        pid, begin = postmaster(data), time.monotonic()
    assert not runs(pid)
    assert time.monotonic() - begin < 2


def test_starting_again_while_it_runs_changes_nothing(data: Path) -> None:
    server = EmbeddedPostgres(data)
    first = server.start()
    pid = postmaster(data)
    assert server.start() == first
    assert postmaster(data) == pid
    server.stop()
    server.stop()
    assert not runs(pid)


def test_a_postmaster_killed_by_sigkill_is_started_again_with_all_that_was_committed(data: Path) -> None:
    with holder(data) as (conninfo, process):
        query(conninfo, "CREATE TABLE kept (n int)")
        # The holder does not wait for its child, so the dead postmaster stays a zombie with the pid of the pid file.
        with psycopg.connect(conninfo, autocommit=True) as busy:
            busy.execute("INSERT INTO kept VALUES (1)")
            killed = postmaster(data)
            os.kill(killed, signal.SIGKILL)
            assert Path(f"/proc/{killed}/stat").exists()
            with EmbeddedPostgres(data) as again:
                assert query(again, "SELECT n FROM kept") == [(1,)]
                assert postmaster(data) != killed
        assert process.poll() is None


def test_the_service_that_uses_a_killed_server_starts_it_again(data: Path) -> None:
    server = EmbeddedPostgres(data)
    query(server.start(), "CREATE TABLE kept AS SELECT 1 AS n")
    os.kill(postmaster(data), signal.SIGKILL)
    assert query(server.start(), "SELECT n FROM kept") == [(1,)]
    server.stop()
    assert not runs(postmaster_or_none(data))


def postmaster_or_none(data: Path) -> int:
    """The pid in the pid file, or one that no process has."""
    try:
        return postmaster(data)
    except FileNotFoundError:
        return 2**22 + 1


def test_a_server_whose_user_was_killed_is_joined_and_then_stopped(data: Path) -> None:
    with holder(data) as (conninfo, process):
        query(conninfo, "CREATE TABLE kept AS SELECT 1 AS n")
        pid = postmaster(data)
        process.kill()
        process.wait()
    assert runs(pid)
    with EmbeddedPostgres(data) as again:
        assert postmaster(data) == pid
        assert query(again, "SELECT n FROM kept") == [(1,)]
    assert not runs(pid)


def test_when_everything_was_killed_the_next_start_recovers(data: Path) -> None:
    with holder(data) as (conninfo, process):
        query(conninfo, "CREATE TABLE kept AS SELECT generate_series(1, 10000) AS n")
        os.kill(postmaster(data), signal.SIGKILL)
        process.kill()
        process.wait()
    with EmbeddedPostgres(data) as again:
        assert query(again, "SELECT count(*) FROM kept") == [(10_000,)]


def test_a_pid_file_that_names_a_living_stranger_does_not_stop_a_start(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    stranger = os.getpid()
    (data / "postgres" / "cluster" / "postmaster.pid").write_text(f"{stranger}\n{data}\n1\n5432\n\n\n\nready\n")
    with EmbeddedPostgres(data) as conninfo:
        assert postmaster(data) != stranger
        assert query(conninfo, "SELECT 1") == [(1,)]


def test_two_services_on_one_folder_share_the_server_and_the_last_one_stops_it(data: Path) -> None:
    with holder(data) as (first, one):
        pid = postmaster(data)
        with holder(data) as (second, _):
            assert second == first
            assert postmaster(data) == pid
            one.communicate(timeout=60)
            assert runs(pid)
            assert query(second, "SELECT 1") == [(1,)]
        assert not runs(pid)


def test_two_services_that_start_at_once_on_one_folder_start_one_server(data: Path) -> None:
    command = [sys.executable, "-P", "-c", HOLDER, str(data)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    conninfos = {process.stdout.readline() for process in started if process.stdout}
    assert len(conninfos) == 1
    pid = postmaster(data)
    assert [process.communicate(timeout=60) and process.returncode for process in started] == [0, 0, 0]
    assert not runs(pid)
    assert (data / "postgres" / "server.log").read_text().count("ready to accept connections") == 1


def test_two_services_on_two_folders_have_two_servers(data: Path, tmp_path: Path) -> None:
    with EmbeddedPostgres(data) as one, EmbeddedPostgres(tmp_path / "other") as other:
        query(one, "CREATE TABLE only_here ()")
        assert query(other, "SELECT to_regclass('only_here')") == [(None,)]
        assert postmaster(data) != postmaster(tmp_path / "other")


@pytest.mark.parametrize("user", [pytest.param(True, id="as a user"), pytest.param(False, id="as root")])
def test_it_starts_stops_and_starts_again(open_folder: Path, user: bool) -> None:
    if not user and not AS_ROOT:
        pytest.skip("not root")
    before = as_user() if user else ()
    for _ in range(2):
        with holder(open_folder / "data", before) as (conninfo, _):
            pid = postmaster(open_folder / "data")
            assert Path(f"/proc/{pid}").stat().st_uid != 0
            assert query(conninfo, "SELECT 1") == [(1,)]
        assert not runs(pid)


@pytest.mark.skipif(not AS_ROOT, reason="not root")
def test_root_may_go_on_with_what_a_user_began(open_folder: Path) -> None:
    with holder(open_folder / "data", as_user()) as (conninfo, _):
        query(conninfo, "CREATE TABLE kept AS SELECT 1 AS n")
    with EmbeddedPostgres(open_folder / "data") as conninfo:
        assert query(conninfo, "SELECT n FROM kept") == [(1,)]
    with holder(open_folder / "data", as_user()) as (conninfo, _):
        assert query(conninfo, "SELECT n FROM kept") == [(1,)]


@pytest.mark.skipif(not AS_ROOT, reason="not root")
def test_a_user_is_told_when_the_folder_is_roots(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "data"):
        pass
    started = subprocess.run(
        [*as_user(), sys.executable, "-P", "-c", HOLDER, str(open_folder / "data")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        check=False,
    )
    said = started.stderr.splitlines()[-1]
    assert "PostgresUnavailable: The embedded Postgres under" in said
    assert "ermission" in said or "permitted" in said


@pytest.mark.skipif(not AS_ROOT, reason="not root")
def test_the_servers_user_gets_to_read_elsewhere_only_where_it_must(open_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    powers = []
    for data in (open_folder / "data", tmp_path / "private" / "data"):
        with EmbeddedPostgres(data):
            status = Path(f"/proc/{postmaster(data)}/status").read_text()
            powers.append(int(status.partition("CapEff:")[2].split()[0], 16))
    binaries_are_open = all(each.stat().st_mode & 1 for each in Path(sys.prefix).resolve().parents)
    assert powers == [0 if binaries_are_open else 1 << 2, 1 << 2]


@pytest.mark.parametrize("language", ["xx_XX.UTF-8", "tr_TR.ISO-8859-9", ""])
def test_a_broken_locale_does_no_harm(data: Path, language: str) -> None:
    broken = {"LANG": language, "LC_ALL": language, "LC_COLLATE": "nonsense", "PGDATA": "/nowhere"}
    with holder(data, environment=broken) as (conninfo, _):
        assert query(conninfo, "SHOW lc_messages") == [("C.UTF-8",)]


@pytest.mark.parametrize(
    "name", ["a" * 120, 'with space, comma\'s and "quotes"', "ünïcode/" * 12], ids=lambda name: name[:6]
)
def test_a_long_or_odd_path_does_no_harm(tmp_path: Path, name: str) -> None:
    data = tmp_path / name / "data"
    with EmbeddedPostgres(data) as conninfo:
        query(conninfo, "CREATE TABLE kept AS SELECT 1 AS n")
        socket = Path(str(conninfo_to_dict(conninfo)["host"]))
        assert socket.stat().st_mode & 0o777 == 0o700
        assert not socket.is_relative_to(data)
    assert not socket.exists()
    with holder(data) as (conninfo, process):
        lost = Path(str(conninfo_to_dict(conninfo)["host"]))
        os.kill(postmaster(data), signal.SIGKILL)
        process.kill()
        process.wait()
    shutil.rmtree(lost)
    with EmbeddedPostgres(data) as conninfo:
        assert query(conninfo, "SELECT n FROM kept") == [(1,)]


def test_an_initialisation_cut_short_is_begun_again(data: Path) -> None:
    unfinished = data / "postgres" / "cluster.unfinished"
    unfinished.mkdir(parents=True, mode=0o700)
    (unfinished / "PG_VERSION").write_text("18\n")
    (data / "postgres" / "password").write_text("old")
    with EmbeddedPostgres(data) as conninfo:
        assert query(conninfo, "SELECT 1") == [(1,)]
    assert not unfinished.exists()


def test_a_server_that_cannot_start_says_why(data: Path) -> None:
    with pytest.raises(PostgresUnavailable, match="did not start") as refused:
        EmbeddedPostgres(data, {"shared_buffers": "lots"}).start()
    assert 'invalid value for parameter "shared_buffers"' in str(refused.value)


def test_a_cluster_of_another_postgres_is_refused(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    version = data / "postgres" / "cluster" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(PostgresUnavailable, match="made by Postgres 17, and this version of Assent brings 18"):
        EmbeddedPostgres(data).start()
    version.write_text("18\n")


def test_a_lost_password_is_told_at_once(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    password = data / "postgres" / "password"
    kept = password.read_text()
    password.write_text("another")
    with pytest.raises(PostgresUnavailable, match="is not the password of this cluster"):
        EmbeddedPostgres(data).start()
    password.write_text(kept)


def test_a_given_postgres_is_used_as_it_is(empty_database: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "unused", database_url=empty_database)
    with open_database(settings) as conninfo:
        assert conninfo == empty_database
    assert query(empty_database, "SELECT 1") == [(1,)]
    assert not (tmp_path / "unused").exists()


def test_without_a_given_one_the_embedded_postgres_is_used(data: Path) -> None:
    with open_database(Settings(data=data)) as conninfo:
        assert query(conninfo, "SELECT current_database()") == [("assent",)]


def test_a_given_postgres_that_is_too_old_is_refused(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.postgres.VERSION_MIN", 99)
    with pytest.raises(PostgresUnavailable, match="needs Postgres 99 or newer; the one of DATABASE_URL is 18"):
        GivenPostgres(empty_database).start()


def test_a_given_database_of_another_encoding_is_refused(postgres: str) -> None:
    query(postgres, "CREATE DATABASE test_latin ENCODING latin1 LOCALE 'C' TEMPLATE template0")
    with pytest.raises(PostgresUnavailable, match="encoding UTF8"):
        GivenPostgres(make_conninfo(postgres, dbname="test_latin")).start()
    query(postgres, "DROP DATABASE test_latin")


def test_a_given_postgres_out_of_reach_is_told_without_its_password() -> None:
    with pytest.raises(PostgresUnavailable, match="cannot be used") as refused:
        GivenPostgres("postgresql://assent:hunter2@127.0.0.1:1/assent").start()
    assert "hunter2" not in str(refused.value)
