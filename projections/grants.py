"""Grants: who may use what, under which conditions, until when, and what ended it?"""

from collections.abc import Iterator

from domain.authority import Reach
from domain.grant import KIND, Grant
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Document, Page, Turn
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, TEXTS, Connection, Row
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Grant = stream.state
    whole = document(stream, stream.version if view == "full" else stream.applicant_version)
    yield view, here.id, here.customer, here.release, here.state, [*here.agencies, here.provider], whole


TABLE = StateTable(
    name="grants",
    version=2,
    kinds=frozenset({KIND}),
    columns={
        "view": TEXT,
        "id": TEXT,
        "customer": TEXT,
        "release": TEXT,
        "state": TEXT,
        "concerned": TEXTS,
        "document": DOCUMENT,
    },
    key=("view", "id"),
    rows=rows,
    indexes=("(view, customer, id)", "(view, release, id)", "(view, state, id)", "USING gin (concerned)"),
)

FIELDS = (
    "id",
    "request",
    "customer",
    "release",
    "provider",
    "state",
    "version",
    "policy",
    "policy_version",
    "agencies",
    "tiers",
    "user_classes",
    "affiliates",
    "conditions",
    "changes",
    "issued",
    "until",
    "suspensions",
    "notice",
    "ended_at",
    "supersedes",
    "superseded_by",
    "barred",
    "renewal",
    "appeals",
    "position",
)
"""What a document tells, in order."""


def document(stream: Stream, version: int) -> Document:
    """The grant as that view of its stream shows it."""
    here: Grant = stream.state
    return {
        "id": here.id,
        "request": here.request,
        "customer": here.customer,
        "release": here.release,
        "provider": here.provider,
        "state": here.state,
        "version": version,
        "policy": here.policy,
        "policy_version": here.policy_version,
        "agencies": here.agencies,
        "tiers": here.tiers,
        "user_classes": here.user_classes,
        "affiliates": here.affiliates,
        "conditions": here.conditions,
        "changes": [
            {
                "condition": c.condition,
                "number": c.number,
                "text": c.text,
                "due_days": c.due_days,
                "drop": c.drop,
                "state": "settled" if c.settled else "proposed",
            }
            for c in here.changes
        ],
        "issued": here.issued,
        "until": here.until,
        "suspensions": [{"organization": o, "reason": reason} for o, reason in here.suspensions.items()],
        "notice": here.notice_respond_by and {"respond_by": here.notice_respond_by},
        "ended_at": here.ended_at,
        "supersedes": here.supersedes,
        "superseded_by": here.superseded_by,
        "barred": here.barred,
        "renewal": here.renewal,
        "appeals": here.appeals,
        "position": stream.position,
    }


async def page(
    conn: Connection,
    reach: Reach,
    asked: Asked = NOW,
    *,
    customer: str | None = None,
    release: str | None = None,
    state: str | None = None,
) -> Page:
    """The grants a reader may see, oldest first."""
    filters = pages.equal(customer=customer, release=release, state=state)
    return await pages.page(conn, TABLE, sights.concerned(reach), filters, asked)


async def changed(conn: Connection, reach: Reach, customer: str, after: int, at: int) -> list[Turn]:
    """Which grants of a customer changed, as far as the reader sees them; so many at most. Raises NotReady."""
    return await pages.changed(conn, TABLE, sights.concerned(reach), pages.equal(customer=customer), after, at)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One grant as the reader may see it. Raises NotFound."""
    return await pages.detail(conn, TABLE, sights.concerned(reach), id, at)
