"""Subjects: whose texts are held by law, and whose were erased?"""

from collections.abc import Iterator

import msgspec

from domain.authority import Reach
from domain.subject import KIND, Subject
from projections import pages
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, Connection, Row, StateTable, Views

EVERYTHING = [Clause("true")]
"""Who asks at all may see all of them."""


def rows(stream: str, views: Views) -> Iterator[Row]:
    here: Subject | None = views.full.state
    if here is not None:
        document = {
            "id": here.person,
            "holds": here.holds,
            "erased": here.erased,
            "version": views.full.version,
            "position": views.full.position,
        }
        yield here.person, msgspec.json.encode(document).decode()


TABLE = StateTable(
    name="subjects",
    version=1,
    kinds=frozenset({KIND}),
    columns={"id": TEXT, "document": "json"},
    key=("id",),
    rows=rows,
)


async def page(conn: Connection, reach: Reach, asked: Asked = NOW) -> Page:
    """The people of whom something is known here, by name."""
    return await pages.page(conn, TABLE, EVERYTHING, (), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One person. Raises NotFound."""
    return await pages.detail(conn, TABLE, EVERYTHING, id, at)
