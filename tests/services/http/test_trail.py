"""Is it recorded who read what, and who was refused what, before they hear the answer; and who can see that?"""

import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from domain import trail
from domain.authority import READS, Reading
from services.log import note
from services.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from services.log.note import Checkpoint
from services.trail import signer_folder
from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import APPROVE, problem

NOT_RECORDED = {
    "/api/v1/releases",
    "/api/v1/releases/{id}",
    "/api/v1/organizations",
    "/api/v1/organizations/{id}",
    "/api/v1/organizations/{id}/history",
    "/api/v1/policies",
    "/api/v1/policies/{id}",
    "/api/v1/policies/{id}/history",
    "/api/v1/directives",
    "/api/v1/directives/{id}",
    "/api/v1/directives/{id}/history",
    "/api/v1/log/checkpoint",
    "/api/v1/log/tile/{level}/{place}",
    "/api/v1/log/proof/{position}",
    "/api/v1/log/consistency",
    "/api/v1/log/keys",
    "/api/v1/trail/checkpoint",
    "/api/v1/trail/tile/{level}/{place}",
    "/api/v1/trail/proof/{position}",
    "/api/v1/trail/consistency",
    *(path for path in READS if path.startswith("/access/v1/") and not path.endswith(("{id}", "/jwks"))),
    "/session",
}
"""What everybody may know, hashes, and what gateways ask."""

Made = Callable[[], list[Any]]


def size_of(service: Service) -> int:
    """How many records the trail has; asking adds one."""
    size: int = service.get("abe", "/trail?limit=1").json()["position"] + 1
    return size


@pytest.fixture
def made(service: Service) -> Made:
    """What was recorded since the test began, or since this was asked last."""
    before = size_of(service)

    def records() -> list[Any]:
        nonlocal before
        found: list[Any] = service.get("abe", f"/trail?cursor={before}&limit=1000").json()["items"]
        before += len(found) + 1
        return found

    return records


def test_every_address_either_leaves_a_record_or_says_nothing_of_anybody() -> None:
    signed_in = {path for path, reading in READS.items() if reading is not Reading.ANYONE}
    assert set(trail.RECORDED) | NOT_RECORDED == signed_in
    assert not set(trail.RECORDED) & NOT_RECORDED


@pytest.mark.parametrize(
    ("person", "path", "kind"),
    [
        ("nina", "/requests/{}", "DocumentRead"),
        ("olga", "/requests/{}/history", "DocumentRead"),
        ("olga", "/requests/{}/required-sign-offs", "DocumentRead"),
        ("nina", "/requests?customer=northwind", "ListRead"),
        ("olga", "/dashboards/pending_sign_offs?agency=oncd", "ListRead"),
        ("abe", "/events?stream=request-{}", "EventsRead"),
    ],
)
def test_a_read_leaves_one_record_of_who_what_when_and_whence(
    service: Service, request_of: Ask, made: Made, person: str, path: str, kind: str
) -> None:
    id = request_of()
    made()
    response = service.get(person, path.format(id), x_request_id="the-request")
    assert response.status_code == 200
    (record,) = made()
    address, _, query = path.partition("?")
    assert (record["type"], record["stream"], record["by"]["person"]) == (kind, f"trail-{person}", person)
    data = record["data"]
    assert data["address"] == f"/api/v1{address}".replace("{}", "{id}")
    assert data["asked"] == dict(part.split("=") for part in query.format(id).split("&") if part)
    if kind == "ListRead":
        shown = [item.get("request") or item["id"] for item in response.json()["items"]]
        assert data["subjects"] == [f"request-{each}" for each in shown]
    else:
        assert data["subjects"] == [f"request-{id}"]
    offices = {"nina": "northwind/applicant", "olga": "oncd/reviewer", "abe": "assent/auditor"}
    assert data["caller"] == {"offices": [offices[person]], "request": "the-request", "source": "127.0.0.1"}


def test_grants_keys_holds_and_subjects_are_recorded_too(service: Service, made: Made) -> None:
    for path in ("/grants", "/keys", "/legal-holds", "/subjects", "/log/tile/entries/000.p/1"):
        made()
        assert service.get("root", path).status_code == 200
        (record,) = made()
        assert record["data"]["address"].startswith(f"/api/v1{path[:18]}")


def test_a_document_that_the_caller_has_already_is_recorded_as_well(
    service: Service, request_of: Ask, made: Made
) -> None:
    id = request_of()
    tag = service.get("nina", f"/requests/{id}").headers["etag"]
    made()
    assert service.get("nina", f"/requests/{id}", if_none_match=tag).status_code == 304
    assert [record["type"] for record in made()] == ["DocumentRead"]


def test_what_everybody_may_know_and_evaluations_leave_no_record(service: Service, made: Made) -> None:
    for path in ("/releases", "/releases/gpt-5.6", "/organizations", "/policies/preview", "/directives", "/log/keys"):
        assert service.get("nina", path).status_code == 200
    asked = {
        "subject": {"type": "organization", "id": "northwind"},
        "action": {"name": "use"},
        "resource": {"type": "release", "id": "gpt-5.6"},
    }
    assert service.evaluate("gus", asked).status_code == 200
    assert service.evaluate("nina", asked).status_code in (200, 403)
    assert made() == []


def test_a_command_that_is_accepted_leaves_no_record_in_the_trail(
    service: Service, request_of: Ask, made: Made
) -> None:
    id = request_of()
    made()
    service.done("olga", f"/requests/{id}/sign-offs", APPROVE)
    assert made() == []


def test_a_refused_command_leaves_one_record_with_its_rule(service: Service, request_of: Ask, made: Made) -> None:
    id = request_of()
    made()
    sign_offs = f"/requests/{id}/sign-offs"
    for person, given, status in (
        ("nina", {}, 403),
        ("tom", {}, 404),
        ("olga", {"if_match": '"99"'}, 412),
    ):
        refusal = service.post(person, sign_offs, APPROVE, x_request_id="refused", **given).json()
        (record,) = made()
        assert refusal["status"] == status
        assert (record["type"], record["by"]["person"]) == ("CommandRefused", person)
        data = record["data"]
        assert (data["command"], data["status"], data["rule"]) == ("SignOff", status, refusal["rule"])
        assert (data["address"], data["subjects"]) == ("/api/v1/requests/{request}/sign-offs", [f"request-{id}"])
        assert (data["caller"]["request"], data["caller"]["source"]) == ("refused", "127.0.0.1")
        assert set(data) == {"caller", "address", "subjects", "command", "status", "rule", "dry_run"}


def test_a_refusal_and_its_record_bear_the_same_request_id(service: Service, made: Made) -> None:
    response = service.post("tom", "/requests/nothing/withdrawal", {"reason": "none"})
    (record,) = made()
    assert response.status_code == 404
    assert record["data"]["caller"]["request"] == response.headers["x-request-id"]


def test_a_rule_that_a_dry_run_meets_is_recorded_as_a_dry_run(service: Service, request_of: Ask, made: Made) -> None:
    id = request_of()
    made()
    assert service.post("tom", f"/requests/{id}/sign-offs?dry_run=true", APPROVE).status_code == 404
    (record,) = made()
    assert record["data"]["dry_run"] is True


def test_what_was_malformed_is_no_attempt(service: Service, request_of: Ask, made: Made) -> None:
    id = request_of()
    made()
    assert service.post("olga", f"/requests/{id}/sign-offs", {"agency": "oncd", "x": 1}).status_code == 422
    assert service.post("olga", f"/requests/{id}/sign-offs", APPROVE, if_match="1").status_code == 400
    assert service.get("olga", "/requests?limit=0").status_code == 400
    assert made() == []


def test_a_read_that_is_refused_is_recorded(service: Service, request_of: Ask, made: Made) -> None:
    id = request_of()
    made()
    for person, path, status, subjects in (
        ("tom", f"/requests/{id}", 404, [f"request-{id}"]),
        ("tom", f"/requests/{id}/history", 404, [f"request-{id}"]),
        ("nina", "/events", 403, []),
        ("cora", "/trail", 403, []),
    ):
        assert service.get(person, path).status_code == status
        (record,) = made()
        assert (record["type"], record["by"]["person"]) == ("ReadRefused", person)
        assert (record["data"]["status"], record["data"]["subjects"]) == (status, subjects)


def test_sign_ins_that_are_refused_are_recorded_once_a_second_and_counted(service: Service, made: Made) -> None:
    time.sleep(1.1)
    made()
    for _ in range(5):
        assert service.client.get("/api/v1/requests").status_code == 401
        assert service.client.post("/api/v1/requests", json={}).status_code == 401
    found = made()
    assert [record["type"] for record in found][:1] == ["SignInRefused"]
    assert found[0]["by"]["person"] == "system"
    time.sleep(1.1)
    assert service.client.get("/api/v1/requests").status_code == 401
    found += made()
    assert sum(1 + record["data"]["others"] for record in found) == 11 + found[0]["data"]["others"]


def test_no_token_and_no_text_of_the_caller_is_in_the_trail(service: Service, request_of: Ask) -> None:
    id = request_of()
    secret = "Only for the eyes of Commerce"  # what somebody wrote
    before = size_of(service)
    service.post("nina", f"/requests/{id}/sign-offs", {"agency": "oncd", "position": "refuse", "reason": secret})
    service.post("tom", f"/requests/{secret}/withdrawal", {"reason": secret})
    service.get("tom", f"/requests/{id}?after={before}&secret={secret}")
    service.client.get(f"/api/v1/requests/{id}", headers={"authorization": f"Bearer {secret}"})
    found = service.get("abe", f"/trail?cursor={before - 1}").text
    assert secret not in found and service.token("nina") not in found and "Fraud analysis" not in found


# Asking


def test_the_trail_is_found_by_person_subject_type_and_time(service: Service, request_of: Ask) -> None:
    id = request_of()
    for person in ("nina", "olga", "olga", "tom"):
        service.get(person, f"/requests/{id}")
    service.get("nina", "/requests")
    about = service.get("abe", f"/trail?subject=request-{id}").json()["items"]
    people = [(item["by"]["person"], item["type"]) for item in about if item["by"]["person"] != "root"]
    read = "DocumentRead"
    assert people == [("nina", read), ("olga", read), ("olga", read), ("tom", "ReadRefused"), ("nina", "ListRead")]
    olgas = service.get("abe", f"/trail?subject=request-{id}&person=olga&type=DocumentRead").json()["items"]
    assert len(olgas) == 2 and olgas[1]["version"] == olgas[0]["version"] + 1
    now = olgas[0]["recorded"]
    assert service.get("abe", f"/trail?subject=request-{id}&from={now}&to={now}").json()["items"] == about
    assert service.get("abe", f"/trail?subject=request-{id}&to=2026-01-01T00:00:00Z").json()["items"] == []
    assert service.get("abe", f"/trail?subject=request-{id}&from=2027-01-01T00:00:00Z").json()["items"] == []


def test_the_trail_is_read_page_by_page(service: Service) -> None:
    seen, cursor = [], 0
    last = size_of(service) - 1
    while cursor is not None and cursor < last:
        page = service.get("abe", f"/trail?limit=3&cursor={cursor}").json()
        seen += [item["position"] for item in page["items"]]
        cursor = page["next"]
    assert seen[: last - 1] == list(range(1, last))


def test_reading_the_trail_is_recorded_in_it(service: Service, made: Made) -> None:
    made()
    service.get("abe", "/trail?person=nina&limit=2")
    (record,) = made()
    assert (record["type"], record["by"]["person"]) == ("EventsRead", "abe")
    assert record["data"]["asked"] == {"person": "nina", "limit": "2"}


@pytest.mark.parametrize("person", ["nina", "cora", "hana", "rae", "nobody"])
@pytest.mark.parametrize("path", ["/trail", "/trail/checkpoint", "/trail/proof/0", "/trail/tile/0/000.p/1"])
def test_the_trail_is_for_auditors(service: Service, person: str, path: str) -> None:
    problem(service.get(person, path), 403, "authority")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "cursor=-1", "subject=x", "type=x", "from=now", "to=1", "from=2026-01-01", "at=1"],
)
def test_a_malformed_question_is_refused(service: Service, query: str) -> None:
    problem(service.get("abe", f"/trail?{query}"), 400, "parameters")


def test_an_applicant_hears_the_same_however_often_others_read(service: Service, request_of: Ask) -> None:
    def heard() -> list[tuple[bytes, str | None]]:
        answers = [service.get("nina", f"/requests/{id}{path}") for path in ("", "/history")]
        answers += [service.get("nina", "/requests?limit=1"), service.get("nina", "/log/checkpoint")]
        return [(answer.content, answer.headers.get("etag")) for answer in answers]

    id = request_of()
    last = service.get("abe", "/events?limit=1").json()["position"]
    covered(service, f"/log/proof/{last}")
    before = heard()
    for _ in range(5):
        service.get("olga", f"/requests/{id}")
        service.post("olga", f"/requests/{id}/withdrawal", {"reason": "not mine"})
    time.sleep(0.5)
    assert heard() == before


# Proof


def covered(service: Service, path: str) -> httpx.Response:
    for _ in range(100):
        response = service.get("abe", path)
        if response.status_code != 425:
            break
        time.sleep(0.05)
    assert response.status_code == 200, response.text
    return response


def test_a_record_of_the_trail_is_proven_against_its_own_signed_checkpoint(service: Service) -> None:
    position = size_of(service)
    key = signer_folder(service.settings.data, service.settings.origin).verifier()
    proof: Any = covered(service, f"/trail/proof/{position}").json()
    signed = note.parse(proof["checkpoint"])
    head = Checkpoint.parse(signed.text)
    assert signed.verified_by(key) and head.origin == f"{service.settings.origin}/trail"
    bundle = covered(service, f"/trail/tile/entries/{position // 256:03}.p/{position % 256 + 1}").content
    records = []
    while bundle:
        length = int.from_bytes(bundle[:2])
        records.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    leaf = leaf_hash(records[-1])
    assert b64decode(proof["leaf"]) == leaf
    verify_inclusion(leaf, position, head.size, head.root, [b64decode(each) for each in proof["hashes"]])
    newer = Checkpoint.parse(note.parse(covered(service, "/trail/checkpoint").text).text)
    grown = covered(service, f"/trail/consistency?from={head.size}&to={newer.size}").json()
    hashes = [b64decode(each) for each in grown["hashes"]]
    verify_consistency(head.size, newer.size, head.root, newer.root, hashes)


def test_whoever_asks_whether_the_service_is_ready_learns_nothing_of_how_much_is_read(service: Service) -> None:
    (check,) = (each for each in service.client.get("/readyz").json()["checks"] if each["name"] == "trail")
    assert check == {"name": "trail", "ok": True, "detail": "it is signed"}
