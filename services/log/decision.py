"""What was a gateway told, on which facts of the log does it rest, and does that hold? Checked offline.

A statement is a signed note (C2SP) by the log's key: a line that says what it is, the log's origin, and one line of
JSON. It names each fact by position and leaf, so proofs lead from it to any checkpoint that covers them.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from services.log import note
from services.log.folder import SignerFolder
from services.log.note import NoteRefused, Verifier
from services.log.receipt import first_wrong as first_wrong_in_log

TITLE = "assent decision v1"
"""The first line. A checkpoint begins with its log's origin, so neither passes for the other."""


class Leaf(msgspec.Struct, frozen=True):
    """A fact of the log: its position, and its leaf in base64."""

    position: int
    leaf: str


class Statement(msgspec.Struct, frozen=True):
    """At `decided` (our clock), of a log followed up to `position`: may this customer do this, and why?"""

    decided: datetime
    position: int
    subject: dict[str, Any]
    action: dict[str, Any]
    resource: dict[str, Any]
    decision: bool
    reason: str
    because: tuple[Leaf, ...]
    valid_until: datetime | None = None
    phase: str | None = None
    grant: str | None = None
    directive: str | None = None
    conditions: tuple[int, ...] = ()


def signed(statement: Statement, folder: SignerFolder) -> str:
    """The note, signed with the key that signs the log now. Raises LogRefused where its private half is not here."""
    key = folder.verifier()
    line = msgspec.json.encode(statement).decode()
    return str(note.sign(f"{TITLE}\n{key.name}\n{line}\n", key.name, folder.key(str(key))))


def read(text: str, key: Verifier) -> Statement:
    """What a note states. Raises NoteRefused where it is none, or not signed by that key."""
    found = note.parse(text)
    if not found.verified_by(key):
        raise NoteRefused(f"The decision is not signed by the log's key {key.name}+{key.id.hex()}.")
    title, _, rest = found.text.partition("\n")
    origin, _, line = rest.partition("\n")
    if title != TITLE:
        raise NoteRefused(f"The note is no decision: its first line is not {TITLE!r}.")
    if origin != key.name:
        raise NoteRefused(f"The decision is of the log {origin}, the key of {key.name}.")
    try:
        return msgspec.json.decode(line, type=Statement)
    except msgspec.MsgspecError as error:
        raise NoteRefused(f"The decision cannot be read: {error}.") from None


def first_wrong(
    text: str,
    key: Verifier,
    proofs: Collection[Mapping[str, Any]] = (),
    checkpoint: str = "",
    witnesses: Sequence[Verifier] = (),
) -> str | None:
    """The first thing that is wrong about a decision, in a sentence; None where everything holds.

    text: `context.receipt` of an evaluation. key: the log's, from a source that is not the log. proofs: as
    `/log/proof/{position}` answered them, one for each fact that it rests on. checkpoint: the signed note that they
    lead to. witnesses: those whose cosignatures the checkpoint must bear as well.
    """
    try:
        statement = read(text, key)
    except NoteRefused as refused:
        return str(refused)
    by_position = {proof.get("position"): proof for proof in proofs}
    for fact in statement.because:
        if fact.position > statement.position:
            return f"It rests on position {fact.position}, and was decided as of {statement.position}."
        if fact.position not in by_position:
            return f"There is no proof of position {fact.position}, on which it rests."
        receipt = {"position": fact.position, "leaf": fact.leaf, "size": fact.position + 1}
        wrong = first_wrong_in_log(None, receipt, by_position[fact.position], checkpoint, key, witnesses)
        if wrong is not None:
            return wrong
    return None
