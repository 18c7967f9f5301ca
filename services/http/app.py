"""How do the addresses become one application? Commands and evaluations go straight through, reads by the framework."""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg_pool import AsyncConnectionPool
from starlette.exceptions import HTTPException
from starlette.types import Message

from domain.authority import READS
from domain.errors import NotFound, Refused
from services.api_keys import secrets_in
from services.enforcement_points import EnforcementPoints
from services.handle import Handler
from services.http import (
    access,
    access_feed,
    access_requests,
    audit,
    commands,
    description,
    differences,
    dossier,
    enforcement,
    evaluations,
    exports,
    log,
    login,
    metrics,
    operations,
    problems,
    queries,
    search,
    trail,
    turnaround,
)
from services.http.access import Desk
from services.http.access_log import AccessLog, about_of
from services.http.access_requests import Denials, Requesting
from services.http.answers import NO_STORE, SECURE, Exchange, Receive, Scope, Send, fixed_id, id_of, send_refusal
from services.http.browsers import browsers_of
from services.http.commands import Commands, Directory
from services.http.decided import Receipts
from services.http.enforcement import Acknowledging
from services.http.evaluations import Evaluating
from services.http.feed import MEDIA_TYPE
from services.http.hosts import Hosts, WrongHost
from services.http.identity import Identities
from services.http.issuers import issuers_of
from services.http.key_uses import KeyUses
from services.http.machines import Machines
from services.http.operations import Advance, Projecting
from services.http.positions import Positions
from services.http.problems import (
    BadParameter,
    MethodNotAllowed,
    NoSuchPath,
    TookTooLong,
    Unexpected,
)
from services.http.rates import rates_of
from services.http.reads import Reads, check_query, json_response
from services.http.recorded import Recorded
from services.http.search import Searching
from services.http.sessions import Sessions
from services.http.sources import Sources
from services.log.folder import SignerFolder
from services.log.writer import StorageUnavailable
from services.logs import About, about
from services.replica import Replica
from services.settings import Settings
from services.trail import Trail, TrailUnavailable
from services.vault import Vault

METADATA_SECONDS = 3600
"""How long AuthZEN's metadata may be kept."""

SECONDS_MAX = 30.0
"""How long a read may take. A command is bounded by the writer, which never leaves it without an answer."""

_log = logging.getLogger(__name__)


def build_app(
    settings: Settings,
    handler: Handler,
    pool: AsyncConnectionPool[Any],
    door: AsyncConnectionPool[Any],
    vault: Vault,
    projecting: Projecting,
    folder: SignerFolder,
    advance: Advance,
    trail_: Trail,
) -> "Door | AccessLog":
    """The ASGI application. It reads by `pool`; sessions are kept by `door`. Raises DevelopmentOnly.

    `advance` moves a manual clock, and lets what falls due happen.
    """

    def now() -> datetime:
        return handler.clock.now()  # of the clock that it has by then

    issuers, uses = issuers_of(settings), KeyUses(door, now)
    sessions = Sessions(door, browsers_of(settings), settings.session_hours * 3600, settings.session_idle_minutes * 60)
    rates, sources = rates_of(settings), Sources(settings.proxies)
    identities = Identities(issuers.all(), Machines(handler.replica, now, uses), sessions, rates.failed_sign_ins)
    recorded = Recorded(trail_, handler, sources)
    positions = Positions(handler.replica, pool)
    reads = Reads(handler, pool, vault, identities, recorded, positions, rates.reads)
    framework = _framework(partial(_refused, recorded))
    denials = Denials(settings.data, settings.url) if settings.access_requests == "on" else None
    desk = Desk(handler.replica, now, identities, rates.evaluations, denials)
    framework.include_router(access_requests.router(reads, denials, settings.url))
    if "feed" in settings.roles:
        framework.include_router(access_feed.router(desk, pool))
    points = EnforcementPoints(door, now, handler.replica.changes)
    framework.include_router(queries.router(reads, uses))
    framework.include_router(enforcement.router(reads, points))
    framework.include_router(dossier.router(reads))
    framework.include_router(differences.router(reads))
    framework.include_router(turnaround.router(reads))
    framework.include_router(audit.router(reads))
    framework.include_router(log.router(reads))
    framework.include_router(login.router(issuers, sessions, identities, rates))
    framework.include_router(trail.router(reads, trail_.pool))
    framework.include_router(operations.router(handler, pool, projecting, folder, trail_))
    requests: metrics.Requests = metrics.Requests()
    framework.include_router(metrics.router(reads, trail_, requests))
    framework.add_middleware(metrics.Counting, requests)
    if settings.mode == "development":
        framework.include_router(operations.clock_router(handler, advance))
    framework.include_router(description.router(framework))
    framework.include_router(_metadata(settings, denials is not None))
    mints = commands.mints(secrets_in(settings.data / "api-keys"), lambda: str(folder.next()))
    commands_ = Commands(handler, identities, mints, settings.body_bytes_max, recorded, rates.commands)
    requesting = Requesting(handler, identities, recorded, denials, settings.url, rates.commands)
    receipts = Receipts(pool, folder)
    inner = Door(commands_, desk, points, receipts, framework, Hosts(settings), sources, requesting)
    return _logged(inner, identities, settings)


def build_access_app(
    settings: Settings,
    replica: Replica,
    now: Callable[[], datetime],
    pool: AsyncConnectionPool[Any],
    door: AsyncConnectionPool[Any],
    folder: SignerFolder,
) -> "Door | AccessLog":
    """What gateways ask, and the feed that they follow, in a process of their own. Raises DevelopmentOnly."""
    rates = rates_of(settings)
    machines = Machines(replica, now, KeyUses(door, now))
    identities = Identities(issuers_of(settings).all(), machines, None, rates.failed_sign_ins)
    desk = Desk(replica, now, identities, rates.evaluations)
    framework = _framework(_refused_unrecorded)
    framework.include_router(access_feed.router(desk, pool))
    framework.include_router(operations.life_router())
    framework.include_router(_metadata(settings, has_requests=False))
    points = EnforcementPoints(door, now, replica.changes)
    receipts = Receipts(pool, folder)
    inner = Door(None, desk, points, receipts, framework, Hosts(settings), Sources(settings.proxies))
    return _logged(inner, identities, settings)


def _framework(refused: Any) -> FastAPI:
    return FastAPI(
        title="Assent",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={
            Refused: refused,
            RequestValidationError: _invalid,
            HTTPException: _of_the_framework,
            psycopg.OperationalError: _storage_unavailable,
            Exception: _unexpected,
        },
    )


def _metadata(settings: Settings, has_requests: bool) -> APIRouter:
    here = APIRouter(tags=["access"])

    @here.get("/.well-known/authzen-configuration", summary="Where evaluations are answered")
    async def authzen_configuration(request: Request) -> Response:
        base = settings.url or str(request.base_url).rstrip("/")
        return json_response(access.configuration(base, has_requests), {"cache-control": f"max-age={METADATA_SECONDS}"})

    return here


def _logged(inner: "Door", identities: Identities, settings: Settings) -> "Door | AccessLog":
    return AccessLog(inner, identities.known, template_of) if settings.access_log == "on" else inner


class Door:
    """Where every request comes in: commands and evaluations are found in a directory, all else is the framework's."""

    def __init__(
        self,
        commands_: Commands | None,
        desk: Desk,
        points: EnforcementPoints,
        receipts: Receipts,
        framework: FastAPI,
        hosts: Hosts,
        sources: Sources,
        requesting: Requesting | None = None,
    ) -> None:
        self._commands = commands_
        self._requesting = requesting
        self._evaluating = Evaluating(desk, receipts)
        searching, acknowledging = Searching(desk), Acknowledging(desk, points)
        self._asked = {
            **dict.fromkeys(_EVALUATED, self._evaluating.answer),
            **dict.fromkeys(search.KINDS, searching.answer),
            enforcement.ENFORCEMENT: acknowledging.answer,
        }
        self.framework = framework
        self._accepts_host = hosts.accepts
        self._sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.framework(scope, receive, send)
            return
        with about(about_of(scope, template_of)):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._sources and (client := scope["client"]) is not None:
            scope["client"] = self._sources.of(client[0], scope["headers"]), client[1]
        try:
            given = [value for name, value in scope["headers"] if name == b"host"]
            if len(given) > 1 or not self._accepts_host(given[0] if given else None):
                raise WrongHost
            if scope["method"] == "POST" and await self._posted(scope, receive, send):
                return
            if scope["path"] in _ASKED:
                raise MethodNotAllowed(["POST"])
            await self._framed(scope, receive, send)
        except Refused as refusal:
            await send_refusal(scope, send, id_of(scope), refusal)
        except ConnectionError:
            return
        except psycopg.OperationalError:
            await send_refusal(scope, send, id_of(scope), _without_storage())
        except Exception:
            _log.exception("A request failed")
            await send_refusal(scope, send, id_of(scope), Unexpected())

    def takes(self, path: bytes) -> bool:
        return path.startswith(_BEFORE_COMMANDS) or path in _EVALUATIONS

    def take(self, exchange: Exchange) -> bool:
        """Whatever is refused before it is decided is refused once more where there is a task to tell it."""
        try:
            if not self._accepts_host(exchange.headers.get(b"host")):
                return False
            if exchange.path in _EVALUATED:
                return self._evaluating.take(exchange)
            if self._commands is None or (found := _DIRECTORY.find(exchange.path)) is None:
                return False
            return self._commands.take(*found, exchange)
        except Refused:
            return False
        except Exception:
            with about(About(fixed_id(exchange).decode(), partial(template_of, exchange.path))):
                _log.exception("A request failed")
            return False

    async def _posted(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether it was a command, or what gateways ask and say; then it is answered."""
        path: str = scope["path"]
        if (answer := self._asked.get(path)) is not None:
            await answer(scope, receive, send)
            return True
        if path == access_requests.REQUESTS and self._requesting is not None:
            await self._requesting.answer(scope, receive, send)
            return True
        if self._commands is None or not path.startswith(f"{commands.PREFIX}/"):
            return False
        if (found := _DIRECTORY.find(path)) is None:
            return False
        route, texts = found
        await self._commands.answer(route, texts, scope, receive, send)
        return True

    async def _framed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By way of the framework: a time limit, up to where a feed or file begins, and the headers of every answer."""
        if not scope["path"].startswith(_BY_READERS):  # who are told after they have said who they are
            check_query(scope["query_string"])
        id, began = id_of(scope), False

        async def with_headers(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                own = message["headers"]
                cached = any(name == b"cache-control" for name, _ in own)
                message["headers"] = [*own, (b"x-request-id", id), *([] if cached else [NO_STORE]), *SECURE]
                if not _STREAMED.isdisjoint(own):
                    limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(SECONDS_MAX) as limit:
                await self.framework(scope, receive, with_headers)
        except TimeoutError:
            if not began:
                raise TookTooLong(f"A read takes at most {SECONDS_MAX:g} seconds.", "a smaller question") from None
        except Exception:
            _log.exception("A request failed")
            if not began:
                raise Unexpected from None


# What the framework refuses, in the one shape


def problem_response(refusal: Refused) -> Response:
    response = Response(problems.body_of(refusal), refusal.status)
    for name, value in problems.headers_of(refusal):
        response.headers[name.decode()] = value.decode()
    return response


async def _refused(recorded: Recorded, request: Request, refusal: Any) -> Response:
    try:
        await recorded.not_shown(request, refusal)
    except TrailUnavailable as unavailable:
        return problem_response(unavailable)
    return problem_response(refusal)


async def _refused_unrecorded(request: Request, refusal: Any) -> Response:
    return problem_response(refusal)


async def _invalid(request: Request, error: Any) -> Response:
    """A parameter in the path that cannot be an id names nothing; others are malformed."""
    errors: Sequence[Any] = error.errors()
    if any(each["loc"][0] == "path" for each in errors):
        return problem_response(NotFound())
    names = [str(each["loc"][-1]) for each in errors]
    sentences = [f"{name}: {each['msg']}" for name, each in zip(names, errors, strict=True)]
    return problem_response(BadParameter("; ".join(sentences) + ".", *names))


async def _of_the_framework(request: Request, error: Any) -> Response:
    """What another process serves is not here."""
    allowed = methods_of(request.scope["path"])
    if error.status_code in (404, 405):
        is_elsewhere = not allowed or request.method in allowed
        return problem_response(NoSuchPath() if is_elsewhere else MethodNotAllowed(allowed))
    return problem_response(BadParameter(str(error.detail)))


def _without_storage() -> StorageUnavailable:
    return StorageUnavailable("The database does not answer; repeating this later is safe.", "the database")


async def _storage_unavailable(request: Request, error: Any) -> Response:
    return problem_response(_without_storage())


async def _unexpected(request: Request, error: Any) -> Response:
    return problem_response(Unexpected())


_EVALUATED = frozenset({evaluations.ONE, evaluations.MANY})
_ASKED = _EVALUATED | search.KINDS.keys() | {enforcement.ENFORCEMENT}
POSTED = _ASKED | {access_requests.REQUESTS, "/api/v1/development/clock"}
_DIRECTORY = Directory(commands.ROUTES)
_BY_READERS = "/api/v1/"
_STREAMED = frozenset(
    (b"content-type", type_.encode()) for type_ in (f"{MEDIA_TYPE}; charset=utf-8", *exports.MEDIA_TYPES.values())
)
_BEFORE_COMMANDS = f"{commands.PREFIX}/".encode()
_EVALUATIONS = frozenset(path.encode() for path in _EVALUATED)
_TEMPLATES = {path: re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", path.replace("{place}", ".+"))) for path in READS}


def template_of(path: str) -> str:
    """The template of an address, as the description has it; empty where nothing is served."""
    if path.startswith(f"{commands.PREFIX}/") and (found := _DIRECTORY.find(path)) is not None:
        return commands.PREFIX + found[0].path
    return next((template for template, matching in _TEMPLATES.items() if matching.fullmatch(path)), "")


def methods_of(path: str) -> set[str]:
    """The methods that an address answers."""
    reads = [template for template, matching in _TEMPLATES.items() if matching.fullmatch(path)]
    found = {"POST" if template in POSTED else "GET" for template in reads}
    return found | ({"POST"} if path.startswith(f"{commands.PREFIX}/") and _DIRECTORY.find(path) else set())
