"""Is what a person did listed and counted from the log, for themselves, their head and auditors, and nobody else?"""

from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest

from domain.authority import Reach
from domain.errors import Malformed
from domain.facts import SYSTEM, Fact
from domain.organization import Appoint, Delegate
from domain.request import AmendRequest, Changes, Recuse, RequestInformation, SignOff
from projections import activity, activity_counts
from projections.activity import Acting, Seat
from projections.pages import NOW, Asked, Page
from tests.projections.shelf import Connection, a_full_story, as_, tell
from tests.spec import PEOPLE, Story, in_review, second_request

AUDITOR = as_("ada")


def seat(person: str) -> Seat:
    organization, role = PEOPLE[person]
    return Seat(frozenset({organization}), frozenset({organization} if role == "head" else ()))


async def page(conn: Connection, story: Story, reader: str, person: str, asked: Asked = NOW, **which: Any) -> Page:
    async def facts_at(positions: Collection[int]) -> list[Fact]:
        return [story.facts[position] for position in sorted(positions)]

    return await activity.page(conn, as_(reader), seat(reader), asked, Acting(person, **which), facts_at=facts_at)


async def positions(conn: Connection, story: Story, reader: str, person: str, **which: Any) -> list[int]:
    found = (await page(conn, story, reader, person, Asked(limit=200), **which)).items
    return [item["position"] for item in found]


def did(story: Story, person: str, organization: str = "") -> list[Fact]:
    """The facts of the log that are a person's acts, the latest first."""
    mine = [f for f in story.facts if f.by.person == person and f.by.role != SYSTEM.role]
    return [fact for fact in reversed(mine) if organization in ("", fact.by.organization)]


async def test_auditors_see_all_that_anybody_did_and_nothing_that_time_did(log: str, conn: Connection) -> None:
    story = a_full_story()
    await tell(log, story)
    for person in [*PEOPLE, "root"]:
        assert await positions(conn, story, "ada", person) == [fact.position for fact in did(story, person)]
    assert await positions(conn, story, "ada", "system") == []


async def test_an_act_is_told_with_its_place_its_words_and_by_whose_power(log: str, conn: Connection) -> None:
    story = in_review().given(Delegate("oncd", "dora", ("SignOff",)), by="omar")
    story.given(SignOff("nw", "oncd", "approve"), by="dora")
    await tell(log, story)
    (item,) = (await page(conn, story, "omar", "dora")).items
    assert tuple(item) == activity.FIELDS
    assert (item["stream"], item["type"], item["organization"], item["role"], item["via"]) == (
        "request-nw",
        "AgencySignedOff",
        "oncd",
        "head",
        ["omar"],
    )
    assert item["text"] == "Dora (head, oncd, for omar) approved revision 1 for oncd."
    assert item["position"] == len(story.facts) - 1


async def test_pages_hold_every_act_once_the_latest_first(log: str, conn: Connection) -> None:
    story = a_full_story()
    await tell(log, story)
    found, asked = [], Asked(limit=3)
    while True:
        part = await page(conn, story, "ada", "root", asked)
        found += [item["position"] for item in part.items]
        if part.next is None:
            break
        asked = Asked(cursor=part.next, limit=3)
    assert found == [fact.position for fact in did(story, "root")]
    with pytest.raises(Malformed):
        await page(conn, story, "ada", "root", Asked(cursor="soon"))


async def test_everybody_reads_of_their_own_acts_and_heads_of_those_for_their_agency(
    log: str, conn: Connection
) -> None:
    story = a_full_story()
    await tell(log, story)
    theirs = [fact.position for fact in did(story, "olga")]
    assert await positions(conn, story, "olga", "olga") == await positions(conn, story, "omar", "olga") == theirs
    for nobody in ("sam", "sue", "rae", "rita", "dean", "nina", "bea"):
        assert await positions(conn, story, nobody, "olga") == []


async def test_a_head_sees_what_was_done_for_their_agency_alone(log: str, conn: Connection) -> None:
    story = second_request(in_review()).given(Appoint("ostp", "olga", "reviewer"))
    story.given(SignOff("nw", "oncd", "approve"), by="olga", acting_as="oncd/reviewer")
    story.given(SignOff("tk", "ostp", "approve"), by="olga", acting_as="ostp/reviewer")
    await tell(log, story)
    assert await positions(conn, story, "omar", "olga") == [f.position for f in did(story, "olga", "oncd")]
    assert await positions(conn, story, "sue", "olga") == [f.position for f in did(story, "olga", "ostp")]
    assert len(await positions(conn, story, "ada", "olga")) == 2


async def test_nobody_is_shown_a_request_from_which_they_are_recused(log: str, conn: Connection) -> None:
    story = second_request(in_review()).given(SignOff("nw", "oncd", "approve"), by="olga")
    story.given(SignOff("tk", "oncd", "approve"), by="olga").given(Recuse("nw", "olga", "Kin"), by="omar")
    before = len(story.facts) - 2
    await tell(log, story)
    for asked in (Asked(), Asked(at=before)):
        assert [item["stream"] for item in (await page(conn, story, "olga", "olga", asked)).items] == ["request-tk"]
    assert len(await positions(conn, story, "omar", "olga")) == 2


async def test_an_applicants_own_acts_tell_nothing_of_what_followed_among_agencies(log: str, conn: Connection) -> None:
    story = in_review().given(SignOff("nw", "oncd", "approve"), by="olga")
    story.given(AmendRequest("nw", Changes(use="Fraud analysis and credit scoring")), by="nina")
    assert "SignOffVoided" in [fact.type for fact in did(story, "nina")]
    await tell(log, story)
    found = (await page(conn, story, "nina", "nina")).items
    assert "RequestAmended" in [item["type"] for item in found]
    assert "SignOffVoided" not in [item["type"] for item in found] and {item["cause"] for item in found} == {None}
    counted = await activity_counts.page(conn, as_("nina"), seat("nina"), Asked(), Acting("nina"))
    assert "SignOffVoided" not in [item["type"] for item in counted.items]


async def test_acts_are_filtered_and_read_as_of_a_position(log: str, conn: Connection) -> None:
    story = a_full_story()
    await tell(log, story)
    theirs = did(story, "cora")
    one = theirs[1]
    assert await positions(conn, story, "ada", "cora", stream=one.stream, type=one.type) == [
        fact.position for fact in theirs if (fact.stream, fact.type) == (one.stream, one.type)
    ]
    assert await positions(conn, story, "ada", "cora", first=one.position, last=one.position) == [one.position]
    assert await positions(conn, story, "ada", "cora", organization="oncd") == []
    then = (await page(conn, story, "ada", "cora", Asked(at=one.position))).items
    assert then[0]["position"] == one.position


async def test_counts_are_those_of_the_acts_that_are_listed(log: str, conn: Connection) -> None:
    story = a_full_story().given(RequestInformation("nw2", "oncd", "Why?"), by="olga")
    await tell(log, story)
    for person in ("olga", "cora", "nina", "root"):
        facts = did(story, person)
        found = (await activity_counts.page(conn, AUDITOR, Seat(), Asked(), Acting(person))).items
        assert {item["type"]: item["count"] for item in found} == Counter(fact.type for fact in facts)
        assert max(item["last"] for item in found) == facts[0].position
        assert min(item["first"] for item in found) == facts[-1].position
    half = did(story, "root")[5].position
    part = (await activity_counts.page(conn, AUDITOR, Seat(), Asked(), Acting("root", first=half))).items
    assert sum(item["count"] for item in part) == 6


async def test_whoever_holds_no_office_any_more_reads_no_act_of_theirs(log: str, conn: Connection) -> None:
    story = in_review()
    await tell(log, story)
    former = Reach("root", None, frozenset(), frozenset())
    assert (await activity_counts.page(conn, former, Seat(), Asked(), Acting("root"))).items == []
