"""Does an auditor who follows the log get every event once, however often the connection breaks?"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from domain.calendar import CalendarAmended
from services.http import feed, protocol, streamed
from services.settings import Settings
from tests.conftest import fresh_database
from tests.projections.shelf import append
from tests.services.http.conftest import Ask, Service, served
from tests.services.http.test_commands import APPROVE, problem
from tests.spec import cast, days

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


# Readers who really stop reading

BIG = 300
"""Events, more than sockets hold."""


@pytest.fixture(scope="module")
def long_log(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose log has twelve megabytes of events of one stream."""
    story = cast()
    for nth in range(BIG):
        story.happened("calendar-big", CalendarAmended(days(f"{2030 + nth // 12}-{nth % 12 + 1:02}-01"), "🦀" * 10_000))
    for conninfo in fresh_database(postgres, template):
        append(conninfo, story.facts)
        folder = tmp_path_factory.mktemp("feed")
        settings = Settings(data=folder, database_url=conninfo, port=0, clock="manual", clock_start=story.now)
        with served(settings) as running:
            yield running


def asked_without_reading(service: Service, path: str) -> socket.socket:
    """A connection that asked, and takes next to nothing."""
    url = httpx.URL(service.client.base_url)
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.connect((url.host, url.port))
    lines = [f"GET /api/v1{path} HTTP/1.1", f"host: {url.host}:{url.port}", "accept: text/event-stream"]
    lines += [f"authorization: Bearer {service.token('ada')}", "", ""]
    found.sendall("\r\n".join(lines).encode())
    return found


def body_of(connection: socket.socket) -> tuple[bytes, bool]:
    """What is left of an answer in chunks, and whether its last chunk is there."""
    received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
    _, _, rest = received.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body, False


def test_who_takes_nothing_is_cut_off_told_why_and_loses_nothing(
    long_log: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "PATIENCE_SECONDS", 0.3)
    with asked_without_reading(long_log, "/events?stream=calendar-big") as connection:
        time.sleep(2)
        body, complete = body_of(connection)
    told = events(iter(body.decode().split("\n")), body.count(b"\nevent: "))
    assert complete and told[-1][1] == "ended" and told[-1][2]["rule"] == "slow_reader"
    positions = [position for position, name, _ in told if name == "CalendarAmended"]
    assert 0 < len(positions) < BIG
    with following(long_log, "?stream=calendar-big", "ada", last_event_id=str(positions[-1])) as lines:
        positions += [position for position, _, _ in events(lines, BIG - len(positions))]
    assert len(set(positions)) == BIG and positions == sorted(positions)


def test_who_stopped_reading_holds_up_nobody_else(long_log: Service) -> None:
    idle = [asked_without_reading(long_log, "/events?stream=calendar-big") for _ in range(5)]
    with following(long_log, f"?stream=calendar-big&type=CalendarAmended&after={BIG}", "ada") as lines:
        assert events(lines, 1)[0][1] == "CalendarAmended"
    for connection in idle:
        connection.close()


def test_what_lingers_for_a_reader_who_is_cut_off_does_so_for_a_while_only(
    long_log: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.3)
    with asked_without_reading(long_log, "/events?stream=calendar-big") as connection:
        time.sleep(2)
        with suppress(ConnectionResetError):
            body, complete = body_of(connection)
            assert not complete and b"slow_reader" not in body


async def test_outside_of_our_server_a_slow_reader_is_cut_off_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PATIENCE_SECONDS", 0.05)
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
