"""Who held which office when, who let whom use their powers, and was this person allowed to do that?"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.simulation.books import SYSTEM, Entry, Violation, instant, instant_or_none

OFFICERS = ("reviewer", "countersigner", "head")
SENIORS = ("countersigner", "head")


@dataclass(slots=True)
class Tenure:
    role: str
    starts: datetime
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        return self.starts <= now and (self.until is None or now < self.until)


@dataclass(slots=True)
class Delegation:
    delegator: str
    to: str
    powers: tuple[str, ...]
    starts: datetime
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        return self.starts <= now and (self.until is None or now < self.until)


@dataclass(slots=True)
class Organization:
    kind: str
    government: bool
    closed: bool = False
    affiliates: set[str] = field(default_factory=set)
    tenures: dict[str, list[Tenure]] = field(default_factory=dict)
    delegations: dict[int, Delegation] = field(default_factory=dict)

    def roles(self, person: str, now: datetime) -> set[str]:
        return {tenure.role for tenure in self.tenures.get(person, ()) if tenure.holds(now)}


class Offices:
    """Folds the streams of organizations, and answers for authority (§9, I6)."""

    def __init__(self) -> None:
        self.organizations: dict[str, Organization] = {}

    def of(self, organization: str) -> Organization:
        if organization not in self.organizations:
            raise Violation("§2", f"{organization} was never registered")
        return self.organizations[organization]

    def holds_any(self, people: set[str], organization: str, now: datetime) -> bool:
        """Whether one of these people holds any office there."""
        here = self.of(organization)
        return any(here.roles(person, now) for person in people)

    def take(self, entry: Entry) -> None:
        data = entry.data
        if entry.type == "OrganizationRegistered":
            if entry.id in self.organizations:
                raise Violation("§2", f"{entry.id} is registered twice")
            self.organizations[entry.id] = Organization(data["kind"], data["government"])
            return
        here = self.of(entry.id)
        match entry.type:
            case "OrganizationChanged":
                here.closed = here.closed if data["closed"] is None else data["closed"]
            case "AffiliateAdded":
                here.affiliates.add(data["id"])
            case "PersonAppointed":
                tenure = Tenure(data["role"], instant(data["starts"]), instant_or_none(data["until"]))
                here.tenures.setdefault(data["person"], []).append(tenure)
            case "AppointmentEnded":
                ending = [t for t in here.tenures.get(data["person"], ()) if t.role == data["role"]]
                ending = [t for t in ending if t.holds(entry.occurred)]
                if not ending:
                    raise Violation("§2", "an appointment ended that was not in force")
                for tenure in ending:
                    tenure.until = entry.occurred
            case "PowersDelegated":
                self._delegated(here, entry)
            case "DelegationEnded":
                here.delegations[data["number"]].until = entry.occurred

    def _delegated(self, here: Organization, entry: Entry) -> None:
        """I6: only one's own powers, to somebody else, and never on a borrowed power."""
        data = entry.data
        if data["delegator"] != entry.person or entry.via:
            raise Violation("I6", "powers were delegated by somebody who does not hold them")
        if data["to"] == entry.person:
            raise Violation("I6", "somebody delegated to themselves")
        starts, until = instant(data["starts"]), instant_or_none(data["until"])
        delegation = Delegation(entry.person, data["to"], tuple(data["powers"]), starts, until)
        here.delegations[data["number"]] = delegation

    def authorised(self, entry: Entry, concerned: "Concerned") -> None:
        """§9: the role is one that may, in an organization that is concerned; I6: in person, or by a delegation."""
        if entry.role == SYSTEM:
            if entry.type not in OF_THE_SYSTEM:
                raise Violation("I3", f"{entry.type} is nobody's act, but a person's")
            return
        if entry.type in TIMERS:
            raise Violation("I3", f"{entry.person} did what only time does: {entry.type}")
        rules = MAY.get(entry.type)
        if rules is None:
            raise Violation("§9", f"nobody may bring about {entry.type} by itself")
        if not any(entry.role in roles and where(concerned, entry) for roles, where in rules):
            raise Violation("§9", f"{entry.organization}/{entry.role} may not bring about {entry.type} here")
        holder = entry.via[-1] if entry.via else entry.person
        here = self.of(entry.organization)
        if entry.role not in here.roles(holder, entry.occurred):
            invariant = "I6" if entry.via else "§9"
            raise Violation(invariant, f"{holder} was not {entry.role} of {entry.organization} then")
        chain = (entry.person, *entry.via)
        for to, delegator in pairwise(chain):
            if not any(
                d.to == to
                and d.delegator == delegator
                and d.holds(entry.occurred)
                and POWERS[entry.type] & set(d.powers)
                for d in here.delegations.values()
            ):
                raise Violation("I6", f"{delegator} had not delegated {entry.type} to {to}")


class Concerned:
    """What the authority table asks of the other books."""

    def __init__(self, log: Any) -> None:
        self.log = log

    def agencies_of_request(self, id: str) -> list[str]:
        return self.log.requests.of(id).agencies  # type: ignore[no-any-return]

    def rollout_agencies(self, id: str) -> set[str]:
        return self.log.releases.rollout_agencies(id)  # type: ignore[no-any-return]


Where = Callable[[Concerned, Entry], bool]


def _assent(books: Concerned, entry: Entry) -> bool:
    return entry.organization == "assent"


def _own_agency(books: Concerned, entry: Entry) -> bool:
    here = books.log.offices.of(entry.id)
    return here.kind == "agency" and entry.organization == entry.id


def _provider(books: Concerned, entry: Entry) -> bool:
    provider = entry.data.get("provider") or books.log.releases.of(entry.id).provider
    return bool(entry.organization == provider)


def _next_gate(books: Concerned, entry: Entry) -> bool:
    gate = books.log.releases.of(entry.id).gate_agencies()
    return entry.organization == entry.data["agency"] and entry.organization in gate


def _rollout(books: Concerned, entry: Entry) -> bool:
    return entry.organization in books.rollout_agencies(entry.id)


def _tree(books: Concerned, entry: Entry) -> bool:
    return entry.organization in books.agencies_of_request(entry.id)


def _named_in_tree(books: Concerned, entry: Entry) -> bool:
    return entry.organization == entry.data["agency"] and _tree(books, entry)


def _asking(books: Concerned, entry: Entry) -> bool:
    question = books.log.requests.of(entry.id).questions[entry.data["number"]]
    return bool(entry.organization == question.agency)


def _customer(books: Concerned, entry: Entry) -> bool:
    if entry.kind == "grant":
        return bool(entry.organization == books.log.grants.of(entry.id).customer)
    customer = entry.data.get("customer") or books.log.requests.of(entry.id).customer
    return bool(entry.organization == customer)


def _grants_agency(books: Concerned, entry: Entry) -> bool:
    return entry.organization in books.log.grants.of(entry.id).agencies


def _grants_provider(books: Concerned, entry: Entry) -> bool:
    return bool(entry.organization == books.log.grants.of(entry.id).provider)


def _condition(books: Concerned, entry: Entry) -> bool:
    changed = entry.type == "ConditionChanged"
    set_by = books.log.grants.of(entry.id).conditions[entry.data["condition" if changed else "number"]].agency
    if changed and entry.organization != set_by:
        raise Violation("I7", f"{entry.organization} changed a condition of {set_by}")
    return bool(entry.organization == set_by)


def _directing(books: Concerned, entry: Entry) -> bool:
    here = books.log.offices.of(entry.organization)
    releases = entry.data["scope"]["releases"]
    return here.kind == "agency" and (
        here.government
        or (bool(releases) and all(entry.organization in books.log.releases.policy_agencies(id) for id in releases))
    )


def _issuer(books: Concerned, entry: Entry) -> bool:
    return bool(entry.organization == books.log.directives.of(entry.id).organization)


Rule = tuple[tuple[str, ...], Where]
_ADMINISTRATOR: Rule = (("administrator",), _assent)
_HEAD: Rule = (("head",), _own_agency)
_REGISTRAR: Rule = (("registrar",), _assent)
_DECIDER: Rule = (("decider",), _assent)
_RECORDS_OFFICER: Rule = (("records_officer",), _assent)
_APPLICANT: Rule = (("applicant",), _customer)
_MANAGER: Rule = (("release_manager",), _provider)
_ROLLOUT: Rule = (OFFICERS, _rollout)
_GRANT_OFFICERS: tuple[Rule, Rule] = ((OFFICERS, _grants_agency), (("release_manager",), _grants_provider))
_GRANT_SENIORS: tuple[Rule, Rule] = ((SENIORS, _grants_agency), (("release_manager",), _grants_provider))
_CONDITION: Rule = (OFFICERS, _condition)
_SIGNING: Rule = (OFFICERS, _named_in_tree)
_CONFIRMING: Rule = (SENIORS, _named_in_tree)
_ISSUER: Rule = (("head",), _issuer)

MAY: dict[str, tuple[Rule, ...]] = {
    "OrganizationRegistered": (_ADMINISTRATOR,),
    "OrganizationChanged": (_ADMINISTRATOR,),
    "AffiliateAdded": (_ADMINISTRATOR,),
    "PersonAppointed": (_ADMINISTRATOR, _HEAD),
    "AppointmentEnded": (_ADMINISTRATOR, _HEAD),
    "PowersDelegated": ((OFFICERS, _own_agency),),
    "DelegationEnded": ((OFFICERS, _own_agency),),
    "PolicyPublished": (_ADMINISTRATOR,),
    "CalendarAmended": (_ADMINISTRATOR,),
    "ReleaseAnnounced": (_MANAGER,),
    "PhaseSignedOff": ((OFFICERS, _next_gate),),
    "PhaseSignOffCountersigned": ((SENIORS, _next_gate),),
    "PhaseCountersignRefused": ((SENIORS, _next_gate),),
    "PhaseAdvanced": (_MANAGER,),
    "PhaseRolledBack": (_MANAGER,),
    "RolloutHeld": (_MANAGER, _ROLLOUT),
    "RolloutResumed": (_MANAGER, _ROLLOUT),
    "IncidentOpened": (_MANAGER, _ROLLOUT),
    "IncidentClosed": (_MANAGER, _ROLLOUT),
    "ReleaseWithdrawn": (_MANAGER,),
    "RequestDrafted": (_APPLICANT,),
    "RequestSubmitted": (_APPLICANT,),
    "RequestRegistered": (_REGISTRAR,),
    "RequestReturned": (_REGISTRAR,),
    "RequestAmended": (_APPLICANT,),
    "RequestWithdrawn": (_APPLICANT,),
    "AgencySignedOff": (_SIGNING,),
    "SignOffCountersigned": (_CONFIRMING,),
    "CountersignRefused": (_CONFIRMING,),
    "ReviewExtended": (_SIGNING,),
    "InformationRequested": (_SIGNING,),
    "InformationProvided": (_APPLICANT,),
    "InformationAccepted": ((OFFICERS, _asking),),
    "PersonRecused": ((OFFICERS, _tree), _REGISTRAR, _DECIDER),
    "RequestEscalated": ((("head",), _tree), _REGISTRAR),
    "DisputeResolved": (_DECIDER,),
    "RequestApproved": (_DECIDER,),
    "RequestDenied": (_DECIDER,),
    "AppealFiled": (_APPLICANT,),
    "AppealDecided": (_DECIDER,),
    "ConditionSatisfied": (_CONDITION,),
    "ConditionBreached": (_CONDITION,),
    "ComplianceReported": (_APPLICANT,),
    "ConditionChangeProposed": (_APPLICANT, *_GRANT_OFFICERS),
    "ConditionChanged": (_CONDITION,),
    "GrantAmended": _GRANT_SENIORS,
    "GrantSuspended": _GRANT_OFFICERS,
    "ReinstatementProposed": _GRANT_OFFICERS,
    "GrantReinstated": _GRANT_OFFICERS,
    "RevocationNoticeIssued": _GRANT_SENIORS,
    "RevocationNoticeWithdrawn": _GRANT_SENIORS,
    "GrantRevoked": _GRANT_SENIORS,
    "BarLiftingProposed": _GRANT_SENIORS,
    "BarLifted": _GRANT_SENIORS,
    "GrantSurrendered": (_APPLICANT,),
    "DirectiveIssued": ((("head",), _directing),),
    "DirectiveEased": (_ISSUER,),
    "LiftingProposed": (_ISSUER,),
    "LiftingWithdrawn": (_ISSUER,),
    "DirectiveLifted": (_ISSUER,),
    "LogKeyRotated": (_ADMINISTRATOR,),
    "KeyIssued": (_ADMINISTRATOR,),
    "KeyRotated": (_ADMINISTRATOR,),
    "KeyRevoked": (_ADMINISTRATOR,),
    "LegalHoldPlaced": (_RECORDS_OFFICER,),
    "LegalHoldReleased": (_RECORDS_OFFICER,),
    "SubjectErased": (_RECORDS_OFFICER,),
    "RetentionSet": (_RECORDS_OFFICER,),
}
"""Whose act an event may be that follows from no other; DESIGN §9 written a second time."""

TIMERS = {"NoObjectionDeemed", "DeadlineMissed", "InformationRequestLapsed", "GrantExpired"}
"""What time alone does."""

OF_THE_SYSTEM = TIMERS | {"OrganizationRegistered", "PersonAppointed", "CalendarAmended"}
"""What the system may do: timers, the first administrator, and the closures that the law names."""

POWERS: dict[str, set[str]] = {
    "PhaseSignedOff": {"SignOffPhase"},
    "PhaseSignOffCountersigned": {"CountersignPhase"},
    "PhaseCountersignRefused": {"CountersignPhase"},
    "RolloutHeld": {"HoldRollout"},
    "RolloutResumed": {"ResumeRollout"},
    "IncidentOpened": {"OpenIncident"},
    "IncidentClosed": {"CloseIncident"},
    "AgencySignedOff": {"SignOff"},
    "SignOffCountersigned": {"Countersign"},
    "CountersignRefused": {"Countersign"},
    "ReviewExtended": {"ExtendReview"},
    "InformationRequested": {"RequestInformation"},
    "InformationAccepted": {"AcceptInformation"},
    "PersonRecused": {"Recuse"},
    "RequestEscalated": {"Escalate"},
    "ConditionSatisfied": {"SatisfyCondition"},
    "ConditionBreached": {"RecordBreach"},
    "ConditionChangeProposed": {"ProposeConditionChange"},
    "ConditionChanged": {"ConcurConditionChange"},
    "GrantAmended": {"AmendGrant"},
    "GrantSuspended": {"SuspendGrant"},
    "ReinstatementProposed": {"ReinstateGrant"},
    "GrantReinstated": {"ReinstateGrant"},
    "RevocationNoticeIssued": {"NotifyIntentToRevoke"},
    "RevocationNoticeWithdrawn": {"WithdrawNotice"},
    "GrantRevoked": {"RevokeGrant"},
}
"""By which delegated power an event comes about."""
for _type in MAY:
    POWERS.setdefault(_type, set())
