"""How many whole commands a second does the service take, beside what its database could do at best?

Full commands over HTTP (identity, authority, decide, Merkle head, receipt), served by one process and by two, and what
others do to make an event of the same size durable, take turns on one machine: docs/benchmarks.md.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import psycopg

from services.settings import Settings
from tests.benchmarks import merkle, peers
from tests.benchmarks.peers import PEERS, Appends
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.benchmarks.samples import Sample, medians, sample_of
from tests.benchmarks.service import Service, echoing, serving

OFFICERS = [f"officer-{nth}" for nth in range(8)]
REQUESTS = 200
AT_ONCE = 16
"""Commands of the set-up that are under way together."""

PATIENCE_SECONDS = 30
"""How long an answer may be outstanding when the time is over."""

AT_EVERY_COUNT = frozenset({"eventsourcing", "pgbench"})
"""The others take part at the largest number of clients only."""

WARM_UP_SECONDS = 1

CLIENT_PROCESSES = 2
"""Where Python has to be the client: enough that it is not the limit, on few cores."""

POLICY = {
    "authority_basis": "A benchmark",
    "sign_offs": {"all_of": [{"agency": "commerce"}, {"agency": "oncd"}]},
    "on_refusal": "deny",
}
RELEASE = {
    "id": "atlas-4",
    "provider": "meridian",
    "model": "Atlas 4",
    "tiers": ["standard"],
    "policy": "preview",
    "incident_threshold": "high",
    "phases": [{"name": "preview", "access": "granted"}],
}


Samples = dict[str, list[Sample]]
"""What was measured of each system, round by round."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=3, help="how long each measurement takes (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how many of each; medians count (3)")
    parser.add_argument("--clients", type=_counts, default=[1, 16, 64], help="how many at once (1,16,64)")
    parser.add_argument(
        "--client", choices=["wrk", "python"], help="who sends the commands (wrk where it is installed)"
    )
    parser.add_argument(
        "--peers", type=_names, default=PEERS, help=f"who is measured beside it ({','.join(PEERS)}); some are installed"
    )
    parser.add_argument(
        "--together", action="store_true", help="serve, project and sign in one process, as a fresh clone does"
    )


def _counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if not 1 <= counts[0] <= counts[-1] <= peers.CLIENTS_MAX:
        raise ValueError(text)
    return counts


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(PEERS):
        raise ValueError(text)
    return names


def run(options: argparse.Namespace) -> Report:
    """All systems at every number of clients, in turns; the ratios are at the largest number. Raises Unmeasured."""
    client = options.client or client_here()
    report = Report(missing=[] if client == "wrk" else ["wrk: the commands came from Python, which slows them down"])
    with ExitStack() as running, tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        folder = Path(name)
        scenes = {name: _scene(running, folder, name, doors, options) for name, doors in LAYOUTS.items()}
        service = scenes["assent_one"].service
        record = last_record(service)
        with peers.at_hand(service.conninfo, folder, record, options.peers, report.missing) as others:
            measured = Measured(client, scenes, options.seconds, others)
            samples = measured.in_turns(options.clients, options.rounds)
        report.figures = {"client": client, "record_bytes": len(record), "log_size": service.log_size()}
        merkle_us = merkle.us_a_command(service.conninfo, *measured.span)
    report.figures["assent"] = default_layout()
    report.figures["clients"] = {str(clients): table(found) for clients, found in samples.items()}
    top = report.figures["clients"][str(options.clients[-1])]
    report.ratios = {name: figure for name, figure in top.items() if name.startswith("vs_")}
    report.ratios["p99_over_p50"] = round(top["assent"]["p99_ms"] / top["assent"]["p50_ms"], 2)
    if "1" in report.figures["clients"]:
        report.ratios["vs_echo_and_commit"] = slower_than_its_parts(report.figures["clients"]["1"])
    if not options.together:
        report.figures["merkle_us"] = round(merkle_us, 2)
        report.ratios["merkle_share"] = round(merkle_us / top["assent_one"]["cpu_us"], 3)
    return report


LAYOUTS = {"assent_one": 0, "assent_two": 1}
"""How many doors: one process that does it all, or one that decides and one that takes requests for it."""


def default_layout() -> str:
    """Which of the two `./run serve` takes on this machine."""
    doors = Settings().door_count(len(os.sched_getaffinity(0)))
    return next(name for name, count in LAYOUTS.items() if count == doors)


@dataclass(frozen=True, slots=True)
class Scene:
    """A service with requests under review, and the file that names them with the tokens of who signs them off."""

    service: Service
    targets: Path


def _scene(running: ExitStack, folder: Path, name: str, doors: int, options: argparse.Namespace) -> Scene:
    """It runs as long as the stack is there, and has taken some commands."""
    service = running.enter_context(serving(apart=not options.together, doors=doors))
    targets = folder / f"{name}-targets"
    targets.write_text("".join(f"{request} {token}\n" for request, token in asyncio.run(set_up(service))))
    client = options.client or client_here()
    load(client, service, targets, options.clients[-1], WARM_UP_SECONDS, "warm-up")
    service.wait_until_quiet()
    return Scene(service, targets)


class Measured:
    """Rounds in which every system has its turn, while the others owe the machine nothing.

    `span` is the log's size before and after the last load that one process took from the most clients.
    """

    def __init__(self, client: str, scenes: Mapping[str, Scene], seconds: int, others: Mapping[str, Appends]) -> None:
        self._client, self._scenes = client, scenes
        self._seconds, self._others = seconds, others
        self.span = (0, 0)

    def in_turns(self, counts: Sequence[int], rounds: int) -> dict[int, Samples]:
        """By number of clients (the last is the largest) and name of the system."""
        samples: dict[int, Samples] = {clients: {} for clients in counts}
        for nth in range(rounds):
            for at, clients in enumerate(counts):
                progress(f"Round {nth + 1} of {rounds}, {clients} clients")
                turn = nth * len(counts) + at
                for name, sample in self._turn(clients, turn, whole=clients == counts[-1]):
                    samples[clients].setdefault(name, []).append(sample)
        return samples

    def _turn(self, clients: int, turn: int, whole: bool) -> Iterator[tuple[str, Sample]]:
        """One sample of each; `whole`: of those that are measured at one count, as well."""
        for name, scene in self._scenes.items():
            before = scene.service.log_size()
            yield name, self._followed(scene, clients, turn)
            if name == "assent_one":
                self.span = before, scene.service.log_size()
        if clients == 1:
            yield "echo", self._echoed(turn)
        for name, appends in self._others.items():
            if whole or name in AT_EVERY_COUNT:
                yield name, appends(clients, self._seconds, turn)

    def _followed(self, scene: Scene, clients: int, turn: int) -> Sample:
        """Commands, until projections and signer have caught up with them."""
        service = scene.service
        before, cpu_before = service.log_size(), service.following_cpu_seconds()
        sample = load(self._client, service, scene.targets, clients, self._seconds, f"turn-{turn}")
        after = service.log_size()
        service.wait_until_quiet()
        cpu_after = service.following_cpu_seconds()
        if cpu_before is None or cpu_after is None:
            return sample
        return replace(sample, following_cpu_us=(cpu_after - cpu_before) / (after - before) * 1e6)

    def _echoed(self, turn: int) -> Sample:
        with echoing() as address:
            send = SENDERS[self._client]
            targets = self._scenes["assent_one"].targets
            send(address, targets, 1, WARM_UP_SECONDS, f"echo-warm-up-{turn}")
            _, refused, broken, sample = send(address, targets, 1, self._seconds, f"echo-{turn}")
        if refused or broken:
            raise Unmeasured(f"The echo answered {refused} requests not with 201; {broken} connections broke.")
        return sample


def table(found: Samples) -> dict[str, Any]:
    """The medians of each system, those of the layout that is the default as `assent`, and ours ÷ theirs in rate."""
    figures: dict[str, Any] = {name: medians(samples) for name, samples in found.items()}
    figures = {"assent": figures[default_layout()], **figures}
    ratios = {f"vs_{name}": _rate(figures, COMPARED.get(name, "assent"), name) for name in PEERS if name in figures}
    if "pgbench" in figures:
        ratios["vs_pgbench_two"] = _rate(figures, "assent_two", "pgbench")
    return figures | ratios


COMPARED = {"pgbench": "assent_one"}
"""Which layout is set beside a peer, where that is not the default one."""


def _rate(figures: Mapping[str, Any], ours: str, theirs: str) -> float:
    rate: float = figures[ours]["per_second"] / figures[theirs]["per_second"]
    return round(rate, 3)


def slower_than_its_parts(alone: Mapping[str, Any]) -> float:
    """How long a single client waits for a command, by how long for a bare echo and a bare commit: medians of p50."""
    parts = alone["echo"]["p50_ms"] + alone["pgbench"]["p50_ms"]
    return round(alone["assent"]["p50_ms"] / parts, 2)


# The scene: requests under review that wait for two agencies, of which one never signs


async def set_up(service: Service) -> list[tuple[str, str]]:
    """Requests under review, each with the token of the officer who will sign it off."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=f"{service.address}/api/v1", limits=limits, timeout=60) as client:
        tokens = {person: service.issuer.issue(person) for person in ("root", "rae", "nina", *OFFICERS)}

        async def post(nth: int, person: str, path: str, body: dict[str, Any]) -> Any:
            headers = {"authorization": f"Bearer {tokens[person]}", "idempotency-key": f"set-up-{nth}-{path}"}
            answer = await client.post(path, json=body, headers=headers)
            if answer.status_code != 201:
                raise Unmeasured(f"The set-up's POST {path} was answered {answer.status_code}: {answer.text}")
            return answer.json()

        for nth, (person, path, body) in enumerate(scene()):
            await post(nth, person, path, body)

        async def registered(nth: int) -> str:
            body = {"customer": "northgate", "release": "atlas-4", "use": "Fraud", "user_classes": ["us_person"]}
            answer = await post(nth, "nina", "/requests", body)
            await post(nth, "root", f"/requests/{answer['id']}/registration", {})
            return str(answer["id"])

        requests: list[str] = []
        for first in range(0, REQUESTS, AT_ONCE):
            requests += await asyncio.gather(*map(registered, range(first, min(first + AT_ONCE, REQUESTS))))
    return [(request, tokens[OFFICERS[nth % len(OFFICERS)]]) for nth, request in enumerate(requests)]


def scene() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Who posts what, before the requests: person, path, body."""
    organizations = (
        {"id": "meridian", "kind": "provider"},
        {"id": "northgate", "kind": "customer", "size_class": "large"},
        {"id": "commerce", "kind": "agency", "government": True},
        {"id": "oncd", "kind": "agency", "government": True},
    )
    for organization in organizations:
        yield "root", "/organizations", {"name": str(organization["id"]).title(), "country": "US", **organization}
    officers = (("commerce", officer, "reviewer") for officer in OFFICERS)
    others = (("meridian", "rae", "release_manager"), ("northgate", "nina", "applicant"))
    for employer, person, role in chain(officers, others):
        yield "root", f"/organizations/{employer}/appointments", {"person": person, "role": role}
    yield "root", "/policies/preview/versions", POLICY
    yield "rae", "/releases", RELEASE


# The load: every command is a new position of an officer on one of the requests


def load(client: str, service: Service, targets: Path, clients: int, seconds: int, tag: str) -> Sample:
    """Commands for some seconds. Raises Unmeasured unless each was answered 201, and the log grew by just as many."""
    before, cpu_seconds, doors_seconds = service.log_size(), service.cpu_seconds(), service.doors_cpu_seconds()
    answers, refused, broken, sample = SENDERS[client](service.address, targets, clients, seconds, tag)
    cpu_seconds, doors_after = service.cpu_seconds() - cpu_seconds, service.doors_cpu_seconds()
    grown = service.log_size() - before
    if refused or broken or grown != answers:
        raise Unmeasured(
            f"{answers} commands were answered, {refused} of them not with 201; {broken} connections broke;"
            f" the log grew by {grown}."
        )
    sample = replace(sample, cpu_us=cpu_seconds / answers * 1e6)
    if doors_seconds is None or doors_after is None:
        return sample
    return replace(sample, doors_cpu_us=(doors_after - doors_seconds) / answers * 1e6)


def client_here() -> str:
    """Who sends the commands on this machine."""
    return "wrk" if shutil.which("wrk") else "python"


Sent = tuple[int, int, int, Sample]
"""Answers, how many of them were not 201, broken connections, and the sample."""


def with_wrk(address: str, targets: Path, clients: int, seconds: int, tag: str, pause_ms: int = 0) -> Sent:
    """Each client waits `pause_ms` before every command."""
    done = subprocess.run(
        [
            *("wrk", f"--threads={min(clients, 2)}", f"--connections={clients}", f"--duration={seconds + 1}s"),
            *(f"--timeout={PATIENCE_SECONDS}s", f"--script={Path(__file__).with_name('sign_offs.lua')}", address),
            *("--", str(targets), tag, str(seconds), str(pause_ms)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unmeasured(f"wrk failed: {done.stderr or done.stdout}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    sample = Sample(found["answers"] / seconds, found["p50_ms"], found["p99_ms"])
    return found["answers"], found["refused"], found["broken"], sample


def with_python(address: str, targets: Path, clients: int, seconds: int, tag: str, pause_ms: int = 0) -> Sent:
    processes = min(clients, CLIENT_PROCESSES)
    shares = [clients // processes + (nth < clients % processes) for nth in range(processes)]
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "tests.benchmarks.clients", address.rpartition(":")[2], str(targets)),
                *(f"{tag}-{nth}", str(share), str(seconds), str(pause_ms)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for nth, share in enumerate(shares)
    ]
    try:
        outputs = [process.communicate(timeout=seconds + PATIENCE_SECONDS)[0] for process in running]
    except subprocess.TimeoutExpired as late:
        raise Unmeasured("A client process did not come to an end.") from late
    finally:
        for process in running:
            process.kill()
    if any(process.returncode for process in running):
        raise Unmeasured("A client process failed; its last words are above.")
    found = [json.loads(output) for output in outputs]
    latencies = [latency for each in found for latency in each["latencies"]]
    return len(latencies), sum(each["refused"] for each in found), 0, sample_of(latencies, seconds)


SENDERS = {"wrk": with_wrk, "python": with_python}


def last_record(service: Service) -> bytes:
    """A record of the kind that was just written, for the others to write as well."""
    with psycopg.connect(service.conninfo) as conn:
        row = conn.execute(
            "SELECT record FROM event WHERE type = 'AgencySignedOff' ORDER BY position DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    return bytes(row[0])
