"""How fast are the others at making an event durable, each used as its own documentation says?

`at_hand` gives those that could be had: each takes a number of clients, seconds and the round's number, and yields a
Sample of appends whose event is as long as Assent's record. docs/benchmarks.md says what each of them is.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.postgres import BINARIES, WHEEL
from tests.benchmarks.report import Unmeasured, progress
from tests.benchmarks.samples import Sample, sample_of

PEERS = ("eventsourcing", "pgbench", "umadb", "emmett")

UMADB = "umadb==0.7.8"
EMMETT = "@event-driven-io/emmett-postgresql@0.42.0"
"""Installed while the benchmark runs, into its temporary folder: neither is a dependency of Assent."""

INSTALL_SECONDS_MAX = 180
START_SECONDS_MAX = 10

DATABASE = "peers"

TABLE = """
CREATE TABLE bare (
    position bigserial PRIMARY KEY,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    record bytea NOT NULL,
    leaf bytea NOT NULL,
    UNIQUE (stream, version)
)"""

INSERT = """
\\set version :version + 1
INSERT INTO bare (stream, version, type, record, leaf)
VALUES ('request-' || :client_id, :version, 'AgencySignedOff', :record, :leaf);
"""

CLIENTS_MAX = 64
"""More would not fit beside the service into the connections of the embedded server."""

VERSIONS_A_ROUND = 100_000_000

LOGGED = 0.2
"""The part of pgbench's transactions whose time is written down: enough for percentiles, and no load of its own."""

Appends = Callable[[int, int, int], Sample]
"""By clients, seconds, and the number of the round."""

_RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


@contextmanager
def at_hand(
    server: str, folder: Path, record: bytes, wanted: Collection[str], missing: list[str]
) -> Iterator[dict[str, Appends]]:
    """Those of `wanted` that can be had, on the service's Postgres server or with files in `folder`; the others are
    added to `missing`, with the reason.
    """
    database = make_database(server)
    ways: dict[str, Callable[[ExitStack], Appends]] = {
        "eventsourcing": lambda _: partial(library_appends, database, len(record)),
        "pgbench": lambda _: partial(bare_inserts, database, folder, record),
        "umadb": lambda running: partial(umadb_appends, *running.enter_context(umadb(folder)), len(record)),
        "emmett": lambda _: partial(emmett_appends, emmett(folder), database, len(record)),
    }
    with ExitStack() as running:
        found: dict[str, Appends] = {}
        for name in PEERS:
            if name not in wanted:
                continue
            try:
                found[name] = ways[name](running)
            except Unhad as reason:
                missing.append(f"{name}: {reason}")
        yield found


class Unhad(Exception):
    """A peer could not be installed or started here; the message says why."""


def make_database(server: str) -> str:
    """A database for the peers beside the service's, on the same server; its conninfo."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {DATABASE}")
    conninfo = make_conninfo(server, dbname=DATABASE)
    with psycopg.connect(conninfo) as conn:
        conn.execute(TABLE)
    return conninfo


def bare_inserts(conninfo: str, folder: Path, record: bytes, clients: int, seconds: int, nth: int) -> Sample:
    """Rows of that record, one commit each, by pgbench: prepared statements, no lock beyond the insert's own.

    `nth` tells the rounds apart, whose versions must differ.
    """
    script, log = folder / "insert.sql", folder / "pgbench"
    script.write_text(INSERT)
    values = {"version": nth * VERSIONS_A_ROUND, "record": f"\\x{record.hex()}", "leaf": f"\\x{bytes(32).hex()}"}
    output = _run(
        [
            str(Path(str(distribution(WHEEL).locate_file(BINARIES)), "pgbench")),
            *("--no-vacuum", "--protocol=prepared", f"--file={script}", f"--time={seconds}"),
            *("--log", f"--log-prefix={log}", f"--sampling-rate={LOGGED}"),
            *(f"--client={clients}", f"--jobs={min(clients, 2)}"),
            *(f"--define={name}={value}" for name, value in values.items()),
        ],
        _libpq(conninfo),
    )
    rate, failed = _RATE.search(output), _FAILED.search(output)
    if rate is None or failed is None or failed[1] != "0":
        raise Unmeasured(f"pgbench failed: {output}")
    latencies = []
    for file in folder.glob(f"{log.name}.*"):
        latencies += [int(line.split()[2]) / 1e6 for line in file.read_text().splitlines()]
        file.unlink()
    logged = sample_of(latencies, seconds)
    return Sample(float(rate[1]), logged.p50_ms, logged.p99_ms)


def library_appends(conninfo: str, record_bytes: int, clients: int, seconds: int, nth: int) -> Sample:
    """Events of that size through an Application with the library's default recorder, a thread for each client."""
    server = _server(conninfo)
    output = _run(
        [sys.executable, "-P", "-m", "tests.benchmarks.library", str(clients), str(seconds), str(record_bytes)],
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": server["database"],
            "POSTGRES_HOST": server["host"],
            "POSTGRES_PORT": server["port"],
            "POSTGRES_USER": server["user"],
            "POSTGRES_PASSWORD": server["password"],
        },
    )
    return Sample(**json.loads(output))


@contextmanager
def umadb(folder: Path) -> Iterator[tuple[str, Path]]:
    """UmaDB's server with its default settings: its URL, and where its package is. Raises Unhad."""
    progress(f"Installing {UMADB}")
    packages = installed(UMADB, folder / "umadb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = subprocess.Popen(
        [sys.executable, "-P", "-c", "from umadb.umadb_server_cli import main; main()"],
        env={**os.environ, "PYTHONPATH": str(packages), "UMADB_LISTEN": address, "UMADB_DB_PATH": f"{folder}/uma.db"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(address, server)
        yield f"http://{address}", packages
    finally:
        server.kill()
        server.wait()


def umadb_appends(url: str, packages: Path, record_bytes: int, clients: int, seconds: int, nth: int) -> Sample:
    """Events of that size through its client, a thread for each, on the condition that the stream did not change."""
    numbers = (str(clients), str(seconds), str(record_bytes), str(nth))
    output = _run(
        [sys.executable, "-P", "-m", "tests.benchmarks.umadb_appends", url, *numbers], {"PYTHONPATH": str(packages)}
    )
    return Sample(**json.loads(output))


def emmett(folder: Path) -> Path:
    """Our script beside an installed Emmett. Raises Unhad."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise Unhad("node and npm are not installed")
    place = folder / "emmett"
    place.mkdir()
    (place / "package.json").write_text('{"private": true}')
    progress(f"Installing {EMMETT}")
    _install(["npm", "install", f"--prefix={place}", "--no-audit", "--no-fund", "--ignore-scripts", EMMETT])
    return Path(shutil.copy(Path(__file__).with_name("emmett_appends.mjs"), place))


def emmett_appends(script: Path, conninfo: str, record_bytes: int, clients: int, seconds: int, nth: int) -> Sample:
    """Events of that size through its event store on a pool of connections, each with the version it expects."""
    output = _run(["node", str(script), str(clients), str(seconds), str(record_bytes), str(nth)], _libpq(conninfo))
    return Sample(**json.loads(output))


def installed(package: str, folder: Path) -> Path:
    """The folder, with the package and what it needs. Raises Unhad."""
    _install([sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", f"--target={folder}", package])
    return folder


def _install(arguments: list[str]) -> None:
    """Raises Unhad."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise Unhad(f"{arguments[-1]} was not installed within {INSTALL_SECONDS_MAX} seconds") from None
    if done.returncode != 0:
        raise Unhad(f"{arguments[-1]} could not be installed: {' '.join(done.stderr.split())[-500:]}")


def _wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Until it takes connections. Raises Unhad."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise Unhad("its server does not start here") from None
            time.sleep(0.05)


def _server(conninfo: str) -> dict[str, str]:
    """How to connect; a password has no place in a list of processes."""
    given = conninfo_to_dict(conninfo)
    return {"database": str(given["dbname"])} | {
        name: str(given[name]) for name in ("host", "port", "user", "password")
    }


def _libpq(conninfo: str) -> dict[str, str]:
    """The same as libpq's own variables."""
    return {f"PG{name.upper()}": value for name, value in _server(conninfo).items()}


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        arguments, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        raise Unmeasured(f"{Path(arguments[0]).name} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
