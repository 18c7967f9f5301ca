"""How does the log show itself to those who do not trust us: checkpoint, tiles, entry bundles and proofs?

Addresses and bytes are those of C2SP tlog-tiles. What a checkpoint covers never changes, so it may be kept for ever.
"""

import asyncio
import zlib
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ConfigDict, Field

from domain import log
from domain.authority import Reach
from projections.history import history
from services.http.reads import After, Reads, json_response
from services.log import proofs, reader, tiles
from services.log.reader import Pool

PATH_POSITION_MAX = 2**53
OCTETS = "application/octet-stream"
SHORT = {"cache-control": "private, max-age=1", "vary": "Authorization, Cookie"}
FOR_EVER = {"cache-control": "private, max-age=31536000, immutable", "vary": "Authorization, Cookie"}
"""Private, for a shared cache would hand a tile to somebody who is not signed in."""

GZIP = 16 + zlib.MAX_WBITS


class Nothing(After):
    """No parameters but `after`, which is true of the log at once."""

    model_config = ConfigDict(extra="forbid")


class Cosigned(Nothing):
    """Which checkpoint: the newest, or the newest that this witness cosigned."""

    cosigned_by: Annotated[
        str | None,
        Field(pattern=r"^[^\s+]{1,255}$", description="The newest checkpoint that bears this witness's cosignature"),
    ] = None


class Sizes(After):
    """Two sizes of the log, the smaller first."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    from_: Annotated[int, Field(ge=1, le=PATH_POSITION_MAX, alias="from")]
    to: Annotated[int, Field(ge=1, le=PATH_POSITION_MAX)]


Place = Annotated[str, Path(description="The tile's index in groups of three digits, and `.p/` with a partial width")]


def router(reads: Reads) -> APIRouter:
    here = proving("/api/v1/log", reads, reads.pool)

    @here.get("/keys", summary="The keys that signed the log, and what of it was given up, as its records say")
    async def keys(reader_: Annotated[Reach, Depends(reads.reader)], asked: Annotated[Nothing, Query()]) -> Response:
        async with reads.pool.connection() as conn:
            facts = (await reader.facts_of(conn, [log.STREAM])).get(log.STREAM, ())
        return await reads.listing(history(facts, reader_, reader_.general), None, reads.handler.replica.position)

    return here


def proving(prefix: str, reads: Reads, pool: Pool) -> APIRouter:
    """The addresses under which a log is checked that the pool's connections see."""
    here = APIRouter(prefix=prefix, tags=["audit"])
    Reader = Annotated[Reach, Depends(reads.reader)]
    NoQuery = Annotated[Nothing, Query()]

    @here.get("/checkpoint", summary="The newest signed head of the log (a C2SP signed note)")
    async def checkpoint(reader_: Reader, asked: Annotated[Cosigned, Query()]) -> Response:
        async with pool.connection() as conn:
            text, _ = await proofs.checkpoint(conn, asked.cosigned_by)
        return Response(text, media_type="text/plain; charset=utf-8", headers=SHORT)

    @here.get("/tile/entries/{place:path}", summary="The records themselves, as an entry bundle (C2SP tlog-tiles)")
    async def entries(reader_: Reader, request: Request, place: Place, asked: NoQuery) -> Response:
        index, width = tiles.place_of(place)
        async with pool.connection() as conn:
            bundle = await tiles.bundle(conn, index, width)
        first = index * tiles.WIDTH
        await reads.recorded.events(request, range(first, first + width))
        return await compressed(bundle, request.headers.get("accept-encoding", ""))

    @here.get("/tile/{level}/{place:path}", summary="Hashes of the tree, as a tile (C2SP tlog-tiles)")
    async def tile(reader_: Reader, level: str, place: Place, asked: NoQuery) -> Response:
        index, width = tiles.place_of(place)
        async with pool.connection() as conn:
            hashes = await tiles.tile(conn, tiles.level_of(level), index, width)
        return Response(hashes, media_type=OCTETS, headers=FOR_EVER)

    @here.get("/proof/{position}", summary="The proof that an event is in the log")
    async def proof(
        reader_: Reader,
        position: Annotated[int, Path(ge=0, le=PATH_POSITION_MAX)],
        asked: Annotated[Cosigned, Query()],
    ) -> Response:
        async with pool.connection() as conn:
            return json_response(await proofs.inclusion(conn, position, asked.cosigned_by))

    @here.get("/consistency", summary="The proof that the log only grew between two sizes")
    async def consistency(reader_: Reader, asked: Annotated[Sizes, Query()]) -> Response:
        async with pool.connection() as conn:
            return json_response(await proofs.consistency(conn, asked.from_, asked.to))

    return here


async def compressed(bundle: bytes, accepted: str) -> Response:
    """An entry bundle, in gzip where the caller takes it: a bundle may be of 16 MB, so not on the event loop."""
    headers = {**FOR_EVER, "vary": "Authorization, Cookie, Accept-Encoding"}
    if "gzip" in accepted and "gzip;q=0" not in accepted.replace(" ", ""):
        bundle = await asyncio.to_thread(zlib.compress, bundle, 1, GZIP)
        headers["content-encoding"] = "gzip"
    return Response(bundle, media_type=OCTETS, headers=headers)
