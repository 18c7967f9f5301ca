"""Where are the tree's inner nodes kept, and how is a proof built from them?

A tile (C2SP tlog-tiles) of level L and index N holds the 256 nodes (8·L, 256·N) to (8·L, 256·N + 255). Complete tiles
are stored, followed by the nodes above them within the tile, so that a proof reads nodes and computes next to nothing.
The nodes of tiles that are not complete yet come from the leaves, or from the roots of the tiles below.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from domain.errors import Refused
from services.log import reader
from services.log.merkle import (
    HASH_BYTES,
    Node,
    consistency_needs,
    consistency_proof,
    inclusion_needs,
    inclusion_proof,
    levels,
    node_hash,
)
from services.log.reader import Connection

WIDTH = 256
HEIGHT = 8

Place = tuple[int, int, int]
"""(tile level, tile index, where in the stored tile the hash begins, from 0)."""


def stored_tile(hashes: Sequence[bytes]) -> bytes:
    """What is stored for a complete tile: its 256 hashes, then the 128, 64, …, 2 above them."""
    assert len(hashes) == WIDTH
    return b"".join(each for level in levels(hashes)[:-1] for each in level)


def tile_root(two: bytes) -> bytes:
    """The root of a stored tile, from its last two hashes: an entry of the tile above."""
    return node_hash(two[:HASH_BYTES], two[HASH_BYTES:])


def _place(node: Node) -> Place:
    level, index = node
    tile_level, height = divmod(level, HEIGHT)
    per_tile = WIDTH >> height
    tile_index, at = divmod(index, per_tile)
    before = 2 * WIDTH - 2 * per_tile
    return tile_level, tile_index, before + at


def _is_complete(tile_level: int, tile_index: int, size: int) -> bool:
    return (tile_index + 1) << (HEIGHT * (tile_level + 1)) <= size


async def nodes(conn: Connection, wanted: Iterable[Node], size: int) -> dict[Node, bytes]:
    """Perfect nodes of the tree of that size, which a checkpoint must cover."""
    places = {node: _place(node) for node in wanted}
    kept = {node: place for node, place in places.items() if _is_complete(place[0], place[1], size)}
    found = await _kept_nodes(conn, kept)
    edge = sorted(node for node in places if node not in kept)
    for tile_level, group in groupby(edge, key=lambda node: node[0] // HEIGHT):
        found |= await _edge_nodes(conn, tile_level, list(group))
    return found


async def _kept_nodes(conn: Connection, places: dict[Node, Place]) -> dict[Node, bytes]:
    if not places:
        return {}
    query = """
        SELECT substring(hashes FROM 32 * at + 1 FOR 32)
        FROM unnest(%s::smallint[], %s::bigint[], %s::int[]) WITH ORDINALITY AS wanted (level, index, at, nth)
        JOIN tile USING (level, index) ORDER BY nth"""
    found = await reader.rows(conn, query, *(list(column) for column in zip(*places.values(), strict=True)))
    return {node: node_hash for node, (node_hash,) in zip(places, found, strict=True)}


async def _edge_nodes(conn: Connection, tile_level: int, wanted: Sequence[Node]) -> dict[Node, bytes]:
    """Nodes of one tile level's incomplete tile, from that tile's own hashes."""
    heights = [(node, node[0] % HEIGHT) for node in wanted]
    start = min(index << height for (_, index), height in heights)
    end = max((index + 1) << height for (_, index), height in heights)
    hashes = await entries(conn, tile_level, start, end)
    found = {}
    for node, height in heights:
        at = (node[1] << height) - start
        found[node] = levels(hashes[at : at + (1 << height)])[-1][0]
    return found


async def entries(conn: Connection, tile_level: int, start: int, end: int) -> list[bytes]:
    """The hashes of a tile level from index start up to end: leaves, or the roots of complete tiles below."""
    if tile_level == 0:
        return await reader.leaves(conn, start, end)
    query = """
        SELECT substring(hashes FROM 508 * 32 + 1) FROM tile
        WHERE level = %s AND index >= %s AND index < %s ORDER BY index"""
    return [tile_root(two) for (two,) in await reader.rows(conn, query, tile_level - 1, start, end)]


# Served


class NoSuchTile(Refused):
    status, rule, title = 404, "tiles", "There is no such tile"


_LEVEL = re.compile(r"0|[1-9]|[1-5][0-9]|6[0-3]", re.ASCII)
_PLACE = re.compile(r"(?!x000/)((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)
"""A tile's index in groups of three digits, all but the last behind an x, then the width of a partial tile."""


def level_of(text: str) -> int:
    """A tile level, 0 to 63. Raises NoSuchTile."""
    if _LEVEL.fullmatch(text) is None:
        raise NoSuchTile(f"A tile's level is a number from 0 to 63, not {text[:64]!r}.")
    return int(text)


def place_of(text: str) -> tuple[int, int]:
    """(index, width) of `x001/x234/067` or `x001/x234/067.p/8`, in no other spelling. Raises NoSuchTile."""
    found = _PLACE.fullmatch(text)
    width = int(found[2] or WIDTH) if found else 0
    if found is None or width > WIDTH or found[2] == str(WIDTH):
        raise NoSuchTile(
            f"{text[:64]!r} is not the place of a tile, such as x001/x234/067, or x001/x234/067.p/8 of a partial one."
        )
    return int(found[1].replace("x", "").replace("/", "")), width


async def tile(conn: Connection, level: int, index: int, width: int) -> bytes:
    """The hashes of a tile, or the first `width` of them, where the newest checkpoint covers them. Raises NoSuchTile.

    Any such width is right: some checkpoint may have been of that size, and its tile never changes.
    """
    await _check_covered(conn, level, index, width)
    if width == WIDTH:
        query = "SELECT substring(hashes FROM 1 FOR 8192) FROM tile WHERE level = %s AND index = %s"
        ((hashes,),) = await reader.rows(conn, query, level, index)
        assert isinstance(hashes, bytes)
        return hashes
    found = await entries(conn, level, index * WIDTH, index * WIDTH + width)
    assert len(found) == width, "what a checkpoint covers is there"
    return b"".join(found)


async def bundle(conn: Connection, index: int, width: int) -> bytes:
    """The records below a tile of level 0, each behind its length (two bytes, big-endian). Raises NoSuchTile."""
    await _check_covered(conn, 0, index, width)
    found = await reader.records(conn, index * WIDTH, index * WIDTH + width)
    assert len(found) == width, "what a checkpoint covers is there"
    return b"".join(len(record).to_bytes(2) + record for record in found)


async def _check_covered(conn: Connection, level: int, index: int, width: int) -> None:
    ((size,),) = await reader.rows(conn, "SELECT coalesce(max(size), 0) FROM checkpoint")
    hashes = size >> (HEIGHT * level)
    if index * WIDTH + width > hashes:
        raise NoSuchTile(
            f"The newest checkpoint is of size {size}: {hashes} hashes at level {level}, not {width} in tile {index}."
        )


# Proofs


async def inclusion(conn: Connection, position: int, size: int) -> list[bytes]:
    """The proof that the record at a position is in the log of a signed size. Raises ProofRefused outside of it."""
    return inclusion_proof(position, size, await nodes(conn, inclusion_needs(position, size), size))


async def consistency(conn: Connection, size1: int, size2: int) -> list[bytes]:
    """The proof that the log of a signed size2 begins with that of size1. Raises ProofRefused from 0 or backwards."""
    return consistency_proof(size1, size2, await nodes(conn, consistency_needs(size1, size2), size2))


class Tiling:
    """A tree that grows, cut into tiles."""

    def __init__(self) -> None:
        self._open: list[list[bytes]] = [[]]
        self._complete = [0]

    def add(self, leaf: bytes) -> Sequence[tuple[int, int, bytes]]:
        """The tiles that the next leaf makes complete, the lowest first: level, index and what is stored of it."""
        self._open[0].append(leaf)
        return self._completed() if len(self._open[0]) == WIDTH else ()

    def _completed(self) -> list[tuple[int, int, bytes]]:
        found = []
        for level, hashes in enumerate(self._open):
            if len(hashes) < WIDTH:
                break
            *above, root = levels(hashes)
            found.append((level, self._complete[level], b"".join(map(b"".join, above))))
            self._open[level] = []
            self._complete[level] += 1
            if level + 1 == len(self._open):
                self._open.append([])
                self._complete.append(0)
            self._open[level + 1] += root
        return found

    def edge(self) -> Iterator[tuple[int, int, bytes]]:
        """The hashes of the tiles that are not complete, and not empty either."""
        for level, hashes in enumerate(self._open):
            if hashes:
                yield level, self._complete[level], b"".join(hashes)
