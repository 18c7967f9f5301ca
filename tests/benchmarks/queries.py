"""Is every list, dashboard and document as fast among a million requests as among ten thousand, now and a year back?"""

import argparse
import asyncio
import http.client
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psycopg

from domain.authority import READS
from projections import PROJECTIONS
from projections.tables import Table
from services.assent import MIGRATIONS
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from services.project import Projecting
from tests.benchmarks import years
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.benchmarks.samples import sample_of
from tests.benchmarks.service import Service, serving_on

FEW = 10_000
START_SECONDS_MAX = 900.0
PROCESSES = 3
"""How many processes build the projections."""

RATIO_MAX, MEDIAN_MS_MAX = 3.0, 20.0
"""What is aimed at: how much slower a question may be on the larger log, and how long its first page may take."""

SLOW_SECONDS = 5.0
"""What takes so long is asked once."""

PATIENCE_SECONDS = 60.0
"""What takes longer counts as so long."""

PREFIX = "/api/v1"
NOT_ASKED = ("/api/v1/log/", "/api/v1/trail", "/api/v1/events", "/api/v1/diff")
"""What is no list of a projection."""

AUDITOR, OFFICER, OF_BIS, APPLICANT, SELDOM = "ada", "olga", "bob", "of-c09", "of-seldom"

FILTERS: dict[str, tuple[tuple[str, str], ...]] = {
    "/requests": (
        (AUDITOR, "state=approved"),
        (AUDITOR, "state=in_review"),
        (AUDITOR, "state=escalated"),
        (AUDITOR, "state=lapsed"),
        (AUDITOR, "waiting_on=commerce"),
        (AUDITOR, "waiting_on=bis"),
        (AUDITOR, "customer=c09"),
        (AUDITOR, "customer=seldom"),
        (AUDITOR, "release=model-0"),
        (AUDITOR, "release=model-7"),
        (AUDITOR, "customer=c09&state=in_review"),
        (OFFICER, ""),
        (OFFICER, "waiting_on=oncd"),
        (OF_BIS, ""),
        (APPLICANT, ""),
        (APPLICANT, "state=approved"),
        (SELDOM, ""),
    ),
    "/grants": (
        (AUDITOR, "state=active"),
        (AUDITOR, "state=suspended"),
        (AUDITOR, "state=expired"),
        (AUDITOR, "customer=c09"),
        (AUDITOR, "customer=seldom"),
        (AUDITOR, "release=model-0"),
        (OFFICER, ""),
        (OF_BIS, ""),
        (APPLICANT, ""),
        (SELDOM, ""),
    ),
    "/dashboards/pending_sign_offs": (
        (OFFICER, "agency=oncd"),
        (OFFICER, "officer=olga"),
        (OFFICER, "overdue=true"),
        (OF_BIS, ""),
        (AUDITOR, "lacks=countersignature"),
    ),
    "/dashboards/conditions": ((AUDITOR, "agency=commerce"), (AUDITOR, "customer=seldom"), (APPLICANT, "")),
    "/dashboards/clearance": ((AUDITOR, "customer=c09"), (AUDITOR, "release=model-7"), (APPLICANT, "")),
    "/dashboards/activity": ((AUDITOR, "person=olga"), (AUDITOR, "person=of-seldom"), (AUDITOR, "person=nobody")),
    "/dashboards/activity_counts": ((AUDITOR, "person=olga"),),
    "/dashboards/turnaround": ((AUDITOR, "by=size_class"), (OFFICER, "by=release"), (OF_BIS, "from=2026-01-01")),
    "/dashboards/turnaround/requests": ((AUDITOR, "by=release&value=model-7"), (OF_BIS, "")),
    "/organizations": ((AUDITOR, "kind=customer"),),
    "/releases": ((AUDITOR, "phase=preview"),),
}
"""Beside each list as it is: who asks for which part of it, also for such as holds few of many rows or none."""


@dataclass(frozen=True, slots=True)
class Question:
    person: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.person} {self.path}"

    def at(self, instant: str) -> "Question":
        return Question(self.person, f"{self.path}{'&' if '?' in self.path else '?'}at={instant}")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=_requests, default=1_000_000, help="of the larger log (1000000)")
    parser.add_argument("--rounds", type=int, default=40, help="how often each question is asked (40)")
    parser.add_argument("--folder", type=Path, help="where the logs are kept, and used again")


def _requests(text: str) -> int:
    requests = int(text)
    if requests < years.REQUESTS_MIN:
        raise ValueError(text)
    return requests


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured."""
    few, many = min(FEW, options.requests // 10 or 1), options.requests
    report = Report(figures={"requests": {"few": few, "many": many}})
    with ExitStack() as running:
        folder = options.folder or Path(running.enter_context(tempfile.TemporaryDirectory(prefix="assent-bench-")))
        services = {}
        for name, requests in (("few", few), ("many", many)):
            data = folder / f"{requests}-requests"
            services[name], report.figures[f"seconds_{name}"] = _served(running, data, requests)
        figures = _measured(services, options.rounds)
    report.figures["questions"] = figures
    for when in ("now", "year_back"):
        ratios = [each[when]["ratio"] for each in figures.values() if when in each]
        report.ratios[f"slowest_{when}"] = max(ratios)
        report.ratios[f"median_{when}"] = round(median(ratios), 2)
    slow = [f"{name} {when}" for name, each in figures.items() for when, found in each.items() if not _is_well(found)]
    report.figures["beside_the_goal"] = "; ".join(slow) or "none"
    report.holds = not slow
    return report


def _is_well(found: dict[str, float]) -> bool:
    return found["ratio"] <= RATIO_MAX and found["many_p50_ms"] < MEDIAN_MS_MAX


# The logs


def _served(running: ExitStack, data: Path, requests: int) -> tuple[Service, dict[str, float]]:
    """A service on a log of so many requests, with all projections built; and how long that took."""
    done = data / "grown"
    seconds: dict[str, float] = {}
    if not done.exists():
        shutil.rmtree(data, ignore_errors=True)  # what was not finished
    conninfo = running.enter_context(EmbeddedPostgres(data))
    began = time.perf_counter()
    if not done.exists():
        progress(f"A log of {requests:,} requests")
        migrate(conninfo, MIGRATIONS)
        years.grow(conninfo, requests)
        seconds["log"] = round(time.perf_counter() - began, 1)
    began = time.perf_counter()
    service = running.enter_context(serving_on(data, conninfo, "", seconds_max=START_SECONDS_MAX))
    seconds["start"] = round(time.perf_counter() - began, 1)
    if missing := asyncio.run(_missing(conninfo)):
        progress("Its projections")
        began = time.perf_counter()
        asyncio.run(Projecting(conninfo).rebuild(missing, processes=PROCESSES))
        _settle(conninfo)
        seconds["projections"] = round(time.perf_counter() - began, 1)
    done.touch()
    return service, seconds


async def _missing(conninfo: str) -> list[Table]:
    """The projections that are not there in the version that is asked."""
    live = {(each.name, each.version) for each in await Projecting(conninfo).standings() if each.role == "live"}
    return [table for table in PROJECTIONS if (table.name, table.version) not in live]


def _settle(conninfo: str) -> None:
    """What a database would have done by itself in the months that such a log takes to grow."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")


# The questions


def lists() -> list[str]:
    """The address of every list and dashboard."""
    return [
        path.removeprefix(PREFIX)
        for path in READS
        if path.startswith(f"{PREFIX}/") and "{" not in path and not path.startswith(NOT_ASKED) and "clock" not in path
    ]


def questions() -> Iterator[Question]:
    for path in lists():
        yield Question(AUDITOR, path)
        for person, filters in FILTERS.get(path, ()):
            yield Question(person, f"{path}?{filters}" if filters else path)


def documents(id: str) -> Iterator[Question]:
    """What is asked of one request, of which the log's length should not matter either."""
    for path in ("", "/history", "/required-sign-offs", "/dossier"):
        yield Question(AUDITOR, f"/requests/{id}{path}")
    yield Question(APPLICANT, f"/requests/{id}?occurred_at={_time(years.end())}")
    yield Question(AUDITOR, f"/diff?stream=request-{id}&from=0&to={_time(years.end())}")
    yield Question(AUDITOR, f"/diff?stream=organization-seldom&from={_year_back()}&to={_time(years.end())}")


def _year_back() -> str:
    return _time(years.end() - timedelta(days=365))


def _time(instant: Any) -> str:
    text: str = instant.isoformat().replace("+00:00", "Z")
    return text


def _measured(services: dict[str, Service], rounds: int) -> dict[str, Any]:
    """Each question on both logs in turn: percentiles in ms, and how much slower the larger log's median is."""
    clients = {name: Client(service) for name, service in services.items()}
    asked: list[tuple[str, str, dict[str, Question]]] = []
    for question in questions():
        for when, each in (("now", question), ("year_back", question.at(_year_back()))):
            asked.append((question.name, when, dict.fromkeys(services, each)))
    ids = {name: _some_request(service.conninfo) for name, service in services.items()}
    for parts in zip(*(documents(ids[name]) for name in services), strict=True):
        each = dict(zip(services, parts, strict=True))
        asked.append((parts[0].name.replace(ids["few"], "ID"), "now", each))
    found: dict[str, Any] = {}
    for nth, (name, when, each) in enumerate(asked):
        progress(f"{nth + 1} of {len(asked)}: {name} {when}")
        taken = {log: [client.ask(each[log])] for log, client in clients.items()}
        if max(taken["few"] + taken["many"]) < SLOW_SECONDS:
            taken = {log: [] for log in clients}  # what came first found nothing in memory
            for _ in range(rounds):
                for log, client in clients.items():
                    taken[log].append(client.ask(each[log]))
        found.setdefault(name, {})[when] = _told(taken["few"], taken["many"])
    return found


def _told(few: Sequence[float], many: Sequence[float]) -> dict[str, float]:
    samples = {"few": sample_of(few, 1), "many": sample_of(many, 1)}
    found = {f"{log}_{name}": round(getattr(each, name), 2) for log, each in samples.items() for name in PERCENTILES}
    return {**found, "ratio": round(found["many_p50_ms"] / found["few_p50_ms"], 2)}


PERCENTILES = ("p50_ms", "p99_ms")


def _some_request(conninfo: str) -> str:
    """One of the applicant's own that was approved, in the middle of the log."""
    query = """
        SELECT stream FROM event WHERE type = 'RequestApproved' AND position > (SELECT max(position) / 2 FROM event)
        ORDER BY position"""
    with psycopg.connect(conninfo) as conn:
        for (stream,) in conn.execute(query):
            row = conn.execute("SELECT record FROM event WHERE stream = %s AND version = 1", (stream,)).fetchone()
            if row and b'"customer":"c09"' in row[0]:
                return str(stream.removeprefix("request-"))
    raise Unmeasured("The applicant has no request.")


class Client:
    """Somebody on one connection."""

    def __init__(self, service: Service) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(service.address).netloc, timeout=PATIENCE_SECONDS)
        self._issue = service.issuer.issue
        self._tokens: dict[str, str] = {}

    def ask(self, question: Question) -> float:
        """Seconds until the answer was there. Raises Unmeasured where it is no answer."""
        if question.person not in self._tokens:
            self._tokens[question.person] = self._issue(question.person)
        headers = {"authorization": f"Bearer {self._tokens[question.person]}"}
        began = time.perf_counter()
        try:
            self._connection.request("GET", PREFIX + question.path, headers=headers)
            response = self._connection.getresponse()
            body = response.read()
        except TimeoutError:
            self._connection.close()
            return PATIENCE_SECONDS
        seconds = time.perf_counter() - began
        if response.status == 503:  # it gave up
            return seconds
        if response.status != 200:
            raise Unmeasured(f"{question.name} was answered {response.status}: {body.decode()}")
        return seconds
