"""What does an auditor read: the events themselves, page by page or as they come."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field

from domain.authority import Reach
from services.http import feed
from services.http.reads import POSITION_MAX, After, Connection, EventType, PersonText, Reads, StreamText
from services.log import reader

PAGE_EVENTS = 200
"""How many events of a feed are read at a time."""


class Events(After):
    """Which events: those after a position (exclusive), of a stream, a type, a person."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        int | None, Field(ge=-1, le=POSITION_MAX, description="Events after this position; `next` of the page before")
    ] = None
    stream: StreamText | None = None
    type: EventType | None = None
    person: PersonText | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Events on a page")] = 100


def router(reads: Reads) -> APIRouter:
    here = APIRouter(prefix="/api/v1", tags=["audit"])
    Reader = Annotated[Reach, Depends(reads.reader)]

    @here.get("/events", summary="The events themselves, in order of position")
    async def events(reader_: Reader, request: Request, asked: Annotated[Events, Query()]) -> Response:
        last = feed.position_of(request.headers.get("last-event-id"))
        if feed.asks_for_feed(request.headers.get("accept", "")):
            return follow(reads, request, asked, last)
        async with reads.pool.connection() as conn:
            found = await records(conn, asked)
        items = [msgspec.json.decode(record) for record in found]
        await reads.recorded.events(request, [item["position"] for item in items], about(asked))
        full = len(items) == asked.limit
        following = items[-1]["position"] if full else None
        return await reads.listing(items, following, reads.handler.replica.position)

    return here


def follow(reads: Reads, request: Request, asked: Events, last: int | None) -> Response:
    """The events as they come: after `last`, which they have already, or after `after`, or from the first on."""
    after = last if last is not None else -1 if asked.after is None else asked.after

    async def page(after: int) -> list[bytes]:
        async with reads.pool.connection() as conn:
            found = await records(conn, asked.model_copy(update={"after": after, "limit": PAGE_EVENTS}))
        if found:
            positions = [msgspec.json.decode(record, type=_Position).position for record in found]
            await reads.recorded.events(request, positions, about(asked))
        return [await opened(reads, record) for record in found]

    async def may_read() -> None:
        await reads.still_reader(request)

    replica = reads.handler.replica
    return feed.Feed(feed.events(after, page, lambda: replica.position, replica.at_least, may_read))


class _Position(msgspec.Struct):
    position: int


def about(asked: Events) -> tuple[str, ...]:
    """The stream that was asked for, if one was."""
    return () if asked.stream is None else (asked.stream,)


async def opened(reads: Reads, record: bytes) -> bytes:
    """The record with its sealed texts opened; as it was hashed where it has none."""
    if b'"sealed.' not in record:
        return record
    return msgspec.json.encode(await reads.vault.open(msgspec.json.decode(record)))


async def records(conn: Connection, asked: Events) -> list[bytes]:
    """The records asked for, exactly as they were hashed."""
    query, values = "SELECT record FROM event WHERE position > %s", [-1 if asked.after is None else asked.after]
    filters: dict[str, Any] = {
        "stream = %s": asked.stream,
        "type = %s": asked.type,
        "convert_from(record, 'UTF8')::jsonb -> 'by' ->> 'person' = %s": asked.person,
    }
    for condition, value in filters.items():
        if value is not None:
            query += f" AND {condition}"
            values.append(value)
    return [
        record for (record,) in await reader.rows(conn, f"{query} ORDER BY position LIMIT %s", *values, asked.limit)
    ]
