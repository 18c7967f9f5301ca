"""How does a gateway start while the service is away? From a file that is whole, or else refused.

The first line is the SHA-256 of the rest; the second says what it is; then a record a line, as the feed has them. It is
not signed: whoever may write the file may decide what the gateway allows, so keep it where the gateway's code is kept.
"""

import json
import os
from hashlib import sha256
from pathlib import Path

from assent_client.access import to_json
from assent_client.replica import Kept, Place, read

VERSION = 1


class SnapshotRefused(ValueError):
    """The file is no snapshot, or not as it was written."""


def write(path: Path, kept: Kept) -> None:
    """Replaces the file in one step: a crash leaves the one before. Raises OSError."""
    lines = [json.dumps(to_json(record), separators=(",", ":")) for record in kept.records]
    body = "".join(f"{line}\n" for line in lines).encode()
    place = kept.place
    head = {
        "version": VERSION,
        "position": place.position,
        "epoch": place.epoch,
        "providers": place.providers,
        "heard": kept.heard,
        "wall": kept.wall,
        "checkpoint": kept.checkpoint,
        "records": len(lines),
    }
    written = json.dumps(head).encode()
    digest = sha256(written + b"\n" + body).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(digest.encode() + b"\n" + written + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path) -> Kept | None:
    """What was kept; None where there is no such file. Raises SnapshotRefused, OSError."""
    try:
        digest, _, rest = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if sha256(rest).hexdigest().encode() != digest:
        raise SnapshotRefused(f"{path} is not as it was written.")
    try:
        written, *lines = rest.decode().split("\n")
        head = json.loads(written)
        if head["version"] != VERSION:
            raise SnapshotRefused(f"{path} is of version {head['version']}.")
        providers = None if head["providers"] is None else tuple(head["providers"])
        place = Place(head["position"], head["epoch"], providers)
        records = list(read(json.loads(line) for line in lines if line))
        return Kept(place, head["heard"], head["wall"], head["checkpoint"], records)
    except (ValueError, TypeError, KeyError) as error:
        raise SnapshotRefused(f"{path} is no snapshot: {error}") from error
