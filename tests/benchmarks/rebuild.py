"""How fast are projections made again from a long log, beside mere copying, and beside the library's own way?

The log is many random worlds side by side, with every kind of event: docs/benchmarks.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from projections import directives, grants, organizations, policies, releases, requests
from services.assent import MIGRATIONS
from services.building import INDEX_MEMORY
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from services.settings import PREFIX
from tests.benchmarks import grown
from tests.benchmarks.report import Report, Unmeasured, progress

STATES = tuple(each.TABLE for each in (organizations, policies, releases, requests, grants, directives))
CHUNK_BYTES = 1 << 20


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=1_000_000, help="how long the log is at least (1000000)")
    parser.add_argument(
        "--few", type=int, default=100_000, help="how long the log is that it is compared with (100000)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; medians are told (3)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="what several are (one for each core)"
    )
    parser.add_argument("--library", type=int, default=10_000, help="how many events the library is given (10000)")


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured."""
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        data = Path(name, "data")
        with EmbeddedPostgres(data) as long:
            short = _another_database(long)
            progress(f"Growing logs of {options.few:,} and {options.events:,} events")
            sizes = {short: _grown(short, options.few), long: _grown(long, options.events)}
            rounds = []
            for nth in range(options.rounds):
                progress(f"Round {nth + 1} of {options.rounds}")
                rounds.append(_round(long, short, Path(name), options.processes))
            library = _library(long, options.library)
    figures = {name: median(each[name] for each in rounds) for name in rounds[0]}
    return _report(options, sizes[long], sizes[short], figures, library)


def _report(
    options: argparse.Namespace, size: int, few: int, seconds: Mapping[str, float], library: Mapping[str, float]
) -> Report:
    floor = seconds["log_out"] + seconds["rows_in"] + seconds["indexes"]
    per_second = size / seconds["one"]
    return Report(
        figures={
            "events": size,
            "rows": round(seconds["rows"]),
            "rows_mib": round(seconds["rows_mib"]),
            "processes": options.processes,
            "seconds": {
                "one_process": seconds["one"],
                "several_processes": seconds["several"],
                "all_projections_one_process": seconds["all_one"],
                "all_projections_several_processes": seconds["all_several"],
                "copy_floor": round(floor, 2),
                "of_which_log_out": seconds["log_out"],
                "of_which_rows_in": seconds["rows_in"],
                "of_which_indexes": seconds["indexes"],
            },
            "events_per_second": {
                "one_process": round(per_second),
                "several_processes": round(size / seconds["several"]),
                "eventsourcing": round(library["per_second"]),
                "eventsourcing_read_and_fold_only": round(library["read_per_second"]),
            },
            "us_per_event": {
                str(few): round(1e6 * seconds["few"] / few, 1),
                str(size): round(1e6 * seconds["one"] / size, 1),
            },
            "peak_rss_mib": {
                str(few): round(seconds["few_rss"]),
                str(size): round(seconds["one_rss"]),
                "each_of_several": round(seconds["several_rss"]),
            },
        },
        ratios={
            "vs_copy_floor": round(floor / seconds["one"], 3),
            "vs_copy_floor_parallel": round(floor / seconds["several"], 3),
            "vs_eventsourcing": round(per_second / library["per_second"], 1),
            "time_per_event_vs_few": round(seconds["one"] / size / (seconds["few"] / few), 2),
        },
    )


def _another_database(conninfo: str) -> str:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("CREATE DATABASE few")
    return make_conninfo(conninfo, dbname="few")


def _grown(conninfo: str, events: int) -> int:
    migrate(conninfo, MIGRATIONS)
    size = grown.grow_by_worlds(conninfo, "rebuild", events)
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("CHECKPOINT")
    return size


def _round(long: str, few: str, folder: Path, processes: int) -> dict[str, float]:
    """Seconds and peak memory (MiB) of each rebuild, and of each part of the floor. Raises Unmeasured."""
    names = [table.name for table in STATES]
    found = {}
    for name, conninfo, wanted, count in (
        ("few", few, names, 1),
        ("several", long, names, processes),
        ("all_several", long, [], processes),
        ("all_one", long, [], 1),
        ("one", long, names, 1),
    ):
        _nothing_projected(conninfo)
        found[name], found[f"{name}_rss"] = _rebuilt(conninfo, folder, wanted, count)
    return found | _floor(long, folder / "rows")


def _nothing_projected(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("SELECT drop_projection_schema(schema) FROM projection")
        conn.execute("DELETE FROM projection")
        conn.execute("CHECKPOINT")


def _rebuilt(conninfo: str, folder: Path, names: Sequence[str], processes: int) -> tuple[float, float]:
    """Seconds that the rebuild took, and the most memory one of its processes had (MiB). Raises Unmeasured."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DATABASE_URL"))}
    arguments = ["projections", "rebuild", *names, "--processes", str(processes), "--json"]
    command = [sys.executable, "-P", "-m", "services.cli", *arguments]
    return _watched(command, {**inherited, "DATABASE_URL": _address(conninfo), "ASSENT_DATA": str(folder / "own")})


def _address(conninfo: str) -> str:
    parts = {name: quote(str(value), safe="") for name, value in conninfo_to_dict(conninfo).items()}
    return "postgresql://{user}:{password}@/{dbname}?host={host}&port={port}".format(**parts)


def _watched(command: Sequence[str], env: Mapping[str, str]) -> tuple[float, float]:
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        told = output.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Unmeasured(f"The rebuild went wrong: {told}")
    return json.loads(told)[0]["seconds"], usage.ru_maxrss / 1024


# The floor: the log out, the same rows in, and their indexes


def _floor(conninfo: str, file: Path) -> dict[str, float]:
    """By one connection, one thing after the other; its commits are no more durable than a rebuild's."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        conn.execute("SELECT set_config('maintenance_work_mem', %s, false)", (INDEX_MEMORY,))
        found = {"log_out": _log_out(conn), "rows_in": 0.0, "indexes": 0.0, "rows": 0.0, "rows_mib": 0.0}
        for table in STATES:
            conn.execute("DROP SCHEMA IF EXISTS bare CASCADE")
            conn.execute("CREATE SCHEMA bare")
            conn.execute(table.create("bare"))
            for name in table.tables:
                seconds, rows, size = _rows_in(conn, f"{table.name}_v{table.version}", name, file)
                found["rows_in"] += seconds
                found["rows"] += rows
                found["rows_mib"] += size / 2**20
            began = time.perf_counter()
            conn.execute(table.index("bare"))
            found["indexes"] += time.perf_counter() - began
        conn.execute("DROP SCHEMA bare CASCADE")
    return {name: round(value, 2) for name, value in found.items()}


def _log_out(conn: Connection[Any]) -> float:
    began = time.perf_counter()
    with conn.cursor() as cursor, cursor.copy(_LOG) as records:
        for _ in records:
            pass
    return time.perf_counter() - began


_LOG = "COPY (SELECT record FROM event ORDER BY position) TO STDOUT (FORMAT binary)"


def _rows_in(conn: Connection[Any], schema: str, name: str, file: Path) -> tuple[float, int, int]:
    """How long the rows of a live table take into an equal one, how many they are, and their bytes."""
    out = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(schema, name))
    into = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier("bare", name))
    with conn.cursor() as cursor, file.open("wb") as written, cursor.copy(out) as rows:
        written.writelines(bytes(part) for part in rows)
    began = time.perf_counter()
    with conn.cursor() as cursor:
        with cursor.copy(into) as copy, file.open("rb") as kept:
            while part := kept.read(CHUNK_BYTES):
                copy.write(part)
        return time.perf_counter() - began, cursor.rowcount, file.stat().st_size


# The library: its runner, its notification log, its transaction for each event


def _library(conninfo: str, events: int) -> dict[str, float]:
    """Events a second by its own projection runner, for the same rows; and by mere reading and folding."""
    command = [sys.executable, "-P", "-m", "tests.benchmarks.library_projection", conninfo, str(events)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Unmeasured(f"The library's projection went wrong: {done.stdout}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
