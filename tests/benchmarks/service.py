"""How does a benchmark get a service of its own: a process like any other, on a durable Postgres of its own?"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from types import MappingProxyType

import psycopg

from services.http.identity import DevelopmentIssuer
from services.postgres import EmbeddedPostgres
from services.settings import PREFIX, Settings
from tests.benchmarks.report import Unmeasured
from tests.crash.processes import children

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
QUIET_SECONDS_MAX = 120.0

_ADDRESS = re.compile(r" serves (http://\S+)")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address, the id of its process that decides, its database, the ids of those that take
    requests for it, and of the one that projects and signs, where these are others.
    """

    address: str
    pid: int
    conninfo: str
    data: Path
    issuer: DevelopmentIssuer
    doors: tuple[int, ...] = ()
    following: int | None = None

    def log_size(self) -> int:
        with psycopg.connect(self.conninfo) as conn:
            row = conn.execute("SELECT coalesce(max(size), 0) FROM tree_head").fetchone()
        assert row is not None
        return int(row[0])

    def cpu_seconds(self) -> float:
        """Processor time that its process has used so far, in the kernel too; without its doors."""
        return _cpu_seconds(self.pid)

    def doors_cpu_seconds(self) -> float | None:
        """The same for the processes that take requests, where these are others."""
        return sum(map(_cpu_seconds, self.doors)) if self.doors else None

    def following_cpu_seconds(self) -> float | None:
        """The same for the process that projects and signs, where that is another."""
        return _cpu_seconds(self.following) if self.following else None

    def resident_mib(self) -> int:
        """Memory that its process holds."""
        found = _RESIDENT.search(Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) // 1024

    def wait_until_quiet(self) -> None:
        """Until the projections and the signer have caught up: what they still do would slow down the next."""
        deadline = time.monotonic() + QUIET_SECONDS_MAX
        with psycopg.connect(self.conninfo, autocommit=True) as conn:
            while conn.execute(_LAGS).fetchall() != [(False,)]:
                if time.monotonic() > deadline:
                    raise Unmeasured(f"Projections or signer are behind after {QUIET_SECONDS_MAX:.0f} seconds.")
                time.sleep(0.02)


_LAGS = """
SELECT (SELECT max(size) FROM tree_head) > least(
    (SELECT min(position) + 1 FROM projection WHERE role = 'live'), (SELECT max(size) FROM checkpoint))"""


@contextmanager
def serving(apart: bool, doors: int = 0) -> Iterator[Service]:
    """A service on a temporary folder, set as a fresh clone is, by so many doors; `apart`: projections and checkpoints
    in a process of their own. Raises Unmeasured where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name, ExitStack() as running:
        data = Path(name, "data")
        conninfo = running.enter_context(EmbeddedPostgres(data))
        roles = "timers" if apart else "project,sign,timers"
        service = running.enter_context(serving_on(data, conninfo, roles, doors))
        if apart:
            process = running.enter_context(_process(["services.cli", "project"], {"ASSENT_DATA": str(data)}))
            service = replace(service, following=process.pid)
        yield service


@contextmanager
def serving_on(
    data: Path,
    conninfo: str,
    roles: str,
    doors: int = 0,
    seconds_max: float = START_SECONDS_MAX,
    told: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Service]:
    """A process that serves the log of that folder, whose Postgres runs; `told`: its other settings. Raises Unmeasured
    where it does not start.
    """
    settings = {"ASSENT_DATA": str(data), "ASSENT_ROLES": roles, "ASSENT_DOORS": str(doors), **told}
    with _process(["services.cli", "serve"], settings) as process:
        issuer = DevelopmentIssuer(replace(Settings(), data=data))
        address = _address(process, seconds_max)
        found = tuple(pid for pid, words in children(process.pid).items() if b"\0door\0" in words)
        yield Service(address, process.pid, conninfo, data, issuer, found)


@contextmanager
def echoing() -> Iterator[str]:
    """The address of the same server with nothing behind it. Raises Unmeasured where it does not start."""
    with answering("tests.benchmarks.echo") as address:
        yield address


@contextmanager
def answering(module: str) -> Iterator[str]:
    """The address of a module of ours that serves something else. Raises Unmeasured where it does not start."""
    with _process([module], {}) as process:
        yield _address(process)


@contextmanager
def _process(module: Sequence[str], told: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DATABASE_URL"))}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", *module],
        env={**inherited, "ASSENT_PORT": "0", **told},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _address(process: "subprocess.Popen[str]", seconds_max: float = START_SECONDS_MAX) -> str:
    """Where it serves, as it says itself once it is ready. Raises Unmeasured where it does not become so."""
    assert process.stdout is not None
    impatience = Timer(seconds_max, process.kill)
    impatience.start()
    try:
        for line in process.stdout:
            if found := _ADDRESS.search(line):
                return found[1]
    finally:
        impatience.cancel()
    raise Unmeasured("The service did not start; its last words are above.")
