"""Does the signer vouch only for what it hashed itself, never for less, and does it survive a crash at any step?"""

import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection

from domain.errors import NotFound
from services.log import merkle, note, proofs, reader, signer, tiles
from services.log.folder import LogRefused, SignerFolder
from services.log.merkle import leaf_hash
from services.log.note import Checkpoint
from services.log.proofs import NotSignedYet, SizesOutOfOrder
from services.log.signer import Signer, check_at_start, recover, sign_once
from tests.services.log.grown import ORIGIN, as_superuser, grow, published


def test_a_grown_log_is_signed_once(conn: Connection[Any], folder: SignerFolder) -> None:
    assert not sign_once(conn, folder)
    grow(conn, 3)
    assert sign_once(conn, folder)
    assert not sign_once(conn, folder)
    row = conn.execute("SELECT note, root FROM checkpoint JOIN tree_head USING (size)").fetchone()
    assert row is not None
    signed = note.parse(row[0])
    assert signed.verified_by(folder.verifier())
    assert Checkpoint.parse(signed.text) == Checkpoint(ORIGIN, 3, row[1])


def test_a_long_absence_is_made_up_in_rounds(
    conn: Connection[Any], folder: SignerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer, "ROUND_RECORDS_MAX", 10)
    for more in (4, 4, 4, 25, 1):
        grow(conn, more)
    while sign_once(conn, folder):
        pass
    assert published(conn) == [8, 12, 37, 38]


class Crash(Exception):
    pass


def crash(*_: Any, **__: Any) -> None:
    raise Crash


@pytest.mark.parametrize(
    ("step", "signed"),
    [("services.log.signer.note.sign", 2), ("services.durable.write", 2), ("pathlib.Path.replace", 2),
     ("services.durable.sync_folder", 5), ("services.log.signer.publish", 5),
     ("services.log.signer._complete_tiles", 5)],
)  # fmt: skip
def test_after_a_crash_at_any_step_the_signer_goes_on(
    conn: Connection[Any], folder: SignerFolder, monkeypatch: pytest.MonkeyPatch, step: str, signed: int
) -> None:
    grow(conn, 2)
    sign_once(conn, folder)
    grow(conn, 3)
    with monkeypatch.context() as broken, pytest.raises(Crash):
        broken.setattr(step, crash)
        sign_once(conn, folder)
    assert published(conn) == [2]
    recover(conn, folder)
    assert published(conn) == sorted({2, signed})
    sign_once(conn, folder)
    grow(conn, 1)
    sign_once(conn, folder)
    assert published(conn) == [2, 5, 6]


def test_the_same_note_is_published_after_a_crash_and_never_another(
    conn: Connection[Any], folder: SignerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(conn, 3)
    with monkeypatch.context() as broken, pytest.raises(Crash):
        broken.setattr(signer, "publish", crash)
        sign_once(conn, folder)
    kept = folder.signed()
    assert kept is not None
    recover(conn, folder)
    assert conn.execute("SELECT size, note FROM checkpoint").fetchall() == [(3, kept.note)]


def edit_record(conn: Connection[Any]) -> None:
    as_superuser(conn, "UPDATE event SET record = 'forged' WHERE position = 4")


def edit_record_and_leaf(conn: Connection[Any]) -> None:
    as_superuser(conn, "UPDATE event SET record = 'forged', leaf = %s WHERE position = 4", leaf_hash(b"forged"))


def edit_head(conn: Connection[Any]) -> None:
    as_superuser(conn, "UPDATE tree_head SET root = %s WHERE size = 6", b"\1" * 32)


def remove_record(conn: Connection[Any]) -> None:
    as_superuser(conn, "DELETE FROM event WHERE position = 4")


@pytest.mark.parametrize("forge", [edit_record, edit_record_and_leaf, edit_head, remove_record])
def test_a_forged_record_or_head_is_not_signed(
    conn: Connection[Any], folder: SignerFolder, forge: Callable[[Connection[Any]], None]
) -> None:
    grow(conn, 3)
    sign_once(conn, folder)
    grow(conn, 3)
    forge(conn)
    with pytest.raises(LogRefused, match="last good size is 3"):
        sign_once(conn, folder)
    assert published(conn) == [3]
    kept = folder.signed()
    assert kept is not None and kept.size == 3


def test_a_shorter_log_is_refused_at_start(conn: Connection[Any], database: str, folder: SignerFolder) -> None:
    grow(conn, 3)
    grow(conn, 3)
    sign_once(conn, folder)
    check_at_start(database, folder)
    as_superuser(conn, "DELETE FROM checkpoint WHERE size = 6")
    as_superuser(conn, "DELETE FROM tree_head WHERE size = 6")
    as_superuser(conn, "DELETE FROM event WHERE position >= 3")
    with pytest.raises(LogRefused, match="holds 3 records, but 6 were signed"):
        check_at_start(database, folder)


def test_an_old_backup_that_grew_another_way_is_refused(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    grow(conn, 3)
    sign_once(conn, folder)
    grow(conn, 3)
    sign_once(conn, folder)
    as_superuser(conn, "DELETE FROM checkpoint WHERE size = 6")
    as_superuser(conn, "DELETE FROM tree_head WHERE size = 6")
    as_superuser(conn, "DELETE FROM event WHERE position >= 3")
    grow(conn, 3, "other")
    with pytest.raises(LogRefused, match="not those that were signed"):
        check_at_start(database, folder)


def test_an_empty_database_after_a_signature_is_refused(
    conn: Connection[Any], empty_database: str, folder: SignerFolder
) -> None:
    grow(conn, 1)
    sign_once(conn, folder)
    with psycopg.connect(empty_database, autocommit=True) as other:
        for table in ("checkpoint (size bigint, note text)", "tree_head (size bigint, root bytea, frontier bytea)"):
            other.execute(f"CREATE TABLE {table}")
    with pytest.raises(LogRefused, match="holds 0 records, but 1 were signed"):
        check_at_start(empty_database, folder)


def test_a_signers_folder_that_was_put_back_is_refused(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    grow(conn, 1)
    sign_once(conn, folder)
    old = (tmp_path / "signer" / "signed.json").read_bytes()
    grow(conn, 1)
    sign_once(conn, folder)
    (tmp_path / "signer" / "signed.json").write_bytes(old)
    with pytest.raises(LogRefused, match="knows only of 1"):
        check_at_start(database, folder)


def test_a_log_signed_with_another_key_is_refused(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    grow(conn, 1)
    sign_once(conn, folder)
    with pytest.raises(LogRefused, match="another key"):
        check_at_start(database, SignerFolder(tmp_path / "other", ORIGIN))


def test_a_checkpoint_replaced_in_the_database_is_refused(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    grow(conn, 1)
    sign_once(conn, folder)
    other = note.sign(str(Checkpoint(ORIGIN, 1, b"\1" * 32)), ORIGIN, folder.key(str(folder.verifier())))
    as_superuser(conn, "UPDATE checkpoint SET note = %s", str(other))
    with pytest.raises(LogRefused, match="not the one that was signed"):
        check_at_start(database, folder)


def test_key_and_file_are_for_the_owner_only(conn: Connection[Any], folder: SignerFolder, tmp_path: Path) -> None:
    grow(conn, 1)
    sign_once(conn, folder)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "signer").iterdir()}
    assert modes == {"log.key": "0o600", "signed.json": "0o600"}


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_the_thread_signs_as_soon_as_the_log_grew(conn: Connection[Any], database: str, folder: SignerFolder) -> None:
    running = Signer(database, folder)
    running.start()
    try:
        for size in (1, 2, 3):
            grow(conn, 1)
            wait_until(lambda size=size: published(conn)[-1:] == [size])  # type: ignore[misc]
    finally:
        running.stop()
    assert running.failure is None


def test_of_two_signers_one_signs_and_the_other_takes_over(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    first, second = Signer(database, folder), Signer(database, folder)
    first.start()
    second.start()
    grow(conn, 1)
    wait_until(lambda: published(conn) == [1])
    first.stop()
    grow(conn, 1)
    wait_until(lambda: published(conn) == [1, 2])
    second.stop()
    assert first.failure is second.failure is None


def test_a_signer_outlives_its_connection(conn: Connection[Any], database: str, folder: SignerFolder) -> None:
    running = Signer(database, folder)
    running.start()
    grow(conn, 1)
    wait_until(lambda: published(conn) == [1])
    conn.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    grow(conn, 1)
    wait_until(lambda: published(conn) == [1, 2])
    running.stop()


def test_a_signer_that_met_a_forgery_stops_and_says_so(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    grow(conn, 6)
    edit_head(conn)
    running = Signer(database, folder)
    running.start()
    wait_until(lambda: running.failure is not None)
    running.stop()
    assert published(conn) == []


async def test_a_receipt_is_exchanged_for_a_proof_once_a_checkpoint_covers_it(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    grow(conn, 5)
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        with pytest.raises(NotSignedYet):
            await proofs.inclusion(reading, 2)
        sign_once(conn, folder)
        proof = await proofs.inclusion(reading, 2)
        signed = note.parse(proof.checkpoint)
        assert signed.verified_by(folder.verifier())
        head = Checkpoint.parse(signed.text)
        assert (head.size, head.root) == (proof.size, b64decode(proof.root))
        hashes = [b64decode(each) for each in proof.hashes]
        merkle.verify_inclusion(b64decode(proof.leaf), 2, head.size, head.root, hashes)
        assert b64decode(proof.leaf) == leaf_hash(b"record 2")
        grow(conn, 1)
        with pytest.raises(NotSignedYet):
            await proofs.inclusion(reading, 5)
        with pytest.raises(NotFound):
            await proofs.inclusion(reading, 6)


async def test_a_consistency_proof_leads_from_one_signed_size_to_another(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    for more in (3, 4):
        grow(conn, more)
        sign_once(conn, folder)
    roots = dict(conn.execute("SELECT size, root FROM tree_head").fetchall())
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        proof = await proofs.consistency(reading, 3, 7)
        hashes = [b64decode(each) for each in proof.hashes]
        merkle.verify_consistency(3, 7, roots[3], roots[7], hashes)
        for size1, size2 in ((0, 7), (7, 3), (-1, 3)):
            with pytest.raises(SizesOutOfOrder):
                await proofs.consistency(reading, size1, size2)
        with pytest.raises(NotSignedYet):
            await proofs.consistency(reading, 3, 8)


async def test_proofs_from_stored_tiles_verify_up_to_the_second_level(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    for more in (1, 255, 3, 65_300, 4_500):
        grow(conn, more)
        sign_once(conn, folder)
    assert conn.execute("SELECT level, count(*) FROM tile GROUP BY level ORDER BY level").fetchall() == [
        (0, 273),
        (1, 1),
    ]
    heads = dict(conn.execute("SELECT size, root FROM tree_head").fetchall())
    size = max(heads)
    async with await AsyncConnection.connect(database, autocommit=True) as reading:
        leaves = await reader.leaves(reading, 0, size)
        for signed in heads:
            for position in {0, 1, 255, 256, 257, 65_535, 65_536, signed // 2, signed - 1}:
                if position < signed:
                    proof = await tiles.inclusion(reading, position, signed)
                    merkle.verify_inclusion(leaves[position], position, signed, heads[signed], proof)
            proof = await tiles.consistency(reading, signed, size)
            merkle.verify_consistency(signed, size, heads[signed], heads[size], proof)
        assert await tiles.entries(reading, 1, 0, 2) == [merkle.levels(leaves[at : at + 256])[-1][0] for at in (0, 256)]


def test_the_key_stays_the_same(folder: SignerFolder) -> None:
    assert folder.signed() is None
    assert str(folder.verifier()) == str(folder.verifier())


def test_a_file_put_back_under_a_running_signer_takes_nothing_back(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    grow(conn, 1)
    sign_once(conn, folder)
    old = (tmp_path / "signer" / "signed.json").read_bytes()
    grow(conn, 1)
    sign_once(conn, folder)
    before = conn.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall()
    (tmp_path / "signer" / "signed.json").write_bytes(old)
    assert sign_once(conn, folder), "what it forgot it signs again, to the byte"
    assert conn.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall() == before
    kept = folder.signed()
    assert kept is not None and kept.size == 2


@pytest.mark.parametrize("text", ["", "no note", "assent.localhost/log\n2\nAAAA\n\n— assent.localhost/log AAAAAAAA\n"])
def test_what_was_published_must_be_what_is_about_to_be(conn: Connection[Any], folder: SignerFolder, text: str) -> None:
    grow(conn, 2)
    conn.execute("INSERT INTO checkpoint VALUES (2, %s)", (text,))
    with pytest.raises(LogRefused, match="not the one that was signed"):
        sign_once(conn, folder)
    with pytest.raises(LogRefused, match="another key"):
        recover(conn, folder)
