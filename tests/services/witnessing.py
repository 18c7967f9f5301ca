"""How do the tests make logs that are honest or forked, and witnesses that are processes or die at a step?"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.log import note
from services.log.merkle import leaf_hash
from services.log.note import Checkpoint, Note, Verifier
from services.log.submission import Submission
from tests.services.log.test_merkle import honest, naive_root

ROOT = Path(__file__).parents[2]
ORIGIN = "assent.localhost/log"
NAME = "assent.localhost/witness"


class PaperLog:
    """A log on paper: it can be of any size, fork, and sign with any of its keys."""

    def __init__(self, origin: str = ORIGIN, keys: int = 1) -> None:
        self.origin = origin
        self.keys = [Ed25519PrivateKey.generate() for _ in range(keys)]
        self._leaves = [leaf_hash(b"record %d" % position) for position in range(64)]

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        return tuple(note.verifier_of(self.origin, key) for key in self.keys)

    def forked(self, position: int) -> "PaperLog":
        """The same log, with the same keys, whose records differ from there on."""
        other = PaperLog(self.origin, 0)
        other.keys = self.keys
        other._leaves[position:] = [leaf_hash(b"other %d" % each) for each in range(position, 64)]
        return other

    def root(self, size: int) -> bytes:
        return naive_root(self._leaves[:size])

    def note(self, size: int, key: int = 0) -> Note:
        return note.sign(str(Checkpoint(self.origin, size, self.root(size))), self.origin, self.keys[key])

    def proof(self, old: int, size: int) -> list[bytes]:
        return honest(0, old, self._leaves[:size]) if 0 < old < size else []

    def submission(self, old: int, size: int, key: int = 0) -> bytes:
        return str(Submission(old, self.proof(old, size), self.note(size, key))).encode()


@contextmanager
def witness_process(
    folder: Path, logs: tuple[Verifier, ...], port: int = 0, name: str = NAME, dies: str = ""
) -> Iterator[tuple[subprocess.Popen[str], str, Verifier]]:
    """A witness of its own: the process, its address and its key. `dies`: a moment of dying_witness.py."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASSENT_")}
    own = {
        "PYTHONPATH": str(ROOT),
        "ASSENT_DATA": str(folder),
        "ASSENT_PORT": str(port),
        "ASSENT_WITNESS_NAME": name,
        "ASSENT_WITNESS_LOGS": " ".join(map(str, logs)),
    }
    program = ["tests/services/dying_witness.py", dies] if dies else ["-P", "-m", "services.cli", "witness"]
    process = subprocess.Popen(
        [sys.executable, *program], stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**kept, **own}
    )
    try:
        assert process.stdout is not None
        printed = process.stdout.readline()
        found = re.fullmatch(r"The witness (\S+) answers at (\S+)\n", printed)
        assert found is not None, f"it did not start: {printed}"
        yield process, found[2], Verifier.parse(found[1])
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
