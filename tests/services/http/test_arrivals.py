"""Is whoever sends too much, too slowly, by another name or no HTTP at all told so, and let go?"""

import asyncio
import json
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from services.cli import serving
from services.http.answers import ALWAYS, STRICT_TRANSPORT
from services.http.arrivals import HEAD_BYTES_MAX, HEADERS_MAX, URL_BYTES_MAX, Arriving
from services.http.hosts import Hosts
from services.settings import Settings
from tests.services.http.conftest import Service
from tests.services.http.test_protocol import Wire, answer, sent

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


def refusal(received: bytes, status: int, rule: str) -> None:
    line, headers, body, rest = answer(received)
    assert (int(line.split(b" ")[1]), json.loads(body)["rule"], rest) == (status, rule, b"")
    assert headers[b"content-type"] == b"application/problem+json" and headers[b"x-request-id"]
    assert dict(ALWAYS).items() <= headers.items() and headers[b"connection"] == b"close"
    assert not {b"server", b"access-control-allow-origin"} & headers.keys()


@pytest.mark.parametrize(
    "given", [b"no http\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", HEAD + b"a b: c\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"]
)
def test_what_is_no_http_gets_a_refusal_like_any_other(service: Service, given: bytes) -> None:
    refusal(sent(service, given), 400, "http")


@pytest.mark.parametrize(
    "given",
    [
        HEAD + b"x-filler: 1\r\n" * HEADERS_MAX + b"\r\n",
        HEAD + b"x-filler: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n",
        HEAD.replace(b"/healthz", b"/" + b"x" * URL_BYTES_MAX) + b"\r\n",
    ],
    ids=["headers", "bytes", "address"],
)
def test_a_head_that_is_too_large_is_refused(service: Service, given: bytes) -> None:
    refusal(sent(service, given), 431, "head_size")


def test_a_head_as_large_as_may_be_is_read(service: Service) -> None:
    filler = b"x-filler: " + b"x" * (HEAD_BYTES_MAX - 500) + b"\r\n"
    address = b"/healthz?" + b"x" * (URL_BYTES_MAX - 20)
    for given in (filler, b"x-filler: 1\r\n" * (HEADERS_MAX - 2)):
        assert answer(sent(service, HEAD + given + b"\r\n"))[0] == b"HTTP/1.1 200 OK"
    assert answer(sent(service, HEAD.replace(b"/healthz", address) + b"\r\n"))[0] == b"HTTP/1.1 200 OK"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def arriving(request_seconds: float) -> tuple[Arriving, Wire]:
    config = uvicorn.Config(nothing, lifespan="off", log_level="critical")  # type: ignore[arg-type]
    config.load()
    state = ServerState()
    here, wire = Arriving(config=config, server_state=state, app_state={}, request_seconds=request_seconds), Wire()
    here.connection_made(wire)  # type: ignore[arg-type]
    return here, wire


@pytest.mark.parametrize("given", [HEAD, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nbody"], ids=["head", "body"])
async def test_who_sends_byte_by_byte_runs_out_of_time(given: bytes) -> None:
    here, wire = await arriving(0.15)
    for nth in range(len(given)):
        if not wire.closing:
            here.data_received(given[nth : nth + 1])
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert wire.closing
    refusal(b"".join(wire.written), 408, "request_time")


@pytest.mark.parametrize("given", [[], [b"\r\n"], [b"GET / HTTP/1.1\r\n\r\n", b"\r\n"]], ids=["mute", "blank", "after"])
async def test_who_says_nothing_is_let_go(given: list[bytes]) -> None:
    here, wire = await arriving(0.1)
    for each in given:
        here.data_received(each)
        await asyncio.sleep(0.02)
    assert not wire.closing
    await asyncio.sleep(0.2)
    assert wire.closing


async def test_a_head_without_end_takes_no_memory() -> None:
    here, wire = await arriving(30)
    here.data_received(b"GET /")
    for _ in range(HEAD_BYTES_MAX // 1024 + 1):
        assert not wire.closing
        here.data_received(b"x" * 1024)
    refusal(b"".join(wire.written), 431, "head_size")


# Names


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost", ""]
)
def test_by_another_name_nobody_is_answered(service: Service, host: str) -> None:
    for method, path in (("GET", "/healthz"), ("POST", "/api/v1/requests"), ("POST", "/access/v1/evaluation")):
        headers = service.headers("root", host=host)
        response = service.client.request(method, path, headers=headers, json={} if method == "POST" else None)
        assert (response.status_code, response.json()["rule"]) == (421, "host")


def test_two_names_are_none(service: Service) -> None:
    two = HEAD + b"Host: localhost\r\n\r\n"
    assert answer(sent(service, two))[0] == b"HTTP/1.1 421 Misdirected Request"


def test_in_production_the_names_are_those_that_are_set_and_addresses() -> None:
    settings = Settings(mode="production", url="https://assent.example:8443", hosts=frozenset({"assent"}))
    known = Hosts(settings).accepts
    for host in (b"assent.example:8443", b"ASSENT.example", b"assent:8000", b"10.0.0.7:8000", b"[::1]:8000"):
        assert known(host), host
    for host in (b"evil.example", b"x.assent.example", b"assent@evil.example", b"assent/x", b"", b"[", None):
        assert not known(host), host
    assert Hosts(Settings(mode="production")).accepts(b"any.example")


# Headers


async def test_outside_development_every_answer_asks_for_https() -> None:
    name, value = (text.decode() for text in STRICT_TRANSPORT)
    found = []
    for mode in ("production", "development"):
        settings = Settings(mode=mode, port=0)  # type: ignore[arg-type]
        async with (
            serving(nothing, settings, has_door=False) as (_, address),
            httpx.AsyncClient(base_url=address) as client,
        ):
            found.append([(await client.get("/")).headers.get(name)])
            found[-1].append((await client.get("/" + "x" * URL_BYTES_MAX)).headers.get(name))
    assert found == [[value, value], [None, None]]


def test_no_page_of_another_origin_may_read_an_answer(service: Service) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for method in ("GET", "OPTIONS"):
        response = service.client.request(method, "/api/v1/requests", headers=asked)
        assert not [each for each in response.headers if each.startswith("access-control-")]
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
