"""What time is it, for everything that needs the time?

The service has one clock, handed to whatever asks. Tokens, leases, staleness and rate limits use the real one.
"""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time as an aware UTC datetime, in whole microseconds."""

    def now(self) -> datetime: ...


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """Stands still until it is moved, so that months play in seconds. Development mode only."""

    def __init__(self, start: datetime) -> None:
        self._now = _as_utc(start)

    def now(self) -> datetime:
        return self._now

    def advance_to(self, instant: datetime) -> None:
        """Moves to that instant; the present one is fine, an earlier one is a ValueError: time never goes back."""
        instant = _as_utc(instant)
        if instant < self._now:
            raise ValueError(
                f"The clock stands at {self._now.isoformat()} and cannot go back to {instant.isoformat()}."
            )
        self._now = instant


def _as_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} names no time zone.")
    return instant.astimezone(UTC)
