"""What is left on the disk when the power fails, and how does a test have it so on a machine that goes on?

Two things survive: what was forced to the disk, and what the system happened to have written back by then. All of it is
in the image that `write_back` keeps: the cluster as it was at one instant, all processes of the server standing still.
`lose_power` ends every process and leaves that image. Where fsync is on, no commit is answered before its WAL was
forced, so the WAL is added as it stands; where it is off, nothing was forced, and later commits are gone.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.crash.processes import children, kill, postmaster, state

STILL_SECONDS_MAX = 10.0


@dataclass
class Disk:
    """That of the embedded server on this data folder, while it runs."""

    data: Path

    @property
    def _cluster(self) -> Path:
        return self.data / "postgres" / "cluster"

    @property
    def _image(self) -> Path:
        return self.data / "image"

    def write_back(self) -> None:
        """The system writes back all that it has: a moment that no program can ask for, or prevent."""
        shutil.rmtree(self._image, ignore_errors=True)
        running = self._still()
        try:
            _copy(self._cluster, self._image)
        finally:
            _signal(running, signal.SIGCONT)

    def lose_power(self, forced: bool) -> None:
        """End the server, and lose what was not on the disk; `forced`: whether fsync was on. Others ended before.

        A checkpoint since then has forced everything: such an instant is let pass, and only the processes end.
        """
        running = self._still()
        for pid in running:
            kill(pid)
        _wait(running, "ZX")
        if forced:
            if self._control(self._image) != self._control(self._cluster):
                return
            _copy(self._cluster / "pg_wal", self._image)
        shutil.rmtree(self._cluster)
        self._image.rename(self._cluster)

    def _still(self) -> list[int]:
        """Stop the server's processes, first the one that would fork others; all of them."""
        parent = postmaster(self.data)
        _signal([parent], signal.SIGSTOP)
        _wait([parent], "TtZX")
        forked = list(children(parent))
        _signal(forked, signal.SIGSTOP)
        _wait(forked, "TtZX")
        return [parent, *forked]

    @staticmethod
    def _control(cluster: Path) -> bytes:
        """The file that Postgres writes anew with each checkpoint."""
        return (cluster / "global" / "pg_control").read_bytes()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait(pids: Sequence[int], states: str) -> None:
    deadline = time.monotonic() + STILL_SECONDS_MAX
    while not all(state(pid) in states for pid in pids):
        assert time.monotonic() < deadline, f"The server does not stand still: {[state(pid) for pid in pids]}"
        time.sleep(0.005)


def _copy(source: Path, target: Path) -> None:
    """With owners and modes, as the server needs them; into a folder that is there already."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
