"""Subjects: whose texts are held by law, and whose were erased?"""

from collections.abc import Iterator

from domain.authority import Reach
from domain.subject import KIND, Subject
from domain.world import Stream
from projections import pages
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, Connection, Row
from projections.views import View

EVERYTHING = [Clause("true")]
"""Who asks at all may see all of them."""


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Subject = stream.state
    document = {
        "id": here.person,
        "holds": here.holds,
        "erased": here.erased,
        "version": stream.version,
        "position": stream.position,
    }
    yield here.person, document


TABLE = StateTable(
    name="subjects",
    version=1,
    kinds=frozenset({KIND}),
    columns={"id": TEXT, "document": DOCUMENT},
    key=("id",),
    rows=rows,
    views=("full",),
)

FIELDS = (
    "id",
    "holds",
    "erased",
    "version",
    "position",
)
"""What a document tells, in order."""


async def page(conn: Connection, reach: Reach, asked: Asked = NOW) -> Page:
    """The people of whom something is known here, by name."""
    return await pages.page(conn, TABLE, EVERYTHING, (), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One person. Raises NotFound."""
    return await pages.detail(conn, TABLE, EVERYTHING, id, at)
