"""The command line, as a newcomer uses it: in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.demo import PERSONAS
from services.log import note
from services.log.note import Verifier

ROOT = Path(__file__).parents[2]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASSENT_")}
    return {**kept, "PYTHONPATH": str(ROOT), "ASSENT_DATA": str(folder / "data"), "ASSENT_PORT": "0"}


def assent(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "services.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(folder), timeout=120, check=False)


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service in a process, and all that it printed until it was ready."""
    command = [sys.executable, "-P", "-m", "services.cli", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(folder))
    try:
        assert process.stdout is not None
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, f"it ended: {printed}"
            printed += line
        yield process, printed
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, float, int]]:
    """The folder of a service that told its story and was stopped; what it printed, seconds to stop, exit code."""
    folder = tmp_path_factory.mktemp("told")
    with started(folder) as (process, printed):
        address = re.search(r"http://127\.0\.0\.1:\d+", printed)
        assert address is not None
        with urllib.request.urlopen(f"{address[0]}/readyz", timeout=10) as response:  # noqa: S310
            assert json.load(response)["ready"]
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
        yield folder, printed, time.monotonic() - began, code


def test_a_fresh_start_tells_a_story_and_says_what_to_try(told: tuple[Path, str, float, int]) -> None:
    _, printed, _, _ = told
    assert "Telling the demo story" in printed
    for person in PERSONAS:
        assert f"  {person}, " in printed
    assert printed.count("  eyJ") == len(PERSONAS)
    assert printed.count("./run token") == 2 and "./run replay release-atlas-4" in printed


def test_ctrl_c_stops_it_cleanly_within_two_seconds(told: tuple[Path, str, float, int]) -> None:
    _, _, seconds, code = told
    assert code == 0
    assert seconds < 2


def test_the_life_of_a_stream_is_told_in_plain_words(told: tuple[Path, str, float, int]) -> None:
    folder = told[0]
    replayed = assent(folder, "replay", "release-atlas-4")
    assert replayed.returncode == 0, replayed.stderr
    assert "announced Atlas 4" in replayed.stdout and "let the phase limited_preview begin" in replayed.stdout
    entries = [json.loads(line) for line in assent(folder, "replay", "release-atlas-4", "--json").stdout.splitlines()]
    assert [entry["type"] for entry in entries][:2] == ["ReleaseAnnounced", "PhaseAdvanced"]
    at = assent(folder, "replay", "release-atlas-4", "--at", entries[0]["recorded"])
    assert len(at.stdout.splitlines()) == 1
    assert assent(folder, "replay", "release-nothing").returncode == 1


def test_the_newest_checkpoint_covers_the_log(told: tuple[Path, str, float, int]) -> None:
    printed = assent(told[0], "log", "checkpoint").stdout
    origin, size, root, empty, signature = printed.splitlines()
    assert origin == "assent.localhost/log" and int(size) > 80 and len(root) == 44
    assert empty == "" and signature.startswith("— assent.localhost/log ")
    key = Verifier.parse(assent(told[0], "log", "key").stdout.strip())
    assert note.parse(printed).verified_by(key)


def test_the_log_is_exported_and_verified_without_its_database(
    told: tuple[Path, str, float, int], tmp_path: Path
) -> None:
    file, key = tmp_path / "log.zip", assent(told[0], "log", "key").stdout.strip()
    live = json.loads(assent(told[0], "log", "verify", "--json").stdout)
    assert live["ok"] and live["size"] == live["signed_size"] > 80 and live["commands"] > 60 and live["keys"] == [key]
    exported = assent(told[0], "log", "export", "--to", str(file))
    assert exported.returncode == 0 and f"log verify {file} --key {key}" in exported.stdout
    (tmp_path / "note").write_text(assent(told[0], "log", "checkpoint").stdout)
    known = ("--key", key, "--checkpoint", str(tmp_path / "note"))
    offline = assent(tmp_path, "log", "verify", str(file), *known)
    assert offline.returncode == 0 and "no position differs" in offline.stdout
    assert not (tmp_path / "data").exists()


def test_what_differs_is_named_and_what_cannot_be_read_is_not_verified(
    told: tuple[Path, str, float, int], tmp_path: Path
) -> None:
    file, other = tmp_path / "log.zip", tmp_path / "other.zip"
    assent(told[0], "log", "export", "--to", str(file))
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(other, "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, whole.read(name).replace(b'"position":7,', b'"position":8,'))
    differs = assent(tmp_path, "log", "verify", str(other))
    assert differs.returncode == 1 and "Position 7: " in differs.stdout
    assert json.loads(assent(tmp_path, "log", "verify", str(other), "--json").stdout)["position"] == 7
    other.write_bytes(file.read_bytes()[:-100])
    assert assent(tmp_path, "log", "verify", str(other)).returncode == 2
    assert assent(tmp_path, "log", "verify", str(tmp_path / "nothing.zip")).returncode == 2
    assert assent(tmp_path, "log", "verify", str(file), "--key", "nonsense").returncode == 2


def test_the_projections_equal_the_replay(told: tuple[Path, str, float, int]) -> None:
    verified = assent(told[0], "projections", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    entries = json.loads(verified.stdout)
    assert {"requests", "grants", "releases"} <= {entry["name"] for entry in entries}
    assert all(entry["ok"] for entry in entries)


def test_a_second_start_tells_no_second_story(told: tuple[Path, str, float, int]) -> None:
    with started(told[0]) as (_, printed):
        assert "Telling" not in printed


def test_a_token_is_made_for_a_person(tmp_path: Path) -> None:
    made = assent(tmp_path, "token", "olga")
    assert made.returncode == 0 and made.stdout.startswith("eyJ")


@pytest.mark.parametrize(
    ("arguments", "settings", "complaint"),
    [
        (["token", "no spaces allowed"], {}, "no token can be made"),
        (["play", "missing.jsonl"], {}, "No such file"),
        (["serve"], {"ASSENT_PORTS": "1"}, "Did you mean ASSENT_PORT"),
        (["token", "olga"], {"ASSENT_MODE": "production"}, "development mode on a loopback address only"),
        (["serve"], {"ASSENT_HOST": "0.0.0.0"}, "development mode on a loopback address only"),  # noqa: S104
    ],
)
def test_what_cannot_run_says_why_and_exits_with_2(
    arguments: list[str], settings: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-P", "-m", "services.cli", *arguments]
    given = {**environment(tmp_path), **settings}
    refused = subprocess.run(command, capture_output=True, text=True, env=given, timeout=60, check=False)
    assert refused.returncode == 2
    assert complaint in refused.stderr and "Traceback" not in refused.stderr
