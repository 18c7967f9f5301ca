"""Does a log of millions of events take commands, and prove what it holds, as fast as one that begins?

The same loads take turns on both; proofs on a five hundredth and on a fifth of the events, of 5,000,000 on 10,000 and
1,000,000: docs/benchmarks.md.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psycopg
import uvloop
from psycopg.conninfo import make_conninfo

from domain.facts import Fact
from services.assent import MIGRATIONS
from services.ids import new_id
from services.log import proofs
from services.log.reader import Connection, LogEnd
from services.log.writer import Decision, Writer
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from tests.benchmarks import grown
from tests.benchmarks.commands import OFFICERS, client_here, load, set_up
from tests.benchmarks.grown import Act
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.benchmarks.samples import Sample, medians, sample_of
from tests.benchmarks.service import Service, serving_on

CLIENTS = 64
STREAMS = 200
PROOFS = 500
"""Proofs of each kind in each log, at random places."""

START_SECONDS_MAX = 900.0
"""A service reads its log when it starts."""

SEED = 4

POSITION = {"agency": "commerce", "position": "approve", "reason": "Reviewed"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=_events, default=5_000_000, help="how far the log grows (5000000)")
    parser.add_argument("--seconds", type=int, default=3, help="how long each measurement takes (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how many of each; medians count (3)")


def _events(text: str) -> int:
    events = int(text)
    if events < 5_000:
        raise ValueError(text)
    return events


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured."""
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name, ExitStack() as running:
        folder = Path(name)
        empty, full = (running.enter_context(_log(folder, each)) for each in ("empty", "full"))
        acts = grown.life(grown.stream_of(full.conninfo, f"request-{full.targets[0][0]}"))
        report = Report(figures={"events": options.events})
        report.figures |= _proved(folder, full, acts, options.events)
        report.figures |= _grown(full, acts, options.events)
        report.figures["writer"] = _medians(_written(options, empty, full))
        report.figures |= _commanded(options, empty, full, running)
    for what in ("writer", "commands"):
        rates = [report.figures[what][log]["per_second"] for log in ("full", "empty")]
        report.ratios[f"{what}_vs_empty"] = round(rates[0] / rates[1], 3)
    for what in ("inclusion_ms", "consistency_ms"):
        few, many = report.figures[what].values()
        report.ratios[f"{what.removesuffix('_ms')}_vs_few"] = round(many / few, 2)
    return report


# The logs


@dataclass(frozen=True, slots=True)
class Log:
    """A log with the scene of `bench commands` in it: requests under review, each with the token of its officer."""

    name: str
    data: Path
    conninfo: str
    targets: list[tuple[str, str]]


@contextmanager
def _log(folder: Path, name: str) -> Iterator[Log]:
    """A new log on a Postgres of its own; nobody serves it any more. The first request has a longer life."""
    data = folder / name
    with EmbeddedPostgres(data) as conninfo:
        with serving_on(data, conninfo, roles="") as service:
            targets = asyncio.run(set_up(service))
            _live(service, targets[0][0])
        yield Log(name, data, conninfo, targets)


def _live(service: Service, request: str) -> None:
    """A question, its answer, and a position of every officer. Raises Unmeasured."""
    posts = [
        (OFFICERS[0], "information-requests", {"agency": "commerce", "question": "Who operates the model?"}),
        ("nina", "information-requests/1/response", {"answer": "We do."}),
        (OFFICERS[0], "information-requests/1/acceptance", {}),
        *(
            (each, "sign-offs", {"agency": "commerce", "position": "approve", "reason": "Reviewed"})
            for each in OFFICERS
        ),
    ]
    with httpx.Client(base_url=f"{service.address}/api/v1/requests/{request}/") as client:
        for nth, (person, path, body) in enumerate(posts):
            headers = {"authorization": f"Bearer {service.issuer.issue(person)}", "idempotency-key": f"life-{nth}"}
            answer = client.post(path, json=body, headers=headers)
            if answer.status_code != 201:
                raise Unmeasured(f"The life's POST {path} was answered {answer.status_code}: {answer.text}")


def _grown(log: Log, acts: Sequence[Act], events: int) -> dict[str, Any]:
    progress(f"Growing a log of {events:,} events")
    began = time.perf_counter()
    grown.grow(log.conninfo, acts, events)
    grown.sign(log.conninfo, log.data)
    return {
        "grown_in_seconds": round(time.perf_counter() - began),
        "bytes_an_event": round(_bytes(log.conninfo) / events),
    }


def _bytes(conninfo: str) -> int:
    with psycopg.connect(conninfo) as conn:
        found = conn.execute("SELECT pg_database_size(current_database())").fetchone()
    assert found is not None
    return int(found[0])


# Proofs


def _proved(folder: Path, full: Log, acts: Sequence[Act], events: int) -> dict[str, Any]:
    """Milliseconds of a proof of either kind, where the log has a five hundredth and a fifth of its events."""
    few, many = events // 500, events // 5
    progress(f"Proofs in logs of {few:,} and {many:,} events")
    with EmbeddedPostgres(folder / "few") as conninfo:
        migrate(conninfo, MIGRATIONS)
        for at, data, size in ((conninfo, folder / "few", few), (full.conninfo, full.data, many)):
            grown.grow(at, acts, size)
            grown.sign(at, data)
        found = asyncio.run(_proof_seconds({few: conninfo, many: full.conninfo}))
    return {
        f"{kind}_ms": {str(size): round(1000 * median(found[kind, size]), 3) for size in (few, many)}
        for kind in ("inclusion", "consistency")
    }


async def _proof_seconds(logs: dict[int, str]) -> dict[tuple[str, int], list[float]]:
    """How long each proof took, by its kind and the size of the log; the logs take turns, proof by proof."""
    chance = random.Random(SEED)
    found: dict[tuple[str, int], list[float]] = {}

    async def timed(kind: str, size: int, proof: Callable[[], Awaitable[object]]) -> None:
        began = time.perf_counter()
        await proof()
        found.setdefault((kind, size), []).append(time.perf_counter() - began)

    async def prove(conn: Connection, size: int) -> None:
        position, earlier = chance.randrange(size), chance.randrange(1, size)
        await timed("inclusion", size, lambda: proofs.inclusion(conn, position))
        await timed("consistency", size, lambda: proofs.consistency(conn, earlier, size))

    connected = {
        size: await psycopg.AsyncConnection.connect(conninfo, autocommit=True) for size, conninfo in logs.items()
    }
    for _ in range(PROOFS):
        for size, conn in connected.items():
            await prove(conn, size)
    for conn in connected.values():
        await conn.close()
    return found


# The writer alone


class SignOffs:
    """A decider without rules: every work is one more fact, the same one, on the next of many streams.

    Which stream and version that is follows from the position alone, so nothing has to be folded or forgotten.
    """

    def __init__(self, template: Fact) -> None:
        self._template = template
        self._streams = [f"request-{new_id(template.recorded)}" for _ in range(STREAMS)]
        self._first: int | None = None

    def decide(self, works: Sequence[Any], end: LogEnd) -> Sequence[Decision]:
        first = self._first = end.size if self._first is None else self._first
        return [Decision([self._fact(end, end.size + nth, end.size + nth - first)]) for nth in range(len(works))]

    def _fact(self, end: LogEnd, position: int, count: int) -> Fact:
        turn, place = divmod(count, STREAMS)
        return replace(
            self._template, position=position, stream=self._streams[place], version=turn + 1, recorded=end.recorded
        )

    def load(self, stream: str, facts: Sequence[Fact]) -> None:
        raise AssertionError("no stream was asked for")

    def fold(self, facts: Sequence[Fact]) -> None:
        pass

    def forget(self) -> None:
        pass

    async def skip(self, size: int) -> bool:
        return False


def _written(options: argparse.Namespace, empty: Log, full: Log) -> dict[str, list[Sample]]:
    """Appends of the writer alone, to a database with an empty log and to the full one."""
    samples: dict[str, list[Sample]] = {"empty": [], "full": []}
    template = replace(grown.stream_of(full.conninfo, f"request-{full.targets[0][0]}")[-1], salt="")
    for nth in range(options.rounds + 1):
        progress(f"The writer alone, round {nth} of {options.rounds}")
        for log, conninfo in (("empty", _database(empty.conninfo, f"empty_{nth}")), ("full", full.conninfo)):
            sample = uvloop.run(_appended(conninfo, SignOffs(template), options.seconds))
            if nth > 0:  # what comes first after a checkpoint writes whole pages of the indexes
                samples[log].append(sample)
    return samples


def _database(server: str, name: str) -> str:
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    conninfo = make_conninfo(server, dbname=name)
    migrate(conninfo, MIGRATIONS)
    return conninfo


async def _appended(conninfo: str, decider: SignOffs, seconds: float) -> Sample:
    writer = Writer(conninfo, decider)
    await writer.start()
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    async def append() -> None:
        while (began := time.perf_counter()) < deadline:
            await writer.submit(None, os.urandom(grown.KEY_BYTES), os.urandom(grown.FINGERPRINT_BYTES))
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(append() for _ in range(CLIENTS)))
    await writer.stop()
    return sample_of(latencies, seconds)


# Full commands


def _commanded(options: argparse.Namespace, empty: Log, full: Log, running: ExitStack) -> dict[str, Any]:
    """Commands over HTTP, and what it takes to serve them."""
    figures: dict[str, Any] = {"start_seconds": {}, "resident_mib": {}}
    services: dict[str, Service] = {}
    for log in (empty, full):
        progress(f"Starting a service on the {log.name} log")
        began = time.perf_counter()
        services[log.name] = running.enter_context(
            serving_on(log.data, log.conninfo, "", seconds_max=START_SECONDS_MAX)
        )
        figures["start_seconds"][log.name] = round(time.perf_counter() - began, 1)
        _targets(log).write_text("".join(f"{request} {token}\n" for request, token in log.targets))
    samples: dict[str, list[Sample]] = {log.name: [] for log in (empty, full)}
    for nth in range(options.rounds + 1):
        progress(f"Commands, round {nth} of {options.rounds}")
        for log in (empty, full):
            sample = load(client_here(), services[log.name], _targets(log), CLIENTS, options.seconds, f"turn-{nth}")
            if nth > 0:  # what comes first loads the requests that are signed off
                samples[log.name].append(sample)
    figures["commands"] = _medians(samples)
    figures["resident_mib"] |= {name: service.resident_mib() for name, service in services.items()}
    return figures


def _targets(log: Log) -> Path:
    return log.data / "targets"


def _medians(samples: dict[str, list[Sample]]) -> dict[str, Any]:
    return {log: medians(found) for log, found in samples.items()}
