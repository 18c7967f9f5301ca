"""Is the service up, and can it serve? And, in development mode, what time shall it be?"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec
import psycopg
from fastapi import APIRouter, Request, Response
from psycopg_pool import AsyncConnectionPool

from domain.errors import Refused
from projections import PROJECTIONS, tracking
from services.handle import Handler
from services.http.answers import source_of
from services.http.bodies import instant, read_body, unfit
from services.http.browsers import is_direct
from services.http.problems import MalformedBody
from services.http.reads import json_response
from services.log.folder import LogRefused, SignerFolder
from services.log.signer import check_at_start
from services.trail import Trail

BODY_BYTES_MAX = 1024
WAIT_SECONDS_MAX = 2.0
STILL_SECONDS_MAX = 15.0
"""How long projections and signer may stand still behind a log that has grown; as long as they go on, they are well."""

_log = logging.getLogger(__name__)

Advance = Callable[[datetime], Awaitable[None]]


class NotHere(Refused):
    status, rule, title = 403, "direct", "This is for whoever sits at this machine"


class ClockStands(Refused):
    rule, title = "clock", "The clock does not move like that"


class Projecting(Protocol):
    """Who knows where each projection stands."""

    async def standings(self) -> list[tracking.Standing]: ...


class Check(msgspec.Struct):
    """One thing that serving needs: whether it is well, and a word about it."""

    name: str
    ok: bool
    detail: str


class Readiness(msgspec.Struct):
    ready: bool
    checks: list[Check]


class Pace:
    """Who stands still, and since when? As seen by those who ask whether this process is ready."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def still_seconds(self, name: str, size: int, end: int) -> float:
        """Since it was first seen at that size, behind the log's `end`; 0 where it goes on, or is there."""
        now = time.monotonic()
        if size >= end:
            self._seen.pop(name, None)
            return 0.0
        last, since = self._seen.get(name, (-1, now))
        if size != last:
            since = now
        self._seen[name] = size, since
        return now - since


class MoveTo(msgspec.Struct, forbid_unknown_fields=True):
    """Where a manual clock shall go."""

    to: Annotated[datetime, msgspec.Meta(tz=True)]


def router(
    handler: Handler, pool: AsyncConnectionPool[Any], projecting: Projecting, folder: SignerFolder, trail: Trail
) -> APIRouter:
    here = life_router()
    pace = Pace()

    @here.get("/readyz", summary="Database, projections and signer are well")
    async def readyz() -> Response:
        found = await readiness(handler, pool, projecting, folder, trail, pace)
        response = json_response(found)
        response.status_code = 200 if found.ready else 503
        return response

    return here


def life_router() -> APIRouter:
    here = APIRouter(tags=["operations"])

    @here.get("/healthz", summary="The process answers")
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    return here


def clock_router(handler: Handler, advance: Advance) -> APIRouter:
    """The manual clock, for those who play a scenario. Development mode only."""
    here = APIRouter(prefix="/api/v1", tags=["development"])

    @here.post("/development/clock", summary="Move the manual clock forward")
    async def move(request: Request) -> Response:
        headers = dict(request.scope["headers"])
        if not is_direct(headers, source_of(request.scope)):
            raise NotHere("The clock is not moved through a proxy.", "a request from this machine, by its own name")
        body = await read_body(request.scope, headers, request.receive, BODY_BYTES_MAX)
        try:
            to = instant(msgspec.json.decode(body, type=MoveTo).to)
        except msgspec.ValidationError as error:
            raise unfit(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedBody("The body cannot be read as JSON.", "JSON in UTF-8") from error
        try:
            await advance(to)
        except ValueError as error:
            raise ClockStands(str(error), "a manual clock, and a time that is not past") from error
        return json_response({"now": handler.clock.now()})

    return here


async def readiness(
    handler: Handler,
    pool: AsyncConnectionPool[Any],
    projecting: Projecting,
    folder: SignerFolder,
    trail: Trail,
    pace: Pace,
) -> Readiness:
    """What serving needs, one by one."""
    conninfo = pool.conninfo
    assert isinstance(conninfo, str)
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            standings = await projecting.standings()
            size = handler.replica.position + 1
            signed = await asyncio.to_thread(_signed, conninfo, folder, size, pace)
            recorded = await asyncio.to_thread(_recorded, trail, pace)
    except (psycopg.Error, TimeoutError) as error:
        return Readiness(False, [Check("database", False, f"it does not answer ({type(error).__name__})")])
    live = {each.name: each for each in standings if each.role == "live"}
    projections = [_projection(table.name, live.get(table.name), size, pace) for table in PROJECTIONS]
    projections += [_being_built(each) for each in standings if each.role == "building"]
    checks = [Check("database", True, "it answers"), signed, recorded, *projections]
    return Readiness(all(check.ok for check in checks), checks)


def _signed(conninfo: str, folder: SignerFolder, end: int, pace: Pace) -> Check:
    """Whether the log is still what was signed, how far that is, and whether somebody goes on signing."""
    try:
        check_at_start(conninfo, folder)
        signed = folder.signed()
    except LogRefused as refused:
        return Check("signer", False, str(refused))
    return _paced("signer", "signed up to size", signed.size if signed else 0, end, pace)


def _recorded(trail: Trail, pace: Pace) -> Check:
    """As `_signed`, of the trail; without a number, for how much others read is nobody's business who asks this."""
    try:
        signed, size = trail.signed()
    except LogRefused as refused:
        _log.error("%s", refused)
        return Check("trail", False, "it is not what was signed; the service's own log says how")
    if pace.still_seconds("trail", signed, size) <= STILL_SECONDS_MAX:
        return Check("trail", True, "it is signed")
    return Check("trail", False, "it grows and is not signed: nobody does it, or it stopped")


def _projection(name: str, standing: tracking.Standing | None, end: int, pace: Pace) -> Check:
    if standing is not None and standing.error is not None:
        return Check(f"projection {name}", False, f"it stopped at position {standing.failed_position}")
    return _paced(f"projection {name}", "at size", standing.position + 1 if standing else 0, end, pace)


def _being_built(each: tracking.Standing) -> Check:
    """Beside the one that serves, so nobody waits for it; what a rebuild left half made is dropped by the next."""
    return Check(f"rebuild of {each.name}", True, f"{each.built or 0} of about {each.to_build or '?'} facts folded")


def _paced(name: str, where: str, size: int, end: int, pace: Pace) -> Check:
    """Well, unless it stands still behind the log's end."""
    seconds = pace.still_seconds(name, size, end)
    if seconds <= STILL_SECONDS_MAX:
        return Check(name, True, f"{where} {size} of {end}")
    return Check(
        name, False, f"{where} {size} of {end}, and no further for {seconds:.0f} s: nobody does it, or it stopped"
    )
