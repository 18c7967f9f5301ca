"""Can an auditor read every event, and prove that each is in the log that was signed?"""

import time
from base64 import b64decode
from typing import Any

import httpx
import pytest

from services.log import note
from services.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from services.log.note import Checkpoint
from services.log.signer import SignerFolder
from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import APPROVE, problem


def test_events_are_read_in_order_from_a_position_on(service: Service, request_of: Ask) -> None:
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    found = service.get("abe", f"/events?after={position - 3}&limit=2").json()
    assert [event["position"] for event in found["items"]] == [position - 2, position - 1]
    assert found["next"] == position - 1 and found["position"] >= position
    rest = service.get("abe", f"/events?after={found['next']}").json()
    assert rest["items"][0]["position"] == position and rest["next"] is None


def test_an_event_is_its_record(service: Service) -> None:
    first = service.get("abe", "/events?limit=1").json()["items"][0]
    assert list(first) == [
        "position",
        "stream",
        "version",
        "type",
        "recorded",
        "occurred",
        "by",
        "command",
        "cause",
        "salt",
        "data",
    ]


def test_events_are_found_by_stream_type_and_person(service: Service, request_of: Ask) -> None:
    id = request_of()
    service.done("olga", f"/requests/{id}/sign-offs", APPROVE)
    query = f"stream=request-{id}&type=AgencySignedOff&person=olga"
    (event,) = service.get("abe", f"/events?{query}").json()["items"]
    assert (event["by"]["person"], event["data"]["agency"]) == ("olga", "oncd")
    assert service.get("abe", f"/events?stream=request-{id}&person=cora").json()["items"] == []


def test_auditors_read_what_applicants_wrote(service: Service, request_of: Ask) -> None:
    (event,) = service.get("abe", f"/events?stream=request-{request_of()}&limit=1").json()["items"]
    assert event["data"]["use"] == "Fraud analysis"


@pytest.mark.parametrize("person", ["nina", "cora", "hana", "rae", "nobody"])
def test_events_are_for_auditors(service: Service, person: str) -> None:
    problem(service.get(person, "/events"), 403, "authority")


@pytest.mark.parametrize(
    "query", ["after=-2", "limit=0", "limit=1001", "type=x", "stream=%00", "person=%00", "x=1", "at=1", "stream=a%20b"]
)
def test_a_malformed_parameter_is_refused(service: Service, query: str) -> None:
    problem(service.get("abe", f"/events?{query}"), 400, "parameters")


def covered(service: Service, path: str) -> httpx.Response:
    """The answer once a checkpoint covers what is asked: until then it is too early."""
    for _ in range(100):
        response = service.get("nina", path)
        if response.status_code != 425:
            break
        assert response.headers["retry-after"] == "1"
        time.sleep(0.05)
    assert response.status_code == 200, response.text
    return response


def checkpoint_of(service: Service, text: str) -> Checkpoint:
    """What a signed note says, once its signature was verified."""
    verifier = SignerFolder(service.settings.data / "signer", service.settings.origin).verifier()
    signed = note.parse(text)
    assert signed.verified_by(verifier)
    return Checkpoint.parse(signed.text)


def decoded(hashes: list[str]) -> list[bytes]:
    return [b64decode(each) for each in hashes]


def test_a_receipt_is_proven_by_the_checkpoint_that_covers_it(service: Service, request_of: Ask) -> None:
    receipt: Any = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["receipt"]
    proof = covered(service, f"/log/proof/{receipt['position']}").json()
    signed = checkpoint_of(service, proof["checkpoint"])
    assert proof["leaf"] == receipt["leaf"] and proof["size"] == signed.size > receipt["position"]
    verify_inclusion(b64decode(proof["leaf"]), receipt["position"], signed.size, signed.root, decoded(proof["hashes"]))


def test_the_leaf_is_the_hash_of_the_record(service: Service, request_of: Ask, stored: Any) -> None:
    receipt = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["receipt"]
    assert leaf_hash(stored(receipt["position"])) == b64decode(receipt["leaf"])


@pytest.fixture
def stored(service: Service) -> Any:
    """The bytes of a record by its position."""
    import psycopg

    def record(position: int) -> bytes:
        with psycopg.connect(service.settings.database_url) as conn:
            found = conn.execute("SELECT record FROM event WHERE position = %s", (position,)).fetchone()
        assert found is not None
        return bytes(found[0])

    return record


def test_the_checkpoint_is_a_signed_note(service: Service, request_of: Ask) -> None:
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    covered(service, f"/log/proof/{position}")
    response = service.get("nina", "/log/checkpoint")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint_of(service, response.text).size > position


def test_the_log_is_proven_to_have_only_grown(service: Service, request_of: Ask) -> None:
    first = checkpoint_of(service, covered(service, "/log/checkpoint").text)
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    covered(service, f"/log/proof/{position}")
    second = checkpoint_of(service, service.get("nina", "/log/checkpoint").text)
    proof = service.get("nina", f"/log/consistency?from={first.size}&to={second.size}").json()
    verify_consistency(first.size, second.size, first.root, second.root, decoded(proof["hashes"]))


@pytest.mark.parametrize("position", ["10000000", "-1", "x", "1.5", "9" * 40])
def test_what_is_not_in_the_log_has_no_proof(service: Service, position: str) -> None:
    problem(service.get("nina", f"/log/proof/{position}"), 404, "need_to_know")


@pytest.mark.parametrize("query", ["", "from=1", "from=0&to=1", "from=2&to=1", "from=x&to=1", "from=1&to=1&x=1"])
def test_a_consistency_proof_needs_two_sizes(service: Service, query: str) -> None:
    problem(service.get("nina", f"/log/consistency?{query}"), 400, "parameters")


def test_what_is_not_signed_yet_has_no_consistency_proof(service: Service) -> None:
    problem(service.get("nina", "/log/consistency?from=1&to=10000000"), 425, "checkpoint")


def test_proofs_are_for_everyone_signed_in(service: Service) -> None:
    assert covered(service, "/log/proof/0").status_code == 200
    problem(service.client.get("/api/v1/log/proof/0"), 401, "authentication")
