"""Does `./run mutate` break rules, and do the specs notice?"""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import CodeType

import pytest

from domain import clocks
from tests.mutation.mutants import change, function_at, mutants_of

ROOT = Path(__file__).parents[1]


def test_a_mutant_is_the_function_with_one_change() -> None:
    weekend = next(m for m in mutants_of("domain.clocks.is_business_day") if "<= 5" in m.name)
    saturday = date(2026, 6, 27)
    assert not clocks.is_business_day(saturday, frozenset())
    pid = os.fork()
    if pid == 0:
        weekend.install()
        os._exit(42 if clocks.is_business_day(saturday, frozenset()) else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


@pytest.mark.parametrize(
    "place", ["domain.grant.Grant.state", "domain.fields.labels", "domain.errors.Refused.__init__", "domain.clocks.due"]
)
def test_every_kind_of_function_is_broken(place: str) -> None:
    mutants = list(mutants_of(place))
    assert {mutant.place for mutant in mutants} == {place}
    assert len({mutant.name for mutant in mutants}) == len(mutants) > 0
    original = said(function_at(mutants[0].module, mutants[0].path).__code__)
    assert all(said(mutant.compiled()[0]) != original for mutant in mutants)


def said(code: CodeType) -> tuple[object, ...]:
    return code.co_code, code.co_consts, code.co_names


def test_a_change_is_told_by_the_lines_that_differ() -> None:
    assert change("def f():\n    a = 1\n    b = 2\n", "def f():\n    a = 1\n    b = 3\n") == "b = 2 → b = 3"
    assert change("a\nb\nc\nd\n", "d\n") == "a ⏎ b … → nothing"


def test_the_specs_notice_every_mutant_of_the_calendar() -> None:
    command = [sys.executable, "-m", "tests.mutation", "domain.calendar", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["judged"] == found["mutants"] > 20
