"""Is it known who vouches for the log, through every change of keys, by witnesses, and after a rollback?"""

from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Connection

from domain.log import STREAM, LogKeyRotated, RollbackAccepted
from services.log import note
from services.log.bundle import Bundle
from services.log.export import export
from services.log.folder import Signed, SignerFolder
from services.log.note import Checkpoint
from services.log.signer import sign_once
from services.log.snapshot import Snapshot
from services.log.streams import Differs
from services.log.verify import Verified, verify
from services.log.vouched import Brought
from tests.services.log.grown import ORIGIN, tree
from tests.tampering.history import WITNESS, Row, appointments, cosigned, told, written


def verified(database: str, folder: SignerFolder, to: Path, brought: Brought, witnesses: Any = ()) -> Verified:
    """The database, and its export without the database: they must say the same."""
    with Snapshot(database, folder, witnesses) as snapshot:
        live = verify(snapshot, brought)
        export(snapshot, to / "log.zip")
    with Bundle(to / "log.zip") as bundle:
        offline = verify(bundle, brought)
    assert replace(offline, tiles=0) == replace(live, tiles=0)
    return live


def add(conn: Connection[Any], folder: SignerFolder, log: list[list[Row]], *events: tuple[str, Any]) -> None:
    """Append and sign."""
    more = told(events, log)
    written(conn, more)
    log += more
    sign_once(conn, folder)


def rotated_log(conn: Connection[Any], folder: SignerFolder) -> list[list[Row]]:
    """A log whose second key took over in the middle."""
    log: list[list[Row]] = []
    first, second = folder.verifier(), folder.next()
    add(conn, folder, log, *appointments(3))
    add(conn, folder, log, (STREAM, LogKeyRotated(str(first))))
    add(conn, folder, log, (STREAM, LogKeyRotated(str(second), str(first))), appointments(4)[-1])
    add(conn, folder, log, appointments(5)[-1])
    return log


def test_whoever_trusts_any_key_of_the_log_can_follow_the_others(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    first, second = folder.verifier(), folder.next()
    rotated_log(conn, folder)
    for key in (first, second):
        assert verified(database, folder, tmp_path, Brought(key)).keys == (str(first), str(second))


def test_the_old_key_may_be_gone(conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path) -> None:
    first = folder.verifier()
    rotated_log(conn, folder)
    (tmp_path / "signer" / "log.key").unlink()
    assert str(first) in verified(database, folder, tmp_path, Brought(first)).keys


def test_after_a_rotation_the_old_key_signs_nothing(conn: Connection[Any], database: str, folder: SignerFolder) -> None:
    old = folder.key(str(folder.verifier()))
    rotated_log(conn, folder)
    forge(conn, 8, ORIGIN, old)
    with Snapshot(database, folder) as snapshot, pytest.raises(Differs, match="size 8 is not signed by") as found:
        verify(snapshot)
    assert found.value.position == 7


def test_who_takes_over_must_be_named_by_the_key_before(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    """Who holds the database alone hands the log over to themselves."""
    own = Ed25519PrivateKey.generate()
    log: list[list[Row]] = []
    add(conn, folder, log, *appointments(3))
    key = str(note.verifier_of(ORIGIN, own))
    written(conn, told([(STREAM, LogKeyRotated(key, str(folder.verifier())))], log))
    forge(conn, 5, ORIGIN, own)
    folder.keep(replace(kept(folder), size=5, root=root_of(conn, 5), key=key))
    with Snapshot(database, folder) as snapshot, pytest.raises(Differs, match="size 5 is not signed by") as found:
        verify(snapshot)
    assert found.value.position == 4


def test_a_rotation_from_another_key_is_refused_where_it_stands(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    log: list[list[Row]] = []
    other = note.verifier_of(ORIGIN, Ed25519PrivateKey.generate())
    add(conn, folder, log, *appointments(3))
    written(conn, told([(STREAM, LogKeyRotated(str(folder.next()), str(other)))], log))
    with Snapshot(database, folder) as snapshot, pytest.raises(Differs, match="rotates from") as found:
        verify(snapshot)
    assert found.value.position == 4


# Witnesses


def test_cosignatures_are_exported_and_verified(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    log: list[list[Row]] = []
    add(conn, folder, log, *appointments(3))
    add(conn, folder, log, appointments(4)[-1])
    cosigned(conn, 4)
    found = verified(database, folder, tmp_path, Brought(witnesses=(WITNESS,)), [WITNESS])
    assert found.cosigned == {str(WITNESS): 4}


def test_a_witness_that_is_asked_for_must_have_cosigned(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    add(conn, folder, [], *appointments(3))
    with Snapshot(database, folder) as snapshot, pytest.raises(Differs, match="no checkpoint is cosigned by witness"):
        verify(snapshot, Brought(witnesses=(WITNESS,)))


@pytest.mark.parametrize("private", [Ed25519PrivateKey.generate()])
def test_a_cosignature_of_another_key_under_the_witness_name_is_noticed(
    private: Ed25519PrivateKey, conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    add(conn, folder, [], *appointments(3))
    cosigned(conn, 4, private)
    with (
        Snapshot(database, folder, [WITNESS]) as snapshot,
        pytest.raises(Differs, match="of another witness"),
    ):
        verify(snapshot)


# Rollbacks


def test_what_an_operator_accepted_is_told_and_no_longer_differs(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    """A checkpoint of a history that was given up is left among the others."""
    given_up = accepted_rollback(conn, folder, agreed_size=4)
    found = verified(database, folder, tmp_path, Brought())
    assert found.checkpoints == 2 and found.signed_size == 8
    assert found.rollbacks == (
        f"position 6: rosa accepted that {given_up} records had been signed, of which the first 4 are known "
        "to be these (Tuesday's backup)",
    )


def test_what_was_signed_of_the_records_that_agree_must_still_fit(
    conn: Connection[Any], database: str, folder: SignerFolder
) -> None:
    accepted_rollback(conn, folder, agreed_size=5)
    with Snapshot(database, folder) as snapshot, pytest.raises(Differs, match="not those that were signed") as found:
        verify(snapshot)
    assert found.value.position == 4


def accepted_rollback(conn: Connection[Any], folder: SignerFolder, agreed_size: int) -> int:
    """Four records, two other ones than were signed then, and what an operator accepted; all signed since."""
    log: list[list[Row]] = []
    add(conn, folder, log, *appointments(3))
    more = told(appointments(5)[-2:], log)
    written(conn, more)
    log += more
    key = str(folder.verifier())
    text = str(note.sign(str(Checkpoint(ORIGIN, 5, b"o" * 32)), ORIGIN, folder.key(key)))
    conn.execute("INSERT INTO checkpoint VALUES (5, %s)", (text,))
    edge = tree(conn)
    root = b64encode(edge.root()).decode()
    accepted = RollbackAccepted(5, "", text, 6, root, agreed_size, key, "rosa", "Tuesday's backup")
    folder.keep(Signed(6, edge.root(), bytes(edge), "", key, accepted))
    add(conn, folder, log, (STREAM, accepted), appointments(6)[-1])
    return 5


# What is in the tables


def one(conn: Connection[Any], query: str, *values: Any) -> tuple[Any, ...]:
    found = conn.execute(query, values).fetchone()
    assert found is not None
    return tuple(found)


def root_of(conn: Connection[Any], size: int) -> bytes:
    return bytes(one(conn, "SELECT root FROM tree_head WHERE size = %s", size)[0])


def kept(folder: SignerFolder) -> Signed:
    found = folder.signed()
    assert found is not None
    return found


def forge(conn: Connection[Any], size: int, origin: str, private: Ed25519PrivateKey) -> None:
    """A checkpoint of the log as it is, signed with that key alone."""
    text = str(note.sign(str(Checkpoint(origin, size, root_of(conn, size))), origin, private))
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("DELETE FROM checkpoint WHERE size = %s", (size,))
        conn.execute("INSERT INTO checkpoint VALUES (%s, %s)", (size, text))
