"""Which conditions are open, whose are they, when is each due, and who may read of them?"""

from datetime import datetime
from typing import Any

from domain.grant import (
    ConcurConditionChange,
    ProposeConditionChange,
    RecordBreach,
    ReportCompliance,
    RevokeGrant,
    SatisfyCondition,
)
from domain.request import Countersign, SignOff
from domain.sign_offs import ProposedCondition
from projections import conditions
from projections.pages import Asked
from tests.projections.shelf import Connection, as_, tell
from tests.spec import Story, in_review, instant, second_request

NOW = instant("2026-07-02T00:00:00Z")
SOON, LATER, NO_DATE = (
    ProposedCondition("Appoint a contact", "precondition", 10),
    ProposedCondition("Report misuse", "ongoing", 30),
    ProposedCondition("Keep logs"),
)


def under_conditions(story: Story, id: str = "nw", grant: str = "g") -> Story:
    """Oncd wants a report within 30 days, and logs; Commerce a contact within 10 days."""
    story.at(max(story.now, instant("2026-06-30T15:00:00Z")).isoformat())
    story.given(SignOff(id, "oncd", "approve_with_conditions", (LATER, NO_DATE)), by="olga")
    story.given(SignOff(id, "ostp", "approve"), by="sam")
    story.given(SignOff(id, "commerce", "approve_with_conditions", (SOON,)), by="cora")
    return story.given(Countersign(id, "commerce"), by="carl", ids=[grant])


async def listed(
    conn: Connection, person: str = "ada", at: int | None = None, *, now: datetime = NOW, **filters: Any
) -> list[dict[str, Any]]:
    return (await conditions.page(conn, as_(person), Asked(at=at), now=now, **filters)).items


async def texts(conn: Connection, person: str = "ada", **filters: Any) -> list[str]:
    return [item["text"] for item in await listed(conn, person, **filters)]


async def test_conditions_come_in_the_order_in_which_they_are_due(log: str, conn: Connection) -> None:
    await tell(log, under_conditions(in_review()))
    found = await listed(conn)
    assert [(item["text"], item["agency"], item["kind"]) for item in found] == [
        ("Appoint a contact", "commerce", "precondition"),
        ("Report misuse", "oncd", "ongoing"),
        ("Keep logs", "oncd", "ongoing"),
    ]
    assert [item["due"] for item in found] == ["2026-07-10T21:00:00Z", "2026-07-30T21:00:00Z", None]
    assert {(item["grant"], item["customer"], item["release"]) for item in found} == {("g", "northwind", "gpt-5.6")}
    assert found[0]["grant_state"] == "pending_conditions"


async def test_what_is_overdue_is_told_by_the_time_of_asking(log: str, conn: Connection) -> None:
    await tell(log, under_conditions(in_review()))
    then = instant("2026-07-10T21:00:00Z")
    assert [item["overdue"] for item in await listed(conn, now=then)] == [True, False, False]
    assert await texts(conn, now=then, overdue=True) == ["Appoint a contact"]
    assert await texts(conn, now=then, overdue=False) == ["Report misuse", "Keep logs"]
    assert await texts(conn, overdue=True) == []


async def test_a_satisfied_or_dropped_condition_and_those_of_an_ended_grant_are_gone(
    log: str, conn: Connection
) -> None:
    story = under_conditions(in_review()).given(SatisfyCondition("g", 3), by="cora")
    satisfied = story.facts[-1].position
    story.given(ProposeConditionChange("g", 2, drop=True), by="nina").given(ConcurConditionChange("g", 2, 1), by="olga")
    dropped = story.facts[-1].position
    await tell(log, story.given(RevokeGrant("g", "Misuse", "Breach"), by="carl"))
    assert [item["number"] for item in await listed(conn, at=satisfied - 1)] == [3, 1, 2]
    assert [item["number"] for item in await listed(conn, at=satisfied)] == [1, 2]
    assert [item["number"] for item in await listed(conn, at=dropped)] == [1]
    assert await listed(conn) == []


async def test_a_broken_condition_stays_in_the_list_until_it_is_satisfied(log: str, conn: Connection) -> None:
    story = under_conditions(in_review()).given(RecordBreach("g", 1, "No report came"), by="olga")
    await tell(log, story)
    assert [(item["number"], item["breached"]) for item in await listed(conn, agency="oncd")] == [(1, True), (2, False)]
    await tell(log, story.given(SatisfyCondition("g", 1), by="olga"))
    assert [item["number"] for item in await listed(conn, agency="oncd")] == [2]


async def test_the_last_report_on_a_condition_or_on_all_is_told(log: str, conn: Connection) -> None:
    story = under_conditions(in_review()).at("2026-07-05T12:00:00Z").given(ReportCompliance("g", "Fine", 1), by="nina")
    await tell(log, story)
    reports = {item["number"]: item["last_report"] for item in await listed(conn)}
    assert reports == {1: "2026-07-05T12:00:00Z", 2: None, 3: None}
    await tell(log, story.at("2026-07-06T12:00:00Z").given(ReportCompliance("g", "All fine"), by="nina"))
    assert {item["last_report"] for item in await listed(conn)} == {"2026-07-06T12:00:00Z"}


async def test_each_sees_those_of_the_grants_they_may_read(log: str, conn: Connection) -> None:
    story = under_conditions(in_review())
    await tell(log, under_conditions(second_request(story), "tk", "g2"))
    both = ["g", "g2"]
    for person, grants in {"sue": both, "rae": both, "dean": both, "nina": ["g"], "tom": ["g2"], "bea": []}.items():
        assert sorted({item["grant"] for item in await listed(conn, person)}) == grants, person
    assert {item["customer"] for item in await listed(conn, customer="tinker")} == {"tinker"}
    assert await listed(conn, release="other") == await listed(conn, agency="ostp") == []
