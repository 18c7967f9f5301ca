"""What may be read, by whom, as of when, and page by page?"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import APPROVE, problem
from tests.services.http.test_log import covered

KINDS = ("requests", "grants", "releases", "organizations", "policies", "directives")


def ids(listing: Any) -> list[str]:
    return [item["id"] for item in listing["items"]]


def approved(service: Service, id: str) -> int:
    """Let everybody approve; the position of the approval."""
    service.done("olga", f"/requests/{id}/sign-offs", APPROVE)
    service.done("cora", f"/requests/{id}/sign-offs", {**APPROVE, "agency": "commerce"})
    answer = service.done("carl", f"/requests/{id}/sign-offs/commerce/countersignature", {})
    return int(answer["position"])


def test_a_read_includes_what_was_written_up_to_a_position(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)["position"]
    assert service.read("olga", f"/requests/{id}", position)["sign_offs"][0]["agency"] == "oncd"


def test_a_position_that_does_not_come_is_not_waited_for_without_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.http.reads.WAIT_SECONDS_MAX", 0.05)
    position = service.read("olga", "/requests", 0)["position"]
    response = service.get("olga", f"/requests?after={position + 50}")
    problem(response, 425, "position")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("position", [1_000_000, 2**62])
def test_a_position_of_which_nobody_can_have_been_told_is_not_waited_for(service: Service, position: int) -> None:
    began = time.monotonic()
    problem(service.get("olga", f"/requests?after={position}"), 425, "position")
    assert time.monotonic() - began < 2


def test_who_asks_for_what_is_about_to_be_written_is_waited_for(service: Service) -> None:
    position = service.done("root", "/organizations/openai/changes", {"name": "Open AI"})["position"]
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(service.read, "olga", "/organizations/openai", position + 1)
        time.sleep(0.1)
        service.done("root", "/organizations/openai/changes", {"name": "OpenAI"})
        assert early.result()["name"] == "OpenAI"


def test_a_list_has_items_the_next_page_and_its_position(service: Service, request_of: Ask) -> None:
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    listing = service.read("abe", "/requests?limit=1", position)
    assert listing.keys() == {"items", "next", "position"}
    assert len(listing["items"]) == 1 and listing["position"] >= position


def test_pages_together_are_the_list(service: Service, request_of: Ask) -> None:
    made = [request_of() for _ in range(3)]
    found: list[str] = []
    cursor = ""
    while True:
        listing = service.get("nina", f"/requests?limit=2{cursor}").json()
        found += ids(listing)
        if listing["next"] is None:
            break
        cursor = f"&cursor={listing['next']}"
    assert len(set(found)) == len(found) and set(made) <= set(found) and found == sorted(found)


@pytest.mark.parametrize("filter_", ["state=in_review", "waiting_on=commerce", "customer=northwind", "release=gpt-5.6"])
def test_a_filter_keeps_what_fits(service: Service, request_of: Ask, filter_: str) -> None:
    id = request_of()
    position = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)["position"]
    found = service.read("olga", f"/requests?limit=200&{filter_}", position)["items"]
    name, value = filter_.split("=")
    assert id in {item["id"] for item in found}
    assert all(value == item[name] or value in item[name] for item in found)


@pytest.mark.parametrize(
    ("filter_", "status"),
    [
        ("state=pondering", 400),
        ("state=", 400),
        ("colour=red", 400),
        ("customer=%00", 400),
        ("customer=NORTHWIND", 400),
        ("limit=0", 400),
        ("limit=201", 400),
        ("limit=x", 400),
        ("limit=" + "9" * 5000, 400),
        ("after=-1", 400),
        ("after=x", 400),
        ("after=99999999999999999999", 400),
        ("at=yesterday", 400),
        ("at=2026-06-20", 400),
        ("at=2026-06-20T13:00:00", 400),
        ("at=-1", 400),
        ("at=999999999", 400),
        ("at=" + "9" * 60, 400),
        ("at=1999-01-01T00:00:00Z", 422),
        ("cursor=x", 422),
        ("cursor=WyJhIl0", 422),
        ("cursor=" + "A" * 600, 400),
        ("cursor=%00", 400),
        ("cursor=%F0%9F%A6%80", 400),
        ("dry_run=true", 400),
    ],
)
def test_a_malformed_parameter_is_refused(service: Service, filter_: str, status: int) -> None:
    response = service.get("olga", f"/requests?{filter_}")
    if filter_ == "cursor=WyJhIl0":
        assert response.status_code in (200, status)
        return
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_exist_is_not_found(service: Service, kind: str) -> None:
    for id in ("unknown", "NO-SLUG", "%20", "a" * 64):
        problem(service.get("abe", f"/{kind}/{id}"), 404, "need_to_know")
        problem(service.get("abe", f"/{kind}/{id}/history"), 404, "need_to_know")
    problem(service.get("abe", f"/{kind}/%00"), 404, "need_to_know")


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_reads_without_a_token(service: Service, kind: str) -> None:
    for path in (f"/api/v1/{kind}", f"/api/v1/{kind}/x", f"/api/v1/{kind}/x/history", f"/api/v1/{kind}?x=1"):
        problem(service.client.get(path), 401, "authentication")


def test_a_document_carries_its_version_and_is_not_sent_twice(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)["position"]
    response = service.get("olga", f"/requests/{id}?after={position}")
    assert response.headers["etag"] == '"3"' and response.json()["version"] == 3
    again = service.get("olga", f"/requests/{id}", if_none_match='"2", "3"')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"3"')
    assert service.get("olga", f"/requests/{id}", if_none_match='"2"').status_code == 200


def test_every_list_and_document_can_be_read_as_it_was(service: Service, request_of: Ask) -> None:
    id = request_of()
    before = service.get("abe", "/events?limit=1").json()["position"]
    after = approved(service, id)
    assert service.read("olga", f"/requests/{id}?at={before}", after)["state"] == "in_review"
    assert service.read("olga", f"/requests/{id}?at={after}", after)["state"] == "approved"
    then = service.read("olga", f"/requests?limit=200&state=in_review&at={before}", after)
    assert id in ids(then) and then["position"] == before
    assert id not in ids(service.read("olga", "/requests?limit=200&state=in_review", after))


def test_what_was_not_there_yet_is_not_found(service: Service, request_of: Ask) -> None:
    before = service.get("abe", "/events?limit=1").json()["position"]
    problem(service.get("olga", f"/requests/{request_of()}?at={before}"), 404, "need_to_know")


def test_a_time_means_what_was_recorded_by_then(service: Service) -> None:
    assert service.get("abe", "/releases/gpt-5.6?at=2026-06-21T13:00:00Z").status_code == 200
    assert service.get("abe", "/releases/gpt-5.6?at=2026-06-21T15:00:00+02:00").status_code == 200
    problem(service.get("abe", "/releases/gpt-5.6?at=2026-06-21T12:59:59Z"), 404, "need_to_know")


def test_applicants_see_their_own_requests_without_the_deliberations(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("olga", f"/requests/{id}/sign-offs", {**APPROVE, "reason": "I trust them"})["position"]
    theirs = service.read("nina", f"/requests/{id}", position)
    assert theirs["use"] == "Fraud analysis"
    assert not {"sign_offs", "dues", "recused", "deemed"} & theirs.keys()
    assert "trust" not in service.get("nina", f"/requests/{id}/history").text
    problem(service.get("tom", f"/requests/{id}"), 404, "need_to_know")
    problem(service.get("tom", f"/requests/{id}/history"), 404, "need_to_know")
    problem(service.get("tom", f"/requests/{id}/required-sign-offs"), 404, "need_to_know")
    assert id not in ids(service.get("tom", "/requests?limit=200").json())


def test_a_recused_person_reads_nothing_of_the_request_not_even_its_past(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("root", f"/requests/{id}/recusals", {"person": "hana"})["position"]
    problem(service.get("hana", f"/requests/{id}?after={position}"), 404, "need_to_know")
    problem(service.get("hana", f"/requests/{id}?at={position - 1}"), 404, "need_to_know")
    assert id not in ids(service.get("hana", f"/requests?at={position - 1}&limit=200").json())
    problem(service.get("hana", f"/requests/{id}/history"), 404, "need_to_know")
    problem(service.get("hana", f"/requests/{id}/history?at={position - 1}"), 404, "need_to_know")
    problem(service.get("hana", f"/requests/{id}/required-sign-offs"), 404, "need_to_know")


def test_the_history_tells_in_plain_words_what_happened(service: Service, request_of: Ask) -> None:
    id = request_of()
    approved(service, id)
    found = service.get("olga", f"/requests/{id}/history").json()
    assert [entry["type"] for entry in found["items"]][:3] == [
        "RequestSubmitted",
        "RequestRegistered",
        "AgencySignedOff",
    ]
    assert found["items"][2]["text"].startswith("Olga (reviewer, oncd) approved")
    assert found["items"][0]["data"]["use"] == "Fraud analysis"


def test_each_entry_bears_the_receipt_of_its_event(service: Service, request_of: Ask) -> None:
    id = request_of()
    answer = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)
    for person in ("olga", "abe"):
        found = service.get(person, f"/requests/{id}/history").json()["items"]
        assert found[-1]["receipt"] == answer["receipt"]
    for entry in service.get("nina", f"/requests/{id}/history").json()["items"]:
        proof = covered(service, f"/log/proof/{entry['position']}").json()
        assert (entry["receipt"]["position"], proof["leaf"]) == (entry["position"], entry["receipt"]["leaf"])


def test_an_applicant_learns_of_no_cause_that_they_may_not_see(service: Service, request_of: Ask) -> None:
    id = request_of()
    approved(service, id)

    def causes(person: str) -> dict[str, Any]:
        entries = service.get(person, f"/requests/{id}/history").json()["items"]
        return {entry["type"]: entry["cause"] for entry in entries}

    assert causes("nina")["RequestApproved"] is None
    entries = service.get("olga", f"/requests/{id}/history").json()["items"]
    (countersigned,) = [entry for entry in entries if entry["type"] == "SignOffCountersigned"]
    assert causes("olga")["RequestApproved"] == countersigned["position"]


def test_an_applicant_learns_the_cause_that_they_may_see(service: Service, request_of: Ask) -> None:
    approved(service, request_of())
    position = service.get("abe", "/events?limit=1").json()["position"]
    grants = service.read("nina", "/grants?state=active&limit=200", position)["items"]
    renewal = service.done("nina", f"/grants/{grants[-1]['id']}/renewals", {})
    entry = service.get("nina", f"/grants/{grants[-1]['id']}/history").json()["items"][-1]
    assert (entry["type"], entry["cause"]) == ("RenewalRequested", renewal["events"][0]["position"])


def test_a_history_is_read_page_by_page(service: Service, request_of: Ask) -> None:
    id = request_of()
    approved(service, id)
    whole = service.get("olga", f"/requests/{id}/history").json()["items"]
    first = service.get("olga", f"/requests/{id}/history?limit=2").json()
    rest = service.get("olga", f"/requests/{id}/history?limit=100&cursor={first['next']}").json()
    assert first["items"] + rest["items"] == whole and rest["next"] is None


def test_required_sign_offs_name_who_is_eligible(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)["position"]
    found = service.read("cora", f"/requests/{id}/required-sign-offs", position)
    assert found["waiting_on"] == ["commerce"]
    assert {each["person"] for each in found["sign_offs"][0]["eligible"]} == {"cora", "carl"}
    before = service.get("cora", f"/requests/{id}/required-sign-offs?at={position - 1}").json()
    assert before["waiting_on"] == ["oncd", "commerce"]


def test_pending_sign_offs_are_listed_for_an_agency(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)["position"]
    mine = service.read("cora", "/dashboards/pending_sign_offs?agency=commerce&limit=200", position)["items"]
    assert {"request": id, "agency": "commerce", "lacks": "sign_off"}.items() <= next(
        item for item in mine if item["request"] == id
    ).items()
    theirs = service.read("olga", "/dashboards/pending_sign_offs?agency=oncd&limit=200", position)["items"]
    assert id not in {item["request"] for item in theirs}


def test_an_officers_own_queue_holds_what_they_may_do_themselves(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("cora", f"/requests/{id}/sign-offs", {**APPROVE, "agency": "commerce"})["position"]

    def has_it(officer: str, at: str = "") -> bool:
        address = f"/dashboards/pending_sign_offs?limit=200&officer={officer}{at}"
        return id in {item["request"] for item in service.read("abe", address, position)["items"]}

    assert has_it("carl") and has_it("olga") and not has_it("cora") and not has_it("nina") and not has_it("nobody")
    assert has_it("cora", f"&at={position - 1}"), "before it was signed"
    service.done("root", f"/requests/{id}/recusals", {"person": "hana"})
    service.done("root", "/organizations/commerce/appointments", {"person": "late", "role": "countersigner"})
    assert has_it("late") and not has_it("late", f"&at={position}"), "who came later was not there then"
    assert not has_it("hana")


def test_what_is_overdue_at_a_time_is_told_by_that_time(service: Service, request_of: Ask) -> None:
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    address = "/dashboards/pending_sign_offs?agency=commerce&limit=200&overdue="
    assert service.read("cora", f"{address}true", position)["items"] == []
    assert all(not item["overdue"] for item in service.read("cora", f"{address}false&at={position}", position)["items"])


def test_a_dashboard_that_does_not_exist_is_no_address(service: Service) -> None:
    problem(service.get("cora", "/dashboards/everything"), 404, "paths")


def test_a_grant_is_read_by_those_whom_it_concerns(service: Service, request_of: Ask) -> None:
    position = approved(service, request_of())
    grant = service.read("nina", "/grants?state=active&limit=200", position)["items"][-1]
    assert service.get("rae", f"/grants/{grant['id']}").json()["customer"] == "northwind"
    assert service.get("nina", f"/grants/{grant['id']}/history").status_code == 200
    problem(service.get("tom", f"/grants/{grant['id']}"), 404, "need_to_know")
    problem(service.get("ann", f"/grants/{grant['id']}/history"), 404, "need_to_know")


def test_what_an_official_did_is_read_by_themselves_their_head_and_auditors(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = service.done("olga", f"/requests/{id}/sign-offs", APPROVE)["position"]
    address = "/dashboards/activity?person=olga&limit=1"
    for reader in ("hana", "abe", "olga"):
        (item,) = service.read(reader, address, position)["items"]
        assert (item["position"], item["stream"], item["type"]) == (position, f"request-{id}", "AgencySignedOff")
    for reader in ("cora", "nina", "rae", "nobody"):
        assert service.read(reader, address, position)["items"] == []
    lent = service.done("hana", "/organizations/oncd/delegations", {"to": "dora", "powers": ["SignOff"]})
    assert service.read("dora", address, lent["position"])["items"] == [], "what a head may read is not lent"
    position = service.done("dora", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    (own,) = service.read("dora", "/dashboards/activity?limit=1", position)["items"]
    assert (own["position"], own["via"]) == (position, ["hana"])
    assert service.get("olga", "/dashboards/activity?limit=1").json()["items"] == [item], "without a person, one's own"


def test_acts_are_asked_for_from_a_time_or_position_on_and_up_to_one(service: Service, request_of: Ask) -> None:
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]

    def count(stretch: str) -> int:
        found = service.read("abe", f"/dashboards/activity_counts?person=olga&{stretch}", position)["items"]
        return sum(item["count"] for item in found if item["type"] == "AgencySignedOff")

    assert count(f"from={position}&to={position}") == 1
    assert count(f"to={position}") == count("from=2026-06-20T13:00:00Z") == count("to=2100-01-01T00:00:00Z") > 0
    assert count("from=2100-01-01T00:00:00Z") == count("to=2026-06-20T13:00:00Z") == 0
    problem(service.get("abe", "/dashboards/activity_counts?person=olga&from=soon"), 400, "parameters")


@pytest.mark.parametrize("board", ["conditions", "rollout", "clearance"])
def test_every_board_is_a_list_that_can_be_read_as_it_was(service: Service, board: str) -> None:
    now = service.get("abe", f"/dashboards/{board}").json()
    assert now.keys() == {"items", "next", "position"}
    for at in ("0", "2026-06-21T13:00:00Z"):
        then = service.get("abe", f"/dashboards/{board}?at={at}").json()
        assert then["position"] <= now["position"]
    problem(service.get("abe", f"/dashboards/{board}?colour=red"), 400, "parameters")


def test_whoever_does_not_say_who_they_are_hears_nothing_of_what_they_wrote(service: Service) -> None:
    problem(service.client.get("/api/v1/requests?customer=%00"), 401, "authentication")
    problem(service.get("abe", "/requests?customer=%00"), 400, "parameters")


@pytest.mark.parametrize("after", ["5529760613041069.0", "0" * 20 + "5529760613041069", "1_0", "+1", "1e9"])
def test_a_position_that_is_not_written_in_digits_is_refused_and_not_waited_for(service: Service, after: str) -> None:
    problem(service.get("abe", f"/requests?after={after}"), 400, "parameters")
