"""Who vouches for the log, and how does nobody, not even its database, take it back?

One signer per folder and database. What it signed last stands in a file outside the database: the log may only grow
from there. A round reads the new records, hashes them itself, compares with the head that the writer left, signs, makes
the file durable, and only then publishes; so a crash at any step leaves either nothing or something to publish again.
"""

import fcntl
import logging
import os
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Connection
from psycopg.rows import tuple_row

from services.log import note
from services.log.merkle import Frontier, leaf_hash
from services.log.note import Checkpoint, Verifier
from services.log.schema import CHANNEL
from services.log.tiles import WIDTH, stored_tile, tile_root

SIGNER_LOCK = 0x5349474E
"""The session advisory lock of the one signer."""

ROUND_RECORDS_MAX = 65_536
ROUND_SECONDS_LEAST = 0.05
POLL_SECONDS = 0.25
RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class LogRefused(Exception):
    """The log is not what was signed. The message says what differs, and what an operator can do."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed last: the head, the right edge of its tree, and the note."""

    size: int
    root: bytes
    frontier: bytes
    note: str


class SignerFolder:
    """The folder outside the database: the key, and what was signed last."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder = folder
        self.origin = origin

    @property
    def _key_path(self) -> Path:
        return self._folder / "log.key"

    @property
    def _signed_path(self) -> Path:
        return self._folder / "signed.json"

    def key(self) -> Ed25519PrivateKey:
        """The log's key; made on first use, whoever comes first."""
        if not self._key_path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._folder / f"log.key.{os.getpid()}.{threading.get_ident()}"
            _write_durably(fresh, b64encode(Ed25519PrivateKey.generate().private_bytes_raw()))
            with suppress(FileExistsError):
                os.link(fresh, self._key_path)
            fresh.unlink()
            _sync_folder(self._folder)
        return Ed25519PrivateKey.from_private_bytes(b64decode(self._key_path.read_bytes()))

    def verifier(self) -> Verifier:
        return note.verifier_of(self.origin, self.key())

    def signed(self) -> Signed | None:
        """What was signed last, or None before the first time."""
        try:
            found = self._signed_path.read_bytes()
        except FileNotFoundError:
            return None
        return msgspec.json.decode(found, type=Signed)

    def keep(self, signed: Signed) -> None:
        """Durable when it returns; a crash leaves the old one or the new one."""
        fresh = self._signed_path.with_suffix(".new")
        _write_durably(fresh, msgspec.json.encode(signed))
        fresh.replace(self._signed_path)
        _sync_folder(self._folder)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Whether this process may sign from this folder now: no other does."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _write_durably(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
            "backup. Restore one that holds them all; do not serve from this one."
        )
    head = _row(conn, "SELECT root, frontier FROM tree_head WHERE size = %s", signed.size)
    if head is None or (bytes(head[0]), bytes(head[1])) != (signed.root, signed.frontier):
        raise LogRefused(
            f"The first {signed.size} records are not those that were signed: history was rewritten or replaced. Run "
            "`assent log verify` to find where; restore a backup whose head at that size is the signed one."
        )


def _check_published(folder: SignerFolder, signed: Signed | None, size: int, text: str) -> None:
    if not note.parse(text).verified_by(folder.verifier()):
        raise LogRefused(
            f"The checkpoint of size {size} was signed with another key than the one in the signer's folder. Restore "
            "that folder (ASSENT_DATA/signer) from its backup."
        )
    if signed is None or signed.size < size:
        raise LogRefused(
            f"A checkpoint of size {size} is published, but the signer's folder knows only of "
            f"{signed.size if signed else 'none'}: the folder was put back. Restore its latest copy."
        )
    if signed.size == size and text != signed.note:
        raise LogRefused(f"The published checkpoint of size {size} is not the one that was signed.")


def _row(conn: Connection[Any], query: str, *values: Any) -> tuple[Any, ...] | None:
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        return cursor.execute(query, values).fetchone()


class Signer:
    """A thread that signs as soon as the log has grown. `failure` says why it stopped, if it did."""

    def __init__(self, conninfo: str, folder: SignerFolder) -> None:
        self._conninfo = conninfo
        self._folder = folder
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
            self._stopping.wait(RETRY_SECONDS)

    def _sign_while_connected(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as conn:
            conn.execute(f"LISTEN {CHANNEL}")
            found = _row(conn, "SELECT pg_try_advisory_lock(%s)", SIGNER_LOCK)
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
    if signed is not None:
        publish(conn, signed)


def sign_once(conn: Connection[Any], folder: SignerFolder) -> bool:
    """One round: sign what was appended since the last, if anything was. Raises LogRefused."""
    signed = folder.signed() or Signed(0, b"", b"", "")
    head = _next_head(conn, signed.size)
    if head is None:
        return False
    size, root, edge = head
    frontier = Frontier(signed.size, signed.frontier)
    frontier.extend(_hashed(conn, signed.size, size))
    if (frontier.size, frontier.root(), bytes(frontier)) != (size, root, edge):
        raise LogRefused(
            f"The records up to {size} do not hash to the head that the database holds: a record or the head was "
            f"changed after it was written. The last good size is {signed.size}. Run `assent log verify` to find where."
        )
    text = str(Checkpoint(folder.origin, size, root))
    fresh = Signed(size, root, edge, str(note.sign(text, folder.origin, folder.key())))
    folder.keep(fresh)
    publish(conn, fresh)
    return True


def _next_head(conn: Connection[Any], signed_size: int) -> tuple[int, bytes, bytes] | None:
    """The newest head to sign; after a long absence a nearer one, so that a round stays small."""
    query = """
        (SELECT size, root, frontier FROM tree_head WHERE size > %(size)s AND size <= %(size)s + %(most)s
         ORDER BY size DESC LIMIT 1)
        UNION ALL (SELECT size, root, frontier FROM tree_head WHERE size > %(size)s ORDER BY size LIMIT 1) LIMIT 1"""
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        return cursor.execute(query, {"size": signed_size, "most": ROUND_RECORDS_MAX}).fetchone()


def _hashed(conn: Connection[Any], start: int, end: int) -> Iterator[bytes]:
    """The leaf hashes of the records from start up to end, computed here and not taken from the table."""
    with conn.transaction(), conn.cursor("records", row_factory=tuple_row, binary=True) as cursor:
        cursor.itersize = 5000
        cursor.execute(
            "SELECT record FROM event WHERE position >= %s AND position < %s ORDER BY position", (start, end)
        )
        for (record,) in cursor:
            yield leaf_hash(record)


def publish(conn: Connection[Any], signed: Signed) -> None:
    """The checkpoint and the tiles that became complete, in one commit; what is published already stays as it is."""
    with conn.transaction():
        _complete_tiles(conn, signed.size)
        conn.execute(
            "INSERT INTO checkpoint (size, note) VALUES (%s, %s) ON CONFLICT DO NOTHING", (signed.size, signed.note)
        )


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
