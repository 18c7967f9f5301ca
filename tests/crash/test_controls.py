"""Would the kill tests notice? Each system that is broken on purpose is found by a check that has to find it."""

import random
from pathlib import Path

import pytest

from tests.crash.broken import MISTAKES
from tests.crash.checker import CHECKS
from tests.crash.controls import CONTROLS, run


@pytest.mark.parametrize("name", CONTROLS)
async def test_what_is_broken_is_found(name: str, tmp_path: Path) -> None:
    control = CONTROLS[name]

    found = await run(control, tmp_path / "data", random.Random())

    assert control.caught(found), found


def test_a_control_names_checks_and_mistakes_that_exist() -> None:
    checks = {check.__name__ for check in CHECKS}
    assert all(control.found_by and control.found_by <= checks for control in CONTROLS.values())
    assert {control.mistake for control in CONTROLS.values()} - {""} == set(MISTAKES)
