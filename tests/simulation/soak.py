"""How does somebody at a terminal let random worlds run, and what are they told? `./run simulate`."""

import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.books import Violation
from tests.simulation.workload import STEPS_OF_A_WORLD, Tally, Workload

CRASH = "crash"
"""What is found where a rule or a book breaks down instead of answering."""

SHOWN_RECORDS_MAX = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """A breach, where it is, and how to see it again; `records` are the last of the streams that it concerns."""

    seed: int
    world: int
    step: int
    invariant: str
    position: int
    stream: str
    sentence: str
    records: tuple[str, ...]

    @property
    def again(self) -> str:
        return f"./run simulate --seed {self.seed} --world {self.world}"


def run_world(seed: int, world: int, steps: int, keep: bool = False) -> tuple[Tally, Finding | None]:
    """One world of a soak, and the breach in it, if there is one; with `keep`, its records are shown."""
    workload = Workload(f"{seed}.{world}", keep=keep)
    try:
        return workload.run(steps), None
    except Violation as violation:
        invariant, position, stream = violation.invariant, violation.position, violation.stream
        sentence = violation.sentence
    except Exception:  # whatever breaks down is a finding, and belongs to a seed
        invariant, position, stream, sentence = CRASH, workload.service.size, "", traceback.format_exc()
    records = tuple(_of_stream(workload.appends or [], stream))
    return workload.tally, Finding(
        seed, world, workload.tally.steps, invariant, position, stream, sentence, records[-SHOWN_RECORDS_MAX:]
    )


def _of_stream(appends: list[list[bytes]], stream: str) -> Iterator[str]:
    """The records of the appends in which the stream has one."""
    for append in appends:
        if any(json.loads(line)["stream"] == stream for line in append):
            yield from (line.decode() for line in append)


def worlds_of(steps: int) -> list[tuple[int, int]]:
    """The worlds of a soak, each with its steps."""
    whole, rest = divmod(steps, STEPS_OF_A_WORLD)
    return [(world, STEPS_OF_A_WORLD) for world in range(whole)] + ([(whole, rest)] if rest else [])


def soak(seed: int, steps: int, processes: int) -> Iterator[tuple[Tally, Finding | None]]:
    """World after world, as they end."""
    worlds = worlds_of(steps)
    if processes == 1:
        for world, share in worlds:
            yield run_world(seed, world, share)
        return
    with ProcessPoolExecutor(processes) as pool:
        numbers, shares = zip(*worlds, strict=True)
        yield from pool.map(run_world, [seed] * len(worlds), numbers, shares)


def simulate(steps: int, seed: int, world: int | None, processes: int, as_json: bool) -> int:
    """Run the worlds and tell what was found: 0 every invariant held, 1 a breach. `world`: that one alone."""
    began = time.monotonic()
    total, finding, worlds = Tally(), None, 0
    if world is None:
        runs = soak(seed, max(steps, 1), max(processes, 1))
    else:
        runs = iter([run_world(seed, world, min(steps, STEPS_OF_A_WORLD), keep=True)])
    with ExitStack() as stack:
        advance = _progress(stack, steps, as_json)
        for tally, finding in runs:
            worlds += 1
            total += tally
            advance(total.steps)
            if finding is not None:
                break
    told = _object(seed, worlds, total, finding, time.monotonic() - began)
    sys.stdout.write(json.dumps(told) + "\n" if as_json else _text(told))
    return 0 if finding is None else 1


def _progress(stack: ExitStack, steps: int, quiet: bool) -> Callable[[int], None]:
    """A function that moves the bar; on a terminal there is one."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return lambda done: None
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = stack.enter_context(Progress(*columns, console=console, transient=True))
    task = progress.add_task("", total=steps)
    return lambda done: progress.update(task, completed=done)


def _object(seed: int, worlds: int, total: Tally, finding: Finding | None, seconds: float) -> dict[str, Any]:
    commands: dict[str, dict[str, Any]] = {}
    for outcome in ("accepted", "dry"):
        for name, count in getattr(total, outcome).items():
            commands.setdefault(name, {"accepted": 0, "dry": 0, "refused": {}})[outcome] = count
    for (name, rule), count in total.refused.items():
        commands.setdefault(name, {"accepted": 0, "dry": 0, "refused": {}})["refused"][rule] = count
    return {
        "seed": seed,
        "steps": total.steps,
        "worlds": worlds,
        "seconds": round(seconds, 1),
        "steps_per_second": round(total.steps / seconds) if seconds else None,
        "records": total.records,
        "by_delegation": total.delegated,
        "commands": dict(sorted(commands.items())),
        "events": dict(total.events.most_common()),
        "answers": dict(total.answers.most_common()),
        "finding": None if finding is None else {**asdict(finding), "again": finding.again},
    }


def _text(told: dict[str, Any]) -> str:
    lines = [f"{'command':<26}{'accepted':>10}{'dry':>8}{'refused':>10}  refused by"]
    for name, counts in told["commands"].items():
        rules = Counter(counts["refused"]).most_common(4)
        by = ", ".join(f"{rule} {count:,}" for rule, count in rules)
        lines.append(
            f"{name:<26}{counts['accepted']:>10,}{counts['dry']:>8,}{sum(counts['refused'].values()):>10,}  {by}"
        )
    lines += [
        "",
        f"seed {told['seed']}: {told['steps']:,} steps in {told['worlds']:,} worlds, {told['records']:,} records, "
        f"{sum(told['answers'].values()):,} access checks; {told['seconds']} s, {told['steps_per_second']:,} steps/s",
    ]
    finding = told["finding"]
    if finding is None:
        return "\n".join([*lines, "Every invariant held.", ""])
    lines.append(
        f"{finding['invariant']} does not hold in world {finding['world']}, step {finding['step']}, at position"
    )
    lines.append(f"{finding['position']} ({finding['stream']}): {finding['sentence']}")
    lines += finding["records"] or [f"To see the records: {finding['again']}"]
    return "\n".join([*lines, ""])
