"""What does docs/events.md say? `./run docs` writes it from the domain, and from what the specs were seen to do.

It has docs/authority-matrix.md, the definitions in docs/turnaround.md and the client's surface.py written as well, by
the tests that see them.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from functools import cache
from inspect import cleandoc
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from domain.fields import Label, hints, labels, sealed_fields, who
from domain.log import AcceptRollback
from domain.rulebook import ALIASES, EVENTS, STREAMS
from domain.sign_offs import AllOf, AtLeast, Leaf, Tree
from services.http.commands import COMMANDS, PREFIX, UNROUTED
from tests.documents import witness

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "docs" / "events.md"
FIRST = 1
SINCE: dict[str, int] = {}
"""The edition in which an event (`Name`) or a field (`Name.field`) appeared, where it was not the first."""

OF_THE_SERVICE = {AcceptRollback: "the service itself, once an operator has accepted it"}
"""Commands that nobody may give, other than those of time alone."""

DRAWN = "tests/domain/test_properties.py"
"""Specs that draw what they try: what they show differs from run to run."""

INTRODUCTION = """
# Events

Written by `./run docs` from `domain/` and its specs; a test compares. Every event is immutable, and stored for ever
under its name: a field that comes later has a default, a renamed event keeps its old name as an alias, a changed
meaning is a new event. Each has a golden file, the `data` of one record byte for byte, in `tests/domain/golden/`.

A reader cleared for one label reads every lower one as well:

| label | who reads it |
|---|---|
| public | everybody signed in |
| applicant | the customer concerned |
| interagency | the agencies of the tree, the release's provider, registrars and deciders |
| agency | the acting agency's own officers |
| auditor | auditors alone |

A sealed field holds text of an applicant, under a key per person. No rule decides on it, and destroying the key erases
it.
"""

Writes = Mapping[str, list[str]]


@cache
def witnessed() -> Writes:
    """The events that each command wrote in the specs, by their names. The specs must pass."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "writes.json"
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", witness.__name__, f"--ignore={DRAWN}"]
        command = [sys.executable, "-m", "pytest", *options, "tests/domain"]
        environment = {**os.environ, witness.FILE: str(file)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found: Writes = json.loads(file.read_text())
        return found


def book(writes: Writes) -> str:
    """The whole page."""
    parts = [INTRODUCTION.strip(), *_commands(writes)]
    for module in MODULES:
        parts += [f"## {_title(module)}", _about(module)]
        parts += [part for event in events_of(module) for part in _event(event, writes)]
    parts += ["## Parts", "What fields of events hold, where it is more than a word.", *_parts()]
    return "\n\n".join(parts) + "\n"


MODULES = tuple(dict.fromkeys(sys.modules[event.__module__] for event in EVENTS.values()))
"""The files that events are written in: a stream's own, or one that streams share."""


def _title(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _about(module: ModuleType) -> str:
    question = (module.__doc__ or "").splitlines()[0].partition(": ")[2]
    question = question[:1].upper() + question[1:]
    return (
        f"Stream `{module.KIND}-<id>`. {question}" if module in STREAMS.values() else f"In several streams. {question}"
    )


# Commands


def commands() -> Iterator[tuple[str, type]]:
    """Every command, as `stream.Name`, in the order of the files."""
    for kind, module in STREAMS.items():
        for command in get_args(module.Command) or (module.Command,):
            yield f"{kind}.{command.__name__}", command


def address_of(command: type) -> str:
    """Where a command is posted; what else gives it, where nobody posts it."""
    paths = [path for path, routed in COMMANDS.items() if routed is command]
    return f"`POST {PREFIX}{paths[0]}`" if paths else {**UNROUTED, **OF_THE_SERVICE}.get(command, "time alone")


def _commands(writes: Writes) -> Iterator[str]:
    yield "## Commands"
    yield "Each with its address and every event that it was seen to write, in its own stream or in others."
    rows = [f"| {name} | {address_of(command)} | {_linked(writes.get(name, []))} |" for name, command in commands()]
    yield "\n".join(["| command | address | events |", "|---|---|---|", *rows])


def _linked(names: list[str]) -> str:
    in_order = [name for name in EVENTS if name in names]
    return ", ".join(f"[{name}](#{name.lower()})" for name in in_order)


# Events


def events_of(module: ModuleType) -> list[type]:
    return [event for name, event in EVENTS.items() if name == event.__name__ and event.__module__ == module.__name__]


def meaning(kind: type) -> str:
    """What a dataclass says of itself; empty where it says nothing."""
    text = kind.__doc__ or ""
    return "" if text.startswith(f"{kind.__name__}(") else " ".join(cleandoc(text).split())


def since(name: str) -> int:
    return SINCE.get(name, FIRST)


def _event(event: type, writes: Writes) -> Iterator[str]:
    name = event.__name__
    yield f"### {name}"
    yield meaning(event)
    by = [command for command, written in writes.items() if name in written]
    facts = [f"Written by {', '.join(by)}.", f"Since edition {since(name)}."]
    old = [alias for alias, new in ALIASES.items() if new == name]
    if old:
        facts.append(f"Formerly {', '.join(old)}.")
    if who(event) > Label.APPLICANT:
        facts.append("Applicants do not learn which organization acted.")
    yield " ".join(facts)
    if fields(event):
        yield "\n".join(["| field | holds | label | default | |", "|---|---|---|---|---|", *_rows(event)])


def _rows(event: type) -> Iterator[str]:
    for field in fields(event):
        edition = since(f"{event.__name__}.{field.name}")
        remarks = [_sealed(event, field.name), "" if edition == since(event.__name__) else f"since edition {edition}"]
        label = labels(event)[field.name].name.lower()
        holds = in_words(hints(event)[field.name])
        yield f"| {field.name} | {holds} | {label} | {_default(field)} | {', '.join(filter(None, remarks))} |"


def _sealed(kind: type, field: str) -> str:
    return "sealed" if field in sealed_fields(kind) else ""


def _default(field: Any) -> str:
    if field.default is not MISSING:
        return f"`{json.dumps(field.default, default=_empty)}`"
    return "" if field.default_factory is MISSING else f"`{json.dumps(field.default_factory(), default=_empty)}`"


def _empty(value: Any) -> Any:
    """A default that is an object of ours has defaults only."""
    assert value == type(value)(), f"{value} is not told by its type"
    return {}


# Types


def in_words(hint: Any) -> str:
    """A field's type, for a reader of the JSON."""
    origin = get_origin(hint)
    if origin is Annotated:
        return in_words(get_args(hint)[0])
    if origin in (Union, UnionType):
        return " or ".join(in_words(part) for part in get_args(hint))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if origin is tuple:
        return f"list of {in_words(get_args(hint)[0])}"
    if origin is dict:
        return f"{in_words(get_args(hint)[1])} by {in_words(get_args(hint)[0])}"
    if hint is Tree or is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {str: "text", int: "number", bool: "true or false", datetime: "time", date: "day", NoneType: "null"}[hint]


def _parts() -> Iterator[str]:
    for part in sorted(parts_of([*EVENTS.values(), Leaf, AllOf, AtLeast]), key=lambda part: part.__name__):
        yield f"### {part.__name__}"
        if meaning(part):
            yield meaning(part)
        if part is Tree:
            yield f"One of {', '.join(in_words(kind) for kind in (Leaf, AllOf, AtLeast))}."
            continue
        rows = [
            f"| {f.name} | {in_words(hints(part)[f.name])} | {_default(f)} | {_sealed(part, f.name)} |"
            for f in fields(part)
        ]
        yield "\n".join(["| field | holds | default | |", "|---|---|---|---|", *rows])


def parts_of(kinds: list[type]) -> set[type]:
    """Every dataclass of ours that a field holds, at any depth, and the shapes of a tree."""
    found: set[type] = {Leaf, AllOf, AtLeast}
    waiting = list(kinds)
    while waiting:
        for hint in hints(waiting.pop()).values():
            new = [part for part in _held(hint) if part not in found]
            found.update(new)
            waiting += [part for part in new if part is not Tree]
    return found


def _held(hint: Any) -> Iterator[type]:
    if hint is Tree or (isinstance(hint, type) and is_dataclass(hint)):
        yield hint
    for part in get_args(hint):
        yield from _held(part)


def main() -> int:
    BOOK.write_text(book(witnessed()))
    pages = [
        "tests/services/http/test_matrix.py",
        "tests/sdk/test_client.py::test_the_client_knows_every_address_and_what_it_takes",
        "tests/projections/test_turnaround.py::test_the_page_says_what_the_answer_says",
    ]
    matrix = [sys.executable, "-m", "pytest", "-q", *pages]
    return subprocess.run(matrix, cwd=ROOT, env={**os.environ, "WRITE_PAGES": "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
