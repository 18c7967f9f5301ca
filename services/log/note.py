"""How is a tree head signed, and who signed it? C2SP signed notes and tlog checkpoints, Ed25519."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ED25519 = b"\x01"
"""The signature type that precedes a public key."""

KEY_ID_BYTES = 4
_DASH = "\N{EM DASH} "


class NoteRefused(ValueError):
    """The note is malformed, or not signed by that key."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A name and its public key (32 bytes). Written `name+id+key`, as C2SP verifier keys are."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Raises NoteRefused."""
        try:
            name, key_id, key = text.split("+", 2)
            raw = b64decode(key, validate=True)
        except ValueError as error:
            raise NoteRefused("A verifier key is name+id+key.") from error
        verifier = cls(name, raw[1:])
        if raw[:1] != ED25519 or len(raw) != 33 or verifier.id.hex() != key_id:
            raise NoteRefused("The verifier key is not an Ed25519 key with that id.")
        return verifier

    def verifies(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


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

    def _is_signed_by(self, verifier: Verifier) -> bool:
        theirs = [each for each in self.signatures if (each.name, each.key_id) == (verifier.name, verifier.id)]
        return bool(theirs) and all(verifier.verifies(self.text, each.signature) for each in theirs)


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
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not lines[1].isascii() or not lines[1].isdecimal():
            raise NoteRefused("A checkpoint has the lines origin, size and root.")
        if lines[1] != str(int(lines[1])):
            raise NoteRefused("A checkpoint's size has no leading zeroes.")
        try:
            root = b64decode(lines[2], validate=True)
        except Base64Error as error:
            raise NoteRefused("A checkpoint's root is in base64.") from error
        if len(root) != 32:
            raise NoteRefused("A checkpoint's root is 32 bytes long.")
        return cls(lines[0], int(lines[1]), root)


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
        if verifier.name != self._named[0][1].name:
            raise NoteRefused(f"Position {position} names a key of {verifier.name}, which is another log.")
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


def verifier_of(name: str, private: Ed25519PrivateKey) -> Verifier:
    """A key name has no spaces and no plus sign."""
    if not name or "+" in name or any(each.isspace() for each in name):
        raise ValueError(f"{name!r} cannot name a key: it needs characters, none of them a space or a plus sign.")
    return Verifier(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def sign(text: str, name: str, *privates: Ed25519PrivateKey) -> Note:
    """The note with a signature of each key, all under one name. The text ends with a newline."""
    if not text.endswith("\n"):
        raise ValueError("A note's text ends with a newline.")
    signed = text.encode()
    return Note(text, tuple(Signature(name, verifier_of(name, each).id, each.sign(signed)) for each in privates))


def parse(note: str) -> Note:
    """Raises NoteRefused. It says nothing about whether the signatures are right."""
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteRefused("A note is a text, an empty line and signature lines.")
    return Note(text + "\n", tuple(_signature(line) for line in lines[:-1].split("\n")))


def _signature(line: str) -> Signature:
    name, space, rest = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not name or "+" in name:
        raise NoteRefused("A signature line is an em dash, a key name and base64.")
    try:
        raw = b64decode(rest, validate=True)
    except Base64Error as error:
        raise NoteRefused("A signature is in base64.") from error
    if len(raw) <= KEY_ID_BYTES:
        raise NoteRefused("A signature starts with the id of its key.")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])
