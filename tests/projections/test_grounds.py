"""Is of grants alike the last to end enough for every answer, and does the index find it, at any position?"""

from datetime import timedelta
from itertools import product

from hypothesis import given, settings

from domain import grant
from domain.access import Answer, Use, microseconds
from domain.enforcement import Enforcement
from domain.grant import AmendGrant, SurrenderGrant, SuspendGrant
from domain.world import EMPTY, Stream, fold
from projections import grounds, pages
from tests.domain.test_properties import ACTS, QUICK, play
from tests.projections.shelf import Connection, tell
from tests.spec import Story, approve, granted, instant, second_request

CUSTOMERS, RELEASES = ("northwind", "tinker"), ("gpt-5.6",)


def several_grants() -> Story:
    """Of northwind: `g`, `g2`, and `g3` until August alone, `g4` suspended, `g5` given back; of tinker one."""
    story = granted()
    for nth in range(2, 6):
        story.at(f"2026-07-0{nth}T15:00:00Z")
        approve(second_request(story, "northwind", "nina", f"nw{nth}"), f"nw{nth}", f"g{nth}")
    story.given(AmendGrant("g3", "Less", until=instant("2026-08-01")), by="carl")
    story.given(SuspendGrant("g4", "Misuse"), by="cora").given(SurrenderGrant("g5"), by="nina")
    return approve(second_request(story), "tk", "gt")


def chosen(story: Story, at: int) -> set[str]:
    """Of the grants as of a position: of each kind the one that ends last."""
    last: dict[tuple[str, ...], tuple[object, ...]] = {}
    for name, stream in streams_at(story, at).items():
        for customer, release, alike, ends, id in grounds.rows(name, "full", stream):
            kind = (customer, release, alike)
            if kind not in last or ends > last[kind][0]:  # type: ignore[operator]
                last[kind] = (ends, id)
    return {str(id) for _, id in last.values()}


def streams_at(story: Story, at: int) -> dict[str, Stream]:
    """The grants' streams, by name."""
    found: dict[str, Stream] = {}
    for fact in story.facts[: at + 1]:
        if fact.stream.startswith("grant-"):
            found[fact.stream] = fold(found.get(fact.stream, EMPTY), fact, grant.evolve)
    return dict(sorted(found.items()))


async def counting(conn: Connection, at: int) -> list[str]:
    async with pages.snapshot(conn):
        live = (await pages.lives(conn, [grounds.TABLE]))[grounds.TABLE.name]
        return sorted(await grounds.grants_that_count(conn, live, CUSTOMERS, RELEASES, at))


async def test_the_index_finds_of_grants_alike_the_last_to_end_as_of_any_position(log: str, conn: Connection) -> None:
    story = several_grants()
    await tell(log, story)
    for at in range(len(story.facts)):
        assert await counting(conn, at) == sorted(chosen(story, at)), at
    assert await counting(conn, len(story.facts) - 1) == ["g2", "g4", "gt"]


@settings(QUICK, max_examples=40)
@given(ACTS)
def test_no_answer_is_another_without_the_grants_that_do_not_count(acts: list[tuple[object, str, int]]) -> None:
    story = play(acts)
    count = chosen(story, len(story.facts) - 1)
    all_, few = Enforcement(), Enforcement()
    for fact in story.facts:
        all_.take(fact)
        kind, _, id = fact.stream.partition("-")
        if kind != "grant" or id in count:
            few.take(fact)
    uses = [Use(*each) for each in product(CUSTOMERS, RELEASES, ("standard", "other"), (None, "us_person"))]
    for days in (0, 30, 400):
        now = microseconds(story.now + timedelta(days=days))
        for use in uses:
            assert said(few.access.check(use, now)) == said(all_.access.check(use, now))


def said(answer: Answer) -> tuple[object, ...]:
    return answer.allowed, answer.reason, answer.valid_until
