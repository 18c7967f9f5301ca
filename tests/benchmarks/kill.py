"""Is nothing lost, doubled or made up when processes are killed at random, and would we notice if it were?

Rounds of 64 callers and one blow each, on logs that live for ten rounds, before the checks of tests/crash/checker.py;
then systems that are broken on purpose, which the same checks must find: docs/benchmarks.md.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Report, progress
from tests.crash.checker import Fault
from tests.crash.controls import CONTROLS, Control, by_check
from tests.crash.controls import run as run_control
from tests.crash.trial import TARGETS, Trial, installation, on_machines_of_their_own

ROUNDS_A_LOG = 10
"""A log that grows long makes each look at it long; and every new one is a new start."""

TOLD_MAX = 20
"""Faults of one round that are told in words."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=_count, default=30, help="how many blows (30)")
    parser.add_argument("--seed", type=int, help="what is struck, and when, as in an earlier run")


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError(text)
    return count


def run(options: argparse.Namespace) -> Report:
    """All rounds, then all controls. A fault, or a control that nothing found, is told at once, and ends in a 1."""
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    tally = asyncio.run(struck(options.rounds, random.Random(seed)))
    controls = {name: asyncio.run(controlled(name, control, seed)) for name, control in CONTROLS.items()}
    holds = not tally.faults and all(figures["caught"] for figures in controls.values())
    return Report({"seed": seed, **tally.figures(), "controls": controls}, holds=holds)


@dataclass
class Tally:
    """What all rounds came to."""

    trials: list[Trial] = field(default_factory=list)
    faults: dict[Fault, None] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """`violations` counts the faults that each check found; three checks have a figure of their own besides."""
        told = [each for trial in self.trials for each in trial.told]
        kills = sum((trial.blows for trial in self.trials), Counter[str]())
        violations = by_check(self.faults)
        return {
            "rounds": len(self.seconds),
            "commands": len(told),
            "acknowledged": sum(each.accepted for each in told),
            "lost": violations.get("nothing_acknowledged_is_lost", 0),
            "duplicated": violations.get("each_command_is_there_once", 0),
            "unresolved": sum(not each.settled for each in told),
            "violations": violations,
            "kills": dict(kills),
            "repeated_by_callers": sum(each.attempts > 1 for each in told),
            "receipts_proven": sum(trial.proven for trial in self.trials),
            "checkpoints_seen": sum(len(trial.shown) for trial in self.trials),
            "records": sum(len(trial.before.rows) for trial in self.trials if trial.before),
            "seconds_a_round": round(sum(self.seconds) / len(self.seconds), 1),
        }


async def struck(rounds: int, rng: random.Random) -> Tally:
    """Each target equally often, in an order of chance; a log on which a fault was found ends there.

    On every other log both processes that serve decide, as on two machines.
    """
    tally = Tally()
    blows = list(islice(cycle(TARGETS), rounds))
    rng.shuffle(blows)
    while blows:
        with tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
            made = on_machines_of_their_own if len(tally.trials) % 2 else installation
            trial = made(Path(name, "data"), rng)
            tally.trials.append(trial)
            async with trial.running():
                found: list[Fault] = []
                while blows and trial.rounds < ROUNDS_A_LOG and not found:
                    blow, began = blows.pop(), time.monotonic()
                    found = await trial.round(blow)
                    tally.seconds.append(time.monotonic() - began)
                    progress(f"Round {len(tally.seconds)} of {rounds}, {blow}: {tally.seconds[-1]:.1f} s")
                found = found or await trial.projections()
            tally.faults |= dict.fromkeys(found)
            for fault in found[:TOLD_MAX]:
                sys.stderr.write(f"Round {len(tally.seconds)}, {blow}: {fault}\n")
    return tally


async def controlled(name: str, control: Control, seed: int) -> dict[str, Any]:
    """Whether the checks found what is broken, and how many faults each of them did."""
    progress(f"Control: {name}")
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as folder:
        found = await run_control(control, Path(folder, "data"), random.Random(seed))
    if not control.caught(found):
        sys.stderr.write(f"Nothing found the control {name}: {found}\n")
    return {"caught": control.caught(found), "violations": found}
