"""Who signed this? C2SP signed notes and the checkpoints of a log, verified with keys that are known beforehand."""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = b"\x01"
KEY_ID_BYTES = 4
SIZE_DIGITS_MAX = 18
DASH = "\N{EM DASH} "


class NoteRefused(ValueError):
    """The note is malformed, or none of the known keys signed it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A log's key: its name and 32 bytes. Written `name+id+key`, as `./run log key` prints it."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:KEY_ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Raises NoteRefused."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not parts[0]:
            raise NoteRefused("A log's key is name+id+key.")
        raw = decoded(parts[2])
        key = cls(parts[0], raw[1:])
        if raw[:1] != ED25519 or len(raw) != 33 or key.id.hex() != parts[1]:
            raise NoteRefused("That is not an Ed25519 key with that id.")
        return key

    def signed(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: its name, how many events it has, and the root of its tree (32 bytes)."""

    origin: str
    size: int
    root: bytes


def keys_of(texts: str | Iterable[str]) -> tuple[Key, ...]:
    """The keys, written one by one or as a single text. Raises NoteRefused."""
    return tuple(Key.parse(text) for text in ([texts] if isinstance(texts, str) else texts))


def signed_text(note: str, keys: Iterable[Key]) -> str:
    """The note's text, which at least one of these keys signed, and for none of them the signature is wrong.

    Signatures of others (witnesses, say) are ignored. Raises NoteRefused.
    """
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteRefused("A note is a text, an empty line and signature lines.")
    text += "\n"
    known = {(key.name, key.id): key for key in keys}
    count = 0
    for line in lines[:-1].split("\n"):
        name, space, rest = line.removeprefix(DASH).partition(" ")
        if not line.startswith(DASH) or not space:
            raise NoteRefused("A signature line is an em dash, a key's name and base64.")
        raw = decoded(rest)
        key = known.get((name, raw[:KEY_ID_BYTES]))
        if key is None:
            continue
        if not key.signed(text, raw[KEY_ID_BYTES:]):
            raise NoteRefused(f"The signature of {name}+{key.id.hex()} is wrong.")
        count += 1
    if not count:
        raise NoteRefused("None of the known keys signed it.")
    return text


def checkpoint_of(note: str, keys: Iterable[Key]) -> Checkpoint:
    """What a signed checkpoint says of the log whose key signed it. Raises NoteRefused."""
    keys = tuple(keys)
    lines = signed_text(note, keys).split("\n")
    if len(lines) < 4 or not all(lines[:3]):
        raise NoteRefused("A checkpoint has the lines origin, size and root.")
    origin, size, root = lines[0], lines[1], decoded(lines[2])
    is_number = size.isascii() and size.isdigit() and (size == "0" or size[0] != "0")
    if not is_number or len(size) > SIZE_DIGITS_MAX or len(root) != 32:
        raise NoteRefused("A checkpoint's size is a number, its root 32 bytes.")
    if origin not in {key.name for key in keys}:
        raise NoteRefused(f"The checkpoint is of the log {origin}, which is another.")
    return Checkpoint(origin, int(size), root)


def decoded(text: str) -> bytes:
    """The bytes of base64 in its one spelling. Raises NoteRefused."""
    try:
        raw = b64decode(text, validate=True)
    except ValueError as error:
        raise NoteRefused(f"{text[:64]!r} is not base64.") from error
    if b64encode(raw).decode() != text:
        raise NoteRefused(f"{text[:64]!r} is not base64 as it should be spelt.")
    return raw
