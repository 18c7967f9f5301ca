"""Keys: which machines may read, for whom, and until when? Never by which secret."""

from collections.abc import Iterator

import msgspec

from domain.authority import Reach
from domain.key import KIND, Key
from projections import pages
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, Connection, Row, StateTable, Views

EVERYTHING = [Clause("true")]
"""Who asks at all may see all of them."""


def rows(stream: str, views: Views) -> Iterator[Row]:
    here: Key | None = views.full.state
    if here is not None:
        document = {
            "id": here.id,
            "organization": here.organization,
            "role": here.role,
            "name": here.name,
            "scopes": here.scopes,
            "issued": here.issued,
            "until": here.until,
            "rotated": here.rotated,
            "previous_until": here.previous_until,
            "revoked": here.revoked,
            "version": views.full.version,
            "position": views.full.position,
        }
        yield here.id, here.organization, msgspec.json.encode(document).decode()


TABLE = StateTable(
    name="keys",
    version=1,
    kinds=frozenset({KIND}),
    columns={"id": TEXT, "organization": TEXT, "document": "json"},
    key=("id",),
    rows=rows,
    indexes=("(organization, id)",),
)


async def page(conn: Connection, reach: Reach, asked: Asked = NOW, *, organization: str | None = None) -> Page:
    """The keys, the first issued first."""
    return await pages.page(conn, TABLE, EVERYTHING, pages.equal(organization=organization), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One key. Raises NotFound."""
    return await pages.detail(conn, TABLE, EVERYTHING, id, at)
