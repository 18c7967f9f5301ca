"""Does an applicant learn anything of what they may not see?

Histories that differ only in that give them the same answers, byte by byte, at every address, once global positions,
receipts and the size of the log are masked: the same ids, versions, ETags, counts, orders and refusals.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain import organization
from domain.authority import READS, Reading
from domain.organization import Appoint
from domain.release import CloseIncident, OpenIncident, SignOffPhase
from domain.request import (
    AmendRequest,
    Changes,
    Escalate,
    ProvideInformation,
    Recuse,
    RegisterRequest,
    RequestInformation,
    SignOff,
)
from domain.sign_offs import ProposedCondition
from services.settings import Settings
from tests.conftest import fresh_database
from tests.projections.shelf import append
from tests.services.http.conftest import Service, served
from tests.spec import Story, application, approve, in_review, second_request

Hidden = Callable[[Story], Story]


def story(hidden: Hidden) -> Story:
    """A grant, a question, a request under review. What Northwind sees is the same, whatever is `hidden` in it."""
    base = approve(in_review().at("2026-06-30T15:00:00Z"), "nw", "g")
    second_request(base, "northwind", "nina", "nw2")
    base.at("2026-07-01T15:00:00Z").given(RequestInformation("nw2", "oncd", "Who holds the keys?"), by="olga")
    base.given(ProvideInformation("nw2", 1, "Two of the founders"), by="nina")
    hidden(base)
    base.at("2026-07-03T15:00:00Z").given(AmendRequest("nw2", Changes(duration_days=90)), by="nina")
    return base.given(application(draft=True), by="nina", ids=["draft"])


def nothing(base: Story) -> Story:
    return base


def an_agency_signs(base: Story) -> Story:
    return base.given(SignOff("nw2", "ostp", "approve", reason="Fine", note="For our files"), by="sam")


def an_officer_refuses_and_nobody_has_confirmed_it(base: Story) -> Story:
    return base.given(SignOff("nw2", "commerce", "refuse", reason="Too risky"), by="cora")


def an_agency_thinks_again(base: Story) -> Story:
    base.given(SignOff("nw2", "commerce", "approve"), by="cora")
    condition = ProposedCondition("Report misuse within 24 hours", "precondition")
    return base.given(SignOff("nw2", "commerce", "approve_with_conditions", (condition,)), by="cora")


def an_officer_is_recused(base: Story) -> Story:
    return base.given(Recuse("nw2", "sam", "A cousin works there"), by="sue")


def it_is_escalated(base: Story) -> Story:
    return base.given(Escalate("nw2", "They disagree"), by="omar")


def a_deadline_of_another_request_passes(base: Story) -> Story:
    return second_request(base, "tinker", "tom", "tk")


def another_customer_asks_and_is_refused(base: Story) -> Story:
    second_request(base, "tinker", "tom", "tk")
    base.given(SignOff("tk", "ostp", "refuse", reason="No"), by="sam")
    return base.given(application("tinker"), by="tom", ids=["tk3"]).given(RegisterRequest("tk3"), by="rita")


def an_incident_comes_and_goes(base: Story) -> Story:
    base.given(OpenIncident("gpt-5.6", "low", "A jailbreak circulates"), by="rae")
    return base.given(CloseIncident("gpt-5.6", 1, "Mitigated"), by="rae")


def the_next_phase_is_signed_off(base: Story) -> Story:
    return base.given(SignOffPhase("gpt-5.6", "general_availability", "oncd", "approve", "Fine"), by="olga")


def an_officer_comes_and_another_lends_their_powers(base: Story) -> Story:
    base.given(Appoint("ostp", "newcomer", "reviewer"))
    return base.given(organization.Delegate("ostp", "newcomer", ("SignOff",)), by="sue")


def several_things_at_once(base: Story) -> Story:
    for hidden in (an_officer_is_recused, an_agency_thinks_again, another_customer_asks_and_is_refused):
        hidden(base)
    return an_incident_comes_and_goes(base)


HIDDEN: tuple[Hidden, ...] = (
    an_agency_signs,
    an_officer_refuses_and_nobody_has_confirmed_it,
    an_agency_thinks_again,
    an_officer_is_recused,
    it_is_escalated,
    a_deadline_of_another_request_passes,
    another_customer_asks_and_is_refused,
    an_incident_comes_and_goes,
    the_next_phase_is_signed_off,
    an_officer_comes_and_another_lends_their_powers,
    several_things_at_once,
)

# What Northwind's applicant asks

IDS = {
    "requests": ("nw", "nw2", "draft", "tk", "unknown"),
    "grants": ("g", "unknown"),
    "releases": ("gpt-5.6",),
    "organizations": ("northwind", "tinker", "ostp"),
    "policies": ("frontier-preview",),
    "directives": ("unknown",),
    "keys": ("unknown",),
    "legal-holds": ("unknown",),
    "subjects": ("nina",),
}
FILTERS = {
    "/api/v1/requests": ("state=in_review", "state=escalated", "waiting_on=ostp", "waiting_on=agencies", "limit=1"),
    "/api/v1/grants": ("state=active", "limit=1"),
    "/api/v1/releases": ("phase=limited_preview", "held=true", "held=false"),
    "/api/v1/organizations": ("kind=agency", "limit=2"),
    "/api/v1/dashboards/pending_sign_offs": ("officer=sam", "agency=ostp", "overdue=true"),
    "/api/v1/dashboards/activity": ("person=nina", "person=sam", "person=nina&type=SignOffVoided", "person=system"),
    "/api/v1/dashboards/activity_counts": ("person=nina", "person=sam"),
    "/api/v1/dashboards/clearance": ("customer=tinker", "reason=granted", "allowed=false", "person_class=us_person"),
    "/api/v1/dashboards/rollout": ("held=true", "held=false", "phase=limited_preview"),
    "/api/v1/dashboards/turnaround": ("by=provider", "by=size_class", "by=release", "from=2026-07-01&to=2026-07-02"),
    "/api/v1/dashboards/turnaround/requests": ("by=release", "by=provider&measure=authorised", "outcome=pending"),
    "/api/v1/dashboards/conditions": ("agency=commerce", "customer=tinker", "overdue=false"),
    "/api/v1/diff": tuple(
        f"stream={stream}&from={since}&to=2026-07-03T15:00:00Z"
        for stream in ("request-nw2", "organization-northwind", "release-gpt-5.6", "request-tk", "grant-g")
        for since in ("0", "2026-06-30T16:00:00Z")
    ),
}
COMMANDS: tuple[tuple[str, Any], ...] = (
    ("/requests/nw2/sign-offs", {"agency": "ostp", "position": "approve"}),
    ("/requests/nw2/amendments", {"changes": {"tier": "standard"}}),
    ("/requests/nw2/withdrawal", {}),
    ("/requests/nw2/registration", {}),
    ("/requests/nw2/escalation", {"reason": "Stuck"}),
    ("/requests/nw2/recusals", {"person": "sam", "reason": "Kin"}),
    ("/requests/nw2/information-requests/1/response", {"answer": "Again"}),
    ("/requests/nw2/appeals", {"grounds": "Unfair"}),
    ("/requests/draft/submission", {}),
    ("/requests/tk/withdrawal", {}),
    ("/grants/g/renewals", {}),
    ("/grants/g/surrender", {}),
    ("/grants/g/compliance-reports", {"text": "All is well"}),
    ("/releases/gpt-5.6/hold", {"reason": "Wait"}),
)
GLOBAL = frozenset({"position", "cause", "because", "size", "receipt", "leaf", "first", "last"})
IN_THE_WORLD = ("/api/v1/requests/{id}", "/api/v1/requests/{id}/history", "/api/v1/requests/{id}/required-sign-offs")
OF_THE_CALLER = "/session"
"""Tells of the token alone."""


def addresses() -> Iterator[str]:
    for path, reading in READS.items():
        if reading is Reading.ANYONE or path.startswith(("/api/v1/log/", "/access/", OF_THE_CALLER)):
            continue
        kind = path.split("/")[3] if path.startswith("/api/v1/") else ""
        if "{id}" not in path:
            yield path
            yield from (f"{path}?{filter_}" for filter_ in FILTERS.get(path, ()))
        else:
            yield from (path.replace("{id}", id) for id in IDS.get(kind, ("unknown",)))
            if path in IN_THE_WORLD:
                yield f"{path.replace('{id}', 'nw2')}?occurred_at=2026-07-02T00:00:00Z"


def masked(value: Any) -> Any:
    """Without what is the log's own: everybody knows that it grows."""
    match value:
        case dict():
            return {
                k: "…" if k in GLOBAL or (k == "next" and isinstance(v, int)) else masked(v) for k, v in value.items()
            }
        case list():
            return [masked(each) for each in value]
        case _:
            return value


def answer(response: Any) -> tuple[int, Any, Any]:
    if response.headers.get("content-type", "").startswith("text/html"):
        return response.status_code, {}, _masked_page(response.text)
    body = msgspec.json.decode(response.content) if response.content else None
    lines = {name: value for name, value in response.headers.items() if name not in ("date", "x-request-id")}
    lines.pop("content-length", None)  # that of a masked number
    return response.status_code, lines, masked(body)


def _masked_page(text: str) -> str:
    """A dossier without positions, and what follows from them: receipts and the checkpoint."""
    shown, _, _ = text.partition("<h2>Receipts</h2>")
    for before in ("as of position ", '<th scope="row">position</th><td>'):
        assert before in shown
        shown = re.sub(f"{before}[0-9]+", before, shown)
    return re.sub('<tr id="p[0-9]+"><td>[0-9]+', "", shown)


def asked(service: Service, position: int) -> dict[str, Any]:
    """Everything the applicant can ask, and what they are told."""
    service.read("nina", "/requests", position)
    told: dict[str, Any] = {}
    for path in addresses():
        response = service.client.get(path, headers=service.headers("nina"))
        told[path] = answer(response)
        if etag := response.headers.get("etag"):
            again = service.client.get(path, headers=service.headers("nina", if_none_match=etag))
            told[f"{path} again"] = answer(again)
    for path, body in COMMANDS:
        for if_match in ({}, {"if_match": '"1"'}):
            headers = service.headers("nina", **if_match)
            response = service.client.post(f"/api/v1{path}?dry_run=true", json=body, headers=headers)
            told[f"{path} {if_match}"] = answer(response)
    return told


@pytest.fixture(scope="module")
def tell(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Hidden], dict[str, Any]]:
    def told(hidden: Hidden) -> dict[str, Any]:
        written = story(hidden)
        for conninfo in fresh_database(postgres, template):
            append(conninfo, written.facts)
            folder: Path = tmp_path_factory.mktemp("leaks")
            settings = Settings(data=folder, database_url=conninfo, port=0, clock="manual", clock_start=written.now)
            with served(settings) as service:
                return asked(service, len(written.facts) - 1)
        raise AssertionError("there is a database")

    return told


@pytest.fixture(scope="module")
def plain(tell: Callable[[Hidden], dict[str, Any]]) -> dict[str, Any]:
    return tell(nothing)


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda hidden: hidden.__name__)
def test_an_applicant_is_told_the_same_whether_or_not(
    tell: Callable[[Hidden], dict[str, Any]], plain: dict[str, Any], hidden: Hidden
) -> None:
    told = tell(hidden)
    different = {path: (plain[path], told[path]) for path in plain if plain[path] != told[path]}
    assert different == {}
    assert told.keys() == plain.keys()


def test_the_answers_that_are_compared_say_something(plain: dict[str, Any]) -> None:
    statuses = [status for status, _, _ in plain.values()]
    assert statuses.count(200) > 40 and {403, 404, 409, 412, 304} <= set(statuses)
    history = plain["/api/v1/requests/nw2/history"][2]["items"]
    assert [entry["type"] for entry in history][:4] == [
        "RequestSubmitted",
        "RequestRegistered",
        "InformationRequested",
        "InformationProvided",
    ]


def test_a_mask_hides_nothing_but_numbers_of_the_log() -> None:
    shown = {"position": 4, "next": 7, "items": [{"version": 2, "cause": 3, "next": "abc"}]}
    assert masked(shown) == {"position": "…", "next": "…", "items": [{"version": 2, "cause": "…", "next": "abc"}]}
    assert re.fullmatch(r"[a-z, ]+", ", ".join(sorted(GLOBAL)))
