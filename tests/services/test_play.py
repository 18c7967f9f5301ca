"""Stories are played against the real service, and every answer is compared."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.play import BadScenario, Player, differences, first_instant, read_scenario

ROOT = Path(__file__).parents[2]
STORIES = sorted((ROOT / "tests/scenarios").glob("*.jsonl"))


def play(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ASSENT_DATA": str(folder / "data")}
    command = [sys.executable, "-P", "-m", "services.cli", "play", str(file)]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_a_story_of_the_project_is_answered_as_it_expects(story: Path, tmp_path: Path) -> None:
    played = play(story, tmp_path)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "all as expected" in played.stdout


def test_a_wrong_expectation_ends_the_play_with_both_values(tmp_path: Path) -> None:
    lines = [
        {
            "at": "2026-03-02T14:00:00Z",
            "as": "root",
            "post": "/organizations",
            "body": {"id": "oncd", "kind": "agency", "name": "ONCD", "country": "US"},
            "save": {"agency": "id"},
        },
        {"get": "/organizations/{agency}", "as": "root", "match": {"name": "OSTP"}},
        {"note": "never reached"},
    ]
    file = tmp_path / "wrong.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    played = play(file, tmp_path)
    assert played.returncode == 1
    assert "Line 2: name differs" in played.stderr
    assert 'expected: "OSTP"' in played.stderr and 'found:    "ONCD"' in played.stderr
    assert "never reached" not in played.stdout


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ('{"post": "/requests", "get": "/requests", "as": "root"}', "needs one of"),
        ('{"post": "/requests"}', "as whom"),
        ('{"at": "yesterday", "note": "x"}', "with its zone"),
        ('{"at": "2026-03-02T14:00:00", "note": "x"}', "with its zone"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused_by_line(line: str, complaint: str) -> None:
    with pytest.raises(BadScenario, match=rf"(?s)Line 2.*{complaint}"):
        read_scenario('{"note": "fine"}\n' + line)


def test_a_scenario_begins_with_its_first_time() -> None:
    steps = read_scenario('{"note": "fine"}\n\n{"at": "2026-03-02T14:00:00Z", "tick": true}')
    assert [number for number, _ in steps] == [1, 3]
    begins = first_instant(steps)
    assert begins is not None and begins.isoformat() == "2026-03-02T14:00:00+00:00"


@pytest.mark.parametrize(
    ("expected", "found", "where"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        ({"a": [1, {"c": 2}]}, {"a": [1, {"c": 3}]}, ["a.1.c"]),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, ["a", "b"]),
    ],
)
def test_a_match_is_a_subset_of_the_answer(expected: Any, found: Any, where: list[str]) -> None:
    assert [path for path, _, _ in differences(expected, found)] == where


async def test_a_player_that_asks_too_often_waits_and_asks_the_same_again() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.headers.get("idempotency-key")))
        if len(asked) % 3:
            return httpx.Response(429, headers={"retry-after": "0"})
        return httpx.Response(201 if request.method == "POST" else 200, json={"position": 7})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://x") as client:
        steps = [{"as": "root", "post": "/organizations", "body": {}}, {"as": "root", "get": "/organizations"}]
        assert await Player(client, str.upper).play(enumerate(steps, 1)) == 2
    assert (asked[0], asked[3]) == (asked[2], asked[5]) and len(asked) == 6
