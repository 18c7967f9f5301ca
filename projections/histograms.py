"""How are many measured reviews kept as one number, which Postgres adds up, and what are median, mean and p90 of it?

A histogram is a number whose digits are its bins, eight for each: a review that fell into the third bin is
100 000 000 to the power of 3. To add such numbers is to add the histograms, to subtract one is to take a review out
again, and `sum(numeric)` does so a million times a second. See docs/decisions/a-histogram-is-a-number.md.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

DIGITS = 8
"""Of each bin: no bin ever counts more than 99,999,999."""

FINE = 100
"""Bins of a tenth of a day come first, up to ten days; each bin after them is a whole day."""


def bin_of(tenths: str) -> str:
    """The bin, in SQL, of a measure in tenths of days that is rounded as `reviews.tenths` rounds."""
    return f"(CASE WHEN {tenths} <= {FINE} THEN {tenths} ELSE {FINE - FINE // 10} + {tenths} / 10 END)"


def tenths_of(nth: int) -> int:
    """The measure, in tenths of days, that the bin stands for."""
    return nth if nth <= FINE else 10 * (nth - FINE + FINE // 10)


def one_in(bin: str) -> str:
    """In SQL, the histogram of a single thing in that bin (null where the bin is)."""
    return f"('1e' || {DIGITS} * {bin})::numeric"


_BINS = re.compile("." * DIGITS)


def bins(number: str | None) -> list[int]:
    """The counts of the bins, from the first to the last that is not empty, of a number as Postgres writes it."""
    if number is None or number == "0":
        return []
    whole = number.zfill(-(-len(number) // DIGITS) * DIGITS)
    return [*map(int, reversed(_BINS.findall(whole)))]


@dataclass(frozen=True, slots=True)
class Days:
    """How many were measured, and their median, mean and 90th percentile in days (None: nothing was measured)."""

    count: int = 0
    median: float | None = None
    mean: float | None = None
    p90: float | None = None


def days(counts: Sequence[int]) -> Days:
    """The figures of a histogram of tenths of days: exact ones, for what is in a bin is all alike."""
    found = [nth for nth, count in enumerate(counts) if count]
    if not found:
        return Days()
    up_to = [*accumulate(counts[nth] for nth in found)]
    total = up_to[-1]

    def in_place(place: int) -> int:
        """The measure in that place (from 1) of all, from the shortest to the longest."""
        return tenths_of(found[bisect_left(up_to, place)])

    median = (in_place((total + 1) // 2) + in_place(total // 2 + 1)) / 20
    mean = Fraction(sum(tenths_of(nth) * counts[nth] for nth in found), 10 * total)
    return Days(total, median, float(mean), in_place(-(-9 * total // 10)) / 10)


def together(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The histogram of both."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return [count + (shorter[nth] if nth < len(shorter) else 0) for nth, count in enumerate(longer)]
