"""Is each agency's queue what it still has to do: what is lacking, for whom, most urgent first?"""

from domain.request import Countersign, Recuse, RequestInformation, SignOff, WithdrawRequest
from projections import pending_sign_offs
from projections.pages import Asked
from tests.projections.shelf import Connection, as_, tell
from tests.spec import in_review, second_request


async def queue(conn: Connection, person: str, at: int | None = None, **filters: str) -> list[tuple[str, str, str]]:
    found = await pending_sign_offs.page(conn, as_(person), Asked(at=at), **filters)
    return [(item["agency"], item["request"], item["lacks"]) for item in found.items]


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
    found = (await pending_sign_offs.page(conn, as_("olga"), agency="oncd")).items
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
    await tell(log, in_review().given(WithdrawRequest("nw"), by="nina"))
    assert await queue(conn, "ada") == []
