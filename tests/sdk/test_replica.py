"""What does a replica believe of its feed, and what does time alone change? Told by hand, with clocks that are set."""

import json
from typing import Any

import pytest
from assent_client.access import Condition, Customer, Directive, Grant, Record, Release, Use, Uses, to_json
from assent_client.notes import Key, keys_of
from assent_client.replica import BeginAnew, Clocks, FeedRefused, Replica, Untrusted
from assent_client.stream import Event, Events
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.log.note import Checkpoint, sign, verifier_of

NOON = 1_800_000_000_000_000
MINUTE = 60_000_000
PRIVATE = Ed25519PrivateKey.generate()
ORIGIN = "assent.test/log"
USE = Use("northwind", "gpt-5.6", "standard", "us_person")
HELD = Grant("g", 5, "northwind", "gpt-5.6", 5, ("standard",), ("us_person",), (), NOON + MINUTE)
WORLD: tuple[Record, ...] = (
    Customer("northwind", 1),
    Release("gpt-5.6", 2, "openai", ("standard",), "preview", "granted", 2),
    HELD,
)


class Time:
    """What both clocks of a gateway show."""

    def __init__(self) -> None:
        self.steady, self.wall = 1000.0, NOON

    def passes(self, seconds: float, wall: float | None = None) -> None:
        self.steady += seconds
        self.wall += round((seconds if wall is None else wall) * 1e6)


class Told(Replica):
    """A replica that is told by hand."""

    def __init__(self, keys: tuple[Key, ...] = (), skew_max: float | None = None) -> None:
        self.time = Time()
        super().__init__(30.0, keys, skew_max, clocks=Clocks(lambda: self.time.steady, lambda: self.time.wall))

    def hello(self, snapshot: bool = True, epoch: int = 0, providers: Any = ("openai",)) -> None:
        said = {"version": 1, "providers": providers, "position": 9, "epoch": epoch, "heartbeat_seconds": 2.0}
        self.take(event("hello", {**said, "snapshot": snapshot}))

    def snapshot(self, position: int = 9, epoch: int = 0, world: tuple[Record, ...] = WORLD) -> None:
        self.hello(epoch=epoch)
        self.take(event("records", [to_json(record) for record in world]))
        self.take(event("complete", {"position": position}, position))

    def beat(self, position: int = 9, now: int | None = None, **more: Any) -> None:
        told = {"position": position, "now": self.time.wall if now is None else now, **more}
        self.take(event("heartbeat", told, position))

    def change(self, position: int, *records: Record) -> None:
        self.take(event("change", [to_json(record) for record in records], position))

    def says(self) -> str:
        return self.check(*USE).reason


def event(name: str, data: Any, id: int | str = "") -> Event:
    return Event(name, str(id), json.dumps(data).encode())


def told(**more: Any) -> Told:
    replica = Told(**more)
    replica.snapshot()
    replica.beat()
    return replica


def checkpoint(size: int, root: bytes = b"r" * 32, private: Ed25519PrivateKey = PRIVATE, origin: str = ORIGIN) -> str:
    return str(sign(str(Checkpoint(origin, size, root)), origin, private))


KEYS = keys_of(str(verifier_of(ORIGIN, PRIVATE)))


def test_a_snapshot_alone_is_not_fresh_a_heartbeat_is() -> None:
    replica = Told()
    assert replica.says() == "not_ready"
    replica.snapshot()
    assert replica.says() == "not_ready"
    replica.beat()
    assert replica.says() == "granted"


def test_what_expires_between_two_events_is_refused_without_any() -> None:
    replica = told()
    assert replica.check(*USE).until == NOON + MINUTE
    replica.time.passes(29)
    replica.beat()
    replica.time.passes(29)
    replica.beat()
    assert replica.says() == "granted"
    replica.time.passes(2)
    assert replica.says() == "grant_expired"


def test_nothing_is_answered_once_nothing_was_heard_for_the_bound() -> None:
    replica = told()
    replica.time.passes(29.9)
    assert replica.says() == "granted"
    replica.time.passes(0.1)
    assert replica.says() == "stale"
    replica.beat()
    assert replica.says() == "granted"


def test_the_bound_counts_on_though_somebody_sets_the_clock_back() -> None:
    replica = told(skew_max=5.0)
    replica.time.passes(31, wall=-3600)
    assert replica.says() == "stale"


@pytest.mark.parametrize(("behind", "skew_max"), [(0, None), (7200, None), (7200, 5.0), (-7200, None)])
def test_whose_clock_is_wrong_goes_by_the_services(behind: int, skew_max: float | None) -> None:
    replica = Told(skew_max=skew_max)
    replica.time.wall = NOON - behind * 1_000_000
    replica.snapshot()
    replica.beat(now=NOON)
    assert replica.says() == "granted"
    replica.time.passes(25)
    replica.beat(now=NOON + 25_000_000)
    replica.time.passes(25)
    replica.beat(now=NOON + 50_000_000)
    assert replica.says() == "granted"
    replica.time.passes(10.1)
    assert replica.says() == "grant_expired"


def test_heartbeats_that_took_long_to_come_do_not_count_as_heard() -> None:
    """Who holds a feed back cannot keep a gateway fresh with what was true an hour ago."""
    replica = told(skew_max=5.0)
    replica.time.passes(20)
    replica.beat(now=NOON + 14_000_000)
    replica.time.passes(10)
    assert replica.says() == "stale"


def test_of_many_heartbeats_the_quickest_says_what_time_it_is() -> None:
    replica = told()
    replica.time.passes(20)
    replica.beat(now=NOON + 1_000_000)
    replica.time.passes(20)
    replica.beat(now=NOON + 21_000_000)
    replica.time.passes(20.5)
    assert replica.says() == "grant_expired", "though the last heartbeat alone would leave it nineteen seconds more"


def test_an_unknown_class_is_stopped_by_a_directive_and_exempt_by_none() -> None:
    order = Directive("d", 10, Uses(person_classes=frozenset({"foreign_person"})), Uses())
    replica = told()
    replica.change(10, order)
    assert replica.says() == "granted"
    assert replica.check("northwind", "gpt-5.6", "standard").reason == "directive"
    replica.change(11, order._replace(carve_outs=Uses(person_classes=frozenset({"us_person"}))))
    assert replica.check("northwind", "gpt-5.6", "standard").reason == "directive"


def test_a_change_takes_effect_at_once_also_for_what_was_asked_before() -> None:
    replica = told()
    assert replica.says() == "granted"
    replica.change(10, HELD._replace(changed=10, ended="revoked"))
    assert replica.says() == "grant_revoked" and replica.position == 10
    replica.change(11, HELD._replace(changed=11, conditions=(Condition(1, True, 11),)))
    assert replica.says() == "pending_conditions"


def test_a_snapshot_replaces_what_was_known_once_it_is_whole() -> None:
    replica = told()
    replica.hello()
    replica.take(event("records", [to_json(record) for record in WORLD[:2]]))
    assert replica.says() == "granted"
    replica.take(event("complete", {"position": 12}, 12))
    assert replica.says() == "no_grant"


def test_who_goes_back_is_not_believed() -> None:
    replica = told()
    replica.change(10, HELD._replace(changed=10, ended="revoked"))
    with pytest.raises(FeedRefused, match="enforced here already"):
        replica.snapshot(position=9)
    with pytest.raises(FeedRefused):
        replica.change(10, HELD)
    with pytest.raises(FeedRefused):
        replica.beat(position=9)
    assert replica.says() == "grant_revoked"


def test_another_log_is_taken_from_its_beginning() -> None:
    replica = told(keys=())
    replica.snapshot(position=3, epoch=1, world=WORLD[:2])
    assert replica.position == 3 and replica.says() == "not_ready"
    replica.beat(position=3)
    assert replica.says() == "no_grant"


@pytest.mark.parametrize("other", [{"epoch": 1}, {"providers": None}, {"providers": ("anthropic",)}])
def test_what_goes_on_elsewhere_needs_a_snapshot(other: Any) -> None:
    replica = told()
    with pytest.raises(BeginAnew):
        replica.hello(snapshot=False, **other)
    assert replica.says() == "granted"


def test_whoever_may_not_read_on_begins_anew() -> None:
    with pytest.raises(BeginAnew, match="authority"):
        told().take(event("ended", {"rule": "authority", "detail": "Your appointments have changed"}))


def test_what_a_newer_feed_adds_is_left_out() -> None:
    replica = told()
    replica.take(event("tidings", {"anything": 1}, 9))
    replica.take(event("change", [["weather", "x", 10, "rain"], [*to_json(HELD), "more"]], 10))
    assert replica.says() == "granted" and replica.position == 10


@pytest.mark.parametrize(
    "wrong",
    [
        event("change", [["grant", "g"]], 10),
        event("change", [[]], 10),
        event("change", {}, "x"),
        event("heartbeat", {"position": 10}, 10),
        event("complete", {}, 10),
        event("records", [], ""),
        Event("hello", "", b"{"),
        event("hello", {"version": 2}),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(wrong: Event) -> None:
    replica = told()
    with pytest.raises(FeedRefused):
        replica.take(wrong)
    assert replica.says() == "granted" and replica.position == 9


# Checkpoints


def test_with_a_key_nothing_is_allowed_before_a_checkpoint_was_verified() -> None:
    replica = told(keys=KEYS)
    assert replica.says() == "not_ready"
    replica.beat(checkpoint=checkpoint(10))
    assert replica.says() == "granted" and replica.status().checkpoint_size == 10


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (checkpoint(10, private=Ed25519PrivateKey.generate()), "None of the known keys"),
        (checkpoint(10, origin="assent.test/other"), "None of the known keys"),
        (checkpoint(11), "but the feed ends at position 9"),
        (checkpoint(8, root=b"x" * 32), "two histories"),
        (checkpoint(10).replace("\n10\n", "\n9\n"), "is wrong"),
        ("nonsense", "A note is"),
    ],
)
def test_a_checkpoint_that_is_wrong_stops_everything_until_one_is_right(note: str, why: str) -> None:
    replica = Told(keys=KEYS)
    replica.snapshot()
    replica.beat(checkpoint=checkpoint(8))
    assert replica.says() == "granted"
    with pytest.raises(Untrusted, match=why):
        replica.beat(checkpoint=note)
    assert replica.says() == "untrusted"
    assert replica.kept() is None
    replica.beat(checkpoint=checkpoint(10))
    assert replica.says() == "granted"


# A cold start


def test_what_was_kept_is_as_old_as_it_is() -> None:
    before = told()
    kept = before.kept()
    assert kept is not None
    for age, reason in ((0.0, "granted"), (29.0, "granted"), (30.0, "stale")):
        after = Told()
        after.time.steady = 5.0
        after.time.wall += round(age * 1e6)
        after.restore(kept)
        assert after.says() == reason
        assert after.place == before.place


def test_what_was_kept_is_refused_if_it_is_from_the_future_or_its_checkpoint_is_anothers() -> None:
    before = Told(keys=KEYS)
    before.snapshot()
    before.beat(checkpoint=checkpoint(8))
    kept = before.kept()
    assert kept is not None
    early = Told()
    early.time.wall -= 1
    with pytest.raises(FeedRefused, match="a clock went back"):
        early.restore(kept)
    assert early.says() == "not_ready"
    with pytest.raises(Untrusted):
        Told(keys=keys_of(str(verifier_of(ORIGIN, Ed25519PrivateKey.generate())))).restore(kept)


# Server-sent events


def test_events_are_found_however_their_bytes_arrive() -> None:
    data = '["café \N{LINE SEPARATOR} x"]'.encode()
    sent = b": hi\n\nid: 7\nevent: change\ndata: %b\n\r\nretry: 1\n\n" % data
    sent += b"event: hello\r\ndata: a\r\ndata: b\r\n\r\n"
    whole = [Event("change", "7", data), Event("hello", "", b"a\nb")]
    for wide in (1, 3, len(sent)):
        events = Events()
        parts = [sent[first : first + wide] for first in range(0, len(sent), wide)]
        assert [each for part in parts for each in events.of(part)] == whole
