"""How is a log forged, to see whether the auditor notices? True records, then one that no rule would have written."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from domain.facts import SYSTEM, By, Event, Fact
from services.log import record
from tests.simulation.auditor import Auditor
from tests.simulation.books import Violation
from tests.spec import Story, instant

Record = dict[str, Any]


def of(office: str, *via: str) -> By:
    """`olga@oncd/reviewer`; `system` is nobody."""
    if office == "system":
        return SYSTEM
    person, _, rest = office.partition("@")
    organization, _, role = rest.partition("/")
    return By(person, organization, role, via)


class Forgery:
    """The log of a true story, and what was slipped into it."""

    def __init__(self, story: Story) -> None:
        self.records: list[Record] = [json.loads(record.seal_fact(fact)) for fact in story.facts]
        self._now = story.now

    def newest(self, type_: str) -> Record:
        """The newest record of that type."""
        return next(r for r in reversed(self.records) if r["type"] == type_)

    def lines(self) -> list[bytes]:
        return [json.dumps(one).encode() for one in self.records]

    def slip(
        self, stream: str, event: Event, who: By, *, at: str = "", follows: bool = False, command: str = ""
    ) -> "Forgery":
        """One more record; with `follows`, as if it followed from the record before it."""
        before = self.records[-1]
        occurred = instant(at) if at else self._now
        last = [r["position"] for r in self.records if r["cause"] is None][-1]
        fact = Fact(
            before["position"] + 1,
            stream,
            sum(r["stream"] == stream for r in self.records) + 1,
            max(occurred, datetime.fromisoformat(before["recorded"])),
            occurred,
            who,
            command,
            last if follows else None,
            event,
        )
        self.records.append(json.loads(record.seal_fact(fact)))
        return self

    def change(self, type_: str, **values: Any) -> "Forgery":
        """Rewrite the newest record of that type: its `occurred`, `position`, `by`, …, or what it holds."""
        found = self.newest(type_)
        for name, value in values.items():
            (found if name in found else found["data"])[name] = value
        return self

    def drop(self, type_: str) -> "Forgery":
        """Take the newest record of that type out, and close the gap it leaves."""
        gone = self.newest(type_)
        self.records.remove(gone)
        for r in self.records:
            if r["position"] > gone["position"]:
                r["position"] -= 1
                if r["cause"] is not None and r["cause"] > gone["position"]:
                    r["cause"] -= 1
                if r["stream"] == gone["stream"]:
                    r["version"] -= 1
        return self

    def audit(self) -> Auditor:
        """Have it read. Raises Violation."""
        return audited(self.records)


def appends(records: Sequence[Record]) -> list[list[Record]]:
    """Together what was written together: an act, and what followed from it."""
    found: list[list[Record]] = []
    for one in records:
        if one["cause"] is None or not found:
            found.append([])
        found[-1].append(one)
    return found


def audited(records: Sequence[Record]) -> Auditor:
    """An auditor who has read these records. Raises Violation."""
    auditor = Auditor()
    for append in appends(records):
        auditor.append([json.dumps(one).encode() for one in append])
    return auditor


def honest(story: Story) -> Auditor:
    """The true story, read; nothing is found in it."""
    return Forgery(story).audit()


def breach_of(forgery: Forgery) -> str:
    """The invariant that the auditor finds broken; empty: none."""
    try:
        forgery.audit()
    except Violation as violation:
        assert violation.position >= 0, "a breach is somewhere"
        return violation.invariant
    return ""
