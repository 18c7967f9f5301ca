"""What changed between two points of the log: in a document, by which facts, and what else of a customer?"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field

from domain.authority import Reach
from domain.errors import NotFound
from domain.facts import Fact
from domain.organization import Organization
from projections import grants, requests
from projections.difference import differences
from projections.pages import Document, Turn
from projections.state_table import StateTable
from projections.views import View
from services.http import histories
from services.http.histories import Until
from services.http.problems import BadParameter
from services.http.queries import KINDS
from services.http.reads import POINT, After, Connection, Reads, json_response

TABLES: dict[str, StateTable] = {kind.stream("").rstrip("-"): kind.answers.TABLE for kind in KINDS if kind.has_history}
"""Of which kinds of streams there is a document that everybody signed in may ask for."""

OF_THEMSELVES = frozenset({"version", "position"})
"""What differs after every fact, and is told apart."""


class Between(After):
    """Which stream, and the two points: positions or times, as in `at`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    stream: Annotated[
        str,
        Field(
            pattern=r"^[a-z]{1,32}-[a-z0-9][a-z0-9.-]{0,62}$",
            description="A request, grant, release, organization, policy or directive, as its kind and id",
            examples=["request-1"],
        ),
    ]
    from_: Annotated[
        str,
        Field(
            alias="from",
            max_length=64,
            description="The point before: a position or time (RFC 3339), inclusive: what it wrote is there already",
            examples=["2026-07-01T00:00:00Z"],
            json_schema_extra=POINT,
        ),
    ]
    to: Annotated[
        str,
        Field(
            max_length=64,
            description="The point after: a position or time (RFC 3339), inclusive; not before `from`",
            examples=["2026-07-08T00:00:00Z"],
            json_schema_extra=POINT,
        ),
    ]


def router(reads: Reads) -> APIRouter:
    here = APIRouter(prefix="/api/v1", tags=["audit"])

    @here.get("/diff", summary="What changed between two points, and by which facts")
    async def diff(
        request: Request, reach: Annotated[Reach, Depends(reads.reader)], asked: Annotated[Between, Query()]
    ) -> Response:
        request.state.stream = asked.stream
        async with reads.pool.connection() as conn:
            after = await reads.position_at(conn, asked.from_, "from")
            at = await reads.position_at(conn, asked.to, "to")
            if after > at:
                raise BadParameter(
                    f"`from` is position {after}, and `to` is position {at}, which is before it.", "from", "to"
                )
            found = await between(conn, reads, reach, asked.stream, after, at)
        await reads.recorded.document(request)
        return json_response(found)

    return here


async def between(conn: Connection, reads: Reads, reach: Reach, stream: str, after: int, at: int) -> Document:
    """Both documents are in the view that the reader has at the later point. Raises NotFound, NotReady."""
    table = TABLES.get(stream.partition("-")[0])
    if table is None:
        raise NotFound
    facts = await histories.facts_of(conn, stream)
    view, then = await histories.shown(conn, reach, table, facts, Until(at))
    before = await _before(conn, reach, table, facts, after, view)
    entries = await histories.told(conn, reach, facts, [fact for fact in facts if after < fact.position <= at])
    earlier, later, told = await reads.vault.open([before, then, entries])
    return {
        "stream": stream,
        "from": _point(after, earlier),
        "to": _point(at, later),
        "changes": list(differences(_without(earlier), _without(later))),
        "facts": told,
        **await _of_customer(conn, reads, reach, histories.state_of(facts), after, at),
    }


async def _before(
    conn: Connection, reach: Reach, table: StateTable, facts: Sequence[Fact], after: int, view: View
) -> Document | None:
    """What the reader could see of it at the earlier point, if anything, in the view of the later one."""
    try:
        await histories.shown(conn, reach, table, facts, Until(after))
    except NotFound:
        return None
    return histories.made(table, Until(after).of(facts), view)


async def _of_customer(
    conn: Connection, reads: Reads, reach: Reach, state: object, after: int, at: int
) -> dict[str, list[Turn]]:
    """Which requests and grants of a customer changed meanwhile; nothing for whatever else it is."""
    if not isinstance(state, Organization) or state.kind != "customer":
        return {}
    for table in (requests.TABLE, grants.TABLE):
        await reads.caught_up(conn, table.name, at)
    return {
        "requests": await requests.changed(conn, reach, state.id, after, at),
        "grants": await grants.changed(conn, reach, state.id, after, at),
    }


def _point(position: int, document: Document | None) -> Document:
    return {"position": position, "version": document and document["version"]}


def _without(document: Document | None) -> Document | None:
    return document and {name: value for name, value in document.items() if name not in OF_THEMSELVES}
