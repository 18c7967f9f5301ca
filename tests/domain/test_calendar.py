"""On which days is the office closed, and what does that change?"""

from domain.calendar import AmendCalendar, CalendarAmended
from domain.errors import Malformed
from domain.request import RegisterRequest
from tests.spec import application, cast, days, in_review, instant


def test_closures_are_recorded_in_their_order() -> None:
    cast().when(AmendCalendar("us-federal", days("2026-11-26", "2026-07-03", "2026-07-03"), "Federal holidays")).then(
        CalendarAmended(days("2026-07-03", "2026-11-26"), "Federal holidays")
    )


def test_only_new_closures_are_recorded() -> None:
    story = cast().given(AmendCalendar("us-federal", days("2026-07-03"), "Independence Day"))
    story.when(AmendCalendar("us-federal", days("2026-07-03", "2026-07-06"), "Storm")).then(
        CalendarAmended(days("2026-07-06"), "Storm")
    )
    assert story.state("calendar-us-federal").closures == frozenset(days("2026-07-03", "2026-07-06"))


def test_an_amendment_that_adds_nothing_is_refused() -> None:
    story = cast().given(AmendCalendar("us-federal", days("2026-07-03"), "Independence Day"))
    story.when(AmendCalendar("us-federal", days("2026-07-03"), "Again")).refused(Malformed)


def test_a_due_date_rolls_over_a_recorded_closure() -> None:
    story = in_review().given(AmendCalendar("us-federal", days("2026-07-28", "2026-07-29"), "Moving"))
    story.at("2026-06-28T14:00:00Z")
    story.given(application("tinker"), by="tom", ids=["tk"]).given(RegisterRequest("tk"), by="rita")
    assert story.state("request-tk").due == instant("2026-07-30T21:00:00Z")


def test_i9_a_later_calendar_does_not_move_a_due_date_that_was_recorded() -> None:
    story = in_review()
    assert story.state("request-nw").due == instant("2026-07-27T21:00:00Z")
    story.given(AmendCalendar("us-federal", days("2026-07-27"), "Late closure"))
    assert story.state("request-nw").due == instant("2026-07-27T21:00:00Z")
