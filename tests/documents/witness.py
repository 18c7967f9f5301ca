"""Which events does each command write? A plugin of pytest that watches the specs and writes down what followed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from domain import rulebook
from domain.world import kind_of

FILE = "ASSENT_WITNESSED"
"""The environment variable that names the file to write: {"request.SignOff": [event, …], …}."""


class Witness:
    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}

    def watch(self, decide: Any) -> Any:
        def watched(command: Any, *rest: Any) -> Any:
            facts = decide(command, *rest)
            name = f"{kind_of(command)}.{type(command).__name__}"
            self.seen.setdefault(name, set()).update(fact.type for fact in facts)
            return facts

        return watched

    def pytest_sessionfinish(self) -> None:
        told = {command: sorted(events) for command, events in sorted(self.seen.items())}
        Path(os.environ[FILE]).write_text(json.dumps(told))


def pytest_configure(config: pytest.Config) -> None:
    witness = Witness()
    rulebook.decide = witness.watch(rulebook.decide)
    config.pluginmanager.register(witness)
