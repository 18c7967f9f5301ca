"""Would the checker notice? Systems broken on purpose, under the same callers and blows, before the same checks."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.checker import Fault, named
from tests.crash.processes import PROGRAM
from tests.crash.trial import installation, words

ROUNDS_MAX = 4
PATIENCE_SECONDS = 10.0
"""Callers of a broken system give up earlier."""


@dataclass(frozen=True, slots=True)
class Control:
    """What is broken, the blow under which it shows, and the checks of which one has to find it."""

    blow: str
    found_by: frozenset[str]
    mistake: str = ""
    durability: Mapping[str, str] = field(default_factory=dict)

    def caught(self, found: Mapping[str, int]) -> bool:
        return bool(self.found_by & set(found))


CONTROLS: dict[str, Control] = {
    "answers_before_the_commit": Control(
        "everything", frozenset({"nothing_acknowledged_is_lost"}), "answers_before_the_commit"
    ),
    "keeps_no_command_keys": Control("service", frozenset({"each_command_is_there_once"}), "keeps_no_command_keys"),
    "appends_whatever_the_size": Control(
        "service",
        frozenset({"caps_hold", "officers_change_their_mind_or_stay_quiet"}),
        "appends_whatever_the_size",
    ),
    "overlooks_the_admissions_of_others": Control(
        "service", frozenset({"caps_hold"}), "overlooks_the_admissions_of_others"
    ),
    "power_fails_with_fsync_off": Control(
        "power", frozenset({"nothing_acknowledged_is_lost"}), durability={"fsync": "off"}
    ),
}
"""By name. That the power fails with fsync on is a blow like the others, and must leave no fault."""


async def run(control: Control, data: Path, rng: random.Random) -> dict[str, int]:
    """How many faults each check found; ends with the round in which one that has to find it did."""
    program = ("tests.crash.broken", control.mistake) if control.mistake else PROGRAM
    trial = installation(data, rng, program, control.durability, PATIENCE_SECONDS)
    found: dict[Fault, None] = {}
    try:
        async with trial.running():
            while trial.rounds < ROUNDS_MAX and not control.caught(by_check(found)):
                found |= dict.fromkeys(await trial.round(control.blow))
    except* AssertionError as surprise:
        found |= dict.fromkeys(named("callers_find_what_they_were_told", words(surprise)))
    return by_check(found)


def by_check(found: Iterable[Fault]) -> dict[str, int]:
    return dict(Counter(fault.check for fault in found))
