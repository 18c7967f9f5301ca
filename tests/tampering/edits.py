"""What can somebody with the whole database in their hands do to the log, and which position is the first affected?

The position to be named is stated here without asking the verifier: that of a record whose row was touched; of a tile's
hash, the first that it covers; of a head, the first of its append; and where everything was made again that needs no
key, the first after the last checkpoint that still holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Connection, sql

from services.log import note
from services.log.merkle import Frontier, leaf_hash
from services.log.note import Checkpoint
from services.log.tiles import HEIGHT, WIDTH, Tiling
from tests.services.log.grown import ORIGIN
from tests.tampering.history import Row, parts_of

TABLES = ("event", "tree_head", "checkpoint", "tile", "cosignature")
FAR = 1 << 40
"""Far beyond every position: where rows wait while others take their place."""


KEY_ID_CHARACTERS = 6
"""Of a signature's base64, as many as its first four bytes take."""


class Misfit(Exception):
    """This choice of chance is no edit, or the tables refuse it: another one is drawn."""


@dataclass(frozen=True, slots=True)
class Log:
    """What was written, and by whom it was vouched for; the tables have it too, in the schema `pristine`."""

    rows: Sequence[Row]
    heads: Sequence[int]
    checkpoints: Sequence[int]

    @property
    def size(self) -> int:
        return len(self.rows)

    def append_of(self, position: int) -> tuple[int, int]:
        """The first position of the append that holds this one, and the size after it."""
        end = next(size for size in self.heads if size > position)
        return max((size for size in self.heads if size < end), default=0), end

    def vouched_before(self, position: int) -> int:
        """The last checkpointed size that does not cover the position."""
        return max((size for size in self.checkpoints if size <= position), default=0)

    def is_tiled(self, position: int) -> bool:
        return position < self.size // WIDTH * WIDTH


class Hand:
    """Whoever edits: a superuser for whom triggers do not fire."""

    def __init__(self, conn: Connection[Any], log: Log, chance: Random) -> None:
        self.conn = conn
        self.log = log
        self.chance = chance

    def do(self, statement: str, *values: Any) -> None:
        """Raises Misfit where no row is as it says."""
        if self.conn.execute(statement, values).rowcount < 1:
            raise Misfit

    def position(self, below: int | None = None) -> int:
        return self.chance.randrange(self.log.size if below is None else below)

    def two(self) -> tuple[int, int]:
        first, second = sorted(self.chance.sample(range(self.log.size), 2))
        return first, second

    def flipped(self, content: bytes) -> bytes:
        """The same bytes but for one bit."""
        changed = bytearray(content)
        changed[self.chance.randrange(len(changed))] ^= 1 << self.chance.randrange(8)
        return bytes(changed)

    def flipped_text(self, text: str) -> str:
        """The same text but for one bit, and still a text."""
        try:
            changed = self.flipped(text.encode()).decode()
        except UnicodeDecodeError:
            raise Misfit from None
        if "\0" in changed:
            raise Misfit
        return changed


def read_log(conn: Connection[Any]) -> Log:
    """The log as it is, and a copy of it to go back to."""
    conn.execute("CREATE SCHEMA pristine")
    for table in TABLES:
        conn.execute(sql.SQL("CREATE TABLE pristine.{0} AS TABLE public.{0}").format(sql.Identifier(table)))
    names = "position, stream, version, type, command_key, fingerprint, record, leaf"
    rows = [Row(*row) for row in conn.execute(f"SELECT {names} FROM event ORDER BY position")]  # noqa: S608
    heads, checkpoints = (
        [size for (size,) in conn.execute(f"SELECT size FROM {table} ORDER BY size")]  # noqa: S608
        for table in ("tree_head", "checkpoint")
    )
    return Log(rows, heads, checkpoints)


def undo(conn: Connection[Any]) -> None:
    """Everything as it was."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        for table in TABLES:
            names = {"table": sql.Identifier(table)}
            conn.execute(sql.SQL(_DELETE_WHAT_IS_NOT_PRISTINE).format(**names))
            conn.execute(sql.SQL(_INSERT_WHAT_IS_MISSING).format(**names))


_DELETE_WHAT_IS_NOT_PRISTINE = """
    DELETE FROM public.{table} AS live WHERE NOT EXISTS (SELECT FROM pristine.{table} AS kept WHERE kept = live)"""
_INSERT_WHAT_IS_MISSING = """
    INSERT INTO public.{table} SELECT * FROM pristine.{table} AS kept
    WHERE NOT EXISTS (SELECT FROM public.{table} AS live WHERE live = kept)"""


def edited(hand: Hand, edit: "Edit") -> int:
    """Do it, as often as it takes chance to draw one that the tables allow; the first affected position."""
    while True:
        try:
            with hand.conn.transaction():
                hand.conn.execute("SET LOCAL session_replication_role = replica")
                return edit(hand)
        except (Misfit, psycopg.IntegrityError):
            continue


# Records and columns


def flip_record(hand: Hand) -> int:
    at = hand.position()
    hand.do("UPDATE event SET record = %s WHERE position = %s", hand.flipped(hand.log.rows[at].record), at)
    return at


def flip_leaf(hand: Hand) -> int:
    at = hand.position()
    hand.do("UPDATE event SET leaf = %s WHERE position = %s", hand.flipped(hand.log.rows[at].leaf), at)
    return at


def flip_stream(hand: Hand) -> int:
    at = hand.position()
    hand.do("UPDATE event SET stream = %s WHERE position = %s", hand.flipped_text(hand.log.rows[at].stream), at)
    return at


def flip_version(hand: Hand) -> int:
    at = hand.position()
    hand.do("UPDATE event SET version = version # (1::bigint << %s) WHERE position = %s", hand.chance.randrange(63), at)
    return at


def flip_type(hand: Hand) -> int:
    at = hand.position()
    hand.do("UPDATE event SET type = %s WHERE position = %s", hand.flipped_text(hand.log.rows[at].type), at)
    return at


def _keyed(hand: Hand) -> Row:
    row = hand.log.rows[hand.position()]
    if row.command_key is None or row.fingerprint is None:
        raise Misfit
    return row


def flip_command_key(hand: Hand) -> int:
    row = _keyed(hand)
    assert row.command_key is not None
    hand.do("UPDATE event SET command_key = %s WHERE position = %s", hand.flipped(row.command_key), row.position)
    return row.position


def flip_fingerprint(hand: Hand) -> int:
    row = _keyed(hand)
    assert row.fingerprint is not None
    hand.do("UPDATE event SET fingerprint = %s WHERE position = %s", hand.flipped(row.fingerprint), row.position)
    return row.position


def forget_command_key(hand: Hand) -> int:
    """So that the command can be taken in once more."""
    row = _keyed(hand)
    hand.do("UPDATE event SET command_key = NULL, fingerprint = NULL WHERE position = %s", row.position)
    return row.position


def move_command_key(hand: Hand) -> int:
    """Another command answers for this one."""
    row, other = _keyed(hand), hand.log.rows[hand.position()]
    if other.position == row.position:
        raise Misfit
    put = "UPDATE event SET command_key = %s, fingerprint = %s WHERE position = %s"
    hand.do(put, None, None, row.position)
    hand.do(put, other.command_key, other.fingerprint, other.position)
    hand.do(put, None, None, other.position)
    hand.do(put, other.command_key, other.fingerprint, row.position)
    hand.do(put, row.command_key, row.fingerprint, other.position)
    return min(row.position, other.position)


def rewrite_record(hand: Hand) -> int:
    """A record and the leaf that fits it; the tree is left."""
    at = hand.position()
    record = _rewritten(hand, at)
    hand.do("UPDATE event SET record = %s, leaf = %s WHERE position = %s", record, leaf_hash(record), at)
    return at if hand.log.is_tiled(at) else hand.log.append_of(at)[0]


# Rows


def delete_one(hand: Hand) -> int:
    at = hand.position()
    hand.do("DELETE FROM event WHERE position = %s", at)
    return at


def delete_some(hand: Hand) -> int:
    first, last = hand.two()
    hand.do("DELETE FROM event WHERE position BETWEEN %s AND %s", first, last)
    return first


def truncate(hand: Hand) -> int:
    at = hand.position()
    hand.do("DELETE FROM event WHERE position >= %s", at)
    return at


def truncate_everything(hand: Hand) -> int:
    """An older state of the whole database: its heads, checkpoints and tiles fit."""
    size = hand.chance.choice(hand.log.heads[:-1])
    hand.do("DELETE FROM event WHERE position >= %s", size)
    hand.do("DELETE FROM tree_head WHERE size > %s", size)
    hand.do("DELETE FROM checkpoint WHERE size > %s", size)
    covered = hand.log.vouched_before(size)
    hand.conn.execute("DELETE FROM tile WHERE (index + 1) << (8 * (level + 1)) > %s", (covered,))
    return size


def reorder(hand: Hand) -> int:
    """Two rows change places."""
    first, second = hand.two()
    move = "UPDATE event SET position = %s WHERE position = %s"
    hand.do(move, FAR, first)
    hand.do(move, first, second)
    hand.do(move, second, FAR)
    return first


def swap_records(hand: Hand) -> int:
    """Two records change places, with their leaves or without."""
    first, second = hand.two()
    columns = hand.chance.choice((("record",), ("leaf",), ("record", "leaf")))
    for at, other in ((first, hand.log.rows[second]), (second, hand.log.rows[first])):
        for column in columns:
            put = sql.SQL("UPDATE event SET {} = %s WHERE position = %s").format(sql.Identifier(column))
            hand.conn.execute(put, (getattr(other, column), at))
    return first


def close_a_gap(hand: Hand) -> int:
    """A row is taken away and those behind it move up."""
    at = hand.position(hand.log.size - 1)
    hand.do("DELETE FROM event WHERE position = %s", at)
    hand.do("UPDATE event SET position = position + %s WHERE position > %s", FAR, at)
    hand.do("UPDATE event SET position = position - %s - 1 WHERE position > %s", FAR, FAR)
    return at


# Heads, tiles, checkpoints


def replace_head(hand: Hand) -> int:
    size = hand.chance.choice(hand.log.heads)
    column = sql.Identifier(hand.chance.choice(("root", "frontier")))
    found = hand.conn.execute(sql.SQL("SELECT {} FROM tree_head WHERE size = %s").format(column), (size,)).fetchone()
    assert found is not None
    put = sql.SQL("UPDATE tree_head SET {} = %s WHERE size = %s").format(column)
    hand.conn.execute(put, (hand.flipped(found[0]), size))
    return hand.log.append_of(size - 1)[0]


def swap_heads(hand: Hand) -> int:
    first, second = sorted(hand.chance.sample(hand.log.heads, 2))
    found = hand.conn.execute("SELECT root FROM tree_head WHERE size IN (%s, %s) ORDER BY size", (first, second))
    for size, (root,) in zip((second, first), found.fetchall(), strict=True):
        hand.do("UPDATE tree_head SET root = %s WHERE size = %s", root, size)
    return hand.log.append_of(first - 1)[0]


def delete_head(hand: Hand) -> int:
    """One between two appends of different times, or one that was signed: no other can be missed."""
    size = hand.chance.choice(hand.log.heads)
    times = {parts_of(row.record).recorded for row in hand.log.rows[size - 1 : size + 1]}
    if len(times) == 1 and size not in (*hand.log.checkpoints, hand.log.size):
        raise Misfit
    hand.do("DELETE FROM tree_head WHERE size = %s", size)
    return hand.log.append_of(size - 1)[0]


def replace_tile_hash(hand: Hand) -> int:
    index, node = hand.chance.randrange(hand.log.size // WIDTH), hand.chance.randrange(2 * WIDTH - 2)
    found = hand.conn.execute("SELECT hashes FROM tile WHERE level = 0 AND index = %s", (index,)).fetchone()
    assert found is not None
    at = 32 * node
    hashes = found[0][:at] + hand.flipped(found[0][at : at + 32]) + found[0][at + 32 :]
    hand.do("UPDATE tile SET hashes = %s WHERE level = 0 AND index = %s", hashes, index)
    row, height = WIDTH, 0
    while node >= row:
        node, row, height = node - row, row // 2, height + 1
    return index * WIDTH + node * (1 << height)


def delete_tile(hand: Hand) -> int:
    index = hand.chance.randrange(hand.log.size // WIDTH)
    hand.do("DELETE FROM tile WHERE level = 0 AND index = %s", index)
    return index * WIDTH


def flip_checkpoint(hand: Hand) -> int:
    size = hand.chance.choice(hand.log.checkpoints)
    found = hand.conn.execute("SELECT note FROM checkpoint WHERE size = %s", (size,)).fetchone()
    assert found is not None
    hand.do("UPDATE checkpoint SET note = %s WHERE size = %s", hand.flipped_text(found[0]), size)
    return hand.log.vouched_before(size - 1)


def replace_checkpoint(hand: Hand) -> int:
    """By the note of another size, or by one under the log's name that another key signed."""
    size, other = hand.chance.sample(hand.log.checkpoints, 2)
    found = hand.conn.execute("SELECT note FROM checkpoint WHERE size = %s", (other,)).fetchone()
    assert found is not None
    text = found[0]
    if hand.chance.random() < 0.5:
        text = _forged(size, hand.chance.randbytes(32))
    hand.do("UPDATE checkpoint SET note = %s WHERE size = %s", text, size)
    return hand.log.vouched_before(size - 1)


def flip_cosignature(hand: Hand) -> int:
    """Of a witness whose key is known: a line that says that it is another key's is nobody's business."""
    size, line = hand.chance.choice(hand.conn.execute("SELECT size, line FROM cosignature ORDER BY size").fetchall())
    signature = line.rpartition(" ")[2]
    changed = signature[:KEY_ID_CHARACTERS] + hand.flipped_text(signature[KEY_ID_CHARACTERS:])
    hand.do("UPDATE cosignature SET line = %s WHERE size = %s", line.replace(signature, changed), size)
    return hand.log.vouched_before(size - 1)


# Insiders, who make everything again that needs no key


def rewrite_suffix(hand: Hand) -> int:
    """A record is another, and all that follows from it fits: leaf, heads, tiles; the checkpoints are left."""
    at = hand.position()
    _rewrite_from(hand, at)
    return hand.log.vouched_before(at)


def rewrite_suffix_but_tiles(hand: Hand) -> int:
    at = hand.position()
    _rewrite_from(hand, at, tiles=False)
    return at if hand.log.is_tiled(at) else hand.log.vouched_before(at)


def rewrite_suffix_and_forget_checkpoints(hand: Hand) -> int:
    """As if nothing had been signed since: what is left of the tiles fits too."""
    at = hand.position()
    _rewrite_from(hand, at)
    hand.do("DELETE FROM checkpoint WHERE size > %s", at)
    covered = hand.log.vouched_before(at)
    hand.conn.execute("DELETE FROM tile WHERE (index + 1) << (8 * (level + 1)) > %s", (covered,))
    return covered


def rewrite_suffix_and_forge_checkpoints(hand: Hand) -> int:
    at = hand.position()
    roots = _rewrite_from(hand, at)
    for size in hand.log.checkpoints:
        if size > at:
            hand.do("UPDATE checkpoint SET note = %s WHERE size = %s", _forged(size, roots[size]), size)
    return hand.log.vouched_before(at)


def _rewritten(hand: Hand, at: int) -> bytes:
    """The record as if it had always been another: by somebody else, or with another salt."""
    record = hand.log.rows[at].record
    if hand.chance.random() < 0.5:
        old, new = b'"by":{"person":"', b'"by":{"person":"not-'
    else:
        old, new = b'"salt":"', b'"salt":"00'
    return record.replace(old, new, 1)


def _rewrite_from(hand: Hand, at: int, tiles: bool = True) -> dict[int, bytes]:
    """The roots by size, after the record at a position became another one."""
    record = _rewritten(hand, at)
    leaves = [row.leaf for row in hand.log.rows]
    leaves[at] = leaf_hash(record)
    hand.do("UPDATE event SET record = %s, leaf = %s WHERE position = %s", record, leaves[at], at)
    tree, roots = Frontier(), {}
    for size in hand.log.heads:
        tree.extend(leaves[tree.size : size])
        roots[size] = tree.root()
        if size > at:
            hand.do("UPDATE tree_head SET root = %s, frontier = %s WHERE size = %s", roots[size], bytes(tree), size)
    tiling = Tiling()
    for leaf in leaves if tiles else ():
        for level, index, nodes in tiling.add(leaf):
            if (index + 1) << HEIGHT * (level + 1) > at:
                hand.do("UPDATE tile SET hashes = %s WHERE level = %s AND index = %s", nodes, level, index)
    return roots


def _forged(size: int, root: bytes) -> str:
    return str(note.sign(str(Checkpoint(ORIGIN, size, root)), ORIGIN, Ed25519PrivateKey.generate()))


Edit = Callable[[Hand], int]
"""Does something to the log; the first position that it affects. Raises Misfit."""

EDITS: tuple[Edit, ...] = (
    flip_record,
    flip_leaf,
    flip_stream,
    flip_version,
    flip_type,
    flip_command_key,
    flip_fingerprint,
    forget_command_key,
    move_command_key,
    rewrite_record,
    delete_one,
    delete_some,
    truncate,
    truncate_everything,
    reorder,
    swap_records,
    close_a_gap,
    replace_head,
    swap_heads,
    delete_head,
    replace_tile_hash,
    delete_tile,
    flip_checkpoint,
    replace_checkpoint,
    flip_cosignature,
    rewrite_suffix,
    rewrite_suffix_but_tiles,
    rewrite_suffix_and_forget_checkpoints,
    rewrite_suffix_and_forge_checkpoints,
)
