"""How is a checkpoint put before a witness? The body of add-checkpoint, as C2SP tlog-witness has it."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from services.log import note
from services.log.merkle import HASH_BYTES
from services.log.note import Checkpoint, Note, NoteRefused

PATH = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
"""The media type of the answer that tells the size the witness knows."""

HASHES_MAX = 63
BODY_BYTES_MAX = 16_384
"""Of a submission, and of what a witness answers."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The size that the witness knows, the proof that leads from there to the checkpoint, and the checkpoint's note."""

    old: int
    proof: Sequence[bytes]
    note: Note

    def __str__(self) -> str:
        hashes = "".join(f"{b64encode(each).decode()}\n" for each in self.proof)
        return f"old {self.old}\n{hashes}\n{self.note}"

    @property
    def checkpoint(self) -> Checkpoint:
        """Raises NoteRefused."""
        return Checkpoint.parse(self.note.text)

    @classmethod
    def parse(cls, body: bytes) -> "Submission":
        """Raises NoteRefused."""
        try:
            head, blank, signed = body.decode().partition("\n\n")
        except UnicodeDecodeError as error:
            raise NoteRefused("A submission is UTF-8.") from error
        first, *hashes = head.split("\n")
        word, space, size = first.partition(" ")
        if not blank or word != "old" or not space:
            raise NoteRefused("A submission is `old` and a size, the lines of a proof, an empty line and a checkpoint.")
        if len(hashes) > HASHES_MAX:
            raise NoteRefused(f"A proof has at most {HASHES_MAX} hashes.")
        proof = [note.decoded(each) for each in hashes]
        if any(len(each) != HASH_BYTES for each in proof):
            raise NoteRefused(f"A hash is {HASH_BYTES} bytes long.")
        return cls(note.number(size), proof, note.parse(signed))
