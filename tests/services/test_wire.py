"""Does an order, and what became of it, arrive in another process as it was?"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from domain.authority import COMMANDS
from domain.directive import ConfirmLifting
from domain.errors import NotFound, Refused, StaleVersion
from domain.facts import SYSTEM, Fact
from domain.release import ReleaseWithdrawn, WithdrawRelease
from services import wire
from services.handle import Answer, Order
from services.http.commands import ROUTES
from services.http.examples import body_example
from services.log.receipt import Receipt
from services.log.writer import QueueFull

ANSWER = Answer("1", "request-1", 3, 8, 2, (("RequestApproved", 7), ("GrantIssued", 8)), Receipt(8, "bGVhZg==", 9))


def every_command() -> Iterator[Any]:
    """One of each, as its example has it."""
    for route in ROUTES:
        given = tuple(7 if is_number else "abc" for is_number in route.numbers)
        yield route.body.read(given, msgspec.json.encode(body_example(route.command, route.given)))
    yield ConfirmLifting("abc")


def frame_of(*items: bytes) -> bytes:
    [frame] = wire.Frames().take(wire.framed(items))
    return frame


def test_every_command_arrives_as_it_was_ordered() -> None:
    found = list(every_command())
    assert {type(command) for command in found} == set(COMMANDS)
    now = datetime(2026, 6, 26, 16, tzinfo=UTC)
    for nth, command in enumerate(found):
        order = Order(command, "cora", ("commerce", "reviewer"), now, b"key", b"fingerprint", 3, nth % 2 == 0)
        assert wire.orders(frame_of(wire.order_item(nth, order), wire.order_item(99, order))) == [
            (nth, order),
            (99, order),
        ]


def test_an_answer_arrives_as_it_was_given() -> None:
    assert wire.outcomes(frame_of(wire.outcome_item(5, ANSWER))) == [(5, ANSWER)]


@pytest.mark.parametrize(
    "refusal", [StaleVersion("Its version is 3 now.", 'If-Match: "3"'), NotFound(), QueueFull("Too many wait.")]
)
def test_a_refusal_arrives_as_what_it_is(refusal: Refused) -> None:
    [(ticket, found)] = wire.outcomes(frame_of(wire.outcome_item(5, refusal)))
    assert ticket == 5 and type(found) is type(refusal)
    assert (found.detail, found.missing, found.status) == (refusal.detail, refusal.missing, refusal.status)


def test_what_went_wrong_stays_where_it_is_logged() -> None:
    [(_, found)] = wire.outcomes(frame_of(wire.outcome_item(5, ZeroDivisionError("secret"))))
    assert isinstance(found, wire.Failed) and "secret" not in str(found)


def test_news_bring_the_facts_with_their_places() -> None:
    now = datetime(2026, 6, 26, 16, tzinfo=UTC)
    fact = Fact(11, "release-gpt", 4, now, now, SYSTEM, "c", None, ReleaseWithdrawn("Unsafe."), "00" * 16)
    assert wire.outcomes(frame_of(wire.news_item(10, 14, 4711, [fact]))) == [wire.News(10, 14, 4711, [fact])]


def test_frames_are_found_however_they_are_cut() -> None:
    one, other = wire.framed([wire.outcome_item(1, ANSWER)]), wire.framed([wire.outcome_item(2, ANSWER)] * 40)
    frames, found = wire.Frames(), []
    for byte in one + other:
        found += frames.take(bytes([byte]))
    assert found == wire.Frames().take(one + other) == [one[4:], other[4:]]


def test_what_is_too_much_for_a_frame_goes_in_several() -> None:
    order = Order(WithdrawRelease("gpt", "x" * 9_000), "rae")
    items = [wire.order_item(nth, order) for nth in range(1_000)]
    frames = wire.Frames().take(wire.framed(items))
    assert len(frames) > 1
    assert [ticket for frame in frames for ticket, _ in wire.orders(frame)] == list(range(1_000))


def test_a_frame_that_claims_to_be_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(wire.Malformed, match="4194305"):
        wire.Frames().take((wire.FRAME_BYTES_MAX + 1).to_bytes(4))


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x90\x90", b"\x91\x92\x00\x00", b"{}"])
def test_what_is_no_frame_of_ours_is_malformed(frame: bytes) -> None:
    for read in (wire.orders, wire.outcomes, wire.greeting_of):
        with pytest.raises(msgspec.MsgspecError):
            read(frame)


def test_no_command_has_a_number_that_is_not_in_the_table() -> None:
    item = msgspec.msgpack.encode([1, 999, {}, "rae", None, None, None, None, None, False])
    with pytest.raises(msgspec.MsgspecError, match="999"):
        wire.orders(frame_of(item))
