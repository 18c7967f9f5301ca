"""Does every address have a rule, a description and the same manners, and what is said when it cannot serve?"""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.authority import COMMANDS as MAY
from domain.authority import READS, Reading
from domain.errors import Refused
from services.http import commands, problems
from services.http.app import methods_of
from services.http.commands import PREFIX
from services.http.description import ASKED
from services.postgres import EmbeddedPostgres
from services.settings import Settings
from tests.services.http.conftest import ORGANIZATIONS, START, Service, served
from tests.services.http.test_commands import problem


@pytest.fixture(scope="session")
def document(service: Service) -> Any:
    return service.client.get("/openapi.json").json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


# Authority


def test_every_address_has_a_rule_of_who_may(document: Any) -> None:
    without = [
        f"{method} {path}"
        for path, method, _ in operations(document)
        if (path not in READS and commands.COMMANDS.get(path.removeprefix(PREFIX)) not in MAY)
        or (method == "post" and path not in READS and path.removeprefix(PREFIX) not in commands.COMMANDS)
    ]
    assert without == []


def test_every_rule_is_of_an_address_that_there_is(document: Any) -> None:
    assert set(READS) - set(document["paths"]) == set()
    assert {PREFIX + path for path in commands.COMMANDS} - set(document["paths"]) == set()


def test_without_a_token_every_address_is_closed_but_those_for_anyone(service: Service, document: Any) -> None:
    found = {}
    for path, method, _ in operations(document):
        filled = re.sub(r"\{[a-z]+\}", "1", path)
        response = service.client.request(method, filled, json={})
        found[f"{method} {path}"] = response.status_code == 401
    expected = {f"{method} {path}": READS.get(path) is not Reading.ANYONE for path, method, _ in operations(document)}
    assert found == expected


# Description


def test_every_operation_is_told_apart_and_said_in_words(document: Any) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] and operation["tags"] for _, _, operation in operations(document))


def test_every_body_has_a_schema_and_an_example(document: Any) -> None:
    posts = [operation for _, method, operation in operations(document) if method == "post"]
    contents = [operation["requestBody"]["content"]["application/json"] for operation in posts]
    assert len(contents) == len(commands.COMMANDS) + len(ASKED) + 1  # and the development clock
    assert all("schema" in content and "example" in content for content in contents)


def test_every_reference_leads_somewhere(document: Any) -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert names <= set(document["components"]["schemas"])


def test_patterns_are_such_as_every_reader_of_the_description_knows(document: Any) -> None:
    assert r"\\Z" not in json.dumps(document)


def test_the_examples_fit_their_schemas(document: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for _, method, operation in operations(document):
        if method == "post":
            content = operation["requestBody"]["content"]["application/json"]
            jsonschema.validate(content["example"], {**content["schema"], "components": document["components"]})


def test_refusals_are_described_where_they_happen(document: Any) -> None:
    for path, method, operation in operations(document):
        if method == "post" and path not in READS:
            assert {"400", "401", "403", "404", "409", "412", "413", "415", "422", "429", "503"} <= operation[
                "responses"
            ].keys()


class Links(HTMLParser):
    """Everything a page loads or leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.styled: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src", "srcset", "action") and value:
                self.found.append(value)
            if name == "id" and value:
                self.ids.add(value)
            if name == "style" or name.startswith("on"):
                self.styled.append(name)


def test_the_page_of_the_description_needs_nothing_from_elsewhere(service: Service, document: Any) -> None:
    response = service.client.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = Links(response.text)
    outside = [link for link in page.found if not link.startswith(("#", "/"))]
    assert (outside, page.styled, page.tags & {"script", "style", "iframe"}) == ([], [], set())
    assert {link[1:] for link in page.found if link.startswith("#")} <= page.ids
    for link in page.found:
        assert link.startswith("#") or service.client.get(link).status_code == 200
    assert all(path in response.text for path in document["paths"])


# Manners


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/healthz", "/nothing", "/api/v1/requests", "/docs/page.css"]
)
def test_every_answer_has_secure_headers_and_an_id(service: Service, path: str) -> None:
    headers = service.client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert headers["x-frame-options"] == "DENY" and headers["referrer-policy"] == "no-referrer"
    assert headers["x-request-id"] and headers["cache-control"]
    assert "server" not in headers


def test_an_odd_request_id_is_not_echoed(service: Service) -> None:
    given = "x" * 200
    assert service.client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"] != given


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/v1/requests", "GET, POST"),
        ("PUT", "/api/v1/requests/r1", "GET"),
        ("GET", "/api/v1/requests/r1/sign-offs", "POST"),
        ("POST", "/api/v1/events", "GET"),
        ("POST", "/healthz", "GET"),
        ("GET", "/api/v1/development/clock", "POST"),
        ("PATCH", "/access/v1/evaluation", "POST"),
        ("OPTIONS", "/api/v1/grants", "GET"),
    ],
)
def test_a_method_that_an_address_does_not_answer_is_refused(
    service: Service, method: str, path: str, allow: str
) -> None:
    response = service.client.request(method, path, headers=service.headers("olga"))
    problem(response, 405, "methods")
    assert response.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/requests/", "/docs/"])
def test_an_address_that_there_is_not_is_a_problem_too(service: Service, path: str) -> None:
    problem(service.client.get(path), 404, "paths")
    problem(service.client.post(path, json={}), 404, "paths")


def test_an_address_with_a_line_break_is_no_address_of_another_method(service: Service) -> None:
    problem(service.get("abe", "/log/tile/0/000%0A000"), 404, "paths")


def test_the_methods_of_an_address_are_known() -> None:
    assert methods_of("/api/v1/requests") == {"GET", "POST"}
    assert methods_of("/api/v1/nothing") == set()


def refusals(kind: type[Refused] = Refused) -> Iterator[type[Refused]]:
    for each in kind.__subclasses__():
        yield each
        yield from refusals(each)


def test_every_refusal_has_a_status_a_rule_a_title_and_a_type_of_its_own() -> None:
    found = list(refusals())
    assert all(400 <= each.status < 600 and each.rule and each.title for each in found)
    own = [each for each in found if each.__module__.startswith(("domain", "services", "projections"))]
    types = [problems.type_of(each) for each in own]
    assert len(set(types)) == len(types)


def test_a_refusals_type_is_its_name() -> None:
    assert problems.type_of(problems.BodyTooLarge) == "urn:assent:problem:body-too-large"


# Time


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"to": "2000-01-01T00:00:00Z"}, 409),
        ({"to": "tomorrow"}, 422),
        ({"to": "2026-06-27T14:00:00"}, 422),
        ({"to": "9999-12-31T23:59:59Z"}, 422),
        ({}, 422),
        ({"to": START.isoformat(), "x": 1}, 422),
        ([], 422),
    ],
)
def test_the_clock_moves_forward_to_a_sensible_time_only(service: Service, body: Any, status: int) -> None:
    response = service.client.post("/api/v1/development/clock", json=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("header", ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-proto"])
def test_the_clock_is_moved_by_whoever_sits_at_this_machine_alone(service: Service, header: str) -> None:
    body = {"to": "2000-01-01T00:00:00Z"}
    problem(service.client.post("/api/v1/development/clock", json=body, headers={header: "127.0.0.1"}), 403, "direct")
    problem(service.client.post("/api/v1/development/clock", json=body), 409, "clock")


# When it cannot serve


def test_a_service_that_is_well_says_so(service: Service) -> None:
    assert service.client.get("/healthz").json() == {"status": "ok"}
    response = service.client.get("/readyz")
    assert response.status_code == 200 and response.json()["ready"] is True
    names = {check["name"] for check in response.json()["checks"]}
    assert {"database", "signer", "projection requests"} <= names


def until_served(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is not 503, as one who repeats gets it."""
    deadline = time.monotonic() + 60
    while (response := ask()).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    return response


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short, so that a server's socket is where it was when the server starts again."""
    with tempfile.TemporaryDirectory(prefix="assent-", ignore_cleanup_errors=True) as found:
        Path(found).chmod(0o755)
        yield Path(found)


def test_while_the_storage_is_down_everything_is_refused_and_safe_to_repeat(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "database")
    conninfo = server.start()
    try:
        settings = Settings(data=folder / "data", database_url=conninfo, port=0, clock="manual", clock_start=START)
        with served(settings) as service:
            first, second = ORGANIZATIONS[:2]
            service.done("root", "/organizations", first)
            server.stop()
            refused = service.post("root", "/organizations", second, idempotency_key="same")
            problem(refused, 503, "storage")
            assert refused.headers["retry-after"]
            sealed = {"customer": "northwind", "release": "gpt-5.6", "use": "Fraud analysis"}
            problem(service.post("nina", "/requests", sealed), 503, "storage")
            problem(service.get("root", "/organizations"), 503, "storage")
            assert service.client.get("/healthz").status_code == 200
            readiness = service.client.get("/readyz")
            assert readiness.status_code == 503 and readiness.json()["ready"] is False
            server.start()
            answer = until_served(lambda: service.post("root", "/organizations", second, idempotency_key="same"))
            assert answer.status_code == 201
            found = until_served(lambda: service.get("root", f"/organizations?after={answer.json()['position']}"))
            assert [item["id"] for item in found.json()["items"]].count(second["id"]) == 1
    finally:
        server.stop()
