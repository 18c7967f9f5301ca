"""How does an answer leave that may go on for long, to a reader who may be slow?"""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

PATIENCE_SECONDS = 30.0
"""A reader who takes nothing for so long is cut off."""

CUT_OFF = "assent.cut_off"
"""Where a request's scope has what ends its connection. Last words complete the answer; without any it breaks off;
what was sent before goes first, if the reader takes it yet.
"""


class Streamed(StreamingResponse):
    """An answer that is made while it is read. Where making it fails it breaks off, and HTTP says so."""

    last_words: bytes | None = None
    """What a reader who is cut off is told, if they read on; None: they only see that it broke off."""

    _cut_off: Callable[[bytes | None], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._cut_off = scope.get(CUT_OFF)
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        async def patiently(message: Any) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await send(message)

        try:
            await super().stream_response(patiently)
        except TimeoutError:
            if self._cut_off is None:
                raise
            self._cut_off(self.last_words)
