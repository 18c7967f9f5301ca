"""How does a log become as long as that of years, within minutes?

Lives of requests that the service recorded are told again, under other ids, salts, commands and places; or all that
happened in a random world, in many worlds at once: real records, sealed and hashed by the log's own functions, with a
tree head for each batch, and signed by the log's own signer. They only come in by COPY instead of `append`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path

import psycopg
from psycopg import Connection, sql

from domain.facts import Fact
from services.ids import keyed_id, new_id
from services.log.merkle import Frontier, leaf_hash
from services.log.record import Tail, read, seal, tail
from services.log.signer import SignerFolder, sign_once
from services.settings import Settings
from tests.tampering import history

BATCH = 20
"""Records of one append: about as many as the service writes together under load."""

AT_A_TIME = 1000
"""Requests that are under way together, so that the records of one lie apart as they would."""

CHUNK = 100_000
"""Records of one commit."""

WORLD_STEPS = 2_500
"""How long each of many worlds goes on."""

COMMIT_APPENDS = 1_000
"""Appends of such worlds in one commit."""

KEY_BYTES = FINGERPRINT_BYTES = 32

EVENT = {
    "position": "bigint",
    "stream": "text",
    "version": "bigint",
    "type": "text",
    "command_key": "bytea",
    "fingerprint": "bytea",
    "record": "bytea",
    "leaf": "bytea",
}
HEAD = {"size": "bigint", "root": "bytea", "frontier": "bytea"}

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Act:
    """One fact of a life: its type, and its record's tail around the command's id and the salt."""

    type: str
    parts: tuple[bytes, bytes, bytes]

    def tail(self, command: str, salt: str) -> Tail:
        before, between, after = self.parts
        return Tail(b"".join((before, command.encode(), between, salt.encode(), after)))


def life(facts: Sequence[Fact]) -> list[Act]:
    """What can be told again of one stream: the facts that people's own commands wrote, in order of version."""
    assert all(fact.cause is None for fact in facts), "a cause is a position, and would be another"
    acts = []
    for fact in facts:
        before, _, rest = tail(replace(fact, command="(command)", salt="(salt)")).partition(b"(command)")
        between, _, after = rest.partition(b"(salt)")
        acts.append(Act(fact.type, (before, between, after)))
    return acts


def stream_of(conninfo: str, stream: str) -> list[Fact]:
    """The facts of a stream."""
    with psycopg.connect(conninfo) as conn:
        rows = conn.execute("SELECT record FROM event WHERE stream = %s ORDER BY version", (stream,))
        return [read(record) for (record,) in rows]


def grow(conninfo: str, acts: Sequence[Act], size: int) -> None:
    """Let the log, which nobody else may write to meanwhile, grow to that size by requests with such a life."""
    with psycopg.connect(conninfo) as conn:
        frontier, recorded = _end(conn)
        told = _told(acts, recorded + timedelta(microseconds=1), frontier.size)
        while frontier.size < size:
            append(conn, list(islice(told, min(CHUNK, size - frontier.size))), frontier)
    settle(conninfo)


def settle(conninfo: str) -> None:
    """What a database would have done by itself in the months that such a log takes to grow."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE) event, tree_head")
        conn.execute("CHECKPOINT")


def grow_by_worlds(conninfo: str, seed: str, size: int) -> int:
    """Fill an empty log with at least so many events of every kind: many worlds that go the same way; its size."""
    return grow_by_appends(conninfo, history.multiplied(history.lived(seed, WORLD_STEPS), size))


def grow_by_appends(conninfo: str, appends: Iterator[list[history.Row]]) -> int:
    """Fill an empty log with these; its size."""
    tree = Frontier()
    with psycopg.connect(conninfo, autocommit=True) as conn:
        while some := list(islice(appends, COMMIT_APPENDS)):
            heads: list[Row] = []
            for append in some:
                tree.extend(row.leaf for row in append)
                heads.append((tree.size, tree.root(), bytes(tree)))
            with conn.transaction():
                copy(conn, "event", EVENT, (tuple(getattr(row, name) for name in EVENT) for row in chain(*some)))
                copy(conn, "tree_head", HEAD, heads)
        conn.execute("VACUUM (ANALYZE) event, tree_head")
    return tree.size


def sign(conninfo: str, data: Path) -> None:
    """Sign the whole log and publish its tiles, as the signer of that data folder."""
    folder = SignerFolder(data / "signer", Settings().origin)
    with psycopg.connect(conninfo, autocommit=True) as conn:
        while sign_once(conn, folder):
            pass


def _end(conn: Connection) -> tuple[Frontier, datetime]:
    found = conn.execute(
        "SELECT size, frontier, record FROM tree_head JOIN event ON position = size - 1 ORDER BY size DESC LIMIT 1"
    ).fetchone()
    if found is None:
        return Frontier(), datetime.fromisoformat("2027-01-01T00:00:00Z")
    return Frontier(found[0], found[1]), read(found[2]).recorded


def _told(acts: Sequence[Act], recorded: datetime, position: int) -> Iterator[Row]:
    """Rows of `event` without end: life after life, many at a time."""
    while True:
        streams = [f"request-{new_id(recorded)}" for _ in range(AT_A_TIME)]
        for version, act in enumerate(acts, 1):
            for stream in streams:
                key, fingerprint = os.urandom(KEY_BYTES), os.urandom(FINGERPRINT_BYTES)
                state = act.tail(keyed_id(recorded, key, fingerprint), os.urandom(16).hex())
                record = seal(position, stream, version, act.type, recorded, state)
                yield position, stream, version, act.type, key, fingerprint, record, leaf_hash(record)
                position += 1


def append(conn: Connection, rows: Sequence[Row], frontier: Frontier) -> None:
    """Rows and the heads of their batches, in one commit."""
    heads: list[Row] = []
    for at in range(0, len(rows), BATCH):
        frontier.extend(row[-1] for row in rows[at : at + BATCH])  # type: ignore[misc]
        heads.append((frontier.size, frontier.root(), bytes(frontier)))
    with conn.transaction():
        copy(conn, "event", EVENT, rows)
        copy(conn, "tree_head", HEAD, heads)


def copy(conn: Connection, table: str, columns: dict[str, str], rows: Iterable[Row]) -> None:
    """Rows into a table, whose columns they have in that order."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(table), names)
    with conn.cursor() as cursor, cursor.copy(statement) as written:
        written.set_types(list(columns.values()))
        for row in rows:
            written.write_row(row)
