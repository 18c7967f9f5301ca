"""May a person's texts be forgotten?"""

import pytest

from domain.errors import HeldForLaw, HoldIsReleased, Malformed, NamesUnknown, NotAuthorised, NotFound, StillRetained
from domain.hold import LegalHold, LegalHoldPlaced, LegalHoldReleased, PlaceLegalHold, ReleaseLegalHold
from domain.organization import Appoint, EndAppointment
from domain.retention import RetentionSet, SetRetention
from domain.subject import EraseSubject, Subject, SubjectErased, SubjectFreed, SubjectHeld
from tests.spec import Story, cast, instant


def records() -> Story:
    """The cast, and Rex, who keeps the records."""
    return cast().given(Appoint("assent", "rex", "records_officer"))


def held() -> Story:
    """A hold `h` on Nina's texts."""
    return records().given(PlaceLegalHold("nina", "Smith v. Northwind"), by="rex", ids=["h"])


def test_a_person_is_erased_and_the_log_says_so() -> None:
    story = records()
    story.when(EraseSubject("nina", "She asked for it"), by="rex").then(SubjectErased("She asked for it"))
    assert story.state("subject-nina") == Subject("nina", (), story.now)


def test_a_person_may_be_erased_again_for_they_may_have_written_since() -> None:
    story = records().given(EraseSubject("nina"), by="rex").at("2026-08-01T00:00:00Z")
    story.given(EraseSubject("nina"), by="rex")
    assert story.state("subject-nina").erased == instant("2026-08-01T00:00:00Z")


def test_a_person_whom_nobody_knows_cannot_be_erased_or_held() -> None:
    records().when(EraseSubject("nobody"), by="rex").refused(NotFound)
    records().when(PlaceLegalHold("nobody", "Why"), by="rex").refused(
        NamesUnknown, "a person who holds or held an office"
    )


def test_a_legal_hold_keeps_a_persons_texts_until_it_is_released() -> None:
    story = records()
    story.when(PlaceLegalHold("nina", "Smith v. Northwind"), by="rex", ids=["h"]).then(
        LegalHoldPlaced("nina", "Smith v. Northwind"), SubjectHeld("h")
    )
    story.when(EraseSubject("nina"), by="rex").refused(HeldForLaw, "the release of hold h")
    story.when(ReleaseLegalHold("h", "Settled"), by="rex").then(LegalHoldReleased("Settled"), SubjectFreed("h"))
    story.given(EraseSubject("nina"), by="rex")


def test_of_two_holds_each_keeps_the_texts() -> None:
    story = held().given(PlaceLegalHold("nina", "Inquiry"), by="rex", ids=["i"])
    story.when(EraseSubject("nina"), by="rex").refused(HeldForLaw, "the release of hold h", "the release of hold i")
    story.given(ReleaseLegalHold("h"), by="rex")
    story.when(EraseSubject("nina"), by="rex").refused(HeldForLaw, "the release of hold i")


def test_a_hold_is_released_once() -> None:
    story = held().given(ReleaseLegalHold("h"), by="rex")
    story.when(ReleaseLegalHold("h"), by="rex").refused(HoldIsReleased)


def test_a_hold_nobody_placed_is_not_there() -> None:
    records().when(ReleaseLegalHold("h"), by="rex").refused(NotFound)


def test_a_hold_remembers_whom_it_keeps_and_why() -> None:
    story = held()
    placed = story.now
    assert story.state("hold-h") == LegalHold("h", "nina", "Smith v. Northwind", placed)
    story.at("2026-07-01T00:00:00Z").given(ReleaseLegalHold("h"), by="rex")
    assert story.state("hold-h") == LegalHold("h", "nina", "Smith v. Northwind", placed, story.now)


def test_only_records_officers_erase_and_hold_and_nobody_else_knows_of_a_hold() -> None:
    for person in ("root", "nina", "omar"):
        held().when(EraseSubject("nina"), by=person).refused(NotAuthorised)
        held().when(PlaceLegalHold("tom", "Why"), by=person).refused(NotAuthorised)
        held().when(ReleaseLegalHold("h"), by=person).refused(NotFound)
    held().when(ReleaseLegalHold("h"), by="ada").refused(NotAuthorised)


# Retention


def retained() -> Story:
    return records().given(SetRetention(30), by="rex")


def test_the_time_to_keep_texts_is_recorded_when_it_changes() -> None:
    records().when(SetRetention(30), by="rex").then(RetentionSet(30))
    retained().when(SetRetention(30), by="rex").refused(Malformed)
    records().when(SetRetention(0), by="rex").refused(Malformed)


def test_texts_are_kept_while_the_person_holds_an_office() -> None:
    retained().when(EraseSubject("nina"), by="rex").refused(StillRetained, "the end of that appointment")


def test_texts_are_kept_for_some_days_after_the_last_appointment() -> None:
    story = retained().at("2026-07-01T00:00:00Z").given(EndAppointment("northwind", "nina", "applicant"))
    story.at("2026-07-30T23:59:59Z").when(EraseSubject("nina"), by="rex").refused(
        StillRetained, "a time after 2026-07-31T00:00:00+00:00"
    )
    story.at("2026-07-31T00:00:00Z").given(EraseSubject("nina"), by="rex")


def test_a_second_appointment_counts_as_well() -> None:
    story = retained().given(Appoint("tinker", "nina", "applicant", until=instant("2026-08-01")))
    story.at("2026-07-01T00:00:00Z").given(EndAppointment("northwind", "nina", "applicant"))
    story.at("2026-08-15T00:00:00Z").when(EraseSubject("nina"), by="rex").refused(StillRetained)
    story.at("2026-08-31T00:00:00Z").given(EraseSubject("nina"), by="rex")


@pytest.mark.parametrize("days", [0, 30])
def test_an_office_that_is_still_to_come_keeps_texts_only_where_they_must_be_kept(days: int) -> None:
    story = records() if days == 0 else retained()
    story.given(Appoint("tinker", "new", "applicant", instant("2027-01-01"), instant("2027-02-01")))
    outcome = story.when(EraseSubject("new"), by="rex")
    assert (outcome.refusal is None) == (days == 0)
