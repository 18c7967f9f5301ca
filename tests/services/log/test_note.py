"""Are checkpoints signed notes as C2SP describes them?"""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.log import note
from services.log.note import Checkpoint, Note, NoteRefused, Verifier

# The example of C2SP signed-note and of Go's golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
QUOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "assent.localhost/log"
HEAD = Checkpoint(NAME, 7, b"\x01" * 32)


def test_the_note_of_the_specification_verifies() -> None:
    assert note.parse(QUOTE).verified_by(Verifier.parse(PETER))
    assert str(note.parse(QUOTE)) == QUOTE
    assert str(Verifier.parse(PETER)) == PETER


def test_the_note_of_the_specification_changed_does_not_verify() -> None:
    assert not note.parse(QUOTE.replace("answer", "Answer")).verified_by(Verifier.parse(PETER))


def test_a_checkpoint_has_three_lines() -> None:
    assert str(HEAD) == f"assent.localhost/log\n7\n{b64encode(HEAD.root).decode()}\n"
    assert Checkpoint.parse(str(HEAD)) == HEAD
    assert Checkpoint.parse(str(HEAD) + "an extension\n") == HEAD


def test_what_was_signed_verifies_by_its_key_and_no_other() -> None:
    signed = note.sign(str(HEAD), NAME, KEY)
    other = Ed25519PrivateKey.generate()
    assert note.parse(str(signed)) == signed
    assert signed.verified_by(note.verifier_of(NAME, KEY))
    assert not signed.verified_by(note.verifier_of(NAME, other))
    assert not signed.verified_by(note.verifier_of("other.localhost/log", KEY))


def test_a_note_may_bear_the_signatures_of_several() -> None:
    witness = Ed25519PrivateKey.generate()
    first, second = note.sign(str(HEAD), NAME, KEY), note.sign(str(HEAD), "witness", witness)
    both = note.parse(str(Note(first.text, first.signatures + second.signatures)))
    log, seen_by = note.verifier_of(NAME, KEY), note.verifier_of("witness", witness)
    assert both.verified_by(log, seen_by)
    assert not first.verified_by(log, seen_by)


@pytest.mark.parametrize(
    "text",
    ["", "text\n", "text\n\n", "text\n\nno dash name c2ln\n", "text\n\n— name\n", "text\n\n— name !!\n",
     "text\n\n— name AAAA\n", "text\n\n— na+me AAAAAAAA\n", "text\n\n— name AAAAAAAA"],
)  # fmt: skip
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        note.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "origin\n", "origin\n7\n", "\n7\nAAAA\n", "origin\n-7\nAAAA\n", "origin\n07\nAAAA\n", "origin\n7\nAAAA\n",
     "origin\n7\n!\n", "origin\n٧\nAAAA\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        Checkpoint.parse(text)


@pytest.mark.parametrize("text", ["", "name", "name+00000000+AAAA", PETER.replace("c74f", "c74e"), PETER[:-4] + "AAAA"])
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        Verifier.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\tb"])
def test_a_name_that_a_signature_line_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a key"):
        note.sign(str(HEAD), name, KEY)
