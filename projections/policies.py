"""Policies: what does each review rule say, now and in its earlier versions?"""

from collections.abc import Iterator

import msgspec

from domain.authority import Reach
from domain.policy import KIND, Policy, Version
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Document, Page
from projections.state_table import TEXT, Connection, Row, StateTable, Views


def rows(stream: str, views: Views) -> Iterator[Row]:
    for view, seen, version in (
        ("full", views.full, views.full.version),
        ("applicant", views.applicant, views.applicant.applicant_version),
    ):
        here: Policy | None = seen.state
        if here is not None and here.versions:
            yield view, here.id, msgspec.json.encode(document(seen, version)).decode()


TABLE = StateTable(
    name="policies",
    version=1,
    kinds=frozenset({KIND}),
    columns={"view": TEXT, "id": TEXT, "document": "json"},
    key=("view", "id"),
    rows=rows,
)


def document(stream: Stream, version: int) -> Document:
    """The latest version's rule, and all versions."""
    here: Policy = stream.state
    latest = here.versions[-1]
    return {
        "id": here.id,
        "version": version,
        "policy_version": latest.number,
        **_rule(latest),
        "versions": [{"policy_version": each.number, **_rule(each)} for each in here.versions],
        "position": stream.position,
    }


def _rule(version: Version) -> Document:
    return {
        "authority_basis": version.authority_basis,
        "sign_offs": version.sign_offs,
        "on_refusal": version.on_refusal,
        "decider": version.decider,
        "clocks": version.clocks,
        "grant": version.grant,
        "effective_from": version.effective_from,
    }


async def page(conn: Connection, reach: Reach, asked: Asked = NOW) -> Page:
    """The policies, by id."""
    return await pages.page(conn, TABLE, sights.general(reach), (), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One policy. Raises NotFound."""
    return await pages.detail(conn, TABLE, sights.general(reach), id, at)
