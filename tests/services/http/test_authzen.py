"""Is everything that OpenID AuthZEN 1.0 demands of a decision point so? Each test is one demand, in the spec's order.

The working group's certification scenario, where it says more than the specification, is followed too; its subjects,
resources and actions are ours.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import problem
from tests.services.http.test_queries import approved

SCHEMAS = Path(__file__).parents[4] / "shared" / "cases" / "authzen"
EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
SUBJECTS, RESOURCES, ACTIONS = (f"/access/v1/search/{what}" for what in ("subject", "resource", "action"))
ENDPOINTS = (EVALUATION, EVALUATIONS, SUBJECTS, RESOURCES, ACTIONS)

NORTHWIND = {"type": "organization", "id": "northwind", "properties": {"person_class": "us_person"}}
TINKER = {"type": "organization", "id": "tinker", "properties": {"person_class": "us_person"}}
USE = {"name": "use"}
GPT = {"type": "release", "id": "gpt-5.6"}
ASKED: dict[str, Any] = {"subject": NORTHWIND, "action": USE, "resource": GPT}
OF: dict[str, dict[str, Any]] = {
    EVALUATION: ASKED,
    EVALUATIONS: {**ASKED, "evaluations": [{}]},
    SUBJECTS: {**ASKED, "subject": {"type": "organization", "properties": {"person_class": "us_person"}}},
    RESOURCES: {**ASKED, "resource": {"type": "release"}},
    ACTIONS: {"subject": NORTHWIND, "resource": GPT},
}
"""What is asked at each endpoint, with every member that it requires."""


@pytest.fixture
def granted(service: Service, request_of: Ask) -> int:
    """Northwind may use gpt-5.6; the position since which."""
    return approved(service, request_of())


def post(service: Service, path: str, body: Any, person: str = "gus", **headers: str) -> httpx.Response:
    return service.client.post(path, json=body, headers=service.headers(person, **headers))


def told(service: Service, path: str, body: Any, person: str = "gus") -> Any:
    response = post(service, path, body, person)
    assert response.status_code == 200, response.text
    return response.json()


def without(body: dict[str, Any], *path: str) -> dict[str, Any]:
    first, *rest = path
    if rest:
        return {**body, first: without(body[first], *rest)}
    return {name: value for name, value in body.items() if name != first}


# Information model, and the Access Evaluation API


def test_a_decision_has_the_required_boolean_and_an_object_as_context(service: Service, granted: int) -> None:
    for subject, expected in ((NORTHWIND, True), (TINKER, False)):
        answer = told(service, EVALUATION, {**ASKED, "subject": subject})
        assert answer["decision"] is expected and isinstance(answer["context"], dict)


@pytest.mark.parametrize(
    "path",
    [
        ("subject",),
        ("action",),
        ("resource",),
        ("subject", "type"),
        ("subject", "id"),
        ("action", "name"),
        ("resource", "type"),
        ("resource", "id"),
    ],
    ids=".".join,
)
def test_every_required_member_is_required(service: Service, path: tuple[str, ...]) -> None:
    problem(post(service, EVALUATION, without(ASKED, *path)), 400, "authzen")


@pytest.mark.parametrize(
    "part",
    [
        {"subject": "northwind"},
        {"subject": {**NORTHWIND, "id": 7}},
        {"subject": {**NORTHWIND, "properties": []}},
        {"action": {"name": 123}},
        {"action": {"name": "use", "properties": "fast"}},
        {"resource": {**GPT, "type": None}},
        {"context": "now"},
    ],
    ids=str,
)
def test_a_member_of_another_type_is_a_bad_request(service: Service, part: Any) -> None:
    problem(post(service, EVALUATION, {**ASKED, **part}), 400, "authzen")


def test_context_is_optional_and_changes_nothing_that_it_does_not_name(service: Service, granted: int) -> None:
    context = {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}
    assert told(service, EVALUATION, {**ASKED, "context": context})["decision"] is True


def test_properties_beyond_those_known_are_accepted_and_those_known_count(service: Service, granted: int) -> None:
    more = {"department": "Sales", "nested": {"deep": [1, None, True]}}
    subject = {**NORTHWIND, "properties": {**NORTHWIND["properties"], **more}}  # type: ignore[dict-item]
    body = {"subject": subject, "action": {**USE, "properties": more}, "resource": {**GPT, "properties": more}}
    assert told(service, EVALUATION, body)["decision"] is True
    subject = {**subject, "properties": {"person_class": "foreign_national"}}
    assert told(service, EVALUATION, {**body, "subject": subject})["decision"] is False


def test_unknown_members_are_ignored(service: Service, granted: int) -> None:
    for path, body in OF.items():
        told(service, path, {**body, "foo": "bar", "futureField": {"nested": True}})


def test_the_same_question_gets_the_same_decision(service: Service, granted: int) -> None:
    assert {json.dumps(told(service, EVALUATION, ASKED)) for _ in range(4)} == {
        json.dumps(told(service, EVALUATION, ASKED))
    }


# The Access Evaluations API


def many(service: Service, *evaluations: Any, **body: Any) -> list[Any]:
    found: list[Any] = told(service, EVALUATIONS, {**body, "evaluations": list(evaluations)})["evaluations"]
    return found


def decisions(found: list[Any]) -> list[bool]:
    return [each["decision"] for each in found]


@pytest.mark.parametrize("body", [ASKED, {**ASKED, "evaluations": []}], ids=["absent", "empty"])
def test_without_evaluations_it_behaves_as_the_single_evaluation(service: Service, granted: int, body: Any) -> None:
    assert told(service, EVALUATIONS, body) == told(service, EVALUATION, ASKED)
    problem(post(service, EVALUATIONS, without(body, "resource")), 400, "authzen")


def test_decisions_come_in_the_order_of_the_questions_without_one_at_the_top(service: Service, granted: int) -> None:
    body = {"evaluations": [{"subject": who} for who in (NORTHWIND, TINKER, NORTHWIND)], "action": USE, "resource": GPT}
    answer = told(service, EVALUATIONS, body)
    assert answer.keys() == {"evaluations"} and decisions(answer["evaluations"]) == [True, False, True]


def test_a_question_may_say_everything_itself(service: Service, granted: int) -> None:
    assert decisions(many(service, ASKED, {**ASKED, "subject": TINKER})) == [True, False]


def test_what_a_question_leaves_out_the_top_level_says_and_what_it_says_counts(service: Service, granted: int) -> None:
    found = many(service, {}, {"action": {"name": "delete"}}, {"subject": TINKER}, **ASKED)
    assert [each["context"]["reason"] for each in found] == ["granted", "unknown_action", "no_grant"]


def test_a_subject_stands_instead_of_the_default_as_a_whole_but_for_type_and_id(service: Service, granted: int) -> None:
    found = many(
        service,
        {"subject": {"id": "northwind"}},
        {"subject": {"type": "organization", "properties": {"person_class": "us_person"}}},
        **ASKED,
    )
    assert [each["context"]["reason"] for each in found] == ["class_not_covered", "granted"]


def test_context_is_inherited_and_may_be_said_anew(service: Service, granted: int) -> None:
    found = many(service, {}, {"context": {"source": "override"}}, context={"min_position": granted}, **ASKED)
    assert all(each["decision"] and each["context"]["position"] >= granted for each in found)


def test_a_question_that_is_none_is_denied_and_the_others_are_answered(service: Service, granted: int) -> None:
    bad: list[Any] = [{"resource": None}, {"resource": "gpt-5.6"}, "gpt-5.6", {"context": {"min_position": -1}}]
    found = many(service, {}, *bad, {}, **ASKED)
    assert decisions(found) == [True, *[False for _ in bad], True]
    assert [each["context"]["error"]["status"] for each in found[1:-1]] == [400 for _ in bad]
    found = many(service, {"resource": GPT}, {}, subject=NORTHWIND, action=USE)
    assert decisions(found) == [True, False] and "resource" in found[1]["context"]["error"]["message"]


YES, NO = {"subject": NORTHWIND}, {"subject": TINKER}


@pytest.mark.parametrize(
    ("semantic", "asked", "expected"),
    [
        (None, [YES, NO, YES], [True, False, True]),
        ("execute_all", [YES, NO, YES], [True, False, True]),
        ("deny_on_first_deny", [YES, NO, YES], [True, False]),
        ("deny_on_first_deny", [YES, {"resource": 1}, YES], [True, False]),
        ("deny_on_first_deny", [YES, YES], [True, True]),
        ("permit_on_first_permit", [NO, YES, NO], [False, True]),
        ("permit_on_first_permit", [YES, NO], [True]),
        ("permit_on_first_permit", [NO, NO], [False, False]),
    ],
)
def test_the_semantic_says_after_which_decision_the_rest_is_left_out(
    service: Service, granted: int, semantic: str | None, asked: list[Any], expected: list[bool]
) -> None:
    options = {} if semantic is None else {"options": {"evaluations_semantic": semantic, "another_option": "value"}}
    assert decisions(many(service, *asked, action=USE, resource=GPT, **options)) == expected


def test_the_semantic_is_exactly_one_of_three(service: Service) -> None:
    body = {**ASKED, "evaluations": [{}], "options": {"evaluations_semantic": "whatever"}}
    problem(post(service, EVALUATIONS, body), 400, "authzen")


def test_a_request_has_a_bounded_number_of_questions(service: Service) -> None:
    problem(post(service, EVALUATIONS, {**ASKED, "evaluations": [{}] * 1001}), 400, "authzen")


# Search


def results(service: Service, path: str, person: str = "gus", **parts: Any) -> list[Any]:
    found: list[Any] = told(service, path, {**OF[path], **parts}, person)["results"]
    return found


def test_every_result_of_a_search_is_allowed_by_an_evaluation(service: Service, granted: int) -> None:
    subjects = results(service, SUBJECTS)
    assert {"type": "organization", "id": "northwind"} in subjects
    assert {"type": "organization", "id": "tinker"} not in subjects
    for subject in subjects:
        asked = {**ASKED, "subject": {**subject, "properties": NORTHWIND["properties"]}}
        assert told(service, EVALUATION, asked)["decision"] is True
    resources = results(service, RESOURCES)
    assert {"type": "release", "id": "gpt-5.6"} in resources
    for resource in resources:
        assert told(service, EVALUATION, {**ASKED, "resource": resource})["decision"] is True
    assert results(service, ACTIONS) == [{"name": "use"}]
    assert results(service, ACTIONS, subject=TINKER) == []


def test_an_id_of_what_is_searched_for_is_ignored(service: Service, granted: int) -> None:
    assert results(service, SUBJECTS, subject={**OF[SUBJECTS]["subject"], "id": "tinker"}) == results(service, SUBJECTS)
    assert results(service, RESOURCES, resource={"type": "release", "id": "x"}) == results(service, RESOURCES)


def test_properties_count_in_searches(service: Service, granted: int) -> None:
    foreign = {"type": "organization", "properties": {"person_class": "foreign_national"}}
    assert results(service, SUBJECTS, subject=foreign) == []
    assert results(service, RESOURCES, subject={**NORTHWIND, "properties": {}}) == []


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (SUBJECTS, {"subject": {"type": "spaceship"}}),
        (SUBJECTS, {"action": {"name": "delete"}}),
        (SUBJECTS, {"resource": {"type": "release", "id": "gpt-9"}}),
        (RESOURCES, {"subject": {"type": "organization", "id": "nobody"}}),
        (RESOURCES, {"resource": {"type": "spaceship"}}),
        (ACTIONS, {"subject": {"type": "organization", "id": "nobody"}}),
        (ACTIONS, {"resource": {"type": "spaceship", "id": "gpt-5.6"}}),
    ],
    ids=str,
)
def test_where_nothing_is_found_the_results_are_empty(service: Service, granted: int, path: str, parts: Any) -> None:
    answer = told(service, path, {**OF[path], **parts})
    assert answer["results"] == [] and answer["page"] == {"next_token": "", "count": 0}


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        (SUBJECTS, ("action",)),
        (SUBJECTS, ("subject", "type")),
        (SUBJECTS, ("resource", "id")),
        (RESOURCES, ("subject",)),
        (RESOURCES, ("subject", "id")),
        (RESOURCES, ("action", "name")),
        (RESOURCES, ("resource", "type")),
        (ACTIONS, ("resource",)),
        (ACTIONS, ("subject", "id")),
        (ACTIONS, ("resource", "id")),
    ],
    ids=str,
)
def test_every_required_member_of_a_search_is_required(service: Service, path: str, missing: tuple[str, ...]) -> None:
    problem(post(service, path, without(OF[path], *missing)), 400, "authzen")


def test_a_search_takes_a_context_and_says_as_of_where_it_holds(service: Service, granted: int) -> None:
    for path in (SUBJECTS, RESOURCES, ACTIONS):
        answer = told(service, path, {**OF[path], "context": {"min_position": granted, "time": "noon"}})
        assert answer["context"]["position"] >= granted


@pytest.fixture
def another_release(service: Service, granted: int) -> str:
    """A second release that northwind may use: everybody may."""
    id = f"open-{granted}"
    release = {"provider": "openai", "model": "Open", "tiers": ["standard"], "policy": "preview"}
    phases = [{"name": "general", "access": "open"}]
    service.done("rae", "/releases", {"id": id, **release, "incident_threshold": "high", "phases": phases})
    return id


def test_pages_follow_each_other_by_their_tokens_until_an_empty_one(service: Service, another_release: str) -> None:
    whole = results(service, RESOURCES)
    assert len(whole) >= 2
    token, found, pages = "", [], 0
    while pages == 0 or token:
        for name in ("token", "next_token"):
            page = {"limit": 1, name: token}
            answer = told(service, RESOURCES, {**OF[RESOURCES], "page": page})
        assert isinstance(answer["page"]["next_token"], str) and answer["page"]["count"] == len(answer["results"])
        found += answer["results"]
        token, pages = answer["page"]["next_token"], pages + 1
    assert found == whole and pages == len(whole)


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "A" * 40])
def test_a_token_that_is_none_is_a_bad_request(service: Service, token: str) -> None:
    problem(post(service, RESOURCES, {**OF[RESOURCES], "page": {"token": token}}), 400, "authzen")


def test_a_token_is_good_for_its_own_search_only(service: Service, another_release: str) -> None:
    token = told(service, RESOURCES, {**OF[RESOURCES], "page": {"limit": 1}})["page"]["next_token"]
    other = {**OF[RESOURCES], "subject": TINKER, "page": {"limit": 1, "token": token}}
    problem(post(service, RESOURCES, other), 400, "authzen")


@pytest.mark.parametrize("limit", [0, -1, "1", 1.5])
def test_a_limit_is_a_number_of_results(service: Service, limit: Any) -> None:
    problem(post(service, RESOURCES, {**OF[RESOURCES], "page": {"limit": limit}}), 400, "authzen")


# Metadata


def test_the_metadata_is_json_that_may_be_kept_and_names_every_endpoint(service: Service) -> None:
    response = service.client.get("/.well-known/authzen-configuration")
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "max-age=3600"
    base = str(service.client.base_url).rstrip("/")
    assert response.json() == {
        "policy_decision_point": base,
        "access_evaluation_endpoint": base + EVALUATION,
        "access_evaluations_endpoint": base + EVALUATIONS,
        "search_subject_endpoint": base + SUBJECTS,
        "search_resource_endpoint": base + RESOURCES,
        "search_action_endpoint": base + ACTIONS,
    }


# Transport


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_success_is_a_200_of_json(service: Service, path: str) -> None:
    response = post(service, path, OF[path])
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_requests_are_posted(service: Service, path: str) -> None:
    response = service.client.get(path, headers=service.headers("gus"))
    problem(response, 405, "methods")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("declared", ["text/plain", "application/xml", ""])
def test_a_body_that_is_not_declared_as_json_is_a_bad_request(service: Service, path: str, declared: str) -> None:
    headers = service.headers("gus", content_type=declared)
    problem(service.client.post(path, content=json.dumps(OF[path]), headers=headers), 400, "authzen")


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null"])
def test_a_body_that_is_no_json_object_is_a_bad_request(service: Service, path: str, body: bytes) -> None:
    headers = service.headers("gus", content_type="application/json")
    assert service.client.post(path, content=body, headers=headers).status_code == 400


@pytest.mark.parametrize("path", ENDPOINTS)
def test_who_is_not_known_is_a_401_and_who_may_not_ask_a_403(service: Service, path: str) -> None:
    response = service.client.post(path, json=OF[path])
    problem(response, 401, "authentication")
    assert "www-authenticate" in response.headers
    problem(post(service, path, OF[path], "nina"), 403, "authority")


@pytest.mark.parametrize("path", ENDPOINTS)
def test_the_request_id_comes_back_whatever_the_answer(service: Service, path: str) -> None:
    for body in (OF[path], {}):
        for id in ("bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "any/string.of:signs"):
            assert post(service, path, body, x_request_id=id).headers["x-request-id"] == id
        assert post(service, path, body).headers["x-request-id"]


def test_a_body_has_a_bounded_length(service: Service) -> None:
    padding = {"context": {"padding": "x" * 70_000}}
    assert post(service, EVALUATION, {**ASKED, **padding}).status_code == 413
    assert post(service, RESOURCES, {**OF[RESOURCES], **padding}).status_code == 413


# The working group's schemas


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the working group's schemas are not at hand")
def test_every_evaluation_is_of_the_working_groups_shape(service: Service, granted: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    asked, answered = (
        jsonschema.Draft202012Validator(
            json.loads((SCHEMAS / f"api_schemas_evaluation-{kind}.schema.json").read_text())
        ).validate
        for kind in ("request", "response")
    )
    bodies = [
        ASKED,
        {**ASKED, "subject": TINKER},
        {**ASKED, "subject": {"type": "user", "id": "alice"}},
        {**ASKED, "action": {"name": "delete"}},
        {**ASKED, "resource": {"type": "release", "id": "gpt-9"}},
        {**ASKED, "context": {"min_position": granted}},
    ]
    for body in bodies:
        asked(body)
        answered(told(service, EVALUATION, body))
    for each in many(service, *bodies, {"subject": 1}):
        answered(each)
