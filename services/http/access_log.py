"""Which request was answered how, by whose wish, and how fast? A line for each, where somebody asks for it."""

import logging
import time
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, Protocol

from services.http.answers import Door, Exchange, Receive, Scope, Send, fixed_id, id_of
from services.http.identity import Identity
from services.logs import About, about

_log = logging.getLogger(__name__)

Known = Callable[[bytes | None], Identity | None]
Template = Callable[[str], str]
"""The template of a path, empty where nothing is served there: what a caller makes up is in no line."""


class Application(Door, Protocol):
    """What answers every request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class AccessLog:
    """A door before the door."""

    def __init__(self, door: Application, known: Known, template: Template) -> None:
        self._door = door
        self._known = known
        self._template = template
        self.takes = door.takes
        _log.setLevel(logging.INFO)

    def take(self, exchange: Exchange) -> bool:
        return self._door.take(Watched(exchange, partial(self._tell, time.perf_counter())))

    def _tell(self, began: float, exchange: Exchange, status: int) -> None:
        identity = self._known(exchange.headers.get(b"authorization"))
        person = identity.person if identity else ""
        with about(About(fixed_id(exchange).decode(), partial(self._template, exchange.path), person)):
            _say("POST", status, began)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._door(scope, receive, watched)
        finally:
            if scope["type"] == "http":
                with about(about_of(scope, self._template)):
                    _say(scope["method"], status, began)


class Watched:
    """An exchange whose answer is told of."""

    def __init__(self, exchange: Exchange, tell: Callable[[Exchange, int], None]) -> None:
        self._exchange = exchange
        self._tell = tell
        self.path, self.query, self.headers = exchange.path, exchange.query, exchange.headers
        self.body, self.source = exchange.body, exchange.source

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        fixed_id(self._exchange)
        self._exchange.answer(status, lines, body)
        self._tell(self, status)


def _say(method: str, status: int, began: float) -> None:
    """`status` 0: the caller went away before."""
    duration_ms = round((time.perf_counter() - began) * 1000, 3)
    _log.info("%s", method, extra={"status": status, "duration_ms": duration_ms})


def about_of(scope: Scope, template: Template) -> About:
    """What lines tell of a request that the server made a task of: one and the same, whoever asks first."""
    if "assent.about" not in scope:
        scope["assent.about"] = About(id_of(scope).decode(), partial(template, scope["path"]))
    found: About = scope["assent.about"]
    return found
