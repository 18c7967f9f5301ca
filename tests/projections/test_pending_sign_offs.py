"""Is each agency's queue what it still has to do: what is lacking, for whom, most urgent first?"""

from copy import deepcopy
from datetime import datetime
from typing import Any

from domain.authority import offices
from domain.organization import Delegate, Organization
from domain.release import CountersignPhase, Phase, SignOffPhase
from domain.request import AcceptInformation, Countersign, ProvideInformation, Recuse, RequestInformation, SignOff
from domain.request import WithdrawRequest as Withdraw
from domain.sign_offs import AllOf, Leaf
from projections import pending_sign_offs
from projections.pages import Asked
from projections.pending_sign_offs import Officer
from tests.projections.shelf import Connection, as_, tell
from tests.spec import PEOPLE, Story, appoint, in_review, instant, preview, second_request

NOW = instant("2026-06-28T00:00:00Z")
GATED = (Phase("announced", "closed"), Phase("preview", "granted"), Phase("open", "open", gate=Leaf("oncd")))
COUNTERSIGNED_GATE = (*GATED[:2], Phase("open", "open", gate=AllOf((Leaf("oncd", countersign=True), Leaf("ostp")))))


async def listed(
    conn: Connection, person: str, at: int | None = None, *, now: datetime = NOW, **filters: Any
) -> list[dict[str, Any]]:
    """The queue, without what is asked for a phase."""
    found = await pending_sign_offs.page(conn, as_(person), Asked(at=at), now=now, **filters)
    return [item for item in found.items if item["phase"] is None]


async def queue(conn: Connection, person: str, at: int | None = None, **filters: Any) -> list[tuple[str, str, str]]:
    return [(item["agency"], item["request"], item["lacks"]) for item in await listed(conn, person, at, **filters)]


async def gates(conn: Connection, person: str, **filters: Any) -> list[tuple[str, str, str]]:
    found = await pending_sign_offs.page(conn, as_(person), now=NOW, **filters)
    return [(item["agency"], item["phase"], item["lacks"]) for item in found.items if item["phase"] is not None]


def officer(story: Story, person: str) -> Officer:
    """That person as the log of the story knows them."""
    bodies = [each.state for each in story.streams.values() if isinstance(each.state, Organization)]
    held = offices(bodies, person, story.now)
    people = {person, *(lender for office in held for lender in office.via)}
    employers = [body for body in bodies if body.kind == "customer"]
    employed = {each: tuple(body.id for body in employers if body.roles(each, story.now)) for each in people}
    return Officer(person, held, employed)


async def test_an_agency_that_signed_has_nothing_left_to_do(log: str, conn: Connection) -> None:
    story = in_review()
    before = story.facts[-1].position
    await tell(log, story.given(SignOff("nw", "oncd", "approve"), by="olga"))
    assert await queue(conn, "olga", agency="oncd") == []
    assert await queue(conn, "sam", agency="ostp") == [("ostp", "nw", "sign_off")]
    assert await queue(conn, "olga", before, agency="oncd") == [("oncd", "nw", "sign_off")]


async def test_what_is_lacking_is_a_sign_off_then_a_countersignature_then_nothing(log: str, conn: Connection) -> None:
    story = in_review().given(SignOff("nw", "commerce", "approve"), by="cora")
    signed = story.facts[-1].position
    await tell(log, story.given(Countersign("nw", "commerce"), by="carl"))
    assert await queue(conn, "cora", signed, agency="commerce") == [("commerce", "nw", "countersignature")]
    assert await queue(conn, "cora", agency="commerce") == []


async def test_an_agency_that_asked_lacks_information(log: str, conn: Connection) -> None:
    story = in_review().given(RequestInformation("nw", "oncd", "Why?"), by="olga")
    await tell(log, story)
    assert await queue(conn, "olga", lacks="information") == [("oncd", "nw", "information")]


async def test_the_most_urgent_comes_first(log: str, conn: Connection) -> None:
    story = in_review().at("2026-07-02T14:00:00Z")
    second_request(story, id="a-later-one")
    await tell(log, story)
    assert [request for _, request, _ in await queue(conn, "olga", agency="oncd")] == ["nw", "a-later-one"]
    found = await listed(conn, "olga", agency="oncd")
    assert found[0]["due"] < found[1]["due"]
    assert found[0]["since"] == "2026-06-27T14:00:00Z"
    assert (found[0]["customer"], found[0]["tier"], found[0]["revision"]) == ("northwind", "standard", 1)


async def test_only_officers_whom_the_request_concerns_see_the_queue(log: str, conn: Connection) -> None:
    story = in_review()
    before = story.facts[-1].position
    await tell(log, story.given(Recuse("nw", "sam"), by="sue"))
    assert (
        await queue(conn, "sam")
        == await queue(conn, "sam", before)
        == await queue(conn, "bea")
        == await queue(conn, "nina")
        == []
    )
    assert len(await queue(conn, "sue")) == len(await queue(conn, "rae")) == len(await queue(conn, "ada")) == 3


async def test_nothing_is_pending_of_what_was_decided_or_not_begun(log: str, conn: Connection) -> None:
    await tell(log, in_review().given(Withdraw("nw"), by="nina"))
    assert await queue(conn, "ada") == []


async def test_the_queue_of_one_release_is_where_it_is_stuck(log: str, conn: Connection) -> None:
    await tell(log, in_review())
    found = (await pending_sign_offs.page(conn, as_("rae"), now=NOW, release="gpt-5.6")).items
    assert {item["stream"] for item in found} == {"request-nw", "release-gpt-5.6"}
    assert (await pending_sign_offs.page(conn, as_("rae"), now=NOW, release="other")).items == []


async def test_what_is_overdue_is_told_by_the_time_of_asking(log: str, conn: Connection) -> None:
    await tell(log, in_review())
    due = instant("2026-07-27T21:00:00Z")
    for now, late in ((NOW, []), (due, ["commerce", "oncd", "ostp"])):
        found = await listed(conn, "ada", now=now)
        assert sorted(item["agency"] for item in found if item["overdue"]) == late
        assert sorted(item["agency"] for item in await listed(conn, "ada", now=now, overdue=True)) == late
        assert len(await listed(conn, "ada", now=now, overdue=False)) == 3 - len(late)


async def test_a_gate_waits_for_its_agencies_behind_what_has_a_date(log: str, conn: Connection) -> None:
    await tell(log, in_review())
    found = (await pending_sign_offs.page(conn, as_("olga"), now=NOW, agency="oncd")).items
    assert [(item["stream"], item["due"], item["overdue"]) for item in found] == [
        ("request-nw", "2026-07-27T21:00:00Z", False),
        ("release-gpt-5.6", None, False),
    ]
    assert (found[1]["phase"], found[1]["release"], found[1]["act"]) == (
        "general_availability",
        "gpt-5.6",
        "SignOffPhase",
    )
    assert await gates(conn, "rae") == [(agency, "general_availability", "sign_off") for agency in ("oncd", "ostp")]
    assert await gates(conn, "cora") == await gates(conn, "nina") == []


async def test_a_gate_that_was_signed_waits_for_the_countersignature_and_then_no_more(
    log: str, conn: Connection
) -> None:
    story = preview(phases=COUNTERSIGNED_GATE).given(SignOffPhase("gpt-5.6", "open", "oncd", "approve"), by="olga")
    await tell(log, story)
    assert await gates(conn, "olga", agency="oncd") == [("oncd", "open", "countersignature")]
    assert await gates(conn, "olga", officer=officer(story, "olga")) == []
    assert await gates(conn, "omar", officer=officer(story, "omar")) == [("oncd", "open", "countersignature")]
    await tell(log, story.given(CountersignPhase("gpt-5.6", "oncd"), by="omar"))
    assert await gates(conn, "omar", agency="oncd") == []


async def test_an_officers_queue_is_what_the_rules_let_them_do(log: str, conn: Connection) -> None:
    """For everybody, office by office and lent power by lent power, against the rule book itself."""
    story = appoint(in_review(phases=COUNTERSIGNED_GATE), "ostp", "reviewer", "olga", "nina", "cleo")
    story.given(Delegate("commerce", "dora", ("SignOff", "Countersign")), by="cleo")
    story.given(Delegate("oncd", "carl", ("SignOff", "SignOffPhase", "AcceptInformation")), by="omar")
    story.given(SignOff("nw", "oncd", "approve"), by="olga").given(SignOff("nw", "commerce", "approve"), by="cleo")
    second_request(story).given(SignOff("tk", "commerce", "approve"), by="dora").given(Recuse("tk", "omar"), by="sue")
    second_request(story, id="tk2").given(RequestInformation("tk2", "oncd", "Why?"), by="olga")
    second_request(story, id="tk3").given(RequestInformation("tk3", "oncd", "Why?"), by="olga")
    story.given(ProvideInformation("tk3", 1, "So."), by="tom")
    story.given(SignOffPhase("gpt-5.6", "open", "oncd", "approve"), by="olga")
    await tell(log, story)
    everybody = {*PEOPLE, "root", "dora"}
    found, all_ = {}, (await pending_sign_offs.page(conn, as_("ada"), now=NOW)).items
    for person in everybody:
        items = (await pending_sign_offs.page(conn, as_("ada"), now=NOW, officer=officer(story, person))).items
        found[person] = {(item["stream"], item["agency"]) for item in items}
    expected = {
        person: {(i["stream"], i["agency"]) for i in all_ if may_do(deepcopy(story), person, i)} for person in everybody
    }
    assert found == expected
    assert sum(map(len, found.values())) > 20
    assert ("request-tk", "oncd") not in found["carl"] and ("request-tk", "oncd") in found["olga"]


def may_do(story: Story, person: str, item: dict[str, Any]) -> bool:
    id, agency = item["request"], item["agency"]
    acts: dict[str, Any] = {
        "SignOff": SignOff(id, agency, "approve", reason="Another reason"),
        "Countersign": Countersign(id, agency),
        "AcceptInformation": AcceptInformation(id, 1),
        "SignOffPhase": SignOffPhase(item["release"], item["phase"], agency, "approve"),
        "CountersignPhase": CountersignPhase(item["release"], agency),
    }
    acting_as = [f"{agency}/{role}" for role in ("reviewer", "countersigner", "head")]
    return item["act"] is not None and any(
        deepcopy(story).when(acts[item["act"]], by=person, acting_as=office).refusal is None for office in acting_as
    )
