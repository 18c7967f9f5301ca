"""How many whole commands a second does the service take, beside what its database could do at best?

Full commands over HTTP (identity, authority, decide, Merkle head, receipt), the `eventsourcing` library's default
recorder and lock-free pgbench inserts of the same size take turns on one durable Postgres: docs/benchmarks.md.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.benchmarks import peers
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.benchmarks.samples import Sample, medians, sample_of
from tests.benchmarks.service import Service, serving

OFFICERS = [f"officer-{nth}" for nth in range(8)]
REQUESTS = 200
AT_ONCE = 16
"""Commands of the set-up that are under way together."""

PATIENCE_SECONDS = 30
"""How long an answer may be outstanding when the time is over."""

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


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=3, help="how long each measurement takes (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how many of each; medians count (3)")
    parser.add_argument("--clients", type=_counts, default=[1, 16, 64], help="how many at once (1,16,64)")
    parser.add_argument(
        "--client", choices=["wrk", "python"], help="who sends the commands (wrk where it is installed)"
    )

    parser.add_argument(
        "--together", action="store_true", help="serve, project and sign in one process, as a fresh clone does"
    )


def _counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if not 1 <= counts[0] <= counts[-1] <= peers.CLIENTS_MAX:
        raise ValueError(text)
    return counts


def run(options: argparse.Namespace) -> Report:
    """All systems at every number of clients, in turns; the ratios are at the largest number. Raises Unmeasured."""
    client = options.client or ("wrk" if shutil.which("wrk") else "python")
    report = Report(missing=[] if client == "wrk" else ["wrk: the commands came from Python, which slows them down"])
    samples: dict[int, dict[str, list[Sample]]] = {
        clients: {name: [] for name in ("assent", "eventsourcing", "pgbench")} for clients in options.clients
    }
    turns = list(product(range(1, options.rounds + 1), options.clients))
    with serving(apart=not options.together) as service, tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        folder = Path(name)
        targets = folder / "targets"
        targets.write_text("".join(f"{request} {token}\n" for request, token in asyncio.run(set_up(service))))
        database = peers.make_database(service.conninfo)
        load(client, service, targets, options.clients[-1], 1, "warm-up")
        record = last_record(service)
        for turn, (nth, clients) in enumerate(turns):
            progress(f"Round {nth} of {options.rounds}, {clients} clients")
            found, seconds = samples[clients], options.seconds
            found["assent"].append(load(client, service, targets, clients, seconds, f"turn-{turn}"))
            service.wait_until_quiet()
            found["eventsourcing"].append(peers.library_appends(database, record, clients, seconds))
            found["pgbench"].append(peers.bare_inserts(database, folder, record, clients, seconds, turn))
        report.figures = {"client": client, "record_bytes": len(record), "log_size": service.log_size()}
    report.figures["clients"] = {str(clients): table(found) for clients, found in samples.items()}
    top = report.figures["clients"][str(options.clients[-1])]
    report.ratios = {name: figure for name, figure in top.items() if name.startswith("vs_")}
    return report


def table(found: dict[str, list[Sample]]) -> dict[str, Any]:
    """The medians of each system, and ours ÷ theirs."""
    figures: dict[str, Any] = {name: medians(samples) for name, samples in found.items()}
    ours = figures["assent"]["per_second"]
    ratios = {f"vs_{name}": round(ours / figures[name]["per_second"], 3) for name in ("eventsourcing", "pgbench")}
    return figures | ratios


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
    before = service.log_size()
    send = with_wrk if client == "wrk" else with_python
    answers, refused, broken, sample = send(service.address, targets, clients, seconds, tag)
    grown = service.log_size() - before
    if refused or broken or grown != answers:
        raise Unmeasured(
            f"{answers} commands were answered, {refused} of them not with 201; {broken} connections broke;"
            f" the log grew by {grown}."
        )
    return sample


Sent = tuple[int, int, int, Sample]
"""Answers, how many of them were not 201, broken connections, and the sample."""


def with_wrk(address: str, targets: Path, clients: int, seconds: int, tag: str) -> Sent:
    done = subprocess.run(
        [
            *("wrk", f"--threads={min(clients, 2)}", f"--connections={clients}", f"--duration={seconds + 1}s"),
            *(f"--timeout={PATIENCE_SECONDS}s", f"--script={Path(__file__).with_name('sign_offs.lua')}", address),
            *("--", str(targets), tag, str(seconds)),
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


def with_python(address: str, targets: Path, clients: int, seconds: int, tag: str) -> Sent:
    processes = min(clients, CLIENT_PROCESSES)
    shares = [clients // processes + (nth < clients % processes) for nth in range(processes)]
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "tests.benchmarks.clients", address.rpartition(":")[2], str(targets)),
                *(f"{tag}-{nth}", str(share), str(seconds)),
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


def last_record(service: Service) -> bytes:
    """A record of the kind that was just written, for the others to write as well."""
    with psycopg.connect(service.conninfo) as conn:
        row = conn.execute(
            "SELECT record FROM event WHERE type = 'AgencySignedOff' ORDER BY position DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    return bytes(row[0])
