"""Is a log that is long enough for tiles above tiles, and for several processes, verified as a short one is?"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services.log.bundle import Bundle
from services.log.export import export
from services.log.folder import SignerFolder
from services.log.snapshot import Snapshot
from services.log.streams import Differs, folding
from services.log.verify import verify
from tests.benchmarks import grown
from tests.conftest import fresh_database
from tests.services.log.grown import ORIGIN
from tests.tampering.history import appointments, parts_of, told

SIZE = 65_536


@pytest.fixture(scope="module")
def long_log(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The conninfo and the data folder of a signed log."""
    folder = tmp_path_factory.mktemp("long")
    for conninfo in fresh_database(postgres, template):
        grown.grow_by_worlds(conninfo, "verify", SIZE + 100)
        grown.sign(conninfo, folder)
        yield conninfo, folder


def look(log: tuple[str, Path]) -> Snapshot:
    return Snapshot(log[0], SignerFolder(log[1] / "signer", ORIGIN))


def edit(log: tuple[str, Path], statement: str) -> None:
    with psycopg.connect(log[0], autocommit=True) as conn, conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        assert conn.execute(statement).rowcount == 1


def test_several_processes_say_what_one_says(long_log: tuple[str, Path], tmp_path: Path) -> None:
    with look(long_log) as snapshot:
        live = verify(snapshot)
        export(snapshot, tmp_path / "log.zip")
    assert live.size > SIZE and live.tiles == live.size // 256 + 1
    with Bundle(tmp_path / "log.zip") as bundle:
        offline = verify(bundle, processes=2)
    assert (offline.root, offline.streams, offline.commands) == (live.root, live.streams, live.commands)


@pytest.mark.parametrize(("node", "position"), [(0, 0), (200, 200 * 256), (256 + 5, 10 * 256), (509, 32_768)])
def test_a_hash_in_a_tile_above_names_the_first_position_that_it_covers(
    node: int, position: int, long_log: tuple[str, Path]
) -> None:
    flip = "UPDATE tile SET hashes = set_byte(hashes, {0}, get_byte(hashes, {0}) # 1) WHERE level = 1"
    edit(long_log, flip.format(32 * node))
    try:
        with look(long_log) as snapshot, pytest.raises(Differs, match="tile 0 of level 1") as found:
            verify(snapshot, processes=2)
    finally:
        edit(long_log, flip.format(32 * node))
    assert found.value.position == position


def test_what_does_not_fold_elsewhere_is_named_before_what_comes_later() -> None:
    """A version is left out of one stream; the process that folds it hears of it long before the end."""
    records = [row for append in told(appointments(3_000)) for row in append]
    del records[7]
    with (
        folding(2) as folds,
        pytest.raises(Differs, match=r"version 7 of .* is followed by 9") as found,
    ):
        for row in records:
            folds.take(row.position, row.record, parts_of(row.record))
        folds.end()
    assert found.value.position == 8
