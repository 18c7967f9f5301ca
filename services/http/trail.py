"""How does an auditor ask who read what, or was refused what, and prove that the answer is whole?"""

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from domain import trail
from domain.authority import Reach
from services.http.log import proving
from services.http.reads import POSITION_MAX, TIME, PersonText, Reads, instant_in_address
from services.log import reader
from services.log.reader import Connection, Pool

Time = Annotated[str, Field(max_length=64, examples=["2026-07-08T00:00:00Z"], description="A time (RFC 3339)")]


class Readings(BaseModel):
    """Which records: whose, about which stream, of which kind, from when until when (both inclusive)."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    person: PersonText | None = None
    subject: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z]{1,32}-[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$",
            examples=["request-1"],
            description="The stream of the log that was shown, or that the refused command was for",
        ),
    ] = None
    type: Annotated[str | None, Field(pattern=r"^[A-Z][A-Za-z]{0,62}$", examples=["DocumentRead"])] = None
    from_: Annotated[Time | None, Field(alias="from", json_schema_extra=TIME)] = None
    to: Annotated[Time | None, Field(json_schema_extra=TIME)] = None
    cursor: Annotated[int | None, Field(ge=0, le=POSITION_MAX, description="`next` of the page before")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Records on a page")] = 100


def router(reads: Reads, pool: Pool) -> APIRouter:
    """`pool`: connections that see the trail."""
    here = proving("/api/v1/trail", reads, pool)

    @here.get("", summary="Who read what, and was refused what, in order of position")
    async def readings(
        reader_: Annotated[Reach, Depends(reads.reader)], request: Request, asked: Annotated[Readings, Query()]
    ) -> Response:
        async with pool.connection() as conn:
            size = (await reader.end(conn)).size
            found = await records(conn, asked, size)
        items = [msgspec.json.decode(record) for record in found]
        await reads.recorded.events(request, [item["position"] for item in items])
        following = items[-1]["position"] if len(items) == asked.limit else None
        return await reads.listing(items, following, size - 1)

    return here


async def records(conn: Connection, asked: Readings, size: int) -> list[bytes]:
    """The records asked for, of the trail of that size, exactly as they were hashed."""
    after = -1 if asked.cursor is None else asked.cursor
    if asked.from_ is not None:
        before = instant_in_address(asked.from_, "from") - timedelta(microseconds=1)
        after = max(after, await reader.position_at(conn, before))
    if asked.to is not None:
        size = min(size, 1 + await reader.position_at(conn, instant_in_address(asked.to, "to")))
    query, values = "SELECT record FROM event WHERE position > %s AND position < %s", [after, size]
    filters: dict[str, Any] = {
        "stream = %s": None if asked.person is None else trail.stream(asked.person),
        "subjects_of(record) @> ARRAY[%s]": asked.subject,
        "type = %s": asked.type,
    }
    for condition, value in filters.items():
        if value is not None:
            query += f" AND {condition}"
            values.append(value)
    found = await reader.rows(conn, f"{query} ORDER BY position LIMIT %s", *values, asked.limit)
    return [record for (record,) in found]
