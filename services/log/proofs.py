"""What does the log show to whoever holds a receipt: the signed head, the way to it, and that it only grew?

Hashes are in base64, as in checkpoints.
"""

from base64 import b64encode
from typing import Any

from domain.errors import Malformed, NotFound, Refused
from services.log import reader, tiles
from services.log.note import Checkpoint, parse
from services.log.reader import Connection


class NotYetSigned(Refused):
    """Fetch it again in a moment: the signer is about to."""

    status, rule, title = 425, "signed_first", "No checkpoint covers it yet"
    retry_after = 1


async def checkpoint(conn: Connection) -> tuple[Checkpoint, str]:
    """The newest checkpoint and its note. Raises NotYetSigned."""
    found = await reader.rows(conn, "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
    if not found:
        raise NotYetSigned("Nothing is signed yet.")
    note: str = found[0][0]
    return Checkpoint.parse(parse(note).text), note


async def inclusion(conn: Connection, position: int) -> dict[str, Any]:
    """The proof that a record is in the newest signed log. Raises NotFound, NotYetSigned."""
    leaf = await reader.leaves(conn, position, position + 1)
    if not leaf:
        raise NotFound
    head, note = await checkpoint(conn)
    if head.size <= position:
        raise NotYetSigned(f"The newest checkpoint covers {head.size} records.")
    hashes = await tiles.inclusion(conn, position, head.size)
    return {
        "position": position,
        "leaf": b64encode(leaf[0]).decode(),
        "size": head.size,
        "root": b64encode(head.root).decode(),
        "hashes": [b64encode(each).decode() for each in hashes],
        "checkpoint": note,
    }


async def consistency(conn: Connection, size1: int, size2: int) -> dict[str, Any]:
    """The proof that the log of size2 begins with that of size1. Raises Malformed, NotYetSigned."""
    if not 0 < size1 <= size2:
        raise Malformed(f"A proof leads from a size above 0 to one that is not smaller, not from {size1} to {size2}.")
    head, _ = await checkpoint(conn)
    if head.size < size2:
        raise NotYetSigned(f"The newest checkpoint covers {head.size} records.")
    hashes = await tiles.consistency(conn, size1, size2)
    return {"from": size1, "to": size2, "hashes": [b64encode(each).decode() for each in hashes]}
