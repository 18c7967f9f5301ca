"""Is the event that a receipt is for really in the log? Answered offline, from what its holder has in hand."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from assent_client.notes import NoteRefused, checkpoint_of, decoded, keys_of


class ReceiptRefused(ValueError):
    """The proof does not show what the receipt says; the message says where."""


def verify_receipt(
    receipt: Mapping[str, Any], proof: Mapping[str, Any], log_key: str | Iterable[str], record: bytes | None = None
) -> None:
    """Raises ReceiptRefused unless everything holds.

    receipt: as a command answered it. proof: as `GetLogProofPosition` answers it once a checkpoint covers the position
    (425 before; the client waits). log_key: the log's, from a source that is not the log. record: the bytes of the
    event, for those who may read them; without, the receipt's leaf is taken as it is.
    """
    try:
        head = checkpoint_of(str(proof["checkpoint"]), keys_of(log_key))
        leaf, position = decoded(str(receipt["leaf"])), int(receipt["position"])
        if record is not None and sha256(b"\0" + record).digest() != leaf:
            raise ReceiptRefused("The record does not hash to the receipt's leaf.")
        if (proof["position"], proof["leaf"]) != (position, receipt["leaf"]):
            raise ReceiptRefused("The proof is of another position or leaf than the receipt.")
        if not 0 <= position < int(receipt["size"]) <= head.size:
            raise ReceiptRefused(f"The receipt's position and size do not fit a checkpoint of size {head.size}.")
        if proof["size"] != head.size or decoded(str(proof["root"])) != head.root:
            raise ReceiptRefused("The proof leads to another size or root than the checkpoint's.")
        found = root_of(leaf, position, head.size, [decoded(str(each)) for each in proof["hashes"]])
    except (NoteRefused, KeyError, TypeError) as error:
        raise ReceiptRefused(str(error)) from error
    if found != head.root:
        raise ReceiptRefused("The proof does not lead from the leaf to the checkpoint's root.")


def root_of(leaf: bytes, position: int, size: int, hashes: list[bytes]) -> bytes:
    """The root of a tree of that size in which these hashes lie beside the way up from the leaf (RFC 9162, 2.1.3.2).

    Raises ReceiptRefused where there are more or fewer of them than the way has.
    """
    here, node, last = leaf, position, size - 1
    for each in hashes:
        if last == 0 or len(each) != 32:
            raise ReceiptRefused("The proof has hashes that lie on no way up the tree.")
        if node & 1 or node == last:
            here = sha256(b"\1" + each + here).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            here = sha256(b"\1" + here + each).digest()
        node, last = node >> 1, last >> 1
    if last:
        raise ReceiptRefused("The proof has too few hashes.")
    return here
