"""What is read of a directive, and by whom?"""

from domain.directive import ConfirmLifting, EaseDirective, IssueDirective, ProposeLifting, Uses
from projections import directives
from projections.pages import Asked
from tests.projections.shelf import Connection, as_, tell
from tests.spec import Story, preview


def proposed_to_be_lifted() -> Story:
    story = preview().given(
        IssueDirective("Directive 7", Uses(releases=("gpt-5.6",)), "A new risk"), by="bea", ids=["d"]
    )
    story.given(EaseDirective("d", Uses(organizations=("northwind",))), by="bea")
    return story.given(ProposeLifting("d", "It is over"), by="ben")


async def test_officers_see_the_reason_and_who_proposed_to_lift_it(log: str, conn: Connection) -> None:
    await tell(log, proposed_to_be_lifted())
    found = await directives.detail(conn, as_("olga"), "d")
    assert (found["organization"], found["reason"], found["lifting_proposed_by"]) == ("bis", "A new risk", "ben")
    assert (found["scope"]["releases"], found["carve_outs"]["organizations"]) == (["gpt-5.6"], ["northwind"])


async def test_applicants_see_what_is_stopped_and_by_whom_but_not_why(log: str, conn: Connection) -> None:
    await tell(log, proposed_to_be_lifted())
    found = await directives.detail(conn, as_("tom"), "d")
    assert (found["organization"], found["authority"], found["version"]) == ("bis", "Directive 7", 2)
    assert "reason" not in found
    assert "lifting_proposed_by" not in found


async def test_a_directive_is_in_force_until_it_is_lifted(log: str, conn: Connection) -> None:
    story = proposed_to_be_lifted()
    before = story.facts[-1].position
    await tell(log, story.given(ConfirmLifting("d"), by="bea"))
    for person in ("tom", "olga"):
        reader = as_(person)
        assert [d["state"] for d in (await directives.page(conn, reader, state="lifted")).items] == ["lifted"]
        assert (await directives.page(conn, reader, state="in_force")).items == []
        assert len((await directives.page(conn, reader, Asked(at=before), state="in_force")).items) == 1
