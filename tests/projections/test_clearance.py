"""Does the matrix say of every cell what a gateway would be told, at every position, to whoever may know it?"""

from collections.abc import Collection
from datetime import datetime
from itertools import product
from typing import Any

import pytest

from domain.access import Use, microseconds
from domain.authority import reach
from domain.directive import IssueDirective, Uses
from domain.enforcement import Enforcement
from domain.facts import Fact
from domain.grant import RevokeGrant, SuspendGrant
from domain.organization import RegisterOrganization
from domain.policy import PublishPolicy
from domain.release import AdvancePhase, AnnounceRelease, Phase
from domain.sign_offs import Leaf
from projections import clearance
from projections.clearance import Which
from projections.pages import Asked, Page
from tests.projections.shelf import Connection, a_full_story, as_, tell
from tests.spec import Story, appoint, approve, granted, instant, second_request

CELLS = tuple(product(("northwind", "tinker"), ("gpt-5.6",), ("standard",)))


async def asked(
    conn: Connection, story: Story, person: str = "ada", at: int | None = None, *, limit: int = 50, cursor: Any = None,
    now: datetime | None = None, **which: Any,
) -> Page:  # fmt: skip
    async def facts_at(positions: Collection[int]) -> list[Fact]:
        return [story.facts[position] for position in positions]

    part, time = Asked(at, cursor, limit), now or story.now
    return await clearance.page(conn, as_(person), part, Which(**which), now=time, facts_at=facts_at)


async def nowhere(positions: Collection[int]) -> list[Fact]:
    assert not positions, "nothing is looked up for whoever sees nothing"
    return []


async def matrix(conn: Connection, story: Story, person: str = "ada", **given: Any) -> dict[tuple[str, str, str], str]:
    items = (await asked(conn, story, person, **given)).items
    return {(item["customer"], item["release"], item["tier"]): item["reason"] for item in items}


def told(story: Story, at: int, use: Use, now: datetime) -> Any:
    """What a gateway is told that has followed the log up to there."""
    enforcement = Enforcement()
    for fact in story.facts[: at + 1]:
        enforcement.take(fact)
    return enforcement.access.check(use, microseconds(now))


async def test_every_cell_is_what_a_gateway_is_told_at_every_position(log: str, conn: Connection) -> None:
    story = a_full_story()
    await tell(log, story)
    first = next(fact.position for fact in story.facts if fact.type == "ReleaseAnnounced")
    seen = set()
    for at in range(first, len(story.facts)):
        now = story.facts[at].recorded
        found = (await asked(conn, story, at=at, now=now)).items
        assert [(item["customer"], item["release"], item["tier"]) for item in found] == list(CELLS)
        for item in found:
            expected = told(story, at, Use(item["customer"], item["release"], item["tier"]), now)
            until = expected.valid_until and expected.valid_until.isoformat().replace("+00:00", "Z")
            answer = (expected.allowed, expected.reason, list(expected.because), until)
            assert (item["allowed"], item["reason"], item["because"], item["valid_until"]) == answer, at
            seen.add(item["reason"])
            for each in item["classes"]:
                use = Use(item["customer"], item["release"], item["tier"], each["person_class"])
                assert (each["allowed"], each["reason"]) == (
                    told(story, at, use, now).allowed,
                    told(story, at, use, now).reason,
                )
    assert seen >= {"phase_closed", "no_grant", "pending_conditions", "grant_suspended", "directive", "granted"}


async def test_a_cell_names_the_grants_it_rests_on(log: str, conn: Connection) -> None:
    story = granted()
    issued = story.facts[-1].position
    await tell(log, story.given(SuspendGrant("g", "Misuse"), by="cora"))
    (item,) = (await asked(conn, story, customer="northwind")).items
    assert (item["reason"], item["allowed"]) == ("grant_suspended", False)
    assert (item["grant"], item["directive"]) == ("g", None)
    assert tuple(item) == clearance.FIELDS
    assert len(story.facts) - 1 in item["because"]
    (item,) = (await asked(conn, story, customer="northwind", at=issued)).items
    assert (item["reason"], item["grant"]) == ("granted", "g")
    assert item["valid_until"] == "2026-12-27T15:00:00Z"


async def test_time_alone_changes_a_cell(log: str, conn: Connection) -> None:
    story = granted()
    await tell(log, story)
    for now, reason in (("2026-12-27T14:59:59Z", "granted"), ("2026-12-27T15:00:00Z", "grant_expired")):
        assert (await matrix(conn, story, now=instant(now)))["northwind", "gpt-5.6", "standard"] == reason


async def test_who_uses_it_matters_where_a_grant_or_a_directive_says_so(log: str, conn: Connection) -> None:
    story = granted(ask=None)
    approve(second_request(story, user_classes=("us_person",)), "tk", "g2")
    scope = Uses(releases=("gpt-5.6",), person_classes=("foreign_national",))
    story.given(IssueDirective("Letter", scope, "Danger"), by="omar", ids=["d"])
    await tell(log, story)
    (item,) = (await asked(conn, story, customer="tinker")).items
    assert (item["reason"], item["directive"]) == ("directive", "d"), "whoever is of no known class may be of that one"
    assert {each["person_class"]: each["reason"] for each in item["classes"]} == {
        "foreign_national": "directive",
        "us_person": "granted",
    }
    (item,) = (await asked(conn, story, customer="tinker", person_class="us_person")).items
    assert (item["reason"], item["person_class"], item["classes"]) == ("granted", "us_person", [])


async def test_cells_are_filtered_by_what_is_asked_and_by_the_answer(log: str, conn: Connection) -> None:
    story = granted()
    await tell(log, story)
    northwind, tinker = CELLS
    assert await matrix(conn, story, reason="no_grant") == {tinker: "no_grant"}
    assert await matrix(conn, story, allowed=True) == {northwind: "granted"}
    assert await matrix(conn, story, allowed=False, customer="northwind") == {}
    assert await matrix(conn, story, release="other") == await matrix(conn, story, provider="other") == {}
    assert len(await matrix(conn, story, provider="openai")) == 2


async def test_pages_hold_every_customer_once_and_a_filter_looks_on(log: str, conn: Connection) -> None:
    story = granted()
    names = [f"customer-{nth}" for nth in range(7)]
    story.given(*(RegisterOrganization(name, "customer", name, "US", "small") for name in names))
    await tell(log, story)
    found: list[str] = []
    page = await asked(conn, story, limit=2)
    while True:
        found += [item["customer"] for item in page.items]
        if page.next is None:
            break
        page = await asked(conn, story, limit=2, cursor=page.next)
    assert found == [*names, "northwind", "tinker"]
    (item,) = (await asked(conn, story, limit=2, allowed=True)).items
    assert item["customer"] == "northwind"


async def test_each_sees_the_cells_that_concern_them(log: str, conn: Connection) -> None:
    """A rival's release is reviewed by bis alone; officers of the others learn nothing of who may use it."""
    story = granted()
    story.given(RegisterOrganization("rival", "provider", "Rival", "US"))
    appoint(story, "rival", "release_manager", "ruth")
    story.given(PublishPolicy("bis-only", "An order", Leaf("bis")))
    rollout = (Phase("preview", "granted"), Phase("open", "open"))
    story.given(AnnounceRelease("r-1", "rival", "R1", ("small", "big"), "bis-only", "low", rollout), by="ruth")
    await tell(log, story)

    async def cells(person: str) -> set[tuple[str, str]]:
        return {(customer, release) for customer, release, _ in await matrix(conn, story, person)}

    both = {"northwind", "tinker"}
    assert await cells("ada") == await cells("rita") == set(product(both, {"gpt-5.6", "r-1"}))
    assert await cells("sue") == await cells("rae") == set(product(both, {"gpt-5.6"}))
    assert await cells("bea") == set(product(both, {"r-1"}))
    assert await cells("nina") == set(product({"northwind"}, {"gpt-5.6", "r-1"}))
    assert await cells("tom") == set(product({"tinker"}, {"gpt-5.6", "r-1"}))
    assert (
        await clearance.page(conn, reach("root", ()), Asked(), Which(), now=story.now, facts_at=nowhere)
    ).items == []
    assert len(await matrix(conn, story)) == 2 * (1 + 2), "each tier is a cell"


async def test_a_grant_that_a_reader_may_not_see_hides_the_answer_that_rests_on_it(log: str, conn: Connection) -> None:
    """Bis comes into the policy after the grant was given: the release concerns it, that grant does not."""
    story = granted().given(PublishPolicy("frontier-preview", "Another order", Leaf("bis")))
    await tell(log, story.given(RevokeGrant("g", "Misuse", "Breach", bar=True), by="carl"))
    assert await matrix(conn, story, "bea") == {("tinker", "gpt-5.6", "standard"): "no_grant"}
    assert (await matrix(conn, story, "cora"))["northwind", "gpt-5.6", "standard"] == "barred"


@pytest.mark.parametrize("at", [-1, 0])
async def test_before_anything_was_announced_there_is_no_cell(log: str, conn: Connection, at: int) -> None:
    story = granted()
    await tell(log, story)
    assert await matrix(conn, story, at=at) == {}


async def test_what_is_open_to_all_is_open_without_a_grant(log: str, conn: Connection) -> None:
    story = granted(phases=(Phase("closed", "closed"), Phase("preview", "granted"), Phase("open", "open")))
    await tell(log, story.given(AdvancePhase("gpt-5.6", "open"), by="rae"))
    assert set((await matrix(conn, story)).values()) == {"open_phase"}
