"""When is something due, counted in calendar or business days, and how far does waiting on the applicant move it?

Days are days in Washington (America/New_York). What arrives after the cut-off counts as arrived on the next day; a
clock ends at the cut-off of its last day, rolled forward to a business day. Only recorded closures count, so that a
replay never depends on a library's version.
"""

from collections.abc import Iterable, Set
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/New_York")
CUT_OFF = time(17, 0)
DAY = timedelta(days=1)
NEVER = datetime.max.replace(tzinfo=UTC)

Closures = Set[date]
Interval = tuple[datetime, datetime]


def is_business_day(day: date, closures: Closures) -> bool:
    return day.weekday() < 5 and day not in closures


def roll_forward(day: date, closures: Closures) -> date:
    """The day itself if the office is open, else the next day on which it is."""
    while not is_business_day(day, closures):
        day += DAY
    return day


def day_received(instant: datetime, kind: str, closures: Closures) -> date:
    """The day that counts as day zero for something that arrived at that instant."""
    local = instant.astimezone(ZONE)
    day = local.date() if local.time() <= CUT_OFF else local.date() + DAY
    return day if kind == "calendar" else roll_forward(day, closures)


def add_days(day: date, days: int, kind: str, closures: Closures) -> date:
    """That many days later, the last one rolled forward to a business day."""
    if kind == "calendar":
        return roll_forward(day + days * DAY, closures)
    for _ in range(days):
        day = roll_forward(day + DAY, closures)
    return roll_forward(day, closures)


def end_of(day: date) -> datetime:
    """The instant (UTC) at which that day's business ends."""
    return datetime.combine(day, CUT_OFF, ZONE).astimezone(UTC)


def due(start: datetime, days: int, kind: str, closures: Closures, waits: Iterable[Interval] = ()) -> datetime:
    """When `days` days of that kind, begun at `start`, are over (UTC). Days in the union of `waits` do not count (I9).

    Counting always begins at the start, so that a day rolled forward once is not counted twice.
    """
    waited = sum(days_between(stopped, resumed, kind, closures) for stopped, resumed in union(waits))
    return end_of(add_days(day_received(start, kind, closures), days + waited, kind, closures))


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The intervals in order of time, those that touch or overlap made one."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def days_between(start: datetime, end: datetime, kind: str, closures: Closures) -> int:
    """How many days of that kind lie between the days on which two things arrived."""
    first, last = day_received(start, kind, closures), day_received(end, kind, closures)
    if kind == "calendar":
        return (last - first).days
    return sum(1 for n in range((last - first).days) if is_business_day(first + (n + 1) * DAY, closures))


def elapsed_days(since: datetime, now: datetime) -> int:
    """Whole days of twenty-four hours gone by."""
    return (now - since) // DAY
