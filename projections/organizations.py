"""Organizations: who takes part, and who holds which office in each?"""

from collections.abc import Collection, Iterator

from domain.authority import Reach
from domain.organization import KIND, Organization
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, Connection, Row
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Organization = stream.state
    yield view, here.id, here.kind, full(stream) if view == "full" else for_applicants(stream)


TABLE = StateTable(
    name="organizations",
    version=1,
    kinds=frozenset({KIND}),
    columns={"view": TEXT, "id": TEXT, "kind": TEXT, "document": DOCUMENT},
    key=("view", "id"),
    rows=rows,
    indexes=("(view, kind, id)",),
)

FIELDS = (
    "id",
    "kind",
    "name",
    "country",
    "size_class",
    "government",
    "closed",
    "affiliates",
    "appointments",
    "delegations",
    "version",
    "position",
)
"""What a document tells, in order, to those who see it in full."""

FOR_OFFICERS = frozenset({"appointments", "delegations"})
"""Of these, what applicants are not told."""


def full(stream: Stream) -> Document:
    """The organization with everybody ever appointed in it."""
    here: Organization = stream.state
    appointments = [
        {"person": person, "role": a.role, "from": a.starts, "until": a.until}
        for person, held in sorted(here.appointments.items())
        for a in held
    ]
    return {
        **_public(here),
        "appointments": appointments,
        "delegations": [
            {
                "number": d.number,
                "delegator": d.delegator,
                "to": d.to,
                "powers": d.powers,
                "from": d.starts,
                "until": d.until,
            }
            for d in here.delegations
        ],
        "version": stream.version,
        "position": stream.position,
    }


def for_applicants(stream: Stream) -> Document:
    return {**_public(stream.state), "version": stream.applicant_version, "position": stream.position}


def _public(here: Organization) -> Document:
    return {
        "id": here.id,
        "kind": here.kind,
        "name": here.name,
        "country": here.country,
        "size_class": here.size_class,
        "government": here.government,
        "closed": here.closed,
        "affiliates": here.affiliates,
    }


async def page(conn: Connection, reach: Reach, asked: Asked = NOW, *, kind: str | None = None) -> Page:
    """The organizations, by id."""
    return await pages.page(conn, TABLE, sights.general(reach), pages.equal(kind=kind), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One organization as the reader may see it. Raises NotFound."""
    return await pages.detail(conn, TABLE, sights.general(reach), id, at)


async def is_any_agency(conn: Connection, ids: Collection[str]) -> bool:
    """Whether one of these organizations is an agency. What an organization is never changes."""
    agencies = Clause("view = 'full' AND kind = 'agency' AND id = ANY (%s)", (list(ids),))
    return bool((await pages.page(conn, TABLE, [agencies], (), Asked(limit=1))).items)
