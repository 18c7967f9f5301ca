"""Which history is there to verify and to tamper with? That of a random world, as the writer would have sealed it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from random import Random
from typing import Any
from unittest.mock import patch

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Connection

from domain import log
from domain.facts import By, Fact
from domain.organization import OrganizationRegistered, PersonAppointed
from services.ids import keyed_id
from services.log import note, signer
from services.log.folder import SignerFolder
from services.log.merkle import Frontier, leaf_hash
from services.log.note import COSIGNATURE
from services.log.record import Outline, outline, seal_fact
from services.log.signer import sign_once
from tests.simulation.workload import Workload

HEAD_RECORDS = 64
"""At most so many records of a multiplied history are in one append."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the table holds of one position."""

    position: int
    stream: str
    version: int
    type: str
    command_key: bytes | None
    fingerprint: bytes | None
    record: bytes
    leaf: bytes


def parts_of(record: bytes) -> Outline:
    found = outline(record)
    assert found is not None
    return found


def row_of(record: bytes, key: bytes | None = None, fingerprint: bytes | None = None) -> Row:
    parts = parts_of(record)
    stream, type_ = parts.stream.decode(), parts.type.decode()
    return Row(int(parts.position), stream, int(parts.version), type_, key, fingerprint, record, leaf_hash(record))


def lived(seed: str, steps: int) -> list[list[Row]]:
    """The appends of a world: people's commands came under keys, those of time and of the service itself did not.

    Its acts on the log itself are left out, for they name keys that nobody has.
    """
    world = Workload(seed, keep=True)
    world.run(steps)
    assert world.appends is not None
    found: list[list[Row]] = []
    position = 0
    for append in world.appends:
        begin = parts_of(append[0])
        if begin.stream.decode() != log.STREAM:
            moved = [_moved(record, position - int(begin.position)) for record in append]
            found.append(list(_keyed(moved, "")))
            position += len(append)
    return found


def _keyed(append: Sequence[bytes], caller: str) -> Iterator[Row]:
    """The rows of one append, in which every command of a person bears the id that follows from its key."""
    for command, records in groupby(append, lambda record: parts_of(record).command):
        first, *others = records
        if b"." in command or command == b"bootstrap":
            yield from map(row_of, (first, *others))
            continue
        key = sha256(f"{caller} {command.decode()}".encode()).digest()
        fingerprint = sha256(first).digest()
        recorded = datetime.fromisoformat(parts_of(first).recorded.decode())
        old, new = (b'"command":"%s"' % id for id in (command, keyed_id(recorded, key, fingerprint).encode()))
        yield row_of(first.replace(old, new, 1), key, fingerprint)
        yield from (row_of(other.replace(old, new, 1)) for other in others)


INSTANT = datetime(2028, 4, 19, 12, tzinfo=UTC)


def appointments(people: int) -> list[tuple[str, Any]]:
    """An organization and the people it appoints."""
    events: list[Any] = [OrganizationRegistered("assent", "Assent", "US")]
    events += [PersonAppointed(f"person-{nth}", "registrar", INSTANT) for nth in range(people)]
    return [("organization-assent", event) for event in events]


def told(events: Sequence[tuple[str, Any]], begin: Sequence[Sequence[Row]] = ()) -> list[list[Row]]:
    """Appends of one command each, of these events on these streams, behind those that are there; all at noon."""
    versions = Counter(row.stream for append in begin for row in append)
    found = []
    for position, (stream, event) in enumerate(events, sum(map(len, begin))):
        key, fingerprint = b"key %d" % position, b"fingerprint %d" % position
        versions[stream] += 1
        fact = Fact(
            position=position,
            stream=stream,
            version=versions[stream],
            recorded=INSTANT,
            occurred=INSTANT,
            by=By("root", "assent", "administrator"),
            command=keyed_id(INSTANT, key, fingerprint),
            cause=None,
            event=event,
            salt="00" * 16,
        )
        found.append([row_of(seal_fact(fact), key, fingerprint)])
    return found


def written(conn: Connection[Any], appends: Sequence[Sequence[Row]]) -> None:
    """Append them to what is there, as the writer does."""
    head = conn.execute("SELECT size, frontier FROM tree_head ORDER BY size DESC LIMIT 1").fetchone()
    tree = Frontier(*head) if head else Frontier()
    for rows in appends:
        base = tree.size
        tree.extend(row.leaf for row in rows)
        columns = [
            [getattr(row, name) for row in rows]
            for name in ("stream", "version", "type", "command_key", "fingerprint", "record", "leaf")
        ]
        found = conn.execute(
            "SELECT size_found FROM append(%s, %s::text[], %s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s, %s, "
            "%s, %s, '{}')",
            (base, *columns, tree.root(), bytes(tree)),
        ).fetchone()
        assert found == (base,)


@dataclass(frozen=True, slots=True)
class SignedLog:
    """A database, the folder of its signer, and what was appended to it."""

    conninfo: str
    folder: SignerFolder
    appends: Sequence[Sequence[Row]]

    @property
    def rows(self) -> list[Row]:
        return [row for append in self.appends for row in append]


def signed(conninfo: str, folder: SignerFolder, appends: Sequence[Sequence[Row]], most: int) -> SignedLog:
    """Append them, and sign checkpoint after checkpoint, each of so many more records at most; some are cosigned."""
    with psycopg.connect(conninfo, autocommit=True) as conn, patch.object(signer, "ROUND_RECORDS_MAX", most):
        written(conn, appends)
        while sign_once(conn, folder):
            pass
        for (size,) in conn.execute("SELECT size FROM checkpoint ORDER BY size").fetchall()[::3]:
            cosigned(conn, size)
    return SignedLog(conninfo, folder, appends)


_WITNESS_KEY = Ed25519PrivateKey.generate()
WITNESS = note.verifier_of("witness.test", _WITNESS_KEY, COSIGNATURE)


def cosigned(conn: Connection[Any], size: int, private: Ed25519PrivateKey = _WITNESS_KEY) -> None:
    """A witness has cosigned the checkpoint of that size."""
    found = conn.execute("SELECT note FROM checkpoint WHERE size = %s", (size,)).fetchone()
    assert found is not None
    line = note.cosign(note.parse(found[0]).text, WITNESS.name, private, 1_800_000_000)
    conn.execute("INSERT INTO cosignature VALUES (%s, %s, %s)", (size, WITNESS.name, str(line)))


# A long history: many worlds that go the same way at the same time, each with streams of its own


def multiplied(appends: Sequence[Sequence[Row]], size: int) -> Iterator[list[Row]]:
    """Appends of a log of at least that size: each world does the same, one after the other, before it goes on."""
    worlds = -(-size // sum(map(len, appends)))
    position = 0
    for append in appends:
        batch: list[Row] = []
        for world in range(worlds):
            moved = [_moved(row.record, position - append[0].position, f".{world}") for row in append]
            batch += _keyed(moved, str(world))
            position += len(append)
            if len(batch) >= HEAD_RECORDS or world == worlds - 1:
                yield batch
                batch = []


def side_by_side(worlds: Sequence[Sequence[Sequence[Row]]], chance: Random) -> Iterator[list[Row]]:
    """The appends of many worlds as one log: each world in its order and with streams of its own, at random turns."""
    left = {nth: iter(world) for nth, world in enumerate(worlds)}
    turns = list(left)
    position = 0
    while turns:
        at = chance.randrange(len(turns))
        append = next(left[turns[at]], None)
        if append is None:
            turns[at] = turns[-1]
            turns.pop()
            continue
        further = position - append[0].position
        yield list(_keyed([_moved(row.record, further, f".{turns[at]}") for row in append], str(turns[at])))
        position += len(append)


def _moved(record: bytes, further: int, world: str = "") -> bytes:
    """The record so much further on, and its stream in another world."""
    parts = parts_of(record)
    head = b'{"position":%s,"stream":"%s"' % (parts.position, parts.stream)
    rest = record.removeprefix(head)
    if parts.cause != b"null":
        cause = b',"cause":%s,"salt"'
        rest = rest.replace(cause % parts.cause, cause % str(int(parts.cause) + further).encode(), 1)
    return b'{"position":%d,"stream":"%s%s"' % (int(parts.position) + further, parts.stream, world.encode()) + rest
