"""What is in an exported log, and how is it read without any database?

A ZIP file, laid out as the log is served (C2SP tlog-tiles), so that `unzip` and any client of such logs read it:

    manifest.json                  format, origin, size, root, when it was made, the log's verifier key
    checkpoint                     the newest signed note: it covers exactly what is here
    checkpoints.jsonl              every signed note: {"size", "note"}
    heads.csv                      size,root (base64): the tree after every append
    commands.csv                   position,command_key,fingerprint (hex): of the first event of each keyed command
    policies/<id>.<version>.json   the record that published it
    tile/<L>/<N>[.p/<W>]           hash tiles
    tile/entries/<N>[.p/<W>]       records, each behind its length (two bytes, big-endian)
"""

import zlib
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import msgspec

from services.log import note
from services.log.merkle import HASH_BYTES
from services.log.note import NoteRefused, Verifier
from services.log.record import RECORD_BYTES_MAX, outline
from services.log.streams import Differs
from services.log.tiles import HEIGHT, WIDTH
from services.log.verify import Entry, Head
from services.log.vouched import Known

FORMAT = "assent-log/1"
MANIFEST, CHECKPOINT, CHECKPOINTS = "manifest.json", "checkpoint", "checkpoints.jsonl"
HEADS, COMMANDS, POLICIES = "heads.csv", "commands.csv", "policies/"
HEADS_TITLE, COMMANDS_TITLE = "size,root\n", "position,command_key,fingerprint\n"

LENGTH_BYTES = 2
_LINE_CHARACTERS_MAX = 1 << 20
_PART_BYTES_MAX = WIDTH * (LENGTH_BYTES + RECORD_BYTES_MAX)


class NoBundle(Exception):
    """The file is no exported log, or not a whole one; the message says why."""


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """What an export says of itself. Everything but the time is compared with the rest of it."""

    format: str
    origin: str
    size: int
    root: str
    exported: str
    key: str
    witnesses: list[str]


class CheckpointLine(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    note: str


def tile_name(level: int | str, index: int, width: int) -> str:
    """The name of a tile (level `entries`: its records), as C2SP tlog-tiles writes it: `tile/0/x001/234.p/8`."""
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(reversed(groups))}" + ("" if width == WIDTH else f".p/{width}")


def policy_name(record: bytes) -> str | None:
    """The file that holds a record again, `policies/covered-frontier.2.json`, if it is that of a published policy."""
    parts = outline(record) if _POLICY in record else None
    if parts is None or parts.type != b"PolicyPublished":
        return None
    return f"{POLICIES}{parts.stream.decode().partition('-')[2]}.{parts.version.decode()}.json"


_POLICY = b'"type":"PolicyPublished"'


class Bundle:
    """An exported log: Evidence. Everything is read once, part by part."""

    has_edge = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "Bundle":
        """Raises NoBundle, OSError."""
        try:
            self._zip = ZipFile(self._path)
        except BadZipFile as error:
            raise NoBundle(f"{self._path} is no exported log, or not a whole one: {error}.") from error
        try:
            self._begin()
        except BaseException:
            self._zip.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _begin(self) -> None:
        names = self._zip.namelist()
        self._unread = set(names)
        self._position = 0
        if len(self._unread) != len(names):
            raise NoBundle(f"{self._path} holds two files of one name.")
        try:
            manifest = msgspec.json.decode(self._part(MANIFEST), type=Manifest)
            self.first_key = Verifier.parse(manifest.key)
            self.witnesses = [Verifier.parse(witness) for witness in manifest.witnesses]
            self.known = [Known(manifest.size, note.decoded(manifest.root), MANIFEST)]
        except (Differs, msgspec.DecodeError, NoteRefused) as error:
            raise NoBundle(f"{self._path} is no exported log: {error}") from error
        if manifest.format != FORMAT:
            raise NoBundle(f"{self._path} is in the format {manifest.format!r}; this program reads {FORMAT!r}.")
        self.origin, self.size = manifest.origin, manifest.size
        self.signed_size = manifest.size

    def entries(self) -> Iterator[Entry]:
        commands = self._commands()
        command = next(commands, None)
        for index in range(-(-self.size // WIDTH)):
            self._position = index * WIDTH
            width = min(WIDTH, self.size - self._position)
            records = list(self._records(tile_name("entries", index, width)))
            for position, record in enumerate(records[:width], self._position):
                key = fingerprint = None
                if command is not None and command[0] <= position:
                    at, key, fingerprint = command
                    if at < position:
                        raise Differs(at, f"{COMMANDS} is not in order of position.")
                    command = next(commands, None)
                if (name := policy_name(record)) and self._part(name) != record:
                    raise Differs(position, f"{name} is not this record.")
                yield Entry(position, record, key, fingerprint)
            if len(records) != width:
                sentence = f"entry bundle {index} holds {len(records)} records, not {width}."
                raise Differs(self._position + min(len(records), width), sentence)
        if command is not None:
            raise Differs(self.size, f"{COMMANDS} speaks of position {command[0]}.")

    def _records(self, name: str) -> Iterator[bytes]:
        part, at = self._part(name), 0
        while at < len(part):
            start = at + LENGTH_BYTES
            at = start + int.from_bytes(part[at:start])
            if at > len(part):
                raise self._damaged(f"{name} ends within a record")
            yield part[start:at]

    def _commands(self) -> Iterator[tuple[int, bytes, bytes | None]]:
        for position, key, fingerprint in self._table(COMMANDS, COMMANDS_TITLE, 3):
            with self._reading(COMMANDS):
                yield int(position), bytes.fromhex(key), bytes.fromhex(fingerprint) if fingerprint else None

    def heads(self) -> Iterator[Head]:
        for size, root in self._table(HEADS, HEADS_TITLE, 2):
            with self._reading(HEADS):
                yield Head(int(size), b64decode(root, validate=True))

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        text = ""
        for line in self._lines(CHECKPOINTS):
            with self._reading(CHECKPOINTS):
                found = msgspec.json.decode(line, type=CheckpointLine)
            text = found.note
            yield found.size, text
        if text != self._part(CHECKPOINT).decode(errors="replace"):
            raise Differs(self._position, f"{CHECKPOINT} is not the last of {CHECKPOINTS}.")

    def tiles(self, level: int) -> Iterator[tuple[int, bytes]]:
        hashes = self.size >> (HEIGHT * level)
        for index in range(-(-hashes // WIDTH)):
            width = min(WIDTH, hashes - index * WIDTH)
            part = self._part(tile_name(level, index, width))
            if len(part) != width * HASH_BYTES:
                raise self._damaged(f"tile {index} of level {level} does not hold {width} hashes")
            yield index, part

    def unread(self) -> list[str]:
        return sorted(self._unread)

    def _table(self, name: str, title: str, columns: int) -> Iterator[list[str]]:
        lines = self._lines(name)
        if next(lines, "") != title:
            raise self._damaged(f"{name} does not begin with {title.strip()}")
        for line in lines:
            values = line.rstrip("\n").split(",")
            if len(values) != columns:
                raise self._damaged(f"{name} has a line {line.strip()[:80]!r}")
            yield values

    def _lines(self, name: str) -> Iterator[str]:
        with self._reading(name), self._zip.open(name) as file:
            self._unread.discard(name)
            while line := file.readline(_LINE_CHARACTERS_MAX):
                yield line.decode()

    def _part(self, name: str) -> bytes:
        with self._reading(name):
            if self._zip.getinfo(name).file_size > _PART_BYTES_MAX:
                raise ValueError("it is larger than it can be")
            self._unread.discard(name)
            return self._zip.read(name)

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except KeyError:
            raise self._damaged(f"{name} is missing") from None
        except (ValueError, RuntimeError, msgspec.MsgspecError, BadZipFile, zlib.error, EOFError) as error:
            raise self._damaged(f"{name} cannot be read: {error}") from error

    def _damaged(self, sentence: str) -> Differs:
        return Differs(self._position, f"{sentence}.")
