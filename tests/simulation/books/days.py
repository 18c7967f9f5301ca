"""When is something due, counted day by day on a wall calendar in Washington?"""

from collections.abc import Set
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

WASHINGTON = ZoneInfo("America/New_York")
CLOSES_AT = 17
ONE = timedelta(days=1)

Waits = tuple[tuple[datetime, datetime], ...]


def is_open(day: date, closures: Set[date]) -> bool:
    """Whether the office works on that day: Monday to Friday, unless it is closed."""
    return day.isoweekday() <= 5 and day not in closures


def next_open(day: date, closures: Set[date]) -> date:
    while not is_open(day, closures):
        day += ONE
    return day


def day_zero(instant: datetime, kind: str, closures: Set[date]) -> date:
    """What arrives after the office has closed arrives on the next day; business days begin on a business day."""
    local = instant.astimezone(WASHINGTON)
    closing = local.replace(hour=CLOSES_AT, minute=0, second=0, microsecond=0)
    day = local.date() + ONE if local > closing else local.date()
    return next_open(day, closures) if kind == "business" else day


@lru_cache(100_000)
def due(start: datetime, days: int, kind: str, closures: frozenset[date], waits: Waits = ()) -> datetime:
    """The end of the last of so many days: days on which the applicant kept the office waiting are not counted.

    `waits` do not overlap, and are in order of time.
    """
    day = day_zero(start, kind, closures)
    spans = [(day_zero(stop, kind, closures), day_zero(go, kind, closures)) for stop, go in waits]
    left = days + sum(
        1 for span in spans for waited in _after(*span) if kind == "calendar" or is_open(waited, closures)
    )
    while left:
        day += ONE
        if kind == "calendar" or is_open(day, closures):
            left -= 1
    day = next_open(day, closures)
    return datetime(day.year, day.month, day.day, CLOSES_AT, tzinfo=WASHINGTON).astimezone(UTC)


def _after(first: date, last: date) -> list[date]:
    """The days after the first, up to the last."""
    return [first + ONE * n for n in range(1, (last - first).days + 1)]
