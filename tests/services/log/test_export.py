"""Is an export one whole file that holds all that is signed, in a form that strangers read?"""

import json
import zipfile
from base64 import b64encode
from pathlib import Path

import psycopg
import pytest

from services.log import export as module
from services.log import note
from services.log.bundle import Bundle, NoBundle, tile_name
from services.log.export import export
from services.log.folder import LogRefused, SignerFolder
from services.log.note import Checkpoint
from services.log.signer import sign_once
from services.log.snapshot import Snapshot
from services.log.verify import verify
from tests.services.log.grown import ORIGIN
from tests.tampering.history import SignedLog, lived, written


def exported(log: SignedLog, to: Path) -> zipfile.ZipFile:
    with Snapshot(log.conninfo, log.folder) as snapshot:
        export(snapshot, to)
    return zipfile.ZipFile(to)


def test_an_export_holds_every_record_as_it_was_hashed(signed_log: SignedLog, tmp_path: Path) -> None:
    rows = signed_log.rows
    with exported(signed_log, tmp_path / "log.zip") as file:
        part = file.read("tile/entries/000")
        records = []
        while part:
            length = int.from_bytes(part[:2])
            records.append(part[2 : 2 + length])
            part = part[2 + length :]
        assert records == [row.record for row in rows[:256]]
        assert file.read("tile/0/000") == b"".join(row.leaf for row in rows[:256])
        edge = len(rows) % 256
        assert file.read(tile_name(0, len(rows) // 256, edge)) == b"".join(row.leaf for row in rows[-edge:])


def test_it_says_what_it_is_and_holds_every_signed_note(signed_log: SignedLog, tmp_path: Path) -> None:
    with exported(signed_log, tmp_path / "log.zip") as file, psycopg.connect(signed_log.conninfo) as conn:
        manifest = json.loads(file.read("manifest.json"))
        notes = [json.loads(line) for line in file.read("checkpoints.jsonl").splitlines()]
        kept = [{"size": size, "note": text} for size, text in conn.execute("TABLE cosigned_checkpoint ORDER BY size")]
        newest = Checkpoint.parse(note.parse(file.read("checkpoint").decode()).text)
    assert notes == kept and len(notes) > 5
    assert sum("witness.test" in each["note"] for each in notes) == -(-len(notes) // 3)
    assert newest == Checkpoint(ORIGIN, manifest["size"], newest.root) and newest.size == len(signed_log.rows)
    assert manifest["root"] == b64encode(newest.root).decode()
    assert manifest["key"] == str(signed_log.folder.verifier()) and manifest["format"] == "assent-log/1"


def test_it_holds_heads_command_keys_and_the_policies_by_name(signed_log: SignedLog, tmp_path: Path) -> None:
    rows = signed_log.rows
    with exported(signed_log, tmp_path / "log.zip") as file:
        heads = file.read("heads.csv").decode().splitlines()
        commands = file.read("commands.csv").decode().splitlines()
        policies = {name: file.read(name) for name in file.namelist() if name.startswith("policies/")}
    assert heads[0] == "size,root" and len(heads) == len(signed_log.appends) + 1
    keyed = [row for row in rows if row.command_key and row.fingerprint]
    assert commands[1:] == [f"{r.position},{r.command_key.hex()},{r.fingerprint.hex()}" for r in keyed]  # type: ignore[union-attr]
    published = {f"policies/{r.stream[7:]}.{r.version}.json": r.record for r in rows if r.type == "PolicyPublished"}
    assert policies == published and policies


def test_names_of_tiles_are_those_of_c2sp() -> None:
    assert tile_name(0, 0, 256) == "tile/0/000"
    assert tile_name("entries", 1234067, 8) == "tile/entries/x001/x234/067.p/8"


def test_what_is_not_signed_yet_stays_out(database: str, tmp_path: Path) -> None:
    appends, folder = lived("late", 60), SignerFolder(tmp_path / "signer", ORIGIN)
    with psycopg.connect(database, autocommit=True) as conn:
        written(conn, appends[:20])
        sign_once(conn, folder)
        signed = sum(map(len, appends[:20]))
        written(conn, appends[20:])
    with Snapshot(database, folder) as snapshot:
        manifest = export(snapshot, tmp_path / "log.zip")
    assert manifest.size == signed < snapshot.size
    with Bundle(tmp_path / "log.zip") as bundle:
        assert verify(bundle).size == signed


def test_without_a_checkpoint_there_is_nothing_to_export(database: str, tmp_path: Path) -> None:
    with (
        Snapshot(database, SignerFolder(tmp_path / "signer", ORIGIN)) as snapshot,
        pytest.raises(LogRefused, match="Nothing is signed yet"),
    ):
        export(snapshot, tmp_path / "log.zip")
    assert not (tmp_path / "log.zip").exists()


def test_what_is_appended_meanwhile_is_not_seen(database: str, tmp_path: Path) -> None:
    appends, folder = lived("meanwhile", 60), SignerFolder(tmp_path / "signer", ORIGIN)
    with psycopg.connect(database, autocommit=True) as conn:
        written(conn, appends[:20])
        sign_once(conn, folder)
        with Snapshot(database, folder) as snapshot:
            written(conn, appends[20:])
            sign_once(conn, folder)
            assert export(snapshot, tmp_path / "log.zip").size == snapshot.size
            assert verify(snapshot).size == snapshot.size


class Interrupted(Exception):
    pass


def test_an_interrupted_export_leaves_nothing(
    signed_log: SignedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "before.zip"
    before.write_text("an older export")

    def interrupt(records: int) -> None:
        raise Interrupted

    monkeypatch.setattr(module, "REPORT_RECORDS", 500)
    for to in (before, tmp_path / "log.zip"):
        with Snapshot(signed_log.conninfo, signed_log.folder) as snapshot, pytest.raises(Interrupted):
            export(snapshot, to, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["before.zip"]
    assert before.read_text() == "an older export"


def test_half_a_file_or_another_file_is_no_bundle(signed_log: SignedLog, tmp_path: Path) -> None:
    exported(signed_log, tmp_path / "log.zip").close()
    whole = (tmp_path / "log.zip").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK", whole[:-30]):
        (tmp_path / "log.zip").write_bytes(content)
        with pytest.raises(NoBundle), Bundle(tmp_path / "log.zip"):
            pass
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as other:
        other.writestr("README", "something else")
    with pytest.raises(NoBundle, match=r"manifest\.json is missing"), Bundle(tmp_path / "log.zip"):
        pass
