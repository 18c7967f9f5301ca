"""Conditions: which provisos of live grants are open or broken, whose are they, and when is each due?"""

from collections.abc import Iterator
from datetime import datetime

from domain.authority import Reach
from domain.grant import KIND, Grant
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, TEXTS, Connection, Row
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    """One row per condition that is neither satisfied nor dropped, as long as its grant has not ended."""
    here: Grant = stream.state
    if here.ended:
        return
    concerned = [*here.agencies, here.provider]
    for each in here.conditions:
        if each.state in ("open", "breached"):
            id, due = f"{here.id}/{each.number}", each.due or pages.NO_DATE
            document = {
                "id": id,
                "grant": here.id,
                "number": each.number,
                "customer": here.customer,
                "release": here.release,
                "provider": here.provider,
                "agency": each.agency,
                "text": each.text,
                "kind": each.kind,
                "due": each.due,
                "state": each.state,
                "breached": each.state == "breached",
                "last_report": each.reported,
                "grant_state": here.state,
                "grant_until": here.until,
            }
            yield view, id, due, each.agency, here.customer, here.release, concerned, document


TABLE = StateTable(
    name="conditions",
    version=1,
    kinds=frozenset({KIND}),
    columns={
        "view": TEXT,
        "id": TEXT,
        "due": "timestamptz NOT NULL",
        "agency": TEXT,
        "customer": TEXT,
        "release": TEXT,
        "concerned": TEXTS,
        "document": DOCUMENT,
    },
    key=("view", "id"),
    rows=rows,
    indexes=(
        "(view, due, id)",
        "(view, agency, due, id)",
        "(view, customer, due, id)",
        "(view, release, due, id)",
        "USING gin (concerned)",
    ),
)

FIELDS = (
    "id",
    "grant",
    "number",
    "customer",
    "release",
    "provider",
    "agency",
    "text",
    "kind",
    "due",
    "state",
    "breached",
    "last_report",
    "grant_state",
    "grant_until",
    "overdue",
)
"""What a document tells, in order."""


async def page(
    conn: Connection,
    reach: Reach,
    asked: Asked = NOW,
    *,
    now: datetime,
    agency: str | None = None,
    customer: str | None = None,
    release: str | None = None,
    overdue: bool | None = None,
) -> Page:
    """The conditions of the grants a reader may see, in the order in which they are due; `now` says what is overdue."""
    filters = pages.equal(agency=agency, customer=customer, release=release) + pages.overdue(overdue, now)
    found = await pages.page(conn, TABLE, sights.concerned(reach), filters, asked, ("due", "id"))
    return Page([pages.with_overdue(item, now) for item in found.items], found.next, found.position)
