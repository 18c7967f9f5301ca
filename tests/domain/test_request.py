"""How does a request go from a draft to its decision, and what stands in its way?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import pytest

from domain.calendar import AmendCalendar
from domain.errors import (
    AlreadyAnswered,
    AlreadyEscalated,
    AlreadyExtended,
    AlreadyRecused,
    AlreadySigned,
    Malformed,
    NamesUnknown,
    NotADraft,
    NotAnswered,
    NotAuthorised,
    NotEscalated,
    NotFound,
    NothingToCountersign,
    NotInReview,
    NotRegistrable,
    NotWaitingForDecision,
    OrganizationClosed,
    ReleaseWithdrawnAlready,
    RequestIsDecided,
    SeparationOfDuties,
    SignOffsMissing,
    TooLate,
)
from domain.grant import ConditionSet, GrantIssued, GrantSuperseded, RevokeGrant
from domain.organization import AddAffiliate, Appoint, ChangeOrganization, EndAppointment
from domain.policy import Clocks, GrantTerms
from domain.release import CustomerAdmitted, WithdrawRelease
from domain.request import (
    AcceptInformation,
    AgencySignedOff,
    AmendRequest,
    Changes,
    Countersign,
    CountersignRefused,
    DeadlineMissed,
    Decide,
    DisputeResolved,
    DueDateMoved,
    Escalate,
    ExtendReview,
    InformationAccepted,
    InformationProvided,
    InformationRequested,
    InformationRequestLapsed,
    NoObjectionDeemed,
    PersonRecused,
    ProvideInformation,
    Recuse,
    RegisterRequest,
    RequestAmended,
    RequestApproved,
    RequestDenied,
    RequestDrafted,
    RequestEscalated,
    RequestInformation,
    RequestRegistered,
    RequestReturned,
    RequestSubmitted,
    RequestWithdrawn,
    ResolveDispute,
    ReturnWithoutAction,
    ReviewExtended,
    SignOff,
    SignOffCountersigned,
    SignOffVoided,
    SubmitRequest,
    WithdrawRequest,
)
from domain.sign_offs import AllOf, AtLeast, Leaf, ProposedCondition
from tests.spec import (
    COMMERCE,
    ONCD,
    OSTP,
    PHASES,
    THREE_AGENCIES,
    Story,
    application,
    appoint,
    approve,
    granted,
    in_review,
    instant,
    preview,
)

DUE = instant("2026-07-27T21:00:00Z")
"""Thirty days after 27 June."""


def yes(agency: str, **given: Any) -> SignOff:
    return SignOff("nw", agency, "approve", **given)


def no(agency: str, reason: str = "Too risky") -> SignOff:
    return SignOff("nw", agency, "refuse", reason=reason)


def request(story: Story) -> Any:
    return story.state("request-nw")


# Drafting and submitting


def test_a_request_is_handed_in_at_once_and_pinned_to_the_policy_in_force() -> None:
    story = (
        preview()
        .when(application(user_classes=("us_person",)), by="nina", ids=["nw"])
        .then(
            RequestSubmitted(
                "northwind", "gpt-5.6", "openai", "standard", "Fraud analysis", ANY, ("us_person",), (), 180, None, None
            )
        )
    )
    terms = request(story).terms
    assert (terms.policy, terms.version, terms.sign_offs) == ("frontier-preview", 1, THREE_AGENCIES)
    assert (request(story).state, request(story).applicant) == ("submitted", "nina")


def test_a_draft_is_handed_in_later() -> None:
    story = (
        preview()
        .when(application(draft=True), by="nina", ids=["nw"])
        .then(RequestDrafted("northwind", "gpt-5.6", "openai", "standard", "Fraud analysis", (), (), 180, None))
    )
    assert request(story).state == "draft"
    story.when(SubmitRequest("nw"), by="nina").then(
        RequestSubmitted("northwind", "gpt-5.6", "openai", "standard", "Fraud analysis", ANY, (), (), 180)
    )
    story.when(SubmitRequest("nw"), by="nina").refused(NotADraft)


def test_an_intake_has_a_due_date_where_the_policy_says_so() -> None:
    story = preview(clocks=Clocks(30, "business", intake_days=3)).given(application(), by="nina", ids=["nw"])
    assert request(story).intake_due == instant("2026-07-01T21:00:00Z")


def test_a_missing_tier_means_the_only_one() -> None:
    story = preview().given(application(tier=None), by="nina", ids=["nw"])
    assert request(story).tier == "standard"


def test_of_several_tiers_one_is_named() -> None:
    preview(tiers=("standard", "pro")).when(application(tier=None), by="nina").refused(Malformed)


@pytest.mark.parametrize(
    "given",
    [{"release": "gpt-9"}, {"tier": "pro"}, {"affiliates": ("nw-labs",)}, {"renews": "g"}],
)
def test_what_a_request_names_exists(given: dict[str, Any]) -> None:
    ask = replace(application(), **given)
    preview().when(ask, by="nina").refused(NamesUnknown)


def test_a_known_affiliate_may_be_named() -> None:
    story = preview().given(AddAffiliate("northwind", "nw-labs", "Northwind Labs", "GB"))
    story.given(application(affiliates=("nw-labs",)), by="nina", ids=["nw"])
    assert request(story).affiliates == ("nw-labs",)


def test_a_closed_customer_asks_for_nothing() -> None:
    preview().given(ChangeOrganization("northwind", closed=True)).when(application(), by="nina").refused(
        OrganizationClosed
    )


def test_nobody_asks_for_a_withdrawn_release() -> None:
    preview().given(WithdrawRelease("gpt-5.6", "Unsafe"), by="rae").when(application(), by="nina").refused(
        ReleaseWithdrawnAlready
    )


def test_only_a_grant_of_the_same_customer_and_release_is_renewed() -> None:
    granted().when(application("tinker", renews="g"), by="tom").refused(NamesUnknown)


# Registration and return


def test_registration_starts_the_clock_of_each_agency() -> None:
    tree = AllOf((ONCD, Leaf("ostp", due_days=5, days="business")))
    story = preview(tree).given(application(), by="nina", ids=["nw"]).at("2026-06-27T14:00:00Z")
    dues = {"oncd": DUE, "ostp": instant("2026-07-06T21:00:00Z")}
    story.when(RegisterRequest("nw"), by="rita").then(RequestRegistered(DUE, dues))
    assert request(story).state == "in_review"


def test_a_draft_is_not_registered() -> None:
    preview().given(application(draft=True), by="nina", ids=["nw"]).when(RegisterRequest("nw"), by="rita").refused(
        NotRegistrable, "a submission"
    )


def test_a_request_is_registered_once() -> None:
    in_review().when(RegisterRequest("nw"), by="rita").refused(NotRegistrable)


def test_an_incomplete_request_is_returned_without_action() -> None:
    story = preview().given(application(), by="nina", ids=["nw"])
    story.when(ReturnWithoutAction("nw", "No use is described"), by="rita").then(RequestReturned("No use is described"))
    assert request(story).state == "returned"


def test_a_draft_is_not_returned() -> None:
    story = preview().given(application(draft=True), by="nina", ids=["nw"])
    story.when(ReturnWithoutAction("nw", "Empty"), by="rita").refused(NotRegistrable)


def test_a_request_is_withdrawn_at_any_time_before_its_decision() -> None:
    for story in (preview().given(application(draft=True), by="nina", ids=["nw"]), in_review()):
        story.when(WithdrawRequest("nw", "Not needed"), by="nina").then(RequestWithdrawn("Not needed"))
        assert request(story).state == "withdrawn"


@pytest.mark.parametrize(
    ("command", "by"),
    [
        (yes("oncd"), "olga"),
        (Countersign("nw", "commerce"), "carl"),
        (ExtendReview("nw", "oncd", 5, "More time"), "olga"),
        (RequestInformation("nw", "oncd", "Why?"), "olga"),
        (Escalate("nw", "Stuck"), "omar"),
        (ResolveDispute("nw", "deny", "No"), "dean"),
        (Decide("nw", "deny", "No"), "dean"),
        (ProvideInformation("nw", 1, "Because"), "nina"),
    ],
)
def test_nothing_is_reviewed_before_registration(command: Any, by: str) -> None:
    preview().given(application(), by="nina", ids=["nw"]).when(command, by=by).refused(NotInReview, "registration")


# Sign-offs


def test_an_agency_signs_off_the_current_revision() -> None:
    story = (
        in_review()
        .when(yes("oncd", reason="Fine", note="Ask again in a year"), by="olga")
        .then(AgencySignedOff("oncd", 1, "approve", (), "Fine", "Ask again in a year"))
    )
    assert request(story).state == "in_review"


def test_i2_the_last_sign_off_approves_and_issues_the_grant_in_one_append() -> None:
    story = in_review(ask=application(user_classes=("us_person",))).given(yes("oncd"), by="olga")
    story.given(yes("ostp"), by="sam").given(yes("commerce"), by="cora").at("2026-06-30T15:00:00Z")
    agencies = ("oncd", "ostp", "commerce")
    until = instant("2026-12-27T15:00:00Z")
    story.when(Countersign("nw", "commerce"), by="carl", ids=["g"]).then(
        SignOffCountersigned("commerce", ("cora",)),
        RequestApproved("g"),
        GrantIssued(
            *("nw", "northwind", "gpt-5.6", "openai", "frontier-preview", 1, agencies),
            *(("standard",), ("us_person",), (), (), until, None),
        ),
        CustomerAdmitted("northwind", "g"),
    )
    assert (request(story).state, request(story).grant) == ("approved", "g")


@pytest.mark.parametrize(
    ("policy_days", "asked_days", "until"),
    [
        (180, 90, "2026-09-25T14:00:00Z"),
        (90, 180, "2026-09-25T14:00:00Z"),
        (90, None, "2026-09-25T14:00:00Z"),
        (None, 90, "2026-09-25T14:00:00Z"),
        (None, None, None),
    ],
)
def test_a_grants_days_are_the_smaller_of_the_policys_and_the_requests(
    policy_days: int | None, asked_days: int | None, until: str | None
) -> None:
    story = in_review(ONCD, ask=application(duration_days=asked_days), grant=GrantTerms(policy_days))
    story.given(yes("oncd"), by="olga", ids=["g"])
    assert story.state("grant-g").until == (instant(until) if until else None)


def test_i2_a_quorum_counts_distinct_people() -> None:
    story = appoint(in_review(Leaf("oncd", 2)), "oncd", "reviewer", "otto")
    story.when(yes("oncd"), by="olga").then(AgencySignedOff("oncd", 1, "approve"))
    story.when(yes("oncd", reason="Twice"), by="olga").then(AgencySignedOff("oncd", 1, "approve", (), "Twice"))
    story.given(yes("oncd"), by="otto")
    assert request(story).state == "approved"


def test_one_of_several_agencies_may_suffice() -> None:
    story = in_review(AllOf((ONCD, AtLeast(1, (OSTP, COMMERCE))))).given(yes("ostp"), by="sam")
    assert request(story).state == "in_review"
    story.given(yes("oncd"), by="olga")
    assert request(story).state == "approved"


def test_the_same_position_is_taken_once() -> None:
    in_review().given(yes("oncd"), by="olga").when(yes("oncd"), by="olga").refused(AlreadySigned)


def test_an_agency_may_revise_its_position_until_the_request_is_decided() -> None:
    story = in_review(on_refusal="escalate").given(no("oncd"), by="olga").given(yes("oncd"), by="olga")
    story.given(yes("ostp"), by="sam").given(yes("commerce"), by="cora").given(Countersign("nw", "commerce"), by="carl")
    assert request(story).state == "approved"
    story.when(no("oncd"), by="olga").refused(RequestIsDecided)


@pytest.mark.parametrize(
    "sign_off",
    [
        SignOff("nw", "oncd", "approve", (ProposedCondition("Report"),)),
        SignOff("nw", "oncd", "refuse", (ProposedCondition("Report"),)),
        SignOff("nw", "oncd", "approve_with_conditions"),
    ],
)
def test_conditions_go_with_the_position_that_has_them(sign_off: SignOff) -> None:
    in_review().when(sign_off, by="olga").refused(Malformed)


def test_the_conditions_of_all_agencies_go_into_the_grant_in_the_trees_order() -> None:
    story = in_review(AllOf((ONCD, OSTP)))
    later, first = ProposedCondition("Report misuse"), ProposedCondition("Audit the keys", "precondition", 10)
    story.given(SignOff("nw", "ostp", "approve_with_conditions", (later,)), by="sam")
    story.given(SignOff("nw", "oncd", "approve_with_conditions", (first,)), by="olga", ids=["g"])
    assert story.events("grant-g")[0].conditions == (
        ConditionSet(1, "oncd", "Audit the keys", "precondition", instant("2026-07-07T21:00:00Z")),
        ConditionSet(2, "ostp", "Report misuse", "ongoing", None),
    )


def test_a_conditions_due_date_rolls_over_recorded_closures_like_every_other() -> None:
    story = in_review(ONCD)
    story.given(AmendCalendar("us-federal", (instant("2026-07-07").date(),), "Storm"))
    first = ProposedCondition("Audit the keys", "precondition", 10)
    story.given(SignOff("nw", "oncd", "approve_with_conditions", (first,)), by="olga", ids=["g"])
    assert story.events("grant-g")[0].conditions[0].due == instant("2026-07-08T21:00:00Z")


# Refusals


def test_one_refusal_denies_where_the_policy_says_deny() -> None:
    story = (
        in_review()
        .when(no("oncd"), by="olga")
        .then(
            AgencySignedOff("oncd", 1, "refuse", (), "Too risky"),
            RequestDenied("The review did not approve the request.", ("oncd",)),
        )
    )
    assert request(story).state == "denied"


def test_one_refusal_escalates_where_the_policy_says_escalate() -> None:
    story = (
        in_review(on_refusal="escalate")
        .when(no("oncd"), by="olga")
        .then(AgencySignedOff("oncd", 1, "refuse", (), "Too risky"), RequestEscalated("Refused by oncd."))
    )
    assert request(story).state == "escalated"


def test_a_refusal_that_another_agency_can_make_up_for_settles_nothing() -> None:
    in_review(AtLeast(1, (ONCD, OSTP))).when(no("oncd"), by="olga").then(
        AgencySignedOff("oncd", 1, "refuse", (), "Too risky")
    )


def test_a_refusal_waits_for_its_countersignature() -> None:
    story = in_review().when(no("commerce"), by="cora").then(AgencySignedOff("commerce", 1, "refuse", (), "Too risky"))
    story.when(Countersign("nw", "commerce"), by="carl").then(
        SignOffCountersigned("commerce", ("cora",)),
        RequestDenied("The review did not approve the request.", ("commerce",)),
    )


# Countersignatures


def test_a_countersigner_may_send_a_position_back() -> None:
    story = in_review().given(yes("commerce"), by="cora")
    story.when(Countersign("nw", "commerce", "refuse", "Too soon"), by="carl").then(
        CountersignRefused("commerce", ("cora",), "Too soon")
    )
    story.when(Countersign("nw", "commerce"), by="carl").refused(NothingToCountersign)
    story.when(yes("commerce"), by="cora").then(AgencySignedOff("commerce", 1, "approve"))


def test_i4_nobody_countersigns_their_own_sign_off() -> None:
    story = in_review().given(yes("commerce"), by="cleo")
    story.when(Countersign("nw", "commerce"), by="cleo").refused(SeparationOfDuties, "another countersigner")


def test_i4_a_countersigner_confirms_all_positions_but_their_own() -> None:
    story = in_review(Leaf("commerce", 2, True)).given(yes("commerce"), by="cleo").given(yes("commerce"), by="cora")
    story.when(Countersign("nw", "commerce"), by="cleo").then(SignOffCountersigned("commerce", ("cora",)))
    story.given(Countersign("nw", "commerce"), by="carl")
    assert request(story).state == "approved"


def test_i4_nobody_countersigns_for_their_own_organizations_request() -> None:
    story = in_review().given(Appoint("northwind", "carl", "applicant")).given(yes("commerce"), by="cora")
    story.when(Countersign("nw", "commerce"), by="carl").refused(SeparationOfDuties)


# Separation of duties (I4)


def test_i4_nobody_signs_off_their_own_organizations_request() -> None:
    story = in_review().given(Appoint("northwind", "olga", "applicant"))
    story.when(yes("oncd"), by="olga").refused(SeparationOfDuties, "another officer")


def test_i4_who_has_left_the_customer_may_sign_off() -> None:
    story = in_review().given(Appoint("northwind", "olga", "applicant"))
    story.given(EndAppointment("northwind", "olga", "applicant"))
    story.when(yes("oncd"), by="olga").then(AgencySignedOff("oncd", 1, "approve"))


def test_i4_who_applied_does_not_sign_off_after_changing_sides() -> None:
    story = in_review().given(EndAppointment("northwind", "nina", "applicant"), Appoint("oncd", "nina", "reviewer"))
    story.when(yes("oncd"), by="nina").refused(SeparationOfDuties)


def test_i4_nobody_counts_twice_in_a_tree() -> None:
    story = in_review().given(Appoint("ostp", "olga", "reviewer")).given(yes("oncd"), by="olga")
    story.when(yes("ostp"), by="olga").refused(SeparationOfDuties)


def test_who_belongs_to_two_agencies_signs_for_the_named_one() -> None:
    story = in_review().given(Appoint("ostp", "olga", "reviewer"))
    story.when(yes("ostp"), by="olga").then(AgencySignedOff("ostp", 1, "approve"))
    assert story.facts[-1].by.organization == "ostp"


# One decision (I1)


@pytest.mark.parametrize(
    ("command", "by"),
    [
        (yes("oncd"), "olga"),
        (Countersign("nw", "commerce"), "carl"),
        (AmendRequest("nw", Changes(tier="standard")), "nina"),
        (WithdrawRequest("nw"), "nina"),
        (ReturnWithoutAction("nw", "Late"), "rita"),
        (RegisterRequest("nw"), "rita"),
        (SubmitRequest("nw"), "nina"),
        (RequestInformation("nw", "oncd", "Why?"), "olga"),
        (ExtendReview("nw", "oncd", 5, "More time"), "olga"),
        (Recuse("nw", "sam"), "rita"),
        (Escalate("nw", "Stuck"), "omar"),
        (ResolveDispute("nw", "deny", "No"), "dean"),
        (Decide("nw", "deny", "No"), "dean"),
    ],
)
def test_i1_a_decided_request_is_not_decided_again(command: Any, by: str) -> None:
    for decided in (
        granted(),
        in_review().given(no("oncd"), by="olga"),
        in_review().given(WithdrawRequest("nw"), by="nina"),
    ):
        decided.when(command, by=by).refused(RequestIsDecided)


# Amendments


def test_a_material_change_is_a_new_revision_that_voids_the_sign_offs_and_starts_the_clock_anew() -> None:
    story = in_review().given(yes("oncd"), by="olga").given(yes("commerce"), by="cora").at("2026-07-01T14:00:00Z")
    due = instant("2026-07-31T21:00:00Z")
    story.when(AmendRequest("nw", Changes(use="More than fraud"), "Grown"), by="nina").then(
        RequestAmended(2, Changes(use="More than fraud"), True, "Grown"),
        SignOffVoided("oncd", ("olga",)),
        SignOffVoided("commerce", ("cora",)),
        DueDateMoved(due, {"oncd": due, "ostp": due, "commerce": due}, "The application was changed materially."),
    )
    assert (request(story).revision, request(story).use) == (2, "More than fraud")


def test_i2_sign_offs_on_an_earlier_revision_do_not_count() -> None:
    story = in_review(AllOf((ONCD, OSTP))).given(yes("oncd"), by="olga")
    story.given(AmendRequest("nw", Changes(use="More")), by="nina").given(yes("ostp"), by="sam")
    assert request(story).state == "in_review"
    story.when(yes("oncd"), by="olga", ids=["g"]).then(
        AgencySignedOff("oncd", 2, "approve"), RequestApproved("g"), ANY, CustomerAdmitted("northwind", "g")
    )


@pytest.mark.parametrize(
    "changes",
    [
        Changes(use="Another use"),
        Changes(tier="pro"),
        Changes(user_classes=("foreign_national",)),
        Changes(affiliates=("nw-labs",)),
        Changes(duration_days=181),
    ],
)
def test_what_an_agency_weighs_is_material(changes: Changes) -> None:
    story = in_review(tiers=("standard", "pro")).given(AddAffiliate("northwind", "nw-labs", "Labs", "GB"))
    story.given(yes("oncd"), by="olga").given(AmendRequest("nw", changes), by="nina")
    assert SignOffVoided("oncd", ("olga",)) in story.events("request-nw")


def test_a_shorter_duration_is_not_material() -> None:
    story = in_review().given(yes("oncd"), by="olga")
    story.when(AmendRequest("nw", Changes(duration_days=90)), by="nina").then(
        RequestAmended(2, Changes(duration_days=90), False)
    )
    assert len(request(story).sheet.signatures) == 1


def test_an_amendment_before_registration_moves_nothing() -> None:
    story = preview().given(application(draft=True), by="nina", ids=["nw"])
    story.when(AmendRequest("nw", Changes(use="Better words")), by="nina").then(
        RequestAmended(2, Changes(use="Better words"), True)
    )


def test_an_amendment_that_changes_nothing_is_refused() -> None:
    in_review().when(AmendRequest("nw", Changes()), by="nina").refused(Malformed)


def test_an_amendment_to_what_is_asked_for_already_is_refused_and_voids_nothing() -> None:
    story = in_review().given(yes("oncd"), by="olga")
    story.when(AmendRequest("nw", Changes(tier="standard")), by="nina").refused(Malformed)


@pytest.mark.parametrize("changes", [Changes(tier="pro"), Changes(affiliates=("nw-labs",))])
def test_what_an_amendment_names_exists(changes: Changes) -> None:
    in_review().when(AmendRequest("nw", changes), by="nina").refused(NamesUnknown)


def test_i2_i3_silence_and_overruling_do_not_outlast_a_material_change() -> None:
    tree = AllOf((ONCD, Leaf("ostp", due_days=5, silence="no_objection")))
    story = (
        in_review(tree)
        .when_time_passes("2026-07-03T12:00:00Z")
        .then(NoObjectionDeemed("ostp", instant("2026-07-02T21:00:00Z")))
    )
    story.given(AmendRequest("nw", Changes(use="More")), by="nina").given(yes("oncd"), by="olga")
    assert request(story).state == "in_review"
    story.when_time_passes("2026-07-09T12:00:00Z", ids=["g"]).then(
        NoObjectionDeemed("ostp", instant("2026-07-08T21:00:00Z")), RequestApproved("g"), ANY, ANY
    )


# Information and the clock (I9)


def asked() -> Story:
    story = in_review().at("2026-07-01T15:00:00Z")
    return story.given(RequestInformation("nw", "oncd", "Who holds the keys?"), by="olga")


def test_i9_a_question_stops_the_clock_and_an_answer_starts_it() -> None:
    story = in_review().at("2026-07-01T15:00:00Z")
    story.when(RequestInformation("nw", "oncd", "Who holds the keys?"), by="olga").then(
        InformationRequested(1, "oncd", "Who holds the keys?", instant("2026-07-13T21:00:00Z"))
    )
    assert request(story).state == "on_hold"
    due = instant("2026-08-03T21:00:00Z")
    story.at("2026-07-06T15:00:00Z").when(ProvideInformation("nw", 1, "Two founders"), by="nina").then(
        InformationProvided(1, "Two founders"),
        DueDateMoved(
            due, dict.fromkeys(("oncd", "ostp", "commerce"), due), "The agencies were waiting for the applicant."
        ),
    )
    assert request(story).state == "in_review"


def test_i9_questions_that_overlap_stop_the_clock_for_their_union() -> None:
    story = asked().at("2026-07-03T15:00:00Z").given(RequestInformation("nw", "ostp", "And when?"), by="sam")
    story.at("2026-07-06T15:00:00Z").when(ProvideInformation("nw", 1, "Two"), by="nina").then(
        InformationProvided(1, "Two")
    )
    assert request(story).state == "on_hold"
    story.at("2026-07-08T15:00:00Z").when(ProvideInformation("nw", 2, "Now"), by="nina").then(
        InformationProvided(2, "Now"), DueDateMoved(instant("2026-08-03T21:00:00Z"), ANY, ANY)
    )


def test_i9_an_answer_on_the_same_day_moves_no_date() -> None:
    asked().at("2026-07-01T20:00:00Z").when(ProvideInformation("nw", 1, "Two"), by="nina").then(
        InformationProvided(1, "Two")
    )


def test_i9_no_due_date_passes_while_the_clock_stands_still() -> None:
    story = in_review(clocks=Clocks(5, "calendar")).at("2026-06-30T15:00:00Z")
    story.given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    story.when_time_passes("2026-09-01T15:00:00Z").nothing()
    story.given(ProvideInformation("nw", 1, "We"), by="nina")
    assert request(story).due > story.now


def test_i2_nothing_is_approved_while_a_question_of_a_needed_agency_is_open() -> None:
    story = in_review(AllOf((ONCD, OSTP))).given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    story.given(yes("oncd"), by="olga").given(yes("ostp"), by="sam")
    assert request(story).state == "on_hold"
    story.given(ProvideInformation("nw", 1, "We"), by="nina")
    assert request(story).state == "in_review"
    story.when(AcceptInformation("nw", 1), by="omar", ids=["g"]).then(
        InformationAccepted(1), RequestApproved("g"), ANY, ANY
    )


def test_only_an_answer_is_accepted_and_only_once() -> None:
    story = asked()
    story.when(AcceptInformation("nw", 1), by="olga").refused(NotAnswered)
    story.given(ProvideInformation("nw", 1, "We"), by="nina").given(AcceptInformation("nw", 1), by="olga")
    story.when(AcceptInformation("nw", 1), by="olga").refused(AlreadyAnswered)


def test_a_question_is_answered_once() -> None:
    story = asked().given(ProvideInformation("nw", 1, "We"), by="nina")
    story.when(ProvideInformation("nw", 1, "They"), by="nina").refused(AlreadyAnswered)


def test_only_the_agency_that_asked_accepts_the_answer() -> None:
    asked().given(ProvideInformation("nw", 1, "We"), by="nina").when(AcceptInformation("nw", 1), by="sam").refused(
        NotAuthorised
    )


@pytest.mark.parametrize(
    ("command", "by"), [(ProvideInformation("nw", 2, "We"), "nina"), (AcceptInformation("nw", 2), "olga")]
)
def test_a_question_that_nobody_asked_is_not_found(command: Any, by: str) -> None:
    asked().when(command, by=by).refused(NotFound)


def test_a_request_lapses_when_the_applicant_does_not_answer_in_time() -> None:
    story = asked().when_time_passes("2026-07-13T20:59:59Z").nothing()
    story.when_time_passes("2026-07-13T21:00:00Z").then(InformationRequestLapsed(1))
    assert request(story).state == "lapsed"


def test_without_information_days_nothing_lapses() -> None:
    story = in_review(clocks=Clocks(30)).given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    story.when_time_passes("2027-07-01T15:00:00Z").nothing()


# Extensions


def test_a_review_is_extended_once_and_before_it_is_due() -> None:
    due = instant("2026-08-03T21:00:00Z")
    story = (
        in_review()
        .when(ExtendReview("nw", "oncd", 7, "Holidays"), by="olga")
        .then(ReviewExtended("oncd", 7, due, dict.fromkeys(("oncd", "ostp", "commerce"), due), "Holidays"))
    )
    story.when(ExtendReview("nw", "ostp", 7, "More"), by="sam").refused(AlreadyExtended)


def test_a_review_that_is_due_is_not_extended() -> None:
    in_review().at("2026-07-27T21:00:00Z").when(ExtendReview("nw", "oncd", 7, "Late"), by="olga").refused(TooLate)


# Silence (I3)


def test_i3_silence_blocks_unless_the_policy_says_otherwise() -> None:
    story = in_review(AllOf((ONCD, OSTP))).given(yes("oncd"), by="olga")
    story.when_time_passes("2026-07-27T20:59:59Z").nothing()
    story.when_time_passes("2026-07-28T00:00:00Z").then(DeadlineMissed("ostp", DUE))
    assert request(story).state == "in_review"
    story.when_time_passes("2026-12-01T00:00:00Z").nothing()
    story.given(yes("ostp"), by="sam")
    assert request(story).state == "approved"


def test_i3_silence_escalates_where_the_policy_says_so() -> None:
    story = in_review(AllOf((ONCD, Leaf("ostp", silence="escalate"))))
    story.when_time_passes("2026-07-28T00:00:00Z").then(
        DeadlineMissed("oncd", DUE),
        DeadlineMissed("ostp", DUE),
        RequestEscalated("ostp was silent until its due date."),
    )
    assert request(story).state == "escalated"


def test_i3_silence_is_no_objection_where_the_policy_says_so_and_an_event_of_the_system() -> None:
    story = in_review(AllOf((ONCD, Leaf("ostp", silence="no_objection")))).given(yes("oncd"), by="olga")
    story.when_time_passes("2026-07-28T00:00:00Z", ids=["g"]).then(
        NoObjectionDeemed("ostp", DUE), RequestApproved("g"), ANY, CustomerAdmitted("northwind", "g")
    )
    assert {fact.by.person for fact in story.facts[-4:]} == {"system"}
    assert {fact.occurred for fact in story.facts[-4:]} == {DUE}
    assert [s.agency for s in request(story).sheet.signatures] == ["oncd"], "silence is no approval"


def test_i3_who_has_spoken_is_not_silent() -> None:
    tree = AllOf((ONCD, Leaf("commerce", countersign=True, silence="no_objection")))
    story = in_review(tree).given(no("commerce"), by="cora")
    story.when_time_passes("2026-07-28T00:00:00Z").then(DeadlineMissed("oncd", DUE), DeadlineMissed("commerce", DUE))


def test_i3_an_agency_that_is_not_needed_any_more_misses_nothing() -> None:
    story = in_review(AllOf((ONCD, AtLeast(1, (OSTP, COMMERCE))))).given(yes("ostp"), by="sam")
    story.when_time_passes("2026-07-28T00:00:00Z").then(DeadlineMissed("oncd", DUE))


def test_an_intake_that_is_late_is_recorded_once() -> None:
    story = preview(clocks=Clocks(30, intake_days=5)).given(application(), by="nina", ids=["nw"])
    due = instant("2026-07-01T21:00:00Z")
    story.when_time_passes("2026-08-01T00:00:00Z").then(DeadlineMissed(None, due))
    story.when_time_passes("2026-09-01T00:00:00Z").nothing()
    story.given(RegisterRequest("nw"), by="rita")


def test_i8_due_timers_are_decided_before_a_command_in_due_order_and_in_the_same_append() -> None:
    tree = AllOf((Leaf("oncd", due_days=9), Leaf("ostp", due_days=5), COMMERCE))
    story = in_review(tree).at("2026-07-10T12:00:00Z")
    story.when(yes("commerce"), by="cora").then(
        DeadlineMissed("ostp", instant("2026-07-02T21:00:00Z")),
        DeadlineMissed("oncd", instant("2026-07-06T21:00:00Z")),
        AgencySignedOff("commerce", 1, "approve"),
    )
    assert [fact.by.person for fact in story.facts[-3:]] == ["system", "system", "cora"]


def test_i8_a_command_after_a_lapse_finds_the_request_lapsed_and_leaves_nothing() -> None:
    asked().at("2026-07-14T12:00:00Z").when(ProvideInformation("nw", 1, "Late"), by="nina").refused(RequestIsDecided)


def test_i8_a_timer_never_stands_in_the_way_of_a_later_command() -> None:
    """Silence satisfies the tree, but the phase is full: the request goes on waiting, and may be withdrawn."""
    phases = (PHASES[0], replace(PHASES[1], customer_cap=1))
    tree = Leaf("oncd", silence="no_objection")
    story = in_review(tree, phases=phases).given(application("tinker"), by="tom", ids=["tk"])
    story.given(RegisterRequest("tk"), by="rita").given(SignOff("nw", "oncd", "approve"), by="olga")
    story.at("2026-07-28T12:00:00Z").given(WithdrawRequest("tk"), by="tom")
    assert story.state("request-tk").state == "withdrawn"


def test_i8_a_timer_does_not_stand_in_the_way_when_the_release_is_withdrawn() -> None:
    story = in_review(Leaf("oncd", silence="no_objection")).given(WithdrawRelease("gpt-5.6", "Unsafe"), by="rae")
    story.at("2026-07-28T12:00:00Z").given(WithdrawRequest("nw"), by="nina")
    assert request(story).state == "withdrawn"


# Recusal (I5)


def test_i5_a_recused_person_neither_acts_nor_sees() -> None:
    story = (
        in_review()
        .when(Recuse("nw", "olga", "A cousin works there"), by="olga")
        .then(PersonRecused("olga", "A cousin works there"))
    )
    story.when(yes("oncd"), by="olga").refused(NotFound)
    story.when(RequestInformation("nw", "oncd", "Why?"), by="olga").refused(NotFound)
    story.when(yes("oncd"), by="omar").then(AgencySignedOff("oncd", 1, "approve"))


def test_i5_a_person_is_recused_once() -> None:
    in_review().given(Recuse("nw", "olga"), by="rita").when(Recuse("nw", "olga"), by="rita").refused(AlreadyRecused)


def test_i5_where_no_eligible_officer_is_left_the_request_is_escalated() -> None:
    story = in_review().given(Recuse("nw", "olga"), by="rita")
    story.when(Recuse("nw", "omar"), by="rita").then(
        PersonRecused("omar"), RequestEscalated("No officer of oncd is left who could sign.")
    )


def test_i5_where_no_eligible_countersigner_is_left_the_request_is_escalated() -> None:
    story = in_review().given(yes("commerce"), by="cora").given(Recuse("nw", "carl"), by="rita")
    story.when(Recuse("nw", "cleo"), by="rita").then(PersonRecused("cleo"), RequestEscalated(ANY))


def test_i5_an_agency_that_has_signed_needs_no_further_officer() -> None:
    story = in_review().given(yes("oncd"), by="omar").given(Recuse("nw", "olga"), by="rita")
    story.given(EndAppointment("oncd", "omar", "head"))
    story.when(Recuse("nw", "nobody-known"), by="rita").then(PersonRecused("nobody-known"))


# Escalation and dispute


def refused_and_escalated() -> Story:
    story = in_review(AllOf((ONCD, OSTP)), on_refusal="escalate").given(no("oncd"), by="olga")
    return story.given(yes("ostp"), by="sam")


def test_a_request_is_escalated_by_hand_once() -> None:
    story = in_review().when(Escalate("nw", "Stuck"), by="omar").then(RequestEscalated("Stuck"))
    story.when(Escalate("nw", "Stuck"), by="rita").refused(AlreadyEscalated)


def test_i2_a_resolution_approves_by_naming_the_overruled_agency() -> None:
    story = refused_and_escalated()
    story.when(ResolveDispute("nw", "approve", "Overruled", ("oncd",)), by="dean", ids=["g"]).then(
        DisputeResolved("approve", ("oncd",), "Overruled"), RequestApproved("g"), ANY, ANY
    )


def test_i2_a_resolution_does_not_approve_what_it_does_not_name() -> None:
    refused_and_escalated().when(ResolveDispute("nw", "approve", "Yes"), by="dean").refused(
        SignOffsMissing, "sign-off of oncd"
    )


def test_a_resolution_may_deny() -> None:
    refused_and_escalated().when(ResolveDispute("nw", "deny", "Too risky"), by="dean").then(
        DisputeResolved("deny", (), "Too risky"), RequestDenied("Too risky", ("oncd",))
    )


def test_a_resolution_may_return() -> None:
    story = (
        refused_and_escalated()
        .when(ResolveDispute("nw", "return", "Ask anew"), by="dean")
        .then(DisputeResolved("return", (), "Ask anew"), RequestReturned("Ask anew"))
    )
    assert request(story).state == "returned"


def test_only_what_is_escalated_is_resolved() -> None:
    in_review().when(ResolveDispute("nw", "deny", "No"), by="dean").refused(NotEscalated)


def test_only_agencies_of_the_tree_are_overruled() -> None:
    refused_and_escalated().when(ResolveDispute("nw", "approve", "Yes", ("bis",)), by="dean").refused(NamesUnknown)


# A decider


def test_where_the_policy_has_a_decider_the_sign_offs_settle_nothing_by_themselves() -> None:
    story = in_review(ONCD, decider=True).when(yes("oncd"), by="olga").then(AgencySignedOff("oncd", 1, "approve"))
    assert request(story).state == "awaiting_decision"
    story.when(Decide("nw", "approve", "Agreed"), by="dean", ids=["g"]).then(
        RequestApproved("g", "Agreed"), ANY, CustomerAdmitted("northwind", "g")
    )


def test_a_decider_denies_what_awaits_a_decision() -> None:
    in_review(ONCD, decider=True).given(no("oncd"), by="olga").when(Decide("nw", "deny", "No"), by="dean").then(
        RequestDenied("No", ("oncd",))
    )


def test_i2_a_decider_does_not_approve_without_the_sign_offs() -> None:
    in_review(AllOf((ONCD, OSTP)), decider=True).given(yes("oncd"), by="olga").when(
        Decide("nw", "approve", "Yes"), by="dean"
    ).refused(SignOffsMissing, "sign-off of ostp")


def test_a_decider_does_not_deny_while_the_agencies_still_review() -> None:
    in_review(ONCD, decider=True).when(Decide("nw", "deny", "No"), by="dean").refused(NotWaitingForDecision)


def test_without_a_decider_in_the_policy_nobody_decides_but_the_tree() -> None:
    in_review().when(Decide("nw", "deny", "No"), by="dean").refused(NotWaitingForDecision)


# Renewal


def test_a_renewal_supersedes_the_old_grant() -> None:
    story = granted().given(application(renews="g"), by="nina", ids=["nw-2"]).given(RegisterRequest("nw-2"), by="rita")
    approve(story, "nw-2", "g-2")
    assert story.events()[-3:] == [ANY, GrantSuperseded("g-2"), CustomerAdmitted("northwind", "g-2")]
    assert story.state("grant-g").state == "superseded"
    assert story.state("grant-g-2").supersedes == "g"


def test_i12_a_renewal_does_not_touch_a_grant_that_was_revoked_meanwhile() -> None:
    story = granted().given(application(renews="g"), by="nina", ids=["nw-2"]).given(RegisterRequest("nw-2"), by="rita")
    story.given(RevokeGrant("g", "Misuse", "Breach"), by="carl")
    approve(story, "nw-2", "g-2")
    assert story.state("grant-g").state == "revoked"


def test_a_request_that_nobody_knows_is_not_found() -> None:
    in_review().when(SignOff("nothing", "oncd", "approve"), by="olga").refused(NotFound)


def test_an_agency_outside_the_tree_does_not_find_the_request() -> None:
    in_review().when(SignOff("nw", "bis", "approve"), by="bea").refused(NotFound)


def test_naming_an_agency_that_is_not_yours_is_not_authorised() -> None:
    in_review().when(yes("ostp"), by="olga").refused(NotAuthorised)


# Fine points


@pytest.mark.parametrize(("due", "kind"), [("2026-07-02T21:00:00Z", DeadlineMissed), ("2026-07-02T20:59:59Z", None)])
def test_a_deadline_is_missed_at_its_very_instant(due: str, kind: Any) -> None:
    passed = in_review(AllOf((Leaf("oncd", due_days=5), OSTP))).when_time_passes(due)
    assert [type(fact.event) for fact in passed.facts] == ([kind] if kind else [])


def test_an_intake_is_late_at_its_very_instant() -> None:
    story = preview(clocks=Clocks(30, "calendar", 10, intake_days=5)).given(application(), by="nina", ids=["nw"])
    due = request(story).intake_due
    story.when_time_passes(due.isoformat()).then(DeadlineMissed(None, due))


def test_i8_silence_that_approved_comes_before_a_command_that_is_too_late() -> None:
    story = in_review(Leaf("oncd", due_days=5, silence="no_objection")).at("2026-07-10T15:00:00Z")
    story.when(yes("oncd"), by="olga").refused(RequestIsDecided, "an open request")


def test_silence_that_completes_the_tree_says_why_nobody_could_be_admitted() -> None:
    phases = (PHASES[0], replace(PHASES[1], customer_cap=1))
    story = in_review(Leaf("oncd", due_days=5, silence="no_objection"), phases=phases)
    story.happened("release-gpt-5.6", CustomerAdmitted("tinker", "other"))
    full = "limited_preview takes 1 customers, and 1 are admitted."
    story.when_time_passes("2026-07-10T15:00:00Z").then(
        NoObjectionDeemed("oncd", instant("2026-07-02T21:00:00Z")),
        RequestEscalated(f"The sign-offs are complete, but {full}"),
    )


def test_silence_admits_a_customer_who_is_admitted_already_though_the_phase_is_full() -> None:
    phases = (PHASES[0], replace(PHASES[1], customer_cap=1))
    story = in_review(Leaf("oncd", due_days=5, silence="no_objection"), phases=phases)
    story.happened("release-gpt-5.6", CustomerAdmitted("northwind", "other"))
    story.when_time_passes("2026-07-10T15:00:00Z", ids=["g"]).then(
        NoObjectionDeemed("oncd", ANY), RequestApproved("g", ""), ANY, CustomerAdmitted("northwind", "g")
    )


def test_i4_who_signed_does_not_settle_the_dispute_nor_decide() -> None:
    story = appoint(refused_and_escalated(), "assent", "decider", "sam")
    settle = ResolveDispute("nw", "approve", "Overruled", ("oncd",))
    story.when(settle, by="sam").refused(SeparationOfDuties, "another decider")
    story = appoint(in_review(ONCD, decider=True), "assent", "decider", "olga").given(yes("oncd"), by="olga")
    story.when(Decide("nw", "approve", "Fine"), by="olga").refused(SeparationOfDuties, "another decider")


def test_i5_who_signed_before_being_recused_leaves_somebody_to_countersign() -> None:
    story = in_review().given(yes("commerce"), by="cora").given(Recuse("nw", "cleo"), by="rita")
    story.when(Recuse("nw", "cora"), by="rita").then(PersonRecused("cora"))


def test_i5_reviewers_alone_do_not_countersign() -> None:
    story = appoint(in_review(), "commerce", "reviewer", "cody").given(Recuse("nw", "carl"), by="rita")
    story.when(Recuse("nw", "cleo"), by="rita").then(
        PersonRecused("cleo"), RequestEscalated("No officer of commerce is left who could sign.")
    )


@pytest.mark.parametrize(
    ("begun", "command", "by", "state"),
    [
        (refused_and_escalated, ResolveDispute("nw", "deny", "No"), "dean", "denied"),
        (
            lambda: in_review(ONCD, decider=True).given(no("oncd"), by="olga"),
            Decide("nw", "deny", "No"),
            "dean",
            "denied",
        ),
        (
            lambda: in_review(Leaf("bis")).given(Recuse("nw", "ben"), by="rita"),
            Recuse("nw", "bea"),
            "rita",
            "escalated",
        ),
    ],
)
def test_what_is_decided_of_a_request_is_written_where_the_request_is(
    begun: Callable[[], Story], command: Any, by: str, state: str
) -> None:
    assert request(begun().given(command, by=by)).state == state


def test_what_a_draft_renews_is_handed_in_with_it() -> None:
    story = granted().given(application(renews="g", draft=True), by="nina", ids=["nw-2"])
    story.given(SubmitRequest("nw-2"), by="nina")
    assert story.events("request-nw-2")[-1].renews == "g"


def test_a_position_that_was_countersigned_is_not_taken_again() -> None:
    story = in_review().given(yes("commerce"), by="cora").given(Countersign("nw", "commerce"), by="carl")
    story.when(yes("commerce"), by="cora").refused(AlreadySigned)


def test_before_a_review_begins_nobody_is_missed() -> None:
    story = preview().given(application(), by="nina", ids=["nw"]).given(Recuse("nw", "olga"), by="rita")
    story.when(Recuse("nw", "omar"), by="rita").then(PersonRecused("omar"))


def test_where_an_agency_has_several_leaves_the_earliest_due_date_counts() -> None:
    tree = AllOf((Leaf("oncd", due_days=5), AtLeast(1, (Leaf("oncd", due_days=20), OSTP))))
    assert request(in_review(tree)).dues["oncd"] == instant("2026-07-02T21:00:00Z")
