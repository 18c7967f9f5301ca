"""Pending sign-offs: what does each agency still have to do, for which request, by when?"""

from collections.abc import Iterator

from domain.authority import Reach
from domain.request import KIND, AccessRequest
from domain.sign_offs import lacking, waiting
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Clause, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, TEXTS, Connection, Row
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    """One row per agency whose sign-off would still help; an agency named twice in the tree has one task."""
    here: AccessRequest = stream.state
    if here.terms is None or here.registered is None or here.outcome:
        return
    concerned, recused = [*here.agencies, here.provider], sorted(here.recused)
    for leaf in {leaf.agency: leaf for leaf in waiting(here.terms.sign_offs, here.sheet)}.values():
        lacks, due = lacking(leaf, here.sheet), here.dues[leaf.agency]
        document = {
            "agency": leaf.agency,
            "request": here.id,
            "customer": here.customer,
            "release": here.release,
            "tier": here.tier,
            "lacks": lacks,
            "due": due,
            "since": here.registered,
            "revision": here.revision,
            "state": here.state,
        }
        yield leaf.agency, here.id, due, lacks, concerned, recused, document


TABLE = StateTable(
    name="pending_sign_offs",
    version=1,
    kinds=frozenset({KIND}),
    columns={
        "agency": TEXT,
        "request": TEXT,
        "due": "timestamptz NOT NULL",
        "lacks": TEXT,
        "concerned": TEXTS,
        "recused": TEXTS,
        "document": DOCUMENT,
    },
    key=("agency", "request"),
    rows=rows,
    views=("full",),
    indexes=("(agency, due, request)", "(due, request, agency)", "USING gin (concerned)", "USING gin (recused)"),
)


async def page(
    conn: Connection, reach: Reach, asked: Asked = NOW, *, agency: str | None = None, lacks: str | None = None
) -> Page:
    """What waits for agencies (or for one), the most urgent first; only officers whom the request concerns see it."""
    all_ = reach.clearance is not None
    concerned = Clause("true") if all_ else Clause("concerned && %s::text[]", (sorted(reach.full),))
    sight = sights.unless_recused(reach, concerned, "request")
    filters = pages.equal(agency=agency, lacks=lacks)
    return await pages.page(conn, TABLE, [sight], filters, asked, ("due", "request", "agency"))
