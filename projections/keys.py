"""Keys: which machines may read, for whom, and until when? Never by which secret."""

from collections.abc import Iterator

from domain.authority import Reach
from domain.key import KIND, Key
from domain.world import Stream
from projections import pages
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, Connection, Row
from projections.views import View

EVERYTHING = [Clause("true")]
"""Who asks at all may see all of them."""


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Key = stream.state
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
        "version": stream.version,
        "position": stream.position,
    }
    yield here.id, here.organization, document


TABLE = StateTable(
    name="keys",
    version=1,
    kinds=frozenset({KIND}),
    columns={"id": TEXT, "organization": TEXT, "document": DOCUMENT},
    key=("id",),
    rows=rows,
    views=("full",),
    indexes=("(organization, id)",),
)

FIELDS = (
    "id",
    "organization",
    "role",
    "name",
    "scopes",
    "issued",
    "until",
    "rotated",
    "previous_until",
    "revoked",
    "version",
    "position",
    "last_used",
)
"""What a document tells, in order."""


async def page(conn: Connection, reach: Reach, asked: Asked = NOW, *, organization: str | None = None) -> Page:
    """The keys, the first issued first."""
    return await pages.page(conn, TABLE, EVERYTHING, pages.equal(organization=organization), asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One key. Raises NotFound."""
    return await pages.detail(conn, TABLE, EVERYTHING, id, at)
