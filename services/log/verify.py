"""Is the log what it says it is: every record, every hash and signature, every rule of order, to the last position?

One pass in order of position over the evidence, be it a database or an exported file; nothing that was stored is
believed but the log's public key. The first thing that does not fit ends it, and names the position:

    a record, a leaf, a column           its position
    a hash in a tile                     the first position that the hash covers
    a head                               the first position of its append: no earlier head speaks of it
    a checkpoint, or what was signed     the first position after the last checkpoint that fits
"""

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from domain.world import LONG_AGO
from services.ids import is_keyed, is_keyed_by
from services.log.merkle import HASH_BYTES, Frontier, leaf_hash
from services.log.note import Verifier
from services.log.record import Outline, outline
from services.log.streams import RULES, Book, Differs, Folds, folding
from services.log.tiles import HEIGHT, WIDTH, Tiling
from services.log.vouched import OWN_STREAM, Brought, Known, Vouched

REPORT_RECORDS = 1000
TILE_LEVELS = 8
KEY_BYTES_COMPARED = 16
"""As much of a command key as tells it from any other, however many there are."""


class Columns(NamedTuple):
    """What the table says of a record beside it."""

    stream: str
    version: int
    type: str
    leaf: bytes


class Entry(NamedTuple):
    """One position: its record, what identifies the command of which it is the first, and the columns if there are."""

    position: int
    record: bytes
    command_key: bytes | None
    fingerprint: bytes | None
    columns: Columns | None = None


class Head(NamedTuple):
    """The tree after an append; the frontier where it is kept."""

    size: int
    root: bytes
    frontier: bytes | None = None


class Evidence(Protocol):
    """What there is to verify; everything in ascending order."""

    @property
    def origin(self) -> str: ...

    @property
    def first_key(self) -> Verifier:
        """The key that signed the log from the beginning, as it says itself: the others follow from its records."""

    @property
    def witnesses(self) -> Sequence[Verifier]:
        """Whose cosignatures its keeper says to have."""

    @property
    def size(self) -> int:
        """How many records there should be."""

    @property
    def signed_size(self) -> int:
        """How many of them a checkpoint covers."""

    @property
    def known(self) -> Sequence[Known]:
        """In order of size."""

    @property
    def has_edge(self) -> bool:
        """Whether tiles are as C2SP serves them: also the ones that are not complete, and without the nodes above."""

    def entries(self) -> Iterator[Entry]: ...

    def heads(self) -> Iterator[Head]: ...

    def checkpoints(self) -> Iterator[tuple[int, str]]: ...

    def tiles(self, level: int) -> Iterator[tuple[int, bytes]]:
        """Index and hashes; stored tiles may have the nodes above them too."""

    def unread(self) -> Sequence[str]:
        """What else there is, once everything was read."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A log in which nothing differs."""

    origin: str
    size: int
    root: str
    signed_size: int
    commands: int
    heads: int
    checkpoints: int
    tiles: int
    streams: Mapping[str, int]
    keys: tuple[str, ...]
    cosigned: Mapping[str, int]
    """The largest size that each witness cosigned, by verifier key."""
    rollbacks: tuple[str, ...]
    """What operators accepted, in words."""


@dataclass(slots=True)
class _Counts:
    commands: int = 0
    heads: int = 0
    tiles: int = 0


@dataclass(slots=True)
class _Before:
    """What the record before says, as far as order goes."""

    recorded: bytes = b""
    instant: datetime = LONG_AGO
    command: bytes = b""
    keys: set[bytes] = field(default_factory=set)


class Verification:
    """One pass over the evidence. `run` once."""

    def __init__(self, evidence: Evidence, brought: Brought, folds: Folds) -> None:
        self._evidence = evidence
        self._brought = brought
        self._folds = folds
        witnesses = tuple(dict.fromkeys((*evidence.witnesses, *brought.witnesses)))
        known = (*evidence.known, *brought.checkpoints)
        self._vouched = Vouched(evidence.origin, evidence.first_key, witnesses, known)
        self._tree = Frontier()
        self._tiling = Tiling()
        self._tiles: dict[int, Iterator[tuple[int, bytes]]] = {}
        self._leaf_tile: bytes | None = None
        self._heads = evidence.heads()
        self._head = next(self._heads, None)
        self._head_size = 0
        self._checkpoints = evidence.checkpoints()
        self._checkpoint = next(self._checkpoints, None)
        self._before = _Before()
        self._counts = _Counts()

    def run(self, report: Callable[[int], None]) -> Verified:
        """What was verified; tells how many records were looked at, now and then. Raises Differs."""
        try:
            for entry in self._evidence.entries():
                self._take(entry)
                if self._tree.size % REPORT_RECORDS == 0:
                    report(self._tree.size)
            self._finish()
        except Differs as differs:
            raise self._first(differs) from differs
        return self._verified(self._folds.end())

    def _first(self, differs: Differs) -> Differs:
        """An earlier difference may wait for a rollback to account for it, or still be found: streams fold behind."""
        found = [each for each in (self._vouched.misfit, differs) if each is not None]
        try:
            self._folds.end()
        except Differs as folded:
            found.append(folded)
        return min(found, key=lambda each: each.position)

    # One record

    def _take(self, entry: Entry) -> None:
        position = self._tree.size
        if entry.position != position:
            raise Differs(position, f"its record is missing; the next one is at position {entry.position}.")
        if position >= self._evidence.size:
            raise Differs(position, f"there is a record although the newest head covers {self._evidence.size}.")
        if position % WIDTH == 0:
            self._leaf_tile = self._next_tile(0, position // WIDTH)
        parts = self._outline(entry)
        leaf = leaf_hash(entry.record)
        self._check_columns(entry, parts, leaf)
        self._check_order(position, parts)
        self._check_command(entry, parts)
        self._check_leaf_tile(position, leaf)
        if parts.stream == OWN_STREAM:
            self._vouched.follow(position, entry.record)
        self._folds.take(position, entry.record, parts)
        self._tree.extend((leaf,))
        for tile in self._tiling.add(leaf):
            self._check_tile(*tile)
        self._check_ends()

    def _outline(self, entry: Entry) -> Outline:
        position, parts = entry.position, outline(entry.record)
        if parts is None:
            raise Differs(position, "what is stored is not a record of Assent's: its JSON is not as it is written.")
        if int(parts.position) != position:
            raise Differs(position, f"the record there says that it stands at position {int(parts.position)}.")
        return parts

    def _check_columns(self, entry: Entry, parts: Outline, leaf: bytes) -> None:
        if entry.columns is None:
            return
        *found, leaf_found = entry.columns
        said = [parts.stream.decode(), int(parts.version), parts.type.decode()]
        for name, column, value in zip(Columns._fields, found, said, strict=False):
            if column != value:
                raise Differs(entry.position, f"the column {name} says {column!r}, the record {value!r}.")
        if leaf_found != leaf:
            raise Differs(entry.position, "the leaf is not the hash of the record: one of them was changed.")

    def _check_order(self, position: int, parts: Outline) -> None:
        """By position, never by time; but recorded never goes back, and nothing occurs after it was recorded (I8)."""
        before = self._before
        try:
            recorded = before.instant if parts.recorded == before.recorded else _instant(parts.recorded)
            occurred = recorded if parts.occurred == parts.recorded else _instant(parts.occurred)
            is_early = recorded < before.instant
            is_late = occurred > recorded
        except ValueError as error:
            raise Differs(position, f"a time of the record cannot be read: {error}.") from error
        if is_early:
            raise Differs(position, f"it was recorded at {recorded}, before the record in front of it (I8).")
        if is_late:
            raise Differs(position, f"it occurred at {occurred}, after it was recorded (I8).")
        if position > self._head_size and parts.recorded != before.recorded:
            raise Differs(self._head_size, f"its append has no head: position {position} was recorded at another time.")
        if parts.cause != b"null" and int(parts.cause) >= position:
            raise Differs(position, f"its cause is at position {int(parts.cause)}, which is not before it.")
        before.recorded, before.instant = parts.recorded, recorded

    def _check_command(self, entry: Entry, parts: Outline) -> None:
        """A command that came under a key has an id that follows from it, and its first event bears the key."""
        command, key = parts.command.decode(), entry.command_key
        is_first = parts.command != self._before.command
        self._before.command = parts.command
        self._counts.commands += is_first
        if not (is_first and is_keyed(command)):
            if (key, entry.fingerprint) != (None, None):
                raise Differs(entry.position, "it bears a command key or fingerprint, and has none by its record.")
        elif key is None:
            raise Differs(entry.position, f"the command key is missing from which {command} follows.")
        elif not is_keyed_by(command, key, entry.fingerprint):
            raise Differs(
                entry.position, f"{command} does not follow from its command key and fingerprint: one was changed."
            )
        elif key[:KEY_BYTES_COMPARED] in self._before.keys:
            raise Differs(entry.position, "its command key was used before: a command counts once.")
        else:
            self._before.keys.add(key[:KEY_BYTES_COMPARED])

    # The tree

    def _next_tile(self, level: int, index: int) -> bytes | None:
        """The stored tile, or None where no checkpoint asks for it. Raises Differs where it should be there."""
        if level not in self._tiles:
            self._tiles[level] = self._evidence.tiles(level)
        covers = WIDTH << HEIGHT * level
        is_due = (index + 1) * covers <= self._evidence.signed_size
        if not is_due and not self._evidence.has_edge:
            return None
        found = next(self._tiles[level], None)
        if found is None or found[0] != index:
            raise Differs(index * covers, f"tile {index} of level {level} is missing.")
        return found[1]

    def _check_leaf_tile(self, position: int, leaf: bytes) -> None:
        """The record against its tile, so that a rewritten one is named even where leaf and head fit it."""
        at = position % WIDTH * HASH_BYTES
        if self._leaf_tile is not None and self._leaf_tile[at : at + HASH_BYTES] != leaf:
            raise Differs(position, "the hash of the record is not the one in its tile: one of them was changed.")

    def _check_tile(self, level: int, index: int, nodes: bytes) -> None:
        """A complete tile, or what there is of the last one, against the one that is kept."""
        stored = self._leaf_tile if level == 0 else self._next_tile(level, index)
        if stored is None:
            return
        self._counts.tiles += 1
        wanted = nodes[: WIDTH * HASH_BYTES] if self._evidence.has_edge else nodes
        if stored != wanted:
            first = _first_covered(level, index, _first_difference(stored, wanted))
            raise Differs(first, f"tile {index} of level {level} does not fit the records.")

    # What speaks of the whole log up to a size

    def _check_ends(self) -> None:
        size = self._tree.size
        if self._head is not None and self._head.size <= size:
            self._check_head(self._head)
        self._vouched.compare(size, self._tree.root)
        if self._checkpoint is not None and self._checkpoint[0] <= size:
            self._check_checkpoint(*self._checkpoint)

    def _check_head(self, head: Head) -> None:
        tree, first = self._tree, self._head_size
        if (head.size, head.root) != (tree.size, tree.root()):
            raise Differs(first, f"the head of size {head.size} is not that of the records up to it, from {first} on.")
        if head.frontier is not None and head.frontier != bytes(tree):
            raise Differs(first, f"the head of size {head.size} has another frontier than the records up to it.")
        self._counts.heads += 1
        self._head, self._head_size = next(self._heads, None), head.size

    def _check_checkpoint(self, size: int, text: str) -> None:
        if self._head_size != size:
            sentence = f"the checkpoint of size {size} was signed upon a head that is missing."
            raise Differs(self._vouched.size, sentence)
        self._vouched.checkpoint(size, text, self._tree.root())
        self._checkpoint = next(self._checkpoints, None)

    # The end

    def _finish(self) -> None:
        size, evidence = self._tree.size, self._evidence
        if size < evidence.size:
            raise Differs(size, f"the log ends here, but {evidence.size} records should be there.")
        if self._head is not None or self._head_size != size:
            raise Differs(self._head_size, "no head covers the records from here on.")
        if self._checkpoint is not None:
            raise Differs(size, f"a checkpoint speaks of more than the {size} records there are.")
        self._vouched.finish(size, self._brought)
        if self._vouched.size != evidence.signed_size:
            raise Differs(self._vouched.size, "no checkpoint covers the records from here on.")
        if evidence.has_edge:
            for tile in self._tiling.edge():
                self._check_tile(*tile)
        self._check_no_more_tiles()
        if unread := evidence.unread():
            raise Differs(size, f"{unread[0]} is no part of a log.")

    def _check_no_more_tiles(self) -> None:
        for level in range(TILE_LEVELS):
            tiles = self._tiles.get(level) or self._evidence.tiles(level)
            for index, _ in tiles:
                first = min(_first_covered(level, index, 0), self._tree.size)
                raise Differs(first, f"tile {index} of level {level} covers what no checkpoint does.")

    def _verified(self, streams: Mapping[str, int]) -> Verified:
        evidence, counts, vouched = self._evidence, self._counts, self._vouched
        return Verified(
            origin=evidence.origin,
            size=self._tree.size,
            root=b64encode(self._tree.root()).decode(),
            signed_size=vouched.size,
            commands=counts.commands,
            heads=counts.heads,
            checkpoints=vouched.checkpoints,
            tiles=counts.tiles,
            streams=dict(sorted(streams.items())),
            keys=tuple(map(str, vouched.keys)),
            cosigned={str(witness): size for witness, size in vouched.cosigned.items()},
            rollbacks=vouched.told(),
        )


def _instant(text: bytes) -> datetime:
    """Raises ValueError, also where it has no zone."""
    instant = datetime.fromisoformat(text.decode())
    if instant.tzinfo is None:
        raise ValueError(f"{text.decode()} has no zone")
    return instant


def _first_difference(stored: bytes, nodes: bytes) -> int:
    """Which hash differs first; the last where one of them only ends earlier."""
    at = next((at for at, pair in enumerate(zip(stored, nodes, strict=False)) if pair[0] != pair[1]), len(nodes) - 1)
    return at // HASH_BYTES


def _first_covered(level: int, index: int, node: int) -> int:
    """The first position that a tile's node covers: 256 hashes, then the 128, 64, …, 2 above them."""
    height, row = 0, WIDTH
    while node >= row and row > 1:
        node, height, row = node - row, height + 1, row >> 1
    return (index * WIDTH + (node << height)) << HEIGHT * level


def verify(
    evidence: Evidence,
    brought: Brought = Brought(),  # noqa: B008 - nothing brought along
    report: Callable[[int], None] = lambda size: None,
    processes: int = 0,
    book: Book = RULES,
) -> Verified:
    """Verify all there is; `processes` others fold the streams meanwhile. Raises Differs, and what reading raises."""
    with folding(processes, book) as folds:
        return Verification(evidence, brought, folds).run(report)
