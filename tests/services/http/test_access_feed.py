"""Does a gateway's replica, fed over HTTP, hold what it needs and nothing else, and go on where it left off?"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
import pytest

from domain.access import Access, Use, from_json
from services.changes import Changes
from services.http import access_feed
from services.http.access import Desk
from services.http.identity import Identities
from services.replica import Replica
from tests.projections.shelf import a_full_story
from tests.services.http.conftest import RELEASE, START, Ask, Service
from tests.services.http.test_commands import problem
from tests.services.http.test_queries import approved

NEVER_YET = 1_000_000_000_000_000
USE = Use("northwind", "gpt-5.6", "standard", "us_person")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_feed, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(access_feed, "SNAPSHOT_SECONDS", 0.0)


class Follower:
    """A gateway as small as can be: it folds what the feed says."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.access = Access()
        self.told: list[tuple[str, Any]] = []
        self.ids: list[int] = []
        self.hello = self.next("hello")

    def _event(self) -> tuple[str, Any]:
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                fields[name] = value
            elif not line and "event" in fields:
                break
        else:
            raise EOFError
        if "id" in fields:
            self.ids.append(int(fields["id"]))
        return fields["event"], json.loads(fields["data"])

    def next(self, awaited: str) -> Any:
        """Take events in up to the next of that name; what it says."""
        while True:
            event, data = self._event()
            self.told.append((event, data))
            if event in ("records", "change"):
                for row in data:
                    record = from_json(row)
                    assert record is not None
                    self.access.put(record)
            if event == awaited:
                return data

    def until(self, position: int) -> None:
        while not self.ids or self.ids[-1] < position:
            event, data = self._event()
            self.told.append((event, data))
            for row in data if event in ("records", "change") else ():
                record = from_json(row)
                assert record is not None
                self.access.put(record)

    def may(self, use: Use = USE) -> bool:
        return self.access.check(use, NEVER_YET).allowed


@contextmanager
def following(service: Service, person: str = "gus", query: str = "", **headers: str) -> Iterator[Follower]:
    asked = service.headers(person, **headers)
    with service.client.stream("GET", f"/access/v1/feed{query}", headers=asked) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Follower(response.iter_lines())


def suspended(service: Service, grant: str) -> int:
    position: int = service.done("olga", f"/grants/{grant}/suspension", {"reason": "Misuse"})["position"]
    return position


def grant_of(service: Service, request: str, position: int) -> str:
    grant: str = service.read("abe", f"/requests/{request}", position)["grant"]
    return grant


@pytest.fixture
def granted(service: Service, request_of: Ask) -> tuple[str, int]:
    """A new grant of northwind, and the position since which."""
    request = request_of()
    position = approved(service, request)
    return grant_of(service, request, position), position


def test_a_snapshot_comes_first_and_then_what_happens(service: Service, granted: tuple[str, int]) -> None:
    grant, position = granted
    with following(service) as follower:
        assert follower.hello["snapshot"] is True and follower.hello["providers"] == ["openai"]
        assert follower.next("complete")["position"] >= position
        held = [each for each in follower.access.grants["northwind"] if each.id == grant]
        assert held and held[0].customer == "northwind"
        stopped = suspended(service, grant)
        follower.until(stopped)
        after = [each for each in follower.access.grants["northwind"] if each.id == grant]
        assert after[0].suspended_by == ("oncd",) and after[0].changed == stopped


def test_what_a_follower_answers_is_what_the_service_answers(service: Service, granted: tuple[str, int]) -> None:
    _, position = granted
    with following(service) as follower:
        follower.next("complete")
        follower.until(position)
        assert follower.may() is True
        assert service.evaluate("gus", evaluation()).json()["decision"] is True


def evaluation() -> Any:
    return {
        "subject": {"type": "organization", "id": USE.customer, "properties": {"person_class": USE.person_class}},
        "action": {"name": "use"},
        "resource": {"type": "release", "id": USE.release, "properties": {"tier": USE.tier}},
    }


def test_whoever_comes_back_gets_what_they_missed_and_no_snapshot(service: Service, granted: tuple[str, int]) -> None:
    grant, position = granted
    with following(service) as follower:
        follower.next("complete")
        follower.until(position)
        last, epoch = follower.ids[-1], follower.hello["epoch"]
    stopped = suspended(service, grant)
    ways: tuple[tuple[str, dict[str, str]], ...] = (
        (f"?epoch={epoch}", {"last_event_id": str(last)}),
        (f"?after={last}", {}),
    )
    for query, headers in ways:
        with following(service, "gus", query, **headers) as follower:
            assert follower.hello["snapshot"] is False
            follower.until(stopped)
            assert "records" not in [event for event, _ in follower.told]
            changes = [row for event, data in follower.told if event == "change" for row in data]
            assert [row[:3] for row in changes if row[1] == grant] == [["grant", grant, stopped]]


def test_whoever_was_told_another_log_begins_with_a_snapshot(service: Service) -> None:
    with following(service, "gus", "?epoch=7", last_event_id="1") as follower:
        assert follower.hello["snapshot"] is True and follower.hello["epoch"] == 0
        follower.next("complete")


def test_whoever_knows_more_than_there_is_begins_with_a_snapshot(service: Service) -> None:
    with following(service, "gus", last_event_id="1000000") as follower:
        assert follower.hello["snapshot"] is True


def test_a_heartbeat_says_how_far_the_log_was_told(service: Service) -> None:
    with following(service) as follower:
        follower.next("complete")
        position = service.done("root", "/organizations/oncd/changes", {"name": f"National {time.monotonic()}"})[
            "position"
        ]
        follower.until(position)
        event, data = follower.told[-1]
        assert event == "heartbeat" and data["position"] >= position and data["now"] > 0
        assert follower.ids == sorted(follower.ids), "ids never go back"


def test_the_first_heartbeat_carries_the_newest_checkpoint_and_later_ones_only_another(service: Service) -> None:
    with following(service) as follower:
        while "checkpoint" not in (beat := follower.next("heartbeat")):
            pass
        assert beat["checkpoint"].startswith("assent.localhost/log\n")
        beats = [follower.next("heartbeat") for _ in range(3)]
        notes = [each["checkpoint"] for each in beats if "checkpoint" in each]
        assert beat["checkpoint"] not in notes


def test_a_gateway_hears_of_its_own_providers_releases_and_of_nothing_else(
    service: Service, granted: tuple[str, int]
) -> None:
    service.done("ann", "/releases", {**RELEASE, "id": f"claude-{granted[1]}", "provider": "anthropic"})
    with following(service, "ann") as theirs, following(service) as ours, following(service, "abe") as everybodys:
        for follower in (theirs, ours, everybodys):
            follower.next("complete")
        assert {each.provider for each in theirs.access.releases.values()} == {"anthropic"}
        assert theirs.access.grants == {}
        assert "gpt-5.6" in ours.access.releases and f"claude-{granted[1]}" not in ours.access.releases
        assert everybodys.hello["providers"] is None
        assert everybodys.access.releases.keys() == theirs.access.releases.keys() | ours.access.releases.keys()
        stopped = suspended(service, granted[0])
        for follower in (theirs, ours, everybodys):
            follower.until(stopped)
        assert "change" not in [event for event, _ in theirs.told], "the grant of another provider's release"
        assert "change" in [event for event, _ in ours.told]


def test_who_may_not_read_any_more_is_told_so_and_gets_nothing_more(service: Service) -> None:
    service.done("root", "/organizations/openai/appointments", {"person": "tempgate", "role": "gateway"})
    with following(service, "tempgate") as follower:
        follower.next("complete")
        service.done("root", "/organizations/openai/appointments/tempgate/end", {"role": "gateway"})
        assert follower.next("ended")["rule"] == "authority"
        with pytest.raises(EOFError):
            follower.next("heartbeat")


def test_who_may_read_more_than_before_begins_anew(service: Service) -> None:
    service.done("root", "/organizations/openai/appointments", {"person": "widegate", "role": "gateway"})
    with following(service, "widegate") as follower:
        follower.next("complete")
        service.done("root", "/organizations/anthropic/appointments", {"person": "widegate", "role": "gateway"})
        assert "begin anew" in follower.next("ended")["detail"]
    with following(service, "widegate") as follower:
        assert follower.hello["providers"] == ["anthropic", "openai"]


@pytest.mark.parametrize("person", ["nina", "cora", "nobody"])
def test_the_feed_is_for_gateways_release_managers_and_auditors(service: Service, person: str) -> None:
    problem(service.client.get("/access/v1/feed", headers=service.headers(person)), 403, "authority")


@pytest.mark.parametrize(
    ("query", "headers", "rule"),
    [("", {"last_event_id": "x"}, "headers"), ("?after=x", {}, "parameters"), ("?more=1", {}, "parameters")],
)
def test_what_is_no_place_to_go_on_from_is_refused(
    service: Service, query: str, headers: dict[str, str], rule: str
) -> None:
    response = service.client.get(f"/access/v1/feed{query}", headers=service.headers("gus", **headers))
    problem(response, 400, rule)


# Without HTTP


def opened(replica: Replica) -> AsyncIterator[bytes]:
    """What a follower who had everything up to position 0 is told, while no heart beats."""
    desk = Desk(replica, lambda: START, Identities(()))
    followed = access_feed.AccessFeed(desk, cast(Any, None))
    followed._pulse = cast(Any, Still())
    return followed.events(access_feed.Caller({}, ""), None, 0, None)


class Still:
    """A pulse that never beats."""

    beat, checkpoint = 0, ""

    def join(self) -> None:
        pass

    leave = join


async def test_who_falls_behind_what_is_kept_is_cut_off() -> None:
    story, replica = a_full_story(), Replica()
    replica.changes = Changes(kept=3)
    replica.take(story.facts[:2])
    events = opened(replica)
    assert b'"snapshot":false' in await anext(events)
    replica.take(story.facts[2:])
    assert replica.changes.floor > 0
    assert [event async for event in events] == []
    late = opened(replica)
    assert b'"snapshot":true' in await anext(late), "and begins anew"


async def test_all_who_follow_share_the_bytes_of_a_change() -> None:
    story, replica = a_full_story(), Replica()
    replica.take(story.facts)
    first, second = ([*replica.changes.after(-1, readers)] for readers in (None, frozenset({"openai"})))
    assert first and all(any(each is other for other in first) for each in second)


async def test_a_snapshot_is_of_one_moment_whatever_happens_meanwhile() -> None:
    story, replica = a_full_story(), Replica()
    replica.take(story.facts[:-1])
    desk = Desk(replica, lambda: START, Identities(()))
    making = asyncio.create_task(access_feed.AccessFeed(desk, cast(Any, None))._made(None))
    await asyncio.sleep(0)
    before = len(story.facts) - 2
    replica.take(story.facts[-1:])
    snapshot = await making
    rows = [row for event in snapshot.events for row in json.loads(event.partition(b"data: ")[2])]
    assert snapshot.position == before and all(row[2] <= before for row in rows)


async def test_no_heart_beats_while_the_log_cannot_be_read() -> None:
    """What is told as fresh must be: a gateway's own bound counts from the last heartbeat."""
    replica = Replica()
    replica.take(a_full_story().facts)
    desk = Desk(replica, lambda: START, Identities(()))
    pulse = access_feed.Pulse(desk, cast(Any, None))
    ends: list[Any] = [(replica.position, "note"), psycopg.OperationalError("gone"), (replica.position + 1, "newer")]

    async def end() -> Any:
        found = ends.pop(0) if ends else psycopg.OperationalError("still gone")
        if isinstance(found, Exception):
            raise found
        return found

    pulse._end = end  # type: ignore[method-assign]
    pulse.join()
    await asyncio.sleep(0.6)
    pulse.leave()
    assert pulse.beat == 1, "once: then it was gone, then it had more than is known here, then it was gone again"
    assert pulse.checkpoint == "note" and not ends
