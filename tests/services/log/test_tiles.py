"""Are tiles and entry bundles those of C2SP tlog-tiles, up to what is signed and no further?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection

from services.log import tiles
from services.log.folder import SignerFolder
from services.log.merkle import leaf_hash, levels
from services.log.signer import sign_once
from services.log.tiles import NoSuchTile
from tests.services.log.grown import ORIGIN, grow

SIZE = 70_000
"""The specification's example: 273 full tiles and one of 112; one full and one of 17; one of 1."""


@pytest.fixture
def conn(database: str, tmp_path: Path) -> Iterator[Connection[Any]]:
    """A log of which a first part and then all that SIZE says is signed, and a few records are not."""
    with psycopg.connect(database, autocommit=True) as opened:
        folder = SignerFolder(tmp_path / "signer", ORIGIN)
        for more in (300, SIZE - 300):
            grow(opened, more)
            while sign_once(opened, folder):
                pass
        grow(opened, 5)
        yield opened


def leaves(start: int, end: int) -> list[bytes]:
    return [leaf_hash(f"record {position}".encode()) for position in range(start, end)]


async def test_a_tree_is_represented_by_the_tiles_of_the_specifications_example(
    conn: Connection[Any], database: str
) -> None:
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        full = [await tiles.tile(reading, 0, index, 256) for index in range(273)]
        assert full == [b"".join(leaves(256 * index, 256 * index + 256)) for index in range(273)]
        assert await tiles.tile(reading, 0, 273, 112) == b"".join(leaves(SIZE - 112, SIZE))

        roots = [levels([tile[at : at + 32] for at in range(0, 8192, 32)])[-1][0] for tile in full]
        assert await tiles.tile(reading, 1, 0, 256) == b"".join(roots[:256])
        assert await tiles.tile(reading, 1, 1, 17) == b"".join(roots[256:])
        assert await tiles.tile(reading, 2, 0, 1) == levels(roots[:256])[-1][0]


async def test_partial_tiles_of_earlier_checkpoints_stay(conn: Connection[Any], database: str) -> None:
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        assert await tiles.tile(reading, 0, 1, 44) == b"".join(leaves(256, 300))
        assert await tiles.tile(reading, 1, 0, 1) == levels(leaves(0, 256))[-1][0]


async def test_nothing_beyond_the_newest_checkpoint_is_served(conn: Connection[Any], database: str) -> None:
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        for level, index, width in (
            (0, 273, 113), (0, 273, 256), (0, 274, 1), (1, 1, 18), (1, 1, 256), (2, 0, 2), (2, 0, 256), (3, 0, 1),
            (63, 0, 1),
        ):  # fmt: skip
            with pytest.raises(NoSuchTile, match="newest checkpoint is of size 70000"):
                await tiles.tile(reading, level, index, width)
        for index, width in ((273, 113), (273, 256), (274, 1)):
            with pytest.raises(NoSuchTile):
                await tiles.bundle(reading, index, width)


async def test_a_bundle_is_its_records_behind_their_lengths(conn: Connection[Any], database: str) -> None:
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        assert await tiles.bundle(reading, 273, 2) == b"\x00\x0crecord 69888\x00\x0crecord 69889"
        assert (await tiles.bundle(reading, 0, 256)).count(b"record") == 256


async def test_before_the_first_checkpoint_there_is_no_tile(database: str) -> None:
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        with pytest.raises(NoSuchTile):
            await tiles.tile(reading, 0, 0, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [("000", (0, 256)), ("067", (67, 256)), ("x001/067", (1067, 256)), ("x001/x234/067", (1_234_067, 256)),
     ("067.p/8", (67, 8)), ("x001/000.p/255", (1000, 255)), ("000.p/1", (0, 1))],
)  # fmt: skip
def test_a_place_is_an_index_in_groups_of_three_digits(text: str, place: tuple[int, int]) -> None:
    assert tiles.place_of(text) == place


@pytest.mark.parametrize("text", ["0", "9", "10", "63"])
def test_a_level_is_a_number_to_63(text: str) -> None:
    assert tiles.level_of(text) == int(text)
