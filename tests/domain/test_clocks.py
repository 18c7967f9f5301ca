"""Is everything due when a licensing office in Washington would say it is?"""

import pytest

from domain import clocks
from tests.spec import days, instant

JULY = frozenset(days("2026-07-03", "2026-09-07"))
"""Independence Day 2026, a Saturday, is observed on Friday; Labor Day is the first Monday of September."""


@pytest.mark.parametrize(
    ("start", "count", "kind", "expected"),
    [
        pytest.param("2026-06-26T15:00Z", 1, "business", "2026-06-29T21:00Z", id="Friday and one business day: Monday"),
        pytest.param("2026-06-24T15:00Z", 5, "business", "2026-07-01T21:00Z", id="five business days: a week"),
        pytest.param("2026-07-02T15:00Z", 1, "business", "2026-07-06T21:00Z", id="a closure is no business day"),
        pytest.param("2026-07-02T15:00Z", 0, "business", "2026-07-02T21:00Z", id="no day at all: the same day"),
        pytest.param("2026-06-27T15:00Z", 1, "business", "2026-06-30T21:00Z", id="Saturday counts as Monday"),
        pytest.param("2026-07-03T15:00Z", 1, "business", "2026-07-07T21:00Z", id="a closed Friday counts as Monday"),
        pytest.param("2026-06-24T15:00Z", 30, "calendar", "2026-07-24T21:00Z", id="thirty calendar days"),
        pytest.param("2026-06-24T15:00Z", 10, "calendar", "2026-07-06T21:00Z", id="a Saturday rolls forward to Monday"),
        pytest.param("2026-06-23T15:00Z", 10, "calendar", "2026-07-06T21:00Z", id="a closed Friday rolls to Monday"),
        pytest.param("2026-08-28T15:00Z", 9, "calendar", "2026-09-08T21:00Z", id="a Sunday rolls over Labor Day"),
        pytest.param(
            "2026-06-27T15:00Z", 2, "calendar", "2026-06-29T21:00Z", id="a calendar clock starts on a Saturday"
        ),
        pytest.param("2026-06-23T21:00:00Z", 1, "calendar", "2026-06-24T21:00Z", id="at the cut-off it is still today"),
        pytest.param("2026-06-23T21:00:01Z", 1, "calendar", "2026-06-25T21:00Z", id="after the cut-off it is tomorrow"),
        pytest.param("2026-06-26T21:00:01Z", 1, "business", "2026-06-30T21:00Z", id="Friday evening counts as Monday"),
        pytest.param(
            "2026-06-24T03:30:00Z", 1, "calendar", "2026-06-25T21:00Z", id="the day is Washington's, not UTC's"
        ),
        pytest.param("2026-03-06T17:00Z", 3, "calendar", "2026-03-09T21:00Z", id="over the start of summer time"),
        pytest.param("2026-10-30T16:00Z", 3, "calendar", "2026-11-02T22:00Z", id="over the end of summer time"),
        pytest.param("2026-01-14T22:00Z", 1, "calendar", "2026-01-15T22:00Z", id="in winter the cut-off is 22:00 UTC"),
    ],
)
def test_a_clock_ends_at_the_cut_off_of_its_last_day(start: str, count: int, kind: str, expected: str) -> None:
    assert clocks.due(instant(start), count, kind, JULY) == instant(expected)


def test_only_recorded_closures_count() -> None:
    assert clocks.due(instant("2026-07-02T15:00Z"), 1, "business", frozenset()) == instant("2026-07-03T21:00Z")


@pytest.mark.parametrize(
    ("stopped", "resumed", "kind", "expected"),
    [
        pytest.param("2026-07-01T15:00Z", "2026-07-06T15:00Z", "calendar", "2026-07-29T21:00Z", id="five days"),
        pytest.param("2026-07-01T15:00Z", "2026-07-06T15:00Z", "business", "2026-07-28T21:00Z", id="two business days"),
        pytest.param("2026-07-01T13:00Z", "2026-07-01T20:00Z", "calendar", "2026-07-24T21:00Z", id="within one day"),
        pytest.param("2026-07-01T13:00Z", "2026-07-01T21:30Z", "calendar", "2026-07-27T21:00Z", id="past the cut-off"),
        pytest.param("2026-07-03T13:00Z", "2026-07-05T13:00Z", "business", "2026-07-24T21:00Z", id="no business day"),
    ],
)
def test_waiting_on_the_applicant_does_not_count(stopped: str, resumed: str, kind: str, expected: str) -> None:
    count = {"calendar": 30, "business": 21}[kind]
    start, waits = instant("2026-06-24T15:00Z"), [(instant(stopped), instant(resumed))]
    assert clocks.due(start, count, kind, JULY) == instant("2026-07-24T21:00Z")
    assert clocks.due(start, count, kind, JULY, waits) == instant(expected)


def test_a_day_rolled_forward_is_not_counted_twice() -> None:
    start, one_day = instant("2026-06-25T15:00Z"), [(instant("2026-07-06T15:00Z"), instant("2026-07-07T15:00Z"))]
    assert clocks.due(start, 30, "calendar", JULY) == instant("2026-07-27T21:00Z"), "Saturday rolls to Monday"
    assert clocks.due(start, 30, "calendar", JULY, one_day) == instant("2026-07-27T21:00Z"), "Sunday rolls to Monday"


def test_intervals_that_overlap_count_once() -> None:
    first, second = instant("2026-07-06T15:00Z"), instant("2026-07-08T15:00Z")
    third, last = instant("2026-07-07T15:00Z"), instant("2026-07-10T15:00Z")
    assert clocks.union([(third, last), (first, second)]) == [(first, last)]
    start = instant("2026-06-24T15:00Z")
    apart = clocks.due(start, 30, "calendar", JULY, [(first, second), (third, last)])
    assert apart == clocks.due(start, 30, "calendar", JULY, [(first, last)]) == instant("2026-07-28T21:00Z")


@pytest.mark.parametrize(
    ("since", "now", "expected"),
    [
        ("2026-06-26T15:00:00Z", "2026-07-10T14:59:59Z", 13),
        ("2026-06-26T15:00:00Z", "2026-07-10T15:00:00Z", 14),
        ("2026-06-26T15:00:00Z", "2026-06-26T15:00:00Z", 0),
    ],
)
def test_whole_days_gone_by(since: str, now: str, expected: int) -> None:
    assert clocks.elapsed_days(instant(since), instant(now)) == expected


@pytest.mark.parametrize(
    ("day", "is_open"),
    [("2026-07-02", True), ("2026-07-03", False), ("2026-07-04", False), ("2026-07-05", False), ("2026-07-06", True)],
)
def test_the_office_is_open_on_weekdays_that_are_no_closures(day: str, is_open: bool) -> None:
    assert clocks.is_business_day(days(day)[0], JULY) is is_open


@pytest.mark.parametrize(
    ("start", "end", "kind", "expected"),
    [
        ("2026-06-26T15:00:00Z", "2026-06-28T15:00:00Z", "calendar", 2),
        ("2026-06-27T15:00:00Z", "2026-06-29T15:00:00Z", "calendar", 2),
        ("2026-06-27T15:00:00Z", "2026-06-29T15:00:00Z", "business", 0),
        ("2026-06-22T15:00:00Z", "2026-06-26T15:00:00Z", "business", 4),
        ("2026-06-26T15:00:00Z", "2026-06-29T15:00:00Z", "business", 1),
    ],
)
def test_days_between_count_weekends_only_as_calendar_days(start: str, end: str, kind: str, expected: int) -> None:
    assert clocks.days_between(instant(start), instant(end), kind, frozenset()) == expected


def test_intervals_that_touch_are_one() -> None:
    first, second, third = (instant(f"2026-07-0{n}") for n in (1, 2, 3))
    assert clocks.union([(second, third), (first, second)]) == [(first, third)]
