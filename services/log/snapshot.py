"""What does the database hold of the log at one moment: records with their columns, heads, tiles, checkpoints?

One connection, one REPEATABLE READ transaction, cursors that fetch page by page: what is appended meanwhile is not
seen, and nobody is kept waiting.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.rows import tuple_row

from domain import log
from domain.log import LogKeyRotated
from services.log.folder import LogRefused, SignerFolder
from services.log.note import NoteRefused, Verifier
from services.log.reader import PAGE_ROWS
from services.log.record import read
from services.log.verify import Columns, Entry, Head
from services.log.vouched import Known

_log = logging.getLogger(__name__)

_ENTRIES = """
    SELECT position, record, command_key, fingerprint, stream, version, type, leaf FROM event ORDER BY position"""

_COMMANDS = "SELECT position, command_key, fingerprint FROM event WHERE command_key IS NOT NULL ORDER BY position"


class Snapshot:
    """The log as it is in the database when the block begins, beside what the signer's folder says: Evidence."""

    has_edge = False

    def __init__(self, conninfo: str, folder: SignerFolder, witnesses: Sequence[Verifier] = ()) -> None:
        """`witnesses`: those whose cosignatures are asked for."""
        self._conninfo = conninfo
        self._folder = folder
        self.origin = folder.origin
        self.witnesses = witnesses
        self.known: list[Known] = []
        self.size = self.signed_size = 0
        self._names = 0

    def __enter__(self) -> "Snapshot":
        """Raises LogRefused where the signer's folder is older than what was published, psycopg.Error."""
        kept = self._folder.signed()  # before the snapshot, which then holds all that was signed by now
        if kept is not None:
            self.known.append(Known(kept.size, kept.root, "the signer's folder", kept.key))
        self._conn: Connection[Any] = psycopg.connect(self._conninfo)
        self._conn.isolation_level = IsolationLevel.REPEATABLE_READ
        self._conn.read_only = True
        found = self._conn.execute("SELECT (SELECT max(size) FROM tree_head), (SELECT max(size) FROM checkpoint)")
        self.size, self.signed_size = (size or 0 for size in found.fetchall()[0])
        self.first_key = self._first_key()
        signed = self._folder.signed()
        if self.signed_size > (signed.size if signed else 0):
            raise LogRefused(
                f"A checkpoint of size {self.signed_size} is published, but the signer's folder knows only of "
                f"{signed.size if signed else 'none'}: the folder was put back, or is another log's."
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def _first_key(self) -> Verifier:
        """As the log's own first record says; before there is one, the first of the signer's folder."""
        query = "SELECT record FROM event WHERE stream = %s AND version = 1"
        try:
            match [read(record).event for (record,) in self._rows(query, log.STREAM)]:
                case [LogKeyRotated(key, None)]:
                    return Verifier.parse(key)
        except (msgspec.MsgspecError, NoteRefused) as error:
            _log.warning("The log's own first record cannot be read: %s", error)
        return (*self._folder.verifiers(), self._folder.verifier())[0]

    def entries(self) -> Iterator[Entry]:
        for position, record, key, fingerprint, *columns in self._rows(_ENTRIES):
            yield Entry(position, record, key, fingerprint, Columns(*columns))

    def commands(self) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Position of a command's first event, its key and its fingerprint."""
        return self._rows(_COMMANDS)

    def heads(self) -> Iterator[Head]:
        for row in self._rows("SELECT size, root, frontier FROM tree_head ORDER BY size"):
            yield Head(*row)

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        return self._rows("SELECT size, note FROM cosigned_checkpoint ORDER BY size")

    def tiles(self, level: int) -> Iterator[tuple[int, bytes]]:
        return self._rows("SELECT index, hashes FROM tile WHERE level = %s ORDER BY index", level)

    def unread(self) -> Sequence[str]:
        return ()

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        self._names += 1
        with self._conn.cursor(f"rows_{self._names}", row_factory=tuple_row) as cursor:
            cursor.itersize = PAGE_ROWS
            cursor.execute(query, values, binary=True)
            yield from cursor
