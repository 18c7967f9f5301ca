"""Legal holds: whose texts are kept, why, and since when?"""

from collections.abc import Iterator

from domain.authority import Reach
from domain.hold import KIND, LegalHold
from domain.world import Stream
from projections import pages
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, Connection, Row
from projections.views import View

EVERYTHING = [Clause("true")]
"""Who asks at all may see all of them."""


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: LegalHold = stream.state
    state = "standing" if here.released is None else "released"
    document = {
        "id": here.id,
        "person": here.person,
        "reason": here.reason,
        "state": state,
        "placed": here.placed,
        "released": here.released,
        "version": stream.version,
        "position": stream.position,
    }
    yield here.id, here.person, state, document


TABLE = StateTable(
    name="legal_holds",
    version=1,
    kinds=frozenset({KIND}),
    columns={"id": TEXT, "person": TEXT, "state": TEXT, "document": DOCUMENT},
    key=("id",),
    rows=rows,
    views=("full",),
    indexes=("(person, id)", "(state, id)"),
)

FIELDS = (
    "id",
    "person",
    "reason",
    "state",
    "placed",
    "released",
    "version",
    "position",
)
"""What a document tells, in order."""


async def page(
    conn: Connection, reach: Reach, asked: Asked = NOW, *, person: str | None = None, state: str | None = None
) -> Page:
    """The holds, the first placed first."""
    return await pages.page(conn, TABLE, EVERYTHING, pages.equal(person=person, state=state), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One hold. Raises NotFound."""
    return await pages.detail(conn, TABLE, EVERYTHING, id, at)
