"""How long after a command's answer does a read show what it did: when nobody else is there, and at half of the peak?

The service is laid out as in production: one process serves, another projects and signs: docs/benchmarks.md.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.commands import SENDERS, WARM_UP_SECONDS, Sent, client_here, load, set_up
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.benchmarks.service import Service, serving

CLIENTS = 64
SETTLE_SECONDS = 1.0
"""How long a load goes on before anything is measured beside it."""

PROBED = 20
"""Requests of which the load knows nothing, so that the commands measured are not in its way."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=10, help="how long each measurement takes (10)")


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured."""
    client = client_here()
    report = Report(missing=[] if client == "wrk" else ["wrk: the commands came from Python, which slows them down"])
    with serving(apart=True) as service, tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        known = asyncio.run(set_up(service))
        probe = Probe(service, known[:PROBED])
        targets = Path(name, "targets")
        targets.write_text("".join(f"{request} {token}\n" for request, token in known[PROBED:]))
        load(client, service, targets, CLIENTS, WARM_UP_SECONDS, "warm-up")
        service.wait_until_quiet()
        progress("Idle")
        idle = probe.measured(options.seconds)
        progress("The peak")
        peak = load(client, service, targets, CLIENTS, max(2, options.seconds // 2), "peak").per_second
        service.wait_until_quiet()
        progress("Half of the peak")
        pause_ms = max(1, round(1000 * CLIENTS / (peak / 2)) - 1)
        seconds = options.seconds + 2 * round(SETTLE_SECONDS)
        with beside(client, service, targets, seconds, pause_ms) as under_way:
            time.sleep(SETTLE_SECONDS)
            half = probe.measured(options.seconds)
        answers, refused, broken, _ = under_way.result()
        if refused or broken:
            raise Unmeasured(f"{refused} commands of the load were refused, {broken} connections broke.")
    report.figures = {
        "client": client,
        "peak_per_second": round(peak),
        "load_per_second": round(answers / seconds),
        "idle": idle,
        "half_of_the_peak": half,
    }
    report.ratios = {"half_p99_vs_idle": round(half["p99_ms"] / idle["p99_ms"], 2)}
    return report


@contextmanager
def beside(client: str, service: Service, targets: Path, seconds: int, pause_ms: int) -> Iterator["Future[Sent]"]:
    """Commands that keep coming, each connection after a pause."""
    with ThreadPoolExecutor(1) as at_once:
        yield at_once.submit(SENDERS[client], service.address, targets, CLIENTS, seconds, "half", pause_ms)


class Probe:
    """One client that signs off, and at once asks for the request as it is after that."""

    def __init__(self, service: Service, known: Sequence[tuple[str, str]]) -> None:
        self._client = httpx.Client(base_url=f"{service.address}/api/v1", timeout=60)
        self._known = cycle(known)
        self._sent = 0

    def measured(self, seconds: int) -> dict[str, Any]:
        """Milliseconds from the command's answer to the answer of the read that shows it, and of that read again."""
        waits, reads = [], []
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            request, token = next(self._known)
            position = self._signed(request, token)
            waits.append(self._read(request, token, position))
            reads.append(self._read(request, token, position))
        waits.sort()
        reads.sort()
        return {
            "p50_ms": waits[len(waits) // 2],
            "p99_ms": waits[len(waits) * 99 // 100],
            "most_ms": waits[-1],
            "read_alone_p50_ms": reads[len(reads) // 2],
            "read_alone_p99_ms": reads[len(reads) * 99 // 100],
            "commands": len(waits),
        }

    def _signed(self, request: str, token: str) -> int:
        self._sent += 1
        headers = {"authorization": f"Bearer {token}", "idempotency-key": f"probe-{self._sent:08}"}
        body = {"agency": "commerce", "position": "approve", "reason": f"Looked at again, {self._sent}"}
        answer = self._client.post(f"/requests/{request}/sign-offs", json=body, headers=headers)
        if answer.status_code != 201:
            raise Unmeasured(f"A sign-off was answered {answer.status_code}: {answer.text}")
        return int(answer.json()["position"])

    def _read(self, request: str, token: str, position: int) -> float:
        """Milliseconds. Raises Unmeasured where the read does not show that position."""
        began = time.perf_counter()
        headers = {"authorization": f"Bearer {token}"}
        answer = self._client.get(f"/requests/{request}", params={"after": position}, headers=headers)
        milliseconds = round(1000 * (time.perf_counter() - began), 2)
        if answer.status_code != 200 or answer.json()["position"] < position:
            raise Unmeasured(f"Position {position} is not shown: {answer.status_code} {answer.text}")
        return milliseconds
