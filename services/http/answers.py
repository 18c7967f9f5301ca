"""How does an answer leave: with which headers on every one, and under which request id?"""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from domain.errors import Refused
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

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


def request_id(given: bytes | None) -> bytes:
    """The caller's X-Request-ID where it has one that can be echoed, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return secrets.token_hex(8).encode()


async def send_answer(send: Send, id: bytes, status: int, body: bytes, headers: Headers) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                *headers,
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", id),
                NO_STORE,
                *SECURE,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_refusal(send: Send, id: bytes, refusal: Refused) -> None:
    await send_answer(send, id, refusal.status, problems.body_of(refusal), problems.headers_of(refusal))
