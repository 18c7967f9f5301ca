"""How does a test start services, find the processes of their Postgres, and end any of them without warning?"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


@dataclass
class Service:
    """One service process on a data folder, at a port of its own; what it prints goes to a file."""

    data: Path
    port: int = field(default_factory=free_port)
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.data.parent / f"service-{self.port}.log"

    def start(self) -> None:
        told = {name: value for name, value in os.environ.items() if not name.startswith(("ASSENT_", "DATABASE_"))}
        own = {"ASSENT_DATA": str(self.data), "ASSENT_PORT": str(self.port), **self.settings}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "serve"],
                cwd=ROOT,
                env={**told, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def listening(self) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            assert self.process is not None and self.process.poll() is None, f"It ended: {self.said()}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                assert time.monotonic() < deadline, f"It does not listen: {self.said()}"
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

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

    def said(self) -> str:
        """Its last words, without those that merely tell of the outage."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return "\n".join(line for line in lines if " WARNING " not in line)[-20_000:]


@contextmanager
def ended_after(*services: Service) -> Iterator[None]:
    """Ends the services that run; where the test fails, what they said is part of its output."""
    try:
        yield
    except BaseException:
        for service in services:
            sys.stdout.write(f"The service at port {service.port} said:\n{service.said()}\n")
        raise
    finally:
        for service in services:
            if service.process is not None and service.process.poll() is None:
                service.interrupt()


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
    parent, found = postmaster(data), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) == parent and b"[local]" in title:
            found.append(int(folder.name))
    return sorted(found)
