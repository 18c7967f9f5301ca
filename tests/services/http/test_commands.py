"""What does a command answer over HTTP, and how is each bad one refused: one shape, never a 500, never half a write?"""

import socket
from typing import Any

import httpx
import psycopg
import pytest

from services.log import reader
from tests.services.http.conftest import START, Ask, Service

PROBLEM = {"type", "title", "status", "detail", "rule", "missing"}


def problem(response: httpx.Response, status: int, rule: str) -> Any:
    """The problem that a response is; nothing else is in it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body.keys(), body["status"], body["rule"]) == (PROBLEM, status, rule)
    assert body["type"].startswith("urn:assent:problem:") and body["detail"]
    return body


def size(service: Service) -> int:
    """How many events the log has."""
    response = service.get("abe", "/events?limit=1")
    assert response.status_code == 200
    return int(response.json()["position"]) + 1


APPROVE = {"agency": "oncd", "position": "approve"}


def test_a_command_answers_what_it_wrote_and_where(service: Service, request_of: Ask) -> None:
    id = request_of()
    response = service.post("olga", f"/requests/{id}/sign-offs", APPROVE)
    answer = response.json()
    assert response.status_code == 201
    assert answer["id"] == id and answer["stream"] == f"request-{id}" and answer["version"] == 3
    assert answer["events"] == [{"type": "AgencySignedOff", "position": answer["position"]}]
    assert answer["receipt"]["position"] == answer["position"] and answer["receipt"]["size"] > answer["position"]
    assert response.headers["etag"] == '"3"'
    assert response.headers["location"] == f"/api/v1/requests/{id}"


def test_a_numbered_part_is_answered_with_its_number(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/information-requests"
    assert service.done("olga", path, {"agency": "oncd", "question": "Which data?"})["number"] == 1


def test_the_location_of_a_policy_is_spelt_right(service: Service) -> None:
    body = {"authority_basis": "EO", "sign_offs": {"agency": "oncd"}}
    response = service.post("root", "/policies/spelt/versions", body)
    assert response.headers["location"] == "/api/v1/policies/spelt"


def test_a_repeated_command_gives_the_first_answer_again(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/sign-offs"
    first = service.post("olga", path, APPROVE, idempotency_key="once")
    before = size(service)
    again = service.post("olga", path, APPROVE, idempotency_key="once")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    assert size(service) == before


def test_a_first_answer_that_the_storage_keeps_back_may_be_asked_for_again(
    service: Service, request_of: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/requests/{request_of()}/withdrawal"
    first = service.done("nina", path, {}, idempotency_key="kept-back")

    async def lost(*_: Any, **__: Any) -> Any:
        raise psycopg.OperationalError("The connection is lost.")

    with monkeypatch.context() as broken:
        broken.setattr(reader, "facts_of", lost)
        problem(service.post("nina", path, {}, idempotency_key="kept-back"), 503, "storage")
    assert service.done("nina", path, {}, idempotency_key="kept-back") == first


def test_a_key_that_was_used_for_another_command_is_refused(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/sign-offs"
    service.done("olga", path, APPROVE, idempotency_key="twice")
    before = size(service)
    problem(service.post("olga", path, {**APPROVE, "reason": "x"}, idempotency_key="twice"), 422, "idempotency_key")
    assert size(service) == before


def test_two_people_may_use_the_same_key(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/sign-offs"
    service.done("olga", path, APPROVE, idempotency_key="shared")
    service.done("cora", path, {**APPROVE, "agency": "commerce"}, idempotency_key="shared")


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 256, "a\x07"])
def test_a_command_needs_a_key_of_its_own(service: Service, key: str | None) -> None:
    headers = service.headers("olga") | ({} if key is None else {"idempotency-key": key})
    if key == "a\x07":
        assert b" 400 " in raw(service, b"idempotency-key: a\x07", b"{}")
        return
    response = service.client.post("/api/v1/requests/r/sign-offs", json=APPROVE, headers=headers)
    assert problem(response, 400, "headers")["missing"] == ["Idempotency-Key"]


def raw(service: Service, header: bytes, body: bytes, target: bytes = b"/api/v1/requests/r/submission") -> bytes:
    """The status line for a request that no well-behaved client sends."""
    host, port = service.client.base_url.host, service.client.base_url.port
    assert port is not None
    lines = [
        b"POST " + target + b" HTTP/1.1",
        b"host: localhost",
        b"connection: close",
        b"authorization: Bearer " + service.token("nina").encode(),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        header,
    ]
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        return connection.makefile("rb").readline()


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v1/requests/\xff/submission",
        b"/api/v1/requests/%FF/submission",
        b"/api/v1/requests/%00/submission",
        b"/api/v1/requests/" + b"x" * 5000 + b"/submission",
        b"/api/v1/requests//submission",
        b"/api/v1//",
        b"//",
        b"*",
        b"/api/v1/requests/../../requests",
    ],
)
def test_an_odd_address_is_never_our_mistake(service: Service, target: bytes) -> None:
    status = raw(service, b"idempotency-key: k", b"{}", target).split()[1]
    assert status in (b"400", b"404", b"405", b"414")


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/sign-offs"
    before = size(service)
    headers = service.headers("olga")
    response = service.client.post(f"/api/v1{path}?dry_run=true", json=APPROVE, headers=headers)
    assert response.status_code == 200
    assert [event["type"] for event in response.json()["events"]] == ["AgencySignedOff"]
    assert "receipt" not in response.json()
    assert size(service) == before


def test_a_dry_run_says_why_it_would_be_refused(service: Service, request_of: Ask) -> None:
    path = f"/api/v1/requests/{request_of()}/sign-offs?dry_run=true"
    response = service.client.post(path, json=APPROVE, headers=service.headers("nina"))
    problem(response, 403, "authority")


@pytest.mark.parametrize("query", ["dry_run=1", "dry_run=", "dryrun=true", "dry_run=true&x=1", "%00"])
def test_a_command_takes_no_other_parameter(service: Service, query: str) -> None:
    response = service.client.post(f"/api/v1/requests?{query}", json={}, headers=service.headers("nina"))
    problem(response, 400, "parameters")


def test_a_version_that_is_no_longer_so_is_stale(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/sign-offs"
    problem(service.post("olga", path, APPROVE, if_match='"1"'), 412, "if_match")
    assert service.post("olga", path, APPROVE, if_match='"2"').status_code == 201


@pytest.mark.parametrize("version", ["1", 'W/"1"', '"x"', "*", '"1", "2"', '"-1"', '"01"', '""', '"' + "9" * 30 + '"'])
def test_if_match_is_one_version_in_quotes(service: Service, version: str) -> None:
    problem(service.post("olga", "/requests/r/sign-offs", APPROVE, if_match=version), 400, "headers")


@pytest.mark.parametrize("value", ["oncd", "oncd/", "/reviewer", "oncd/king", "ONCD/reviewer", "oncd/reviewer/x", ""])
def test_acting_as_is_an_organization_and_a_role(service: Service, value: str) -> None:
    problem(service.post("olga", "/requests/r/sign-offs", APPROVE, acting_as=value), 400, "headers")


def test_acting_as_an_office_one_does_not_hold_is_refused(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/sign-offs"
    problem(service.post("olga", path, APPROVE, acting_as="oncd/head"), 403, "authority")


def test_saying_when_it_happened_needs_a_scope(service: Service, request_of: Ask) -> None:
    response = service.post("olga", f"/requests/{request_of()}/sign-offs", APPROVE, occurred_at=START.isoformat())
    assert problem(response, 403, "scope")["missing"] == ["token scope backdate"]


def late(service: Service, path: str, occurred: str) -> httpx.Response:
    headers = {
        "authorization": f"Bearer {service.issuer.issue('olga', ['backdate'])}",
        "idempotency-key": f"late-{path}-{occurred}",
        "occurred-at": occurred,
    }
    return service.client.post(f"/api/v1{path}", json=APPROVE, headers=headers)


@pytest.mark.parametrize("occurred", ["yesterday", "2026-06-20", "2026-06-20T13:00:00", "", '2026-06-20T13:00:00Z"'])
def test_when_it_happened_is_a_time_with_its_zone(service: Service, occurred: str) -> None:
    problem(late(service, "/requests/r/sign-offs", occurred), 400, "headers")


def test_what_has_not_happened_yet_is_refused(service: Service, request_of: Ask) -> None:
    problem(late(service, f"/requests/{request_of()}/sign-offs", "2030-01-01T00:00:00Z"), 422, "I8")


def test_what_happened_before_the_last_event_is_refused(service: Service, request_of: Ask) -> None:
    problem(late(service, f"/requests/{request_of()}/sign-offs", "2026-06-20T14:00:00Z"), 409, "I8")


def test_a_time_in_no_sensible_year_is_refused(service: Service) -> None:
    problem(late(service, "/requests/r/sign-offs", "1990-01-01T00:00:00Z"), 422, "well_formed")


def test_nobody_acts_without_a_token(service: Service) -> None:
    response = service.client.post("/api/v1/requests/r/sign-offs", json=APPROVE)
    problem(response, 401, "authentication")
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_token_comes_before_everything_else(service: Service) -> None:
    response = service.client.post("/api/v1/requests/NO ID/sign-offs", content=b"{", headers={"if-match": "x"})
    problem(response, 401, "authentication")


@pytest.mark.parametrize(
    "type_", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"]
)
def test_a_body_must_be_declared_as_json(service: Service, type_: str | None) -> None:
    headers = service.headers("olga", idempotency_key="k") | ({} if type_ is None else {"content-type": type_})
    response = service.client.post("/api/v1/requests/r/sign-offs", content=b"{}", headers=headers)
    problem(response, 415, "json")


@pytest.mark.parametrize("type_", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_declared_in_several_ways(service: Service, request_of: Ask, type_: str) -> None:
    headers = service.headers("olga", idempotency_key=f"declared-{len(type_)}", content_type=type_)
    body = b'{"agency": "oncd", "position": "approve"}'
    path = f"/api/v1/requests/{request_of()}/sign-offs"
    assert service.client.post(path, content=body, headers=headers).status_code == 201


def test_a_body_beyond_the_limit_is_refused_whether_announced_or_not(service: Service) -> None:
    headers = service.headers("olga", idempotency_key="k", content_type="application/json")
    large = b" " * (service.settings.body_bytes_max + 1)
    path = "/api/v1/requests/r/sign-offs"
    problem(service.client.post(path, content=large, headers=headers), 413, "body_size")
    chunks = (large[start : start + 65_536] for start in range(0, len(large), 65_536))
    problem(service.client.post(path, content=chunks, headers=headers), 413, "body_size")


@pytest.mark.parametrize(
    ("content", "status", "rule"),
    [
        (b"", 400, "json"),
        (b"{", 400, "json"),
        (b'{"agency": "\xff"}', 400, "json"),
        (b'{"agency": "oncd", "position": "approve", "reason": "\\ud800"}', 400, "json"),
        (b'{"agency": "oncd", "position": "approve", "reason": "\\u0000"}', 422, "well_formed"),
        (b'{"agency": "oncd", "position": "approve", "extra": 1}', 422, "well_formed"),
        (b'{"agency": "oncd", "position": 1}', 422, "well_formed"),
        (b'{"agency": "oncd", "position": "approve", "reason": ' + b"9" * 5000 + b"}", 422, "well_formed"),
        (b"[" * 100_000, 422, "well_formed"),
        (b'{"agency":' * 20_000, 422, "well_formed"),
        (b"null", 422, "well_formed"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_body_is_refused_and_nothing_is_written(
    service: Service, request_of: Ask, content: bytes, status: int, rule: str
) -> None:
    path = f"/api/v1/requests/{request_of()}/sign-offs"
    before = size(service)
    headers = service.headers("olga", idempotency_key="bad", content_type="application/json")
    problem(service.client.post(path, content=content, headers=headers), status, rule)
    assert size(service) == before


@pytest.mark.parametrize("id", ["unknown", "NO-SLUG", "%00", "a" * 64, "%F0%9F%A6%80", "%20"])
def test_what_does_not_exist_is_not_found(service: Service, id: str) -> None:
    problem(service.post("olga", f"/requests/{id}/sign-offs", APPROVE), 404, "need_to_know")


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.0", "01", "9" * 40])
def test_a_number_that_nothing_can_have_is_not_found(service: Service, request_of: Ask, number: str) -> None:
    path = f"/requests/{request_of()}/information-requests/{number}/response"
    problem(service.post("nina", path, {"answer": "x"}), 404, "need_to_know")


def test_a_body_that_names_what_does_not_exist_is_refused(service: Service) -> None:
    body = {"customer": "northwind", "release": "gpt-9", "use": "Fraud"}
    problem(service.post("nina", "/requests", body), 422, "names_known_things")


def test_another_customers_request_looks_like_none(service: Service, request_of: Ask) -> None:
    unknown = service.post("tom", "/requests/unknown/withdrawal", {})
    forbidden = service.post("tom", f"/requests/{request_of()}/withdrawal", {})
    assert problem(forbidden, 404, "need_to_know") == problem(unknown, 404, "need_to_know")


def test_a_lack_of_authority_names_the_role_that_would_do(service: Service, request_of: Ask) -> None:
    body = problem(service.post("nina", f"/requests/{request_of()}/registration", {}), 403, "authority")
    assert body["missing"] == ["an appointment as registrar"]


def test_a_refusal_names_the_rule_and_leaves_no_event(service: Service, request_of: Ask) -> None:
    path = f"/requests/{request_of()}/sign-offs"
    service.done("olga", path, APPROVE)
    before = size(service)
    problem(service.post("olga", path, APPROVE), 409, "one_position_each")
    assert size(service) == before


def test_a_command_too_large_for_a_record_is_refused(service: Service) -> None:
    names = [f"body-{nth:0>50}" for nth in range(1000)]
    body = {"customer": "northwind", "release": "gpt-5.6", "use": "\U0001f980" * 20_000, "affiliates": names}
    response = service.post("nina", "/requests", body)
    assert response.status_code == 422


def test_an_applicants_answer_carries_their_own_view(service: Service, request_of: Ask) -> None:
    id = request_of()
    service.done("olga", f"/requests/{id}/sign-offs", APPROVE)
    response = service.post("nina", f"/requests/{id}/amendments", {"changes": {"use": "Fraud and credit"}})
    answer = response.json()
    assert "SignOffVoided" not in {event["type"] for event in answer["events"]}
    theirs = service.read("nina", f"/requests/{id}", answer["position"])["version"]
    assert response.headers["etag"] == f'"{theirs}"' and answer["version"] == theirs
    assert theirs < service.read("olga", f"/requests/{id}", answer["position"])["version"]


def test_a_request_id_is_echoed_or_made(service: Service) -> None:
    given = service.post("olga", "/requests/r/sign-offs", APPROVE, x_request_id="trace-7")
    made = service.post("olga", "/requests/r/sign-offs", APPROVE)
    assert given.headers["x-request-id"] == "trace-7"
    assert len(made.headers["x-request-id"]) == 16
