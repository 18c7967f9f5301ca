"""What does an auditor keep of the log, record by record, and what does a breach look like?

Nothing here knows the domain or the services: the books are folded from JSON by rules written a second time.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

SYSTEM = "system"
IMPORTER = "import:"


class Violation(Exception):
    """An invariant does not hold. `position` and `stream` say where the log shows it."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(invariant, sentence)
        self.invariant = invariant
        self.sentence = sentence
        self.position = -1
        self.stream = ""

    def at(self, position: int, stream: str) -> "Violation":
        """The same, and where: what is known already stays."""
        if self.position < 0:
            self.position, self.stream = position, stream
        return self

    def __str__(self) -> str:
        return f"{self.invariant} at position {self.position} ({self.stream}): {self.sentence}"


@lru_cache(4096)
def instant(text: str) -> datetime:
    """A time as records write it: RFC 3339, UTC."""
    return datetime.fromisoformat(text)


def instant_or_none(text: str | None) -> datetime | None:
    return None if text is None else instant(text)


@dataclass(slots=True)
class Entry:
    """One record as the books need it; `people` are the person and those whose powers they use."""

    position: int
    stream: str
    kind: str
    id: str
    version: int
    type: str
    recorded: datetime
    occurred: datetime
    person: str
    organization: str
    role: str
    via: tuple[str, ...]
    command: str
    cause: int | None
    data: dict[str, Any]

    @property
    def people(self) -> set[str]:
        return {self.person, *self.via}

    @property
    def by_system(self) -> bool:
        return self.role == SYSTEM


def entry_of(record: dict[str, Any]) -> Entry:
    """The record's entry. Raises KeyError where a key is missing."""
    kind, _, id = record["stream"].partition("-")
    by = record["by"]
    return Entry(
        record["position"],
        record["stream"],
        kind,
        id,
        record["version"],
        record["type"],
        instant(record["recorded"]),
        instant(record["occurred"]),
        by["person"],
        by["organization"],
        by["role"],
        tuple(person for person in by["via"] if not person.startswith(IMPORTER)),
        record["command"],
        record["cause"],
        record["data"],
    )
