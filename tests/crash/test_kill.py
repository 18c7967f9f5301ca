"""Is nothing lost, doubled or made up when processes are killed at random moments under 64 competing callers?

CRASH_SEED repeats a run's choices (what is killed, and when); it is printed, and named by every failure.
"""

import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.crash.processes import Service, quoted_on_failure
from tests.crash.trial import BLOWS, TARGETS, Trial, installation, on_machines_of_their_own, with_doors


def alone(data: Path, rng: random.Random) -> Trial:
    """One process that does it all, as a fresh clone has it."""
    return Trial(data, [Service(data)], rng)


@pytest.mark.parametrize(
    ("made", "blows"),
    [
        (alone, BLOWS),
        (installation, TARGETS),
        (with_doors, ("service", "door", "everything")),
        (on_machines_of_their_own, ("service", "postmaster")),
    ],
    ids=["alone", "production", "doors", "machines"],
)
async def test_what_was_acknowledged_survives_a_blow_at_each_target(
    made: Callable[[Path, random.Random], Trial], blows: Sequence[str], tmp_path: Path
) -> None:
    seed = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    trial = made(tmp_path / "data", rng)
    order = rng.sample(blows, len(blows))
    sys.stdout.write(f"CRASH_SEED={seed}: {', '.join(order)}\n")
    async with trial.running():
        with quoted_on_failure(*trial.services, *trial.others.values()):
            for blow in order:
                found = await trial.round(blow)
                assert found == [], f"CRASH_SEED={seed}, round {trial.rounds} ({blow})"
            assert await trial.projections() == [], f"CRASH_SEED={seed}"
    outcomes = {each.answer["type"] for each in trial.told if each.status == 409}
    assert "urn:assent:problem:customer-cap-reached" in outcomes, "the callers competed for places"
    assert any(each.attempts > 1 for each in trial.told), "a kill was felt"
    assert trial.shown and trial.proven, "somebody looked at checkpoints and proofs meanwhile"
