"""What are the figures of turnaround, worked out the long way from a log's records? Nothing here knows the projections.

Every review is found by walking through its request's records, as of a position; medians come from `statistics`.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from tests.simulation.books import Entry, entry_of
from tests.simulation.books.trees import NO, YES, Position, Positions, agencies, leaf_says, leaves, says

ENDS = {
    "RequestDenied": "denied",
    "RequestReturned": "returned",
    "RequestWithdrawn": "withdrawn",
    "InformationRequestLapsed": "lapsed",
}
GIVEN = ("approved", "conditional", "denied")
TIMED = (*GIVEN, "no_objection", "returned")

FLAGS = {
    "InformationRequested": "information_requested",
    "DeadlineMissed": "deadline_missed",
    "NoObjectionDeemed": "silence",
}

Row = dict[str, Any]


def in_days(elapsed: timedelta) -> Decimal:
    exact = Decimal(elapsed.days) + Decimal(elapsed.seconds) / 86_400 + Decimal(elapsed.microseconds) / 86_400_000_000
    tenth = exact.quantize(Decimal("0.1"), ROUND_HALF_UP)
    return tenth if tenth <= 10 else exact.quantize(Decimal(1), ROUND_HALF_UP)


def washington(time: datetime) -> str:
    return time.astimezone(ZoneInfo("America/New_York")).strftime("%Y-%m-%d")


class Reckoning:
    """Everything a log's records (JSON, in order) say of turnaround, as of a position."""

    def __init__(self, records: Iterable[dict[str, Any]], at: int) -> None:
        self.entries = [entry_of(record) for record in records if record["position"] <= at]
        self.sizes: dict[str, list[tuple[int, str | None]]] = {}
        streams: dict[str, list[Entry]] = {}
        for entry in self.entries:
            streams.setdefault(entry.stream, []).append(entry)
            sized = entry.type == "OrganizationRegistered" or entry.data.get("size_class")
            if sized and entry.kind == "organization":
                self.sizes.setdefault(entry.id, []).append((entry.position, entry.data["size_class"]))
        self.rows: list[Row] = []
        for name, entries in streams.items():
            if name.startswith("request-"):
                self.rows += self._of_request(entries)
            elif name.startswith("release-"):
                self.rows += self._of_release(entries)

    def _size(self, customer: str, position: int) -> str:
        return [size for since, size in self.sizes[customer] if since <= position][-1] or "unknown"

    # Requests

    def _of_request(self, entries: Sequence[Entry]) -> Iterator[Row]:
        opens = [nth for nth, entry in enumerate(entries) if entry.type in ("RequestSubmitted", "AppealFiled")]
        for cycle, start in enumerate(opens, 1):
            until = opens[cycle] if cycle < len(opens) else len(entries)
            yield from self._of_review(cycle, entries[:start], entries[start:until], entries[opens[0]])

    def _of_review(
        self, cycle: int, before: Sequence[Entry], inside: Sequence[Entry], submitted: Entry
    ) -> Iterator[Row]:
        tree = submitted.data["terms"]["sign_offs"]
        positions = Positions()
        for entry in before:
            _sign(positions, entry)
        began, ended, outcome = inside[0].occurred, None, "pending"
        flags: dict[str | None, set[str]] = {agency: set() for agency in (None, *agencies(tree))}
        starts: dict[str, datetime] = {}
        answers: dict[str, tuple[str | None, datetime]] = {}
        deemed: dict[str, datetime] = {}
        registered = None
        for entry in inside:
            _sign(positions, entry)
            agency = entry.data.get("agency")
            match entry.type:
                case "RequestRegistered":
                    registered = entry.occurred
                    starts = dict.fromkeys(agencies(tree), entry.occurred)
                case "RequestAmended" if entry.data["material"] and (registered or cycle > 1):
                    starts = dict.fromkeys(starts, entry.occurred)
                    answers, deemed = {}, {}
                    continue
                case "AppealDecided" if entry.data["outcome"] == "remand":
                    starts = dict.fromkeys(agencies(tree), entry.occurred)
                case "InformationRequested" | "DeadlineMissed" | "NoObjectionDeemed":
                    for concerned in {None, agency if agency in starts else None}:
                        flags[concerned].add(FLAGS[entry.type])
                    if entry.type == "NoObjectionDeemed":
                        deemed[str(agency)] = entry.occurred
                case "RequestApproved":
                    ended, outcome = entry.occurred, _approval(tree, positions)
                case "AppealDecided" if entry.data["outcome"] == "uphold":
                    ended, outcome = entry.occurred, "denied"
                case _ if entry.type in ENDS:
                    ended, outcome = entry.occurred, ENDS[entry.type]
            if ended:
                break
            said = {own: _answer(tree, own, positions) for own in starts}
            turned = {own: answer for own, answer in said.items() if answer != answers.get(own, (None, None))[0]}
            answers |= {own: (answer, entry.occurred) for own, answer in turned.items()}
        waits = list(_waits([*before, *inside], inside, ended))
        base = self._base(cycle, submitted, inside[0].position)
        days = _days(cycle, began, registered, ended, outcome, waits)
        yield base | _measured(outcome, began, ended, flags[None], *days)
        for own, started in starts.items():
            answer, answered = answers.get(own, (None, None))
            part, when = answer or "pending", answered if answer else None
            if answer is None and own in deemed:
                part, when = "no_objection", deemed[own]
            elif answer is None and ended:
                part, when = outcome if outcome in ("returned", "withdrawn", "lapsed") else "unanswered", ended
            gross = when - started if part in GIVEN and when is not None else None
            net = None if gross is None or when is None else gross - _inside(waits, started, when)
            days = [None if elapsed is None else in_days(elapsed) for elapsed in (None, gross, net)]
            yield base | {"agency": own} | _measured(part, started, when, flags[own], *days)

    def _base(self, cycle: int, submitted: Entry, began: int) -> Row:
        data, names = submitted.data, ("provider", "release", "customer")
        size = {"size_class": self._size(data["customer"], began)}
        return {"request": submitted.id, "cycle": cycle} | {name: data[name] for name in names} | size

    # Releases

    def _of_release(self, entries: Sequence[Entry]) -> Iterator[Row]:
        announced = entries[0]
        access = {phase["name"]: phase["access"] for phase in announced.data["phases"]}
        base = {"provider": announced.data["provider"], "release": announced.id, "cycle": None}
        seen: set[str] = set()
        is_open = False
        for entry in entries:
            phase = entry.data.get("to") or (announced.data["phases"][0]["name"] if entry is announced else None)
            gross = in_days(entry.occurred - announced.occurred)
            if not is_open and access.get(str(phase)) == "open":
                is_open = True
                yield base | _measured("available", announced.occurred, entry.occurred, set(), None, gross, None)
            if entry.type == "CustomerAdmitted" and entry.data["customer"] not in seen:
                customer = entry.data["customer"]
                seen.add(customer)
                who = {"customer": customer, "size_class": self._size(customer, entry.position)}
                yield base | who | _measured("authorised", announced.occurred, entry.occurred, set(), None, gross, None)

    # Figures

    def reviews(self, by: str, since: str = "", until: str = "9999") -> list[Row]:
        kind = "part" if by == "agency" else "review"
        return [row for row in self.rows if _kind(row) == kind and since <= row["day"] <= until]

    def reached(self, outcome: str, since: str = "", until: str = "9999") -> list[Row]:
        return [row for row in self.rows if row["outcome"] == outcome and since <= row["day"] <= until]

    def figures(self, by: str, since: str = "", until: str = "9999") -> dict[str, Row]:
        found: dict[str, Row] = {}
        authorised = self.reached("authorised", since, until) if by != "agency" else []
        available = self.reached("available", since, until) if by in ("provider", "release") else []
        reviews = self.reviews(by, since, until)
        for value in sorted({row[by] for row in (*reviews, *authorised, *available)}):
            mine = [row for row in reviews if row[by] == value]
            found[value] = {
                "reviews": len(mine),
                "outcomes": {o: n for o in OUTCOMES if (n := sum(row["outcome"] == o for row in mine))},
                "deadlines_missed": sum(row["deadline_missed"] for row in mine),
                "silence": sum(row["silence"] for row in mine),
                "information_requests": sum(row["information_requested"] for row in mine),
                "days": {name: statistics_of(mine, f"{name}_days") for name in ("intake", "net", "gross")},
                "authorised": statistics_of([r for r in authorised if r[by] == value], "gross_days"),
                "small": statistics_of(
                    [r for r in authorised if r[by] == value and r["size_class"] in ("startup", "small")], "gross_days"
                ),
                "available": statistics_of([r for r in available if r[by] == value], "gross_days"),
            }
        return found


OUTCOMES = (*TIMED, "withdrawn", "lapsed", "unanswered", "pending")


def _kind(row: Row) -> str:
    if row["outcome"] in ("authorised", "available"):
        return row["outcome"]
    return "part" if row.get("agency") else "review"


def statistics_of(rows: Sequence[Row], name: str) -> tuple[int, float | None, float | None, float | None]:
    """Count, median, mean and p90 (nearest rank) of a column."""
    found = sorted(Fraction(row[name]) for row in rows if row[name] is not None)
    if not found:
        return 0, None, None, None
    p90 = found[math.ceil(0.9 * len(found) - 1e-9) - 1]
    return len(found), float(statistics.median(found)), float(statistics.mean(found)), float(p90)


def _days(
    cycle: int,
    began: datetime,
    registered: datetime | None,
    ended: datetime | None,
    outcome: str,
    waits: Sequence[tuple[datetime, datetime]],
) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Intake, gross and net days of a review."""
    taken_in = registered or (ended if outcome == "returned" else None)
    intake = in_days(taken_in - began) if cycle == 1 and taken_in else None
    if ended is None or outcome not in TIMED:
        return intake, None, None
    since = began if cycle > 1 else registered
    net = None if since is None else in_days(ended - since - _inside(waits, since, ended))
    return intake, in_days(ended - began), net


def _measured(
    outcome: str,
    started: datetime,
    ended: datetime | None,
    flags: set[str],
    intake: Decimal | None,
    gross: Decimal | None,
    net: Decimal | None,
) -> Row:
    told = {"outcome": outcome, "started": started, "ended": ended, "day": washington(ended or started)}
    told |= {flag: flag in flags for flag in ("deadline_missed", "silence", "information_requested")}
    return told | {"intake_days": intake, "gross_days": gross, "net_days": net}


def _sign(positions: Positions, entry: Entry) -> None:
    """What an event does to the positions that stand."""
    data, agency = entry.data, entry.data.get("agency")
    match entry.type:
        case "AgencySignedOff":
            position = Position(data["position"], data["conditions"], frozenset(entry.people))
            positions.take(str(agency), entry.person, position)
        case "SignOffCountersigned":
            for person in data["people"]:
                positions.of(str(agency))[person].confirmed_by = frozenset({entry.person})
        case "CountersignRefused" | "SignOffVoided":
            positions.strike(str(agency), data["people"])
        case "InformationRequested":
            positions.asking[data["number"]] = str(agency)
        case "InformationAccepted":
            positions.asking.pop(data["number"])
        case "NoObjectionDeemed":
            positions.deemed.add(str(agency))
        case "DisputeResolved":
            positions.overruled |= set(data["overrules"])
        case "RequestAmended" if data["material"]:
            positions.deemed, positions.overruled = set(), set()
        case "AppealDecided":
            if data["outcome"] == "reverse":
                positions.overruled |= set(data["overrules"])
            elif data["outcome"] == "remand":
                positions.standing, positions.deemed, positions.overruled = {}, set(), set()


def _approval(tree: Any, positions: Positions) -> str:
    without = Positions(positions.standing, set(), positions.overruled, positions.asking)
    if positions.deemed and says(tree, without) != YES:
        return "no_objection"
    each = [position for mine in positions.standing.values() for position in mine.values()]
    return "conditional" if any(p.conditions and p.position != "refuse" for p in each) else "approved"


def _answer(tree: Any, agency: str, positions: Positions) -> str | None:
    alone = Positions(positions.standing, set(), set(), positions.asking)
    said = [leaf_says(leaf, alone) for leaf in leaves(tree) if leaf["agency"] == agency]
    if NO in said:
        return "denied"
    if any(each != YES for each in said):
        return None
    return "conditional" if any(p.conditions for p in positions.of(agency).values()) else "approved"


def _waits(
    entries: Sequence[Entry], inside: Sequence[Entry], ended: datetime | None
) -> Iterator[tuple[datetime, datetime]]:
    """When the applicant was waited for in a review; a question of an earlier one counts from the remand on."""
    answered = {e.data["number"]: e.occurred for e in entries if e.type == "InformationProvided"}
    remanded = next((e.occurred for e in inside if e.type == "AppealDecided"), None)
    for entry in entries:
        if entry.type == "InformationRequested":
            start = entry.occurred if entry in inside else remanded
            end = answered.get(entry.data["number"]) or ended or datetime.max.replace(tzinfo=entry.occurred.tzinfo)
            if start is not None and start < end:
                yield start, end


def _inside(waits: Sequence[tuple[datetime, datetime]], since: datetime, until: datetime) -> timedelta:
    """How much of a time lies in at least one of these intervals, instant by instant between their ends."""
    turns = sorted({since, until, *(max(since, min(until, t)) for pair in waits for t in pair)})
    return sum(
        (end - start for start, end in pairwise(turns) if any(a <= start and end <= b for a, b in waits)),
        timedelta(),
    )
