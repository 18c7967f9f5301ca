"""May they use it now? Are checks answered as AuthZEN says, and to whom?"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import problem
from tests.services.http.test_queries import approved

SCHEMAS = Path(__file__).parents[4] / "shared" / "cases" / "authzen"


def asked(customer: str = "northwind", release: str = "gpt-5.6", **properties: str) -> dict[str, Any]:
    return {
        "subject": {"type": "organization", "id": customer, "properties": properties},
        "action": {"name": "use"},
        "resource": {"type": "release", "id": release},
    }


@pytest.fixture
def granted(service: Service, request_of: Ask) -> int:
    """Northwind may use gpt-5.6; the position since which."""
    return approved(service, request_of())


def test_a_granted_use_is_allowed_and_says_why(service: Service, granted: int) -> None:
    response = service.evaluate("gus", {**asked(person_class="us_person"), "context": {"min_position": granted}})
    assert response.status_code == 200
    answer = response.json()
    assert answer["decision"] is True and answer["context"]["reason"] == "granted"
    assert answer["context"]["position"] >= granted and answer["context"]["because"]
    assert answer["context"]["valid_until"].endswith("Z")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (asked("tinker"), "no_grant"),
        (asked("nobody"), "unknown_customer"),
        (asked(release="gpt-9"), "unknown_release"),
        (asked(person_class="foreign_national"), "class_not_covered"),
        (asked(person_class="us_person", affiliate="northwind-uk"), "affiliate_not_covered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refused_use_names_the_reason(service: Service, granted: int, body: Any, reason: str) -> None:
    answer = service.evaluate("rae", body).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, reason)


def test_another_providers_release_looks_like_none(service: Service, granted: int) -> None:
    known = service.evaluate("ann", asked(person_class="us_person")).json()
    unknown = service.evaluate("ann", asked(release="gpt-9")).json()
    assert known == unknown and known["context"]["reason"] == "unknown_release"


def test_auditors_may_ask_about_every_release(service: Service, granted: int) -> None:
    assert service.evaluate("abe", asked(person_class="us_person")).json()["decision"] is True


@pytest.mark.parametrize("person", ["nina", "cora", "nobody"])
def test_checks_are_for_gateways_and_release_managers(service: Service, person: str) -> None:
    problem(service.evaluate(person, asked()), 403, "authority")


def test_nobody_asks_without_a_token(service: Service) -> None:
    problem(service.client.post("/access/v1/evaluation", json=asked()), 401, "authentication")


def test_a_position_that_is_not_reached_is_not_answered_from_the_past(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.http.access.WAIT_SECONDS_MAX", 0.05)
    response = service.evaluate("gus", {**asked(), "context": {"min_position": 100_000}})
    problem(response, 503, "position")
    assert response.headers["retry-after"] == "1"


def wrong() -> Iterator[tuple[str, Any]]:
    yield "nothing", {}
    yield "a list", []
    yield "no subject", {name: value for name, value in asked().items() if name != "subject"}
    yield "an id that is a number", {**asked(), "subject": {"type": "organization", "id": 1}}
    yield (
        "a class that is a list",
        {**asked(), "subject": {"type": "organization", "id": "x", "properties": {"person_class": []}}},
    )
    yield "a position that is a text", {**asked(), "context": {"min_position": "1"}}
    yield "a position below zero", {**asked(), "context": {"min_position": -1}}
    yield "a position beyond reason", {**asked(), "context": {"min_position": 10**30}}
    yield "an endless id", asked("x" * 300)


@pytest.mark.parametrize("body", [body for _, body in wrong()], ids=[name for name, _ in wrong()])
def test_what_is_no_evaluation_is_refused(service: Service, body: Any) -> None:
    problem(service.evaluate("gus", body), 400, "authzen")


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"resource": {"type": "document", "id": "gpt-5.6"}}, "unknown_release"),
        ({"subject": {"type": "user", "id": "northwind"}}, "unknown_customer"),
        ({"action": {"name": "delete"}}, "unknown_action"),
    ],
    ids=["resource", "subject", "action"],
)
def test_of_another_type_of_thing_nothing_is_known_so_it_is_refused(
    service: Service, granted: int, part: Any, reason: str
) -> None:
    answer = service.evaluate("gus", {**asked(person_class="us_person"), **part}).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, reason)


def test_odd_characters_in_an_id_name_nothing(service: Service) -> None:
    for odd in ("\0", "\U0001f980", "' OR 1=1", "../x"):
        assert service.evaluate("gus", asked(odd)).json()["context"]["reason"] == "unknown_customer"


def test_what_is_not_known_of_authzen_is_ignored(service: Service, granted: int) -> None:
    body = asked(person_class="us_person", department="Sales")
    body["action"]["properties"] = {"method": "GET"}
    body["context"] = {"time": "1985-10-26T01:22-07:00"}
    assert service.evaluate("gus", {**body, "more": 1}).json()["decision"] is True


def test_the_request_id_is_echoed(service: Service) -> None:
    headers = service.headers("gus", x_request_id="bfe9eb29-ab87-4ca3-be83-a1d5d8305716")
    response = service.client.post("/access/v1/evaluation", json=asked(), headers=headers)
    assert response.headers["x-request-id"] == "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"


def test_evaluations_are_posted(service: Service) -> None:
    response = service.client.get("/access/v1/evaluation", headers=service.headers("gus"))
    problem(response, 405, "methods")
    assert response.headers["allow"] == "POST"


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the working group's schemas are not at hand")
def test_the_answer_is_of_the_working_groups_shape(service: Service, granted: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for kind, document in (
        ("request", asked(person_class="us_person")),
        ("response", service.evaluate("gus", asked()).json()),
    ):
        schema = json.loads((SCHEMAS / f"api_schemas_evaluation-{kind}.schema.json").read_text())
        jsonschema.validate(document, schema)
