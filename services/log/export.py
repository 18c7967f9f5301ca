"""How does the log leave the database as one file that proves itself?

What is written is what the newest checkpoint covers, so every record in it is vouched for; the layout is `bundle.py`'s.
The file is whole or it is not there: it is written beside its place, made durable, then renamed.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import msgspec

from services import durable
from services.log import bundle, note
from services.log.bundle import CheckpointLine, Manifest, tile_name
from services.log.folder import LogRefused
from services.log.merkle import HASH_BYTES
from services.log.note import Checkpoint
from services.log.snapshot import Snapshot
from services.log.tiles import WIDTH, Tiling
from services.log.verify import REPORT_RECORDS

_FASTEST = 1
"""Records shrink to a third at any level of compression; the fastest keeps up with the database."""


def export(snapshot: Snapshot, to: Path, report: Callable[[int], None] = lambda records: None) -> Manifest:
    """Write what the newest checkpoint covers to a file; what it says of itself. `report` hears of records written.

    Memory does not grow with the log. Raises LogRefused where nothing is signed yet, OSError, psycopg.Error.
    """
    if snapshot.signed_size == 0:
        raise LogRefused("Nothing is signed yet, so there is nothing that an export could prove.")
    with _durably(to) as fresh, ZipFile(fresh, "w", ZIP_DEFLATED, compresslevel=_FASTEST) as into:
        manifest = _Export(snapshot, into).write(report)
    return manifest


@contextmanager
def _durably(to: Path) -> Iterator[Path]:
    """A file of another name beside it, which takes its place once all is written and on the disk."""
    fresh = to.with_name(f".{to.name}.{os.getpid()}.unfinished")
    try:
        yield fresh
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(to)
    except BaseException:
        with suppress(FileNotFoundError):
            fresh.unlink()
        raise
    durable.sync_folder(to.parent)


class _Export:
    """One export under way."""

    def __init__(self, snapshot: Snapshot, into: ZipFile) -> None:
        self._snapshot = snapshot
        self._size = snapshot.signed_size
        self._into = into
        self._exported = datetime.now(UTC)

    def write(self, report: Callable[[int], None]) -> Manifest:
        newest = self._write_checkpoints()
        head = Checkpoint.parse(note.parse(newest).text)
        manifest = Manifest(
            bundle.FORMAT,
            self._snapshot.origin,
            self._size,
            b64encode(head.root).decode(),
            self._exported.isoformat(timespec="seconds"),
            str(self._snapshot.first_key),
            list(map(str, self._snapshot.witnesses)),
        )
        self._put(bundle.MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        self._put(bundle.CHECKPOINT, newest.encode())
        heads = takewhile(lambda head: head.size <= self._size, self._snapshot.heads())
        self._put_lines(
            bundle.HEADS, bundle.HEADS_TITLE, (f"{head.size},{b64encode(head.root).decode()}\n" for head in heads)
        )
        commands = takewhile(lambda command: command[0] < self._size, self._snapshot.commands())
        self._put_lines(
            bundle.COMMANDS,
            bundle.COMMANDS_TITLE,
            (f"{position},{key.hex()},{(fingerprint or b'').hex()}\n" for position, key, fingerprint in commands),
        )
        self._write_records(report)
        return manifest

    def _write_checkpoints(self) -> str:
        """Every signed note; the newest."""
        newest = ""

        def lines() -> Iterator[str]:
            nonlocal newest
            for size, newest in self._snapshot.checkpoints():
                yield msgspec.json.encode(CheckpointLine(size, newest)).decode() + "\n"

        self._put_lines(bundle.CHECKPOINTS, "", lines())
        return newest

    def _write_records(self, report: Callable[[int], None]) -> None:
        """Entry bundles, the hash tiles above them, and the policies that are met on the way."""
        tiling, records = Tiling(), bytearray()
        covered = takewhile(lambda entry: entry.position < self._size, self._snapshot.entries())
        for position, entry in enumerate(covered):
            assert entry.columns is not None, "a database has columns"
            records += len(entry.record).to_bytes(bundle.LENGTH_BYTES) + entry.record
            index, nth = divmod(position, WIDTH)
            if nth == WIDTH - 1 or position == self._size - 1:
                self._put(tile_name("entries", index, nth + 1), bytes(records))
                records.clear()
            for tile in tiling.add(entry.columns.leaf):
                self._put_tile(*tile)
            if name := bundle.policy_name(entry.record):
                self._put(name, entry.record)
            if (position + 1) % REPORT_RECORDS == 0:
                report(position + 1)
        for tile in tiling.edge():
            self._put_tile(*tile)

    def _put_tile(self, level: int, index: int, nodes: bytes) -> None:
        hashes = nodes[: WIDTH * HASH_BYTES]
        self._put(tile_name(level, index, len(hashes) // HASH_BYTES), hashes, ZIP_STORED)

    def _put(self, name: str, content: bytes, compression: int = ZIP_DEFLATED) -> None:
        self._into.writestr(self._info(name, compression), content, compresslevel=_FASTEST)

    def _put_lines(self, name: str, title: str, lines: Iterable[str]) -> None:
        with self._into.open(self._info(name, ZIP_DEFLATED), "w", force_zip64=True) as file:
            file.write(title.encode())
            for line in lines:
                file.write(line.encode())

    def _info(self, name: str, compression: int) -> ZipInfo:
        info = ZipInfo(name, self._exported.timetuple()[:6])
        info.compress_type = compression
        info.external_attr = 0o644 << 16
        return info
