"""How does an answer leave that may go on for long, to a reader who may be slow?"""

import asyncio
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Send

PATIENCE_SECONDS = 30.0
"""A reader who takes nothing for so long is cut off."""


class Streamed(StreamingResponse):
    """An answer that is made while it is read. Where making it fails it breaks off, and HTTP says so."""

    async def stream_response(self, send: Send) -> None:
        async def patiently(message: Any) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await send(message)

        await super().stream_response(patiently)
