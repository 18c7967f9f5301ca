"""How is turnaround asked for over HTTP: the figures with what they mean, and the requests behind each of them?"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field

from domain.authority import Reach
from domain.clocks import ZONE
from projections import pages, turnaround
from projections.turnaround import DEFINITIONS, By, Measure, Outcome, Question
from services.http import exports
from services.http.problems import BadParameter
from services.http.reads import DAY, Connection, Page, Reads, SlugText, instant_in_address, json_response

FIGURES = "/api/v1/dashboards/turnaround"
REQUESTS = f"{FIGURES}/requests"

EARLIEST, LATEST = date(1900, 1, 1), date(9000, 12, 31)
Day = Annotated[str, Field(max_length=64, examples=["2026-07-01"])]


class Turnaround(Page):
    """By what, and of which days."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    by: Annotated[By, Field(description="By agency: of each agency's own part")] = "agency"
    from_: Annotated[
        Day | None,
        Field(
            alias="from",
            description="From this day in Washington on (or the day of a time): see the definitions",
            json_schema_extra=DAY,
        ),
    ] = None
    to: Annotated[
        Day | None, Field(description="Up to and including this day in Washington", json_schema_extra=DAY)
    ] = None


class Behind(Turnaround):
    """Which figure: of which value, and which outcome or measure."""

    value: Annotated[SlugText | None, Field(description="The `value` of an item of the dashboard")] = None
    outcome: Outcome | None = None
    measure: Measure | None = None


Read = Callable[[Connection, pages.Asked], Awaitable[pages.Page]]


def router(reads: Reads) -> APIRouter:
    here = APIRouter(prefix="/api/v1/dashboards", tags=["dashboards"])

    @here.get("/turnaround", summary="How long reviews take, how they end, and how soon customers may use a model")
    async def figures(
        request: Request, reach: Annotated[Reach, Depends(reads.reader)], asked: Annotated[Turnaround, Query()]
    ) -> Response:
        question = question_of(asked)

        async def read(conn: Connection, part: pages.Asked) -> pages.Page:
            found = await turnaround.figures(conn, reach, question, part)
            items = [{**item, "requests": address_of(item["value"], question, found.position)} for item in found.items]
            return replace(found, items=pages.as_documents(items))

        if asked.format != "json":
            return await _export(reads, request, reach, asked, turnaround.FIELDS, read)
        page = await _page(reads, request, asked, read)
        told = {"by": question.by, "from": question.since, "to": question.until, "definitions": DEFINITIONS}
        return json_response({"items": page.items, "next": page.next, "position": page.position, **told})

    @here.get("/turnaround/requests", summary="The requests, or customers, that a figure of turnaround counts")
    async def requests(
        request: Request, reach: Annotated[Reach, Depends(reads.reader)], asked: Annotated[Behind, Query()]
    ) -> Response:
        question = question_of(asked)

        async def read(conn: Connection, part: pages.Asked) -> pages.Page:
            of = {"value": asked.value, "outcome": asked.outcome, "measure": asked.measure}
            return await turnaround.requests(conn, reach, question, part, **of)  # type: ignore[arg-type]

        if asked.format != "json":
            return await _export(reads, request, reach, asked, turnaround.FIELDS_BEHIND, read)
        page = await _page(reads, request, asked, read)
        return await reads.listing(page.items, page.next, page.position)

    return here


async def _page(reads: Reads, request: Request, asked: Page, read: Read) -> pages.Page:
    async with reads.pool.connection() as conn:
        at = await reads.as_of(conn, asked, turnaround.TABLE.name)
        page = await read(conn, pages.Asked(at, asked.cursor, asked.limit))
    await reads.recorded.page(request, [*map(_subject, page.items)])
    return page


async def _export(
    reads: Reads, request: Request, reach: Reach, asked: Page, columns: Sequence[str], read: Read
) -> Response:
    """The whole list as a file."""
    exports.check_whole(asked.model_fields_set)
    async with reads.pool.connection() as conn:
        at = await reads.as_of(conn, asked, turnaround.TABLE.name)

    async def part_of(part: pages.Asked) -> pages.Page:
        await reads.same_reader(request, reach)
        async with reads.pool.connection() as conn:
            page = await read(conn, part)
        await reads.recorded.export(request, [*map(_subject, page.items)], page.position)
        return page

    name = request.url.path.removeprefix("/api/v1/dashboards/").replace("/", "-")
    return await exports.export(asked.format, name, columns, at, part_of)


def _subject(item: dict[str, Any]) -> str:
    """What an item of figures, or of what is behind them, is about, for the trail."""
    if "outcomes" in item:
        return f"{parse_qs(item['requests'].partition('?')[2])['by'][0]}-{item['value']}"
    return f"request-{item['request']}" if item["request"] else f"release-{item['release']}"


def address_of(value: str, question: Question, position: int) -> str:
    """Where what is behind the figures of a value is listed, as of the same position."""
    asked = {"by": question.by, "value": value, "from": question.since, "to": question.until, "at": position}
    return f"{REQUESTS}?{urlencode({name: str(given) for name, given in asked.items() if given is not None})}"


def question_of(asked: Turnaround) -> Question:
    """Raises BadParameter."""
    since, until = day(asked.from_, "from"), day(asked.to, "to")
    if since is not None and until is not None and since > until:
        raise BadParameter(f"`from` is {since}, and `to` is {until}, which is before it.", "from", "to")
    return Question(asked.by, since, until)


def day(text: str | None, name: str) -> date | None:
    """The day that is meant: itself, or that of a time, in Washington. Raises BadParameter."""
    if text is None:
        return None
    try:
        is_day = re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is not None
        found = (
            date.fromisoformat(text) if is_day else instant_in_address(text, name, "a day, or ").astimezone(ZONE).date()
        )
    except (ValueError, OverflowError):
        found = date.min
    if not EARLIEST <= found <= LATEST:
        raise BadParameter(f"`{name}` is a day from {EARLIEST} to {LATEST}.", f"{name}=2026-07-01")
    return found
