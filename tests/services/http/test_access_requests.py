"""Does a refusal tell how to apply, where a setting wants it, and becomes an application a request like any other?"""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest

from services.http import access_requests
from tests.conftest import fresh_database
from tests.services.http.conftest import START, Service, appoint_everybody, served, settings_for
from tests.services.http.test_commands import problem
from tests.services.http.test_queries import approved

REQUESTS = "/access/v1/requests"
ERRORS = "urn:openid:authzen:access-request:error:"
QUESTION: dict[str, Any] = {
    "subject": {"type": "organization", "id": "northwind", "properties": {"person_class": "us_person"}},
    "action": {"name": "use"},
    "resource": {"type": "release", "id": "gpt-5.6", "properties": {"tier": "standard"}},
}


@pytest.fixture(scope="module")
def applying(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose refusals tell how to apply."""
    for conninfo in fresh_database(postgres, template):
        settings = replace(settings_for(conninfo, tmp_path_factory.mktemp("applying")), access_requests="on")
        with served(settings) as service:
            appoint_everybody(service)
            yield service


def refused(service: Service, **parts: Any) -> Any:
    """What the decision point says to a use that is not granted."""
    answer = service.evaluate("gus", {**QUESTION, **parts}).json()
    assert answer["decision"] is False
    return answer["context"]


def application(refusal: Any, **parts: Any) -> dict[str, Any]:
    offer = refusal["access_request"]
    denial = {name: refusal[name] for name in ("evaluation_id", "evaluated_at", "reason")}
    return {
        **QUESTION,
        "context": {"business_justification": "Fraud analysis"},
        "denial": {**denial, "expires_at": offer["expires_at"], "binding_token": offer["binding_token"]},
        **parts,
    }


def apply(service: Service, person: str, body: Any, **headers: str) -> Any:
    return service.client.post(REQUESTS, json=body, headers=service.headers(person, **headers))


def status(service: Service, person: str, id: str) -> Any:
    response = service.client.get(f"{REQUESTS}/{id}", headers=service.headers(person))
    assert response.status_code == 200, response.text
    return response.json()


TINKERS = {"subject": {**QUESTION["subject"], "id": "tinker"}}


def test_from_a_refusal_to_an_allowance(applying: Service) -> None:
    refusal = refused(applying)
    assert refusal["reason"] == "no_grant"
    until = (START + timedelta(days=60)).isoformat()
    taken = apply(applying, "nina", application(refusal, requested_access={"requested_until": until}))
    assert taken.status_code == 202, taken.text
    task = taken.json()["task"]
    assert task["status"] == "pending" and task["status_endpoint"].endswith(f"{REQUESTS}/{task['id']}")
    assert taken.headers["location"] == task["status_endpoint"]
    applying.done("root", f"/requests/{task['id']}/registration", {})
    asked = applying.get("nina", f"/requests/{task['id']}").json()
    assert (asked["customer"], asked["tier"], asked["use"]) == ("northwind", "standard", "Fraud analysis")
    assert asked["user_classes"] == ["us_person"] and asked["duration_days"] == 59

    assert status(applying, "nina", task["id"]) == {"task": task}
    position = approved(applying, task["id"])
    found = status(applying, "nina", task["id"])
    assert found["task"]["status"] == "approved" and found["result"]["mode"] == "reevaluate"
    approval = found["result"]["approval"]
    again = {**QUESTION, "context": {"min_position": position, "approval": approval}}
    answer = applying.evaluate("gus", again).json()
    assert answer["decision"] is True and answer["context"]["grant"] == approval["id"]
    assert answer["context"]["valid_until"] == approval["approved_until"]
    assert "access_request" not in answer["context"]


@pytest.mark.parametrize(
    ("person", "act", "path", "body"),
    [
        ("tom", "cancelled", "withdrawal", {"reason": "Not needed"}),
        ("root", "denied", "return", {"deficiencies": "The use is not described."}),
    ],
)
def test_a_request_that_comes_to_nothing_is_told_so(
    applying: Service, person: str, act: str, path: str, body: Any
) -> None:
    id = apply(applying, "tom", application(refused(applying, **TINKERS), **TINKERS)).json()["task"]["id"]
    applying.done(person, f"/requests/{id}/{path}", body)
    found = status(applying, "tom", id)
    assert found["task"]["status"] == act and "result" not in found


def test_only_a_refusal_that_another_grant_would_change_can_be_applied_upon(applying: Service) -> None:
    unknown = refused(applying, resource={"type": "release", "id": "gpt-9"})
    assert unknown["reason"] == "unknown_release" and "access_request" not in unknown


def test_the_token_is_a_jws_that_the_published_key_verifies(applying: Service) -> None:
    refusal = refused(applying, **TINKERS)
    (key,) = applying.client.get("/access/v1/jwks").json()["keys"]
    token = refusal["access_request"]["binding_token"]
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["EdDSA"], audience="urn:assent")
    assert claims["subject"]["id"] == "tinker" and claims["evaluation_id"] == refusal["evaluation_id"]


def test_the_metadata_says_where_to_apply(applying: Service) -> None:
    found = applying.client.get("/.well-known/authzen-configuration").json()
    base = str(applying.client.base_url).rstrip("/")
    assert found["access_request_endpoint"] == base + REQUESTS and found["jwks_uri"] == f"{base}/access/v1/jwks"
    assert found["capabilities"] == ["urn:openid:authzen:capability:access-request"]


def changed(body: dict[str, Any], **denial: Any) -> dict[str, Any]:
    return {**body, "denial": {**body["denial"], **denial}}


@pytest.mark.parametrize("how", ["another subject", "another tier", "no token", "another token", "a changed token"])
def test_what_is_not_bound_to_the_refusal_is_refused(applying: Service, how: str) -> None:
    body = application(refused(applying, **TINKERS), **TINKERS)
    token = body["denial"]["binding_token"]
    forged = jwt.encode(jwt.decode(token, options={"verify_signature": False}), "k" * 32, "HS256")
    bad = {
        "another subject": {**body, "subject": QUESTION["subject"]},
        "another tier": {**body, "resource": {**body["resource"], "properties": {"tier": "pro"}}},
        "no token": changed(body, binding_token=""),
        "another token": changed(body, binding_token=forged),
        "a changed token": changed(body, binding_token=token[:-4] + "AAAA"),
    }[how]
    response = apply(applying, "tom", bad)
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["type"]) == (400, f"{ERRORS}invalid_denial_binding")


def test_a_refusal_is_good_for_ten_minutes(applying: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    body = application(refused(applying, **TINKERS), **TINKERS)
    past = changed(body, expires_at="2026-01-01T00:00:00Z")
    response = apply(applying, "tom", past)
    assert (response.status_code, response.json()["type"]) == (410, f"{ERRORS}expired_denial")
    monkeypatch.setattr(access_requests, "OFFER_SECONDS", -5)
    stale = application(refused(applying, **TINKERS), **TINKERS)
    future = datetime.fromtimestamp(time.time() + 3600).astimezone().isoformat()
    response = apply(applying, "tom", changed(stale, expires_at=future))
    assert (response.status_code, response.json()["type"]) == (410, f"{ERRORS}expired_denial")


def test_a_refusal_is_good_for_one_request_and_a_key_for_one_body(applying: Service) -> None:
    body = application(refused(applying, **TINKERS), **TINKERS)
    first, again = (apply(applying, "tom", body).json()["task"]["id"] for _ in range(2))
    assert first == again
    other = {**body, "context": {"business_justification": "Something else"}}
    response = apply(applying, "tom", other)
    assert (response.status_code, response.json()["type"]) == (409, f"{ERRORS}duplicate_request")
    assert apply(applying, "tom", other, idempotency_key="of-its-own").json()["task"]["id"] != first


@pytest.mark.parametrize(("person", "status_"), [("nina", 403), ("gus", 403), ("nobody", 403)])
def test_only_those_may_apply_who_may_ask_for_the_customer(applying: Service, person: str, status_: int) -> None:
    body = application(refused(applying, **TINKERS), **TINKERS)
    assert apply(applying, person, body).status_code == status_


def test_a_request_is_told_of_to_those_alone_who_may_read_it(applying: Service) -> None:
    id = apply(applying, "tom", application(refused(applying, **TINKERS), **TINKERS)).json()["task"]["id"]
    for person in ("tom", "abe", "olga", "rae"):
        assert status(applying, person, id)["task"]["status"] == "pending"
    for person, asked in (("nina", id), ("ann", id), ("tom", "unknown")):
        response = applying.client.get(f"{REQUESTS}/{asked}", headers=applying.headers(person))
        assert (response.status_code, response.json()["type"]) == (404, f"{ERRORS}unknown_task")


@pytest.mark.parametrize("part", ["subject", "resource", "context", "denial"])
def test_an_application_without_its_parts_is_a_bad_request(applying: Service, part: str) -> None:
    body = application(refused(applying, **TINKERS), **TINKERS)
    problem(apply(applying, "tom", {name: value for name, value in body.items() if name != part}), 400, "authzen")


def test_without_the_setting_nothing_is_offered_or_taken(service: Service) -> None:
    context = service.evaluate("gus", {**QUESTION, **TINKERS}).json()["context"]
    assert not {"access_request", "evaluation_id", "evaluated_at"} & set(context)
    assert apply(service, "tom", {}).status_code == 404
    assert service.client.get("/access/v1/jwks").json() == {"keys": []}
