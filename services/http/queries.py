"""Which lists and documents may be read, with which filters? SQL over projection tables, straight into the answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from types import ModuleType
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from domain.access import Reason
from domain.authority import Reach
from domain.errors import NotFound
from domain.organization import OrganizationKind
from domain.request import State as RequestState
from projections import (
    activity,
    activity_counts,
    clearance,
    conditions,
    directives,
    grants,
    keys,
    legal_holds,
    organizations,
    pages,
    pending_sign_offs,
    policies,
    releases,
    requests,
    rollout,
    subjects,
)
from projections.state_table import StateTable
from services.http import boards, exports, histories
from services.http.key_uses import KeyUses
from services.http.reads import (
    POINT,
    POSITION_MAX,
    Connection,
    EventType,
    InTheWorld,
    Page,
    PersonText,
    Reads,
    SlugText,
    StreamText,
    json_response,
)
from services.log import reader

GrantState = Literal["pending_conditions", "active", "suspended", "revoked", "surrendered", "expired", "superseded"]
Id = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$", description="Its id")]
PersonId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$", description="Who it is")]
PhaseName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", examples=["limited_preview"])]


class Requests(Page):
    """Which requests: by state, by whom they wait for, by customer, by release."""

    state: RequestState | None = None
    waiting_on: Annotated[
        SlugText | None, Field(description="An agency, or `applicant`, `registrar`, `decider`, `agencies`")
    ] = None
    customer: SlugText | None = None
    release: SlugText | None = None


class Grants(Page):
    """Which grants: by state, by customer, by release."""

    state: GrantState | None = None
    customer: SlugText | None = None
    release: SlugText | None = None


class Releases(Page):
    """Which releases: by provider, by phase, held or not."""

    provider: SlugText | None = None
    phase: PhaseName | None = None
    held: bool | None = None


class Organizations(Page):
    """Which organizations: by kind."""

    kind: OrganizationKind | None = None


class Keys(Page):
    """Which keys: by the organization they read for."""

    organization: SlugText | None = None


class LegalHolds(Page):
    """Which holds: on whom, and whether they stand."""

    person: PersonText | None = None
    state: Literal["standing", "released"] | None = None


class Directives(Page):
    """Which directives: in force or lifted."""

    state: Literal["in_force", "lifted"] | None = None


class History(InTheWorld):
    """A part of a history."""

    cursor: Annotated[int | None, Field(ge=0, le=POSITION_MAX, description="`next` of the page before")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Entries on a page")] = 200


class PendingSignOffs(Page):
    """Whose sign-offs, what they lack, whether they are late, and who could give them."""

    agency: SlugText | None = None
    release: SlugText | None = None
    lacks: Literal["sign_off", "countersignature", "information"] | None = None
    overdue: bool | None = None
    officer: Annotated[PersonText | None, Field(description="Only what that person could do themselves")] = None


class Conditions(Page):
    """Whose conditions: of an agency, a customer, a release; and whether they are late."""

    agency: Annotated[SlugText | None, Field(description="The agency that set them")] = None
    customer: SlugText | None = None
    release: SlugText | None = None
    overdue: bool | None = None


class Clearance(Page):
    """Which cells of the matrix: of a customer, release or provider; with which answer; for which class of people."""

    limit: Annotated[int, Field(ge=1, le=200, description="Customers on a page")] = 20
    customer: SlugText | None = None
    release: SlugText | None = None
    provider: SlugText | None = None
    reason: Reason | None = None
    allowed: bool | None = None
    person_class: Annotated[PhaseName | None, Field(description="Who uses it; without, nobody knows")] = None


class Activity(Page):
    """Whose acts, and which: for an organization, on a stream, of a type, and when they were recorded."""

    person: Annotated[PersonText | None, Field(description="Whose; without one, your own")] = None
    organization: SlugText | None = None
    stream: StreamText | None = None
    type: EventType | None = None
    from_: Annotated[
        str | None,
        Field(
            alias="from",
            max_length=64,
            description="The first position, or the time (RFC 3339) from which on",
            json_schema_extra=POINT,
        ),
    ] = None
    to: Annotated[
        str | None,
        Field(
            max_length=64,
            description="The last position, or the time (RFC 3339) up to which",
            json_schema_extra=POINT,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document: its address, the file that answers, the filters of its list, and how its ids look.

    What a kind's history tells is read at its own address, unless it is for auditors alone, among all events. In an
    item of a list, `named_by` is the field that names what it is about.
    `has_uses`: now (not in the past) it is also told when it was last used, which is not in the log.
    `board`: what answers instead, where a page needs to know what time it was then, or more than rows.
    """

    singular: str
    plural: str
    answers: ModuleType
    filters: type[Page]
    id: Any = Id
    has_history: bool = True
    has_uses: bool = False
    named_by: str = "id"
    board: Callable[..., Awaitable[pages.Page]] | None = None
    summary: str = ""

    def stream(self, id: str) -> str:
        """The stream that such a document follows from."""
        (kind,) = self.answers.TABLE.kinds
        return f"{kind}-{id}"


KINDS = (
    Kind("request", "requests", requests, Requests),
    Kind("grant", "grants", grants, Grants),
    Kind("release", "releases", releases, Releases),
    Kind("organization", "organizations", organizations, Organizations),
    Kind("policy", "policies", policies, Page),
    Kind("directive", "directives", directives, Directives),
    Kind("key", "keys", keys, Keys, has_history=False, has_uses=True),
    Kind("legal hold", "legal-holds", legal_holds, LegalHolds, has_history=False),
    Kind("subject", "subjects", subjects, Page, PersonId, has_history=False),
)
DASHBOARDS = (
    Kind(
        "pending_sign_off",
        "pending_sign_offs",
        pending_sign_offs,
        PendingSignOffs,
        named_by="stream",
        board=boards.pending,
        summary="What waits for sign-offs, the most urgent first",
    ),
    Kind(
        "condition",
        "conditions",
        conditions,
        Conditions,
        named_by="grant",
        board=boards.told_the_time(conditions),
        summary="Open and broken conditions of live grants, in the order in which they are due",
    ),
    Kind(
        "rollout",
        "rollout",
        rollout,
        Releases,
        named_by="release",
        board=boards.told_the_time(rollout),
        summary="Where each release stands, and what is missing before its next phase",
    ),
    Kind(
        "clearance",
        "clearance",
        clearance,
        Clearance,
        named_by="customer",
        board=boards.matrix,
        summary="Which customer may use which release and tier, and why; a page is of so many customers",
    ),
    Kind(
        "activity",
        "activity",
        activity,
        Activity,
        named_by="stream",
        board=boards.acts,
        summary="What a person did, the latest first",
    ),
    Kind(
        "activity_count",
        "activity_counts",
        activity_counts,
        Activity,
        named_by="person",
        board=boards.acts_counted,
        summary="How often a person did what, by type of event",
    ),
)


def router(reads: Reads, uses: KeyUses) -> APIRouter:
    here = APIRouter(prefix="/api/v1")
    for kind in KINDS:
        one = kind.singular
        addresses = [
            (f"/{kind.plural}", _list(kind, reads, uses), f"{kind.plural.capitalize()}, page by page"),
            (f"/{kind.plural}/{{id}}", _detail(kind, reads, uses), f"One {one}"),
        ]
        if kind.has_history:
            summary = f"{one.capitalize()}: what happened, in words"
            addresses.append((f"/{kind.plural}/{{id}}/history", _history(kind, reads), summary))
        for path, endpoint, summary in addresses:
            here.add_api_route(path, endpoint, tags=[kind.plural], summary=summary)
    here.add_api_route(
        "/requests/{id}/required-sign-offs",
        _required_sign_offs(reads),
        tags=["requests"],
        summary="Who must still act, who is eligible, by when",
    )
    for board in DASHBOARDS:
        here.add_api_route(
            f"/dashboards/{board.plural}",
            _list(board, reads, uses),
            tags=["dashboards"],
            summary=board.summary,
        )
    return here


Endpoint = Callable[..., Awaitable[Response]]


def _list(kind: Kind, reads: Reads, uses: KeyUses) -> Endpoint:
    filters = kind.filters
    shared = frozenset(Page.model_fields)

    columns = exports.Columns(kind.answers.FIELDS, getattr(kind.answers, "FOR_OFFICERS", frozenset()))

    async def found(conn: Connection, reach: Reach, part: pages.Asked, now: datetime | None, asked: Page) -> pages.Page:
        given: dict[str, Any] = {name: getattr(asked, name) for name in filters.model_fields if name not in shared}
        if kind.board is None:
            page: pages.Page = await kind.answers.page(conn, reach, part, **given)
        else:
            page = await kind.board(reads, conn, reach, part, now, **given)
        if kind.has_uses and asked.at is None:
            await _tell_uses(page.items, uses)
        return page

    async def answer(request: Request, reach: Annotated[Reach, Depends(reads.reader)], asked: Page) -> Response:
        async with reads.pool.connection() as conn:
            for table in getattr(kind.answers, "TABLES", (kind.answers.TABLE,)):
                at = await reads.as_of(conn, asked, table.name)
            now = await reads.moment(conn, asked, at) if kind.board else None
            if asked.format == "json":
                page = await found(conn, reach, pages.Asked(at, asked.cursor, asked.limit), now, asked)
        if asked.format == "json":
            await reads.recorded.page(request, [item[kind.named_by] for item in page.items])
            return await reads.listing(page.items, page.next, page.position)

        async def read(part: pages.Asked) -> pages.Page:
            await reads.same_reader(request, reach)
            async with reads.pool.connection() as conn:
                page = await found(conn, reach, part, now, asked)
            await reads.recorded.export(request, [item[kind.named_by] for item in page.items], page.position)
            return replace(page, items=await reads.vault.open(page.items))

        exports.check_whole(asked.model_fields_set)
        return await exports.export(asked.format, kind.plural, columns.of(reach), at, read)

    answer.__annotations__["asked"] = Annotated[filters, Query()]
    return answer


def _detail(kind: Kind, reads: Reads, uses: KeyUses) -> Endpoint:
    async def answer(
        request: Request,
        reach: Annotated[Reach, Depends(reads.reader)],
        id: str,
        asked: Annotated[InTheWorld, Query()],
    ) -> Response:
        table: StateTable = kind.answers.TABLE
        document: pages.Document
        async with reads.pool.connection() as conn:
            if asked.occurred_at is not None:
                document = await histories.document(conn, reach, table, kind.stream(id), await reads.until(conn, asked))
            else:
                document = await kind.answers.detail(conn, reach, id, await reads.as_of(conn, asked, table.name))
        if kind.has_uses and asked.at is None and asked.occurred_at is None:
            await _tell_uses([document], uses)
        await reads.recorded.document(request)
        return await reads.detail(request, document, document["version"], is_versioned=not kind.has_uses)

    answer.__annotations__["id"] = kind.id
    return answer


async def _tell_uses(documents: list[pages.Document], uses: KeyUses) -> None:
    found = await uses.of(each["id"] for each in documents)
    for each in documents:
        each["last_used"] = found.get(each["id"])


def _history(kind: Kind, reads: Reads) -> Endpoint:
    async def answer(
        request: Request, reach: Annotated[Reach, Depends(reads.reader)], id: Id, asked: Annotated[History, Query()]
    ) -> Response:
        position = reads.handler.replica.position
        async with reads.pool.connection() as conn:
            until = await reads.until(conn, asked)
            at = position if until.at is None else until.at
            entries = await histories.entries(conn, reach, kind.stream(id), replace(until, at=at))
            following = [each for each in entries if asked.cursor is None or each["position"] > asked.cursor]
            page = await histories.with_receipts(conn, following[: asked.limit])
        await reads.recorded.document(request)
        return await reads.listing(page, page[-1]["position"] if len(following) > len(page) else None, at)

    return answer


def _required_sign_offs(reads: Reads) -> Endpoint:
    async def required_sign_offs(
        request: Request, reach: Annotated[Reach, Depends(reads.reader)], id: Id, asked: Annotated[InTheWorld, Query()]
    ) -> Response:
        async with reads.pool.connection() as conn:
            until = await reads.until(conn, asked)
            now = until.occurred
            if now is None:
                now = reads.handler.clock.now() if until.at is None else await recorded_at(conn, until.at)
            found = await histories.required(conn, reach, id, until, now)
        await reads.recorded.document(request)
        return json_response(found)

    return required_sign_offs


async def recorded_at(conn: Connection, position: int) -> datetime:
    """When the log took in what stands at a position. Raises NotFound before the first."""
    found = await reader.page(conn, after=position - 1, limit=1)
    if position < 0 or not found:
        raise NotFound
    return found[0].recorded
