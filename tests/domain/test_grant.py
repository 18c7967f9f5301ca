"""What may a customer use, and what stops, narrows or ends it?"""

from typing import Any

import pytest

from domain.errors import (
    AlreadySuspended,
    ConditionNotOpen,
    GrantHasEnded,
    Malformed,
    NamesUnknown,
    NoNotice,
    NotAuthorised,
    NotBarred,
    NotFound,
    NoticeAlreadyIssued,
    NoticeOrFinding,
    NotNarrower,
    NotSuspended,
    SuspendedByAnother,
    TwoPeople,
)
from domain.grant import (
    AmendGrant,
    BarLifted,
    BarLiftingProposed,
    ComplianceReported,
    ConditionBreached,
    ConditionSatisfied,
    GrantAmended,
    GrantExpired,
    GrantReinstated,
    GrantRevoked,
    GrantSurrendered,
    GrantSuspended,
    LiftBar,
    NotifyIntentToRevoke,
    RecordBreach,
    ReinstateGrant,
    ReinstatementProposed,
    ReportCompliance,
    RevocationNoticeIssued,
    RevocationNoticeWithdrawn,
    RevokeGrant,
    SatisfyCondition,
    SurrenderGrant,
    SuspendGrant,
    WithdrawNotice,
)
from domain.organization import Appoint
from domain.release import CustomerLeft, WithdrawRelease
from domain.request import RegisterRequest, SignOff
from domain.sign_offs import AllOf, ProposedCondition
from tests.spec import ONCD, OSTP, Story, application, approve, granted, in_review, instant, second_request

UNTIL = instant("2026-12-27T15:00:00Z")
RESPOND_BY = instant("2026-07-20T12:00:00Z")


def grant(story: Story) -> Any:
    return story.state("grant-g")


def with_conditions() -> Story:
    """Grant `g` with a precondition of oncd (1) and an ongoing condition of ostp (2)."""
    story = in_review(
        AllOf((ONCD, OSTP)), tiers=("standard", "pro"), ask=application(user_classes=("us_person", "ally"))
    )
    first, second = ProposedCondition("Audit the keys", "precondition"), ProposedCondition("Report misuse")
    story.given(SignOff("nw", "oncd", "approve_with_conditions", (first,)), by="olga")
    return story.given(SignOff("nw", "ostp", "approve_with_conditions", (second,)), by="sam", ids=["g"])


# Conditions


def test_a_grant_is_active_once_its_preconditions_are_satisfied() -> None:
    story = with_conditions()
    assert grant(story).state == "pending_conditions"
    story.when(SatisfyCondition("g", 1, "Report 17"), by="olga").then(ConditionSatisfied(1, "Report 17"))
    assert grant(story).state == "active"


def test_an_ongoing_condition_does_not_keep_a_grant_waiting() -> None:
    story = with_conditions().given(SatisfyCondition("g", 1), by="olga")
    assert grant(story).condition(2).state == "open"
    assert grant(story).state == "active"


def test_a_condition_is_satisfied_once() -> None:
    with_conditions().given(SatisfyCondition("g", 1), by="olga").when(SatisfyCondition("g", 1), by="omar").refused(
        ConditionNotOpen
    )


def test_a_breach_is_recorded_once_and_may_be_cured() -> None:
    story = (
        with_conditions()
        .when(RecordBreach("g", 2, "Nothing was reported"), by="sam")
        .then(ConditionBreached(2, "Nothing was reported"))
    )
    story.when(RecordBreach("g", 2, "Again"), by="sam").refused(ConditionNotOpen)
    story.when(SatisfyCondition("g", 2), by="sam").then(ConditionSatisfied(2))


@pytest.mark.parametrize("command", [SatisfyCondition("g", 1), RecordBreach("g", 1, "Broken")])
def test_only_the_agency_that_set_a_condition_judges_it(command: Any) -> None:
    with_conditions().when(command, by="sam").refused(NotAuthorised)
    with_conditions().when(command, by="nina").refused(NotAuthorised)


@pytest.mark.parametrize("command", [SatisfyCondition("g", 3), RecordBreach("g", 3, "Broken")])
def test_a_condition_that_nobody_set_is_not_found(command: Any) -> None:
    with_conditions().when(command, by="olga").refused(NotFound)


def test_a_customer_reports_on_a_condition_or_on_all() -> None:
    story = with_conditions()
    story.when(ReportCompliance("g", "No misuse", 2), by="nina").then(ComplianceReported(2, "No misuse"))
    story.when(ReportCompliance("g", "All is well"), by="nina").then(ComplianceReported(None, "All is well"))
    story.when(ReportCompliance("g", "What?", 3), by="nina").refused(NamesUnknown, "condition 3")


def test_a_condition_remembers_when_the_customer_last_reported_on_it() -> None:
    story = with_conditions().at("2026-07-03T12:00:00Z").given(ReportCompliance("g", "No misuse", 2), by="nina")
    third, fourth = instant("2026-07-03T12:00:00Z"), instant("2026-07-04T12:00:00Z")
    assert [condition.reported for condition in grant(story).conditions] == [None, third]
    story.at("2026-07-04T12:00:00Z").given(ReportCompliance("g", "All is well"), by="nina")
    assert [condition.reported for condition in grant(story).conditions] == [fourth, fourth]


# Narrowing


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"user_classes": ("us_person",)}, GrantAmended(None, ("us_person",), None, "Less")),
        ({"until": instant("2026-08-01")}, GrantAmended(None, None, instant("2026-08-01"), "Less")),
        (
            {"tiers": ("standard",), "until": instant("2026-08-01")},
            GrantAmended(None, None, instant("2026-08-01"), "Less"),
        ),
    ],
)
def test_an_amendment_narrows(given: dict[str, Any], expected: GrantAmended) -> None:
    with_conditions().when(AmendGrant("g", "Less", **given), by="omar").then(expected)


@pytest.mark.parametrize(
    ("given", "wider"),
    [
        ({"tiers": ("standard", "pro")}, "tier pro"),
        ({"tiers": ()}, None),
        ({"user_classes": ("us_person", "foreign_national")}, "class foreign_national"),
        ({"user_classes": ()}, None),
        ({"until": instant("2027-08-01")}, "until 2027-08-01T00:00:00+00:00"),
    ],
)
def test_an_amendment_never_widens(given: dict[str, Any], wider: str | None) -> None:
    outcome = with_conditions().when(AmendGrant("g", "More", **given), by="omar")
    outcome.refused(NotNarrower, *([wider] if wider else []))


def test_a_grant_for_everybody_may_be_narrowed_to_some() -> None:
    granted().when(AmendGrant("g", "Less", user_classes=("us_person",)), by="carl").then(
        GrantAmended(None, ("us_person",), None, "Less")
    )


def test_an_amendment_that_changes_nothing_is_refused() -> None:
    granted().when(AmendGrant("g", "Nothing"), by="carl").refused(Malformed)


# Suspension and reinstatement


def test_i16_one_suffices_to_suspend() -> None:
    story = (
        granted()
        .when(SuspendGrant("g", "Misuse", "Logs", RESPOND_BY), by="olga")
        .then(GrantSuspended("Misuse", "Logs", RESPOND_BY))
    )
    assert grant(story).state == "suspended"


def test_i12_each_suspension_is_ended_by_the_organization_that_set_it() -> None:
    story = granted().given(SuspendGrant("g", "Misuse"), by="olga").given(SuspendGrant("g", "Fraud"), by="rae")
    story.when(SuspendGrant("g", "Misuse"), by="omar").refused(AlreadySuspended)
    story.when(ReinstateGrant("g"), by="sam").refused(SuspendedByAnother)
    story.when(ReinstateGrant("g", "Cleared"), by="omar").then(GrantReinstated("Cleared"))
    assert grant(story).state == "suspended"
    story.when(ReinstateGrant("g"), by="rae").then(GrantReinstated())
    assert grant(story).state == "active"


def test_what_is_not_suspended_is_not_reinstated() -> None:
    granted().when(ReinstateGrant("g"), by="olga").refused(NotSuspended)


def suspended_under_notice() -> Story:
    story = granted().given(SuspendGrant("g", "Misuse"), by="olga")
    return story.given(NotifyIntentToRevoke("g", "Misuse", RESPOND_BY), by="omar")


def test_i16_two_different_people_reinstate_after_a_notice_of_revocation() -> None:
    story = (
        suspended_under_notice().when(ReinstateGrant("g", "Cleared"), by="olga").then(ReinstatementProposed("Cleared"))
    )
    assert grant(story).state == "suspended"
    story.when(ReinstateGrant("g", "Cleared"), by="olga").refused(TwoPeople, "a second person")
    story.when(ReinstateGrant("g", "Agreed"), by="omar").then(GrantReinstated("Agreed"))
    assert grant(story).state == "active"


def test_i16_the_first_of_two_people_speaks_for_their_own_organization_only() -> None:
    story = suspended_under_notice().given(SuspendGrant("g", "Misuse"), by="sam")
    story.given(ReinstateGrant("g"), by="olga")
    story.when(ReinstateGrant("g"), by="sam").then(ReinstatementProposed())
    assert set(grant(story).suspensions) == {"oncd", "ostp"}


def test_after_the_notice_is_withdrawn_one_person_reinstates() -> None:
    story = suspended_under_notice().given(WithdrawNotice("g"), by="omar")
    story.when(ReinstateGrant("g"), by="olga").then(GrantReinstated())


# Revocation


def test_a_notice_of_revocation_stands_once_and_may_be_withdrawn() -> None:
    notice = NotifyIntentToRevoke("g", "Misuse", RESPOND_BY)
    story = granted().when(notice, by="carl").then(RevocationNoticeIssued("Misuse", RESPOND_BY))
    assert grant(story).state == "active"
    story.when(notice, by="rae").refused(NoticeAlreadyIssued)
    story.when(WithdrawNotice("g", "Cleared"), by="carl").then(RevocationNoticeWithdrawn("Cleared"))
    story.when(WithdrawNotice("g"), by="carl").refused(NoNotice)


def test_a_notice_leaves_time_to_respond() -> None:
    story = granted()
    story.when(NotifyIntentToRevoke("g", "Misuse", story.now), by="carl").refused(Malformed)


def test_a_grant_is_revoked_at_once_on_a_stated_finding() -> None:
    story = (
        granted()
        .when(RevokeGrant("g", "Misuse", "Breach of condition 1"), by="carl")
        .then(GrantRevoked("Misuse", "Breach of condition 1", False), CustomerLeft("northwind"))
    )
    assert grant(story).state == "revoked"


def test_without_a_finding_a_grant_is_revoked_after_a_notice_whose_time_is_over() -> None:
    story = granted()
    story.when(RevokeGrant("g", "Misuse"), by="carl").refused(NoticeOrFinding)
    story.given(NotifyIntentToRevoke("g", "Misuse", RESPOND_BY), by="carl")
    story.at("2026-07-20T11:59:59Z").when(RevokeGrant("g", "Misuse"), by="carl").refused(NoticeOrFinding)
    story.at("2026-07-20T12:00:00Z").when(RevokeGrant("g", "Misuse"), by="carl").then(
        GrantRevoked("Misuse"), CustomerLeft("northwind")
    )


def barred() -> Story:
    return granted().given(RevokeGrant("g", "Misuse", "Breach", bar=True), by="carl")


def test_i16_two_different_people_lift_a_bar() -> None:
    story = barred().when(LiftBar("g", "Reformed"), by="carl").then(BarLiftingProposed("Reformed"))
    story.when(LiftBar("g"), by="carl").refused(TwoPeople, "a second person")
    assert grant(story).barred
    story.when(LiftBar("g", "Agreed"), by="rae").then(BarLifted("Agreed"))
    assert not grant(story).barred
    assert grant(story).state == "revoked", "lifting the bar does not bring the grant back"


def test_without_a_bar_there_is_none_to_lift() -> None:
    granted().when(LiftBar("g"), by="carl").refused(NotBarred)
    barred().given(LiftBar("g"), by="carl").given(LiftBar("g"), by="rae").when(LiftBar("g"), by="carl").refused(
        NotBarred
    )


# Other ends


def test_a_customer_gives_a_grant_back() -> None:
    story = (
        granted()
        .when(SurrenderGrant("g", "Not needed"), by="nina")
        .then(GrantSurrendered("Not needed"), CustomerLeft("northwind"))
    )
    assert grant(story).state == "surrendered"


def test_a_grant_expires_at_its_end_and_not_before() -> None:
    story = granted().when_time_passes("2026-12-27T14:59:59Z").nothing()
    story.when_time_passes("2027-02-01T00:00:00Z").then(GrantExpired(UNTIL), CustomerLeft("northwind"))
    assert (grant(story).state, grant(story).ended_at) == ("expired", UNTIL)
    assert {fact.by.person for fact in story.facts[-2:]} == {"system"}


def test_a_narrowed_grant_expires_at_its_new_end() -> None:
    story = granted().given(AmendGrant("g", "Less", until=instant("2026-08-01")), by="carl")
    story.when_time_passes("2026-08-01").then(GrantExpired(instant("2026-08-01")), CustomerLeft("northwind"))


def test_i8_a_grant_whose_time_is_over_has_expired_before_the_next_command() -> None:
    granted().at("2027-02-01T00:00:00Z").when(SurrenderGrant("g"), by="nina").refused(GrantHasEnded)


def ended(how: str) -> Story:
    story = granted()
    match how:
        case "revoked":
            return story.given(RevokeGrant("g", "Misuse", "Breach"), by="carl")
        case "surrendered":
            return story.given(SurrenderGrant("g"), by="nina")
        case "expired":
            return story.when_time_passes("2027-02-01T00:00:00Z").then(GrantExpired(UNTIL), CustomerLeft("northwind"))
        case _:
            story.given(application(renews="g"), by="nina", ids=["nw-2"]).given(RegisterRequest("nw-2"), by="rita")
            return approve(story, "nw-2", "g-2")


@pytest.mark.parametrize("how", ["revoked", "surrendered", "expired", "superseded"])
@pytest.mark.parametrize(
    ("command", "by"),
    [
        (ReportCompliance("g", "All is well"), "nina"),
        (AmendGrant("g", "Less", until=instant("2026-08-01")), "carl"),
        (SuspendGrant("g", "Misuse"), "carl"),
        (ReinstateGrant("g"), "carl"),
        (NotifyIntentToRevoke("g", "Misuse", UNTIL), "carl"),
        (WithdrawNotice("g"), "carl"),
        (RevokeGrant("g", "Misuse", "Breach"), "carl"),
        (SurrenderGrant("g"), "nina"),
    ],
)
def test_i12_a_grant_that_has_ended_stays_ended(how: str, command: Any, by: str) -> None:
    story = ended(how)
    assert grant(story).state == how
    story.when(command, by=by).refused(GrantHasEnded)
    assert grant(story).state == how


def test_i13_the_customer_leaves_the_release_with_the_last_live_grant_only() -> None:
    story = approve(second_request(granted(), "northwind", "nina", "nw-2"), "nw-2", "g-2")
    story.when(RevokeGrant("g", "Misuse", "Breach"), by="carl").then(GrantRevoked("Misuse", "Breach", False))
    story.when(SurrenderGrant("g-2"), by="nina").then(GrantSurrendered(), CustomerLeft("northwind"))
    assert story.state("release-gpt-5.6").admitted == {}


def test_i13_two_grants_that_expire_together_leave_once() -> None:
    story = approve(second_request(granted(), "northwind", "nina", "nw-2"), "nw-2", "g-2")
    story.when_time_passes("2027-02-01T00:00:00Z").then(
        GrantExpired(UNTIL), GrantExpired(UNTIL), CustomerLeft("northwind")
    )


def test_a_grant_of_a_withdrawn_release_may_still_be_ended() -> None:
    story = granted().given(WithdrawRelease("gpt-5.6", "Unsafe"), by="rae")
    story.when(SurrenderGrant("g"), by="nina").then(GrantSurrendered(), CustomerLeft("northwind"))


def test_who_may_not_see_a_grant_does_not_find_it() -> None:
    story = granted()
    story.when(SurrenderGrant("g"), by="tom").refused(NotFound)
    story.when(SuspendGrant("g", "Misuse"), by="bea").refused(NotFound)
    story.when(SurrenderGrant("unknown"), by="nina").refused(NotFound)


def test_an_officer_of_two_agencies_says_as_whom_they_act() -> None:
    story = granted().given(Appoint("ostp", "olga", "reviewer"))
    story.when(SuspendGrant("g", "Misuse"), by="olga", acting_as="ostp/reviewer").then(GrantSuspended("Misuse"))
    assert set(grant(story).suspensions) == {"ostp"}


def test_an_amendment_names_only_what_it_changes() -> None:
    story = granted(ask=application(user_classes=("us_person",)))
    same = {"tiers": ("standard",), "user_classes": ("us_person",), "until": UNTIL}
    story.when(AmendGrant("g", "Same", **same), by="carl").refused(Malformed, "tiers, user_classes or until")
    sooner = instant("2026-11-01")
    story.when(AmendGrant("g", "Sooner", **{**same, "until": sooner}), by="carl").then(
        GrantAmended(None, None, sooner, "Sooner")
    )


def test_i12_who_suspended_is_named_where_another_would_reinstate() -> None:
    story = granted().given(SuspendGrant("g", "Misuse"), by="sam")
    story.when(ReinstateGrant("g"), by="olga").refused(SuspendedByAnother, "an officer of ostp")
