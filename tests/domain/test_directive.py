"""Who stops which uses across customers, who is exempt, and who lets it go on?"""

from typing import Any

import pytest

from domain.directive import (
    ConfirmLifting,
    DirectiveEased,
    DirectiveIssued,
    DirectiveLifted,
    EaseDirective,
    IssueDirective,
    LiftingProposed,
    LiftingWithdrawn,
    ProposeLifting,
    Uses,
    WithdrawLifting,
)
from domain.errors import (
    DirectiveIsLifted,
    Malformed,
    NamesUnknown,
    NotAuthorised,
    NotFound,
    NothingProposed,
    TwoPeople,
)
from domain.organization import Appoint, RegisterOrganization
from domain.policy import PublishPolicy
from domain.release import AnnounceRelease
from domain.sign_offs import AllOf, Leaf
from tests.spec import PHASES, THREE_AGENCIES, Story, preview

NOBODY = Uses()
FOREIGN = Uses(releases=("gpt-5.6",), person_classes=("foreign_national",))


def issue(scope: Uses = FOREIGN, carve_outs: Uses = NOBODY) -> IssueDirective:
    return IssueDirective("Letter of 12 June", scope, "National security", carve_outs)


def in_force() -> Story:
    return preview().given(issue(), by="bea", ids=["d"])


def test_a_head_issues_a_directive() -> None:
    carve_outs = Uses(organizations=("northwind",))
    story = (
        preview()
        .when(issue(carve_outs=carve_outs), by="bea", ids=["d"])
        .then(DirectiveIssued("Letter of 12 June", FOREIGN, carve_outs, "National security"))
    )
    here = story.state("directive-d")
    assert (here.state, here.organization, here.carve_outs) == ("in_force", "bis", carve_outs)


def test_a_scope_has_at_least_one_list() -> None:
    preview().when(issue(Uses()), by="bea").refused(Malformed)


@pytest.mark.parametrize(
    ("uses", "missing"),
    [
        (Uses(releases=("gpt-9",)), "release gpt-9"),
        (Uses(providers=("nobody",)), "organization nobody"),
        (Uses(organizations=("nobody",)), "organization nobody"),
    ],
)
def test_what_a_directive_names_exists(uses: Uses, missing: str) -> None:
    preview().when(issue(uses), by="bea").refused(NamesUnknown, missing)
    preview().when(issue(FOREIGN, uses), by="bea").refused(NamesUnknown, missing)


def test_easing_exempts_named_organizations_besides_those_exempt_before() -> None:
    story = preview().given(issue(carve_outs=Uses(organizations=("tinker",))), by="bea", ids=["d"])
    eased = Uses(organizations=("northwind",))
    story.when(EaseDirective("d", eased, "Listed"), by="ben").then(DirectiveEased(eased, "Listed"))
    assert story.state("directive-d").carve_outs.organizations == ("tinker", "northwind")


@pytest.mark.parametrize("uses", [Uses(), FOREIGN, Uses(organizations=("northwind",), person_classes=("us_person",))])
def test_easing_names_organizations_and_nothing_else(uses: Uses) -> None:
    in_force().when(EaseDirective("d", uses), by="bea").refused(Malformed)


def test_easing_names_organizations_that_exist() -> None:
    in_force().when(EaseDirective("d", Uses(organizations=("nobody",))), by="bea").refused(NamesUnknown)


def test_i16_two_different_people_lift_a_directive() -> None:
    story = in_force().when(ProposeLifting("d", "Verified"), by="bea").then(LiftingProposed("Verified"))
    assert story.state("directive-d").state == "in_force"
    story.when(ProposeLifting("d", "Confirmed"), by="ben").then(DirectiveLifted("Confirmed"))
    assert story.state("directive-d").state == "lifted"


@pytest.mark.parametrize("confirmation", [ProposeLifting("d"), ConfirmLifting("d")])
def test_i16_who_proposed_a_lifting_does_not_confirm_it(confirmation: Any) -> None:
    in_force().given(ProposeLifting("d"), by="bea").when(confirmation, by="bea").refused(TwoPeople, "a second person")


def test_i16_a_second_person_confirms() -> None:
    in_force().given(ProposeLifting("d"), by="bea").when(ConfirmLifting("d", "Yes"), by="ben").then(
        DirectiveLifted("Yes")
    )


def test_nothing_is_confirmed_that_nobody_proposed() -> None:
    in_force().when(ConfirmLifting("d"), by="ben").refused(NothingProposed)


def test_a_proposal_may_be_taken_back_and_then_it_takes_two_again() -> None:
    story = in_force().given(ProposeLifting("d"), by="bea")
    story.when(WithdrawLifting("d", "Not yet"), by="ben").then(LiftingWithdrawn("Not yet"))
    story.when(ConfirmLifting("d"), by="ben").refused(NothingProposed)
    story.when(ProposeLifting("d"), by="ben").then(LiftingProposed())


def test_no_proposal_is_taken_back_that_nobody_made() -> None:
    in_force().when(WithdrawLifting("d"), by="bea").refused(NothingProposed)


@pytest.mark.parametrize(
    "command",
    [
        ProposeLifting("d"),
        ConfirmLifting("d"),
        WithdrawLifting("d"),
        EaseDirective("d", Uses(organizations=("tinker",))),
    ],
)
def test_a_lifted_directive_stays_lifted(command: Any) -> None:
    story = in_force().given(ProposeLifting("d"), by="bea").given(ProposeLifting("d"), by="ben")
    story.when(command, by="bea").refused(DirectiveIsLifted)


def test_an_unknown_directive_is_not_found() -> None:
    preview().when(ProposeLifting("d"), by="bea").refused(NotFound)


def test_only_heads_of_the_agency_that_issued_a_directive_change_it() -> None:
    in_force().when(ProposeLifting("d"), by="omar").refused(NotAuthorised)


# An agency that is not of the government directs only releases under a policy that names it


def with_trust_team() -> Story:
    story = preview().given(
        RegisterOrganization("trust", "agency", "Provider trust team", "US"),
        Appoint("trust", "tara", "head"),
        PublishPolicy("provider-only", "Provider's own", Leaf("trust")),
    )
    return story.given(
        AnnounceRelease("mythos", "openai", "Mythos", ("standard",), "provider-only", "high", PHASES), by="rae"
    )


def test_a_providers_trust_team_directs_the_releases_it_reviews() -> None:
    scope = Uses(releases=("mythos",))
    with_trust_team().when(issue(scope), by="tara").then(
        DirectiveIssued("Letter of 12 June", scope, Uses(), "National security")
    )


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param(Uses(releases=("gpt-5.6",)), id="a release it does not review"),
        pytest.param(Uses(releases=("mythos", "gpt-5.6")), id="one of two that it does not review"),
        pytest.param(Uses(providers=("openai",)), id="no release at all"),
        pytest.param(Uses(releases=("unknown",)), id="an unknown release"),
    ],
)
def test_a_providers_trust_team_directs_nothing_else(scope: Uses) -> None:
    with_trust_team().when(issue(scope), by="tara").refused(NotAuthorised)


def test_a_trust_team_directs_where_it_is_one_of_several() -> None:
    story = with_trust_team().given(
        PublishPolicy("frontier-preview", "Amended", AllOf((THREE_AGENCIES, Leaf("trust"))))
    )
    scope = Uses(releases=("gpt-5.6", "mythos"))
    story.when(issue(scope), by="tara").then(DirectiveIssued("Letter of 12 June", scope, Uses(), "National security"))
