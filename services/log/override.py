"""How does an operator have the service go on from a log that is shorter, or other, than what was signed?

After a disaster the database that holds all that was signed may be gone. With the service stopped, an operator reads
what would be given up, and says which log to go on from, by its size and root. What was signed stays as evidence in the
signer's folder; the first thing that the service appends afterwards is the event that tells of it.
"""

import heapq
import json
import sys
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from domain.log import RollbackAccepted
from services.log import note
from services.log.folder import LogRefused, Signed, SignerFolder
from services.log.merkle import Frontier, leaf_hash
from services.log.note import Checkpoint, NoteRefused
from services.log.schema import Ledger
from services.log.signer import check, next_keys
from services.log.tiles import Tiling
from services.progress import shown

PAGE_ROWS = 5000
CHECKPOINTS_TRIED = 100
"""How many of the newest fitting checkpoints are asked for our signature; the others say no more than these."""

GONE_SECONDS_MAX = 2.0
"""How long the server may take to notice that a connection was closed."""

_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL"""
"""Of other roles' connections not even the kind is shown, but whose they are; Postgres' own workers are nobody's."""

Report = Callable[[int], None]
_NO_SIZE = 2**63
REASON_LENGTH_MAX = 10_000


class NotWhole(LogRefused):
    """The database contradicts itself: there is no one log in it from which anybody could go on."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The database contradicts itself: {what}. No log can be accepted from it; restore a backup that is whole."
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The log that is there, and what would be given up for it.

    The first `agreed_size` records are known to be those that were signed; the first that is missing or other stands at
    a position from there up to `differs_by`, which is None where none does.
    """

    why: str
    signed: Signed | None
    size: int
    root: bytes
    frontier: bytes
    agreed_size: int
    differs_by: int | None

    @property
    def name(self) -> str:
        """What an operator repeats to say: this log."""
        return f"{self.size}/{_base64(self.root)}"


# What is there


def survey(conn: Connection[Any], folder: SignerFolder, report: Report = lambda done: None) -> Found | None:
    """What is wrong and what there is; None where the log goes on from what was signed. Raises NotWhole.

    Reads every record, and tells now and then how many it has read.
    """
    why = _why_refused(conn, folder)
    if why is None:
        return None
    signed = folder.signed()
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        edge, agreed_size, last = _reread(conn, signed, folder, report)
        _must_be_whole(conn, edge)
    differs_by = None if signed is None or agreed_size == signed.size else last
    return Found(why, signed, edge.size, edge.root(), bytes(edge), agreed_size, differs_by)


def _why_refused(conn: Connection[Any], folder: SignerFolder) -> str | None:
    """What the service says at its start, or the signer at its next round."""
    try:
        signed = check(conn, folder)
        next_keys(conn, folder, signed)
    except LogRefused as refused:
        return str(refused)
    return None


def _reread(
    conn: Connection[Any], signed: Signed | None, folder: SignerFolder, report: Report
) -> tuple[Frontier, int, int]:
    """The tree of all records, hashed here; how much of what was signed is surely in it, and by where it surely ends.

    Two things tell: the roots of the perfect subtrees at the edge of what was signed, and the checkpoints that a backup
    holds itself. Once a rollback was accepted, only those of sizes that it did not touch.
    """
    edge, leaves = Frontier(), _leaves(conn, report)
    kept = b"" if signed is None else signed.frontier
    agreed_size, differs_by = 0, 0 if signed is None else signed.size
    fitting: deque[tuple[int, str]] = deque(maxlen=CHECKPOINTS_TRIED)
    for size, text in heapq.merge(((size, "") for size in _subtree_ends(signed)), _checkpoints(conn)):
        edge.extend(islice(leaves, size - edge.size))
        if edge.size < size:
            break
        if text:
            if _says(text, Checkpoint(folder.origin, size, edge.root())):
                fitting.append((size, text))
        elif kept.startswith(bytes(edge)):
            agreed_size = size
        else:
            differs_by = min(differs_by, size - 1)
    edge.extend(leaves)
    if signed is not None:
        agreed_size = max(agreed_size, min(_newest_signed(folder, fitting), signed.size))
    return edge, agreed_size, min(differs_by, edge.size)


def _newest_signed(folder: SignerFolder, checkpoints: Sequence[tuple[int, str]]) -> int:
    """The size of the newest of these checkpoints that a key of ours signed, before any rollback touched it; or 0."""
    keys = folder.verifiers()
    untouched = min([each.accepted.agreed_size for each in folder.evidence()], default=_NO_SIZE)
    ours = (
        size
        for size, text in reversed(checkpoints)
        if size <= untouched and any(note.parse(text).verified_by(key) for key in keys)
    )
    return next(ours, 0)


def _subtree_ends(signed: Signed | None) -> Iterator[int]:
    """Where the perfect subtrees end that the signed size is made of: the largest first, so that they add up."""
    end, rest = 0, 0 if signed is None else signed.size
    while rest:
        largest = 1 << (rest.bit_length() - 1)
        end, rest = end + largest, rest - largest
        yield end


def _checkpoints(conn: Connection[Any]) -> Iterator[tuple[int, str]]:
    """The sizes and notes of the database's checkpoints."""
    with conn.cursor("checkpoints", row_factory=tuple_row) as cursor:
        yield from cursor.execute("SELECT size, note FROM checkpoint ORDER BY size")


def _says(text: str, head: Checkpoint) -> bool:
    """Whether a note says that, whoever signed it."""
    try:
        return note.parse(text).text == str(head)
    except NoteRefused:
        return False


def _leaves(conn: Connection[Any], report: Report) -> Iterator[bytes]:
    """The leaf hashes of all records, in order, compared with what the tables say of them. Raises NotWhole."""
    tiles = _StoredTiles(conn)
    with conn.cursor("records", row_factory=tuple_row, binary=True) as cursor:
        cursor.itersize = PAGE_ROWS
        cursor.execute("SELECT position, record, leaf FROM event ORDER BY position")
        for expected, (position, record, leaf) in enumerate(cursor):
            if position != expected:
                raise NotWhole(f"position {expected} is missing")
            found = leaf_hash(record)
            if found != leaf:
                raise NotWhole(f"the record at position {position} was edited")
            tiles.take(found)
            if position % PAGE_ROWS == 0:
                report(position)
            yield found


class _StoredTiles:
    """The stored tiles, compared with the leaves as they come."""

    def __init__(self, conn: Connection[Any]) -> None:
        self._conn = conn
        self._tiling = Tiling()
        self._counts = dict(conn.execute("SELECT level, count(*) FROM tile GROUP BY level").fetchall())

    def take(self, leaf: bytes) -> None:
        """Raises NotWhole."""
        query = "SELECT hashes FROM tile WHERE level = %s AND index = %s"
        for level, index, nodes in self._tiling.add(leaf):
            if index < self._counts.get(level, 0):
                found = [bytes(each) for (each,) in self._conn.execute(query, (level, index))]
                if found != [nodes]:
                    raise NotWhole(f"tile {index} of level {level} differs")


def _must_be_whole(conn: Connection[Any], edge: Frontier) -> None:
    """The head is that of the records, and nothing tells of more than there is. Raises NotWhole."""
    head = conn.execute("SELECT size, root, frontier FROM tree_head ORDER BY size DESC LIMIT 1").fetchone()
    found = (0, edge.root(), b"") if head is None else (head[0], bytes(head[1]), bytes(head[2]))
    if found != (edge.size, edge.root(), bytes(edge)):
        raise NotWhole(f"its {edge.size} records are not those of its head")
    beyond = conn.execute(
        "SELECT count(*) FROM checkpoint WHERE size > %(size)s UNION ALL "
        "SELECT count(*) FROM cosignature WHERE size > %(size)s UNION ALL "
        "SELECT count(*) FROM tile WHERE (index + 1) << (8 * (level + 1)) > %(size)s",
        {"size": edge.size},
    ).fetchall()
    if any(count for (count,) in beyond):
        raise NotWhole(f"it holds {edge.size} records, and checkpoints or tiles of more")


# What is accepted


def accept(folder: SignerFolder, found: Found, operator: str, reason: str) -> RollbackAccepted:
    """Have the signer go on from there. What it signed until now is kept as evidence first."""
    signed = found.signed
    event = RollbackAccepted(
        signed_size=signed.size if signed else 0,
        signed_root=_base64(signed.root) if signed else "",
        note=signed.note if signed else "",
        found_size=found.size,
        found_root=_base64(found.root),
        agreed_size=found.agreed_size,
        key=str(folder.key_to_go_on()),
        operator=operator,
        reason=reason,
    )
    folder.keep_evidence(datetime.now(UTC), signed, event)
    folder.keep(Signed(found.size, found.root, found.frontier, "", event.key, event))
    return event


def _base64(hash: bytes) -> str:
    return b64encode(hash).decode()


# At a terminal


def command(
    conninfo: str,
    ledger: Ledger,
    folder: SignerFolder,
    operator: str,
    reason: str | None,
    accepted: str | None,
    as_json: bool,
) -> int:
    """`assent log override`: 0 accepted; 1 nothing was accepted, and this is what there is. Raises LogRefused."""
    if accepted is not None and not 1 <= len(reason or "") <= REASON_LENGTH_MAX:
        raise LogRefused(f"A log is accepted for a --reason of 1 to {REASON_LENGTH_MAX} characters.")
    with folder.held() as held, psycopg.connect(ledger.within(conninfo), autocommit=True) as conn:
        _must_be_alone(conn, ledger, held)
        ((size,),) = conn.execute("SELECT coalesce(max(size), 0) FROM tree_head").fetchall()
        with shown("read the log", size) as report:
            found = survey(conn, folder, report)
        if found is None:
            _say("The log goes on from what was signed: there is nothing to accept.", {"accepted": None}, as_json)
            return 1
        if accepted != found.name:
            wrong = "" if accepted is None else f"\n--accept names another log, {accepted}."
            _say(_told(found) + wrong, {"accepted": None, **_as_json(found)}, as_json)
            return 1
        event = accept(folder, found, operator, reason or "")
    text = f"Accepted: the service goes on from {event.found_size} records, and first of all records that it does."
    _say(text, {"accepted": found.name, **_as_json(found)}, as_json)
    return 0


def _must_be_alone(conn: Connection[Any], ledger: Ledger, held: bool) -> None:
    """The service is stopped, and nobody else is connected. Raises LogRefused."""
    locked = conn.execute(
        "SELECT pg_try_advisory_lock(%s), pg_try_advisory_lock(%s)", (ledger.signer_lock, ledger.append_lock)
    ).fetchone()
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while (others := conn.execute(_OTHERS).fetchone()) != (0,) and time.monotonic() < deadline:
        time.sleep(0.02)
    if not held or locked != (True, True) or others != (0,):
        raise LogRefused(
            "Somebody is connected to the database, or signs. Stop the service, every process of it, and try again."
        )


def _told(found: Found) -> str:
    signed = found.signed
    lines = [
        found.why,
        "",
        f"Signed last:     {f'{signed.size} records, root {_base64(signed.root)}' if signed else 'nobody knows'}",
        f"In the database: {found.size} records, root {_base64(found.root)}",
        f"Known to be the same: the first {found.agreed_size} records.",
        _difference(found),
        "",
        "To go on from the log in the database all the same, and to have that recorded for ever, add",
        f"  --accept {found.name}",
        "Witnesses, and whoever holds a checkpoint of what is given up, will refuse the new ones. They are right.",
    ]
    return "\n".join(lines)


def _difference(found: Found) -> str:
    if found.differs_by is None:
        return "No record that was signed is known to be missing or other."
    if found.differs_by == found.agreed_size:
        return f"The first that is missing or other: position {found.agreed_size}."
    return f"The first that is missing or other: at a position from {found.agreed_size} to {found.differs_by}."


def _as_json(found: Found) -> dict[str, Any]:
    signed = found.signed
    return {
        "why": found.why,
        "signed": {"size": signed.size, "root": _base64(signed.root), "note": signed.note} if signed else None,
        "found": {"size": found.size, "root": _base64(found.root)},
        "agreed_size": found.agreed_size,
        "differs_by": found.differs_by,
        "accept": found.name,
    }


def _say(text: str, document: dict[str, Any], as_json: bool) -> None:
    sys.stdout.write((json.dumps(document) if as_json else text) + "\n")
