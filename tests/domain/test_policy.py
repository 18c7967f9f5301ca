"""Which version of a review policy is in force, and what may it say?"""

from typing import Any

import pytest

from domain.errors import NamesUnknown, NoPolicyInForce
from domain.organization import RegisterOrganization
from domain.policy import Clocks, GrantTerms, PolicyPublished, PublishPolicy
from domain.release import AdvancePhase, AnnounceRelease
from domain.request import RegisterRequest, SubmitRequest
from domain.sign_offs import AllOf, AtLeast, Leaf
from tests.spec import PHASES, THREE_AGENCIES, Story, application, cast, instant, preview


def publish(**given: Any) -> PublishPolicy:
    return PublishPolicy("frontier-preview", "An order", **{"sign_offs": THREE_AGENCIES, **given})


def test_a_policy_is_published_with_its_defaults() -> None:
    cast().when(publish()).then(
        PolicyPublished(
            "An order",
            THREE_AGENCIES,
            "deny",
            False,
            Clocks(30, "calendar", None, None, None, None, "us-federal"),
            GrantTerms(None),
            instant("2026-06-20T13:00:00Z"),
        )
    )


def test_a_later_version_does_not_replace_the_earlier_one_before_it_takes_effect() -> None:
    story = cast().given(publish(), publish(decider=True, effective_from=instant("2026-07-01")))
    policy = story.state("policy-frontier-preview")
    assert [version.number for version in policy.versions] == [1, 2]
    assert policy.in_force(instant("2026-06-30T23:59:59Z")).number == 1
    assert policy.in_force(instant("2026-07-01")).number == 2
    assert policy.in_force(instant("2026-06-20T12:59:59Z")) is None


@pytest.mark.parametrize(
    "tree",
    [Leaf("nobody"), AllOf((Leaf("oncd"), Leaf("nobody"))), AtLeast(1, (Leaf("oncd"), AllOf((Leaf("nobody"),))))],
)
def test_every_agency_of_the_tree_exists(tree: Any) -> None:
    cast().when(publish(sign_offs=tree)).refused(NamesUnknown, "agency nobody")


def test_only_agencies_sign_off() -> None:
    cast().when(publish(sign_offs=Leaf("northwind"))).refused(NamesUnknown, "agency northwind")


def test_an_agency_need_not_be_the_government() -> None:
    story = cast().given(RegisterOrganization("trust", "agency", "Provider trust team", "US"))
    story.given(publish(sign_offs=Leaf("trust")))
    assert story.state("policy-frontier-preview").versions[-1].sign_offs == Leaf("trust")


def test_a_request_is_pinned_to_the_version_in_force_when_it_was_submitted() -> None:
    story = preview().at("2026-06-26T16:00:00Z").given(application(draft=True), by="nina", ids=["nw"])
    story.given(publish(sign_offs=Leaf("oncd"), effective_from=instant("2026-07-01")))
    story.at("2026-06-30T16:00:00Z").given(SubmitRequest("nw"), by="nina")
    story.at("2026-07-02T16:00:00Z").given(RegisterRequest("nw"), by="rita")
    assert story.state("request-nw").terms.version == 1
    assert story.state("request-nw").agencies == ("oncd", "ostp", "commerce")
    story.given(application("tinker"), by="tom", ids=["tk"])
    assert story.state("request-tk").terms.version == 2
    assert story.state("request-tk").agencies == ("oncd",)


def without_policy_in_force() -> Story:
    story = cast().given(publish(effective_from=instant("2026-08-01")))
    story.given(
        AnnounceRelease("gpt-5.6", "openai", "GPT-5.6", ("standard",), "frontier-preview", "high", PHASES), by="rae"
    )
    return story.given(AdvancePhase("gpt-5.6", "limited_preview"), by="rae")


def test_nothing_is_submitted_before_a_policy_is_in_force() -> None:
    without_policy_in_force().when(application(), by="nina").refused(
        NoPolicyInForce, "a version of frontier-preview in force"
    )


def test_a_draft_may_wait_for_its_policy() -> None:
    story = without_policy_in_force().given(application(draft=True), by="nina", ids=["nw"])
    story.when(SubmitRequest("nw"), by="nina").refused(NoPolicyInForce)
    story.at("2026-08-01T00:00:00Z").given(SubmitRequest("nw"), by="nina")
    assert story.state("request-nw").state == "submitted"
