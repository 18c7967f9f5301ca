"""Does docs/security.md name tests that exist, in every row?"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


SECTIONS = {2: 4, 3: 7, 4: 4, 6: 8, 7: 6, 8: 4, 9: 2, 10: 7, 11: 7, 12: 3, 13: 4, 14: 3, 15: 4, 16: 5}
"""How many sections those chapters of ASVS 5.0.0 have that are about a service such as this one."""


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE)
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert (missing, len(named) > 30) == ([], True)


def test_every_section_that_the_page_names_exists() -> None:
    named = {(int(chapter), int(section)) for chapter, section in re.findall(r"\bV(\d+)\.(\d+)", PAGE)}
    assert {(chapter, section) for chapter, section in named if section > SECTIONS.get(chapter, 0)} == set()
    assert len(named) > 20


def test_every_threat_names_its_test_and_the_standards() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    bare = [row for row in rows if NAMED.search(row) is None or re.search(r"\| V\d+\.\d+[^|]* \|", row) is None]
    assert (bare, len(rows) > 30) == ([], True)
