"""Directives: which uses are stopped across customers, by whose order, and who is exempt?"""

from collections.abc import Iterator

from domain.authority import Reach
from domain.directive import KIND, Directive
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, Connection, Row
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Directive = stream.state
    yield view, here.id, here.state, full(stream) if view == "full" else for_applicants(stream)


TABLE = StateTable(
    name="directives",
    version=1,
    kinds=frozenset({KIND}),
    columns={"view": TEXT, "id": TEXT, "state": TEXT, "document": DOCUMENT},
    key=("view", "id"),
    rows=rows,
    indexes=("(view, state, id)",),
)

FIELDS = (
    "id",
    "organization",
    "authority",
    "scope",
    "carve_outs",
    "state",
    "issued",
    "lifted",
    "version",
    "reason",
    "lifting_proposed_by",
    "position",
)
"""What a document tells, in order, to those who see it in full."""

FOR_OFFICERS = frozenset({"reason", "lifting_proposed_by"})
"""Of these, what applicants are not told."""


def full(stream: Stream) -> Document:
    """The directive with its reason and whoever has proposed to lift it."""
    here: Directive = stream.state
    return _public(here) | {
        "version": stream.version,
        "reason": here.reason,
        "lifting_proposed_by": here.lifting_proposed_by,
        "position": stream.position,
    }


def for_applicants(stream: Stream) -> Document:
    return _public(stream.state) | {"version": stream.applicant_version, "position": stream.position}


def _public(here: Directive) -> Document:
    return {
        "id": here.id,
        "organization": here.organization,
        "authority": here.authority,
        "scope": here.scope,
        "carve_outs": here.carve_outs,
        "state": here.state,
        "issued": here.issued,
        "lifted": here.lifted,
    }


async def page(conn: Connection, reach: Reach, asked: Asked = NOW, *, state: str | None = None) -> Page:
    """The directives, oldest first."""
    return await pages.page(conn, TABLE, sights.general(reach), pages.equal(state=state), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One directive. Raises NotFound."""
    return await pages.detail(conn, TABLE, sights.general(reach), id, at)
