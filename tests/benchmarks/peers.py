"""How fast are the others on the same database: the `eventsourcing` library's default recorder, and bare inserts?"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.postgres import BINARIES, WHEEL
from tests.benchmarks.report import Unmeasured
from tests.benchmarks.samples import Sample

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

_RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


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

    `nth` tells the rounds apart, whose versions must differ. pgbench gives no percentiles.
    """
    script = folder / "insert.sql"
    script.write_text(INSERT)
    values = {"version": nth * VERSIONS_A_ROUND, "record": f"\\x{record.hex()}", "leaf": f"\\x{bytes(32).hex()}"}
    output = _run(
        [
            str(Path(str(distribution(WHEEL).locate_file(BINARIES)), "pgbench")),
            *("--no-vacuum", "--protocol=prepared", f"--file={script}", f"--time={seconds}"),
            *(f"--client={clients}", f"--jobs={min(clients, 2)}"),
            *(f"--define={name}={value}" for name, value in values.items()),
        ],
        {f"PG{name.upper()}": value for name, value in _server(conninfo).items()},
    )
    rate, failed = _RATE.search(output), _FAILED.search(output)
    if rate is None or failed is None or failed[1] != "0":
        raise Unmeasured(f"pgbench failed: {output}")
    return Sample(float(rate[1]))


def library_appends(conninfo: str, record: bytes, clients: int, seconds: int) -> Sample:
    """Events of that size through an Application with the library's default recorder, a thread for each client."""
    server = _server(conninfo)
    output = _run(
        [sys.executable, "-P", "-m", "tests.benchmarks.library", str(clients), str(seconds), str(len(record))],
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


def _server(conninfo: str) -> dict[str, str]:
    """How to connect, by libpq's names of variables; a password has no place in a list of processes."""
    given = conninfo_to_dict(conninfo)
    return {"database": str(given["dbname"])} | {
        name: str(given[name]) for name in ("host", "port", "user", "password")
    }


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        arguments, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        raise Unmeasured(f"{Path(arguments[0]).name} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
