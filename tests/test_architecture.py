"""Is the source what we say it is: layered, pure where it must be, typed, formatted, in small functions?"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sys.executable).parent
CLIENT = ROOT / "sdk" / "python"
PACKAGES = ("domain", "projections", "services", "sdk")
FUNCTION_LINES_MAX = 70
NOUNLESS = {"helper", "helpers", "manager", "managers", "common", "util", "utils", "misc"}

IMPURE = {
    "asyncio",
    "io",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
"""Standard library modules that read a clock, make ids or do I/O: not for the domain."""
CLOCK_READERS = {"now", "utcnow", "today"}


def modules(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    """The top-level names of everything a module imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="lint"),
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["mypy"], id="types"),
        pytest.param(["lint-imports", "--no-cache"], id="layers"),
    ],
)
def test_the_source_passes(command: list[str]) -> None:
    done = subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_domain_knows_the_standard_library_only_and_does_nothing_but_decide() -> None:
    allowed = (sys.stdlib_module_names - IMPURE) | {"domain"}
    foreign = {str(path): imported(tree) - allowed for path, tree in modules("domain")}
    assert {path: names for path, names in foreign.items() if names} == {}


def test_the_domain_never_asks_what_time_it_is() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules("domain")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_READERS
    ]
    assert found == []


def test_every_module_says_in_one_line_which_question_it_owns() -> None:
    silent = [str(path) for path, tree in modules(*PACKAGES, "tests") if not _first_line(tree).strip(" .")]
    assert silent == []


def _first_line(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def test_the_type_checker_refuses_to_change_a_state() -> None:
    careless = (
        "from domain.request import AccessRequest\n"
        "from domain.values import replace\n"
        "def spoil(here: AccessRequest) -> AccessRequest:\n"
        "    here.escalated = True\n"
        "    return replace(here, escaladed=True)\n"
    )
    mypy = [SCRIPTS / "mypy", "--config-file=", "--strict", "-c", careless]
    found = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert 'Property "escalated" defined in "AccessRequest" is read-only' in found
    assert 'Unexpected keyword argument "escaladed"' in found
    assert "Found 2 errors" in found


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}: {lines} lines"
        for path, tree in modules(*PACKAGES, "tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_module_has_found_its_noun() -> None:
    assert [str(path) for path, _ in modules(*PACKAGES, "tests") if NOUNLESS & set(path.stem.split("_"))] == []
