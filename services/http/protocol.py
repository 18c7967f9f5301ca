"""How does an answer that is ready as a whole leave the server? In one write, its header lines made and not examined.

Uvicorn examines every header of every answer and writes twice, which costs more than all the rest it does. The
framework's answers go that way; those of commands and evaluations are made of our own words alone.
"""

import weakref
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.http.answers import WHOLE


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol, which offers the application the extension WHOLE."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None:  # its scope holds it weakly: a ring would be left to the garbage collector
            extensions: dict[str, Any] = {WHOLE: partial(_send_whole, weakref.ref(self.cycle))}
            self.cycle.scope["extensions"] = extensions


async def _send_whole(asked: "weakref.ref[RequestResponseCycle]", status: int, lines: bytes, body: bytes) -> None:
    """What the cycle's `send` does for a start and a body, at once."""
    cycle = asked()
    if cycle is None or cycle.disconnected:
        return
    if cycle.flow.write_paused:
        await cycle.flow.drain()
    assert not cycle.response_started, "a request has one answer"
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    own = [b"%b: %b\r\n" % header for header in cycle.default_headers]
    end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
    cycle.transport.write(b"".join((STATUS_LINE[status], *own, lines, end, body)))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
