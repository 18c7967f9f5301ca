"""Can an auditor read every event, and nobody else?"""

import pytest

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
