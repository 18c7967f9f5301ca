"""Does an auditor who follows the log get every event once, however often the connection breaks?"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.http import feed
from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import APPROVE, problem

Event = tuple[int, str, Any]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_SECONDS", 0.1)


@contextmanager
def following(service: Service, query: str = "", person: str = "abe", **headers: str) -> Iterator[Iterator[str]]:
    """The lines of a feed."""
    asked = service.headers(person, accept="text/event-stream", **headers)
    with service.client.stream("GET", f"/api/v1/events{query}", headers=asked) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield response.iter_lines()


def events(lines: Iterator[str], count: int) -> list[Event]:
    """The next events: their id, name and data."""
    found: list[Event] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = next(lines)
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            found.append((int(fields.get("id", -1)), fields["event"], json.loads(fields["data"])))
            fields = {}
    return found


def test_the_past_comes_first_and_then_what_happens(service: Service, request_of: Ask) -> None:
    id = request_of()
    with following(service) as lines:
        size = service.get("abe", "/events?limit=1").json()["position"] + 1
        past = events(lines, size)
        assert [position for position, _, _ in past] == list(range(size))
        answer = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)
        assert events(lines, 1)[0][:2] == (answer["position"], "AgencySignedOff")


def test_an_event_is_what_a_page_shows(service: Service, request_of: Ask) -> None:
    stream = f"request-{request_of()}"
    listed = service.get("abe", f"/events?stream={stream}").json()["items"]
    with following(service, f"?stream={stream}") as lines:
        assert [data for _, _, data in events(lines, len(listed))] == listed
    assert listed[0]["data"]["use"] == "Fraud analysis"


def test_whoever_comes_back_goes_on_after_the_last_event_they_had(service: Service, request_of: Ask) -> None:
    stream = f"request-{request_of()}"
    first, second = service.get("abe", f"/events?stream={stream}").json()["items"][:2]
    for query, headers in (
        (f"?stream={stream}", {"last_event_id": str(first["position"])}),
        (f"?stream={stream}&after={first['position']}", {}),
        (f"?stream={stream}&after=0", {"last_event_id": str(first["position"])}),
    ):
        with following(service, query, **headers) as lines:
            assert events(lines, 1)[0][0] == second["position"]


def test_a_heartbeat_says_how_far_the_log_was_searched(service: Service) -> None:
    position = service.get("abe", "/events?limit=1").json()["position"]
    with following(service, f"?type=ReleaseWithdrawn&after={position - 1}") as lines:
        assert f"id: {position}" in [next(lines) for _ in range(8)]


def test_a_reader_who_may_not_read_any_more_is_told_so_and_gets_nothing_more(service: Service) -> None:
    service.done("root", "/organizations/assent/appointments", {"person": "tempora", "role": "auditor"})
    position = service.get("abe", "/events?limit=1").json()["position"]
    with following(service, f"?after={position}", person="tempora") as lines:
        service.done("root", "/organizations/assent/appointments/tempora/end", {"role": "auditor"})
        told = events(lines, 1)
        if told[0][1] == "AppointmentEnded":
            told = events(lines, 1)
        assert told[0][1:] == ("ended", {"rule": "authority", "detail": "This is for auditors."})
        assert list(lines) == []


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 19])
def test_a_last_event_id_that_is_none_is_refused(service: Service, given: str) -> None:
    headers = service.headers("abe", accept="text/event-stream", last_event_id=given)
    problem(service.client.get("/api/v1/events", headers=headers), 400, "headers")


@pytest.mark.parametrize("person", ["nina", "cora", "rae"])
def test_the_feed_is_for_auditors(service: Service, person: str) -> None:
    headers = service.headers(person, accept="text/event-stream")
    problem(service.client.get("/api/v1/events", headers=headers), 403, "authority")


async def test_a_reader_who_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.05)
    taken: list[Any] = []

    async def told() -> AsyncIterator[bytes]:
        while True:
            yield b": still here\n\n"

    async def send(message: Any) -> None:
        taken.append(message)
        if len(taken) > 3:
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await feed.Feed(told()).stream_response(send)
    assert len(taken) == 4
