"""In random worlds, do all invariants hold, does everything happen, and is the auditor nobody's friend?"""

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from domain import rulebook
from domain.authority import COMMANDS
from domain.grant import Grant
from services import cli
from tests.simulation import acts, soak
from tests.simulation.books import Violation, days
from tests.simulation.forgery import Forgery, audited, honest
from tests.simulation.soak import run_world, simulate, worlds_of
from tests.simulation.workload import STEPS_OF_A_WORLD, Tally, Workload
from tests.spec import granted

HERE = Path(__file__).parent
WORLDS_MAX = 60


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_invariant_holds_in_random_worlds(seed: int) -> None:
    tally, finding = run_world(seed, 0, STEPS_OF_A_WORLD)
    assert finding is None, f"{finding}\nAgain: {finding.again}"
    assert tally.steps == STEPS_OF_A_WORLD
    assert sum(tally.accepted.values()) > tally.steps / 3, "most of what is tried is worth trying"
    assert sum(tally.refused.values()) > tally.steps / 10, "and the rules are met"


def test_every_command_has_its_entry() -> None:
    assert set(acts.ACTS) == set(COMMANDS)


def test_everything_happens() -> None:
    """Every event of the rule book is written, and every answer of I10 given, in a few worlds."""
    total, world = Tally(), 0
    while not _everything(total) and world < WORLDS_MAX:
        tally, finding = run_world(0, world, STEPS_OF_A_WORLD)
        assert finding is None, finding
        total, world = total + tally, world + 1
    assert _everything(total), f"never written: {set(rulebook.EVENTS) - set(total.events)}"


def _everything(total: Tally) -> bool:
    """No operator is there who would accept a rollback."""
    return (
        set(total.events) >= set(rulebook.EVENTS) - {"RollbackAccepted"}
        and len(total.answers) == 16
        and total.delegated > 0
    )


def test_a_seed_gives_the_same_log_to_the_byte() -> None:
    first, second = (Workload("again", keep=True) for _ in range(2))
    assert first.run(500) == second.run(500)
    assert first.appends == second.appends
    assert first.appends


DIGEST = """
from hashlib import sha256
from tests.simulation.workload import Workload
workload = Workload("again", keep=True)
workload.run(1_500)
print(sha256(b"".join(line for append in workload.appends for line in append)).hexdigest())
"""


def test_another_process_gives_the_same_log_too() -> None:
    """No draw depends on the order of a set, which differs from process to process."""
    found = [
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=HERE.parents[1],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert found[0] == found[1]


def test_a_dry_run_and_a_refusal_write_nothing() -> None:
    workload = Workload("quiet", keep=True)
    tally = workload.run(1_000)
    assert tally.dry and tally.refused
    assert sum(len(lines) for lines in workload.appends or []) == tally.records == workload.service.size


def test_the_log_alone_tells_the_auditor_the_same() -> None:
    """A second auditor, who was not there, reads the kept log and finds the same state in it."""
    workload = Workload("kept", keep=True)
    workload.run(1_500)
    second = audited([json.loads(line) for append in workload.appends or [] for line in append])
    assert second.size == workload.service.size
    for name, stream in workload.service.states.items():
        if isinstance(stream.state, Grant):
            mine = second.grants.of(stream.state.id)
            assert (mine.ended, set(mine.suspensions)) == (stream.state.ended, set(stream.state.suspensions)), name


# The auditor stands alone


def test_the_auditor_shares_no_code_with_the_domain() -> None:
    for path in (HERE / "auditor.py", *sorted((HERE / "books").glob("*.py"))):
        names = {name for node in ast.walk(ast.parse(path.read_text())) for name in _imported(node)}
        own = {name for name in names if name.startswith(("tests.simulation.books", "tests.simulation.auditor"))}
        assert {name.partition(".")[0] for name in names - own} <= sys.stdlib_module_names, path.name


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [str(node.module)]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


THANKSGIVING, NOTHING = frozenset({date(2026, 11, 26)}), frozenset[date]()


@pytest.mark.parametrize(
    ("start", "allowed", "kind", "closures", "due"),
    [
        ("2026-06-26T16:00Z", 30, "calendar", NOTHING, "2026-07-27T21:00Z"),  # a Sunday rolls forward
        ("2026-06-26T21:00Z", 3, "business", NOTHING, "2026-07-01T21:00Z"),  # 17:00 is still that day
        ("2026-06-26T21:01Z", 3, "business", NOTHING, "2026-07-02T21:00Z"),  # a minute later is Monday's
        ("2026-11-25T15:00Z", 1, "business", THANKSGIVING, "2026-11-27T22:00Z"),
        ("2026-11-25T15:00Z", 1, "calendar", THANKSGIVING, "2026-11-27T22:00Z"),
        ("2026-03-06T15:00Z", 2, "calendar", NOTHING, "2026-03-09T21:00Z"),  # the clock changes on the way
    ],
)
def test_the_auditor_counts_days_by_hand(
    start: str, allowed: int, kind: str, closures: frozenset[date], due: str
) -> None:
    assert days.due(datetime.fromisoformat(start), allowed, kind, closures) == datetime.fromisoformat(due)


def test_the_auditor_does_not_count_days_of_waiting() -> None:
    def at(day: int) -> datetime:
        return datetime(2026, 7, day, 15, tzinfo=UTC)

    waits = ((at(2), at(6)), (at(7), at(8)))
    assert days.due(at(1), 5, "business", NOTHING, waits) == days.due(at(1), 8, "business", NOTHING)
    assert days.due(at(1), 5, "calendar", NOTHING, waits) == days.due(at(1), 10, "calendar", NOTHING)


# A soak


def test_a_soak_is_worlds_of_bounded_size() -> None:
    assert worlds_of(STEPS_OF_A_WORLD * 2 + 7) == [(0, STEPS_OF_A_WORLD), (1, STEPS_OF_A_WORLD), (2, 7)]


def test_a_soak_says_what_was_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--steps", "300", "--seed", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seed"], told["steps"], told["worlds"], told["finding"]) == (5, 300, 1, None)
    counted = sum(c["accepted"] + c["dry"] + sum(c["refused"].values()) for c in told["commands"].values())
    assert counted == 300
    assert told["steps_per_second"] > 0


def test_several_processes_find_what_one_finds() -> None:
    alone, together = ([tally for tally, _ in soak.soak(6, STEPS_OF_A_WORLD + 300, n)] for n in (1, 2))
    assert alone == together


def test_a_breach_ends_a_soak_with_the_seed_the_world_and_the_records(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the auditor takes every suspension for a breach."""

    def never(books: object, here: object, entry: object) -> None:
        raise Violation("I12", "nobody may suspend")

    monkeypatch.setitem(sys.modules["tests.simulation.books.grants"].HANDLERS, "GrantSuspended", never)
    assert simulate(STEPS_OF_A_WORLD, 1, 0, 1, as_json=False) == 1
    told = capsys.readouterr().out
    assert "I12 does not hold in world 0" in told
    assert "nobody may suspend" in told
    assert '"type":"GrantSuspended"' in told
    assert simulate(STEPS_OF_A_WORLD, 1, None, 1, as_json=False) == 1
    assert "./run simulate --seed 1 --world 0" in capsys.readouterr().out


def test_a_rule_that_breaks_down_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rulebook, "pass_time", broken)
    _, finding = run_world(1, 0, STEPS_OF_A_WORLD)
    assert finding is not None and finding.invariant == soak.CRASH
    assert "ZeroDivisionError" in finding.sentence


def test_a_log_that_is_cut_in_the_middle_of_an_append_is_noticed() -> None:
    story = granted()
    whole = Forgery(story).records
    settled = next(n for n, one in enumerate(whole) if one["type"] == "RequestApproved")
    with pytest.raises(Violation, match="I2"):
        audited(whole[:settled])
    assert honest(story).size == len(whole)


def test_refusals_are_counted_by_rule() -> None:
    tally = Tally(refused=Counter({("SignOff", "I4"): 2})) + Tally(refused=Counter({("SignOff", "I4"): 1}))
    assert tally.refused["SignOff", "I4"] == 3
