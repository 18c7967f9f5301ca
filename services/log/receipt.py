"""Is what a receipt promised true? Answered from what its holder has in hand: no service, no database, no clock."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from services.log import note
from services.log.merkle import ProofRefused, leaf_hash, verify_inclusion
from services.log.note import Checkpoint, Note, NoteRefused, Verifier

T = TypeVar("T", bound=msgspec.Struct)


class Receipt(msgspec.Struct):
    """Where the last event of an answer is in the log: its position, its leaf in base64, the log's size after it."""

    position: int
    leaf: str
    size: int


class Proof(msgspec.Struct):
    """That a leaf is in the log whose signed checkpoint is enclosed. Hashes are in base64."""

    position: int
    leaf: str
    size: int
    root: str
    hashes: list[str]
    checkpoint: str


class _Wrong(Exception):
    """The first thing that does not hold, in a sentence."""


def first_wrong(
    record: bytes | None,
    receipt: Mapping[str, Any],
    proof: Mapping[str, Any],
    checkpoint: str,
    key: Verifier,
    witnesses: Sequence[Verifier] = (),
) -> str | None:
    """The first thing that is wrong, in a sentence; None where everything holds.

    record: the bytes that were hashed, as an entry bundle has them. None for those who may not read it: then the
    receipt's leaf is taken as it is. receipt, proof: as a command and `/log/proof/{position}` answered them.
    checkpoint: the signed note that the proof leads to. key: the log's, from a source that is not the log.
    witnesses: those whose cosignatures the checkpoint must bear as well.
    """
    try:
        _check(record, _read(receipt, Receipt), _read(proof, Proof), _signed(checkpoint, key, witnesses))
    except (_Wrong, ProofRefused) as wrong:
        return str(wrong)
    return None


def _check(record: bytes | None, receipt: Receipt, proof: Proof, head: Checkpoint) -> None:
    if record is not None:
        _check_record(record, receipt)
    if not 0 <= receipt.position < receipt.size:
        raise _Wrong(f"The receipt's position {receipt.position} is not in a log of its size {receipt.size}.")
    if receipt.size > head.size:
        raise _Wrong(f"The checkpoint is of size {head.size}, older than the receipt, which is of size {receipt.size}.")
    if (proof.position, proof.leaf) != (receipt.position, receipt.leaf):
        raise _Wrong("The proof is of another position or leaf than the receipt.")
    if (proof.size, _hash(proof.root)) != (head.size, head.root):
        raise _Wrong("The proof leads to another size or root than the checkpoint's.")
    hashes = [_hash(each) for each in proof.hashes]
    verify_inclusion(_hash(receipt.leaf), receipt.position, head.size, head.root, hashes)


def _check_record(record: bytes, receipt: Receipt) -> None:
    if leaf_hash(record) != _hash(receipt.leaf):
        raise _Wrong("The record does not hash to the receipt's leaf.")
    try:
        says = msgspec.json.decode(record)["position"]
    except (msgspec.DecodeError, LookupError, TypeError):
        raise _Wrong("The record is not one of the log's: it names no position.") from None
    if says != receipt.position:
        raise _Wrong(f"The record says that it is at position {says}, the receipt says {receipt.position}.")


def _signed(checkpoint: str, key: Verifier, witnesses: Sequence[Verifier]) -> Checkpoint:
    """What the checkpoint says, once all signatures asked for were verified."""
    try:
        signed = note.parse(checkpoint)
        _check_signatures(signed, key, witnesses)
        head = Checkpoint.parse(signed.text)
    except NoteRefused as refused:
        raise _Wrong(str(refused)) from None
    if head.origin != key.name:
        raise _Wrong(f"The checkpoint is of the log {head.origin}, the key of {key.name}.")
    return head


def _check_signatures(signed: Note, key: Verifier, witnesses: Sequence[Verifier]) -> None:
    if not signed.verified_by(key):
        raise _Wrong(f"The checkpoint is not signed by the log's key {key.name}+{key.id.hex()}.")
    for witness in witnesses:
        if not signed.verified_by(witness):
            raise _Wrong(f"The checkpoint bears no cosignature of {witness.name}+{witness.id.hex()}.")


def _read(given: Mapping[str, Any], shape: type[T]) -> T:
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        raise _Wrong(f"The {shape.__name__.lower()} is malformed: {error}.") from None


def _hash(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise _Wrong(f"{text[:64]!r} is not base64.") from None
