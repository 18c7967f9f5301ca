"""Who vouches for the log up to which size, and is it the log that they signed?

Checkpoints, with the keys that the log's own records hand over to and the cosignatures of witnesses; and heads that are
kept somewhere else. What does not fit names the first position after the last checkpoint that does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from domain import log
from domain.log import LogKeyRotated, RollbackAccepted
from services.log import note
from services.log.note import Checkpoint, KeyChain, Note, NoteRefused, Verifier
from services.log.record import read
from services.log.streams import Differs

OWN_STREAM = log.STREAM.encode()


class Known(NamedTuple):
    """A head that somebody keeps outside of what is verified: it has to begin with that."""

    size: int
    root: bytes
    source: str
    key: str = ""
    """The verifier key that signs from there, where it is known as well."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a reader has from elsewhere, because no log can say it of itself.

    A key that signed it; witnesses that must have cosigned it; checkpoints with which it must begin.
    """

    key: Verifier | None = None
    witnesses: Sequence[Verifier] = ()
    checkpoints: Sequence[Known] = ()


class Vouched:
    """Told of records, checkpoints and sizes in order of position. Every method raises Differs."""

    def __init__(self, origin: str, first_key: Verifier, witnesses: Sequence[Verifier], known: Sequence[Known]) -> None:
        self._origin = origin
        self._chain = KeyChain(first_key)
        self._witnesses = witnesses
        self._known = sorted(known)
        self.size = 0
        """The size of the last checkpoint that fits."""
        self.checkpoints = 0
        self.keys: dict[Verifier, None] = {}
        self.cosigned: dict[Verifier, int] = {}
        """The largest size that each witness cosigned."""
        self.rollbacks: list[RollbackAccepted] = []
        self.misfit: Differs | None = None
        """A checkpoint that does not fit, until a record says that an operator accepted it."""

    def follow(self, position: int, record: bytes) -> None:
        """The log's own stream tells with which key it is signed, and what of it was given up."""
        try:
            match read(record).event:
                case LogKeyRotated(key, previous):
                    self._chain.rotated(position, key, previous)
                case RollbackAccepted(key=key) as accepted:
                    self._chain.rolled_back(position, key)
                    self.rollbacks.append(accepted)
        except (msgspec.MsgspecError, NoteRefused) as error:
            raise Differs(position, f"the log's own act is refused: {error}") from error

    def compare(self, size: int, root: Callable[[], bytes]) -> None:
        """The tree of that size with the heads that are known from elsewhere."""
        while self._known and self._known[0].size <= size:
            known = self._known.pop(0)
            if known.root != root():
                sentence = f"the records from here up to {known.size - 1} are not those that {known.source} speaks of."
                raise Differs(self.size, sentence)
            if known.key not in ("", str(self._chain.at(known.size))):
                raise Differs(self.size, f"{known.source} has another key than the log: {known.key}.")

    def checkpoint(self, size: int, text: str, root: bytes) -> None:
        """The checkpoint that is kept for the tree of that size and root."""
        try:
            signed = note.parse(text)
            found = Checkpoint.parse(signed.text)
        except NoteRefused as error:
            raise Differs(self.size, f"the checkpoint of size {size} is no signed note: {error}") from error
        if (found.origin, found.size) != (self._origin, size):
            sentence = f"where the checkpoint of size {size} should be is one of {found.origin}, size {found.size}."
            raise Differs(self.size, sentence)
        signers = self._chain.signers(size, self.size)
        cosigners = self._signed_by(size, signed, signers)
        if found.root != root:
            sentence = f"the records from here up to {size - 1} are not those that were signed."
            self.misfit = self.misfit or Differs(self.size, sentence)
            return
        self.size = size
        self.checkpoints += 1
        self.keys |= dict.fromkeys(signers)
        self.cosigned |= dict.fromkeys(cosigners, size)
        if self._is_accepted():
            self.misfit = None

    def _signed_by(self, size: int, signed: Note, signers: Sequence[Verifier]) -> list[Verifier]:
        """The witnesses that cosigned it. Every signer must have signed it, and nobody who is known may not have."""
        known = (*signers, *self._witnesses)
        for key in known:
            if (key in signers or _names(signed, key)) and not signed.verified_by(key):
                raise Differs(self.size, f"the checkpoint of size {size} is not signed by {key}.")
        keys = {(key.name, key.id) for key in known}
        for line in signed.signatures:
            if line.name in {key.name for key in known} and (line.name, line.key_id) not in keys:
                raise Differs(self.size, f"the checkpoint of size {size} bears a signature of another {line.name}.")
        return [witness for witness in self._witnesses if _names(signed, witness)]

    def _is_accepted(self) -> bool:
        """Whether an operator accepted, in a record that is signed since, that what was signed does not fit."""
        return self.misfit is not None and any(
            accepted.agreed_size <= self.misfit.position < accepted.found_size < self.size
            for accepted in self.rollbacks
        )

    def finish(self, size: int, brought: Brought) -> None:
        """At the end of the log, which has that size."""
        if self.misfit is not None:
            raise self.misfit
        if self._known:
            known = self._known[-1]
            raise Differs(size, f"the log ends here, but {known.source} speaks of {known.size} records.")
        if brought.key is not None and brought.key not in self.keys:
            raise Differs(0, f"no checkpoint is signed by {brought.key}: one of them is of another log.")
        for witness in brought.witnesses:
            if witness not in self.cosigned:
                raise Differs(0, f"no checkpoint is cosigned by {witness}.")

    def told(self) -> tuple[str, ...]:
        """What operators accepted, in words."""
        return tuple(
            f"position {each.found_size}: {each.operator} accepted that {each.signed_size} records had been signed, of "
            f"which the first {each.agreed_size} are known to be these ({each.reason})"
            for each in self.rollbacks
        )


def _names(signed: Note, key: Verifier) -> bool:
    return any((line.name, line.key_id) == (key.name, key.id) for line in signed.signatures)
