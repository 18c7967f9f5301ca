"""Organizations: who takes part, and who holds which office in each?"""

from collections.abc import Collection, Iterator

import msgspec

from domain.authority import Reach
from domain.organization import KIND, Organization
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, Connection, Row, StateTable, Views


def rows(stream: str, views: Views) -> Iterator[Row]:
    if views.full.state is not None:
        yield _row("full", views.full.state, full(views.full))
    if views.applicant.state is not None:
        yield _row("applicant", views.applicant.state, for_applicants(views.applicant))


def _row(view: str, here: Organization, document: Document) -> Row:
    return view, here.id, here.kind, msgspec.json.encode(document).decode()


TABLE = StateTable(
    name="organizations",
    version=1,
    kinds=frozenset({KIND}),
    columns={"view": TEXT, "id": TEXT, "kind": TEXT, "document": "json"},
    key=("view", "id"),
    rows=rows,
    indexes=("(view, kind, id)",),
)


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
