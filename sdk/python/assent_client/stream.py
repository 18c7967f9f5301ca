"""What did the server send? Server-sent events, out of bytes as they arrive."""

from collections.abc import Iterator
from typing import NamedTuple

EVENT_BYTES_MAX = 64 * 1024 * 1024
"""More than this in one event is no event of ours."""


class Event(NamedTuple):
    """One event. `id`: what to come back with; empty where it bears none."""

    name: str
    id: str
    data: bytes


class Broken(ConnectionError):
    """What arrives is no stream of events."""


class Events:
    """Takes bytes in, gives events out. Lines end with a newline, as ours do, or with a carriage return and one."""

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._id = "", ""
        self._data: list[bytes] = []

    def of(self, arrived: bytes) -> Iterator[Event]:
        """The events that are whole now. Raises Broken."""
        *lines, self._rest = (self._rest + arrived).split(b"\n")
        if len(self._rest) > EVENT_BYTES_MAX:
            raise Broken(f"A line of more than {EVENT_BYTES_MAX} bytes.")
        for line in (each.removesuffix(b"\r") for each in lines):
            if line:
                self._take(line)
                continue
            if self._data:
                yield Event(self._name or "message", self._id, b"\n".join(self._data))
            self._name, self._id, self._data = "", "", []

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode()
        elif field == b"id":
            self._id = value.decode()
