"""How does a log grow in these tests, and what can be done to it by whoever holds the whole database?"""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from domain import log
from domain.facts import SYSTEM, Fact
from services.log.merkle import Frontier, leaf_hash
from services.log.record import seal_fact
from tests.spec import instant

ORIGIN = "assent.localhost/log"
NOW = instant("2026-07-01T15:00:00Z")


def tree(conn: Connection[Any]) -> Frontier:
    """The right edge of the tree as the database has it."""
    found = conn.execute("SELECT size, frontier FROM tree_head ORDER BY size DESC LIMIT 1").fetchone()
    return Frontier(*found) if found else Frontier()


def append(conn: Connection[Any], records: Sequence[bytes]) -> None:
    """One append of these records, each the first of a stream."""
    edge = tree(conn)
    base, more = edge.size, len(records)
    leaves = [leaf_hash(record) for record in records]
    edge.extend(leaves)
    none = [None] * more
    conn.execute(
        "SELECT append(%s, %s::text[], %s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s, %s, %s, %s, '{}')",
        (base, [f"s-{base + nth}" for nth in range(more)], [1] * more, ["T"] * more, none, none, list(records), leaves,
         edge.root(), bytes(edge)),
    )  # fmt: skip


def grow(conn: Connection[Any], more: int, word: str = "record") -> None:
    """One append of so many records."""
    base = tree(conn).size
    append(conn, [f"{word} {position}".encode() for position in range(base, base + more)])


def tell(conn: Connection[Any], *events: Any) -> None:
    """One append of events of the log's own stream. Its columns say something else: the records count."""
    base = tree(conn).size
    facts = [Fact(base + nth, log.STREAM, nth + 1, NOW, NOW, SYSTEM, "", None, e) for nth, e in enumerate(events)]
    append(conn, [seal_fact(fact) for fact in facts])


def published(conn: Connection[Any]) -> list[int]:
    return [size for (size,) in conn.execute("SELECT size FROM checkpoint ORDER BY size")]


def as_superuser(conn: Connection[Any], statement: str, *values: Any) -> None:
    """What somebody with the whole database in their hands can do."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        assert conn.execute(statement, values).rowcount > 0
