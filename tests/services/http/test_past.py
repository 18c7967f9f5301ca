"""What was so at an earlier time: as the log had it, or in the world; and what changed in between?"""

import itertools
from collections.abc import Awaitable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.errors import NotFound
from domain.grant import SuspendGrant
from domain.request import SignOff
from services.http import histories
from services.http.histories import Until
from services.http.queries import DASHBOARDS, KINDS, Kind
from services.settings import Settings
from tests.conftest import fresh_database
from tests.projections.shelf import a_full_story, append, as_, connected, tell
from tests.services.http.conftest import Service, served
from tests.services.http.test_commands import problem
from tests.spec import Story, second_request

READERS = ("ada", "rita", "olga", "cleo", "bea", "rae", "nina", "tom", "sam", "stranger")
LEARNT = "2026-07-16T10:00:00Z"
"""When the log learns of two acts of two days before."""


def story() -> Story:
    """A full story, and things that the log learnt late."""
    found = second_request(a_full_story().at("2026-07-14T10:00:00Z"), "northwind", "nina", "late")
    found.at(LEARNT).when(SignOff("late", "oncd", "approve"), by="olga", occurred="2026-07-14T12:00:00Z")
    found.when(SuspendGrant("g3", "Seen misuse"), by="cora", occurred="2026-07-14T13:00:00Z")
    return found


@pytest.fixture(scope="module")
def service(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    written = story()
    for conninfo in fresh_database(postgres, template):
        append(conninfo, written.facts)
        folder = tmp_path_factory.mktemp("past")
        settings = Settings(data=folder, database_url=conninfo, port=0, clock="manual", clock_start=written.now)
        with served(settings) as running:
            for kind in (*KINDS, *DASHBOARDS):
                running.read("ada", address(kind), end(written)) if kind.singular not in KEPT else None
            yield running


KEPT = frozenset({"key", "legal hold", "subject"})
"""Kinds that only their keepers and auditors know of; the auditor reads them all."""


def end(written: Story) -> int:
    return len(written.facts) - 1


def address(kind: Kind) -> str:
    return f"/dashboards/{kind.plural}" if kind in DASHBOARDS else f"/{kind.plural}"


def last(service: Service) -> int:
    """The log's last position; when it starts, a service tells of the closures to come."""
    position: int = service.get("ada", "/events?limit=1").json()["position"]
    return position


def told(service: Service, person: str, path: str) -> Any:
    response = service.get(person, path)
    assert response.status_code in (200, 403, 404), response.text
    return response.json()["items"] if response.status_code == 200 else response.status_code


# As recorded


@pytest.mark.parametrize("kind", [*KINDS, *DASHBOARDS], ids=lambda kind: kind.plural)
def test_before_the_first_event_every_list_is_empty(service: Service, kind: Kind) -> None:
    response = service.get("ada", f"{address(kind)}?at=2000-01-01T00:00:00Z")
    assert response.json() == {"items": [], "next": None, "position": -1}


@pytest.mark.parametrize("kind", [*KINDS, *DASHBOARDS], ids=lambda kind: kind.plural)
@pytest.mark.parametrize("person", READERS)
def test_the_last_position_and_a_time_to_come_are_now(service: Service, kind: Kind, person: str) -> None:
    now = told(service, person, f"{address(kind)}?limit=200")
    for at in (last(service), "2190-01-01T00:00:00Z"):
        then = told(service, person, f"{address(kind)}?limit=200&at={at}")
        assert of_the_log(then) == of_the_log(now)


def test_a_position_that_is_not_in_the_log_is_refused_in_clear_words(service: Service) -> None:
    position = last(service)
    for path in ("/requests", "/requests/nw", "/requests/nw/history", "/dashboards/pending_sign_offs"):
        problem(service.get("ada", f"{path}?at={position + 1}"), 400, "parameters")
    refusal = service.get("ada", f"/requests/nw/required-sign-offs?at={position + 1}").json()
    assert refusal["detail"] == f"The log ends at position {position}."


def test_a_time_between_two_appends_is_that_of_the_earlier_and_takes_in_all_that_were_recorded_then(
    service: Service,
) -> None:
    facts = story().facts
    for before, after in itertools.pairwise(facts):
        if before.recorded != after.recorded:
            for time in (before.recorded, after.recorded - timedelta(microseconds=1)):
                assert service.get("ada", f"/requests?at={text(time)}").json()["position"] == before.position


def of_the_log(items: Any) -> Any:
    """Items without what follows from the time of asking, or is not in the log."""
    if not isinstance(items, list):
        return items
    return [{name: each[name] for name in each.keys() - {"overdue", "last_used"}} for each in items]


def text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


async def test_what_is_folded_for_one_answer_is_what_the_rows_keep(database: str) -> None:
    written = a_full_story()
    await tell(database, written)
    kinds = {next(iter(kind.answers.TABLE.kinds)): kind for kind in KINDS if kind.has_history}
    compared = 0
    async with await connected(database) as conn:
        for fact in written.facts:
            kind, _, id = fact.stream.partition("-")
            for reader in READERS[:-1] if kind in kinds else ():
                answers, reach = kinds[kind].answers, as_(reader)
                kept = await found(answers.detail(conn, reach, id, fact.position))
                until = Until(fact.position)
                folded = await found(histories.document(conn, reach, answers.TABLE, fact.stream, until))
                assert folded == kept, (reader, fact)
                compared += kept is not None
    assert compared > 300


async def found(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except NotFound:
        return None


# In the world


def test_what_was_true_then_counts_what_the_log_learnt_later(service: Service) -> None:
    for time, agencies in (
        ("2026-07-14T11:59:59Z", []),
        ("2026-07-14T12:00:00Z", ["oncd"]),
        ("2190-01-01T00:00:00Z", ["oncd"]),
    ):
        shown = service.get("ada", f"/requests/late?occurred_at={time}").json()
        assert [each["agency"] for each in shown["sign_offs"]] == agencies
    assert service.get("ada", "/requests/late?at=2026-07-15T00:00:00Z").json()["sign_offs"] == []
    assert service.get("nina", "/grants/g3?occurred_at=2026-07-15T00:00:00Z").json()["state"] == "suspended"
    assert service.get("nina", "/grants/g3?at=2026-07-15T00:00:00Z").json()["state"] == "active"


def test_together_they_say_what_was_known_then_of_an_earlier_time(service: Service) -> None:
    path = "/requests/late?occurred_at=2026-07-15T00:00:00Z"
    assert service.get("ada", f"{path}&at=2026-07-15T00:00:00Z").json()["sign_offs"] == []
    assert len(service.get("ada", f"{path}&at={LEARNT}").json()["sign_offs"]) == 1


def test_a_history_and_who_must_still_act_take_both_times(service: Service) -> None:
    path, then = "/requests/late/history?occurred_at=2026-07-15T00:00:00Z", "2026-07-15T00:00:00Z"
    types = [entry["type"] for entry in service.get("olga", path).json()["items"]]
    assert types == ["RequestSubmitted", "RequestRegistered", "AgencySignedOff"]
    assert len(service.get("olga", f"{path}&at={then}").json()["items"]) == 2
    required = "/requests/late/required-sign-offs"
    waits = [service.get("cleo", f"{required}?{time}={then}").json()["waiting_on"] for time in ("occurred_at", "at")]
    assert waits == [["ostp", "commerce"], ["oncd", "ostp", "commerce"]]


def test_a_time_in_the_world_shows_nobody_more_than_they_may_know(service: Service) -> None:
    then = "occurred_at=2026-07-15T00:00:00Z"
    theirs = service.get("nina", f"/requests/late?{then}").json()
    assert theirs.keys() == service.get("nina", "/requests/late").json().keys()
    assert "sign_offs" not in theirs and theirs["version"] == 2
    assert len(service.get("nina", f"/requests/late/history?{then}").json()["items"]) == 2
    for person, path in (
        ("tom", "/requests/late"),
        ("sam", "/requests/tk"),  # recused, since later
        ("nina", "/requests/nothing"),
        ("nina", "/keys/id-1"),
    ):
        assert service.get(person, f"{path}?{then}").status_code in (403, 404)
    problem(service.get("sam", "/requests/tk?occurred_at=2026-07-01T15:00:00Z"), 404, "need_to_know")
    problem(service.get("ada", "/requests/late?occurred_at=2026-07-14T09:59:59Z"), 404, "need_to_know")


def test_timers_that_were_decided_later_count_from_when_they_were_due(service: Service) -> None:
    for fact in story().facts:
        if fact.stream.startswith(("request-", "grant-")):
            path = f"/{fact.stream.replace('-', 's/', 1)}?occurred_at={text(fact.occurred)}"
            assert service.get("ada", path).json()["position"] >= fact.position


@pytest.mark.parametrize("given", ["7", "yesterday", "2026-07-14", "2026-07-14T00:00:00", ""])
def test_a_time_in_the_world_is_a_time_with_its_zone(service: Service, given: str) -> None:
    for path in ("/requests/nw", "/requests/nw/history", "/requests/nw/required-sign-offs"):
        problem(service.get("ada", f"{path}?occurred_at={given}"), 400, "parameters")


def test_lists_are_as_recorded_only(service: Service) -> None:
    problem(service.get("ada", f"/requests?occurred_at={LEARNT}"), 400, "parameters")


# What changed


def diff(service: Service, person: str, stream: str, since: object, to: object) -> Any:
    return service.get(person, f"/diff?stream={stream}&from={since}&to={to}").json()


def test_a_difference_has_paths_both_values_and_the_facts_in_words(service: Service) -> None:
    changed = diff(service, "olga", "request-late", "2026-07-15T00:00:00Z", LEARNT)
    by_path = {each["path"]: (each.get("before"), each.get("after")) for each in changed["changes"]}
    assert by_path["/waiting_on"] == (["oncd", "ostp", "commerce"], ["ostp", "commerce"])
    assert by_path["/sign_offs/0"][1]["agency"] == "oncd"
    assert [entry["text"] for entry in changed["facts"]] == ["Olga (reviewer, oncd) approved revision 1 for oncd."]
    assert (changed["from"]["version"], changed["to"]["version"]) == (2, 3)
    assert not {"/version", "/position"} & by_path.keys()


def test_two_points_with_nothing_in_between_differ_in_nothing(service: Service) -> None:
    changed = diff(service, "olga", "request-late", LEARNT, LEARNT)
    assert (changed["changes"], changed["facts"]) == ([], [])


def test_what_was_not_there_at_the_first_point_has_no_document_before(service: Service) -> None:
    changed = diff(service, "ada", "request-late", 0, LEARNT)
    (change,) = changed["changes"]
    assert (change["path"], change["before"], change["after"]["id"]) == ("", None, "late")
    assert changed["from"] == {"position": 0, "version": None}


def test_an_applicant_is_told_of_no_deliberation(service: Service) -> None:
    changed = diff(service, "nina", "request-late", "2026-07-15T00:00:00Z", LEARNT)
    assert (changed["changes"], changed["facts"]) == ([], [])
    whole = diff(service, "nina", "request-nw", 0, LEARNT)
    assert "Weak" not in str(whole) and "olga" not in str(whole)


def test_of_a_customer_the_requests_and_grants_that_changed_are_named(service: Service) -> None:
    after = "2026-07-14T08:59:59Z"
    changed = diff(service, "cleo", "organization-northwind", after, LEARNT)
    assert {each["id"]: (each["before"], each["after"]) for each in changed["requests"]} == {
        "late": (None, "in_review"),
        "nw3": (None, "approved"),
    }
    assert {each["id"]: (each["before"], each["after"]) for each in changed["grants"]} == {
        "g": ("suspended", "revoked"),
        "g3": (None, "suspended"),
    }
    theirs = diff(service, "nina", "organization-northwind", after, LEARNT)
    assert {each["id"] for each in theirs["requests"]} == {"late", "nw3"}
    stranger = diff(service, "tom", "organization-northwind", after, LEARNT)
    assert (stranger["requests"], stranger["grants"]) == ([], [])
    nothing_new = diff(service, "cleo", "organization-northwind", LEARNT, LEARNT)
    assert (nothing_new["requests"], nothing_new["grants"]) == ([], [])
    assert "requests" not in diff(service, "cleo", "organization-oncd", 0, LEARNT)


def test_who_was_recused_is_not_told_which_requests_changed(service: Service) -> None:
    named = [
        {each["id"] for each in diff(service, person, "organization-tinker", 0, LEARNT)["requests"]}
        for person in ("sue", "sam")
    ]
    assert "tk" in named[0] and "tk" not in named[1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.has_history], ids=lambda kind: kind.plural)
def test_every_kind_with_a_history_has_differences(service: Service, kind: Kind) -> None:
    item = service.get("ada", f"/{kind.plural}").json()["items"][0]
    changed = diff(service, "ada", kind.stream(item["id"]), 0, end(story()))
    assert changed["changes"] or item["position"] == 0
    assert [entry["position"] for entry in changed["facts"]][-1] == item["position"]


@pytest.mark.parametrize(
    ("person", "stream"),
    [
        ("tom", "request-late"),
        ("sam", "request-tk"),
        ("ada", "request-unknown"),
        ("ada", "person-nina"),
        ("ada", "key-id-1"),
        ("nina", "hold-id-2"),
        ("ada", "log-assent"),
    ],
)
def test_what_one_may_not_see_is_as_unknown_as_what_there_is_not(service: Service, person: str, stream: str) -> None:
    response = service.get(person, f"/diff?stream={stream}&from=0&to={end(story())}")
    problem(response, 404, "need_to_know")


def test_what_was_not_there_at_the_later_point_is_not_found(service: Service) -> None:
    problem(service.get("ada", "/diff?stream=request-late&from=0&to=1"), 404, "need_to_know")


@pytest.mark.parametrize("bad", ["yesterday", "-1", "999999", "2026-07-14T00:00:00", "", "1999-01-01T00:00:00Z"])
def test_both_points_are_refused_alike(service: Service, bad: str) -> None:
    refusals = [
        service.get("ada", f"/diff?stream=request-late&{points}").json()
        for points in (f"from={bad}&to={end(story())}", f"from=0&to={bad}")
    ]
    assert [each["status"] for each in refusals] in ([400, 400], [422, 422])
    assert refusals[0]["detail"].replace("from", "to") == refusals[1]["detail"]


@pytest.mark.parametrize("query", ["", "stream=request-nw", "stream=x&from=0&to=1", "stream=request-nw&from=2&to=1"])
def test_a_difference_has_a_stream_and_two_points_in_order(service: Service, query: str) -> None:
    problem(service.get("ada", f"/diff?{query}"), 400, "parameters")


def test_who_asked_for_a_difference_is_recorded(service: Service) -> None:
    diff(service, "nina", "request-late", 0, LEARNT)
    diff(service, "tom", "request-late", 0, LEARNT)
    records = service.get("ada", "/trail?subject=request-late&limit=1000").json()["items"]
    last = [(r["type"], r["by"]["person"]) for r in records if r["data"]["address"] == "/api/v1/diff"][-2:]
    assert last == [("DocumentRead", "nina"), ("ReadRefused", "tom")]
