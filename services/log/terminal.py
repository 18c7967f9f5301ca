"""What does an auditor at a terminal ask of the log: its newest checkpoint, an export, whether it is what it was?"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.log import note
from services.log.export import export
from services.log.folder import LogRefused
from services.log.note import Checkpoint, NoteRefused, Verifier
from services.log.snapshot import Snapshot
from services.log.streams import Book, Differs
from services.log.verify import Evidence, Verified, verify
from services.log.vouched import Brought, Known
from services.progress import shown

RECORDS_FOR_PROCESSES = 100_000
"""From here on it pays to start other processes."""

PROCESSES_MAX = 4


def export_log(snapshot: Snapshot, to: Path, as_json: bool, record: Callable[[int], None]) -> int:
    """`assent log export --to FILE`; `record` is told first how many records leave. Raises LogRefused, OSError."""
    with snapshot:
        record(snapshot.signed_size)
        with shown(f"export {to.name}", snapshot.signed_size) as report:
            manifest = export(snapshot, to, report)
        late = snapshot.size - manifest.size
    told = {"file": str(to), "bytes": to.stat().st_size, "size": manifest.size, "root": manifest.root}
    if as_json:
        _say(json.dumps({**told, "key": manifest.key, "not_signed_yet": late}))
        return 0
    _say(f"{manifest.size} records, all that checkpoint {manifest.size} covers, are in {to} ({told['bytes']:,} bytes).")
    if late:
        _say(f"{late} more are not signed yet, and were left out.")
    _say(f"Verify it anywhere: ./run log verify {to} --key {manifest.key}")
    return 0


def verify_log(evidence: AbstractContextManager[Evidence], brought: Brought, as_json: bool, book: Book) -> int:
    """`assent log verify [FILE]`: 0 where nothing differs, 1 where something does.

    Raises NoBundle, LogRefused, OSError.
    """
    with evidence as opened:
        processes = min(PROCESSES_MAX, os.cpu_count() or 1) - 1 if opened.size >= RECORDS_FOR_PROCESSES else 0
        try:
            with shown("verify", opened.size) as report:
                verified = verify(opened, brought, report, processes, book)
        except Differs as differs:
            found = {"ok": False, "position": differs.position, "text": differs.sentence}
            _say(json.dumps(found) if as_json else f"It is not what it was. {differs}")
            return 1
    _say(json.dumps({"ok": True, **asdict(verified)}) if as_json else _as_text(verified))
    return 0


def _as_text(found: Verified) -> str:
    streams = ", ".join(f"{count} {kind}" for kind, count in found.streams.items())
    lines = [
        f"{found.size} records of {found.origin} are what was written: no position differs.",
        f"  root         {found.root}",
        f"  signed       {found.signed_size} records; {found.checkpoints} checkpoints by {', then '.join(found.keys)}",
        f"  heads        {found.heads}, tiles {found.tiles}, commands {found.commands}",
        f"  streams      {streams or 'none'}",
    ]
    lines += [f"  cosigned     {size} records, by {witness}" for witness, size in found.cosigned.items()]
    lines += [f"  rollback     {each}" for each in found.rollbacks]
    if found.signed_size < found.size:
        lines.append(f"  not signed   the last {found.size - found.signed_size} records: nobody vouches for them yet")
    return "\n".join(lines)


def brought_along(key: str | None, witnesses: Sequence[str], checkpoints: Sequence[Path]) -> Brought:
    """What an auditor has from elsewhere, from what they typed. Raises LogRefused, OSError."""
    return Brought(
        None if key is None else _verifier(key), tuple(map(_verifier, witnesses)), tuple(map(_known, checkpoints))
    )


def _verifier(key: str) -> Verifier:
    try:
        return Verifier.parse(key)
    except NoteRefused as error:
        raise LogRefused(f"{key!r} is no verifier key: {error}") from error


def _known(checkpoint: Path) -> Known:
    try:
        found = Checkpoint.parse(note.parse(checkpoint.read_text()).text)
    except (NoteRefused, UnicodeDecodeError) as error:
        raise LogRefused(f"{checkpoint} is no signed note: {error}") from error
    return Known(found.size, found.root, str(checkpoint))


def _say(text: str) -> Any:
    sys.stdout.write(f"{text}\n")
