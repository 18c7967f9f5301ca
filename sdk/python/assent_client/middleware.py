"""How does an ASGI application let nobody through who may not use the release now?"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from assent_client.access import Answer, Use
from assent_client.gate import AsyncGate, Gate
from assent_client.replica import Withheld

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class GateMiddleware:
    """Asks the gate about every HTTP request for which `use_of` names a use; None lets a request through unasked.

    A refusal is problem+json: 403, or 503 where the gate may not rely on what it knows. An allowance is put into the
    scope as `assent`. Nothing of a request is trusted here: `use_of` takes the customer from what was authenticated.
    """

    def __init__(self, app: App, gate: Gate | AsyncGate, use_of: Callable[[Scope], Use | None]) -> None:
        self._app = app
        self._gate = gate
        self._use_of = use_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        use = self._use_of(scope) if scope["type"] == "http" else None
        if use is None:
            return await self._app(scope, receive, send)
        answer = self._gate.check(*use)
        if answer.allowed:
            scope["assent"] = answer
            return await self._app(scope, receive, send)
        await self._refuse(answer, send)

    async def _refuse(self, answer: Answer, send: Send) -> None:
        status = 503 if isinstance(answer, Withheld) else 403
        problem = {
            "type": f"urn:assent:refused:{answer.reason}",
            "title": "This customer may not use this release now" if status == 403 else "It is not known",
            "status": status,
            "detail": f"{answer.use.customer} may not use {answer.use.release}: {answer.reason}",
            "rule": answer.reason,
            "missing": list(answer.missing),
            "alternatives": [{"release": id, "tier": tier} for id, tier in self._gate.alternatives(answer.use)],
        }
        body = json.dumps(problem).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
