"""What does an auditor read: the events themselves, and the proofs that they were not rewritten?"""

from base64 import b64encode
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ConfigDict, Field

from domain.authority import Reach
from domain.errors import NotFound
from services.http.problems import BadParameter, NotSignedYet
from services.http.reads import POSITION_MAX, After, Connection, PersonText, Reads, json_response
from services.log import note, reader, tiles
from services.log.note import Checkpoint

PATH_POSITION_MAX = 2**53


class Events(After):
    """Which events: those after a position (exclusive), of a stream, a type, a person."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        int | None, Field(ge=-1, le=POSITION_MAX, description="Events after this position; `next` of the page before")
    ] = None
    stream: Annotated[str | None, Field(pattern=r"^[a-z]{1,32}-[a-z0-9][a-z0-9.-]{0,62}$", examples=["request-1"])] = (
        None
    )
    type: Annotated[str | None, Field(pattern=r"^[A-Z][A-Za-z]{0,62}$", examples=["AgencySignedOff"])] = None
    person: PersonText | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Events on a page")] = 100


class Sizes(After):
    """Two sizes of the log, the smaller first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    from_: Annotated[int, Field(ge=1, le=PATH_POSITION_MAX, alias="from")]
    to: Annotated[int, Field(ge=1, le=PATH_POSITION_MAX)]


class Nothing(After):
    """No parameters but `after`, which is true of the log at once."""

    model_config = ConfigDict(extra="forbid")


class Proof(msgspec.Struct):
    """That a leaf is in the log whose signed checkpoint is enclosed. Hashes are in base64."""

    position: int
    leaf: str
    size: int
    root: str
    hashes: list[str]
    checkpoint: str


class Consistency(msgspec.Struct):
    """That the log of size `to` begins with that of size `from`. Hashes are in base64."""

    from_: int = msgspec.field(name="from")
    to: int
    hashes: list[str]


def router(reads: Reads) -> APIRouter:
    here = APIRouter(prefix="/api/v1", tags=["audit"])
    Reader = Annotated[Reach, Depends(reads.reader)]

    @here.get("/events", summary="The events themselves, in order of position")
    async def events(reader_: Reader, asked: Annotated[Events, Query()]) -> Response:
        async with reads.pool.connection() as conn:
            found = await records(conn, asked)
        items = [msgspec.json.decode(record) for record in found]
        full = len(items) == asked.limit
        following = items[-1]["position"] if full else None
        return await reads.listing(items, following, reads.handler.replica.position)

    @here.get("/log/checkpoint", summary="The newest signed head of the log (a C2SP signed note)")
    async def checkpoint(reader_: Reader, asked: Annotated[Nothing, Query()]) -> Response:
        async with reads.pool.connection() as conn:
            text, _ = await newest_checkpoint(conn)
        return Response(text, media_type="text/plain; charset=utf-8")

    @here.get("/log/proof/{position}", summary="The proof that an event is in the log")
    async def proof(
        reader_: Reader,
        position: Annotated[int, Path(ge=0, le=PATH_POSITION_MAX)],
        asked: Annotated[Nothing, Query()],
    ) -> Response:
        async with reads.pool.connection() as conn:
            return json_response(await inclusion(conn, position))

    @here.get("/log/consistency", summary="The proof that the log only grew between two sizes")
    async def consistency(reader_: Reader, request: Request, asked: Annotated[Sizes, Query()]) -> Response:
        if asked.from_ > asked.to:
            raise BadParameter("The log only grows: `from` is the smaller size.", "from <= to")
        async with reads.pool.connection() as conn:
            _, signed = await newest_checkpoint(conn)
            if asked.to > signed.size:
                raise NotSignedYet(f"The newest checkpoint is of size {signed.size}.", f"a checkpoint of {asked.to}")
            hashes = await tiles.consistency(conn, asked.from_, asked.to)
        return json_response(Consistency(asked.from_, asked.to, [_base64(each) for each in hashes]))

    return here


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


async def newest_checkpoint(conn: Connection) -> tuple[str, Checkpoint]:
    """The newest signed note and what it says. Raises NotSignedYet before the first."""
    found = await reader.rows(conn, "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
    if not found:
        raise NotSignedYet("The log has not been signed yet.", "a first checkpoint")
    text: str = found[0][0]
    return text, Checkpoint.parse(note.parse(text).text)


async def inclusion(conn: Connection, position: int) -> Proof:
    """Raises NotFound beyond the end of the log, NotSignedYet before a checkpoint covers the position."""
    leaves = await reader.leaves(conn, position, position + 1)
    if not leaves:
        raise NotFound
    text, signed = await newest_checkpoint(conn)
    if signed.size <= position:
        raise NotSignedYet(
            f"The newest checkpoint is of size {signed.size}.", f"a checkpoint of {position + 1} or more"
        )
    hashes = await tiles.inclusion(conn, position, signed.size)
    return Proof(
        position, _base64(leaves[0]), signed.size, _base64(signed.root), [_base64(each) for each in hashes], text
    )


def _base64(value: bytes) -> str:
    return b64encode(value).decode()
