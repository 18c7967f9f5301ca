"""Who may do and see what? One table for commands, one for what is read; all of it from appointments in the log.

A command is allowed to a person who holds one of its roles in one of the organizations its rule names. What the person
may not see looks like what does not exist; what they may see but not do is a lack of authority.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from operator import is_
from typing import Any

from domain import (
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
from domain.clocks import NEVER
from domain.errors import AmbiguousAuthority, NotAuthorised, NotFound
from domain.facts import By
from domain.fields import Label
from domain.organization import ASSENT, SENIORS, Role
from domain.sign_offs import agencies
from domain.values import unguarded
from domain.world import LONG_AGO, World, own_stream

OFFICERS: tuple[Role, ...] = ("reviewer", "countersigner", "head")

Covers = Callable[[Any, World, str], bool]
"""Whether a role in that organization counts for the command."""


@unguarded
@dataclass(frozen=True, slots=True)
class Office:
    """A role a person holds in an organization now; by delegation (`via`), only for the commands in `powers`."""

    organization: str
    kind: str
    role: Role
    via: tuple[str, ...] = ()
    powers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class May:
    """Whoever holds one of these roles in such an organization. Where several would do, the first role named acts."""

    roles: tuple[Role, ...]
    where: Covers


# Which organizations a rule means


def assent(command: Any, world: World, office: str) -> bool:
    return office == ASSENT


def named_agency(command: Any, world: World, office: str) -> bool:
    return bool(office == command.agency)


def named_organization_if_agency(command: Any, world: World, office: str) -> bool:
    here = organization.find(world, command.organization)
    return here is not None and here.kind == "agency" and office == here.id


def named_provider(command: Any, world: World, office: str) -> bool:
    return bool(office == command.provider)


def its_provider(command: Any, world: World, office: str) -> bool:
    return office == _release(command, world).provider


def agencies_of_rollout(command: Any, world: World, office: str) -> bool:
    """Agencies in the release's policy or in a gate."""
    here = _release(command, world)
    rule = policy.find(world, here.policy)
    return office in here.gate_agencies or (rule is not None and office in agencies(rule.versions[-1].sign_offs))


def agencies_of_next_gate(command: Any, world: World, office: str) -> bool:
    """The named agency, if the gate of the next phase asks for it."""
    coming = _release(command, world).next_phase
    return office == command.agency and coming is not None and office in agencies(coming.gate)


def named_customer(command: Any, world: World, office: str) -> bool:
    return bool(office == command.customer)


def requests_customer(command: Any, world: World, office: str) -> bool:
    return office == _request(command, world).customer


def agencies_of_request(command: Any, world: World, office: str) -> bool:
    return office in _request(command, world).agencies


def asking_agency(command: Any, world: World, office: str) -> bool:
    return _request(command, world).question(command.number).agency == office


def grants_customer(command: Any, world: World, office: str) -> bool:
    return office == _grant(command, world).customer


def grants_agencies(command: Any, world: World, office: str) -> bool:
    return office in _grant(command, world).agencies


def grants_provider(command: Any, world: World, office: str) -> bool:
    return office == _grant(command, world).provider


def agency_of_condition(command: Any, world: World, office: str) -> bool:
    return _grant(command, world).condition(command.number).agency == office


def issuing_agency(command: Any, world: World, office: str) -> bool:
    here = directive.find(world, command.directive)
    return here is not None and office == here.organization


def agencies_that_may_direct(command: Any, world: World, office: str) -> bool:
    """Any agency of the government; another one only over releases whose policy names it."""
    here = organization.find(world, office)
    if here is None or here.kind != "agency":
        return False
    rules = [_policy_of(id, world) for id in command.scope.releases]
    return here.government or (
        bool(rules) and all(rule is not None and office in agencies(rule.versions[-1].sign_offs) for rule in rules)
    )


def _policy_of(id: str, world: World) -> policy.Policy | None:
    here = release.find(world, id)
    return policy.find(world, here.policy) if here else None


def agency_of_tree_if_named(command: Any, world: World, office: str) -> bool:
    return named_agency(command, world, office) and agencies_of_request(command, world, office)


ADMINISTRATOR = May(("administrator",), assent)
REGISTRAR = May(("registrar",), assent)
DECIDER = May(("decider",), assent)
RECORDS_OFFICER = May(("records_officer",), assent)
RELEASE_MANAGER = May(("release_manager",), its_provider)
ROLLOUT_OFFICERS = May(OFFICERS, agencies_of_rollout)
APPLICANT = May(("applicant",), requests_customer)
GRANTEE = May(("applicant",), grants_customer)
GRANTS_OFFICERS = May(OFFICERS, grants_agencies)
GRANTS_SENIORS = May(SENIORS, grants_agencies)
GRANTS_RELEASE_MANAGER = May(("release_manager",), grants_provider)
CONDITIONS_OFFICERS = May(OFFICERS, agency_of_condition)
ISSUING_HEAD = May(("head",), issuing_agency)
SIGNING_OFFICERS = May(OFFICERS, agency_of_tree_if_named)

COMMANDS: dict[type, tuple[May, ...]] = {
    organization.RegisterOrganization: (ADMINISTRATOR,),
    organization.ChangeOrganization: (ADMINISTRATOR,),
    organization.AddAffiliate: (ADMINISTRATOR,),
    organization.Appoint: (ADMINISTRATOR, May(("head",), named_organization_if_agency)),
    organization.EndAppointment: (ADMINISTRATOR, May(("head",), named_organization_if_agency)),
    organization.Delegate: (May(("head",), named_organization_if_agency),),
    organization.EndDelegation: (May(("head",), named_organization_if_agency),),
    policy.PublishPolicy: (ADMINISTRATOR,),
    calendar.AmendCalendar: (ADMINISTRATOR,),
    release.AnnounceRelease: (May(("release_manager",), named_provider),),
    release.SignOffPhase: (May(OFFICERS, agencies_of_next_gate),),
    release.CountersignPhase: (May(SENIORS, agencies_of_next_gate),),
    release.AdvancePhase: (RELEASE_MANAGER,),
    release.RollBackPhase: (RELEASE_MANAGER,),
    release.HoldRollout: (RELEASE_MANAGER, ROLLOUT_OFFICERS),
    release.ResumeRollout: (RELEASE_MANAGER, ROLLOUT_OFFICERS),
    release.OpenIncident: (RELEASE_MANAGER, ROLLOUT_OFFICERS),
    release.CloseIncident: (RELEASE_MANAGER, ROLLOUT_OFFICERS),
    release.WithdrawRelease: (RELEASE_MANAGER,),
    request.DraftRequest: (May(("applicant",), named_customer),),
    request.SubmitRequest: (APPLICANT,),
    request.RegisterRequest: (REGISTRAR,),
    request.ReturnWithoutAction: (REGISTRAR,),
    request.AmendRequest: (APPLICANT,),
    request.WithdrawRequest: (APPLICANT,),
    request.SignOff: (SIGNING_OFFICERS,),
    request.Countersign: (May(SENIORS, agency_of_tree_if_named),),
    request.ExtendReview: (SIGNING_OFFICERS,),
    request.RequestInformation: (SIGNING_OFFICERS,),
    request.ProvideInformation: (APPLICANT,),
    request.AcceptInformation: (May(OFFICERS, asking_agency),),
    request.Recuse: (May(OFFICERS, agencies_of_request), REGISTRAR, DECIDER),
    request.Escalate: (May(("head",), agencies_of_request), REGISTRAR),
    request.ResolveDispute: (DECIDER,),
    request.Decide: (DECIDER,),
    request.FileAppeal: (APPLICANT,),
    request.DecideAppeal: (DECIDER,),
    request.RequestRenewal: (GRANTEE,),
    grant.SatisfyCondition: (CONDITIONS_OFFICERS,),
    grant.RecordBreach: (CONDITIONS_OFFICERS,),
    grant.ReportCompliance: (GRANTEE,),
    grant.ProposeConditionChange: (GRANTEE, GRANTS_OFFICERS, GRANTS_RELEASE_MANAGER),
    grant.ConcurConditionChange: (CONDITIONS_OFFICERS,),
    grant.AmendGrant: (GRANTS_SENIORS, GRANTS_RELEASE_MANAGER),
    grant.SuspendGrant: (GRANTS_OFFICERS, GRANTS_RELEASE_MANAGER),
    grant.ReinstateGrant: (GRANTS_OFFICERS, GRANTS_RELEASE_MANAGER),
    grant.NotifyIntentToRevoke: (GRANTS_SENIORS, GRANTS_RELEASE_MANAGER),
    grant.WithdrawNotice: (GRANTS_SENIORS, GRANTS_RELEASE_MANAGER),
    grant.RevokeGrant: (GRANTS_SENIORS, GRANTS_RELEASE_MANAGER),
    grant.LiftBar: (GRANTS_SENIORS, GRANTS_RELEASE_MANAGER),
    grant.SurrenderGrant: (GRANTEE,),
    grant.FileAppeal: (GRANTEE,),
    grant.DecideAppeal: (DECIDER,),
    directive.IssueDirective: (May(("head",), agencies_that_may_direct),),
    directive.EaseDirective: (ISSUING_HEAD,),
    directive.ProposeLifting: (ISSUING_HEAD,),
    directive.WithdrawLifting: (ISSUING_HEAD,),
    directive.ConfirmLifting: (ISSUING_HEAD,),
    log.RotateLogKey: (ADMINISTRATOR,),
    key.IssueKey: (ADMINISTRATOR,),
    key.RotateKey: (ADMINISTRATOR,),
    key.RevokeKey: (ADMINISTRATOR,),
    hold.PlaceLegalHold: (RECORDS_OFFICER,),
    hold.ReleaseLegalHold: (RECORDS_OFFICER,),
    subject.EraseSubject: (RECORDS_OFFICER,),
    retention.SetRetention: (RECORDS_OFFICER,),
}


OPENING = (
    organization.RegisterOrganization,
    policy.PublishPolicy,
    calendar.AmendCalendar,
    release.AnnounceRelease,
    log.RotateLogKey,
    subject.EraseSubject,
)
"""Commands that may name a stream in which nothing has happened yet."""


class Reading(Enum):
    """Who may read a page, list, document or feed."""

    ANYONE = "anyone, without a token"
    SIGNED_IN = "anyone signed in; each sees what they need to know"
    OFFICIALS = "everybody, of their own acts; heads, of those for their agency; auditors, of all"
    GATEWAY = "gateways and release managers, for their own provider's releases; auditors"
    AUDITOR = "auditors"
    KEYS = "administrators and auditors"
    RECORDS = "records officers and auditors"


READERS: dict[Reading, tuple[Role, ...]] = {
    Reading.AUDITOR: ("auditor",),
    Reading.KEYS: ("administrator", "auditor"),
    Reading.RECORDS: ("records_officer", "auditor"),
}
"""The roles of `assent`, one of which is needed; where none is named, what one sees depends on one's offices."""

READS: dict[str, Reading] = {
    "/api/v1/requests": Reading.SIGNED_IN,
    "/api/v1/requests/{id}": Reading.SIGNED_IN,
    "/api/v1/requests/{id}/history": Reading.SIGNED_IN,
    "/api/v1/requests/{id}/required-sign-offs": Reading.SIGNED_IN,
    "/api/v1/requests/{id}/dossier": Reading.SIGNED_IN,
    "/api/v1/grants": Reading.SIGNED_IN,
    "/api/v1/grants/{id}": Reading.SIGNED_IN,
    "/api/v1/grants/{id}/history": Reading.SIGNED_IN,
    "/api/v1/grants/{id}/enforcement": Reading.SIGNED_IN,
    "/api/v1/releases": Reading.SIGNED_IN,
    "/api/v1/releases/{id}": Reading.SIGNED_IN,
    "/api/v1/releases/{id}/history": Reading.SIGNED_IN,
    "/api/v1/organizations": Reading.SIGNED_IN,
    "/api/v1/organizations/{id}": Reading.SIGNED_IN,
    "/api/v1/organizations/{id}/history": Reading.SIGNED_IN,
    "/api/v1/policies": Reading.SIGNED_IN,
    "/api/v1/policies/{id}": Reading.SIGNED_IN,
    "/api/v1/policies/{id}/history": Reading.SIGNED_IN,
    "/api/v1/directives": Reading.SIGNED_IN,
    "/api/v1/directives/{id}": Reading.SIGNED_IN,
    "/api/v1/directives/{id}/history": Reading.SIGNED_IN,
    "/api/v1/keys": Reading.KEYS,
    "/api/v1/keys/{id}": Reading.KEYS,
    "/api/v1/legal-holds": Reading.RECORDS,
    "/api/v1/legal-holds/{id}": Reading.RECORDS,
    "/api/v1/subjects": Reading.RECORDS,
    "/api/v1/subjects/{id}": Reading.RECORDS,
    "/api/v1/dashboards/pending_sign_offs": Reading.SIGNED_IN,
    "/api/v1/dashboards/conditions": Reading.SIGNED_IN,
    "/api/v1/dashboards/rollout": Reading.SIGNED_IN,
    "/api/v1/dashboards/clearance": Reading.SIGNED_IN,
    "/api/v1/dashboards/activity": Reading.OFFICIALS,
    "/api/v1/dashboards/activity_counts": Reading.OFFICIALS,
    "/api/v1/dashboards/turnaround": Reading.SIGNED_IN,
    "/api/v1/dashboards/turnaround/requests": Reading.SIGNED_IN,
    "/api/v1/diff": Reading.SIGNED_IN,
    "/api/v1/events": Reading.AUDITOR,
    "/api/v1/log/checkpoint": Reading.SIGNED_IN,
    "/api/v1/log/tile/{level}/{place}": Reading.SIGNED_IN,
    "/api/v1/log/tile/entries/{place}": Reading.AUDITOR,
    "/api/v1/log/proof/{position}": Reading.SIGNED_IN,
    "/api/v1/log/consistency": Reading.SIGNED_IN,
    "/api/v1/log/keys": Reading.SIGNED_IN,
    "/api/v1/trail": Reading.AUDITOR,
    "/api/v1/trail/checkpoint": Reading.AUDITOR,
    "/api/v1/trail/tile/{level}/{place}": Reading.AUDITOR,
    "/api/v1/trail/tile/entries/{place}": Reading.AUDITOR,
    "/api/v1/trail/proof/{position}": Reading.AUDITOR,
    "/api/v1/trail/consistency": Reading.AUDITOR,
    "/login": Reading.ANYONE,
    "/login/callback": Reading.ANYONE,
    "/session": Reading.SIGNED_IN,
    "/api/v1/development/clock": Reading.ANYONE,
    "/access/v1/evaluation": Reading.GATEWAY,
    "/access/v1/evaluations": Reading.GATEWAY,
    "/access/v1/search/subject": Reading.GATEWAY,
    "/access/v1/search/resource": Reading.GATEWAY,
    "/access/v1/search/action": Reading.GATEWAY,
    "/access/v1/feed": Reading.GATEWAY,
    "/access/v1/requests": Reading.SIGNED_IN,
    "/access/v1/requests/{id}": Reading.SIGNED_IN,
    "/access/v1/jwks": Reading.ANYONE,
    "/access/v1/enforcement": Reading.GATEWAY,
    "/.well-known/authzen-configuration": Reading.ANYONE,
    "/healthz": Reading.ANYONE,
    "/readyz": Reading.ANYONE,
    "/metrics": Reading.ANYONE,
    "/openapi.json": Reading.ANYONE,
    "/docs": Reading.ANYONE,
    "/docs/page.css": Reading.ANYONE,
}
"""Who may read at each address that takes no command. Which rows and fields they see, the domain says by `Reach`."""

KEPT_FROM_OTHERS = {key.Key: Reading.KEYS, hold.LegalHold: Reading.RECORDS}
"""States that nobody but these readers knows of."""


# How somebody stands


def offices(found: list[organization.Organization], person: str, now: datetime) -> tuple[Office, ...]:
    """The roles a person holds now, in all of these: their own first, then those whose powers were delegated."""
    own = [Office(here.id, here.kind, role) for here in found for role in here.roles(person, now)]
    delegated = [
        Office(here.id, here.kind, role, (d.delegator,), d.powers)
        for here in found
        for d in here.delegations
        if d.to == person and d.in_force(now)
        for role in here.roles(d.delegator, now)
    ]
    return (*own, *delegated)


@unguarded
@dataclass(frozen=True, slots=True)
class Reach:
    """What a person may read of requests and grants: everything, or what concerns these organizations.

    `full`: agencies and providers, whose officers see deliberations; `own`: customers, whose applicants see their view.
    """

    person: str
    clearance: Label | None
    full: frozenset[str]
    own: frozenset[str]
    statistics: bool = False
    """Whether figures over everything are theirs to see, without the requests behind them."""

    def clearance_for(self, customer: str, concerned: Iterable[str]) -> Label | None:
        """The clearance for a request or grant of that customer, which concerns these agencies and provider."""
        if self.clearance is not None:
            return self.clearance
        if not self.full.isdisjoint(concerned):
            return Label.INTERAGENCY
        return Label.APPLICANT if customer in self.own else None

    @property
    def general(self) -> Label:
        """The clearance for organizations, policies, releases of others and directives."""
        if self.clearance is not None:
            return self.clearance
        return Label.INTERAGENCY if self.full else Label.APPLICANT


def reach(person: str, held: tuple[Office, ...]) -> Reach:
    """What those offices let a person read."""
    of_assent = [o.role for o in held if o.organization == ASSENT]
    clearance = None
    if "registrar" in of_assent or "decider" in of_assent:
        clearance = Label.INTERAGENCY
    if "auditor" in of_assent:
        clearance = Label.AUDITOR
    full = frozenset([o.organization for o in held if o.kind == "agency" or o.role == "release_manager"])
    own = frozenset([o.organization for o in held if o.role == "applicant"])
    return Reach(person, clearance, full, own, statistics="administrator" in of_assent)


@unguarded
@dataclass(frozen=True, slots=True)
class Standing:
    """The offices a person holds, and what these let them read.

    It follows from these organizations as they are, and is the same from `since` until `until` (excluded).
    """

    offices: tuple[Office, ...]
    reach: Reach
    organizations: tuple[organization.Organization, ...]
    since: datetime
    until: datetime

    def holds(self, organizations: list[organization.Organization], now: datetime) -> bool:
        """Whether it is the person's standing in these organizations as they are, at that time."""
        return (
            self.since <= now < self.until
            and len(organizations) == len(self.organizations)
            and all(map(is_, organizations, self.organizations))
        )


def standing(world: World, person: str, now: datetime) -> Standing:
    """The person's standing now, remembered by the world until it may be another."""
    if person.startswith(key.PERSON):
        held = _office_of_key(world, person.removeprefix(key.PERSON), now)
        return Standing(held, reach(person, held), (), now, now)
    found = [here for id in world.organizations_of(person) if (here := organization.find(world, id))]
    known: Standing | None = world.standings.get(person)
    if known is not None and known.holds(found, now):
        return known
    held = offices(found, person, now)
    turns = [turn for here in found for turn in here.turns(person)]
    since = max((turn for turn in turns if turn <= now), default=LONG_AGO)
    until = min((turn for turn in turns if turn > now), default=NEVER)
    new = Standing(held, reach(person, held), tuple(found), since, until)
    if found:  # of a stranger there is nothing to remember, and no end of strangers
        world.standings[person] = new
    return new


def _office_of_key(world: World, id: str, now: datetime) -> tuple[Office, ...]:
    """A key reads for its organization, and has no power to do anything."""
    here = key.find(world, id)
    of = organization.find(world, here.organization) if here and here.in_force(now) else None
    if here is None or of is None or of.closed:
        return ()
    return (Office(of.id, of.kind, here.role, powers=()),)


# Who acts


def acting(command: Any, world: World, person: str, acting_as: tuple[str, str] | None, now: datetime) -> By:
    """As whom the person does this. `acting_as` (organization, role) chooses where several appointments would do."""
    stands = standing(world, person, now)
    must_see(command, world, stands)
    able = _able(command, world, stands.offices)
    if acting_as is not None:
        able = [office for office in able if acting_as == (office.organization, office.role)]
    if not able:
        roles = sorted({role for rule in COMMANDS[type(command)] for role in rule.roles})
        raise NotAuthorised(
            f"{type(command).__name__} is for {', '.join(roles)} of the organization concerned.",
            *(f"an appointment as {role}" for role in roles),
        )
    if len(able) > 1 and len({office.organization for office in able}) > 1:
        names = sorted({f"{office.organization}/{office.role}" for office in able})
        raise AmbiguousAuthority("Several of your appointments would do.", *(f"Acting-As: {name}" for name in names))
    return By(person, able[0].organization, able[0].role, able[0].via)


def _able(command: Any, world: World, held: tuple[Office, ...]) -> list[Office]:
    """The offices that would do, in the order of the rule's roles."""
    return [
        office
        for rule in COMMANDS[type(command)]
        for role in rule.roles
        for office in held
        if office.role == role
        and rule.where(command, world, office.organization)
        and (office.powers is None or _lent(command, world, office))
    ]


def _lent(command: Any, world: World, office: Office) -> bool:
    """I6: a delegation counts within its powers. I5: one from a recused person does not."""
    here = request.find(world, command.request) if hasattr(command, "request") else None
    recused = here.recused if here else frozenset()
    return office.powers is not None and type(command).__name__ in office.powers and recused.isdisjoint(office.via)


# Who sees


def must_see(command: Any, world: World, stands: Standing) -> None:
    """I5 and need to know: what one may not read does not exist. A command that names no stream opens one."""
    name = own_stream(command)
    if name is None or isinstance(command, OPENING):
        return
    match world.stream(name).state:
        case None:
            raise NotFound
        case request.AccessRequest() as here:
            customer, concerned = here.customer, concerned_with_request(here)
            if stands.reach.person in here.recused:
                raise NotFound
        case grant.Grant() as here:
            customer, concerned = here.customer, (*here.agencies, here.provider)
        case key.Key() | hold.LegalHold() as kept:
            if not may_read(KEPT_FROM_OTHERS[type(kept)], stands.offices):
                raise NotFound
            return
        case _:
            return
    if stands.reach.clearance_for(customer, concerned) is None:
        raise NotFound


def may_read(reading: Reading, held: tuple[Office, ...]) -> bool:
    """Whether one of those offices opens what is for such readers, or none is needed."""
    needed = READERS.get(reading)
    return needed is None or any(office.organization == ASSENT and office.role in needed for office in held)


def concerned_with_request(here: request.AccessRequest) -> tuple[str, ...]:
    """The agencies and the provider whose officers read a request; a draft concerns nobody but its customer."""
    return (*here.agencies, here.provider) if here.terms else ()


def _release(command: Any, world: World) -> release.Release:
    here = release.find(world, command.release)
    if here is None:
        raise NotFound
    return here


def _request(command: Any, world: World) -> request.AccessRequest:
    here = request.find(world, command.request)
    if here is None:
        raise NotFound
    return here


def _grant(command: Any, world: World) -> grant.Grant:
    here = grant.find(world, command.grant)
    if here is None:
        raise NotFound
    return here
