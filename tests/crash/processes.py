"""How does a test start services, find the processes of their Postgres, and end any of them without warning?"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.http.identity import DevelopmentIssuer
from services.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PROGRAM = ("services.cli",)
"""The module that is run, as `./run` does, and what its command line begins with."""


@dataclass
class Process:
    """One process of Assent on a data folder, by its command; what it prints goes to a file."""

    data: Path
    command: str
    settings: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = PROGRAM
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.data.parent / f"{self.command}.log"

    def start(self) -> None:
        told = {name: value for name, value in os.environ.items() if not name.startswith(("ASSENT_", "DATABASE_"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.program, self.command],
                cwd=ROOT,
                env={**told, "ASSENT_DATA": str(self.data), **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """It does its work by itself, and what comes of that work tells whether it does."""

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> tuple[int, float]:
        """As Ctrl-C does; the exit code, and after how many seconds it was gone."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=30)
        return code, time.monotonic() - began

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def said(self) -> str:
        """Its last words, without those that merely tell of the outage."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return "\n".join(line for line in lines if " WARNING " not in line)[-20_000:]


class Service(Process):
    """A process that serves, at a port of its own, and without doors unless the settings say so."""

    def __init__(self, data: Path, settings: Mapping[str, str] | None = None, program: Sequence[str] = PROGRAM) -> None:
        self.port = free_port()
        alone = {"ASSENT_PORT": str(self.port), "ASSENT_DOORS": "0"}
        super().__init__(data, "serve", {**alone, **(settings or {})}, program)

    @property
    def log(self) -> Path:
        return self.data.parent / f"serve-{self.port}.log"

    def doors(self) -> list[int]:
        """Its processes that take requests for it."""
        assert self.process is not None
        return [pid for pid, words in children(self.process.pid).items() if b"\0door\0" in words]

    async def ready(self) -> None:
        """Wait until it takes connections. Raises NotBack."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            if self.ended:
                raise NotBack(f"A service ended at its start: {self.said()[-1_000:]}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if time.monotonic() > deadline:
                    raise NotBack(f"A service does not listen: {self.said()[-1_000:]}") from None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


class NotBack(AssertionError):
    """A process that should do its work does not; the message has its last words."""


@contextmanager
def ended_after(*processes: Process) -> Iterator[None]:
    """Ends the processes that still run."""
    try:
        yield
    finally:
        for process in processes:
            if not process.ended:
                process.interrupt()


@contextmanager
def quoted_on_failure(*processes: Process) -> Iterator[None]:
    """Where the test fails, what the processes said is part of its output."""
    try:
        yield
    except BaseException:
        for process in processes:
            sys.stdout.write(f"{process.log.stem} said:\n{process.said()}\n")
        raise


def tokens(data: Path) -> Callable[[str], str]:
    """Tokens of the installation's own issuer, one per person."""
    issuer, made = DevelopmentIssuer(Settings(data=data)), dict[str, str]()

    def token(person: str) -> str:
        if person not in made:
            made[person] = issuer.issue(person)
        return made[person]

    return token


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n", 1)[0])


def backends(data: Path) -> list[int]:
    """The server's processes that serve a connection, as it titles them."""
    return [pid for pid, title in children(postmaster(data)).items() if b"[local]" in title]


def children(parent: int) -> dict[int, bytes]:
    """The living processes that this one forked, and how each is titled."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, its_parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(its_parent) == parent and state not in "ZX":
                found[int(folder.name)] = (folder / "cmdline").read_bytes()
    return found


def state(pid: int) -> str:
    """The letter that Linux has for what it does; X: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
