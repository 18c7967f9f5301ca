"""Does the log alone show that every invariant of DESIGN §3 held?

The auditor reads the records' JSON, append by append, and knows nothing of the domain: its books fold every stream,
weigh every tree and count every day by rules written a second time. The first breach is raised as a Violation that
names the invariant and the position.
"""

import json
from datetime import date, datetime
from typing import Any

from tests.simulation.books import Entry, Violation, entry_of, instant
from tests.simulation.books import access as access_book
from tests.simulation.books.access import Use
from tests.simulation.books.directives import Directives
from tests.simulation.books.grants import Grants
from tests.simulation.books.offices import Concerned, Offices
from tests.simulation.books.releases import Releases
from tests.simulation.books.requests import Requests
from tests.simulation.books.texts import Texts

NO_CLOSURES: frozenset[date] = frozenset()


class Auditor:
    """Everything the log has told so far; `size` is how many records that were."""

    def __init__(self) -> None:
        self.size = 0
        self.recorded: datetime | None = None
        self.versions: dict[str, int] = {}
        self.occurred: dict[str, datetime] = {}
        self.policies: dict[str, list[dict[str, Any]]] = {}
        self.calendars: dict[str, frozenset[date]] = {}
        self.log_key: str | None = None
        self._refused: set[str] = set()
        self.offices = Offices()
        self.requests = Requests(self)
        self.grants = Grants(self)
        self.releases = Releases(self)
        self.directives = Directives()
        self.texts = Texts(self)
        self._concerned = Concerned(self)
        self._primary: Entry | None = None
        self._last_timer: datetime | None = None
        self._touched: dict[str, Entry] = {}

    # What the auditor is told

    def append(self, lines: list[bytes]) -> None:
        """The records of one command, with the timers that were decided before it. Raises Violation."""
        self._touched = {}
        self._last_timer = None
        for line in lines:
            entry = entry_of(json.loads(line))
            try:
                self._take(entry)
            except Violation as violation:
                raise violation.at(entry.position, entry.stream) from None
        for stream, entry in self._touched.items():
            try:
                self._settled(entry)
            except Violation as violation:
                raise violation.at(entry.position, stream) from None

    def refused(self, command: str, person: str, stream: str | None, refusal: dict[str, Any]) -> None:
        """A command was refused. I18: it names its rule and left nothing; I5: who is recused sees nothing there."""
        if not (refusal["rule"] and refusal["title"] and refusal["detail"]):
            raise Violation("I18", f"a refusal does not say which rule: {refusal}")
        if refusal["status"] != 404 and refusal["status"] >= 409 and not refusal["missing"]:
            raise Violation("I18", f"a refusal does not say what is missing: {refusal}")
        self._refused.add(command)
        kind, _, id = (stream or "").partition("-")
        recused = self.requests.all[id].recused if kind == "request" and id in self.requests.all else set()
        if person in recused and (refusal["status"], refusal["rule"]) not in ((404, "need_to_know"), (422, "I8")):
            raise Violation("I5", f"{person} is recused, and learned more than that nothing is there").at(
                self.size, stream or ""
            )

    def answered(self, use: Use, now: datetime, reason: str, allowed: bool) -> None:
        """What a check said at that time. I10: what the books say."""
        mine = access_book.reason(self, use, now)
        if (reason, allowed) != (mine, mine in ("granted", "open_phase")):
            raise Violation("I10", f"{use} was answered {reason}, and the log says {mine}").at(self.size - 1, "access")

    # One record

    def _take(self, entry: Entry) -> None:
        if entry.command in self._refused:
            raise Violation("I18", "a refused command left an event")
        self._in_order(entry)
        self._in_time(entry)
        if entry.cause is None:
            self.offices.authorised(entry, self._concerned)
            self._primary = entry
        self._book(entry)
        self.size += 1
        self.recorded = entry.recorded
        self.versions[entry.stream] = entry.version
        self.occurred[entry.stream] = entry.occurred
        self._touched[entry.stream] = entry

    def _in_order(self, entry: Entry) -> None:
        """I8: positions and versions without gaps, and no time that goes back."""
        if entry.position != self.size:
            raise Violation("I8", f"position {entry.position} follows {self.size - 1}")
        if entry.version != self.versions.get(entry.stream, 0) + 1:
            raise Violation("I8", f"version {entry.version} follows {self.versions.get(entry.stream, 0)}")
        if entry.occurred > entry.recorded:
            raise Violation("I8", "recorded before it occurred")
        if self.recorded is not None and entry.recorded < self.recorded:
            raise Violation("I8", "recorded before the record before it")
        last = self.occurred.get(entry.stream)
        if last is not None and entry.occurred < last:
            raise Violation("I8", f"occurred before the last event of its stream ({last})")

    def _in_time(self, entry: Entry) -> None:
        """I8: due timers first, in due order; what follows from an act takes its time, or its stream's last."""
        primary, last = self._primary, self.occurred.get(entry.stream)
        if entry.cause is None:
            self._last_timer = self._last_timer if entry.by_system else None
            self._timers_first(entry, entry.occurred)
            return
        if primary is None or entry.cause != primary.position or entry.command != primary.command:
            raise Violation("I8", f"it follows from {entry.cause}, which is not what was done just before")
        if (entry.person, entry.organization, entry.role) != (primary.person, primary.organization, primary.role):
            raise Violation("I8", "what follows from an act is another one's")
        time = primary.occurred if last is None else max(primary.occurred, last)
        if entry.occurred != time:
            raise Violation("I8", f"it occurred at {entry.occurred}, and what it follows from at {primary.occurred}")
        touched = self._touched.get(entry.stream)
        if touched is None or touched.command != entry.command:
            self._timers_first(entry, primary.occurred)

    def _timers_first(self, entry: Entry, now: datetime) -> None:
        """What time alone does to this stream by then was decided before; a timer is the first that is due."""
        due = sorted(self._due(entry), key=lambda timer: timer[0])
        if entry.cause is not None or not entry.by_system or entry.kind not in ("request", "grant"):
            if due and due[0][0] <= now:
                raise Violation("I8", f"{due[0][1]} was due at {due[0][0]}, and was not decided first")
            return
        first = due[0][0] if due else None
        key = entry.data.get("number") if entry.type == "InformationRequestLapsed" else entry.data.get("agency")
        types = {"NoObjectionDeemed": "DeadlineMissed"}
        if (first, types.get(entry.type, entry.type), key) not in due or first is None or entry.occurred < first:
            kept = entry.kind == "grant" and self.grants.of(entry.id).kept
            raise Violation("I14" if kept else "I3", f"{entry.type} came, and was not what was due first")
        last = self.occurred.get(entry.stream)
        if entry.occurred != (first if last is None else max(first, last)):
            raise Violation("I8", f"what was due at {first} occurred at {entry.occurred}")
        if self._last_timer is not None and first < self._last_timer:
            raise Violation("I8", "timers were not decided in due order")
        self._last_timer = first

    def _due(self, entry: Entry) -> list[tuple[datetime, str, Any]]:
        if entry.kind == "request" and entry.id in self.requests.all:
            return self.requests.next_due(self.requests.all[entry.id])
        if entry.kind == "grant" and entry.id in self.grants.all:
            return self.grants.next_due(self.grants.all[entry.id])
        return []

    def _book(self, entry: Entry) -> None:
        if self._primary is not None and entry.cause is not None and self._primary.type == "DirectiveLifted":
            raise Violation("I11", "lifting a directive did more than lift it")
        match entry.kind:
            case "request":
                self.requests.take(entry)
            case "grant":
                self.grants.take(entry)
            case "release":
                self.releases.take(entry)
            case "directive":
                self.directives.take(entry)
            case "organization":
                self.offices.take(entry)
            case "policy":
                self.policies.setdefault(entry.id, []).append(entry.data)
            case "calendar":
                days = frozenset(date.fromisoformat(day) for day in entry.data["dates"])
                self.calendars[entry.id] = self.closures(entry.id) | days
            case "log":
                if entry.data["previous"] != self.log_key or entry.data["key"] == self.log_key:
                    raise Violation("§5", f"the key after {self.log_key} does not name it")
                self.log_key = entry.data["key"]
            case "key" | "hold" | "subject" | "retention":
                self.texts.take(entry)
            case _:
                raise Violation("§2", f"there is no stream {entry.stream}")

    # The end of an append

    def _settled(self, entry: Entry) -> None:
        if entry.kind == "request":
            request = self.requests.of(entry.id)
            self.requests.settled(request)
            if request.grant is not None and request.grant not in self.grants.all:
                raise Violation("I2", "approved, and no grant was issued with it")
            if request.renews is not None and request.renews in self.grants.all:
                self.grants.settled(self.grants.of(request.renews))
        elif entry.kind == "grant":
            grant = self.grants.of(entry.id)
            self.grants.settled(grant)
            self.releases.settled_for(grant.customer, grant.release)
        elif entry.kind == "release":
            self.releases.settled(self.releases.of(entry.id))
        elif entry.kind == "hold":
            self.texts.settled(entry)

    # What the books ask of each other

    @property
    def acted(self) -> datetime:
        """When that was done from which the present record follows."""
        assert self._primary is not None, "every record follows from an act"
        return self._primary.occurred

    def closures(self, calendar: str) -> frozenset[date]:
        return self.calendars.get(calendar, NO_CLOSURES)

    def policy(self, id: str, version: int) -> dict[str, Any]:
        return self.policies[id][version - 1]

    def policy_in_force(self, id: str, now: datetime) -> tuple[int, dict[str, Any]]:
        """The newest version in effect, with its number."""
        for number in range(len(self.policies.get(id, ())), 0, -1):
            if instant(self.policies[id][number - 1]["effective_from"]) <= now:
                return number, self.policies[id][number - 1]
        raise Violation("I2", f"no version of {id} was in force")
