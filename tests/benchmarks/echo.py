"""How soon does the very server that Assent serves with answer when nothing is asked of it?

`python -m tests.benchmarks.echo` prints its address, and sends back whatever is posted to it, until it is interrupted.
"""

import asyncio
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

import uvloop

from services.cli import serving
from services.settings import Settings


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """A bare ASGI application."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve() -> None:
    async with serving(echo, replace(Settings(), port=0), has_door=False) as (_, address):
        sys.stdout.write(f"Echo serves {address}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(serve())
