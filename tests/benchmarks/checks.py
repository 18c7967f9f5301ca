"""How fast is «may they use it now?» answered, in memory and over HTTP, beside a dict, policy engines and bare servers?

In memory the same random questions go to the client's gate, to a function that builds the key and looks it up in a
plain dict, and to what others decide with (cedarpy, casbin: installed for the run, each used as its own page says).
Over HTTP one service, an echo on the same server, and a plain FastAPI route take turns: docs/benchmarks.md.
"""

import argparse
import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx
from assent_client.access import Access, Condition, Customer, Grant, Release
from assent_client.replica import REAL, Check, Kept, Place, Replica

from tests.benchmarks import commands
from tests.benchmarks.peers import Unhad, installed
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.benchmarks.samples import Sample, medians
from tests.benchmarks.service import Service, answering, serving

RELEASES = 20
CUSTOMERS_OF_A_GRANT = 10
"""So many grants has a customer, on as many releases."""

WHOLE_RUN_SECONDS = 3600.0
NOW, END = 1_800_000_000_000_000, 1_900_000_000_000_000
QUESTIONS = 200_000
ROUNDS = 5

PEERS = {"cedarpy": "cedarpy==4.8.4", "casbin": "casbin==1.43.0"}
PEER_GRANTS, PEER_QUESTIONS = {"cedarpy": 1000, "casbin": 1000}, {"cedarpy": 300, "casbin": 20}
"""What they can hold and answer in a reasonable time; casbin's time grows with the grants, cedarpy's with the entities
of one question alone.
"""

CLIENTS = 64

Part = str | None
Key = tuple[str, str, Part, Part, Part]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grants", type=int, default=200_000, help="how many there are (200000)")
    parser.add_argument("--growth", type=int, nargs=2, default=[100_000, 1_000_000], help="compare the cost at these")
    parser.add_argument("--seconds", type=int, default=3, help="how long each measurement over HTTP takes (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how many of each over HTTP; medians count (3)")
    parser.add_argument(
        "--peers", type=_names, default=tuple(PEERS), help="engines beside it (cedarpy,casbin); or none"
    )
    parser.add_argument("--only", choices=["memory", "http"], help="half of it")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    if not set(names) <= set(PEERS):
        raise ValueError(text)
    return names


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured."""
    report = Report()
    if options.only != "http":
        in_memory(report, options.grants)
        beside_engines(report, options.peers)
        costs = {str(grants): cost(grants) for grants in options.growth}
        few, many = costs.values()
        report.figures["check_us_at"] = costs
        report.ratios["us_at_many_vs_few"] = round(many / few, 2)
    if options.only != "memory":
        over_http(report, options.seconds, options.rounds)
    return report


# In memory


def records(grants: int) -> Iterator[Any]:
    """As many grants, ten for each customer, every fifth with a condition."""
    for nth in range(RELEASES):
        yield Release(f"release-{nth}", 1, "meridian", ("standard", "pro"), "preview", "granted", 1)
    customers = max(1, grants // CUSTOMERS_OF_A_GRANT)
    for nth in range(customers):
        yield Customer(f"customer-{nth}", 2)
    for nth in range(grants):
        at = nth + 1000
        customer, release = f"customer-{nth % customers}", f"release-{nth // customers % RELEASES}"
        conditions = (Condition(1, False, at),) if nth % 5 == 0 else ()
        id = f"01kwk2q8xrewp9q7rm{nth:08d}"
        yield Grant(id, at, customer, release, at, ("standard",), ("us_person",), (), END + nth, conditions)


def known(grants: int) -> Access:
    access = Access(answers_max=2 * grants)
    for record in records(grants):
        access.put(record)
    return access


def keys(grants: int) -> list[Key]:
    """What is asked: random uses that grants cover, each a tuple of texts of its own, as a request brings them."""
    chance, customers = Random(1), max(1, grants // CUSTOMERS_OF_A_GRANT)
    found = []
    for _ in range(QUESTIONS):
        nth = chance.randrange(grants)
        found.append(
            (f"customer-{nth % customers}", f"release-{nth // customers % RELEASES}", "standard", "us_person", None)
        )
    return found


def gate(grants: int) -> Check:
    """The check of a gate that has just heard all of it."""
    replica = Replica(max_staleness_seconds=WHOLE_RUN_SECONDS, answers_max=2 * grants)
    replica.restore(Kept(Place(grants + 1000, 0, None), NOW, REAL.wall(), "", list(records(grants))))
    return replica.check


def looked_up(grants: int) -> Callable[..., Any]:
    """The same signature, and a plain dict."""
    plain = {tuple(key): True for key in keys(grants)}

    def asked(customer: str, release: str, tier: Part = None, person_class: Part = None, affiliate: Part = None) -> Any:
        return plain.get((customer, release, tier, person_class, affiliate))

    return asked


def us_of(check: Callable[..., Any], asked: list[Key]) -> float:
    """Processor time of one call."""
    began = time.process_time()
    for customer, release, tier, person_class, _ in asked:
        check(customer, release, tier=tier, person_class=person_class)
    return (time.process_time() - began) / len(asked) * 1e6


def in_turns(checks: Mapping[str, Callable[..., Any]], asked: list[Key]) -> dict[str, float]:
    """Medians, after a round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in checks}
    gc.collect()
    gc.freeze()
    for nth in range(ROUNDS + 1):
        for name, check in checks.items():
            us = us_of(check, asked)
            if nth:
                found[name].append(us)
    gc.unfreeze()
    return {name: round(median(each), 3) for name, each in found.items()}


def in_memory(report: Report, grants: int) -> None:
    progress(f"{grants} grants in memory")
    report.figures |= {"grants": grants, "bytes_per_grant": bytes_per_grant(grants)}
    check, asked = gate(grants), keys(grants)
    cold = us_of(check, asked)
    found = in_turns({"check": check, "dict": looked_up(grants)}, asked)
    report.figures |= {"check_us": found["check"], "dict_us": found["dict"], "first_check_us": round(cold, 3)}
    report.ratios["vs_dict"] = round(found["check"] / found["dict"], 2)


def bytes_per_grant(grants: int) -> int:
    """What the records of so many grants take, without what is remembered of answers."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    access = known(grants)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert sum(map(len, access.grants.values())) == grants
    return round(taken / grants)


def cost(grants: int) -> float:
    """Microseconds of a check among so many grants."""
    progress(f"{grants} grants in memory")
    check, asked = gate(grants), keys(grants)
    us_of(check, asked)
    return in_turns({"check": check}, asked)["check"]


# Beside policy engines


def beside_engines(report: Report, wanted: Sequence[str]) -> None:
    """The same decisions, some of them refused, in a process that has the engine."""
    for name in wanted:
        package = PEERS[name]
        try:
            with tempfile.TemporaryDirectory(prefix="assent-bench-") as folder:
                progress(f"Installing {package}")
                found = decided(name, installed(package, Path(folder)))
        except Unhad as reason:
            report.missing.append(f"{name}: {reason}")
            continue
        report.figures[f"{name}_us"] = found["us"]
        report.figures[f"{name}_grants"] = PEER_GRANTS[name]
        report.ratios[f"vs_{name}"] = round(found["us"] / found["ours_us"], 1)


def decided(name: str, packages: Path) -> dict[str, float]:
    arguments = [name, str(packages), str(PEER_GRANTS[name]), str(PEER_QUESTIONS[name])]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.benchmarks.engines", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0:
        raise Unmeasured(f"{name} failed: {done.stderr.strip()[-1000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


# Over HTTP


def over_http(report: Report, seconds: int, rounds: int) -> None:
    """Evaluations, whose answer is an allowance; the same bodies to the echo and to the route."""
    if shutil.which("wrk") is None:
        report.missing.append("wrk: evaluations over HTTP need it, for Python would be the limit")
        return
    samples: dict[str, list[Sample]] = {}
    with (
        serving(apart=True) as service,
        answering("tests.benchmarks.echo") as echo,
        answering("tests.benchmarks.fastapi_route") as route,
    ):
        token = asyncio.run(granted(service))
        addresses = {"assent": service.address, "asgi_echo": echo, "fastapi_route": route}
        for address in addresses.values():
            posted(address, token, 1)
        for nth in range(rounds):
            for name, address in addresses.items():
                progress(f"Round {nth + 1} of {rounds}, {name}")
                samples.setdefault(name, []).append(posted(address, token, seconds))
    found = {name: medians(each) for name, each in samples.items()}
    report.figures["http"] = found
    for name in ("asgi_echo", "fastapi_route"):
        report.ratios[f"vs_{name}"] = round(found["assent"]["per_second"] / found[name]["per_second"], 2)


def posted(address: str, token: str, seconds: int) -> Sample:
    script = Path(__file__).with_name("evaluations.lua")
    done = subprocess.run(
        [
            *("wrk", "--threads=2", f"--connections={CLIENTS}", f"--duration={seconds}s", f"--script={script}"),
            *(address, "--", token),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unmeasured(f"wrk failed: {done.stderr or done.stdout}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if found["refused"] or found["broken"]:
        raise Unmeasured(f"{address} refused {found['refused']} evaluations; {found['broken']} connections broke.")
    return Sample(found["answers"] / found["seconds"], found["p50_ms"], found["p99_ms"])


async def granted(service: Service) -> str:
    """Let northgate have a grant for atlas-4; the token of a gateway, which is allowed what the script asks."""
    tokens = {person: service.issuer.issue(person) for person in ("root", "rae", "nina", "olga", "officer-0")}
    async with httpx.AsyncClient(base_url=service.address, timeout=60) as client:

        async def post(nth: int, person: str, path: str, body: Any) -> Any:
            headers = {"authorization": f"Bearer {tokens[person]}", "idempotency-key": f"set-up-{nth}-{path}"}
            answer = await client.post(path, json=body, headers=headers)
            if answer.status_code not in (200, 201):
                raise Unmeasured(f"The set-up's POST {path} was answered {answer.status_code}: {answer.text}")
            return answer.json()

        for nth, (person, path, body) in enumerate(commands.scene()):
            await post(nth, person, f"/api/v1{path}", body)
        appointment = {"person": "olga", "role": "reviewer"}
        await post(0, "root", "/api/v1/organizations/oncd/appointments", appointment)
        asked = {"customer": "northgate", "release": "atlas-4", "use": "Fraud", "user_classes": ["us_person"]}
        id = (await post(0, "nina", "/api/v1/requests", asked))["id"]
        await post(0, "root", f"/api/v1/requests/{id}/registration", {})
        for person, agency in (("officer-0", "commerce"), ("olga", "oncd")):
            body = {"agency": agency, "position": "approve"}
            await post(0, person, f"/api/v1/requests/{id}/sign-offs", body)
        answer = await post(0, "rae", "/access/v1/evaluation", EVALUATION)
        if answer["decision"] is not True:
            raise Unmeasured(f"The evaluation was answered {answer}.")
    return tokens["rae"]


EVALUATION = {
    "subject": {"type": "organization", "id": "northgate", "properties": {"person_class": "us_person"}},
    "action": {"name": "use"},
    "resource": {"type": "release", "id": "atlas-4", "properties": {"tier": "standard"}},
}
