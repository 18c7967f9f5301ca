"""What do callers of every role provoke that the description does not promise? `./run fuzz`."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.benchmarks.report import Unmeasured
from tests.fuzzing.campaign import Campaign, Tally
from tests.fuzzing.target import LEFT_OUT, attacked

REQUESTS = 50_000
SEED = 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="run fuzz", description=__doc__)
    found.add_argument("--requests", type=int, default=REQUESTS, help=f"at least how many ({REQUESTS})")
    found.add_argument("--seed", type=int, default=SEED, help=f"the same seed draws the same requests ({SEED})")
    found.add_argument("--json", action="store_true", help="print one object")
    return found


def command(arguments: Sequence[str]) -> int:
    """Attack a service of its own and tell what was found: 0 nothing, 1 faults, 2 it did not start."""
    options = parser().parse_args(arguments)
    try:
        with attacked() as target, ExitStack() as stack:
            told = told_of(
                Campaign(target, options.seed).run(options.requests, _progress(stack, options.requests, options.json)),
                options.seed,
            )
    except Unmeasured as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    sys.stdout.write(json.dumps(told) + "\n" if options.json else as_text(told))
    return 1 if told["faults"] else 0


def told_of(tally: Tally, seed: int) -> dict[str, Any]:
    """All that was found, as one object."""
    return {
        "seed": seed,
        "requests": tally.requests,
        "against_the_description": tally.against,
        "without_or_with_a_wrong_token": tally.probes,
        "seconds": round(tally.seconds, 1),
        "operations": len(tally.by_operation),
        "left_out": list(LEFT_OUT),
        "callers": dict(sorted(tally.callers.items())),
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "by_operation": {
            operation: {str(status): count for status, count in sorted(statuses.items())}
            for operation, statuses in sorted(tally.by_operation.items())
        },
        "never_2xx": tally.never_done(),
        "faults": [asdict(fault) for fault in tally.faults.values()],
    }


def as_text(told: dict[str, Any]) -> str:
    lines = []
    for operation, statuses in told["by_operation"].items():
        lines.append(f"{operation:<72} " + "  ".join(f"{status}: {count:,}" for status, count in statuses.items()))
    lines += [
        "",
        f"seed {told['seed']}: {told['requests']:,} requests by {len(told['callers'])} callers to "
        f"{told['operations']} operations, {told['against_the_description']:,} of them against the description, "
        f"{told['without_or_with_a_wrong_token']:,} without a token or with a wrong one; {told['seconds']} s",
        "answers: " + "  ".join(f"{status}: {count:,}" for status, count in told["statuses"].items()),
        "left out: " + ", ".join(told["left_out"]),
        "never answered 2xx: " + (", ".join(told["never_2xx"]) or "none"),
    ]
    for fault in told["faults"]:
        lines += [
            "",
            f"{fault['operation']}: {fault['check']}, answered {fault['status']}, {fault['times']} times",
            f"  {fault['sentence']}",
            f"  {fault['again']}",
        ]
    lines.append("" if told["faults"] else "Every answer was as described.\n")
    return "\n".join(lines)


def _progress(stack: ExitStack, requests: int, quiet: bool) -> Callable[[int], None]:
    """A function that moves the bar; on a terminal there is one."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return lambda done: None
    columns = (TextColumn("fuzzing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = stack.enter_context(Progress(*columns, console=console, transient=True))
    task = progress.add_task("", total=requests)
    return lambda done: progress.update(task, completed=done)
