"""Does a number hold a histogram, and are its median, mean and p90 those of what was counted?"""

import statistics
from datetime import timedelta
from fractions import Fraction
from math import ceil
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.histograms import DIGITS, Days, bin_of, bins, days, one_in, tenths_of, together
from projections.reviews import TENTHS_MAX, tenths
from tests.projections.shelf import Connection


@given(st.lists(st.integers(0, 400 * 86_400), min_size=1, max_size=60))
def test_the_figures_of_a_histogram_are_those_of_what_is_in_it(seconds: list[int]) -> None:
    measured = sorted(tenths(timedelta(seconds=each)) for each in seconds)
    counts = [sum(tenths_of(nth) == each for each in measured) for nth in range(600)]
    exact = [Fraction(each, 10) for each in measured]
    assert days(counts) == Days(
        len(exact),
        float(statistics.median(exact)),
        float(statistics.mean(exact)),
        float(exact[ceil(Fraction(9, 10) * len(exact)) - 1]),
    )


def test_nothing_measured_has_no_figures() -> None:
    assert days([]) == days([0, 0]) == Days(0, None, None, None)


@pytest.mark.parametrize(
    ("elapsed", "found"),
    [
        (timedelta(0), 0),
        (timedelta(hours=1, minutes=11, seconds=59), 0),
        (timedelta(hours=1, minutes=12), 1),
        (timedelta(days=9, hours=21), 99),
        (timedelta(days=9, hours=23), 100),
        (timedelta(days=10, hours=11), 100),
        (timedelta(days=10, hours=12), 110),
        (timedelta(days=90_000), TENTHS_MAX),
    ],
)
def test_days_are_rounded_to_a_tenth_and_from_ten_on_to_a_whole_one(elapsed: timedelta, found: int) -> None:
    assert tenths(elapsed) == found


async def test_postgres_adds_histograms_and_takes_things_out_again(conn: Connection) -> None:
    chance = Random(3)
    measured = [chance.choice((0, 3, 99, 100, 110, 2_570, TENTHS_MAX)) for _ in range(400)]
    gone = measured[::3]
    query = (
        f"SELECT sum(sign * {one_in(bin_of('tenths'))})::text FROM unnest(%s::int[], %s::int[]) AS row (tenths, sign)"  # noqa: S608
    )
    values = [*measured, *gone], [*(1 for _ in measured), *(-1 for _ in gone)]
    found = await (await conn.execute(query, values)).fetchone()
    assert found is not None
    rest = list(measured)
    for each in gone:
        rest.remove(each)
    assert {tenths_of(nth): count for nth, count in enumerate(bins(found[0])) if count} == {
        each: rest.count(each) for each in set(rest)
    }


def test_an_empty_histogram_is_nothing_or_zero() -> None:
    assert bins(None) == bins("0") == []
    assert bins("1" + "0" * DIGITS) == [0, 1]


def test_two_histograms_are_one() -> None:
    assert together([1, 2], [1, 0, 5]) == together([1, 0, 5], [1, 2]) == [2, 2, 5]
    assert together([], [4]) == [4]
