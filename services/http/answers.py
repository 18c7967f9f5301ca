"""How does an answer leave: with which headers on every one, and under which request id?"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

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
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""On every answer. Whatever is not said to be cacheable is not stored."""

NO_STORE = (b"cache-control", b"no-store")
ALWAYS: Headers = [NO_STORE, *SECURE]

WHOLE = "assent.whole"
"""The ASGI extension by which our server takes a whole answer."""

SendWhole = Callable[[int, bytes, bytes], Awaitable[None]]
"""Status, header lines, body."""

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


def request_id(given: bytes | None) -> bytes:
    """The caller's X-Request-ID where it has one that can be echoed, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return chunk().hex()[:16].encode()


async def send_answer(scope: Scope, send: Send, id: bytes, status: int, body: bytes, headers: Headers) -> None:
    """The whole answer, in one piece where the server takes it so. Nothing a caller chooses freely is in a header."""
    own: Headers = [*headers, (b"content-length", b"%d" % len(body)), (b"x-request-id", id)]
    send_whole: SendWhole | None = scope.get("extensions", {}).get(WHOLE)
    if send_whole is not None:
        await send_whole(status, _lines(own) + _LINES_ALWAYS, body)
        return
    await send({"type": "http.response.start", "status": status, "headers": [*own, *ALWAYS]})
    await send({"type": "http.response.body", "body": body})


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


_LINES_ALWAYS = _lines(ALWAYS)


async def send_refusal(scope: Scope, send: Send, id: bytes, refusal: Refused) -> None:
    await send_answer(scope, send, id, refusal.status, problems.body_of(refusal), problems.headers_of(refusal))
