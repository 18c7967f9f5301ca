"""Who was shown what, or was refused it: what of that is recorded, before anybody hears the answer?

A command that is accepted is in the log itself and costs nothing here. Evaluations of gateways are not recorded.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastapi import Request

from domain import trail
from domain.errors import Refused
from domain.facts import SYSTEM
from services.handle import Handler
from services.http.answers import Exchange, Scope, fixed_id, id_of, source_of
from services.http.problems import CrossSite, LoginRefused, Unauthenticated
from services.http.sources import Sources
from services.trail import Trail, TrailUnavailable

COMMAND_STATUSES = frozenset({403, 404, 409, 412, 422})
MALFORMED_RULES = frozenset({"well_formed", "json", "record_size"})
"""Nobody asked for anything yet."""

SIGN_INS_EVERY_SECONDS = 1.0
"""Whoever has no token shall not fill the trail: others that come meanwhile are only counted."""

Tell = Callable[[TrailUnavailable | None], None]


def is_recorded(refusal: Refused) -> bool:
    """Whether a rule refused the command, and not the way it was written."""
    return refusal.status in COMMAND_STATUSES and refusal.rule not in MALFORMED_RULES


class Attempt(NamedTuple):
    """Somebody's command, as far as it was understood: at which address, about which streams."""

    person: str
    address: str
    command: str
    subjects: tuple[str, ...] = ()
    dry_run: bool = False


class Recorded:
    """Makes the records of this process's answers. Every method but `put_refused` raises TrailUnavailable."""

    def __init__(self, trail_: Trail, handler: Handler, sources: Sources) -> None:
        self._trail = trail_
        self._handler = handler
        self._sources = sources
        self._sign_in_at = -SIGN_INS_EVERY_SECONDS
        self._others = 0

    def _caller(self, person: str, id: bytes, source: str) -> trail.Caller:
        offices = self._handler.replica.standing(person, self._handler.clock.now()).offices
        held = dict.fromkeys(f"{office.organization}/{office.role}" for office in offices)
        return trail.Caller(tuple(held), id.decode(), source)

    # Reads: nothing is recorded at the addresses that are not in the table

    async def document(self, request: Request) -> None:
        """The caller is about to be shown the document at the request's address."""
        if (read := self._read(request)) is not None:
            await self._trail.record(read.person, trail.DocumentRead(*read.event, _subject(request)))

    async def page(self, request: Request, ids: Sequence[str]) -> None:
        """The caller is about to be shown a page with items of these ids."""
        if (read := self._read(request)) is not None:
            subjects = _subjects(request, ids)
            await self._trail.record(read.person, trail.ListRead(*read.event, subjects, len(ids)))

    async def export(self, request: Request, ids: Sequence[str], position: int) -> None:
        """The caller is about to be sent items of these ids, as part of a list's export as of a position."""
        if (read := self._read(request)) is not None:
            event = trail.ListExported(*read.event, _subjects(request, ids), len(ids), position)
            await self._trail.record(read.person, event)

    async def events(self, request: Request, positions: Sequence[int], subjects: tuple[str, ...] = ()) -> None:
        """The caller is about to be shown the events at these positions of a log."""
        if (read := self._read(request)) is not None:
            first, last = (positions[0], positions[-1]) if positions else (-1, -1)
            event = trail.EventsRead(*read.event, subjects, len(positions), first, last)
            await self._trail.record(read.person, event)

    def _read(self, request: Request) -> "_Read | None":
        address = _address(request)
        if address not in trail.RECORDED:
            return None
        person: str = request.state.person
        caller = self._caller(person, id_of(request.scope), source_of(request.scope))
        return _Read(person, (caller, address, dict(request.query_params)))

    async def not_shown(self, request: Request, refusal: Refused) -> None:
        """The caller is about to be told that they may not see it, or that nobody knows who they are."""
        if isinstance(refusal, Unauthenticated | LoginRefused | CrossSite):
            await self.signed_out(_address(request), request.scope)
        elif refusal.status in (403, 404) and (read := self._read(request)) is not None:
            caller, address, _ = read.event
            event = trail.ReadRefused(caller, address, _subject(request), refusal.status, refusal.rule)
            await self._trail.record(read.person, event)

    async def signed_out(self, address: str, scope: Scope) -> None:
        """Somebody showed nothing that lets them in, or that they mean what their browser sends."""
        now = time.monotonic()
        if now - self._sign_in_at < SIGN_INS_EVERY_SECONDS:
            self._others += 1
            return
        self._sign_in_at, others, self._others = now, self._others, 0
        caller = trail.Caller((), id_of(scope).decode(), source_of(scope))
        await self._trail.record(SYSTEM.person, trail.SignInRefused(caller, address, others))

    # Commands

    async def refused(self, attempt: Attempt, refusal: Refused, scope: Scope) -> None:
        """A command that came with a task is about to be refused."""
        if is_recorded(refusal):
            caller = self._caller(attempt.person, id_of(scope), source_of(scope))
            await self._trail.record(attempt.person, _command_refused(caller, attempt, refusal))

    def put_refused(self, attempt: Attempt, refusal: Refused, exchange: Exchange, tell: Tell) -> None:
        """As `refused`, without a task: `tell` is told once the refusal may be answered, or why it may not."""
        source = self._sources.of(exchange.source, exchange.headers.items())
        caller = self._caller(attempt.person, fixed_id(exchange), source)
        self._trail.put(attempt.person, _command_refused(caller, attempt, refusal), tell)


class _Read(NamedTuple):
    person: str
    event: tuple[trail.Caller, str, dict[str, str]]
    """What every record of a read begins with."""


def _command_refused(caller: trail.Caller, attempt: Attempt, refusal: Refused) -> trail.CommandRefused:
    address, command, subjects = attempt.address, attempt.command, attempt.subjects
    return trail.CommandRefused(caller, address, subjects, command, refusal.status, refusal.rule, attempt.dry_run)


def _address(request: Request) -> str:
    route: Any = request.scope.get("route")
    return route.path_format if route is not None else ""


def _subject(request: Request) -> tuple[str, ...]:
    """The stream that is asked about: by the address, or as a well-formed parameter of it."""
    if "id" in request.path_params:
        return _subjects(request, [request.path_params["id"]])
    return (request.state.stream,) if hasattr(request.state, "stream") else ()


def _subjects(request: Request, ids: Sequence[str]) -> tuple[str, ...]:
    kind = trail.RECORDED[_address(request)]
    return tuple(dict.fromkeys(f"{kind}-{id}" if kind else id for id in ids))
