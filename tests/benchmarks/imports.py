"""How many commands of the past a second does an import take in, beside a bare bulk insert of the rows it makes?

A file of cases goes through `./run import` into a fresh log on a durable Postgres of its own; then COPY puts the very
rows that came of it into an equal table of that server: docs/importing.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from services.postgres import EmbeddedPostgres
from services.settings import PREFIX
from tests.benchmarks.commands import OFFICERS, scene
from tests.benchmarks.report import Report, Unmeasured, progress

BEGIN = datetime(2024, 1, 8, 15, tzinfo=UTC)

OWN_ROWS = 10
"""The log begins with the service's own commands: the organization, its first administrator, the calendar, its key."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--commands", type=int, default=100_000, help="how many commands the file tells of (100000)")


def run(options: argparse.Namespace) -> Report:
    """An import of a tenth of the commands, for its memory, then of all. Raises Unmeasured."""
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        folder = Path(name)
        progress(f"Importing {options.commands // 10:,} commands")
        with EmbeddedPostgres(folder / "few" / "data"):
            few, few_kib = imported(folder / "few", options.commands // 10)
        progress(f"Importing {options.commands:,} commands")
        with EmbeddedPostgres(folder / "many" / "data") as conninfo:
            many, many_kib = imported(folder / "many", options.commands)
            rows, rows_per_second = bulk_inserted(conninfo, folder / "rows")
    if not many["events"] < rows <= many["events"] + OWN_ROWS:
        raise Unmeasured(f"The import told of {many['events']} events, and the log has {rows}.")
    events_per_second = many["events"] / many["seconds"]
    return Report(
        figures={
            "commands": many["commands"],
            "events": many["events"],
            "commands_per_second": round(many["commands"] / many["seconds"]),
            "events_per_second": round(events_per_second),
            "bulk_rows_per_second": round(rows_per_second),
            "peak_rss_mib": {str(few["commands"]): few_kib // 1024, str(many["commands"]): many_kib // 1024},
        },
        ratios={"vs_bulk_insert": round(events_per_second / rows_per_second, 3)},
    )


def imported(folder: Path, count: int) -> tuple[dict[str, Any], int]:
    """What the import of so many commands told, and the most memory its process had, in KiB. Raises Unmeasured."""
    file = folder / "story.jsonl"
    with file.open("w") as story:
        story.writelines(f"{json.dumps(line)}\n" for _, line in zip(range(count), lines(), strict=False))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DATABASE_URL"))}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "services.cli", "import", str(file), "--json"],
        env={**inherited, "ASSENT_DATA": str(folder / "data")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        told = output.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or json.loads(told)["commands"] != count:
        raise Unmeasured(f"The import went wrong: {told}")
    return json.loads(told), usage.ru_maxrss


def bulk_inserted(conninfo: str, file: Path) -> tuple[int, float]:
    """How many rows the log has, and how many a second COPY puts into a table that is equal, in one commit."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("CREATE TABLE bare (LIKE event INCLUDING ALL)")
        with conn.cursor() as cursor, file.open("wb") as written, cursor.copy(_OUT) as rows:
            written.writelines(bytes(part) for part in rows)
        began = time.perf_counter()
        with conn.cursor() as cursor:
            with cursor.copy("COPY bare FROM STDIN (FORMAT binary)") as copy, file.open("rb") as rows:
                while part := rows.read(1 << 20):
                    copy.write(part)
            count = cursor.rowcount
        return count, count / (time.perf_counter() - began)


_OUT = "COPY (SELECT * FROM event ORDER BY position) TO STDOUT (FORMAT binary)"

# The story: case after case, each with a question, until the second agency's approval makes a grant of it


def lines() -> Iterator[dict[str, Any]]:
    """The scene and its cases, without end."""
    for person, path, body in scene():
        yield told(BEGIN, person, path, body)
    yield told(BEGIN, "root", "/organizations/oncd/appointments", {"person": "olga", "role": "reviewer"})
    nth = 0
    while True:
        yield from case(nth)
        nth += 1


def case(nth: int) -> Iterator[dict[str, Any]]:
    at = BEGIN + timedelta(days=1, minutes=nth)
    officer, here = OFFICERS[nth % len(OFFICERS)], "/requests/{request}"
    question = {"agency": "commerce", "question": "Who operates the model?"}
    body = {"customer": "northgate", "release": "atlas-4", "use": f"Case {nth}", "user_classes": ["us_person"]}
    yield {**told(at, "nina", "/requests", body), "save": {"request": "id"}}
    yield told(at + timedelta(hours=1), "root", f"{here}/registration", {})
    yield told(at + timedelta(days=1), officer, f"{here}/information-requests", question)
    yield told(at + timedelta(days=2), "nina", f"{here}/information-requests/1/response", {"answer": "We do."})
    yield told(at + timedelta(days=3), officer, f"{here}/information-requests/1/acceptance", {})
    for days, person, agency in ((4, "olga", "oncd"), (5, officer, "commerce")):
        position = {"agency": agency, "position": "approve", "reason": "Reviewed"}
        yield told(at + timedelta(days=days), person, f"{here}/sign-offs", position)


def told(at: datetime, person: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"at": at.isoformat(), "as": person, "post": path, "body": body}
