"""What surrounds an event in the log: who did it, when, where it stands, and what of it may a reader see?"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.fields import Label, is_visible, redact, who
from domain.values import replace, unguarded

Event = Any
"""One of the frozen dataclasses listed in `rulebook.EVENTS`."""


IMPORTER = "import:"
"""What a chain of `via` ends with where an importer told of the act: `import:<person>`."""


@unguarded
@dataclass(frozen=True, slots=True)
class By:
    """Who acted, holding which role in which organization; `via` is the chain of delegators, then the importer."""

    person: str
    organization: str
    role: str
    via: tuple[str, ...] = ()

    @property
    def people(self) -> frozenset[str]:
        """The person and those whose powers they use: what one may not do, they may not do for another (I4)."""
        return frozenset(filter(None, (self.person, *self.delegators)))

    @property
    def delegators(self) -> tuple[str, ...]:
        """Whose powers are used. Who told of an act lends no power, and takes no part in it."""
        return self.via[:-1] if self.via and self.imported else self.via

    @property
    def imported(self) -> bool:
        """Whether an importer told of it."""
        return bool(self.via) and self.via[-1].startswith(IMPORTER)


SYSTEM = By("system", "assent", "system")
"""The actor of timers: silence, lapses and expiries are nobody's act."""

HIDDEN = By("", "", "")


@unguarded
@dataclass(frozen=True, slots=True)
class Fact:
    """An event as the log holds it. Times are UTC; `cause` is the position of the fact this one follows from."""

    position: int
    stream: str
    version: int
    recorded: datetime
    occurred: datetime
    by: By
    command: str
    cause: int | None
    event: Event
    salt: str = field(default="", repr=False)

    @property
    def type(self) -> str:
        return type(self.event).__name__


def seen(fact: Fact, clearance: Label) -> Fact | None:
    """The fact as a reader of that clearance may see it; None: not at all.

    Below interagency, officers have no names; their organization is shown unless it is part of the deliberations.
    """
    kind: type = type(fact.event)
    if not is_visible(kind, clearance):
        return None
    by = fact.by
    if clearance < Label.INTERAGENCY and by.role not in ("applicant", "system"):
        by = HIDDEN if who(kind) > clearance else By("", by.organization, "")
    event = redact(fact.event, clearance)
    return fact if event is fact.event and by is fact.by else replace(fact, by=by, event=event)
