"""Does time stand still, move and sort as promised?"""

from datetime import UTC, datetime, timedelta, timezone
from re import fullmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fields import Identifier, Pattern, marks
from services.clock import Clock, ManualClock, RealClock
from services.ids import ALPHABET, INSTANT_LENGTH, is_keyed, is_keyed_by, keyed_id, new_id

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_the_real_clock_tells_the_present_in_utc() -> None:
    clock: Clock = RealClock()
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.now().tzinfo is UTC


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(NEW_YEAR)
    assert clock.now() == clock.now() == NEW_YEAR
    clock.advance_to(NEW_YEAR + timedelta(days=60))
    assert clock.now() == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_manual_clock_never_goes_back() -> None:
    clock = ManualClock(NEW_YEAR)
    clock.advance_to(NEW_YEAR)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance_to(NEW_YEAR - timedelta(microseconds=1))
    assert clock.now() == NEW_YEAR


def test_a_manual_clock_tells_utc_whatever_zone_it_was_given() -> None:
    clock = ManualClock(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))))
    assert clock.now() == NEW_YEAR
    assert clock.now().tzinfo is UTC
    with pytest.raises(ValueError, match="time zone"):
        clock.advance_to(datetime(2027, 1, 1))  # noqa: DTZ001


@given(TIMES, TIMES)
def test_ids_sort_by_the_millisecond_they_were_made_in(one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    if later - earlier >= timedelta(milliseconds=1):
        assert new_id(earlier) < new_id(later)


def test_ids_are_unique_identifiers() -> None:
    pattern = marks(Identifier, Pattern)
    assert pattern is not None
    ids = {new_id(NEW_YEAR) for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(fullmatch(pattern.regex, each) for each in ids)


def test_an_id_is_a_uuid_of_version_7() -> None:
    number = 0
    for character in new_id(NEW_YEAR):
        number = number * 32 + ALPHABET.index(character)
    assert number >> 80 == int(NEW_YEAR.timestamp() * 1000)
    assert number >> 76 & 0xF == 7
    assert number >> 62 & 0b11 == 0b10


def test_a_time_before_1970_has_no_sortable_id() -> None:
    with pytest.raises(ValueError, match="before 1970"):
        new_id(datetime(1969, 12, 31, tzinfo=UTC))


def test_the_id_of_a_command_under_a_key_proves_key_and_fingerprint() -> None:
    key, fingerprint = b"k" * 32, b"f" * 32
    made = keyed_id(NEW_YEAR, key, fingerprint)
    assert is_keyed(made) and made[:INSTANT_LENGTH] == new_id(NEW_YEAR)[:INSTANT_LENGTH]
    assert is_keyed_by(made, key, fingerprint)
    assert not is_keyed_by(made, key, None)
    assert not is_keyed_by(made, b"K" + key[1:], fingerprint) and not is_keyed_by(made, key, b"F" + fingerprint[1:])
    assert not is_keyed_by(keyed_id(NEW_YEAR, key, None), key, fingerprint)
    assert not any(is_keyed(new_id(NEW_YEAR)) for _ in range(1_000))
