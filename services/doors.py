"""Which processes take requests for the one that decides, and who looks after them?

Doors are processes of their own, for an interpreter does one thing at a time. They inherit the socket that listens, so
a new one goes on where another ended. They end with the process that started them: their standard input says so.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress

OPEN = "open"
"""What a door says, in a line, once it takes requests."""

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 5.0
RETRY_SECONDS = (0.1, 5.0)

_log = logging.getLogger(__name__)


class DoorsClosed(Exception):
    """A door did not open; it says why itself."""


class Doors:
    """One door at each of these sockets, for as long as the block lasts; one that ends is opened again."""

    def __init__(self, listening: Sequence[socket.socket]) -> None:
        self._listening = listening
        self._kept: list[asyncio.Task[None]] = []
        self._processes: dict[int, Process] = {}

    async def __aenter__(self) -> "Doors":
        """Raises DoorsClosed."""
        try:
            await asyncio.gather(*(self._open(nth) for nth in range(len(self._listening))))
        except BaseException:
            await self.__aexit__()
            raise
        self._kept = [asyncio.create_task(self._keep(nth), name=f"door {nth}") for nth in range(len(self._listening))]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Each finishes what it has begun."""
        for task in self._kept:
            task.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)
        await asyncio.gather(*(_ended(process) for process in self._processes.values()))
        for each in self._listening:
            each.close()

    async def _open(self, nth: int) -> None:
        number = self._listening[nth].fileno()
        process = self._processes[nth] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "services.cli", "door", str(number)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(number,),
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                said = await process.stdout.readline()
        except TimeoutError:
            said = b""
        if said.decode().strip() != OPEN:
            raise DoorsClosed("A process that takes requests did not start.")

    async def _keep(self, nth: int) -> None:
        least, most = RETRY_SECONDS
        pause_seconds = least
        while True:
            code = await self._processes[nth].wait()
            _log.error("A process that takes requests ended with %s, and is started again", code)
            await asyncio.sleep(pause_seconds)
            try:
                await self._open(nth)
                pause_seconds = least
            except (OSError, DoorsClosed) as error:
                _log.error("%s", error)
                pause_seconds = min(2 * pause_seconds, most)
                await _ended(self._processes[nth])


async def _ended(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def end_with_parent() -> None:
    """End this process, whatever it is doing, when the one that started it has ended: for that is what was killed."""

    def look() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), look)
