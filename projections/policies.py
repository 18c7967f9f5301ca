"""Policies: what does each review rule say, now and in its earlier versions?"""

from collections.abc import Iterator

from domain.authority import Reach
from domain.policy import KIND, Policy, Version
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, Connection, Row
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Policy = stream.state
    if here.versions:
        yield view, here.id, document(stream, stream.version if view == "full" else stream.applicant_version)


TABLE = StateTable(
    name="policies",
    version=1,
    kinds=frozenset({KIND}),
    columns={"view": TEXT, "id": TEXT, "document": DOCUMENT},
    key=("view", "id"),
    rows=rows,
)

FIELDS = (
    "id",
    "version",
    "policy_version",
    "authority_basis",
    "sign_offs",
    "on_refusal",
    "decider",
    "clocks",
    "grant",
    "effective_from",
    "versions",
    "position",
)
"""What a document tells, in order."""


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
