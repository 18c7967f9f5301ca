"""Is what an agency still has to do named by its command, and are those kept from it whom the rules keep from it?"""

from domain import tasks
from domain.release import CountersignPhase, Phase, Release, SignOffPhase
from domain.request import (
    AcceptInformation,
    AccessRequest,
    Countersign,
    ProvideInformation,
    Recuse,
    RequestInformation,
    SignOff,
)
from domain.sign_offs import AllOf, Leaf, waiting
from domain.tasks import Task
from tests.spec import Story, in_review, preview

GATED = (Phase("announced", "closed"), Phase("preview", "granted"))
COMMERCE_AND_ONCD = AllOf((Leaf("commerce", countersign=True), Leaf("oncd")))


def task(story: Story, agency: str) -> Task:
    here: AccessRequest = story.state("request-nw")
    assert here.terms is not None
    leaf = next(leaf for leaf in waiting(here.terms.sign_offs, here.sheet) if leaf.agency == agency)
    return tasks.of_request(leaf, here)


def gate_task(story: Story, agency: str) -> Task:
    here: Release = story.state("release-gpt-5.6")
    assert here.next_phase is not None and here.next_phase.gate is not None
    leaf = next(leaf for leaf in waiting(here.next_phase.gate, here.sheet) if leaf.agency == agency)
    return tasks.of_phase(leaf, here)


def test_a_sign_off_is_for_officers_and_not_for_the_applicant_the_recused_or_who_signed_elsewhere() -> None:
    story = in_review().given(SignOff("nw", "oncd", "approve"), by="olga").given(Recuse("nw", "cora"), by="omar")
    story.given(SignOff("nw", "commerce", "approve"), by="cleo").given(Countersign("nw", "commerce"), by="carl")
    found = task(story, "ostp")
    assert (found.lacks, found.act, found.customer) == ("sign_off", "SignOff", "northwind")
    assert found.roles == ("reviewer", "countersigner", "head")
    assert found.barred == {"olga", "cora", "cleo", "carl", "nina"}
    assert found.is_open_to(frozenset({"sam"}))
    assert not found.is_open_to(frozenset({"olga"}))
    assert not found.is_open_to(frozenset({"sam", "olga"})), "nor by a power that olga lends"


def test_who_signed_does_not_sign_again() -> None:
    story = in_review(AllOf((Leaf("oncd", quorum=2), Leaf("ostp")))).given(SignOff("nw", "oncd", "approve"), by="olga")
    assert task(story, "oncd") == Task("sign_off", "SignOff", frozenset({"olga", "nina"}), (), "northwind")


def test_a_countersignature_is_for_seniors_and_needs_a_position_they_had_no_part_in() -> None:
    story = in_review().given(SignOff("nw", "commerce", "approve"), by="carl")
    found = task(story, "commerce")
    assert (found.lacks, found.act, found.roles) == ("countersignature", "Countersign", ("countersigner", "head"))
    assert found.signers == (frozenset({"carl"}),) and found.customer == "northwind"
    assert found.is_open_to(frozenset({"cleo"})) and not found.is_open_to(frozenset({"carl"}))
    story.given(SignOff("nw", "commerce", "approve"), by="cora")
    assert task(story, "commerce").is_open_to(frozenset({"carl"})), "there is cora's position now"
    assert not task(story, "commerce").is_open_to(frozenset({"carl", "cora"}))


def test_a_question_waits_for_the_applicant_and_then_for_any_officer_who_is_not_recused() -> None:
    story = in_review().given(Recuse("nw", "omar"), by="sue").given(RequestInformation("nw", "oncd", "Why?"), by="olga")
    found = task(story, "oncd")
    assert (found.lacks, found.act, found.roles) == ("information", None, ())
    assert not found.is_open_to(frozenset({"olga"}))
    found = task(story.given(ProvideInformation("nw", 1, "So."), by="nina"), "oncd")
    assert (found.act, found.barred, found.customer) == ("AcceptInformation", {"omar"}, None)
    assert found.is_open_to(frozenset({"olga"}))
    assert task(story.given(AcceptInformation("nw", 1), by="olga"), "oncd").act == "SignOff"


def test_a_gate_asks_for_sign_offs_and_countersignatures_of_its_own() -> None:
    story = preview(phases=(*GATED, Phase("open", "open", gate=COMMERCE_AND_ONCD)))
    assert gate_task(story, "commerce") == Task("sign_off", "SignOffPhase")
    story.given(SignOffPhase("gpt-5.6", "open", "commerce", "approve"), by="carl")
    found = gate_task(story, "commerce")
    assert (found.lacks, found.act, found.signers) == (
        "countersignature",
        "CountersignPhase",
        (frozenset({"carl"}),),
    )
    assert gate_task(story, "oncd").barred == {"carl"}
    story.given(CountersignPhase("gpt-5.6", "commerce"), by="cleo")
    assert gate_task(story, "oncd").barred == {"carl", "cleo"}


def test_at_a_gate_too_nobody_counts_twice() -> None:
    tree = AllOf((Leaf("commerce", countersign=True), Leaf("oncd", quorum=2)))
    story = preview(phases=(*GATED, Phase("open", "open", gate=tree)))
    story.given(SignOffPhase("gpt-5.6", "open", "oncd", "approve"), by="olga")
    story.given(SignOffPhase("gpt-5.6", "open", "commerce", "approve"), by="carl")
    assert gate_task(story, "commerce").barred == {"olga"}
    assert gate_task(story, "oncd").barred == {"carl", "olga"}
