"""A condition changes only with the recorded concurrence of the agency that set it (I7)."""

from domain.access import Use, microseconds
from domain.enforcement import Enforcement
from domain.errors import ChangeIsSettled, ConditionNotOpen, Malformed, NotAuthorised, NotFound, SeparationOfDuties
from domain.grant import ConcurConditionChange, ConditionChanged, ConditionChangeProposed, ProposeConditionChange
from domain.request import SignOff
from domain.sign_offs import Leaf, ProposedCondition
from tests.spec import Story, in_review, instant

CONDITIONS = (ProposedCondition("Audit first", "precondition", 30), ProposedCondition("Report misuse"))


def conditioned() -> Story:
    """Grant `g` with a precondition and an ongoing condition, both of oncd."""
    story = in_review(Leaf("oncd")).at("2026-07-01T15:00:00Z")
    return story.given(SignOff("nw", "oncd", "approve_with_conditions", CONDITIONS), by="olga", ids=["g"])


def proposed(**given: object) -> Story:
    return conditioned().given(ProposeConditionChange("g", 2, **{"text": "Report within a day", **given}), by="nina")  # type: ignore[arg-type]


def test_anyone_concerned_proposes_and_nothing_changes_yet() -> None:
    story = conditioned()
    for number, person in enumerate(("nina", "rae", "omar"), 1):
        story.when(ProposeConditionChange("g", 2, "Report within a day"), by=person).then(
            ConditionChangeProposed(2, number, "Report within a day", None)
        )
    assert [c.text for c in story.state("grant-g").conditions] == ["Audit first", "Report misuse"]


def test_i7_the_agency_that_set_it_concurs() -> None:
    story = proposed()
    story.when(ConcurConditionChange("g", 2, 1), by="sam").refused(NotFound)
    story.when(ConcurConditionChange("g", 2, 1), by="rae").refused(NotAuthorised)
    story.when(ConcurConditionChange("g", 2, 1), by="olga").then(ConditionChanged(2, 1, "Report within a day", None))
    assert story.state("grant-g").conditions[1].text == "Report within a day"


def test_i4_an_officer_does_not_concur_in_their_own_proposal() -> None:
    story = conditioned().given(ProposeConditionChange("g", 2, "Report within a day"), by="olga")
    story.when(ConcurConditionChange("g", 2, 1), by="olga").refused(SeparationOfDuties, "another officer")
    story.when(ConcurConditionChange("g", 2, 1), by="omar").then(ConditionChanged(2, 1, "Report within a day", None))


def test_another_due_date_counts_from_the_concurrence() -> None:
    story = conditioned().given(ProposeConditionChange("g", 1, due_days=60), by="nina").at("2026-07-10T15:00:00Z")
    story.when(ConcurConditionChange("g", 1, 1), by="olga").then(
        ConditionChanged(1, 1, "Audit first", instant("2026-09-08T21:00:00Z"))
    )


def test_a_dropped_precondition_no_longer_holds_the_grant_up() -> None:
    story = conditioned().given(ProposeConditionChange("g", 1, drop=True), by="nina")
    assert story.state("grant-g").state == "pending_conditions"
    story.when(ConcurConditionChange("g", 1, 1), by="olga").then(
        ConditionChanged(1, 1, "Audit first", instant("2026-07-31T21:00:00Z"), dropped=True)
    )
    assert story.state("grant-g").state == "active"
    enforcement = Enforcement()
    for fact in story.facts:
        enforcement.take(fact)
    use = Use("northwind", "gpt-5.6", "standard", "us_person")
    assert enforcement.access.check(use, microseconds(story.now)).allowed
    story.when(ProposeConditionChange("g", 1, "Again"), by="nina").refused(ConditionNotOpen, "a condition in force")


def test_a_settled_change_is_not_settled_twice() -> None:
    story = proposed().given(ConcurConditionChange("g", 2, 1), by="olga")
    story.when(ConcurConditionChange("g", 2, 1), by="olga").refused(ChangeIsSettled, "a proposed change")
    story.when(ConcurConditionChange("g", 2, 2), by="olga").refused(NotFound)


def test_a_change_changes_something_and_one_thing() -> None:
    story = conditioned()
    story.when(ProposeConditionChange("g", 2), by="nina").refused(Malformed, "text, due_days or drop")
    story.when(ProposeConditionChange("g", 2, "New", drop=True), by="nina").refused(
        Malformed, "drop, or text and due_days"
    )
    story.when(ProposeConditionChange("g", 3, "New"), by="nina").refused(NotFound)


def test_a_dropped_condition_changes_no_more_whatever_was_proposed_before() -> None:
    story = proposed().given(ProposeConditionChange("g", 2, drop=True), by="nina")
    story.given(ConcurConditionChange("g", 2, 2), by="olga")
    story.when(ConcurConditionChange("g", 2, 1), by="olga").refused(ChangeIsSettled, "a proposed change")
