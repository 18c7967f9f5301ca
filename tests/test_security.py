"""Does docs/security.md name tests that exist, in every row?"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE)
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert (missing, len(named) > 30) == ([], True)


def test_every_threat_names_its_test_and_the_standards() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    bare = [row for row in rows if NAMED.search(row) is None or re.search(r"\| V\d+\.\d+[^|]* \|", row) is None]
    assert (bare, len(rows) > 30) == ([], True)
