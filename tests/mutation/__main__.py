"""Would a spec notice, if a rule were broken? `./run mutate [--minutes N] [--workers N] [PLACE …]`

Breaks the functions of domain/ in every way that mutmut knows, one change at a time, and runs the specs that reach the
function. What survives is either a missing spec, or explained in docs/mutation.md.

Exit codes: 0 every survivor is explained; 1 one is not, or too few were killed; 2 the specs fail without any mutant.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.mutation.judge import Judge
from tests.mutation.mutants import ROOT, Mutant, mutants_of

SPECS = ("tests/domain",)
LEFT_OUT = ("tests/domain/test_properties.py",)
"""Specs that draw what they try: what they notice differs from run to run."""
EXPLANATIONS = ROOT / "docs" / "mutation.md"
SCORE_LEAST = 0.9


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="run mutate", description=(__doc__ or "").splitlines()[0])
    found.add_argument("place", nargs="*", help="only these, such as domain.grant or domain.request.settle (domain)")
    found.add_argument("--minutes", type=float, default=60, help="stop after so long; what was judged is a fair sample")
    found.add_argument("--workers", type=int, default=2, help="how many at once (2)")
    found.add_argument("--seed", type=int, default=1, help="the order in which they are tried (1)")
    found.add_argument("--json", action="store_true", help="print one object")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    mutants = list(mutants_of(*given.place or ["domain"]))
    random.Random(given.seed).shuffle(mutants)
    judge = Judge(mutants, given.workers, given.minutes * 60, tell if sys.stderr.isatty() else lambda words: None)
    options = ["-qq", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=0", "--rootdir", str(ROOT)]
    with redirect_stdout(sys.stderr):
        code = pytest.main([*options, *(f"--ignore={path}" for path in LEFT_OUT), *SPECS], plugins=[judge])
    return report(judge, given.json) if code == pytest.ExitCode.OK else 2


def tell(words: str) -> None:
    sys.stderr.write(f"\r{words}")
    sys.stderr.flush()


def report(judge: Judge, as_json: bool) -> int:
    """Prints the score, and the survivors that nobody has explained."""
    counts = Counter(judge.verdicts.values())
    judged = len(judge.verdicts)
    score = (counts["killed"] + counts["timeout"]) / judged if judged else 1.0
    unexplained = sorted(m.name for m, verdict in judge.verdicts.items() if is_open(m, verdict))
    if as_json:
        found = {"mutants": len(judge.mutants), "judged": judged, "score": score, **counts, "unexplained": unexplained}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        closing = f"{judged} of {len(judge.mutants)} mutants judged: {told}. Score {score:.1%}."
        sys.stdout.write("\n".join([*unexplained, closing, ""]))
    return 1 if unexplained or score < SCORE_LEAST else 0


def is_open(mutant: Mutant, verdict: str) -> bool:
    return verdict in ("survived", "unreached") and mutant.name not in explained(EXPLANATIONS)


def explained(file: Path) -> set[str]:
    """The survivors that the page explains: each stands in a line of its own, as code."""
    return set(re.findall(r"^- `` (.+) ``$", file.read_text(), re.MULTILINE)) if file.exists() else set()


if __name__ == "__main__":
    sys.exit(main())
