"""Which measurements are there, and how are they asked for? `./run bench NAME [--json]`."""

import argparse
import json
import sys
from collections.abc import Sequence

from tests.benchmarks import (
    checks,
    commands,
    growth,
    histories,
    imports,
    kill,
    queries,
    rebuild,
    tamper,
    turnaround,
    verify,
    visible,
)
from tests.benchmarks.report import Unmeasured, as_text

BENCHMARKS = {
    "checks": checks,
    "commands": commands,
    "growth": growth,
    "histories": histories,
    "import": imports,
    "kill": kill,
    "queries": queries,
    "rebuild": rebuild,
    "tamper": tamper,
    "turnaround": turnaround,
    "verify": verify,
    "visible": visible,
}
"""A benchmark is a module whose first line says what it measures, with `add_options(parser)` and `run(options)`."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="run bench", description="Measure; every ratio within one run.")
    names = found.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in BENCHMARKS.items():
        assert module.__doc__ is not None
        each = names.add_parser(name, help=module.__doc__.splitlines()[0].replace("%", "%%"))
        each.add_argument("--json", action="store_true", help="print one object: figures, ratios, missing")
        module.add_options(each)
    return found


def command(arguments: Sequence[str]) -> int:
    """Measure and print. 0; 1 when what was measured went wrong or does not hold; 2 (SystemExit) for bad arguments."""
    options = parser().parse_args(arguments)
    try:
        report = BENCHMARKS[options.name].run(options)
    except Unmeasured as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 1
    sys.stdout.write((json.dumps(report.as_object()) if options.json else as_text(report)) + "\n")
    return 0 if report.holds else 1
