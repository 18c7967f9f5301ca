"""Whose texts must be kept, were any erased meanwhile, and which machine's key was good when it was changed?"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.books import Entry, Violation, instant


@dataclass(slots=True)
class Key:
    until: datetime
    revoked: bool = False


@dataclass(slots=True)
class Texts:
    """Folds the streams of keys, holds, subjects and of the retention."""

    log: Any
    keys: dict[str, Key] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    kept: dict[str, set[str]] = field(default_factory=dict)
    days: int = 0

    def take(self, entry: Entry) -> None:
        match entry.kind:
            case "key":
                self._key(entry)
            case "hold":
                self._hold(entry)
            case "subject":
                self._subject(entry)
            case "retention":
                self.days = entry.data["days"]

    def _key(self, entry: Entry) -> None:
        if entry.type == "KeyIssued":
            self.keys[entry.id] = Key(instant(entry.data["until"]))
            return
        here = self.keys.get(entry.id)
        if here is None or here.revoked or here.until <= entry.occurred:
            raise Violation("§9", f"{entry.type} for a key that opens nothing")
        here.revoked = entry.type == "KeyRevoked"

    def _hold(self, entry: Entry) -> None:
        if entry.type == "LegalHoldPlaced":
            self.holds[entry.id] = entry.data["person"]
        elif self.holds.pop(entry.id, None) is None:
            raise Violation("legal_hold", f"hold {entry.id} was released, and does not stand")

    def _subject(self, entry: Entry) -> None:
        kept = self.kept.setdefault(entry.id, set())
        match entry.type:
            case "SubjectHeld":
                if self.holds.get(entry.data["hold"]) != entry.id:
                    raise Violation("legal_hold", "held by a hold on somebody else")
                kept.add(entry.data["hold"])
            case "SubjectFreed":
                kept.remove(entry.data["hold"])
            case "SubjectErased":
                self._erased(entry, kept)

    def _erased(self, entry: Entry, kept: set[str]) -> None:
        if kept:
            raise Violation("legal_hold", f"{entry.id} was erased under {sorted(kept)}")
        if not self.days:
            return
        for here in self.log.offices.organizations.values():
            for tenure in here.tenures.get(entry.id, ()):
                if tenure.until is None or tenure.until + timedelta(days=self.days) > entry.occurred:
                    raise Violation("retention", f"{entry.id} was erased before the texts' time was over")

    def settled(self, entry: Entry) -> None:
        """A hold on a person is in that person's stream as well, in the same append."""
        if entry.kind == "hold":
            standing = {id for id, person in self.holds.items() if id == entry.id}
            if any(entry.id in kept for kept in self.kept.values()) != bool(standing):
                raise Violation("legal_hold", f"hold {entry.id} is not in the stream of whom it keeps")
