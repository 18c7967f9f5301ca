"""Who reads, as of when, and what do they get? What reading addresses share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import Request, Response
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from domain.authority import READERS, READS, Reach, may_read
from projections import tracking
from services.handle import Handler
from services.http import exports
from services.http.answers import source_of
from services.http.bodies import instant
from services.http.histories import Until
from services.http.identity import Identities, Identity
from services.http.machines import must_have_scope
from services.http.positions import Positions
from services.http.problems import BadParameter, NotYourRole
from services.http.rates import Rate
from services.http.recorded import Recorded
from services.log import reader
from services.vault import Vault

WAIT_SECONDS_MAX = 5.0
"""How long a read waits for what it must include."""

POSITION_MAX = 2**62
TIME: dict[str, JsonValue] = {"anyOf": [{"type": "string", "format": "date-time"}]}
POINT: dict[str, JsonValue] = {
    "anyOf": [{"type": "string", "pattern": "^[0-9]{1,18}$"}, {"type": "string", "format": "date-time"}]
}
DAY: dict[str, JsonValue] = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
"""A time, a position or time, and a day or time, as the description puts them; refusals say it in words."""

Connection = AsyncConnection[Any]
SlugText = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$", examples=["commerce"])]
PersonText = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$", examples=["cora"])]
StreamText = Annotated[str, Field(pattern=r"^[a-z]{1,32}-[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$", examples=["request-1"])]
EventType = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{0,62}$", examples=["AgencySignedOff"])]
Cursor = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,512}$", description="`next` of the page before")]
Limit = Annotated[int, Field(ge=1, le=200, description="Items on a page")]


_DIGITS = re.compile(r"[0-9]{1,19}")


def _in_digits(value: Any) -> Any:
    """A position is written in digits alone: whatever waits for it must read it as everybody else does."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("a position is written in digits")
    return value


class After(BaseModel):
    """A read that must include what was written up to a position."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        int | None,
        Field(ge=0, le=POSITION_MAX, description="Wait until this position, as a command's answer carries it, shows"),
        BeforeValidator(_in_digits),
    ] = None


class AsOf(After):
    """A read of now, or of the past as it was recorded."""

    at: Annotated[
        str | None,
        Field(
            max_length=64,
            description="As it was at this position or time (RFC 3339), inclusive",
            examples=["2026-07-08T00:00:00Z"],
            json_schema_extra=POINT,
        ),
    ] = None


class InTheWorld(AsOf):
    """A read of now, of the past as it was recorded, or of what was true in the world at a time."""

    occurred_at: Annotated[
        str | None,
        Field(
            max_length=64,
            description="What was true in the world at this time (RFC 3339), inclusive, by all that is known now; "
            "with `at`, by all that was known then",
            examples=["2026-07-08T00:00:00Z"],
            json_schema_extra=TIME,
        ),
    ] = None


class Page(AsOf):
    """A page of a list, or the whole of it as a file."""

    cursor: Cursor | None = None
    limit: Limit = 50
    format: Annotated[
        exports.Format,
        Field(description="`csv` or `jsonl`: the whole list as a file, without `cursor` and `limit`"),
    ] = "json"


class Listing(msgspec.Struct):
    """A page: its items as JSON, the cursor of the next page, and the position as of which all this holds."""

    items: Sequence[Any]
    next: str | int | None
    position: int


@dataclass(frozen=True, slots=True)
class Reads:
    """What every reading address works with."""

    handler: Handler
    pool: AsyncConnectionPool[Connection]
    vault: Vault
    identities: Identities
    recorded: Recorded
    positions: Positions
    rate: Rate | None

    async def reader(self, request: Request) -> Reach:
        """The caller and what they may read, by the table above.

        Raises Unauthenticated, TooManyRequests, ScopeMissing, NotThereYet, NotCaughtUp, NotYourRole.
        """
        identity = await self.identities.of_read(dict(request.scope["headers"]), source_of(request.scope))
        request.state.person = identity.person
        if self.rate is not None:
            self.rate.take(identity.person)
        must_have_scope(identity, "read")
        check_query(request.scope["query_string"])
        after = request.query_params.get("after", "")
        if _DIGITS.fullmatch(after):
            await self.reach_position(int(after))
        return self._reach(request, identity)

    async def still_reader(self, request: Request) -> Reach:
        """As `reader`, of somebody who was let in and reads on: it counts as no request, and nothing is waited for."""
        identity = await self.identities.of_read(dict(request.scope["headers"]), source_of(request.scope))
        must_have_scope(identity, "read")
        return self._reach(request, identity)

    def _reach(self, request: Request, identity: Identity) -> Reach:
        path = request.scope["route"].path_format
        stands = self.handler.replica.standing(identity.person, self.handler.clock.now())
        if not may_read(READS[path], stands.offices):
            needed = (f"an appointment as {role}" for role in READERS[READS[path]])
            raise NotYourRole(f"This is for {READS[path].value}.", *needed)
        return stands.reach

    async def same_reader(self, request: Request, reach: Reach) -> None:
        """The caller still is who they were, and may read the same. Raises Unauthenticated, NotYourRole."""
        if await self.still_reader(request) != reach:
            raise NotYourRole("Your appointments changed while this was read.", "to ask again")

    async def reach_position(self, position: int) -> None:
        """Wait until this process knows the log up to there. Raises NotThereYet, NotCaughtUp."""
        await self.positions.reach(position, WAIT_SECONDS_MAX)

    async def as_of(self, conn: Connection, asked: AsOf, projection: str) -> int | None:
        """The position to read at (None: now), once the projection has come that far. Raises BadParameter, NotReady."""
        at = None if asked.at is None else await self.position_at(conn, asked.at)
        awaited = max(at if at is not None else -1, asked.after if asked.after is not None else -1)
        await self.caught_up(conn, projection, awaited)
        return at

    async def caught_up(self, conn: Connection, projection: str, position: int) -> None:
        """Wait until a projection has come that far. Raises NotReady."""
        if position >= 0:
            await tracking.wait_until(conn, projection, position, WAIT_SECONDS_MAX)

    async def until(self, conn: Connection, asked: InTheWorld) -> Until:
        """Which facts of a stream count in the answer. Raises BadParameter, Malformed."""
        at = None if asked.at is None else await self.position_at(conn, asked.at)
        given = asked.occurred_at
        return Until(at, None if given is None else instant_in_address(given, "occurred_at"))

    async def position_at(self, conn: Connection, at: str, name: str = "at") -> int:
        """The position that a parameter means: itself, or the last recorded by that time, so far.

        Raises BadParameter, also for a position that is not in the log yet; Malformed.
        """
        if re.fullmatch(r"[0-9]{1,18}", at):
            position = int(at)
            if position > self.handler.replica.position:
                raise BadParameter(
                    f"The log ends at position {self.handler.replica.position}.", "a position in the log"
                )
            return position
        return await reader.position_at(conn, instant_in_address(at, name, "a position, or "))

    async def first_position_from(self, conn: Connection, text: str, name: str) -> int:
        """The position that the beginning of a range means: itself, or the first recorded at that time or later.

        Raises BadParameter, Malformed.
        """
        if re.fullmatch(r"[0-9]{1,18}", text):
            return int(text)
        instant_ = instant_in_address(text, name, "a position, or ")
        return 1 + await reader.position_at(conn, instant_ - timedelta(microseconds=1))

    async def moment(self, conn: Connection, asked: AsOf, at: int | None) -> datetime:
        """What time it was then: the one asked for, or when the position asked for was recorded; never after now."""
        now = self.handler.clock.now()
        if asked.at is None or at is None:
            return now
        if not asked.at.isdecimal():
            return min(instant_in_address(asked.at, "at"), now)
        (fact,) = await reader.page(conn, after=at - 1, limit=1)
        return fact.recorded

    async def listing(self, items: Sequence[Any], following: str | int | None, position: int) -> Response:
        """A page of a list, its sealed texts opened."""
        opened = await self.vault.open(list(items))
        return json_response(Listing(opened, following, position))

    async def detail(self, request: Request, document: Any, version: int, *, is_versioned: bool = True) -> Response:
        """One document, its sealed texts opened; 304 where the caller has this version already.

        `is_versioned`: all that it says follows from its version.
        """
        tag = f'"{version}"'
        headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "Authorization, Cookie"}
        known = request.headers.get("if-none-match", "")
        if is_versioned and tag in (part.strip() for part in known.split(",")):
            return Response(status_code=304, headers=headers)
        return json_response(await self.vault.open(document), headers)


def check_query(query: bytes) -> None:
    """Raises BadParameter where a parameter holds what no text of the database may."""
    if b"%00" in query:
        raise BadParameter("A parameter holds the character NUL, which no text may.", "a text without NUL")


def json_response(value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), headers=headers, media_type="application/json")


def instant_in_address(text: str, name: str, or_else: str = "") -> datetime:
    """A time as it stands in an address, where an unescaped plus sign arrives as a space. Raises BadParameter."""
    try:
        return instant(msgspec.convert(text.strip().replace(" ", "+"), Annotated[datetime, msgspec.Meta(tz=True)]))
    except msgspec.ValidationError as error:
        raise BadParameter(
            f"`{name}` is {or_else}a time of RFC 3339 with its zone.", f"{name}=2026-07-08T00:00:00Z"
        ) from error
