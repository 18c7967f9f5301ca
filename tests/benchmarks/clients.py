"""How are sign-offs sent to Assent where there is no wrk? Several connections of one process, as lean as Python can.

`python -m tests.benchmarks.clients PORT TARGETS TAG CLIENTS SECONDS PAUSE_MS` writes
{"latencies": [seconds, …], "refused": n}.
"""

import asyncio
import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import uvloop


class Load:
    """What all connections share: the commands to come, and what became of those that were sent."""

    def __init__(self, targets: Path, tag: str, seconds: float, pause_seconds: float) -> None:
        self._heads = [
            f"POST /api/v1/requests/{request}/sign-offs HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nIdempotency-Key: "
            for request, token in (line.split() for line in targets.read_text().splitlines())
        ]
        self._tag = tag
        self.pause_seconds = pause_seconds
        self._sent = count()
        self._deadline = time.perf_counter() + seconds
        self.latencies: list[float] = []
        self.refused = 0

    def next(self) -> bytes | None:
        """The next command; None once the time is over."""
        if time.perf_counter() > self._deadline:
            return None
        sent = next(self._sent)
        key = f"{self._tag}-{sent:08d}"
        body = f'{{"agency":"commerce","position":"approve","reason":"Reviewed again, {key}"}}'
        return f"{self._heads[sent % len(self._heads)]}{key}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def answered(self, status: bytes, seconds: float) -> None:
        self.latencies.append(seconds)
        self.refused += status != b"201"


class Client(asyncio.Protocol):
    """One connection: sends a command, waits for the whole answer, sends the next."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = b""
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._pause()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        if not blank or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]):
            return
        self._answer = b""
        self._load.answered(head[9:12], time.perf_counter() - self._began)
        self._pause()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("The service hung up."))

    def _pause(self) -> None:
        if self._load.pause_seconds:
            asyncio.get_running_loop().call_later(self._load.pause_seconds, self._send)
        else:
            self._send()

    def _send(self) -> None:
        command = self._load.next()
        if command is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._began = time.perf_counter()
            self._transport.write(command)


async def send(port: int, load: Load, clients: int) -> None:
    loop = asyncio.get_running_loop()
    connected = [await loop.create_connection(lambda: Client(load), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.gather(*(client.done for _, client in connected))


if __name__ == "__main__":
    _, port, targets, tag, clients, seconds, pause_ms = sys.argv
    load = Load(Path(targets), tag, float(seconds), int(pause_ms) / 1000)
    uvloop.run(send(int(port), load, int(clients)))
    json.dump({"latencies": load.latencies, "refused": load.refused}, sys.stdout)
