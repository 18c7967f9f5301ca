"""How does a request become an answer with nothing between the socket and the writer's queue but our own words?

Uvicorn makes a task, a scope and an event of every request, and examines every header of its answer. A command or an
evaluation that arrives as most do needs none of it: once its body is complete the door takes it, and its answer leaves
in one write. Whatever else arrives, or differs from that in any way, goes through uvicorn as ever.
"""

import asyncio
from functools import lru_cache
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from services.http.answers import LINES_ALWAYS, Door, lines_of, request_id
from services.http.arrivals import Arriving
from services.http.streamed import CUT_OFF

LINGER_SECONDS = 30.0
"""How long what was sent to a reader who is cut off waits for them yet."""

_CLOSING = b"connection: close\r\n\r\n"


class Protocol(Arriving):
    """Uvicorn's protocol, with limits and with a door beside its application."""

    def __init__(self, door: Door, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._door = door
        self._exchange: Exchange | None = None
        self._idle_since: float | None = None
        self._idle_check: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        """The scope is made where it is needed."""
        self.begin_arriving()
        self.url = b""
        self.headers = []
        self._idle_since = None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.check_head()
        self._exchange = self._straight()
        if self._exchange is None:
            self._begin_cycle()

    def _straight(self) -> "Exchange | None":
        """The exchange that this request is, if it may be one: small, whole, alone on its connection."""
        before = self.cycle
        parser = self.parser
        alone = (before is None or before.response_complete) and not self.flow.write_paused
        if not alone or parser.get_method() != b"POST":
            return None
        path, _, query = self.url.partition(b"?")
        headers = dict(self.headers)
        if b"expect" in headers or b"upgrade" in headers or not self._door.takes(path):
            return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > 6 or int(length) > HIGH_WATER_LIMIT:
            return None
        keep_alive = parser.should_keep_alive() and (
            b"connection" not in headers or parser.get_http_version() != "1.0"  # of which nobody keeps one unasked
        )
        exchange = Exchange(self, path.decode("ascii"), query, headers, keep_alive)
        self.cycle = cast(RequestResponseCycle, exchange)
        return exchange

    def _begin_cycle(self) -> None:
        """What was put off at the beginning, and then uvicorn's own way."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()
        cast(dict[str, Any], self.scope)[CUT_OFF] = self.cut_off

    def cut_off(self, last_words: bytes | None) -> None:
        """End the connection of a reader who takes nothing, without waiting for them: what was sent lingers a while."""
        if last_words is not None:
            self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last_words), last_words))
        self.cycle.disconnected = True
        self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def on_body(self, body: bytes) -> None:
        if self._exchange is None:
            super().on_body(body)
        else:
            self._exchange.body += body

    def on_message_complete(self) -> None:
        self._is_arriving = False
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_message_complete()
        elif not self._door.take(exchange):
            exchange.response_complete = True
            self._begin_cycle()
            super().on_body(exchange.body)
            super().on_message_complete()

    # How long a connection may be idle after such an answer: one timer for many requests, which looks when it is due

    def answered(self) -> None:
        """As `on_response_complete`, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline or self.flow.read_paused:
            self.on_response_complete()
            return
        self._idle_since = self.loop.time()
        if self._idle_check is None:
            self._idle_check = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_check = None
        if self._idle_since is None:  # asked something again; whatever answers it sees to the rest
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_check = self.loop.call_later(left, self._check_idle)
        else:
            self.timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._idle_check is not None:
            self._idle_check.cancel()


@lru_cache(maxsize=4)
def _own_lines(*headers: tuple[bytes, bytes]) -> bytes:
    """Those of the server itself, such as the date, which it makes anew each second."""
    return lines_of(list(headers))


class _Nobody:
    """Waits for nothing."""

    def set(self) -> None:
        pass


class Exchange:
    """A request and the way back for its answer, in the place where uvicorn keeps its cycle of both."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "path", "protocol", "query", "response_complete")

    message_event = _Nobody()

    def __init__(
        self, protocol: Protocol, path: str, query: bytes, headers: dict[bytes, bytes], keep_alive: bool
    ) -> None:
        self.protocol: Protocol | None = protocol
        self.path = path
        self.query = query
        self.headers = headers
        self.body = b""
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    @property
    def source(self) -> str:
        client = self.protocol.client if self.protocol is not None else None
        return client[0] if client else ""

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        assert not self.response_complete, "a request has one answer"
        self.response_complete = True
        if self.disconnected:
            return
        protocol, self.protocol = self.protocol, None  # or each would hold the other for the garbage collector
        assert protocol is not None
        id = request_id(self.headers.get(b"x-request-id"))
        own = b"content-length: %d\r\nx-request-id: %b\r\n" % (len(body), id)
        end = b"\r\n" if self.keep_alive else _CLOSING
        always = _own_lines(*protocol.server_state.default_headers)
        protocol.transport.write(b"".join((STATUS_LINE[status], always, lines, own, LINES_ALWAYS, end, body)))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.answered()
