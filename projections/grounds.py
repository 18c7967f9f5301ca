"""Grounds: of all grants of a customer for a release, on which can an answer rest?

Grants pile up over the years, and of those that differ in nothing but their end the one that ends last is enough: no
answer is better than the one that it gives. So each grant has a row that says when it ends, and (`alike`) all else that
matters; an index finds, for each such kind, the last of them, however many there are.
"""

from collections.abc import Collection, Iterator
from hashlib import sha256

from psycopg import sql
from psycopg.rows import tuple_row

from domain.grant import KIND, Grant
from domain.world import Stream
from projections import pages
from projections.state_table import TEXT, StateTable
from projections.statements import Connection, Row
from projections.tracking import Standing
from projections.views import View

OF_NO_ACCOUNT = ("surrendered", "superseded")
"""Such grants count as none (I10)."""


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Grant = stream.state
    if here.ended not in OF_NO_ACCOUNT:
        ends = pages.NO_DATE if here.until is None or here.kept_by_renewal else here.until
        yield here.customer, here.release, alike(here), ends, here.id


def alike(here: Grant) -> str:
    """The same for two grants of which, but for their ends, no use could tell one from the other."""
    holds_up = any(c.kind == "precondition" and c.state in ("open", "breached") for c in here.conditions)
    lists = (sorted(here.tiers), sorted(here.user_classes), sorted(here.affiliates))
    told = (holds_up, bool(here.suspensions), here.ended, here.barred, *lists)
    return sha256(repr(told).encode()).hexdigest()[:32]


TABLE = StateTable(
    name="grounds",
    version=1,
    kinds=frozenset({KIND}),
    columns={"customer": TEXT, "release": TEXT, "alike": TEXT, "ends": "timestamptz NOT NULL", "id": TEXT},
    key=("id",),
    rows=rows,
    views=("full",),
    indexes=("(customer, release, alike, ends DESC, id)",),
)

_QUERY = """
WITH RECURSIVE walk (customer, release, alike, id) AS (
    SELECT cell.customer, cell.release, found.alike, found.id
    FROM (SELECT * FROM unnest(%(customers)s::text[]) AS c (customer), unnest(%(releases)s::text[]) AS r (release))
        AS cell
    CROSS JOIN LATERAL ({first}) AS found
    UNION ALL
    SELECT cell.customer, cell.release, found.alike, found.id
    FROM walk AS cell CROSS JOIN LATERAL ({next}) AS found
)
SELECT id FROM walk"""

_LAST = """
SELECT alike, id FROM ({rows}) AS either ORDER BY alike, ends DESC, id LIMIT 1"""

_OF = """
(SELECT alike, ends, id FROM {table}
 WHERE customer = cell.customer AND release = cell.release{beyond} AND since <= %(at)s{until}
 ORDER BY alike, ends DESC, id LIMIT 1)"""


async def grants_that_count(
    conn: Connection, live: Standing, customers: Collection[str], releases: Collection[str], at: int
) -> list[str]:
    """The grants on which answers for these customers and releases can rest, as of a position: of each kind one.

    Within a snapshot in which the table lives there.
    """
    sources = {"current": ""} if at >= live.position else {"current": "", "past": " AND until > %(at)s"}

    def last(beyond: str) -> sql.Composed:
        rows = [
            sql.SQL(_OF).format(table=sql.Identifier(live.schema, table), beyond=sql.SQL(beyond), until=sql.SQL(until))
            for table, until in sources.items()
        ]
        return sql.SQL(_LAST).format(rows=sql.SQL(" UNION ALL ").join(rows))

    query = sql.SQL(_QUERY).format(first=last(""), next=last(" AND alike > cell.alike"))
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, {"customers": list(customers), "releases": list(releases), "at": at})
        return [id for (id,) in await cursor.fetchall()]
