"""Does the script that auditors read in ten minutes say what the program says, and share no line with it?"""

import ast
import json
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from domain.log import STREAM, LogKeyRotated
from services.log.bundle import Bundle
from services.log.export import export
from services.log.folder import SignerFolder
from services.log.snapshot import Snapshot
from services.log.streams import Differs
from services.log.verify import verify
from tests.services.log.test_vouched import accepted_rollback, add, rotated_log
from tests.tampering.history import WITNESS, Row, SignedLog, appointments, cosigned

SCRIPT = Path(__file__).parents[3] / "docs" / "verify_log.py"
LINES_MAX = 250


def asked(file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The script's answer, in a process that cannot import our packages."""
    command = [sys.executable, "-I", str(SCRIPT), str(file), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=file.parent)


@pytest.fixture(scope="module")
def exported(signed_log: SignedLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("exported") / "log.zip"
    with Snapshot(signed_log.conninfo, signed_log.folder) as snapshot:
        export(snapshot, to)
    return to


def test_it_is_short_and_needs_the_standard_library_and_cryptography_alone() -> None:
    tree = ast.parse(SCRIPT.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert foreign == {"cryptography"}
    assert sum(bool(line.strip()) for line in SCRIPT.read_text().splitlines()) <= LINES_MAX


def test_it_verifies_an_export(exported: Path, signed_log: SignedLog) -> None:
    key = str(signed_log.folder.verifier())
    answer = asked(exported, "--key", key)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{len(signed_log.rows)} records of assent.localhost/log: no position differs" in answer.stdout
    assert key in answer.stdout and "by its own word" not in answer.stdout
    assert "by its own word" in asked(exported).stdout


def test_it_follows_the_keys_and_asks_witnesses(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    first, second = folder.verifier(), folder.next()
    rotated_log(conn, folder)
    cosigned(conn, 8)
    to = tmp_path / "log.zip"
    with Snapshot(database, folder) as snapshot:
        export(snapshot, to)
    for key in (first, second):
        answer = asked(to, "--key", str(key), "--witness", str(WITNESS))
        assert answer.returncode == 0 and f"Cosigned, up to 8 records, by {WITNESS}" in answer.stdout
        assert str(first) in answer.stdout and str(second) in answer.stdout
    other = SignerFolder(tmp_path / "other", "other.test/log").verifier()
    assert "no checkpoint is signed by other.test" in asked(to, "--key", str(other)).stdout


def test_it_accepts_what_an_operator_accepted_in_a_record_and_nothing_else(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    accepted_rollback(conn, folder, agreed_size=4)
    with Snapshot(database, folder) as snapshot:
        export(snapshot, tmp_path / "log.zip")
    answer = asked(tmp_path / "log.zip")
    assert answer.returncode == 0 and "Position 6: RollbackAccepted" in answer.stdout


def test_a_handover_needs_both_signatures(
    conn: Connection[Any], database: str, folder: SignerFolder, tmp_path: Path
) -> None:
    log: list[list[Row]] = []
    add(conn, folder, log, *appointments(3))
    add(conn, folder, log, (STREAM, LogKeyRotated(str(folder.next()), str(folder.verifier()))))
    with Snapshot(database, folder) as snapshot:
        export(snapshot, tmp_path / "log.zip")
    for line in (-1, -2):

        def without(notes: bytes, line: int = line) -> bytes:
            first, second = map(json.loads, notes.splitlines())
            signed = second["note"].splitlines(keepends=True)
            del signed[line]
            second["note"] = "".join(signed)
            return f"{json.dumps(first)}\n{json.dumps(second)}\n".encode()

        changed = rewritten(tmp_path / "log.zip", {"checkpoints.jsonl": without})
        assert (
            asked(changed).stdout.splitlines()[-1].startswith("Position 4: the checkpoint of size 5 is not signed by")
        )


def test_a_checkpoint_that_was_kept_must_be_of_this_log(exported: Path, signed_log: SignedLog, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported) as file:
        notes = [json.loads(line)["note"] for line in file.read("checkpoints.jsonl").splitlines()]
    kept = tmp_path / "note"
    kept.write_text(notes[2])
    assert asked(exported, "--checkpoint", str(kept)).returncode == 0
    origin, size, _, *rest = notes[2].split("\n")
    kept.write_text("\n".join([origin, size, b64encode(b"x" * 32).decode(), *rest]))
    assert f"up to {int(size) - 1} are not those that {kept}" in asked(exported, "--checkpoint", str(kept)).stdout


Rewriting = Callable[[bytes], bytes]


def rewritten(file: Path, changes: dict[str, Rewriting]) -> Path:
    """A copy of the export in which parts are others, with right checksums."""
    other = file.with_name("other.zip")
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(other, "w") as copy:
        for name in whole.namelist():
            copy.writestr(name, changes.get(name, bytes)(whole.read(name)))
    return other


def flipped(at: int) -> Rewriting:
    return lambda part: part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]


def heads_flipped(part: bytes) -> bytes:
    """The tenth head's root is another."""
    lines = part.splitlines(keepends=True)
    size, root = lines[10].split(b",")
    lines[10] = size + b"," + (b"B" if root[:1] == b"A" else b"A") + root[1:]
    return b"".join(lines)


def without_last_record(part: bytes) -> bytes:
    ends = [0]
    while ends[-1] < len(part):
        ends.append(ends[-1] + 2 + int.from_bytes(part[ends[-1] :][:2]))
    return part[: ends[-2]]


def swapped(part: bytes) -> bytes:
    """The first two records of the bundle."""
    first = 2 + int.from_bytes(part[:2])
    second = first + 2 + int.from_bytes(part[first : first + 2])
    return part[first:second] + part[:first] + part[second:]


TAMPERED: dict[str, dict[str, Rewriting]] = {
    "a record": {"tile/entries/001": flipped(5_000)},
    "a leaf": {"tile/0/001": flipped(4_000)},
    "two records": {"tile/entries/000": swapped},
    "an end": {"tile/entries/002": without_last_record},
    "an inner hash": {"tile/1/000.p/3": flipped(40)},
    "a head": {"heads.csv": heads_flipped},
    "a checkpoint": {"checkpoints.jsonl": flipped(700)},
    "a root": {"checkpoints.jsonl": flipped(60)},
}


@pytest.mark.parametrize("changes", TAMPERED.values(), ids=TAMPERED)
def test_it_names_the_position_that_the_program_names(changes: dict[str, Rewriting], exported: Path) -> None:
    file = rewritten(exported, changes)
    with Bundle(file) as bundle, pytest.raises(Differs) as program:
        verify(bundle)
    script = asked(file)
    assert script.returncode == 1, script.stdout + script.stderr
    assert script.stdout.splitlines()[-1].startswith(f"Position {program.value.position}: ")


def test_what_is_no_export_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "log.zip").write_text("nothing")
    assert asked(tmp_path / "log.zip").returncode == 2
