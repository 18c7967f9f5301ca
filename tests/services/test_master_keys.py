"""Are master keys made once, for us alone, and gone when they are destroyed?"""

import stat
from pathlib import Path

import pytest

from services.master_keys import MasterKeyMissing, MasterKeys


def test_a_master_key_is_made_once_and_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    masters = MasterKeys(folder)
    masters.make(0)
    wrapped = masters.wrap(0, bytes(32), "ada")
    masters.make(0)
    assert MasterKeys(folder).unwrap(0, wrapped, "ada") == bytes(32)
    assert stat.S_IMODE((folder / "master").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["master"]


def test_a_discarded_key_unwraps_nothing_more_and_its_bytes_are_gone(tmp_path: Path) -> None:
    masters = MasterKeys(tmp_path)
    masters.make(3)
    wrapped = masters.wrap(3, bytes(32), "ada")
    (tmp_path / "copy").hardlink_to(tmp_path / "master.3")
    before = (tmp_path / "copy").read_bytes()
    masters.discard(3)
    masters.discard(3)
    assert (tmp_path / "copy").read_bytes() != before
    with pytest.raises(MasterKeyMissing, match="generation 3"):
        masters.unwrap(3, wrapped, "ada")


def test_only_older_generations_go_and_other_files_stay(tmp_path: Path) -> None:
    masters = MasterKeys(tmp_path)
    for generation in (0, 1, 2, 10):
        masters.make(generation)
    (tmp_path / "master.old").touch()
    assert masters.newest() == 10
    masters.discard_before(10)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["master.10", "master.old"]


def test_a_folder_that_is_empty_has_no_newest(tmp_path: Path) -> None:
    assert MasterKeys(tmp_path).newest() == -1
