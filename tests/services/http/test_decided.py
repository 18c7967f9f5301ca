"""Can a decision be shown to others, and checked by them with nothing but keys, proofs and a checkpoint?"""

import time
from typing import Any

import pytest

from services.log import decision, note
from services.log.note import NoteRefused, Verifier
from tests.services.http.conftest import Ask, Service
from tests.services.http.test_access_feed import evaluation, grant_of
from tests.services.http.test_commands import problem
from tests.services.http.test_queries import approved


@pytest.fixture
def granted(service: Service, request_of: Ask) -> int:
    return approved(service, request_of())


def asked(**context: Any) -> Any:
    return {**evaluation(), "context": {"receipt": True, **context}}


def told(service: Service, position: int) -> Any:
    response = service.evaluate("gus", asked(min_position=position))
    assert response.status_code == 200, response.text
    return response.json()


def key_of(service: Service) -> Verifier:
    return Verifier.parse(service.get("abe", "/log/keys").json()["items"][-1]["data"]["key"])


def proofs_of(service: Service, statement: decision.Statement) -> list[Any]:
    """Proofs of all that it rests on, which lead to one checkpoint."""
    while True:
        found = [service.get("abe", f"/log/proof/{fact.position}") for fact in statement.because]
        if all(each.status_code == 200 for each in found) and len({each.json()["size"] for each in found}) == 1:
            return [each.json() for each in found]
        time.sleep(0.05)


def test_a_receipt_says_what_was_decided_and_holds_offline(service: Service, granted: int) -> None:
    answer, key = told(service, granted), key_of(service)
    receipt = answer["context"]["receipt"]
    statement = decision.read(receipt, key)
    assert (answer["decision"], answer["context"]["reason"]) == (True, "granted")
    assert (statement.decision, statement.reason) == (True, "granted")
    assert [fact.position for fact in statement.because] == answer["context"]["because"]
    assert statement.subject["id"] == "northwind" and statement.resource["id"] == "gpt-5.6"
    proofs = proofs_of(service, statement)
    assert decision.first_wrong(receipt, key, proofs, proofs[0]["checkpoint"]) is None


def test_a_refusal_has_its_receipt_too(service: Service, granted: int) -> None:
    body = {**asked(), "subject": {"type": "organization", "id": "tinker"}}
    answer = service.evaluate("gus", body).json()
    statement = decision.read(answer["context"]["receipt"], key_of(service))
    assert (statement.decision, statement.reason) == (False, "no_grant")


def test_whatever_is_changed_in_a_receipt_is_found(service: Service, granted: int) -> None:
    receipt, key = told(service, granted)["context"]["receipt"], key_of(service)
    for before, after in (
        ('"decision":true', '"decision":false'),
        ('"id":"northwind"', '"id":"tinker"'),
        ("assent decision v1", "assent decision v2"),
        ('"reason":"granted"', '"reason":"open_phase"'),
    ):
        assert before in receipt
        assert "not signed" in (decision.first_wrong(receipt.replace(before, after), key) or "")


def test_what_it_rests_on_must_be_proved(service: Service, granted: int) -> None:
    receipt, key = told(service, granted)["context"]["receipt"], key_of(service)
    statement = decision.read(receipt, key)
    proofs = proofs_of(service, statement)
    checkpoint = proofs[0]["checkpoint"]
    assert "no proof" in (decision.first_wrong(receipt, key, proofs[1:], checkpoint) or "")
    swapped = [{**proofs[0], "leaf": proofs[1]["leaf"]}, *proofs[1:]]
    assert "another position or leaf" in (decision.first_wrong(receipt, key, swapped, checkpoint) or "")
    assert decision.first_wrong(receipt, key, proofs, receipt) is not None, "a decision is no checkpoint"


def test_a_checkpoint_is_no_decision(service: Service, granted: int) -> None:
    checkpoint = proofs_of(service, decision.read(told(service, granted)["context"]["receipt"], key_of(service)))[0]
    with pytest.raises(NoteRefused, match="no decision"):
        decision.read(checkpoint["checkpoint"], key_of(service))
    assert note.parse(checkpoint["checkpoint"]).verified_by(key_of(service))


def test_of_many_questions_those_that_ask_get_one(service: Service, granted: int) -> None:
    many = {**evaluation(), "evaluations": [{"context": {"receipt": True}}, {}, {"resource": None}]}
    response = service.client.post("/access/v1/evaluations", json=many, headers=service.headers("gus"))
    found = response.json()["evaluations"]
    assert ["receipt" in each["context"] for each in found] == [True, False, False]


def test_not_too_many_are_signed_at_once(service: Service) -> None:
    many = {**asked(), "evaluations": [{}] * 21}
    response = service.client.post("/access/v1/evaluations", json=many, headers=service.headers("gus"))
    assert problem(response, 400, "authzen")["missing"] == ["20 at most"]


def test_what_it_rested_on_then_stays_true_after_a_revocation(service: Service, request_of: Ask) -> None:
    request = request_of()
    position = approved(service, request)
    receipt, key = told(service, position)["context"]["receipt"], key_of(service)
    body = {"reason": "Misuse", "finding": "Breach"}
    service.done("hana", f"/grants/{grant_of(service, request, position)}/revocation", body)
    proofs = proofs_of(service, decision.read(receipt, key))
    assert decision.first_wrong(receipt, key, proofs, proofs[0]["checkpoint"]) is None
