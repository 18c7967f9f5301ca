"""A decider with one rule, to try the writer with: an organization is renamed at most so many times."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from domain.errors import Refused
from domain.facts import By, Fact
from domain.organization import OrganizationChanged, stream
from services.log.reader import LogEnd
from services.log.writer import Decision, NeedsStreams

ADA = By("ada", "assent", "registrar")


class RenamedEnough(Refused):
    rule = "renamed_enough"


@dataclass(frozen=True)
class Rename:
    """Rename an organization, so many times in one command, unless that makes it more than `most` times."""

    organization: str
    name: str = "Oncd"
    command: str = "command"
    most: int = 1_000_000
    times: int = 1
    dry: bool = False


@dataclass
class Registry:
    """Counts the renamings of each organization as far as the log was folded."""

    renamed: dict[str, int] = field(default_factory=dict)
    folded: list[Fact] = field(default_factory=list)
    loads: list[set[str]] = field(default_factory=list)
    decided: int = 0
    drafted: list[Fact] = field(default_factory=list)

    def decide(self, works: Sequence[Any], end: LogEnd) -> Sequence[Decision]:
        self.decided += 1
        missing = {stream(work.organization) for work in works} - self.renamed.keys()
        if missing:
            self.loads.append(missing)
            raise NeedsStreams(missing)
        renamed, position = dict(self.renamed), end.size
        renamed |= {fact.stream: fact.version for fact in self.drafted}
        recorded = end.taken_in(datetime.now(UTC))
        decisions = []
        for work in works:
            name = stream(work.organization)
            if renamed[name] + work.times > work.most:
                decisions.append(Decision(refusal=RenamedEnough("No more names.")))
                continue
            if work.dry:
                decisions.append(Decision(answer=f"would be version {renamed[name] + 1}"))
                continue
            facts = []
            for _ in range(work.times):
                renamed[name] += 1
                event = OrganizationChanged(name=work.name)
                facts.append(Fact(position, name, renamed[name], recorded, recorded, ADA, work.command, None, event))
                position += 1
            decisions.append(Decision(facts, answer=renamed[name]))
        self.drafted += [fact for decision in decisions for fact in decision.facts]
        return decisions

    def forget(self) -> None:
        self.drafted.clear()

    def load(self, stream: str, facts: Sequence[Fact]) -> None:
        self.renamed[stream] = facts[-1].version if facts else 0

    async def skip(self, size: int) -> bool:
        return False

    def fold(self, facts: Sequence[Fact]) -> None:
        self.folded += facts
        assert not self.drafted or self.drafted[: len(facts)] == list(facts), "what others wrote is no draft"
        del self.drafted[: len(facts)]
        for fact in facts:
            if fact.stream in self.renamed:
                assert fact.version == self.renamed[fact.stream] + 1
                self.renamed[fact.stream] = fact.version
