"""Is nothing lost, doubled or made up when processes are killed at random moments under 64 competing callers?

CRASH_SEED repeats a run's choices (what is killed, and when); it is printed, and named by every failure.
"""

import os
import random
import sys
from pathlib import Path

import pytest

from tests.crash.processes import Service, ended_after
from tests.crash.trial import BLOWS, Trial

ROUNDS = 5


@pytest.mark.parametrize("services", [1, 2])
async def test_what_was_acknowledged_survives_five_kills(services: int, tmp_path: Path) -> None:
    seed = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    data = tmp_path / "data"
    trial = Trial(data, [Service(data) for _ in range(services)], rng)
    blows = [*BLOWS, rng.choice(BLOWS)]
    rng.shuffle(blows)
    sys.stdout.write(f"CRASH_SEED={seed}: {', '.join(blows)}\n")
    with ended_after(*trial.services):
        await trial.start()
        for blow in blows[:ROUNDS]:
            found = await trial.round(blow)
            assert found == [], f"CRASH_SEED={seed}, round {trial.rounds} ({blow})"
    outcomes = {each.answer["type"] for each in trial.told if each.status == 409}
    assert "urn:assent:problem:customer-cap-reached" in outcomes, "the callers competed for places"
    assert any(each.attempts > 1 for each in trial.told), "a kill was felt"
