"""What can be measured of the service while it runs? `/metrics`, for Prometheus.

Commands, appends and projections are not counted while they happen, but looked up when somebody asks: in the log, the
trail and the rows of the projections. So it costs a command nothing, and all processes of a log tell the same. Counts
begin where the log was when this process was asked first.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from psycopg import AsyncConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.organization import ASSENT
from projections.tracking import Standing, standings
from services.http.answers import source_of
from services.http.machines import must_have_scope
from services.http.problems import ScopeMissing
from services.http.reads import Reads
from services.log.reader import rows
from services.trail import Trail

APPEND_EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""The buckets in which appends are counted by how many events they have."""

MAY_SEE_REQUESTS = ("auditor", "administrator")
"""Which offices of `assent` are told how much is read, and from where: to others that is nobody's business."""

PROCESS = str(os.getpid())


Requests = Counter[tuple[str, str, int]]
"""Requests that this process has answered, but for commands and evaluations: by method, address and status."""


class Counting:
    """The application within, whose answers are counted."""

    def __init__(self, within: ASGIApp, requests: Requests) -> None:
        self._within = within
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                address = getattr(scope.get("route"), "path_format", "other")
                self._requests[scope["method"], address, message["status"]] += 1
            await send(message)

        await self._within(scope, receive, counted)


@dataclass(slots=True)
class Appended:
    """What was appended and refused since this process was first asked."""

    size: int | None = None
    trail_size: int = 0
    appends: int = 0
    events: int = 0
    commands: int = 0
    by_events: Counter[int] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def look(self, log: AsyncConnection[Any], trail: AsyncConnection[Any]) -> int:
        """Take in what came since the last look; the log's size."""
        ((size,),) = await rows(log, "SELECT coalesce(max(size), 0) FROM tree_head")
        ((trail_size,),) = await rows(trail, "SELECT coalesce(max(size), 0) FROM tree_head")
        if self.size is None:
            self.size, self.trail_size = size, trail_size
        for events, times in await rows(log, _APPENDS, self.size, self.size, size):
            self.appends += times
            self.events += events * times
            self.by_events[next((bound for bound in APPEND_EVENTS if events <= bound), 0)] += times
        ((commands,),) = await rows(log, _COMMANDS, self.size, size)
        self.commands += commands
        for command, rule, times in await rows(trail, _REFUSED, self.trail_size, trail_size):
            self.refused[command, rule] += times
        self.size, self.trail_size = size, trail_size
        return int(size)


_APPENDS = """
SELECT events, count(*) FROM (
    SELECT size - coalesce(lag(size) OVER (ORDER BY size), %s) AS events FROM tree_head WHERE size > %s AND size <= %s
) AS appended GROUP BY events"""

_COMMANDS = "SELECT count(command_key) FROM event WHERE position >= %s AND position < %s"

_REFUSED = """
SELECT data ->> 'command', data ->> 'rule', count(*) FROM (
    SELECT convert_from(record, 'UTF8')::json -> 'data' AS data FROM event
    WHERE type = 'CommandRefused' AND position >= %s AND position < %s
) AS refused WHERE NOT (data ->> 'dry_run')::boolean GROUP BY 1, 2"""


@dataclass(frozen=True, slots=True, eq=False)
class Found(Collector):
    """What is told at one time. `requests` is None to whom that is not told."""

    size: int
    signed: int
    appended: Appended
    projections: Iterable[Standing]
    requests: Requests | None

    def collect(self) -> Iterator[Metric]:
        here = self.appended
        yield GaugeMetricFamily("assent_log_size", "Events in the log.", self.size)
        yield GaugeMetricFamily("assent_log_signed_size", "Events that the newest checkpoint covers.", self.signed)
        yield CounterMetricFamily("assent_events", "Events appended.", here.events)
        yield self._appends()
        commands = CounterMetricFamily("assent_commands", "Commands of people, by what became of them.", None, OUTCOME)
        commands.add_metric(["accepted", "", ""], here.commands)
        for (command, rule), times in sorted(here.refused.items()):
            commands.add_metric(["refused", command, rule], times)
        yield commands
        yield from self._of_projections()
        if self.requests is not None:
            labels = ["process", "method", "address", "status"]
            requests = CounterMetricFamily("assent_requests", "Requests answered, but for commands.", None, labels)
            for (method, address, status), times in sorted(self.requests.items()):
                requests.add_metric([PROCESS, method, address, str(status)], times)
            yield requests

    def _appends(self) -> Metric:
        buckets, sum_ = [], 0
        for bound in APPEND_EVENTS:
            sum_ += self.appended.by_events[bound]
            buckets.append((str(float(bound)), float(sum_)))
        found = HistogramMetricFamily("assent_append_events", "Events of one append.")
        found.add_metric([], [*buckets, ("+Inf", float(self.appended.appends))], float(self.appended.events))
        return found

    def _of_projections(self) -> Iterator[Metric]:
        labels = ["projection", "schema", "role"]
        position = GaugeMetricFamily("assent_projection_position", "The last position its rows show.", labels=labels)
        lag = GaugeMetricFamily("assent_projection_lag", "Events of the log it does not show yet.", labels=labels)
        stopped = GaugeMetricFamily("assent_projection_stopped", "1: an error has stopped it.", labels=labels)
        built = GaugeMetricFamily("assent_projection_built_events", "Events a rebuild has folded.", labels=labels)
        to_build = GaugeMetricFamily("assent_projection_to_build_events", "Of about so many.", labels=labels)
        for each in self.projections:
            values = [each.name, each.schema, each.role]
            position.add_metric(values, each.position)
            lag.add_metric(values, max(0, self.size - 1 - each.position))
            stopped.add_metric(values, each.error is not None)
            if each.role == "building":
                built.add_metric(values, each.built or 0)
                to_build.add_metric(values, each.to_build or 0)
        yield from (position, lag, stopped, built, to_build)


OUTCOME = ["outcome", "command", "rule"]


def router(reads: Reads, trail: Trail, requests: Requests) -> APIRouter:
    here = APIRouter(tags=["operations"])
    appended = Appended()
    process = ProcessCollector(registry=None)

    @here.get("/metrics", summary="What can be measured, as Prometheus reads it", response_class=Response)
    async def metrics(request: Request) -> Response:
        is_told = await _is_told_of_requests(reads, request)
        async with reads.pool.connection() as log, trail.pool.connection() as refusals:
            size = await appended.look(log, refusals)
            ((signed,),) = await rows(log, "SELECT coalesce(max(size), 0) FROM checkpoint")
            found = Found(size, signed, appended, await standings(log), requests if is_told else None)
        registry = CollectorRegistry()
        registry.register(found)
        registry.register(process)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return here


async def _is_told_of_requests(reads: Reads, request: Request) -> bool:
    """Without a token, nobody is told. Raises Unauthenticated."""
    if "authorization" not in request.headers:
        return False
    identity = await reads.identities.of_read(dict(request.scope["headers"]), source_of(request.scope))
    try:
        must_have_scope(identity, "read")
    except ScopeMissing:
        return False
    offices = reads.handler.replica.standing(identity.person, reads.handler.clock.now()).offices
    return any(office.organization == ASSENT and office.role in MAY_SEE_REQUESTS for office in offices)
