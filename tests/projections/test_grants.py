"""What is read of a grant, by whom, and as of which position?"""

import pytest

from domain.errors import NotFound
from domain.grant import NotifyIntentToRevoke, SatisfyCondition, SuspendGrant
from projections import grants
from projections.pages import Asked
from tests.projections.shelf import Connection, a_full_story, approve_with_condition, as_, tell
from tests.spec import in_review, instant


async def test_a_grant_says_what_may_be_used_under_which_conditions_until_when(log: str, conn: Connection) -> None:
    await tell(log, approve_with_condition(in_review()))
    found = await grants.detail(conn, as_("olga"), "g")
    assert (found["state"], found["request"], found["tiers"]) == ("pending_conditions", "nw", ["standard"])
    assert (found["issued"], found["until"]) == ("2026-06-30T15:00:00Z", "2026-12-27T15:00:00Z")
    assert found["agencies"] == ["oncd", "ostp", "commerce"]
    (condition,) = found["conditions"]
    assert (condition["number"], condition["agency"], condition["state"]) == (1, "commerce", "open")
    assert (found["suspensions"], found["notice"], found["barred"]) == ([], None, False)


async def test_suspension_and_notice_show_and_so_does_the_time_before_them(log: str, conn: Connection) -> None:
    story = approve_with_condition(in_review()).given(SatisfyCondition("g", 1), by="cora")
    active = story.facts[-1].position
    story.given(SuspendGrant("g", "Report is late", "Secret finding"), by="cora")
    story.given(NotifyIntentToRevoke("g", "Misuse", instant("2026-08-01")), by="carl")
    await tell(log, story)
    for person in ("nina", "rae"):
        found = await grants.detail(conn, as_(person), "g")
        assert found["state"] == "suspended"
        assert found["suspensions"] == [{"organization": "commerce", "reason": "Report is late"}]
        assert found["notice"] == {"respond_by": "2026-08-01T00:00:00Z"}
        assert "Secret" not in str(found)
        assert (await grants.detail(conn, as_(person), "g", at=active))["state"] == "active"


async def test_lists_are_filtered_and_show_to_each_their_own(log: str, conn: Connection) -> None:
    await tell(log, a_full_story())

    async def ids(person: str, **filters: str) -> list[str]:
        return [item["id"] for item in (await grants.page(conn, as_(person), Asked(), **filters)).items]

    assert await ids("nina") == await ids("sue") == await ids("rae") == await ids("dean") == ["g", "g3"]
    assert await ids("nina", state="revoked") == ["g"]
    assert await ids("nina", customer="northwind", release="gpt-5.6", state="active") == ["g3"]
    assert await ids("tom") == await ids("bea") == []
    with pytest.raises(NotFound):
        await grants.detail(conn, as_("tom"), "g")
