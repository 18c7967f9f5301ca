"""Does everybody read what they need to know, and nothing else?"""

from dataclasses import fields
from typing import Any

import pytest

from domain.facts import SYSTEM, By, Fact, seen
from domain.fields import Label, is_visible, labels, redact, sealed_fields
from domain.grant import ConditionSatisfied, RevokeGrant
from domain.request import (
    AgencySignedOff,
    AmendRequest,
    Changes,
    ExtendReview,
    ProvideInformation,
    RegisterRequest,
    RequestDenied,
    RequestInformation,
    ResolveDispute,
    SignOff,
)
from domain.rulebook import EVENTS, evolve_of
from domain.sign_offs import AllOf, Leaf
from domain.world import EMPTY, fold
from tests.spec import (
    ONCD,
    OSTP,
    Story,
    application,
    approve,
    granted,
    in_review,
    instant,
)

# What applicants read, stated apart from the code: `*` is every field; what is not listed is hidden.
APPLICANTS_READ = """
OrganizationRegistered *
OrganizationChanged *
AffiliateAdded *
PolicyPublished *
CalendarAmended *
LogKeyRotated *
RollbackAccepted *
ReleaseAnnounced *
PhaseAdvanced to
PhaseRolledBack to
ReleaseWithdrawn *
RequestDrafted *
RequestSubmitted *
RequestRegistered due
RequestReturned *
RequestAmended *
RequestWithdrawn *
ReviewExtended days due
InformationRequested *
InformationProvided *
InformationAccepted *
InformationRequestLapsed *
DueDateMoved due reason
RequestApproved *
RequestDenied reason
GrantIssued *
ConditionSatisfied *
ComplianceReported *
ConditionBreached *
ConditionChangeProposed *
ConditionChanged *
RenewalRequested *
RenewalEnded *
AppealFiled *
AppealDecided number outcome reason
GrantAmended *
GrantSuspended reason review_by
GrantReinstated *
RevocationNoticeIssued *
RevocationNoticeWithdrawn *
GrantRevoked reason bar
BarLifted *
GrantSurrendered *
GrantExpired *
GrantSuperseded *
DirectiveIssued authority scope carve_outs
DirectiveEased carve_outs
DirectiveLifted *
"""

DELIBERATIONS = {
    "PhaseSignedOff",
    "PhaseSignOffCountersigned",
    "PhaseCountersignRefused",
    "RolloutHeld",
    "RolloutResumed",
    "IncidentOpened",
    "IncidentClosed",
    "CustomerAdmitted",
    "CustomerLeft",
    "SignOffVoided",
    "AgencySignedOff",
    "SignOffCountersigned",
    "CountersignRefused",
    "PersonRecused",
    "RequestEscalated",
    "DisputeResolved",
    "NoObjectionDeemed",
    "DeadlineMissed",
    "ReinstatementProposed",
    "BarLiftingProposed",
    "LiftingProposed",
    "LiftingWithdrawn",
    "PersonAppointed",
    "AppointmentEnded",
    "PowersDelegated",
    "DelegationEnded",
    "KeyIssued",
    "KeyRotated",
    "KeyRevoked",
    "LegalHoldPlaced",
    "LegalHoldReleased",
    "SubjectHeld",
    "SubjectFreed",
    "SubjectErased",
    "RetentionSet",
}
"""Events that an applicant may not know of at all."""

SEALED = {
    "RequestDrafted": ("use",),
    "RequestSubmitted": ("use",),
    "RequestAmended": ("reason",),
    "RequestWithdrawn": ("reason",),
    "InformationProvided": ("answer",),
    "ConditionSatisfied": ("evidence",),
    "ComplianceReported": ("text",),
    "GrantSurrendered": ("reason",),
    "AppealFiled": ("grounds",),
}


def read_by_applicants() -> dict[str, set[str]]:
    table = {}
    for line in APPLICANTS_READ.split("\n")[1:-1]:
        name, *read = line.split()
        table[name] = {f.name for f in fields(EVENTS[name])} if read == ["*"] else set(read)
    return table


@pytest.mark.parametrize("name", EVENTS)
def test_what_applicants_read_of_an_event(name: str) -> None:
    visible = {field for field, label in labels(EVENTS[name]).items() if label <= Label.APPLICANT}
    assert visible == read_by_applicants().get(name, set())


@pytest.mark.parametrize("name", EVENTS)
def test_every_field_of_an_event_has_its_label(name: str) -> None:
    assert set(labels(EVENTS[name])) == {f.name for f in fields(EVENTS[name])}


def test_every_event_is_either_read_by_applicants_or_named_as_deliberation() -> None:
    assert set(EVENTS) == set(read_by_applicants()) | DELIBERATIONS
    assert {name for name in EVENTS if not is_visible(EVENTS[name], Label.APPLICANT)} == DELIBERATIONS


def test_an_agencys_note_is_for_that_agency_alone_and_a_secrets_hash_for_auditors() -> None:
    beyond = {(n, f) for n, event in EVENTS.items() for f, label in labels(event).items() if label > Label.INTERAGENCY}
    assert beyond == {("AgencySignedOff", "note"), ("KeyIssued", "digest"), ("KeyRotated", "digest")}


def test_applicants_free_text_is_sealed_and_nothing_else_is() -> None:
    assert {name: sealed for name, event in EVENTS.items() if (sealed := sealed_fields(event))} == SEALED
    assert sealed_fields(Changes) == ("use",)


# Redaction


def test_redaction_hides_every_field_above_the_clearance() -> None:
    event = AgencySignedOff("oncd", 1, "approve", (), "Fine", "Between us")
    assert redact(event, Label.AGENCY) is event
    assert redact(event, Label.INTERAGENCY) == AgencySignedOff("oncd", 1, "approve", (), "Fine", None)  # type: ignore[arg-type]
    assert redact(RequestDenied("No", ("oncd",)), Label.APPLICANT) == RequestDenied("No", None)  # type: ignore[arg-type]


def told_to_applicants(event: Any, by: By) -> Fact | None:
    now = instant("2026-07-01")
    return seen(Fact(0, "request-nw", 1, now, now, by, "", None, event), Label.APPLICANT)


def test_what_an_applicant_may_not_know_of_is_not_shown_at_all() -> None:
    assert told_to_applicants(AgencySignedOff("oncd", 1, "approve"), By("olga", "oncd", "reviewer")) is None


def test_officers_have_no_names_for_applicants_but_their_organization_is_shown() -> None:
    fact = told_to_applicants(ConditionSatisfied(1), By("olga", "oncd", "reviewer", ("omar",)))
    assert fact is not None
    assert fact.by == By("", "oncd", "")


def test_applicants_and_the_system_have_names() -> None:
    for by in (By("nina", "northwind", "applicant"), SYSTEM):
        fact = told_to_applicants(ConditionSatisfied(1), by)
        assert fact is not None
        assert fact.by == by


def test_officers_have_names_for_officers() -> None:
    now, by = instant("2026-07-01"), By("olga", "oncd", "reviewer")
    fact = Fact(0, "request-nw", 1, now, now, by, "", None, AgencySignedOff("oncd", 1, "approve"))
    shown = seen(fact, Label.INTERAGENCY)
    assert shown is not None
    assert shown.by == by


# The applicant's view of a whole life


def applicants_facts(story: Story) -> list[Fact]:
    return [fact for f in story.facts if (fact := seen(f, Label.APPLICANT))]


def told(story: Story, kinds: tuple[str, ...] = ("request", "grant")) -> str:
    """Everything that an applicant reads of requests and grants."""
    return "\n".join(repr(f) for f in applicants_facts(story) if f.stream.partition("-")[0] in kinds)


def lives() -> dict[str, Story]:
    tree = AllOf((ONCD, OSTP))
    escalated = in_review(tree, on_refusal="escalate").given(
        SignOff("nw", "oncd", "refuse", reason="secret-reason", note="secret-note"), by="olga"
    )
    escalated.given(SignOff("nw", "ostp", "approve", reason="secret-approval"), by="sam")
    asked = in_review(tree).at("2026-07-01T15:00:00Z").given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    asked.given(ExtendReview("nw", "ostp", 7, "secret-holiday"), by="sam").at("2026-07-06T15:00:00Z")
    asked.given(ProvideInformation("nw", 1, "We"), AmendRequest("nw", Changes(use="More")), by="nina")
    silent = in_review(AllOf((ONCD, Leaf("ostp", silence="no_objection")))).given(
        SignOff("nw", "oncd", "approve", reason="secret-reason"), by="olga"
    )
    silent.at("2026-08-01T15:00:00Z").given(application("tinker"), by="tom")
    renewed = granted().given(application(renews="g"), by="nina", ids=["nw-2"])
    renewed.given(RegisterRequest("nw-2"), by="rita")
    return {
        "approved": granted(),
        "revoked": granted().given(RevokeGrant("g", "Misuse", "secret-finding"), by="carl"),
        "denied": in_review().given(SignOff("nw", "oncd", "refuse", reason="secret-reason"), by="olga"),
        "overruled": escalated.given(ResolveDispute("nw", "approve", "secret-ruling", ("oncd",)), by="dean"),
        "asked": asked,
        "silent": silent,
        "renewed": approve(renewed, "nw-2", "g-2"),
    }


OFFICERS = ("olga", "omar", "sam", "sue", "cora", "carl", "cleo", "rita", "dean", "rae")


@pytest.mark.parametrize("life", lives())
def test_an_applicant_never_reads_deliberations_or_officers_names(life: str) -> None:
    text = told(lives()[life])
    assert "northwind" in text
    assert "secret" not in text
    assert [name for name in OFFICERS if f"'{name}'" in text] == []


@pytest.mark.parametrize("life", lives())
def test_who_settled_a_request_is_not_told_by_anything_in_the_same_append(life: str) -> None:
    story = lives()[life]
    for settled in ("RequestApproved", "RequestDenied"):
        for decision in [fact for fact in story.facts if fact.type == settled]:
            together = [f for f in story.facts if (f.cause, f.by) == (decision.cause, decision.by)]
            shown = [fact for f in together if (fact := seen(f, Label.APPLICANT))]
            assert [f.type for f in shown if f.by.organization in ("oncd", "ostp", "commerce")] == []


@pytest.mark.parametrize("life", lives())
def test_an_applicants_facts_fold_to_a_view_without_deliberations(life: str) -> None:
    streams = {}
    for fact in applicants_facts(lives()[life]):
        before = streams.get(fact.stream, EMPTY)
        streams[fact.stream] = fold(before, fact, evolve_of(fact.stream))
    view = streams["request-nw"].state
    whole = lives()[life].streams["request-nw"]
    assert view.sheet.signatures == ()
    assert view.dues == {}
    assert (view.sheet.deemed, view.sheet.overruled, view.recused, view.escalated) == ((frozenset(),) * 3) + (False,)
    assert (view.outcome, view.revision, view.use, view.due) == (
        whole.state.outcome,
        whole.state.revision,
        whole.state.use,
        whole.state.due,
    )
    assert whole.applicant_version == len([f for f in applicants_facts(lives()[life]) if f.stream == "request-nw"])
