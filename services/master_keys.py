"""Which master key wraps the keys of people, and how does one that has wrapped an erased key come to nothing?

A backup of the database still holds the wrapped key of somebody who was erased since. So every erasure makes a new
master key, wraps with it the keys that remain, and destroys the one before: what older backups hold, nobody unwraps.
The masters are files of a folder outside the database, one a generation, that only we may read.
"""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import Refused
from services.durable import made_once, sync_folder

KEY_BYTES = 32
NONCE_BYTES = 12

NAME = "master"
"""The file of generation 0; those after it are `master.1`, `master.2`, …"""


class MasterKeyMissing(Refused):
    """The folder lacks the master key that the database's keys are wrapped with."""

    status, rule, title = 503, "storage", "Sealed texts cannot be opened"


class MasterKeys:
    """The folder of master keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[int, AESGCM] = {}

    def make(self, generation: int) -> None:
        """A new key of that generation, durably; one that is there stays, whoever came first."""
        made_once(self._path(generation), lambda: os.urandom(KEY_BYTES))

    def discard(self, generation: int) -> None:
        """Destroy a key: its bytes are overwritten where they stand, then the file goes. Fine where there is none."""
        self._loaded.pop(generation, None)
        path = self._path(generation)
        with suppress(FileNotFoundError):
            with path.open("r+b") as file:
                file.write(os.urandom(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
            sync_folder(self._folder)

    def discard_before(self, generation: int) -> None:
        """Destroy every key that is older."""
        for found in self._generations():
            if found < generation:
                self.discard(found)

    def newest(self) -> int:
        """The newest generation that there is a file of; -1 where there is none."""
        return max(self._generations(), default=-1)

    def _generations(self) -> list[int]:
        found = (_generation(path.name) for path in self._folder.glob(f"{NAME}*"))
        return [generation for generation in found if generation is not None]

    def wrap(self, generation: int, key: bytes, person: str) -> bytes:
        """Nonce ‖ ciphertext ‖ tag. Raises MasterKeyMissing."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._of(generation).encrypt(nonce, key, person.encode())

    def unwrap(self, generation: int, wrapped: bytes, person: str) -> bytes:
        """Raises MasterKeyMissing, also where the key was wrapped by another master."""
        try:
            return self._of(generation).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], person.encode())
        except InvalidTag:
            raise MasterKeyMissing(
                f"{person}'s key was wrapped by another master key than the one in {self._folder}: the database is "
                "from before an erasure, or the folder is another's.",
                "the database and the folder of one installation",
            ) from None

    def _of(self, generation: int) -> AESGCM:
        if generation not in self._loaded:
            try:
                self._loaded[generation] = AESGCM(self._path(generation).read_bytes())
            except FileNotFoundError:
                raise MasterKeyMissing(
                    f"{self._folder} lacks the master key of generation {generation}. Restore the newest copy of that "
                    "folder; one from before the last erasure opens nothing.",
                    f"master key {generation}",
                ) from None
        return self._loaded[generation]

    def _path(self, generation: int) -> Path:
        return self._folder / (f"{NAME}.{generation}" if generation else NAME)


def _generation(name: str) -> int | None:
    number = name.removeprefix(NAME).removeprefix(".")
    return int(number or 0) if number.isdecimal() or name == NAME else None
