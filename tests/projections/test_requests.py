"""What do officers, applicants, the recused and strangers read of a request, now and as of a position?"""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import NotFound
from domain.facts import Fact
from domain.organization import Appoint
from domain.request import Countersign, DraftRequest, Escalate, ProvideInformation, Recuse, RequestInformation, SignOff
from domain.sign_offs import ProposedCondition
from projections import requests
from projections.pages import Asked
from tests.projections.shelf import Connection, a_full_story, as_, tell
from tests.spec import Story, in_review, preview, second_request

FOR_OFFICERS_ONLY = {"dues", "sign_offs", "deemed", "overruled", "recused"}


def half_signed() -> Story:
    condition = ProposedCondition("Report misuse within 24 hours")
    story = in_review().at("2026-06-28T14:00:00Z")
    story.given(SignOff("nw", "commerce", "approve_with_conditions", (condition,), "Fine", "Weak case"), by="cora")
    return story.given(SignOff("nw", "oncd", "approve"), by="olga")


async def ids(conn: Connection, person: str, at: int | None = None, **filters: str) -> list[str]:
    return [item["id"] for item in (await requests.page(conn, as_(person), Asked(at=at), **filters)).items]


def position_of(story: Story, type_: str, stream: str) -> int:
    return next(fact.position for fact in story.facts if (fact.type, fact.stream) == (type_, stream))


async def test_an_officer_reads_who_signed_and_who_must_still(log: str, conn: Connection) -> None:
    story = half_signed()
    await tell(log, story)
    found = await requests.detail(conn, as_("sam"), "nw")
    assert found["state"] == "in_review"
    assert found["waiting_on"] == ["ostp", "commerce"]
    assert [(s["agency"], s["person"], s["position"], s["countersigned_by"]) for s in found["sign_offs"]] == [
        ("commerce", "cora", "approve_with_conditions", None),
        ("oncd", "olga", "approve", None),
    ]
    assert found["sign_offs"][0]["conditions"][0]["text"] == "Report misuse within 24 hours"
    assert set(found["dues"]) == {"oncd", "ostp", "commerce"}
    assert found["sign_off_tree"]["all_of"][2]["countersign"] is True
    assert (found["policy"], found["policy_version"], found["revision"]) == ("frontier-preview", 1, 1)
    assert found["version"] == story.facts[-1].version
    assert found["position"] == story.facts[-1].position


async def test_times_are_written_as_the_log_writes_them(log: str, conn: Connection) -> None:
    await tell(log, in_review())
    found = await requests.detail(conn, as_("sam"), "nw")
    assert found["registered"] == "2026-06-27T14:00:00Z"
    assert datetime.fromisoformat(found["due"]) == datetime(2026, 7, 27, 21, tzinfo=UTC)


async def test_an_applicant_never_sees_the_deliberations(log: str, conn: Connection) -> None:
    await tell(log, half_signed())
    found = await requests.detail(conn, as_("nina"), "nw")
    assert FOR_OFFICERS_ONLY.isdisjoint(found)
    assert (found["state"], found["waiting_on"]) == ("in_review", ["agencies"])
    for secret in ("cora", "olga", "Weak case", "Report misuse"):
        assert secret not in str(found)


async def test_an_applicants_version_and_position_count_only_what_they_see(log: str, conn: Connection) -> None:
    story = in_review()
    seen = story.facts[-1].position
    story.given(SignOff("nw", "oncd", "approve"), by="olga").given(Escalate("nw", "They disagree"), by="omar")
    await tell(log, story)
    found = await requests.detail(conn, as_("nina"), "nw")
    assert (found["version"], found["position"], found["state"]) == (
        story.streams["request-nw"].applicant_version,
        seen,
        "in_review",
    )
    assert (await requests.detail(conn, as_("omar"), "nw"))["state"] == "escalated"
    assert await ids(conn, "nina", waiting_on="decider") == []


@pytest.mark.parametrize("person", ["tom", "bea"])
async def test_strangers_find_nothing(log: str, conn: Connection, person: str) -> None:
    await tell(log, half_signed())
    assert await ids(conn, person) == []
    with pytest.raises(NotFound):
        await requests.detail(conn, as_(person), "nw")


@pytest.mark.parametrize("person", ["olga", "sue", "carl", "rae", "rita", "dean", "ada", "nina"])
async def test_agencies_of_the_tree_provider_registrar_decider_auditor_and_customer_find_it(
    log: str, conn: Connection, person: str
) -> None:
    await tell(log, half_signed())
    assert await ids(conn, person) == ["nw"]


async def test_a_draft_concerns_nobody_but_its_customer(log: str, conn: Connection) -> None:
    draft = DraftRequest("tinker", "gpt-5.6", "A sketch", draft=True)
    await tell(log, preview().given(draft, by="tom", ids=["tk"]))
    found = await requests.detail(conn, as_("tom"), "tk")
    assert (found["state"], found["waiting_on"], found["policy"]) == ("draft", ["applicant"], None)
    assert await ids(conn, "olga") == await ids(conn, "rae") == await ids(conn, "nina") == []


async def test_a_recused_person_reads_neither_the_request_nor_its_past(log: str, conn: Connection) -> None:
    story = half_signed()
    before = story.facts[-1].position
    await tell(log, story.given(Recuse("nw", "sam"), by="sue"))
    assert await ids(conn, "sam") == []
    with pytest.raises(NotFound):
        await requests.detail(conn, as_("sam"), "nw")
    assert await ids(conn, "sam", at=before) == []
    assert await ids(conn, "sue") == ["nw"]


async def test_a_recused_person_is_kept_from_the_customers_view_as_well(log: str, conn: Connection) -> None:
    story = half_signed().given(Appoint("northwind", "sam", "applicant")).given(Recuse("nw", "sam"), by="sue")
    await tell(log, story)
    both = as_("sam")
    own_too = type(both)("sam", None, both.full, frozenset({"northwind"}))
    assert (await requests.page(conn, own_too)).items == []


async def test_a_person_of_agency_and_customer_sees_each_request_once_and_in_full(log: str, conn: Connection) -> None:
    await tell(log, half_signed())
    both = type(as_("olga"))("olga", None, frozenset({"oncd"}), frozenset({"northwind"}))
    found = (await requests.page(conn, both)).items
    assert len(found) == 1
    assert "sign_offs" in found[0]


async def test_filters_are_joined(log: str, conn: Connection) -> None:
    await tell(log, a_full_story())
    assert await ids(conn, "ada") == ["nw", "nw2", "nw3", "tk", "tk2"]
    assert await ids(conn, "ada", customer="tinker") == ["tk", "tk2"]
    assert await ids(conn, "ada", customer="northwind", state="approved") == ["nw", "nw3"]
    assert await ids(conn, "ada", waiting_on="decider") == ["nw2"]
    assert await ids(conn, "ada", waiting_on="ostp") == ["tk"]
    assert await ids(conn, "ada", release="gpt-5.6", state="draft") == ["tk2"]
    assert await ids(conn, "ada", release="other") == []
    assert await ids(conn, "nina") == ["nw", "nw2", "nw3"]
    assert await ids(conn, "olga") == ["nw", "nw2", "nw3", "tk"]


async def test_whom_a_request_waits_for_at_each_step(log: str, conn: Connection) -> None:
    story = preview().given(DraftRequest("tinker", "gpt-5.6", "Tools", draft=True), by="tom", ids=["a"])
    story.given(DraftRequest("tinker", "gpt-5.6", "Tools"), by="tom", ids=["b"])
    second_request(story, id="c")
    second_request(story, id="d").given(RequestInformation("d", "oncd", "Why?"), by="olga")
    second_request(story, id="e").given(Escalate("e", "Stuck"), by="omar")
    second_request(story, id="f").given(SignOff("f", "oncd", "refuse"), by="olga")
    await tell(log, story)
    found = {item["id"]: item["waiting_on"] for item in (await requests.page(conn, as_("ada"))).items}
    assert found == {
        "a": ["applicant"],
        "b": ["registrar"],
        "c": ["oncd", "ostp", "commerce"],
        "d": ["applicant"],
        "e": ["decider"],
        "f": [],
    }
    for id, shown in (("c", ["agencies"]), ("d", ["applicant"]), ("e", ["agencies"]), ("f", [])):
        assert (await requests.detail(conn, as_("tom"), id))["waiting_on"] == shown


async def test_questions_are_open_then_answered_then_accepted(log: str, conn: Connection) -> None:
    story = in_review().at("2026-07-01T15:00:00Z").given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    asked = story.facts[-1].position
    await tell(log, story.at("2026-07-03T15:00:00Z").given(ProvideInformation("nw", 1, "We."), by="nina"))
    (question,) = (await requests.detail(conn, as_("olga"), "nw"))["questions"]
    assert (question["state"], question["answer"]) == ("answered", "We.")
    found = await requests.detail(conn, as_("nina"), "nw", at=asked)
    assert (found["questions"][0]["state"], found["state"]) == ("open", "on_hold")


async def test_every_document_of_the_past_is_what_it_was(log: str, conn: Connection) -> None:
    """Told fact by fact, asked afterwards: as of each position, each reader finds what they found then."""
    story = half_signed().given(SignOff("nw", "ostp", "approve"), by="sam")
    story.given(Countersign("nw", "commerce"), by="carl", ids=["g"])
    facts, told = story.facts, Story()
    first = position_of(story, "RequestSubmitted", "request-nw")
    then: dict[tuple[int, str], Any] = {}
    for size in range(first + 1, len(facts) + 1):
        told.facts = _until(facts, size)
        await tell(log, told)
        for person in ("olga", "nina", "ada"):
            then[size - 1, person] = await requests.detail(conn, as_(person), "nw")
    for (position, person), document in then.items():
        assert await requests.detail(conn, as_(person), "nw", at=position) == document
        listed = (await requests.page(conn, as_(person), Asked(at=position), state=document["state"])).items
        assert listed == [document]
    assert await ids(conn, "ada", at=first - 1) == []


def _until(facts: list[Fact], size: int) -> list[Fact]:
    return facts[:size]
