"""How large may a request's head be, how long may it take to arrive, and what hears whoever sent none?"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from domain.errors import Refused
from services.http import problems
from services.http.answers import LINES_ALWAYS, lines_of, request_id
from services.http.problems import HeadTooLarge, TooSlow, Unreadable

URL_BYTES_MAX = 8_192
HEAD_BYTES_MAX = 32_768
"""A token and a cookie of the largest size fit."""
HEADERS_MAX = 100
BLANK_BYTES_MAX = 4
"""So little begins no request: the blank lines that may stand before one."""


class Arriving(HttpToolsProtocol):
    """Uvicorn's protocol, with limits upon what has not arrived yet: memory and time are held before anybody is known.

    What arrives in one packet, as nearly every request, costs a few comparisons and no timer.
    """

    def __init__(self, *given: Any, request_seconds: float = 30.0, **named: Any) -> None:
        super().__init__(*given, **named)
        self._request_seconds = request_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._is_arriving = self._is_head_whole = False
        self._packet_bytes = 0
        self._later_bytes = 0
        """Of this request, after the packet that it began in; below 0 in that packet itself."""
        self._refusal: Refused | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_deadline()

    def data_received(self, data: bytes) -> None:
        self._packet_bytes = len(data)
        super().data_received(data)
        if self._is_arriving:
            self._go_on_arriving()
        elif self._deadline is not None:
            if self.cycle is not None:
                self._end_deadline()
        elif len(data) <= BLANK_BYTES_MAX and self.cycle.response_complete:
            self._begin_deadline()  # uvicorn has just forgotten that the connection is idle

    def begin_arriving(self) -> None:
        self._is_arriving, self._is_head_whole = True, False
        self._later_bytes = -self._packet_bytes

    def _go_on_arriving(self) -> None:
        """A packet ended within a request."""
        if self._later_bytes < 0:
            self._end_deadline()
        self._later_bytes += self._packet_bytes
        if self._deadline is None:
            self._begin_deadline()
        if not self._is_head_whole and self._later_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._hang_up(_head_too_large())

    def check_head(self) -> None:
        """Whether a whole head is small enough. Raises HeadTooLarge, which the parser hands on as its own error."""
        self._is_head_whole = True
        is_large = len(self.headers) > HEADERS_MAX or len(self.url) > URL_BYTES_MAX
        if not is_large and (self._later_bytes >= 0 or self._packet_bytes > HEAD_BYTES_MAX):
            is_large = sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES_MAX
        if is_large:
            self._refusal = _head_too_large()
            raise self._refusal

    # What the parser tells

    def on_message_begin(self) -> None:
        self.begin_arriving()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.check_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_arriving = False
        super().on_message_complete()

    # How it ends

    def send_400_response(self, msg: str) -> None:
        """Uvicorn's answer to what its parser refuses."""
        self._is_arriving = False
        self._hang_up(self._refusal or Unreadable())

    def _begin_deadline(self) -> None:
        self._deadline = self.loop.call_later(self._request_seconds, self._be_too_slow)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _be_too_slow(self) -> None:
        self._deadline = None
        if self._is_arriving:
            self._hang_up(TooSlow(f"A request arrives within {self._request_seconds:g} seconds.", "a faster request"))
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _hang_up(self, refusal: Refused) -> None:
        """Say why, unless an answer is under way already, and close."""
        if not getattr(self.cycle, "response_started", False) or self.cycle.response_complete:
            body = problems.body_of(refusal)
            own = b"content-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n" % (len(body), request_id(None))
            lines = lines_of([*self.server_state.default_headers, *problems.headers_of(refusal)])
            self.transport.write(b"".join((STATUS_LINE[refusal.status], lines, own, LINES_ALWAYS, b"\r\n", body)))
        self.transport.close()


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"An address has at most {URL_BYTES_MAX} bytes, and {HEADERS_MAX} headers at most {HEAD_BYTES_MAX}."
    )
