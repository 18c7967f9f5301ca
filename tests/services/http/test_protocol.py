"""Do answers that leave in one write keep the manners of HTTP?"""

import json
import socket
from urllib.parse import urlsplit

from services.http.answers import ALWAYS
from tests.services.http.conftest import Service


def sent(service: Service, *requests: bytes) -> bytes:
    """All that comes back on one connection for these bytes, written at once, until the service hangs up."""
    where = urlsplit(str(service.client.base_url))
    assert where.hostname is not None and where.port is not None
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(b"".join(requests))
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    return received


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
    where = urlsplit(str(service.client.base_url))
    for nth in range(20):
        with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
            connection.sendall(command(service, "root", f"gone-{nth}", f"gone-{nth}"))
    assert service.get("root", "/organizations/oncd").status_code == 200
