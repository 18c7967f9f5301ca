"""Does the service know what time alone will do next, and to which stream?"""

from domain.request import ProvideInformation, RequestInformation, SignOff, WithdrawRequest
from domain.sign_offs import Leaf
from projections import deadlines
from tests.projections.shelf import Connection, tell
from tests.spec import granted, in_review, instant, second_request

DUE = instant("2026-07-27T21:00:00Z")


async def test_the_next_thing_is_the_earliest_due_date_of_all_streams(log: str, conn: Connection) -> None:
    story = in_review().at("2026-07-02T14:00:00Z")
    await tell(log, second_request(story))
    assert await deadlines.next_due(conn) == DUE
    assert await deadlines.due_streams(conn, DUE, 10) == ["request-nw"]
    assert await deadlines.due_streams(conn, instant("2026-07-27T20:59:59Z"), 10) == []
    assert await deadlines.due_streams(conn, instant("2027-01-01"), 10) == ["request-nw", "request-tk"]
    assert await deadlines.due_streams(conn, instant("2027-01-01"), 1) == ["request-nw"]


async def test_while_the_applicant_is_asked_only_the_answer_is_due(log: str, conn: Connection) -> None:
    story = in_review().at("2026-07-01T15:00:00Z").given(RequestInformation("nw", "oncd", "Why?"), by="olga")
    await tell(log, story)
    assert await deadlines.next_due(conn) == instant("2026-07-13T21:00:00Z")
    await tell(log, story.at("2026-07-03T15:00:00Z").given(ProvideInformation("nw", 1, "So."), by="nina"))
    found = await deadlines.next_due(conn)
    assert found is not None
    assert found > DUE


async def test_a_deadline_that_was_missed_is_not_due_again(log: str, conn: Connection) -> None:
    story = in_review(Leaf("oncd")).when_time_passes("2026-08-01T00:00:00Z").story
    await tell(log, story)
    assert await deadlines.next_due(conn) is None


async def test_an_agency_that_signed_has_no_deadline(log: str, conn: Connection) -> None:
    story = in_review(Leaf("oncd", quorum=2)).given(SignOff("nw", "oncd", "approve"), by="olga")
    await tell(log, story)
    assert await deadlines.next_due(conn) == DUE
    await tell(log, story.given(SignOff("nw", "oncd", "approve"), by="omar", ids=["g"]))
    assert await deadlines.due_streams(conn, instant("2030-01-01"), 10) == ["grant-g"]


async def test_a_grants_end_is_due_and_what_is_over_is_not(log: str, conn: Connection) -> None:
    story = granted()
    await tell(log, story)
    assert await deadlines.next_due(conn) == instant("2026-12-27T15:00:00Z")
    await tell(log, story.when_time_passes("2027-01-01T00:00:00Z").story)
    assert await deadlines.next_due(conn) is None


async def test_what_was_withdrawn_waits_for_nothing(log: str, conn: Connection) -> None:
    await tell(log, in_review().given(WithdrawRequest("nw"), by="nina"))
    assert await deadlines.next_due(conn) is None
