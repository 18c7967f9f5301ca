"""Is a new key of the log handed over so that whoever trusts the old one can follow, whatever comes in between?"""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Connection

from domain import log
from domain.log import LogKeyRotated, RollbackAccepted
from services.log import note, signer
from services.log.folder import LogRefused, Signed, SignerFolder
from services.log.note import KeyChain, NoteRefused, Verifier
from services.log.record import read
from services.log.signer import check, recover, sign_once
from tests.services.log.grown import ORIGIN, append, grow, published, tell


def rotate(conn: Connection[Any], folder: SignerFolder) -> tuple[Verifier, Verifier]:
    """As a command does it: the next key is there before the log names it. The old key, and the new one."""
    old, new = folder.verifier(), folder.next()
    tell(conn, LogKeyRotated(str(new), str(old), "It is time"))
    return old, new


def signers(conn: Connection[Any], folder: SignerFolder, size: int) -> list[Verifier]:
    """Which of the folder's keys signed the checkpoint of that size."""
    row = conn.execute("SELECT note FROM checkpoint WHERE size = %s", (size,)).fetchone()
    assert row is not None
    signed = note.parse(row[0])
    found = [key for key in folder.verifiers() if signed.verified_by(key)]
    assert len(found) == len(signed.signatures)
    return found


def chain_of(conn: Connection[Any], first: Verifier) -> KeyChain:
    """What a verifier who trusts the first key learns from the records."""
    chain = KeyChain(first)
    for position, record in conn.execute("SELECT position, record FROM event ORDER BY position").fetchall():
        if log.STREAM.encode() in record:
            event = read(record).event
            assert isinstance(event, LogKeyRotated)
            chain.rotated(position, event.key, event.previous)
    return chain


def test_the_first_checkpoint_that_covers_a_rotation_is_signed_by_both_keys(
    conn: Connection[Any], folder: SignerFolder
) -> None:
    grow(conn, 2)
    sign_once(conn, folder)
    old, new = rotate(conn, folder)
    sign_once(conn, folder)
    grow(conn, 1)
    sign_once(conn, folder)
    assert [signers(conn, folder, size) for size in (2, 3, 4)] == [[old], [old, new], [new]]
    assert folder.verifier() == new


def test_whoever_trusts_the_first_key_can_follow_to_the_last(conn: Connection[Any], folder: SignerFolder) -> None:
    first = folder.verifier()
    tell(conn, LogKeyRotated(str(first), None, "The first"))
    sign_once(conn, folder)
    for _ in range(3):
        grow(conn, 2)
        rotate(conn, folder)
        grow(conn, 1)
        sign_once(conn, folder)
        grow(conn, 1)
        sign_once(conn, folder)
    chain, covered = chain_of(conn, first), 0
    for size, text in conn.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall():
        assert note.parse(text).verified_by(*chain.signers(size, covered))
        covered = size
    assert chain.at(covered) == folder.verifier() != first
    assert len(folder.verifiers()) == 4


def test_a_rotation_before_the_first_checkpoint_is_handed_over_too(conn: Connection[Any], folder: SignerFolder) -> None:
    old, new = rotate(conn, folder)
    sign_once(conn, folder)
    assert signers(conn, folder, 1) == [old, new]


def test_the_next_key_is_the_same_for_all_who_ask_and_waits_for_the_one_before_it(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    old, new = rotate(conn, folder)
    assert folder.next() == SignerFolder(tmp_path / "signer", ORIGIN).next() == new, "asked twice, and not signed yet"
    assert folder.verifier() == old
    sign_once(conn, folder)
    assert folder.next() not in (old, new)


def _next(folder: Path) -> str:
    return str(SignerFolder(folder, ORIGIN).next())


def test_processes_that_ask_for_the_next_key_at_once_get_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        found = pool.map(_next, [tmp_path / "signer"] * 16, chunksize=1)
    assert len(set(found)) == 1
    assert len(SignerFolder(tmp_path / "signer", ORIGIN).verifiers()) == 2


class Crash(Exception):
    pass


def crash(*_: Any, **__: Any) -> None:
    raise Crash


@pytest.mark.parametrize(
    "step",
    ["services.log.signer.note.sign", "services.durable.write", "pathlib.Path.replace",
     "services.durable.sync_folder", "services.log.signer.publish", "services.log.signer._complete_tiles"],
)  # fmt: skip
def test_a_crash_at_any_step_of_the_hand_over_leaves_it_to_be_done(
    conn: Connection[Any], folder: SignerFolder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    grow(conn, 2)
    sign_once(conn, folder)
    old, new = rotate(conn, folder)
    with monkeypatch.context() as broken, pytest.raises(Crash):
        broken.setattr(step, crash)
        sign_once(conn, folder)
    assert published(conn) == [2]
    recover(conn, folder)
    sign_once(conn, folder)
    grow(conn, 1)
    sign_once(conn, folder)
    assert [signers(conn, folder, size) for size in (2, 3, 4)] == [[old], [old, new], [new]]


def test_a_crash_while_the_next_key_is_made_leaves_no_half_of_one(
    folder: SignerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folder.verifier()
    for step in ("services.durable.write", "os.link"):
        with monkeypatch.context() as broken, pytest.raises(Crash):
            broken.setattr(step, crash)
            folder.next()
        assert folder.verifiers() == (old,)
    assert folder.next() != old


def forged_key() -> str:
    """A key that whoever wrote it has, and the signer has not."""
    return str(note.verifier_of(ORIGIN, Ed25519PrivateKey.generate()))


def stranger(folder: SignerFolder) -> LogKeyRotated:
    return LogKeyRotated(forged_key(), str(folder.verifier()), "Mine now")


def operator_of_their_own(folder: SignerFolder) -> RollbackAccepted:
    return RollbackAccepted(9, "r", "n", 2, "r", 2, forged_key(), "mallory", "Mine now")


@pytest.mark.parametrize(
    ("forged", "why"), [(stranger, "not in the signer's folder"), (operator_of_their_own, "no operator has accepted")]
)
def test_a_record_that_names_a_key_which_the_signer_lacks_is_not_signed(
    conn: Connection[Any], folder: SignerFolder, forged: Callable[[SignerFolder], Any], why: str
) -> None:
    grow(conn, 2)
    sign_once(conn, folder)
    tell(conn, forged(folder))
    with pytest.raises(LogRefused, match=why):
        sign_once(conn, folder)
    assert published(conn) == [2]


def test_a_record_of_the_logs_own_stream_that_cannot_be_read_is_not_signed(
    conn: Connection[Any], folder: SignerFolder
) -> None:
    append(conn, [b'{"position":0,"stream":"log-assent","version":1,"type":"Unheard"}'])
    with pytest.raises(LogRefused, match="cannot be read"):
        sign_once(conn, folder)


def test_what_another_stream_says_of_keys_is_nothing_to_the_signer(conn: Connection[Any], folder: SignerFolder) -> None:
    old, new = folder.verifier(), folder.next()
    append(conn, [b'{"position":0,"stream":"request-1","version":1,"data":{"use":"\\"stream\\":\\"log-assent\\""}}'])
    append(conn, [b'{"position":1,"stream":"request-1","version":2,"data":{"x":{"stream":"log-assent"}}}'])
    sign_once(conn, folder)
    assert (signers(conn, folder, 2), folder.verifier()) == ([old], old) != new


def test_a_folder_without_the_key_that_signs_is_refused_and_gets_no_new_one(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    grow(conn, 1)
    sign_once(conn, folder)
    (tmp_path / "signer" / "log.key").unlink()
    grow(conn, 1)
    for act in (lambda: sign_once(conn, folder), folder.next):
        with pytest.raises(LogRefused, match="not in the signer's folder"):
            act()
    assert folder.verifiers() == ()


def test_the_old_key_may_leave_once_it_has_handed_over(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    grow(conn, 2)
    sign_once(conn, folder)
    rotate(conn, folder)
    sign_once(conn, folder)
    (tmp_path / "signer" / "log.key").unlink()
    check(conn, folder)
    rotate(conn, folder)
    sign_once(conn, folder)
    assert published(conn) == [2, 3, 4]


def test_a_folder_of_the_first_edition_signs_with_its_only_key(
    conn: Connection[Any], folder: SignerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(conn, 2)
    sign_once(conn, folder)
    signed = folder.signed()
    assert signed is not None
    folder.keep(Signed(signed.size, signed.root, signed.frontier, signed.note))
    grow(conn, 1)
    check(conn, folder)
    sign_once(conn, folder)
    assert signers(conn, folder, 3) == [folder.verifier()]


def test_a_rotation_while_another_process_signs_is_handed_over_by_that_one(
    database: str, conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    """The signer has its folder and its connection; the one who rotates has others."""
    elsewhere = SignerFolder(tmp_path / "signer", ORIGIN)
    running = signer.Signer(database, folder)
    running.start()
    try:
        first = elsewhere.verifier()
        for _ in range(3):
            while elsewhere.next() in chain_keys(conn, first):
                assert running.failure is None
                os.sched_yield()
            rotate(conn, elsewhere)
            grow(conn, 1)
    finally:
        while published(conn)[-1:] != [6]:
            assert running.failure is None
            os.sched_yield()
        running.stop()
    chain, covered = chain_of(conn, first), 0
    for size, text in conn.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall():
        assert note.parse(text).verified_by(*chain.signers(size, covered))
        covered = size
    assert chain.at(6) == elsewhere.verifier() == elsewhere.verifiers()[-1]


def chain_keys(conn: Connection[Any], first: Verifier) -> set[Verifier]:
    """The keys that the records name, and the first."""
    return {chain_of(conn, first).at(size) for size in range(7)}


# The chain by itself

A, B, C = (note.verifier_of(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([nth] * 32))) for nth in range(3))


def test_a_chain_knows_who_signs_which_size_and_who_hands_over() -> None:
    chain = KeyChain(A)
    chain.rotated(4, str(A), None)
    chain.rotated(10, str(B), str(A))
    chain.rotated(11, str(C), str(B))
    assert [chain.at(size) for size in (0, 10, 11, 12, 99)] == [A, A, B, C, C]
    assert chain.signers(10) == (A,)
    assert chain.signers(11, 10) == (A, B)
    assert chain.signers(12, 10) == (A, B, C)
    assert chain.signers(12, 11) == (B, C)
    assert chain.signers(99, 12) == (C,)


def test_after_an_accepted_rollback_the_key_rests_on_that_record() -> None:
    chain = KeyChain(A)
    chain.rotated(10, str(B), str(A))
    chain.rolled_back(20, str(C))
    assert chain.signers(21, 20) == (C,)
    assert (chain.at(20), chain.at(21)) == (B, C)


@pytest.mark.parametrize("previous", [None, str(B), ""])
def test_a_rotation_that_does_not_go_on_from_the_key_before_it_breaks_the_chain(previous: str | None) -> None:
    with pytest.raises(NoteRefused, match="signed until then"):
        KeyChain(A).rotated(3, str(C), previous)


def test_a_key_of_another_log_breaks_the_chain() -> None:
    other = note.verifier_of("other.test/log", Ed25519PrivateKey.generate())
    with pytest.raises(NoteRefused, match="another log"):
        KeyChain(A).rotated(3, str(other), str(A))
