"""How long does it take to export a log of a million events, and to verify it: the file, the database, by the script?

The log is many random worlds side by side, with every kind of event. Each step is a process of its own, as an auditor
starts it: docs/benchmarks.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from services.assent import MIGRATIONS
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from services.settings import PREFIX
from tests.benchmarks import grown
from tests.benchmarks.report import Report, Unmeasured, progress

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_log.py"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=1_000_000, help="how long the log is at least (1000000)")


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured."""
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        data, file = Path(name, "data"), Path(name, "log.zip")
        with EmbeddedPostgres(data) as conninfo:
            progress(f"Growing a log of {options.events:,} events")
            migrate(conninfo, MIGRATIONS)
            size = grown.grow_by_worlds(conninfo, "verify", options.events)
            grown.sign(conninfo, data)
            progress("Exporting it")
            exported = _timed("export", data, ["log", "export", "--to", str(file), "--json"])
            progress("Verifying the database")
            live = _timed("verify_database", data, ["log", "verify", "--json"])
        progress("Verifying the export")
        offline = _timed("verify", Path(name, "elsewhere"), ["log", "verify", str(file), "--json"])
        progress("Verifying it by the script")
        script = _timed("script", Path(name, "elsewhere"), None, [str(SCRIPT), str(file)])
        figures = {"events": size, "export_bytes": file.stat().st_size, **exported, **offline, **live, **script}
        return Report(figures={**figures, "events_per_second": round(size / figures["verify_seconds"])})


def _timed(name: str, data: Path, arguments: Sequence[str] | None, script: Sequence[str] = ()) -> dict[str, float]:
    """Wall seconds and peak memory of one process. Raises Unmeasured where it does not end with 0."""
    inherited = {each: value for each, value in os.environ.items() if not each.startswith((PREFIX, "DATABASE_URL"))}
    command = ["-P", "-m", "services.cli", *arguments] if arguments else ["-I", *script]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], env={**inherited, "ASSENT_DATA": str(data)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as output:
        told = output.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or (arguments and json.loads(told).get("ok") is False):
        raise Unmeasured(f"{name} went wrong: {told}")
    return {f"{name}_seconds": round(seconds, 1), f"{name}_rss_mib": usage.ru_maxrss // 1024}
