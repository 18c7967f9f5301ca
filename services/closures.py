"""On which days are federal offices closed, and how does the calendar come to know?

The domain knows recorded closures only; this is where the library that knows the law is asked, and its answer recorded.
"""

from datetime import date

import holidays

from domain.calendar import FEDERAL, AmendCalendar

YEARS_BACK = 10
YEARS_AHEAD = 2


def federal_closures(years: range) -> tuple[date, ...]:
    """The days of these years on which federal offices are closed by law, weekends left out."""
    found = holidays.country_holidays("US", years=years, categories=("government",))
    return tuple(sorted(day for day in found if day.weekday() < 5 and day.year in years))


def missing_closures(recorded: frozenset[date], today: date) -> AmendCalendar | None:
    """The command that records what the federal calendar lacks for the years around today; None: nothing."""
    years = range(today.year - YEARS_BACK, today.year + YEARS_AHEAD + 1)
    recorded_years = {day.year for day in recorded}
    dates = tuple(day for day in federal_closures(years) if day.year not in recorded_years)
    span = f"{dates[0].year} to {dates[-1].year}" if dates else ""
    return AmendCalendar(FEDERAL, dates, f"Federal closures by law, {span}") if dates else None
