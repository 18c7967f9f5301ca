"""Renewal: a timely request keeps a grant in force until it is decided (I14)."""

from dataclasses import replace
from datetime import timedelta
from unittest.mock import ANY

from domain.access import Use, microseconds
from domain.enforcement import Enforcement
from domain.errors import GrantHasEnded, NamesUnknown, RenewalIsOpen
from domain.grant import GrantExpired, GrantSuperseded, RenewalEnded, RenewalRequested, RevokeGrant
from domain.organization import Appoint
from domain.policy import Clocks
from domain.release import CustomerLeft
from domain.request import (
    Countersign,
    RegisterRequest,
    RequestRenewal,
    RequestSubmitted,
    RequestWithdrawn,
    SignOff,
    WithdrawRequest,
)
from tests.spec import Story, application, granted, instant

RENEWABLE = Clocks(30, "calendar", 10, renewal_days=30)
END = "2026-12-27T15:00:00Z"


def renewable() -> Story:
    """Grant `g` ends on 27 December; a renewal is timely until 27 November."""
    return granted(clocks=RENEWABLE)


def renewed(at: str = "2026-11-27T15:00:00Z") -> Story:
    return renewable().at(at).given(RequestRenewal("g"), by="nina", ids=["nw2"])


def allowed(story: Story) -> bool:
    enforcement = Enforcement()
    for fact in story.facts:
        enforcement.take(fact)
    use = Use("northwind", "gpt-5.6", "standard", "us_person")
    return enforcement.access.check(use, microseconds(story.now)).allowed


def test_a_renewal_asks_for_the_same_again() -> None:
    story = renewable().at("2026-11-27T15:00:00Z")
    story.when(RequestRenewal("g"), by="nina", ids=["nw2"]).then(ANY, RenewalRequested("nw2", True))
    submitted, before = story.events("request-nw2")[0], story.events("request-nw")[0]
    assert isinstance(submitted, RequestSubmitted)
    assert submitted == replace(before, renews="g", terms=submitted.terms)


def test_a_request_that_names_the_grant_is_a_renewal_too() -> None:
    story = renewable().at("2026-11-27T15:00:00Z")
    story.when(application(renews="g"), by="nina", ids=["nw2"]).then(ANY, RenewalRequested("nw2", True))
    story.when(application(renews="g"), by="nina").refused(RenewalIsOpen, "its decision")
    story.when(application(renews="other"), by="nina").refused(NamesUnknown)


def test_i14_a_timely_renewal_keeps_the_grant_in_force_until_it_is_decided() -> None:
    story = renewed().at("2027-01-10T15:00:00Z").given(RegisterRequest("nw2"), by="rita")
    story.when_time_passes("2027-01-20T15:00:00Z").nothing()
    assert story.state("grant-g").state == "active" and allowed(story)


def test_a_late_renewal_does_not() -> None:
    story = renewed("2026-11-27T15:00:01Z")
    assert story.events("grant-g")[-1] == RenewalRequested("nw2", False)
    story.when_time_passes("2026-12-28T15:00:00Z").then(
        GrantExpired(story.state("grant-g").until), CustomerLeft("northwind")
    )
    assert not allowed(story)


def test_its_approval_supersedes_the_grant() -> None:
    story = renewed().at("2027-01-10T15:00:00Z").given(RegisterRequest("nw2"), by="rita")
    story.given(SignOff("nw2", "oncd", "approve"), by="olga").given(SignOff("nw2", "ostp", "approve"), by="sam")
    story.given(SignOff("nw2", "commerce", "approve"), by="cora")
    story.when(Countersign("nw2", "commerce"), by="carl", ids=["g2"]).then(ANY, ANY, ANY, GrantSuperseded("g2"), ANY)
    assert story.state("grant-g").state == "superseded"
    assert story.state("grant-g2").until == story.now + timedelta(days=180) and allowed(story)


def test_i14_once_it_came_to_nothing_the_grants_own_time_counts_again() -> None:
    story = renewed().at("2026-12-10T15:00:00Z")
    story.when(WithdrawRequest("nw2"), by="nina").then(RequestWithdrawn(""), RenewalEnded("nw2"))
    story.when_time_passes("2026-12-28T15:00:00Z").then(ANY, CustomerLeft("northwind"))


def test_i14_a_grant_whose_time_is_over_ends_with_its_renewal() -> None:
    story = renewed().at("2027-01-10T15:00:00Z")
    story.when(WithdrawRequest("nw2"), by="nina").then(
        RequestWithdrawn(""), RenewalEnded("nw2"), GrantExpired(instant(END)), CustomerLeft("northwind")
    )
    assert not allowed(story)


def test_a_grant_that_has_ended_is_not_renewed() -> None:
    story = renewable().given(RevokeGrant("g", "Misuse", "Breach"), by="omar")
    story.when(RequestRenewal("g"), by="nina").refused(GrantHasEnded, "a grant that has not ended")


def test_a_renewal_that_was_denied_ends_quietly_where_the_grant_was_revoked_meanwhile() -> None:
    story = renewed().given(RevokeGrant("g", "Misuse", "Breach"), by="omar")
    story.given(Appoint("oncd", "olive", "reviewer"))
    story.when(WithdrawRequest("nw2"), by="nina").then(RequestWithdrawn(""))
    assert story.state("grant-g").state == "revoked"


def test_a_renewal_asks_for_the_tier_it_had() -> None:
    story = granted(clocks=RENEWABLE, tiers=("standard", "pro"), ask=application(tier="pro"))
    story.at("2026-11-27T15:00:00Z").given(RequestRenewal("g"), by="nina", ids=["nw2"])
    assert story.state("request-nw2").tier == "pro"


def test_i14_a_grant_ends_with_its_renewal_from_its_very_last_instant() -> None:
    for at, ends in ((END, True), ("2026-12-27T14:59:59Z", False)):
        story = renewed().at(at).given(WithdrawRequest("nw2"), by="nina")
        assert (story.events("grant-g")[-1] == GrantExpired(instant(END))) is ends
