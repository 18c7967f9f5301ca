"""Do requests that go straight through keep the manners of HTTP, and do all others go the ordinary way?"""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from uvicorn.server import ServerState

from services.http import protocol
from services.http.answers import ALWAYS, Exchange
from tests.services.http.conftest import Service


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    where = urlsplit(str(service.client.base_url))
    assert where.hostname is not None and where.port is not None
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        yield connection


def sent(service: Service, *requests: bytes) -> bytes:
    """All that comes back on one connection for these bytes, written at once, until the service hangs up."""
    with connected(service) as connection:
        connection.sendall(b"".join(requests))
        return received(connection)


def received(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


def command(service: Service, person: str, key: str, organization: str, *, closing: bool = False) -> bytes:
    body = json.dumps({"id": organization, "kind": "agency", "name": organization, "country": "US"}).encode()
    head = (
        f"POST /api/v1/organizations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.token(person)}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + (b"Connection: close\r\n\r\n" if closing else b"\r\n") + body


def answer(received: bytes) -> tuple[bytes, dict[bytes, bytes], bytes, bytes]:
    """Status line, headers, body of the first answer, and what comes after it."""
    head, _, rest = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    length = int(headers[b"content-length"])
    return status, headers, rest[:length], rest[length:]


def test_an_answer_has_the_headers_of_every_answer_and_of_its_own(service: Service) -> None:
    status, headers, body, rest = answer(sent(service, command(service, "root", "whole-1", "whole-1", closing=True)))
    assert (status, rest) == (b"HTTP/1.1 201 Created", b"")
    assert dict(ALWAYS).items() <= headers.items()
    assert headers[b"location"] == b"/api/v1/organizations/whole-1" and headers[b"date"].endswith(b"GMT")
    assert headers[b"connection"] == b"close"
    assert json.loads(body)["id"] == "whole-1"


def test_answers_to_requests_sent_at_once_come_in_their_order(service: Service) -> None:
    first, second = (command(service, "root", f"order-{nth}", f"order-{nth}", closing=nth == 2) for nth in (1, 2))
    _, headers, body, rest = answer(sent(service, first, second))
    assert json.loads(body)["id"] == "order-1" and b"connection" not in headers
    assert json.loads(answer(rest)[2])["id"] == "order-2"


def test_a_refusal_leaves_by_the_same_way_as_an_answer_of_the_framework(service: Service) -> None:
    unknown = b"GET /api/v1/nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    refused, framed = (
        answer(sent(service, each)) for each in (command(service, "nina", "r", "x", closing=True), unknown)
    )
    assert refused[0] == b"HTTP/1.1 403 Forbidden" and framed[0] == b"HTTP/1.1 404 Not Found"
    assert dict(ALWAYS).items() <= refused[1].items() and dict(ALWAYS).items() <= framed[1].items()
    assert refused[1].keys() == framed[1].keys()


def test_who_hangs_up_before_the_answer_harms_nobody(service: Service) -> None:
    for nth in range(20):
        with connected(service) as connection:
            connection.sendall(command(service, "root", f"gone-{nth}", f"gone-{nth}"))
    assert service.get("root", "/organizations/oncd").status_code == 200


READ = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_commands_and_reads_sent_at_once_are_answered_in_their_order(service: Service) -> None:
    service.get("root", "/organizations/oncd")  # the token is known, so the first command needs no task
    rest = sent(
        service,
        command(service, "root", "mixed-1", "mixed-1"),
        READ,
        command(service, "root", "mixed-2", "mixed-2"),
        command(service, "root", "mixed-3", "mixed-3", closing=True),
    )
    found = []
    while rest:
        _, _, body, rest = answer(rest)
        found.append(json.loads(body).get("id", "health"))
    assert found == ["mixed-1", "health", "mixed-2", "mixed-3"]


def test_a_body_that_comes_slowly_is_waited_for(service: Service) -> None:
    asked = command(service, "root", "slow", "slow", closing=True)
    with connected(service) as connection:
        for at in range(0, len(asked), 97):
            connection.sendall(asked[at : at + 97])
            time.sleep(0.01)
        assert answer(received(connection))[0] == b"HTTP/1.1 201 Created"


def test_a_body_in_chunks_is_the_same_command(service: Service) -> None:
    head, _, body = command(service, "root", "chunks", "chunks", closing=True).partition(b"\r\n\r\n")
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:9], body[9:])) + b"0\r\n\r\n"
    status, headers, whole, _ = answer(sent(service, head, b"\r\n\r\n", chunks))
    assert (status, json.loads(whole)["id"]) == (b"HTTP/1.1 201 Created", "chunks")
    straight = answer(sent(service, command(service, "root", "whole", "whole", closing=True)))
    assert headers.keys() == straight[1].keys() and json.loads(whole).keys() == json.loads(straight[2]).keys()


def test_who_asks_first_is_told_to_continue(service: Service) -> None:
    asked = command(service, "root", "asks", "asks", closing=True)
    head, _, body = asked.replace(b"Host:", b"Expect: 100-continue\r\nHost:").partition(b"\r\n\r\n")
    with connected(service) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert answer(received(connection))[0] == b"HTTP/1.1 201 Created"


@pytest.mark.parametrize(("length", "status"), [(20_000, b"422"), (100_000, b"422"), (200_000, b"413")])
def test_a_large_body_is_read_and_a_larger_one_refused(service: Service, length: int, status: bytes) -> None:
    with connected(service) as connection:  # id and name are as long as that
        connection.sendall(command(service, "root", "large", "x" * length))
        assert connection.recv(65_536).split(b" ")[1] == status


# One connection, and a door of our own


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Waiting:
    """A door that takes everything and answers when it is told to; the application behind it answers 202."""

    def __init__(self, willing: bool = True) -> None:
        self.willing = willing
        self.taken: list[Exchange] = []

    def takes(self, path: bytes) -> bool:
        return True

    def take(self, exchange: Exchange) -> bool:
        self.taken.append(exchange)
        return self.willing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


def connection_to(door: Waiting, **options: Any) -> tuple[protocol.Protocol, Wire]:
    config = uvicorn.Config(door, lifespan="off", log_level="critical", **options)  # type: ignore[arg-type]
    config.load()
    found, wire = protocol.Protocol(door, config=config, server_state=ServerState(), app_state={}), Wire()
    found.connection_made(wire)  # type: ignore[arg-type]
    return found, wire


ASKED = b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


async def test_an_answer_is_one_write() -> None:
    door = Waiting()
    here, wire = connection_to(door)
    here.data_received(ASKED)
    door.taken[0].answer(201, b"", b"done")
    (whole,) = wire.written
    assert whole.startswith(b"HTTP/1.1 201 Created\r\n") and whole.endswith(b"\r\n\r\ndone")


async def test_what_the_door_will_not_take_becomes_a_task_as_it_was() -> None:
    door = Waiting(willing=False)
    here, wire = connection_to(door)
    here.data_received(ASKED)
    await asyncio.sleep(0.01)
    assert len(door.taken) == 1
    assert b"".join(wire.written).startswith(b"HTTP/1.1 202") and wire.written[-1] == b"{}"


async def test_who_does_not_read_answers_is_not_answered_any_more() -> None:
    door = Waiting()
    here, wire = connection_to(door)
    here.pause_writing()
    here.data_received(ASKED)
    await asyncio.sleep(0.01)
    assert not door.taken and not wire.written
    here.resume_writing()
    await asyncio.sleep(0.01)
    assert b"".join(wire.written).startswith(b"HTTP/1.1 202")


async def test_an_answer_to_nobody_is_dropped() -> None:
    door = Waiting()
    here, wire = connection_to(door)
    here.data_received(ASKED)
    here.connection_lost(None)
    door.taken[0].answer(201, b"", b"done")
    assert not wire.written


async def test_who_is_served_while_the_service_stops_gets_an_answer_and_a_farewell() -> None:
    door = Waiting()
    here, wire = connection_to(door)
    here.data_received(ASKED)
    here.shutdown()
    assert not wire.closing
    door.taken[0].answer(201, b"", b"done")
    assert b"\r\nconnection: close\r\n" in wire.written[0] and wire.closing


async def test_a_connection_without_requests_is_closed_in_time_and_a_slow_answer_is_not() -> None:
    door = Waiting()
    here, wire = connection_to(door, timeout_keep_alive=0.05)
    here.data_received(ASKED)
    await asyncio.sleep(0.1)
    assert not wire.closing
    door.taken[0].answer(201, b"", b"done")
    await asyncio.sleep(0.03)
    here.data_received(ASKED)
    await asyncio.sleep(0.1)
    assert not wire.closing
    door.taken[1].answer(201, b"", b"done")
    await asyncio.sleep(0.1)
    assert wire.closing
