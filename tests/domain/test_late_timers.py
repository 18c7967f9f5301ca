"""What time does never comes before what people did there (I8), nor while the applicant is waited for (I9)."""

import pytest

from domain import rulebook
from domain.errors import NotDue
from domain.facts import SYSTEM
from domain.policy import Clocks, GrantTerms
from domain.request import (
    AgencySignedOff,
    DecideAppeal,
    FileAppeal,
    MissDeadline,
    NoObjectionDeemed,
    ProvideInformation,
    RegisterRequest,
    RequestInformation,
    RequestRenewal,
    SignOff,
)
from domain.sign_offs import AllOf, Leaf
from tests.spec import ONCD, OSTP, in_review, instant

QUICK = Clocks(20, "calendar")


def test_i8_what_was_due_before_the_last_event_but_matters_only_now_occurs_with_it() -> None:
    tree = AllOf((ONCD, Leaf("commerce", silence="no_objection", due_days=5)))
    story = in_review(tree, clocks=QUICK, on_refusal="escalate").at("2026-07-01T15:00:00Z")
    story.given(SignOff("nw", "oncd", "refuse"), by="olga").at("2026-07-10T15:00:00Z")
    story.when(SignOff("nw", "oncd", "approve"), by="olga").then(AgencySignedOff("oncd", 1, "approve"))
    passed = story.when_time_passes("2026-07-20T15:00:00Z")
    assert isinstance(passed.facts[0].event, NoObjectionDeemed)
    issued = next(fact for fact in story.facts if fact.type == "GrantIssued")
    approved = next(fact for fact in story.facts if fact.type == "RequestApproved")
    assert issued.occurred == approved.occurred == instant("2026-07-10T15:00:00Z")


def test_i9_after_a_remand_the_clock_stands_still_while_a_question_is_open() -> None:
    story = in_review(AllOf((ONCD, OSTP)), clocks=QUICK).at("2026-07-01T15:00:00Z")
    story.given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    story.given(RequestInformation("nw", "oncd", "Where?"), by="olga")
    story.given(SignOff("nw", "ostp", "refuse"), by="sam").given(FileAppeal("nw", "Unfair"), by="nina")
    story.given(DecideAppeal("nw", 1, "remand", "Look again"), by="dean")
    assert story.state("request-nw").state == "on_hold"
    story.given(ProvideInformation("nw", 1, "Us"), by="nina")
    story.when_time_passes("2026-09-01T15:00:00Z").nothing()
    assert story.state("request-nw").state == "on_hold"


def test_a_deadline_that_has_not_come_is_not_missed() -> None:
    story = in_review(ONCD, clocks=QUICK)
    with pytest.raises(NotDue):
        rulebook.decide(MissDeadline("nw", "oncd"), story.world(), SYSTEM, story.now, str)


def test_i8_a_timer_that_settles_one_stream_leaves_nothing_stale_of_another() -> None:
    tree = Leaf("oncd", silence="no_objection", due_days=5)
    story = in_review(tree, clocks=QUICK, grant=GrantTerms(30)).when_time_passes("2026-07-06T15:00:00Z").story
    old = next(fact.stream for fact in story.facts if fact.type == "GrantIssued")
    story.at("2026-07-28T15:00:00Z").given(RequestRenewal(old.removeprefix("grant-")), by="nina", ids=["again"])
    story.given(RegisterRequest("again"), by="rita")
    passed = story.when_time_passes("2026-12-01T15:00:00Z")
    assert passed.facts[0].type == "NoObjectionDeemed"
    assert [type(event).__name__ for event in story.events(old)][-1] == "GrantSuperseded"


def test_i8_time_passes_first_on_every_stream_that_a_timer_reads() -> None:
    story = in_review(ONCD, clocks=Clocks(90, "calendar", information_days=20), grant=GrantTerms(30))
    story.given(SignOff("nw", "oncd", "approve"), by="olga", ids=["g"]).at("2026-07-20T15:00:00Z")
    story.given(RequestRenewal("g"), by="nina", ids=["again"]).given(RegisterRequest("again"), by="rita")
    story.given(RequestInformation("again", "oncd", "Still?"), by="olga").at("2027-01-10T15:00:00Z")
    world = rulebook.let_time_pass(story.world, ["request-again"], story.now, story._id)
    order = [(fact.type, fact.occurred) for fact in world.facts if fact.stream == "grant-g"]
    assert [name for name, _ in order] == ["RenewalEnded", "GrantExpired"]
    assert order == sorted(order, key=lambda each: each[1])
