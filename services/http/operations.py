"""Is the service up, and can it serve? And, in development mode, what time shall it be?"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec
import psycopg
from fastapi import APIRouter, Request, Response
from psycopg_pool import AsyncConnectionPool

from domain.errors import Refused
from projections import tracking
from services.handle import Handler
from services.http.bodies import instant, read_body, unfit
from services.http.problems import MalformedBody
from services.http.reads import json_response
from services.log.folder import LogRefused, SignerFolder
from services.log.signer import check_at_start

BODY_BYTES_MAX = 1024
WAIT_SECONDS_MAX = 2.0
Advance = Callable[[datetime], Awaitable[None]]


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


class MoveTo(msgspec.Struct, forbid_unknown_fields=True):
    """Where a manual clock shall go."""

    to: Annotated[datetime, msgspec.Meta(tz=True)]


def router(handler: Handler, pool: AsyncConnectionPool[Any], projecting: Projecting, folder: SignerFolder) -> APIRouter:
    here = APIRouter(tags=["operations"])

    @here.get("/healthz", summary="The process answers")
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    @here.get("/readyz", summary="Database, projections and signer are well")
    async def readyz() -> Response:
        found = await readiness(handler, pool, projecting, folder)
        response = json_response(found)
        response.status_code = 200 if found.ready else 503
        return response

    return here


def clock_router(handler: Handler, advance: Advance) -> APIRouter:
    """The manual clock, for those who play a scenario. Development mode only."""
    here = APIRouter(prefix="/api/v1", tags=["development"])

    @here.post("/development/clock", summary="Move the manual clock forward")
    async def move(request: Request) -> Response:
        headers = dict(request.scope["headers"])
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
    handler: Handler, pool: AsyncConnectionPool[Any], projecting: Projecting, folder: SignerFolder
) -> Readiness:
    """What serving needs, one by one."""
    conninfo = pool.conninfo
    assert isinstance(conninfo, str)
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            standings = await projecting.standings()
            checks = [Check("database", True, "it answers"), await asyncio.to_thread(_signed, conninfo, folder)]
    except (psycopg.Error, TimeoutError) as error:
        return Readiness(False, [Check("database", False, f"it does not answer ({type(error).__name__})")])
    checks += [_projection(each, handler.replica.position) for each in standings if each.role == "live"]
    return Readiness(all(check.ok for check in checks), checks)


def _signed(conninfo: str, folder: SignerFolder) -> Check:
    """Whether the log is still what was signed, and how far that is."""
    try:
        check_at_start(conninfo, folder)
    except LogRefused as refused:
        return Check("signer", False, str(refused))
    signed = folder.signed()
    return Check("signer", True, f"signed up to size {signed.size if signed else 0}")


def _projection(standing: tracking.Standing, end: int) -> Check:
    name = f"projection {standing.name}"
    if standing.error is not None:
        return Check(name, False, f"it stopped at position {standing.failed_position}")
    return Check(name, True, f"at position {standing.position} of {end}")
