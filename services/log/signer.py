"""Who vouches for the log, and how does nobody, not even its database, take it back?

One signer per folder and database. What it signed last stands in a file outside the database: the log may only grow
from there. A round reads the new records, hashes them itself, compares with the head that the writer left, signs, makes
the file durable, and only then publishes; so a crash at any step leaves either nothing or something to publish again.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from domain import log
from domain.facts import Fact
from services.log import note
from services.log.folder import LogRefused, Signed, SignerFolder
from services.log.merkle import Frontier, leaf_hash
from services.log.note import Checkpoint, Note, NoteRefused
from services.log.record import read
from services.log.schema import MAIN, Ledger
from services.log.tiles import WIDTH, stored_tile, tile_root

_END = 2**63 - 1
"""Beyond every position."""

ROUND_RECORDS_MAX = 65_536
ROUND_SECONDS_LEAST = 0.05
POLL_SECONDS = 0.25
RETRY_SECONDS = 1.0

WAY_OUT = "Where that cannot be had any more, docs/log.md tells the way out: `assent log override`."

_log = logging.getLogger(__name__)


def check_at_start(conninfo: str, folder: SignerFolder) -> None:
    """Refuse to serve a log that is shorter than, or other than, what was signed. Raises LogRefused, psycopg.Error."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        check(conn, folder)


def check(conn: Connection[Any], folder: SignerFolder) -> Signed | None:
    """As `check_at_start`; what was signed last.

    Another process may be signing: it writes records, file and checkpoint in this order, so they are read in reverse.
    """
    published = _row(conn, "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")
    signed = folder.signed()
    if published is not None:
        _check_published(folder, signed, *published)
    if signed is not None:
        _check_grown(conn, signed)
    return signed


def _check_grown(conn: Connection[Any], signed: Signed) -> None:
    found = _row(conn, "SELECT coalesce(max(size), 0) FROM tree_head")
    size = int(found[0]) if found else 0
    if size < signed.size:
        raise LogRefused(
            f"The database holds {size} records, but {signed.size} were signed: records are missing. It may be an old "
            f"backup. Restore one that holds them all; do not serve from this one. {WAY_OUT}"
        )
    if signed.size == 0:
        return
    head = _row(conn, "SELECT root, frontier FROM tree_head WHERE size = %s", signed.size)
    if head is None or (bytes(head[0]), bytes(head[1])) != (signed.root, signed.frontier):
        raise LogRefused(
            f"The first {signed.size} records are not those that were signed: history was rewritten or replaced. Run "
            f"`assent log verify` to find where; restore a backup whose head at that size is the signed one. {WAY_OUT}"
        )


def _check_published(folder: SignerFolder, signed: Signed | None, size: int, text: str) -> None:
    if signed is not None and signed.accepted is not None and size <= signed.size:
        return  # it was given up, or is of before
    published = _parsed(text)
    if published is None or not any(published.verified_by(key) for key in (folder.verifier(), *folder.verifiers())):
        raise LogRefused(
            f"The checkpoint of size {size} was signed with another key than those in the signer's folder. Restore "
            f"that folder (ASSENT_DATA/signer) from its backup. {WAY_OUT}"
        )
    if signed is None or signed.size < size:
        raise LogRefused(
            f"A checkpoint of size {size} is published, but the signer's folder knows only of "
            f"{signed.size if signed else 'none'}: the folder was put back. Restore its latest copy. {WAY_OUT}"
        )
    if signed.size == size:
        _must_bear(text, signed)


def _must_bear(text: str, signed: Signed) -> None:
    """What is published is what was signed; others may have added their signatures. Raises LogRefused."""
    published, ours = _parsed(text), note.parse(signed.note)
    if published is None or published.text != ours.text or not set(ours.signatures) <= set(published.signatures):
        raise LogRefused(f"The published checkpoint of size {signed.size} is not the one that was signed.")


def _parsed(text: str) -> Note | None:
    try:
        return note.parse(text)
    except NoteRefused:
        return None


def _row(conn: Connection[Any], query: str, *values: Any) -> tuple[Any, ...] | None:
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        return cursor.execute(query, values).fetchone()


class Signer:
    """A thread that signs as soon as the log has grown. `failure` says why it stopped, if it did."""

    def __init__(self, conninfo: str, folder: SignerFolder, ledger: Ledger = MAIN) -> None:
        """`conninfo` is within the ledger. A session advisory lock sees to it that there is one signer."""
        self._conninfo = conninfo
        self._folder = folder
        self._ledger = ledger
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="signer", daemon=True)
        self.failure: LogRefused | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the round under way; takes at most about a poll. Fine when not started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._folder.held() as held:
                    if held:
                        self._sign_while_connected()
            except LogRefused as refused:
                _log.critical("The signer stops: %s", refused)
                self.failure = refused
                return
            except psycopg.Error as error:
                _log.warning("The signer lost its connection: %s", error)
            except OSError as error:
                _log.error("The signer cannot use its folder, and tries again: %s", error)
            self._stopping.wait(RETRY_SECONDS)

    def _sign_while_connected(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as conn:
            conn.execute(f"LISTEN {self._ledger.channel}".encode())
            found = _row(conn, "SELECT pg_try_advisory_lock(%s)", self._ledger.signer_lock)
            if found is None or not found[0]:
                return
            recover(conn, self._folder)
            while not self._stopping.is_set():
                began = time.monotonic()
                if sign_once(conn, self._folder):
                    self._stopping.wait(max(0.0, began + ROUND_SECONDS_LEAST - time.monotonic()))
                else:
                    for _ in conn.notifies(timeout=POLL_SECONDS, stop_after=1):
                        pass


def recover(conn: Connection[Any], folder: SignerFolder) -> None:
    """Check the log against what was signed, and publish that where a crash came in between. Raises LogRefused."""
    signed = check(conn, folder)
    if signed is not None and signed.accepted is None:
        publish(conn, signed)


def sign_once(conn: Connection[Any], folder: SignerFolder) -> bool:
    """One round: sign what was appended since the last, if anything was. Raises LogRefused.

    Where the new records name another key, both sign this head, and the new one those after it.
    """
    signed = folder.signed() or _nothing(folder)
    head = _next_head(conn, signed.size)
    if head is None:
        return False
    size, root, edge = head
    frontier = Frontier(signed.size, signed.frontier)
    own: list[Fact] = []
    frontier.extend(_hashed(conn, signed.size, size, own))
    if (frontier.size, frontier.root(), bytes(frontier)) != (size, root, edge):
        raise LogRefused(
            f"The records up to {size} do not hash to the head that the database holds: a record or the head was "
            f"changed after it was written. The last good size is {signed.size}. Run `assent log verify` to find where."
        )
    text = str(Checkpoint(folder.origin, size, root))
    keys = _keys(signed, own)
    signing = [folder.key(key) for key in dict.fromkeys(keys)]
    fresh = Signed(size, root, edge, str(note.sign(text, folder.origin, *signing)), keys[-1])
    folder.keep(fresh)
    publish(conn, fresh)
    return True


def _nothing(folder: SignerFolder) -> Signed:
    """What was signed before the first time."""
    return Signed(0, b"", b"", "", str(folder.verifier()))


def _next_head(conn: Connection[Any], signed_size: int) -> tuple[int, bytes, bytes] | None:
    """The newest head to sign; after a long absence a nearer one, so that a round stays small."""
    query = """
        (SELECT size, root, frontier FROM tree_head WHERE size > %(size)s AND size <= %(size)s + %(most)s
         ORDER BY size DESC LIMIT 1)
        UNION ALL (SELECT size, root, frontier FROM tree_head WHERE size > %(size)s ORDER BY size LIMIT 1) LIMIT 1"""
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        return cursor.execute(query, {"size": signed_size, "most": ROUND_RECORDS_MAX}).fetchone()


def _hashed(conn: Connection[Any], start: int, end: int, own: list[Fact] | None = None) -> Iterator[bytes]:
    """The leaf hashes of the records from start up to end, computed here and not taken from the table.

    What the log tells of itself is added to `own`: what the records say counts, not the columns beside them.
    """
    with conn.transaction(), conn.cursor("records", row_factory=tuple_row, binary=True) as cursor:
        cursor.itersize = 5000
        cursor.execute(
            "SELECT record FROM event WHERE position >= %s AND position < %s ORDER BY position", (start, end)
        )
        for (record,) in cursor:
            if own is not None and record.find(_OWN, 0, _OWN_WITHIN) >= 0:
                own.append(_read_own(record))
            yield leaf_hash(record)


_OWN = f'"stream":"{log.STREAM}"'.encode()
_OWN_WITHIN = len('{"position":9223372036854775807,') + len(_OWN)
"""Where a record says its stream: right after its position."""


def _read_own(record: bytes) -> Fact:
    """Raises LogRefused."""
    try:
        return read(record)
    except msgspec.DecodeError as error:
        raise LogRefused(f"A record of the stream {log.STREAM} cannot be read: {error}") from error


def _keys(signed: Signed, own: Sequence[Fact]) -> list[str]:
    """The keys that sign the next head, the last of them those after it as well. Raises LogRefused.

    A rollback is told of once: right after what an operator accepted here, word for word.
    """
    accepted = signed.accepted
    if accepted is not None and [fact.event for fact in own if fact.position == signed.size] != [accepted]:
        raise LogRefused(
            f"A log of {signed.size} records was accepted, but the record after them does not tell of that: something "
            "else was appended first. Look at what there is now: `assent log override`."
        )
    for fact in own:
        if isinstance(fact.event, log.RollbackAccepted) and fact.event != accepted:
            raise LogRefused(f"Position {fact.position} tells of a rollback that no operator has accepted here.")
    return [signed.key, *(fact.event.key for fact in own)]


def next_keys(conn: Connection[Any], folder: SignerFolder, signed: Signed | None) -> None:
    """Whether the folder can sign what is not signed yet, as far as its keys go. Raises LogRefused."""
    signed = signed or _nothing(folder)
    own: list[Fact] = []
    if sum(1 for _ in _hashed(conn, signed.size, _END, own)):
        for key in _keys(signed, own):
            folder.key(key)


def publish(conn: Connection[Any], signed: Signed) -> None:
    """The checkpoint and the tiles that became complete, in one commit; what is published already stays as it is."""
    with conn.transaction():
        _complete_tiles(conn, signed.size)
        done = conn.execute(
            "INSERT INTO checkpoint (size, note) VALUES (%s, %s) ON CONFLICT DO NOTHING", (signed.size, signed.note)
        )
        if done.rowcount == 0:
            found = _row(conn, "SELECT note FROM checkpoint WHERE size = %s", signed.size)
            _must_bear(found[0] if found else "", signed)


def _complete_tiles(conn: Connection[Any], size: int) -> None:
    found = _row(conn, "SELECT coalesce(max(index) + 1, 0) FROM tile WHERE level = 0")
    assert found is not None
    first, end = int(found[0]), size // WIDTH
    if first >= end:
        return
    leaves = list(_hashed(conn, first * WIDTH, end * WIDTH))
    for index in range(first, end):
        start = (index - first) * WIDTH
        _keep_tile(conn, 0, index, leaves[start : start + WIDTH])


def _keep_tile(conn: Connection[Any], level: int, index: int, hashes: list[bytes]) -> None:
    """Store a complete tile, and the one above where this was its last."""
    conn.execute("INSERT INTO tile (level, index, hashes) VALUES (%s, %s, %s)", (level, index, stored_tile(hashes)))
    if (index + 1) % WIDTH == 0:
        below = conn.execute(
            "SELECT substring(hashes FROM 508 * 32 + 1) FROM tile "
            "WHERE level = %s AND index > %s AND index <= %s ORDER BY index",
            (level, index - WIDTH, index),
        )
        _keep_tile(conn, level + 1, index // WIDTH, [tile_root(bytes(two)) for (two,) in below])
