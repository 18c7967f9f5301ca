"""What does the signer keep outside the database: its keys, and what it signed last?

A folder only its owner may read. Every file in it is durable before anything relies on it, and none is ever changed:
keys are numbered in the order in which they sign, and `signed.json` is replaced as a whole.
"""

import fcntl
import os
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.log import note
from services.log.note import Verifier

_KEY_FILE = re.compile(r"log(?:\.(\d+))?\.key")


class LogRefused(Exception):
    """The log is not what was signed. The message says what differs, and what an operator can do."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed last: the head, the right edge of its tree, the note, and the verifier key that signs from there.

    Without a key (as written by the first edition), that is the first one.
    """

    size: int
    root: bytes
    frontier: bytes
    note: str
    key: str = ""


class SignerFolder:
    """The folder outside the database: the keys, and what was signed last."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder = folder
        self.origin = origin

    # Keys: `log.key` is the first, `log.2.key` the one after it. A key is there before the log names it.

    def verifier(self) -> Verifier:
        """The key that signs now; the first is made on first use, whoever comes first."""
        signed = self.signed()
        return Verifier.parse(signed.key) if signed else self._verifier(self._made(1))

    def next(self) -> Verifier:
        """The key that signs after this one, the same for all who ask; made on first use. Raises LogRefused."""
        current = self.verifier()
        number = next((nth for nth, key in self._keys().items() if self._verifier(key) == current), None)
        if number is None:
            raise _lacks(str(current))
        return self._verifier(self._made(number + 1))

    def verifiers(self) -> tuple[Verifier, ...]:
        """Every key of this folder, in the order in which they sign."""
        return tuple(map(self._verifier, self._keys().values()))

    def key(self, verifier: str) -> Ed25519PrivateKey:
        """The private half of a verifier key. Raises LogRefused where it is not here."""
        found = next((key for key in self._keys().values() if str(self._verifier(key)) == verifier), None)
        if found is None:
            raise _lacks(verifier)
        return found

    def _verifier(self, key: Ed25519PrivateKey) -> Verifier:
        return note.verifier_of(self.origin, key)

    def _keys(self) -> dict[int, Ed25519PrivateKey]:
        files = ((_KEY_FILE.fullmatch(path.name), path) for path in self._folder.glob("log*.key"))
        return {int(match[1] or 1): _read_key(path) for match, path in sorted(files, key=_number) if match}

    def _made(self, number: int) -> Ed25519PrivateKey:
        """The key of that number. Of several that make it at once one succeeds, and all get that one."""
        path = self._folder / ("log.key" if number == 1 else f"log.{number}.key")
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._folder / f"{path.name}.{os.getpid()}.{threading.get_ident()}"
            _write_durably(fresh, b64encode(Ed25519PrivateKey.generate().private_bytes_raw()))
            with suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
            _sync_folder(self._folder)
        return _read_key(path)

    # What was signed

    @property
    def _signed_path(self) -> Path:
        return self._folder / "signed.json"

    def signed(self) -> Signed | None:
        """What was signed last, or None before the first time."""
        try:
            found = msgspec.json.decode(self._signed_path.read_bytes(), type=Signed)
        except FileNotFoundError:
            return None
        return found if found.key else replace(found, key=str(self._verifier(self._made(1))))

    def keep(self, signed: Signed) -> None:
        """Durable when it returns; a crash leaves the old one or the new one."""
        fresh = self._signed_path.with_suffix(".new")
        _write_durably(fresh, msgspec.json.encode(signed))
        fresh.replace(self._signed_path)
        _sync_folder(self._folder)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Whether this process may sign from this folder now: no other does."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _number(file: tuple[re.Match[str] | None, Path]) -> int:
    return int(file[0][1] or 1) if file[0] else 0


def _read_key(path: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(b64decode(path.read_bytes()))


def _lacks(verifier: str) -> LogRefused:
    return LogRefused(
        f"The log is signed with the key {verifier}, which is not in the signer's folder. Restore that folder "
        "(ASSENT_DATA/signer) from its backup."
    )


def _write_durably(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
