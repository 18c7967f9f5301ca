"""Who may give which command? One table, apart from the code: each command against each role, here and elsewhere."""

from datetime import timedelta
from typing import Any, get_args

import pytest

from domain import (
    authority,
    calendar,
    directive,
    grant,
    hold,
    key,
    log,
    organization,
    policy,
    release,
    request,
    retention,
    subject,
)
from domain.errors import AmbiguousAuthority, NotAuthorised, NotFound, Refused
from domain.facts import By
from domain.fields import Label
from domain.organization import ROLES, Appoint, EndAppointment, RegisterOrganization
from domain.release import AdvancePhase, AnnounceRelease, Phase
from domain.request import (
    Changes,
    RegisterRequest,
    RequestInformation,
    SignOff,
)
from domain.rulebook import STREAMS
from domain.sign_offs import AllOf, ProposedCondition
from tests.spec import ONCD, OSTP, Story, application, cast, days, instant

OFFICES = {
    "assent": ROLES["assent"],
    "oncd": ROLES["agency"],
    "ostp": ROLES["agency"],
    "bis": ROLES["agency"],
    "openai": ROLES["provider"],
    "anthropic": ROLES["provider"],
    "northwind": ROLES["customer"],
    "tinker": ROLES["customer"],
}
"""oncd is the agency that a command names, ostp another one of the tree and gate, bis one that is in neither;
openai is the release's provider and northwind the request's customer, anthropic and tinker are not."""

SCOPE = directive.Uses(releases=("gpt-5.6",))
PEOPLE = tuple(f"{place}.{role}" for place, roles in OFFICES.items() for role in roles)


def everybody() -> Story:
    """One person for each office; the request `nw` has a question of oncd, and the grant `g` a condition of oncd."""
    story = cast()
    story.given(RegisterOrganization("anthropic", "provider", "Anthropic", "US"))
    story.given(*(Appoint(place, f"{place}.{role}", role) for place, roles in OFFICES.items() for role in roles))
    story.given(policy.PublishPolicy("both", "An order", AllOf((ONCD, OSTP))))
    phases = (Phase("preview", "granted"), Phase("wide", "open", gate=AllOf((ONCD, OSTP))))
    story.given(AnnounceRelease("gpt-5.6", "openai", "GPT-5.6", ("standard",), "both", "high", phases), by="rae")
    story.given(application(), by="nina", ids=["old"]).given(RegisterRequest("old"), by="rita")
    condition = ProposedCondition("Report")
    story.given(SignOff("old", "oncd", "approve_with_conditions", (condition,)), by="olga")
    story.given(SignOff("old", "ostp", "approve"), by="sam", ids=["g"])
    story.given(application(), by="nina", ids=["nw"]).given(RegisterRequest("nw"), by="rita")
    story.given(RequestInformation("nw", "oncd", "Why?"), by="olga")
    story.given(directive.IssueDirective("Letter", SCOPE, "Danger"), by="omar", ids=["d"])
    story.given(key.IssueKey("openai", "Gateway", ("access",)), ids=["k"])
    return story.given(hold.PlaceLegalHold("nina", "Inquiry"), by="assent.records_officer", ids=["h"])


STORY = everybody()

ADMINISTRATOR = "assent.administrator"
REGISTRAR = "assent.registrar"
DECIDER = "assent.decider"
RECORDS_OFFICER = "assent.records_officer"
MANAGER = "openai.release_manager"
APPLICANT = "northwind.applicant"
NAMED_OFFICERS = "oncd.reviewer oncd.countersigner oncd.head"
NAMED_SENIORS = "oncd.countersigner oncd.head"
ALL_OFFICERS = f"{NAMED_OFFICERS} ostp.reviewer ostp.countersigner ostp.head"
ALL_SENIORS = f"{NAMED_SENIORS} ostp.countersigner ostp.head"
EVERY_HEAD = "oncd.head ostp.head bis.head"

TOMORROW = STORY.now + timedelta(days=1)
SOME = directive.Uses(organizations=("tinker",))

# The table: who may give the command; everybody else may not.
MAY: tuple[tuple[Any, str], ...] = (
    (organization.RegisterOrganization("acme", "agency", "Acme", "US"), ADMINISTRATOR),
    (organization.ChangeOrganization("oncd", name="Cyber"), ADMINISTRATOR),
    (organization.AddAffiliate("northwind", "nw", "Labs", "US"), ADMINISTRATOR),
    (organization.Appoint("oncd", "new", "reviewer"), f"{ADMINISTRATOR} oncd.head"),
    (organization.Appoint("northwind", "new", "applicant"), ADMINISTRATOR),
    (organization.Appoint("openai", "new", "gateway"), ADMINISTRATOR),
    (organization.EndAppointment("oncd", "olga", "reviewer"), f"{ADMINISTRATOR} oncd.head"),
    (organization.EndAppointment("northwind", "nina", "applicant"), ADMINISTRATOR),
    (organization.Delegate("oncd", "new", ("SignOff",)), "oncd.head"),
    (organization.EndDelegation("oncd", 1), "oncd.head"),
    (policy.PublishPolicy("both", "An order", ONCD), ADMINISTRATOR),
    (calendar.AmendCalendar("us-federal", days("2026-07-03"), "Closed"), ADMINISTRATOR),
    (release.AnnounceRelease("gpt-6", "openai", "GPT-6", ("one",), "both", "low", (Phase("p", "open"),)), MANAGER),
    (release.SignOffPhase("gpt-5.6", "wide", "oncd", "approve"), NAMED_OFFICERS),
    (release.SignOffPhase("gpt-5.6", "wide", "bis", "approve"), ""),
    (release.CountersignPhase("gpt-5.6", "oncd"), NAMED_SENIORS),
    (release.AdvancePhase("gpt-5.6", "wide"), MANAGER),
    (release.RollBackPhase("gpt-5.6", "preview", "Harm"), MANAGER),
    (release.HoldRollout("gpt-5.6", "Wait"), f"{MANAGER} {ALL_OFFICERS}"),
    (release.ResumeRollout("gpt-5.6"), f"{MANAGER} {ALL_OFFICERS}"),
    (release.OpenIncident("gpt-5.6", "low", "Odd"), f"{MANAGER} {ALL_OFFICERS}"),
    (release.CloseIncident("gpt-5.6", 1, "Done"), f"{MANAGER} {ALL_OFFICERS}"),
    (release.WithdrawRelease("gpt-5.6", "Unsafe"), MANAGER),
    (application(), APPLICANT),
    (request.SubmitRequest("nw"), APPLICANT),
    (request.RegisterRequest("nw"), REGISTRAR),
    (request.ReturnWithoutAction("nw", "Empty"), REGISTRAR),
    (request.AmendRequest("nw", Changes(use="More")), APPLICANT),
    (request.WithdrawRequest("nw"), APPLICANT),
    (request.SignOff("nw", "oncd", "approve"), NAMED_OFFICERS),
    (request.Countersign("nw", "oncd"), NAMED_SENIORS),
    (request.ExtendReview("nw", "oncd", 5, "More time"), NAMED_OFFICERS),
    (request.RequestInformation("nw", "oncd", "Why?"), NAMED_OFFICERS),
    (request.ProvideInformation("nw", 1, "Because"), APPLICANT),
    (request.AcceptInformation("nw", 1), NAMED_OFFICERS),
    (request.Recuse("nw", "olga"), f"{ALL_OFFICERS} {REGISTRAR} {DECIDER}"),
    (request.Escalate("nw", "Stuck"), f"oncd.head ostp.head {REGISTRAR}"),
    (request.ResolveDispute("nw", "deny", "No"), DECIDER),
    (request.Decide("nw", "deny", "No"), DECIDER),
    (request.FileAppeal("nw", "Unfair"), APPLICANT),
    (request.DecideAppeal("nw", 1, "uphold", "Right"), DECIDER),
    (request.RequestRenewal("g"), APPLICANT),
    (grant.FileAppeal("g", "Unfair"), APPLICANT),
    (grant.DecideAppeal("g", 1, "uphold", "Right"), DECIDER),
    (grant.ProposeConditionChange("g", 1, drop=True), f"{APPLICANT} {ALL_OFFICERS} {MANAGER}"),
    (grant.ConcurConditionChange("g", 1, 1), NAMED_OFFICERS),
    (grant.SatisfyCondition("g", 1), NAMED_OFFICERS),
    (grant.RecordBreach("g", 1, "Broken"), NAMED_OFFICERS),
    (grant.ReportCompliance("g", "All is well"), APPLICANT),
    (grant.AmendGrant("g", "Less"), f"{ALL_SENIORS} {MANAGER}"),
    (grant.SuspendGrant("g", "Misuse"), f"{ALL_OFFICERS} {MANAGER}"),
    (grant.ReinstateGrant("g"), f"{ALL_OFFICERS} {MANAGER}"),
    (grant.NotifyIntentToRevoke("g", "Misuse", TOMORROW), f"{ALL_SENIORS} {MANAGER}"),
    (grant.WithdrawNotice("g"), f"{ALL_SENIORS} {MANAGER}"),
    (grant.RevokeGrant("g", "Misuse", "Breach"), f"{ALL_SENIORS} {MANAGER}"),
    (grant.LiftBar("g"), f"{ALL_SENIORS} {MANAGER}"),
    (grant.SurrenderGrant("g"), APPLICANT),
    (directive.IssueDirective("Letter", SCOPE, "Danger"), EVERY_HEAD),
    (directive.EaseDirective("d", SOME), "oncd.head"),
    (directive.ProposeLifting("d"), "oncd.head"),
    (directive.WithdrawLifting("d"), "oncd.head"),
    (directive.ConfirmLifting("d"), "oncd.head"),
    (log.RotateLogKey("A year is over", "log+00000001+A"), ADMINISTRATOR),
    (key.IssueKey("openai", "Gateway", ("access",)), ADMINISTRATOR),
    (key.RotateKey("k"), ADMINISTRATOR),
    (key.RevokeKey("k"), ADMINISTRATOR),
    (hold.PlaceLegalHold("nina", "Inquiry"), RECORDS_OFFICER),
    (hold.ReleaseLegalHold("h"), RECORDS_OFFICER),
    (subject.EraseSubject("nina"), RECORDS_OFFICER),
    (retention.SetRetention(30), RECORDS_OFFICER),
)

READERS = f"{ALL_OFFICERS} {MANAGER} {APPLICANT} {REGISTRAR} {DECIDER} assent.auditor"
"""Whoever may see the request and the grant; to everybody else they do not exist."""


def answer(command: Any, person: str) -> str:
    try:
        by = authority.acting(command, STORY.world(), person, None, STORY.now)
    except Refused as refusal:
        return type(refusal).__name__
    assert by == By(person, *person.split("."))
    return "may"


@pytest.mark.parametrize(("command", "allowed"), MAY, ids=[f"{type(c).__name__}-{n}" for n, (c, _) in enumerate(MAY)])
def test_who_may_give_a_command(command: Any, allowed: str) -> None:
    readers = PEOPLE
    if hasattr(command, "request") or isinstance(getattr(command, "grant", None), str):
        readers = tuple(READERS.split())
    elif isinstance(command, key.RotateKey | key.RevokeKey):
        readers = (ADMINISTRATOR, "assent.auditor")
    elif hasattr(command, "hold"):
        readers = (RECORDS_OFFICER, "assent.auditor")
    expected = {
        person: "may" if person in allowed.split() else "NotAuthorised" if person in readers else "NotFound"
        for person in PEOPLE
    }
    assert {person: answer(command, person) for person in PEOPLE} == expected


def test_every_command_is_in_the_table() -> None:
    assert {type(command) for command, _ in MAY} == set(authority.COMMANDS)


def test_every_command_of_the_rule_book_has_a_rule_or_is_the_services_own() -> None:
    commands = {c for module in STREAMS.values() for c in get_args(module.Command) or (module.Command,)}
    own = {request.MissDeadline, request.LapseInformation, grant.ExpireGrant, log.AcceptRollback}
    assert commands - own == set(authority.COMMANDS)
    assert commands >= own


@pytest.mark.parametrize(
    "command",
    [SignOff("nw", "oncd", "approve"), Appoint("oncd", "new", "reviewer")],
)
def test_somebody_without_an_office_may_nothing(command: Any) -> None:
    STORY.when(command, by="nobody").refused(NotFound if hasattr(command, "request") else NotAuthorised)


@pytest.mark.parametrize("command", [SignOff("nw", "oncd", "approve"), Appoint("oncd", "new", "reviewer")])
def test_a_person_who_calls_themselves_system_gets_no_powers_by_that(command: Any) -> None:
    with pytest.raises((NotAuthorised, NotFound)):
        authority.acting(command, STORY.world(), "system", None, STORY.now)


def test_a_draft_is_its_customers_own() -> None:
    story = everybody().given(application(draft=True), by="nina", ids=["draft"])
    withdraw = request.WithdrawRequest("draft")
    story.when(withdraw, by="olga").refused(NotFound)
    story.when(withdraw, by="rae").refused(NotFound)
    story.given(withdraw, by="nina")


# Acting as


def test_an_appointment_counts_while_it_is_in_force() -> None:
    story = everybody().given(Appoint("oncd", "late", "reviewer", instant("2026-07-01"), instant("2026-08-01")))
    hold = release.HoldRollout("gpt-5.6", "Wait")
    story.when(hold, by="late").refused(NotAuthorised)
    story.at("2026-08-01").when(hold, by="late").refused(NotAuthorised)
    story.when(hold, by="late", occurred="2026-07-31T23:59:59Z").then(release.RolloutHeld("Wait"))


def test_an_appointment_that_ended_does_not_count() -> None:
    story = everybody().given(EndAppointment("oncd", "olga", "reviewer"))
    story.when(SignOff("nw", "oncd", "approve"), by="olga").refused(NotFound)


def test_where_two_organizations_would_do_the_person_chooses() -> None:
    story = everybody().given(Appoint("ostp", "olga", "countersigner"))
    hold = release.HoldRollout("gpt-5.6", "Wait")
    story.when(hold, by="olga").refused(AmbiguousAuthority, "Acting-As: oncd/reviewer", "Acting-As: ostp/countersigner")
    story.given(hold, by="olga", acting_as="ostp/countersigner")
    assert story.facts[-1].by == By("olga", "ostp", "countersigner")


def test_where_two_roles_of_one_organization_would_do_no_choice_is_needed() -> None:
    story = everybody().given(Appoint("oncd", "olga", "countersigner"))
    story.given(release.HoldRollout("gpt-5.6", "Wait"), by="olga")
    assert story.facts[-1].by == By("olga", "oncd", "reviewer")


def test_nobody_acts_in_an_office_they_do_not_hold() -> None:
    hold = release.HoldRollout("gpt-5.6", "Wait")
    everybody().when(hold, by="olga", acting_as="ostp/head").refused(NotAuthorised)


def test_an_administrator_never_signs_off() -> None:
    everybody().when(SignOff("nw", "oncd", "approve"), by="root").refused(NotFound)


# Who reads


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        *((person, Label.INTERAGENCY) for person in f"{ALL_OFFICERS} {MANAGER} {REGISTRAR} {DECIDER}".split()),
        ("assent.auditor", Label.AUDITOR),
        (APPLICANT, Label.APPLICANT),
        *((person, None) for person in PEOPLE if person not in READERS.split()),
    ],
)
def test_who_reads_a_request_and_how_much_of_it(person: str, expected: Label | None) -> None:
    reach = authority.standing(STORY.world(), person, STORY.now).reach
    assert reach.clearance_for("northwind", ("oncd", "ostp", "openai")) == expected


def test_a_release_manager_goes_on_with_their_own_release_only() -> None:
    story = everybody()
    story.when(AdvancePhase("gpt-5.6", "wide"), by="anthropic.release_manager").refused(NotAuthorised)


@pytest.mark.parametrize(
    ("person", "clearance"),
    [
        ("ada", Label.AUDITOR),
        ("rita", Label.INTERAGENCY),
        ("dean", Label.INTERAGENCY),
        ("olga", Label.INTERAGENCY),
        ("rae", Label.INTERAGENCY),
        ("nina", Label.APPLICANT),
        ("nobody", Label.APPLICANT),
    ],
)
def test_what_everybody_may_read_of_is_read_by_each_with_their_clearance(person: str, clearance: Label) -> None:
    story = cast()
    found = authority.standing(story.world(), person, story.now).reach
    assert (found.person, found.general) == (person, clearance)
