"""How long does it take from a model's announcement until customers may use it?

Of each release: when it was first open to all, and when each customer was first admitted by a grant, whatever became of
that grant later.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from domain.facts import Fact
from domain.release import CustomerAdmitted, PhaseAdvanced, PhaseRolledBack, Release, ReleaseAnnounced


@dataclass(frozen=True, slots=True)
class Reached:
    """What a release reached at a position of the log: its first open phase, or (with a grant) another customer."""

    position: int
    announced: datetime
    occurred: datetime
    customer: str = ""
    grant: str = ""


@dataclass(slots=True)
class Rollout:
    """What one release has reached so far."""

    is_open: bool = False
    customers: set[str] = field(default_factory=set)

    def follow(self, fact: Fact, here: Release | None) -> Iterator[Reached]:
        """What the release reaches for the first time by one more fact of it, which left it as it is `here`."""
        if here is None:
            return
        match fact.event:
            case ReleaseAnnounced() | PhaseAdvanced() | PhaseRolledBack() if (
                here.phase.access == "open" and not self.is_open
            ):
                self.is_open = True
                yield Reached(fact.position, here.announced, fact.occurred)
            case CustomerAdmitted(customer, grant) if customer not in self.customers:
                self.customers.add(customer)
                yield Reached(fact.position, here.announced, fact.occurred, customer, grant)
