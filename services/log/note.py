"""How is a tree head signed, and who signed it? C2SP signed notes, tlog checkpoints and cosignatures, Ed25519."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ED25519 = b"\x01"
"""The type of a key that signs notes as they are."""

COSIGNATURE = b"\x04"
"""The type of a witness's key: its signatures bear the time at which they were made (C2SP tlog-cosignature v1)."""

KEY_ID_BYTES = 4
SECONDS_MAX = 2**63 - 1
_SECONDS_BYTES = 8
_DASH = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteRefused(ValueError):
    """The note is malformed, or not signed by that key."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A name, its public key (32 bytes) and the key's type. Written `name+id+key`, as C2SP verifier keys are."""

    name: str
    public: bytes
    kind: bytes = ED25519

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + self.kind + self.public).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(self.kind + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Raises NoteRefused."""
        try:
            name, key_id, key = text.split("+", 2)
            raw = decoded(key)
        except ValueError as error:
            raise NoteRefused("A verifier key is name+id+key.") from error
        verifier = cls(name, raw[1:], raw[:1])
        if verifier.kind not in (ED25519, COSIGNATURE) or len(raw) != 33 or verifier.id.hex() != key_id:
            raise NoteRefused("The verifier key is not an Ed25519 key with that id.")
        if _NAME.fullmatch(name) is None:
            raise NoteRefused("A key's name has characters, none of them a space or a plus sign.")
        return verifier

    def verifies(self, text: str, signature: bytes) -> bool:
        if self.kind == COSIGNATURE:
            seconds = int.from_bytes(signature[:_SECONDS_BYTES])
            if not 0 < seconds <= SECONDS_MAX:
                return False
            text, signature = _cosigned(text, seconds), signature[_SECONDS_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


def decoded(text: str) -> bytes:
    """The bytes of base64 in its one spelling. Raises NoteRefused."""
    try:
        raw = b64decode(text, validate=True)
    except ValueError as error:
        raise NoteRefused(f"{text[:64]!r} is not base64.") from error
    if b64encode(raw).decode() != text:
        raise NoteRefused(f"{text[:64]!r} is not base64 as it should be spelt.")
    return raw


def number(text: str) -> int:
    """A size in decimal, without sign or leading zeroes, below 10^18. Raises NoteRefused."""
    if _NUMBER.fullmatch(text) is None:
        raise NoteRefused(f"{text[:64]!r} is not the size of a log.")
    return int(text)


def _cosigned(text: str, seconds: int) -> str:
    """What a witness signs of a checkpoint's text at a time."""
    return f"cosignature/v1\ntime {seconds}\n{text}"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note: who says to have signed, with which key."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A signed text, which ends with a newline, and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))

    def verified_by(self, *verifiers: Verifier) -> bool:
        """Whether every one of them signed it; signatures of others are ignored, a wrong one of theirs is not."""
        return all(self._is_signed_by(verifier) for verifier in verifiers)

    def verified_by_some_of(self, verifiers: Iterable[Verifier]) -> bool:
        """Whether at least one of them signed it, and no signature of any of them is wrong."""
        named = [verifier for verifier in verifiers if self._of(verifier)]
        return bool(named) and self.verified_by(*named)

    def _is_signed_by(self, verifier: Verifier) -> bool:
        theirs = self._of(verifier)
        return bool(theirs) and all(verifier.verifies(self.text, each.signature) for each in theirs)

    def _of(self, verifier: Verifier) -> list["Signature"]:
        return [each for each in self.signatures if (each.name, each.key_id) == (verifier.name, verifier.id)]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of the log: its origin (its name), its size and its root."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The first three lines of a note's text; further lines are extensions. Raises NoteRefused."""
        *lines, end = text.split("\n")
        if len(lines) < 3 or end or not all(lines):
            raise NoteRefused("A checkpoint has the lines origin, size and root; none is empty.")
        size, root = number(lines[1]), decoded(lines[2])
        if len(root) != 32:
            raise NoteRefused("A checkpoint's root is 32 bytes long.")
        return cls(lines[0], size, root)


class KeyChain:
    """Which key signs a log of which size: the first, which a verifier trusts, and those that the log's records name.

    Told of the records in order of position. What they say is proved by checkpoints that the keys before have signed,
    so whoever trusts the first key can trust the others; only where an operator accepted a rollback, the key from there
    on rests on that record alone.
    """

    def __init__(self, first: Verifier) -> None:
        self._named: list[tuple[int, Verifier, bool]] = [(-1, first, True)]

    def rotated(self, position: int, key: str, previous: str | None) -> None:
        """LogKeyRotated, at that position. Raises NoteRefused where it does not go on from the key before it."""
        current = str(self.at(position))
        if previous is None and key == current:
            return
        if previous != current:
            raise NoteRefused(f"Position {position} rotates from {previous}, but {current} signed until then.")
        self._name(position, key, handed_over=True)

    def rolled_back(self, position: int, key: str) -> None:
        """RollbackAccepted, at that position. Raises NoteRefused."""
        self._name(position, key, handed_over=False)

    def _name(self, position: int, key: str, handed_over: bool) -> None:
        verifier = Verifier.parse(key)
        if (verifier.name, verifier.kind) != (self._named[0][1].name, ED25519):
            raise NoteRefused(f"Position {position} names a key of {verifier.name}, which is another log's.")
        self._named.append((position, verifier, handed_over))

    def at(self, size: int) -> Verifier:
        """The key that signs a log of that size."""
        return next(key for position, key, _ in reversed(self._named) if position < size)

    def signers(self, size: int, covered: int = 0) -> tuple[Verifier, ...]:
        """Who must have signed the checkpoint of that size, where the one before it was of the size `covered`.

        More than one where a rotation was recorded in between: the key before hands over to the one after.
        """
        signers = [self.at(covered)]
        for position, key, handed_over in self._named:
            if covered <= position < size:
                signers = [*signers, key] if handed_over else [key]
        return tuple(dict.fromkeys(signers))


def verifier_of(name: str, private: Ed25519PrivateKey, kind: bytes = ED25519) -> Verifier:
    """A key name has no spaces and no plus sign."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot name a key: it needs characters, none of them a space or a plus sign.")
    return Verifier(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), kind)


def sign(text: str, name: str, *privates: Ed25519PrivateKey) -> Note:
    """The note with a signature of each key, all under one name. The text ends with a newline."""
    if not text.endswith("\n"):
        raise ValueError("A note's text ends with a newline.")
    signed = text.encode()
    return Note(text, tuple(Signature(name, verifier_of(name, each).id, each.sign(signed)) for each in privates))


def cosign(text: str, name: str, private: Ed25519PrivateKey, seconds: int) -> Signature:
    """A witness's signature on a checkpoint's text, at a time in seconds since 1970."""
    if not 0 < seconds <= SECONDS_MAX:
        raise ValueError(f"{seconds} is not a time at which one can sign.")
    signature = seconds.to_bytes(_SECONDS_BYTES) + private.sign(_cosigned(text, seconds).encode())
    return Signature(name, verifier_of(name, private, COSIGNATURE).id, signature)


def parse(note: str) -> Note:
    """Raises NoteRefused. It says nothing about whether the signatures are right."""
    if _CONTROL.search(note):
        raise NoteRefused("A note has no control characters but newlines.")
    text, blank, lines = note.rpartition("\n\n")
    if not blank:
        raise NoteRefused("A note is a text, an empty line and signature lines.")
    return Note(text + "\n", signatures_of(lines))


def signatures_of(lines: str) -> tuple[Signature, ...]:
    """Signature lines, each with its newline; at least one. Raises NoteRefused."""
    if not lines.endswith("\n"):
        raise NoteRefused("A signature line ends with a newline.")
    return tuple(_signature(line) for line in lines[:-1].split("\n"))


def _signature(line: str) -> Signature:
    name, space, rest = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or _NAME.fullmatch(name) is None:
        raise NoteRefused("A signature line is an em dash, a key name and base64.")
    raw = decoded(rest)
    if len(raw) <= KEY_ID_BYTES:
        raise NoteRefused("A signature starts with the id of its key.")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])
