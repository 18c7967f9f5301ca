"""How does an auditor follow the log as it grows, and go on where they left off?

Server-sent events, one for each record: its position is the id, its type the event's name, the record itself the data.
A heartbeat tells how far the log was searched, so that whoever comes back with Last-Event-ID misses nothing and reads
nothing twice, also where a filter lets little through.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from domain.errors import Refused
from services.http.problems import BadHeader
from services.http.streamed import PATIENCE_SECONDS, Streamed

MEDIA_TYPE = "text/event-stream"

HEARTBEAT_SECONDS = 10.0
"""How long nothing is said at most. As often it is asked again whether the reader still may read."""

RETRY_MILLISECONDS = 1000

Page = Callable[[int], Awaitable[list[bytes]]]
"""The next records after a position (exclusive), some of them or none."""

Grown = Callable[[int, float], Awaitable[bool]]
"""Wait until the log has that position, so many seconds at most."""


def asks_for_feed(accept: str) -> bool:
    """Whether the Accept header of a request names server-sent events."""
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in accept.split(","))


def position_of(last_event_id: str | None) -> int | None:
    """The position in Last-Event-ID. Raises BadHeader."""
    if last_event_id is None:
        return None
    if not last_event_id.isascii() or not last_event_id.isdecimal() or len(last_event_id) > 18:
        raise BadHeader("Last-Event-ID is the id of an event of this feed: its position.", "Last-Event-ID: 41")
    return int(last_event_id)


async def events(
    after: int, page: Page, known: Callable[[], int], grown: Grown, may_read: Callable[[], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """The records after a position, then those to come, for as long as neither `page` nor `may_read` refuses it."""
    yield f": who takes nothing for {PATIENCE_SECONDS:g} seconds is cut off\nretry: {RETRY_MILLISECONDS}\n\n".encode()
    try:
        while True:
            searched = known()
            found = await page(after)
            if found:
                yield b"".join(map(_told, found))
                after = msgspec.json.decode(found[-1], type=_Position).position
                continue
            after = max(after, searched)
            if not await grown(after + 1, HEARTBEAT_SECONDS):
                yield b": still here\n" + (b"id: %d\n\n" % after if after >= 0 else b"\n")
            await may_read()
    except Refused as refusal:
        yield _ended(refusal.rule, refusal.detail)


class _Position(msgspec.Struct):
    position: int
    type: str = ""


def _told(record: bytes) -> bytes:
    head = msgspec.json.decode(record, type=_Position)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (head.position, head.type.encode(), record)


def _ended(rule: str, detail: str) -> bytes:
    return b"event: ended\ndata: %b\n\n" % msgspec.json.encode({"rule": rule, "detail": detail})


class Feed(Streamed):
    """An answer that goes on until its reader leaves, or takes nothing any more. Nothing is kept for them meanwhile."""

    media_type = MEDIA_TYPE
    last_words = _ended("slow_reader", "Nothing was taken for too long. Go on with Last-Event-ID, and nothing is lost.")
