"""Grants: who may use what, under which conditions, until when, and what ended it?"""

from collections.abc import Iterator

import msgspec

from domain.authority import Reach
from domain.grant import KIND, Grant
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Document, Page
from projections.state_table import TEXT, TEXTS, Connection, Row, StateTable, Views


def rows(stream: str, views: Views) -> Iterator[Row]:
    for view, seen, version in (
        ("full", views.full, views.full.version),
        ("applicant", views.applicant, views.applicant.applicant_version),
    ):
        here: Grant | None = seen.state
        if here is not None:
            encoded = msgspec.json.encode(document(seen, version)).decode()
            concerned = [*here.agencies, here.provider]
            yield view, here.id, here.customer, here.release, here.state, concerned, encoded


TABLE = StateTable(
    name="grants",
    version=1,
    kinds=frozenset({KIND}),
    columns={
        "view": TEXT,
        "id": TEXT,
        "customer": TEXT,
        "release": TEXT,
        "state": TEXT,
        "concerned": TEXTS,
        "document": "json",
    },
    key=("view", "id"),
    rows=rows,
    indexes=("(view, customer, id)", "(view, release, id)", "(view, state, id)", "USING gin (concerned)"),
)


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


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One grant as the reader may see it. Raises NotFound."""
    return await pages.detail(conn, TABLE, sights.concerned(reach), id, at)
