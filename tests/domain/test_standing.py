"""Is what the world remembers of a person's standing, at any time, what it would find if it looked again?"""

from datetime import datetime, timedelta
from itertools import product

import pytest

from domain.authority import Standing, standing
from domain.organization import Appoint, Delegate, EndAppointment, EndDelegation
from domain.world import World
from tests.spec import Story, cast, instant

TURNS = tuple(
    instant(turn) for turn in ("2026-06-20", "2026-07-01", "2026-07-03", "2026-07-08", "2026-07-10", "2026-07-20")
)
"""Before each of these, and at it, somebody of the story below comes to hold something or ceases to."""

TIMES = tuple(turn + late for turn in TURNS for late in (timedelta(microseconds=-1), timedelta(0), timedelta(hours=1)))
PEOPLE = ("omar", "olga", "dana", "nobody")


def of(story: Story, person: str, now: datetime, standings: dict[str, Standing]) -> Standing:
    base = story.world()
    return standing(World(base.stream, base.organizations_of, lambda name: None, 0, now, standings), person, now)  # type: ignore[arg-type, return-value]


def terms() -> Story:
    """Dana is reviewer for nine days. From the third on she may use the power of Omar, who is head for eight."""
    story = cast("2026-06-19T13:00:00Z").given(EndAppointment("oncd", "omar", "head"))
    story.given(Appoint("oncd", "omar", "head", TURNS[0], TURNS[3]))
    story.given(Appoint("oncd", "dana", "reviewer", TURNS[1], TURNS[4]))
    story.at("2026-06-20T13:00:00Z")
    return story.given(Delegate("oncd", "dana", ("SignOff",), TURNS[2], TURNS[5]), by="omar")


@pytest.mark.parametrize("person", PEOPLE)
def test_it_is_the_same_at_every_time_whatever_was_asked_before(person: str) -> None:
    story = terms()
    for before, now in product(TIMES, TIMES):
        standings: dict[str, Standing] = {}
        of(story, person, before, standings)
        remembered, anew = of(story, person, now, standings), of(story, person, now, {})
        assert (remembered.offices, remembered.reach) == (anew.offices, anew.reach), f"{before} {now}"


def test_it_is_looked_up_again_only_when_it_may_be_another() -> None:
    story, standings = terms(), dict[str, Standing]()
    first = of(story, "dana", TURNS[2], standings)
    assert [(o.role, o.via) for o in first.offices] == [("reviewer", ()), ("head", ("omar",))]
    assert of(story, "dana", TURNS[3] - timedelta(microseconds=1), standings) is first
    second = of(story, "dana", TURNS[3], standings)
    assert [(o.role, o.via) for o in second.offices] == [("reviewer", ())]
    assert of(story, "dana", TURNS[3], standings) is second


def test_a_changed_organization_changes_it_at_once() -> None:
    story, standings = terms(), dict[str, Standing]()
    assert len(of(story, "dana", TURNS[2], standings).offices) == 2
    story.given(EndDelegation("oncd", 1), by="omar")
    assert len(of(story, "dana", TURNS[2], standings).offices) == 1
    story.given(Appoint("oncd", "dana", "head", TURNS[0]))
    assert [o.role for o in of(story, "dana", TURNS[2], standings).offices] == ["reviewer", "head"]


def test_of_a_stranger_nothing_is_remembered() -> None:
    standings: dict[str, Standing] = {}
    assert of(terms(), "nobody", TURNS[0], standings).offices == ()
    assert standings == {}
