"""What does the log show to whoever holds a receipt: the signed head, the way to it, and that it only grew?"""

from base64 import b64encode

import msgspec

from domain.errors import NotFound, Refused
from services.log import note, reader, tiles
from services.log.note import Checkpoint
from services.log.reader import Connection
from services.log.receipt import Proof


class NotSignedYet(Refused):
    """The log has grown since its last checkpoint; the next one is a moment away."""

    status, rule, title = 425, "checkpoint", "No checkpoint covers this yet"
    retry_after = 1


class SizesOutOfOrder(Refused):
    status, rule, title = 400, "parameters", "The log only grows"


class Consistency(msgspec.Struct):
    """That the log of size `to` begins with that of size `from`. Hashes are in base64."""

    from_: int = msgspec.field(name="from")
    to: int
    hashes: list[str]


async def checkpoint(conn: Connection, cosigned_by: str | None = None) -> tuple[str, Checkpoint]:
    """The newest signed note, or the newest that a witness cosigned, and what it says. Raises NotSignedYet."""
    if cosigned_by is None:
        found = await reader.rows(conn, "SELECT note FROM cosigned_checkpoint ORDER BY size DESC LIMIT 1")
    else:
        found = await reader.rows(
            conn,
            "SELECT note FROM cosigned_checkpoint WHERE size = (SELECT max(size) FROM cosignature WHERE witness = %s)",
            cosigned_by,
        )
    if not found:
        raise NotSignedYet(
            "No such checkpoint was made yet.",
            "a first checkpoint" if cosigned_by is None else f"a checkpoint cosigned by {cosigned_by}",
        )
    text: str = found[0][0]
    return text, Checkpoint.parse(note.parse(text).text)


async def inclusion(conn: Connection, position: int, cosigned_by: str | None = None) -> Proof:
    """That a record is in the log of such a checkpoint. Raises NotFound beyond its end, NotSignedYet before one."""
    leaf = await reader.leaves(conn, position, position + 1)
    if not leaf:
        raise NotFound
    text, head = await checkpoint(conn, cosigned_by)
    if head.size <= position:
        raise NotSignedYet(
            f"The newest such checkpoint is of size {head.size}.", f"a checkpoint of {position + 1} or more"
        )
    hashes = await tiles.inclusion(conn, position, head.size)
    return Proof(position, _base64(leaf[0]), head.size, _base64(head.root), [_base64(each) for each in hashes], text)


async def consistency(conn: Connection, size1: int, size2: int) -> Consistency:
    """That the log of size2 begins with that of size1. Raises SizesOutOfOrder, NotSignedYet."""
    if not 0 < size1 <= size2:
        raise SizesOutOfOrder(f"A proof leads from a size above 0 to one not smaller, not from {size1} to {size2}.")
    _, head = await checkpoint(conn)
    if head.size < size2:
        raise NotSignedYet(f"The newest checkpoint is of size {head.size}.", f"a checkpoint of {size2}")
    hashes = await tiles.consistency(conn, size1, size2)
    return Consistency(size1, size2, [_base64(each) for each in hashes])


def _base64(value: bytes) -> str:
    return b64encode(value).decode()
