"""Legal holds: whose texts are kept, why, and since when?"""

from collections.abc import Iterator

import msgspec

from domain.authority import Reach
from domain.hold import KIND, LegalHold
from projections import pages
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, Connection, Row, StateTable, Views

EVERYTHING = [Clause("true")]
"""Who asks at all may see all of them."""


def rows(stream: str, views: Views) -> Iterator[Row]:
    here: LegalHold | None = views.full.state
    if here is not None:
        state = "standing" if here.released is None else "released"
        document = {
            "id": here.id,
            "person": here.person,
            "reason": here.reason,
            "state": state,
            "placed": here.placed,
            "released": here.released,
            "version": views.full.version,
            "position": views.full.position,
        }
        yield here.id, here.person, state, msgspec.json.encode(document).decode()


TABLE = StateTable(
    name="legal_holds",
    version=1,
    kinds=frozenset({KIND}),
    columns={"id": TEXT, "person": TEXT, "state": TEXT, "document": "json"},
    key=("id",),
    rows=rows,
    indexes=("(person, id)", "(state, id)"),
)


async def page(
    conn: Connection, reach: Reach, asked: Asked = NOW, *, person: str | None = None, state: str | None = None
) -> Page:
    """The holds, the first placed first."""
    return await pages.page(conn, TABLE, EVERYTHING, pages.equal(person=person, state=state), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One hold. Raises NotFound."""
    return await pages.detail(conn, TABLE, EVERYTHING, id, at)
