"""In which ways can a function of the rule book be broken, one small change at a time?

The changes are mutmut's. A mutant is put in place by giving the function other code, so nothing is copied or reloaded.
"""

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import libcst as cst
from mutmut.mutation.file_mutation import create_mutations

ROOT = Path(__file__).parents[2]
DECORATORS = re.compile(r"^(\s*)@(property|cache)$", re.MULTILINE)
"""What mutmut leaves out, and we do not: a property is a rule as well."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One function with one change; `name` says where and which, the same in every run."""

    name: str
    module: str
    path: tuple[str, ...]
    source: str

    @property
    def place(self) -> str:
        return ".".join((self.module, *self.path))

    def install(self) -> None:
        """Give the function the changed code. Call it in a process of its own: there is no way back."""
        function = function_at(self.module, self.path)
        function.__code__, function.__defaults__, function.__kwdefaults__ = self.compiled()

    def compiled(self) -> tuple[Any, Any, Any]:
        """Its code, and the defaults of its parameters."""
        within = dict(vars(import_module(self.module)))
        *classes, name = self.path
        source = self.source
        if classes:  # a method's code may name its class, which only a class body gives it
            source = "class Within:\n" + textwrap.indent(source, "    ")
        exec(compile(source, f"<{self.name}>", "exec"), within)  # noqa: S102 - mutmut's text, not a stranger's
        found = vars(within["Within"])[name] if classes else within[name]
        return found.__code__, found.__defaults__, found.__kwdefaults__


def function_at(module: str, path: tuple[str, ...]) -> FunctionType:
    """The plain function of that name, under its property or cache."""
    found: Any = import_module(module)
    for name in path:
        found = vars(found)[name]
    found = inspect.unwrap(found.fget if isinstance(found, property) else found)
    assert isinstance(found, FunctionType), f"{module}.{'.'.join(path)} is no function"
    return found


def mutants_of(*places: str) -> Iterator[Mutant]:
    """Every mutant of these places (`domain`, `domain.grant`, `domain.grant.narrow`), in the order of the source."""
    for file in sorted((ROOT / "domain").glob("*.py")):
        module = f"domain.{file.stem}"
        if any(is_within(module, place) or is_within(place, module) for place in places):
            yield from (m for m in _mutants_of_file(file, module) if any(is_within(m.place, place) for place in places))


def is_within(place: str, another: str) -> bool:
    return place == another or place.startswith(f"{another}.")


def _mutants_of_file(file: Path, module: str) -> Iterator[Mutant]:
    code = DECORATORS.sub(r"\1# \2", file.read_text())
    tree, mutations, _, _ = create_mutations(str(file.relative_to(ROOT)), code)
    paths = dict(_paths(tree))
    names: Counter[str] = Counter()
    for mutation in mutations:
        function = mutation.contained_by_top_level_function
        if function not in paths or is_wording(mutation.original_node):
            continue
        path = paths[function]
        before = _source(tree, function)
        after = _source(tree, function.deep_replace(mutation.original_node, mutation.mutated_node))
        name = f"{module}.{'.'.join(path)}: {change(before, after)}"
        names[name] += 1
        yield Mutant(name if names[name] == 1 else f"{name} ({names[name]})", module, path, after)


def _paths(tree: cst.Module) -> Iterator[tuple[cst.CSTNode, tuple[str, ...]]]:
    """Each function and method with its path of names."""
    for node in tree.body:
        if isinstance(node, cst.FunctionDef):
            yield node, (node.name.value,)
        elif isinstance(node, cst.ClassDef):
            for part in node.body.body:
                if isinstance(part, cst.FunctionDef):
                    yield part, (node.name.value, part.name.value)


def _source(tree: cst.Module, function: cst.FunctionDef) -> str:
    return textwrap.dedent(tree.code_for_node(function.with_changes(leading_lines=[])))


def is_wording(node: cst.CSTNode) -> bool:
    """Whether it is a text of several words: how a sentence is put is no rule."""
    return isinstance(node, cst.SimpleString) and " " in node.value


def change(before: str, after: str) -> str:
    """The change as `what was → what is`, from the lines that differ."""
    lines = list(unified_diff(before.splitlines(), after.splitlines(), n=0))[3:]
    was, now = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
    return f"{_brief(was)} → {_brief(now)}"


def _brief(lines: list[str]) -> str:
    return " ⏎ ".join(lines[:2]) + (" …" if len(lines) > 2 else "") if lines else "nothing"
