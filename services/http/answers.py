"""How does an answer leave: with which headers on every one, and under which request id?"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from domain.errors import Refused
from services.chance import chunk
from services.http import problems
from services.http.problems import Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON: Headers = [(b"content-type", b"application/json")]

SECURE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""On every answer. Whatever is not said to be cacheable is not stored."""

STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
"""Outside development, on every answer too: whoever was here once comes by https alone, for a year."""

NO_STORE = (b"cache-control", b"no-store")
ALWAYS: Headers = [NO_STORE, *SECURE]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=/+-]{1,128}")


def request_id(given: bytes | None) -> bytes:
    """The caller's X-Request-ID where it looks like one, as a line of our logs will have it, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return chunk().hex()[:16].encode()


def id_of(scope: Scope) -> bytes:
    """One id per request that the server made a task of, whoever asks for it first."""
    if "assent.request_id" not in scope:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        scope["assent.request_id"] = request_id(given)
    found: bytes = scope["assent.request_id"]
    return found


def source_of(scope: Scope) -> str:
    """The network address that a request comes from, or of a proxy before it that is not in the settings."""
    client = scope.get("client")
    return client[0] if client else ""


async def send_answer(scope: Scope, send: Send, id: bytes, status: int, body: bytes, headers: Headers) -> None:
    """The whole answer to a request that the server made a task of."""
    own: Headers = [*headers, (b"content-length", b"%d" % len(body)), (b"x-request-id", id)]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *ALWAYS]})
    await send({"type": "http.response.body", "body": body})


async def send_refusal(scope: Scope, send: Send, id: bytes, refusal: Refused) -> None:
    await send_answer(scope, send, id, refusal.status, problems.body_of(refusal), problems.headers_of(refusal))


# Without a task


class Door(Protocol):
    """What may answer a POST without a task."""

    def takes(self, path: bytes) -> bool:
        """Whether it may be for something that `take` answers."""

    def take(self, exchange: "Exchange") -> bool:
        """Whether it was taken, and is answered now or soon; otherwise nothing came of it, and a task must do it."""


class Exchange(Protocol):
    """A POST whose body is complete, and the way back. Nothing a caller chooses freely is in a header of its answer."""

    @property
    def path(self) -> str: ...

    @property
    def query(self) -> bytes: ...

    @property
    def headers(self) -> dict[bytes, bytes]:
        """By lower-case name; of several with one name the last."""

    @property
    def body(self) -> bytes: ...

    @property
    def source(self) -> str:
        """The network address of the caller, or of a proxy before it."""

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Send the answer; `lines` are those header lines that not every answer has."""


def fixed_id(exchange: Exchange) -> bytes:
    """The id under which the exchange will be answered, where it is told before."""
    id = exchange.headers[b"x-request-id"] = request_id(exchange.headers.get(b"x-request-id"))
    return id


def lines_of(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def refuse(exchange: Exchange, refusal: Refused) -> None:
    exchange.answer(refusal.status, lines_of(problems.headers_of(refusal)), problems.body_of(refusal))


LINES_JSON = lines_of(JSON)
LINES_ALWAYS = lines_of(ALWAYS)
