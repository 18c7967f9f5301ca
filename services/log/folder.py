"""What does the signer keep outside the database: its keys, what it signed last, and what it was made to give up?

A folder only its owner may read. Every file in it is durable before anything relies on it. Keys are numbered in the
order in which they sign, and never change; `signed.json` is replaced as a whole; `overrides.jsonl` only grows.
"""

import fcntl
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.log import RollbackAccepted
from services import durable
from services.log import note
from services.log.note import Verifier

_KEY_FILE = re.compile(r"log(?:\.(\d+))?\.key")


class LogRefused(Exception):
    """The log is not what was signed. The message says what differs, and what an operator can do."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed last: the head, the right edge of its tree, the note, and the verifier key that signs from there.

    Without a key (as written by the first edition), that is the first one. `accepted`: an operator had the signer go on
    from here, and nothing was signed since; there is no note then, and the log's next record is to be this.
    """

    size: int
    root: bytes
    frontier: bytes
    note: str
    key: str = ""
    accepted: RollbackAccepted | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an operator had the signer give up, for what, and when."""

    at: datetime
    gave_up: Signed | None
    accepted: RollbackAccepted


class SignerFolder:
    """The folder outside the database."""

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

    def key_to_go_on(self) -> Verifier:
        """The key that signs now, or a new one where its private half is lost."""
        current, keys = self.verifier(), self._keys()
        if current in map(self._verifier, keys.values()):
            return current
        return self._verifier(self._made(max(keys, default=1) + 1))

    def _verifier(self, key: Ed25519PrivateKey) -> Verifier:
        return note.verifier_of(self.origin, key)

    def _keys(self) -> dict[int, Ed25519PrivateKey]:
        files = ((_KEY_FILE.fullmatch(path.name), path) for path in self._folder.glob("log*.key"))
        return {int(match[1] or 1): _key(path.read_bytes()) for match, path in sorted(files, key=_number) if match}

    def _made(self, number: int) -> Ed25519PrivateKey:
        """The key of that number. Of several that make it at once one succeeds, and all get that one."""
        path = self._folder / ("log.key" if number == 1 else f"log.{number}.key")
        return _key(durable.made_once(path, lambda: b64encode(Ed25519PrivateKey.generate().private_bytes_raw())))

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
        except msgspec.DecodeError as error:
            raise LogRefused(
                f"{self._signed_path} cannot be read ({error}). Restore its latest copy; where there is none, move it "
                "away, and see what docs/log.md says of `assent log override`."
            ) from error
        return found if found.key else replace(found, key=str(self._verifier(self._made(1))))

    def keep(self, signed: Signed) -> None:
        """Durable when it returns; a crash leaves the old one or the new one."""
        durable.replace(self._signed_path, msgspec.json.encode(signed))

    # What was given up

    @property
    def _evidence_path(self) -> Path:
        return self._folder / "overrides.jsonl"

    def keep_evidence(self, at: datetime, gave_up: Signed | None, accepted: RollbackAccepted) -> None:
        """Add a line, durably, to a file that only grows."""
        durable.append(self._evidence_path, msgspec.json.encode(Evidence(at, gave_up, accepted)))

    def evidence(self) -> list[Evidence]:
        """Every line, oldest first. One that a crash cut short never took effect."""
        found: list[Evidence] = []
        with suppress(FileNotFoundError):
            for line in self._evidence_path.read_bytes().splitlines():
                with suppress(msgspec.DecodeError):
                    found.append(msgspec.json.decode(line, type=Evidence))
        return found

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


def _key(content: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(b64decode(content))


def _lacks(verifier: str) -> LogRefused:
    return LogRefused(
        f"The log is signed with the key {verifier}, which is not in the signer's folder. Restore that folder "
        "(ASSENT_DATA/signer) from its backup."
    )
