"""Where does each release stand, and does the board name exactly what the rules find missing for its next phase?"""

from datetime import datetime
from typing import Any

import pytest

from domain.release import (
    AdvancePhase,
    CloseIncident,
    CountersignPhase,
    OpenIncident,
    Phase,
    ResumeRollout,
    SignOffPhase,
    WithdrawRelease,
)
from domain.sign_offs import AllOf, Leaf
from projections import releases, rollout
from projections.pages import Asked
from tests.projections.shelf import Connection, as_, tell
from tests.spec import Story, approve, granted, instant, preview, second_request

PHASES = (
    Phase("announced", "closed"),
    Phase("preview", "granted", customer_cap=5),
    Phase("open", "open", 14, 7, gate=AllOf((Leaf("oncd", countersign=True), Leaf("ostp", quorum=2))), customer_cap=1),
)


async def board(conn: Connection, person: str = "ada", at: int | None = None, **given: Any) -> list[dict[str, Any]]:
    return (await rollout.page(conn, as_(person), Asked(at=at), **given)).items


async def one(conn: Connection, now: str, person: str = "ada", at: int | None = None) -> dict[str, Any]:
    (found,) = await board(conn, person, at, now=instant(now))
    return found


async def test_days_in_a_phase_pass_without_any_event(log: str, conn: Connection) -> None:
    await tell(log, preview(phases=PHASES))
    found = await one(conn, "2026-07-01T15:00:00Z")
    assert (found["phase"], found["access"]) == ("preview", "granted")
    assert (found["since"], found["days_in_phase"]) == ("2026-06-26T15:00:00Z", 5)
    assert [(each["name"], each["state"]) for each in found["phases"]] == [
        ("announced", "past"),
        ("preview", "current"),
        ("open", "coming"),
    ]
    coming = found["next_phase"]
    assert (coming["name"], coming["min_days"], coming["days_left"]) == ("open", 14, 9)
    assert coming["not_before"] == "2026-07-10T15:00:00Z"
    assert (await one(conn, "2026-07-10T14:59:59Z"))["next_phase"]["days_left"] == 1
    assert (await one(conn, "2026-07-10T15:00:00Z"))["next_phase"]["days_left"] == 0


async def test_a_gate_shows_who_signed_and_who_is_missing(log: str, conn: Connection) -> None:
    story = preview(phases=PHASES).given(SignOffPhase("gpt-5.6", "open", "oncd", "approve"), by="olga")
    story.given(SignOffPhase("gpt-5.6", "open", "ostp", "approve"), by="sam")
    await tell(log, story)
    gate = (await one(conn, "2026-07-01T15:00:00Z"))["next_phase"]["gate"]
    assert [(leaf["agency"], leaf["state"], leaf["lacks"]) for leaf in gate] == [
        ("oncd", "waits", "countersignature"),
        ("ostp", "waits", "sign_off"),
    ]
    assert gate[0]["signed"] == [{"person": "olga", "position": "approve", "countersigned_by": None}]
    await tell(log, story.given(CountersignPhase("gpt-5.6", "oncd"), by="omar"))
    gate = (await one(conn, "2026-07-01T15:00:00Z"))["next_phase"]["gate"]
    assert (gate[0]["state"], gate[0]["signed"][0]["countersigned_by"]) == ("approves", "omar")


async def test_holds_incidents_and_places_are_told(log: str, conn: Connection) -> None:
    story = granted(phases=PHASES).at("2026-07-07T15:00:00Z")
    story.given(OpenIncident("gpt-5.6", "low", "Odd"), OpenIncident("gpt-5.6", "high", "A chain"), by="rae")
    await tell(log, story)
    found = await one(conn, "2026-07-09T16:00:00Z")
    assert (found["customer_cap"], found["admitted"], found["places_left"]) == (5, 1, 4)
    assert found["holds"] == ["openai"]
    assert [(each["number"], each["at_threshold"], each["days_open"]) for each in found["incidents"]] == [
        (1, False, 2),
        (2, True, 2),
    ]
    story.at("2026-07-10T15:00:00Z").given(CloseIncident("gpt-5.6", 2, "Fixed"), ResumeRollout("gpt-5.6"), by="rae")
    await tell(log, story)
    found = await one(conn, "2026-07-12T16:00:00Z")
    assert [each["number"] for each in found["incidents"]] == [1]
    assert (found["next_phase"]["quiet_days"], found["next_phase"]["quiet_days_left"]) == (7, 5)


def many_hindrances() -> Story:
    """Two customers where the next phase takes one, an unsigned gate, incidents that come and go."""
    story = granted(phases=PHASES)
    approve(second_request(story), "tk", "g2")
    story.at("2026-07-03T15:00:00Z").given(OpenIncident("gpt-5.6", "critical", "A chain"), by="rae")
    story.at("2026-07-05T15:00:00Z").given(CloseIncident("gpt-5.6", 1, "Fixed"), by="rae")
    story.at("2026-07-06T15:00:00Z").given(ResumeRollout("gpt-5.6"), by="rae")
    story.given(SignOffPhase("gpt-5.6", "open", "oncd", "refuse", "No"), by="olga")
    return story.given(SignOffPhase("gpt-5.6", "open", "ostp", "approve"), by="sam")


@pytest.mark.parametrize("now", ["2026-07-06T15:00:00Z", "2026-07-10T14:00:00Z", "2026-07-30T00:00:00Z"])
async def test_the_board_names_what_the_rule_would_refuse_first(log: str, conn: Connection, now: str) -> None:
    story = many_hindrances()
    await tell(log, story)
    coming = (await one(conn, now))["next_phase"]
    refusal = story.at(now).when(AdvancePhase("gpt-5.6", "open"), by="rae").refusal
    assert refusal is not None
    first = coming["hindrances"][0]
    assert (first["rule"], first["detail"], tuple(first["missing"])) == (refusal.rule, refusal.detail, refusal.missing)
    assert not coming["may_begin"]
    assert [piece for each in coming["hindrances"] for piece in each["missing"]][-4:] == [
        "sign-off of oncd",
        "sign-off of ostp",
        "another position of oncd",
        "1 customers fewer",
    ]


async def test_what_hindered_then_is_told_of_then(log: str, conn: Connection) -> None:
    story = many_hindrances()
    held = next(fact.position for fact in story.facts if fact.type == "RolloutHeld")
    await tell(log, story)
    then = await one(conn, "2026-07-03T15:00:00Z", at=held)
    assert [each["missing"] for each in then["next_phase"]["hindrances"]][:2] == [
        ["resumption by openai"],
        ["closure of incident 1"],
    ]
    assert then["next_phase"]["gate"][0]["signed"] == []


async def test_a_release_that_may_go_on_goes_on_and_one_at_its_end_or_withdrawn_has_no_next_phase(
    log: str, conn: Connection
) -> None:
    story = preview(phases=(*PHASES[:2], Phase("open", "open")))
    await tell(log, story)
    coming = (await one(conn, "2026-06-27T00:00:00Z"))["next_phase"]
    assert (coming["may_begin"], coming["hindrances"], coming["gate"]) == (True, [], [])
    await tell(log, story.given(AdvancePhase("gpt-5.6", "open"), by="rae"))
    assert (await one(conn, "2026-06-27T00:00:00Z"))["next_phase"] is None
    await tell(log, story.given(WithdrawRelease("gpt-5.6", "Over"), by="rae"))
    assert (await one(conn, "2026-06-27T00:00:00Z"))["withdrawn"]


async def test_applicants_see_the_phase_and_nothing_of_gates_holds_or_incidents(log: str, conn: Connection) -> None:
    await tell(log, many_hindrances())
    found = await one(conn, "2026-07-06T15:00:00Z", "nina")
    assert found["next_phase"] == {"name": "open", "access": "open"}
    assert {"incidents", "holds", "admitted"}.isdisjoint(found)
    assert (found["phase"], found["days_in_phase"]) == ("preview", 10)


async def test_releases_are_filtered_and_nobody_learns_of_holds_by_a_filter(log: str, conn: Connection) -> None:
    story = granted(phases=PHASES).given(OpenIncident("gpt-5.6", "high", "A chain"), by="rae")
    await tell(log, story)
    now: datetime = story.now

    async def found(person: str, **filters: Any) -> int:
        return len(await board(conn, person, now=now, **filters))

    assert await found("ada", provider="openai", phase="preview", held=True) == 1
    assert await found("ada", held=False) == await found("ada", provider="rival") == await found("nina", held=True) == 0
    assert await found("nina", held=False) == 1


async def test_every_field_is_named_in_order(log: str, conn: Connection) -> None:
    await tell(log, preview(phases=PHASES))
    for person, hidden in (("ada", frozenset()), ("nina", rollout.FOR_OFFICERS)):
        found = await one(conn, "2026-07-01T15:00:00Z", person)
        assert set(found) == set(rollout.FIELDS) - hidden


async def test_a_releases_document_holds_what_its_state_is_made_of(log: str, conn: Connection) -> None:
    story = many_hindrances()
    await tell(log, story)
    here = story.state("release-gpt-5.6")
    made = rollout.state_of(await releases.detail(conn, as_("ada"), "gpt-5.6"))
    assert (made.phases, made.incidents, made.holds, made.current) == (
        here.phases,
        here.incidents,
        here.holds,
        here.current,
    )
    assert made.sheet == here.sheet and made.quiet_since == here.quiet_since
