"""May this customer use this model now? One fold over the few events that matter, and the reason for the answer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from domain.appeals import AppealDecided
from domain.clocks import NEVER
from domain.directive import DirectiveEased, DirectiveIssued, DirectiveLifted, Uses
from domain.facts import Fact
from domain.grant import (
    BarLifted,
    ConditionBreached,
    ConditionChanged,
    ConditionSatisfied,
    GrantAmended,
    GrantExpired,
    GrantIssued,
    GrantReinstated,
    GrantRevoked,
    GrantSuperseded,
    GrantSurrendered,
    GrantSuspended,
    RenewalEnded,
    RenewalRequested,
)
from domain.organization import OrganizationRegistered
from domain.release import PhaseAdvanced, PhaseRolledBack, ReleaseAnnounced, ReleaseWithdrawn

Reason = Literal[
    "unknown_release",
    "unknown_customer",
    "withdrawn",
    "directive",
    "barred",
    "phase_closed",
    "no_grant",
    "pending_conditions",
    "grant_suspended",
    "grant_revoked",
    "grant_expired",
    "tier_not_covered",
    "class_not_covered",
    "affiliate_not_covered",
    "granted",
    "open_phase",
]
IN_A_GRANTED_PHASE: tuple[Reason, ...] = (
    "no_grant",
    "pending_conditions",
    "grant_suspended",
    "grant_revoked",
    "grant_expired",
    "tier_not_covered",
    "class_not_covered",
    "affiliate_not_covered",
    "granted",
)
"""From the worst answer to the best; where several grants exist, the best stands (I10)."""


@dataclass(frozen=True, slots=True)
class Use:
    """What is asked. A missing tier means the only tier; a missing person class is unknown."""

    customer: str
    release: str
    tier: str | None = None
    person_class: str | None = None
    affiliate: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`because`: the positions of the facts it rests on. `valid_until`: when time alone will change it."""

    allowed: bool
    reason: Reason
    because: tuple[int, ...] = ()
    valid_until: datetime | None = None


@dataclass(slots=True)
class ReleaseAccess:
    provider: str
    tiers: tuple[str, ...]
    phases: dict[str, str]
    access: str
    position: int
    withdrawn: int | None = None


@dataclass(slots=True)
class GrantAccess:
    position: int
    tiers: tuple[str, ...]
    user_classes: tuple[str, ...]
    affiliates: tuple[str, ...]
    until: datetime | None
    preconditions: frozenset[int]
    changed: int
    unsatisfied: set[int]
    suspensions: set[str] = field(default_factory=set)
    ended: str | None = None
    barred: bool = False
    renewing: bool = False


@dataclass(slots=True)
class DirectiveAccess:
    position: int
    scope: Uses
    carve_outs: Uses


class Access:
    """Everything a check rests on, in memory, as of `position` (the last fact applied; -1: none)."""

    def __init__(self) -> None:
        self.position = -1
        self.customers: set[str] = set()
        self.releases: dict[str, ReleaseAccess] = {}
        self.grants: dict[tuple[str, str], list[GrantAccess]] = {}
        self.directives: dict[str, DirectiveAccess] = {}
        self._grant_of: dict[str, GrantAccess] = {}

    def check(self, use: Use, now: datetime) -> Answer:
        """The answer at that time: the first reason that applies, in the order of I10."""
        release = self.releases.get(use.release)
        if release is None:
            return Answer(False, "unknown_release")
        if use.customer not in self.customers:
            return Answer(False, "unknown_customer")
        if release.withdrawn is not None:
            return Answer(False, "withdrawn", (release.withdrawn,))
        for directive in self.directives.values():
            if stops(directive, use, release.provider):
                return Answer(False, "directive", (directive.position,))
        grants = self.grants.get((use.customer, use.release), [])
        barred = next((grant for grant in grants if grant.barred), None)
        if barred is not None:
            return Answer(False, "barred", (barred.changed,))
        if release.access == "closed":
            return Answer(False, "phase_closed", (release.position,))
        if release.access == "open":
            return Answer(True, "open_phase", (release.position,))
        return best(list(answers(grants, use, release, now)), release)

    def apply(self, fact: Fact) -> None:
        """Take the next fact of the log in; most of them do not matter here."""
        self.position = fact.position
        kind, _, id = fact.stream.partition("-")
        if kind == "request":
            return  # an approved one issues a grant
        match fact.event:
            case OrganizationRegistered(kind="customer"):
                self.customers.add(id)
            case ReleaseAnnounced() as e:
                phases: dict[str, str] = {phase.name: phase.access for phase in e.phases}
                self.releases[id] = ReleaseAccess(e.provider, e.tiers, phases, e.phases[0].access, fact.position)
            case PhaseAdvanced(to) | PhaseRolledBack(to):
                release = self.releases[id]
                release.access, release.position = release.phases[to], fact.position
            case ReleaseWithdrawn():
                self.releases[id].withdrawn = fact.position
            case DirectiveIssued(_, scope, carve_outs):
                self.directives[id] = DirectiveAccess(fact.position, scope, carve_outs)
            case DirectiveEased(carve_outs):
                before = self.directives[id]
                exempt = (*before.carve_outs.organizations, *carve_outs.organizations)
                old = before.carve_outs
                eased = Uses(old.releases, old.providers, exempt, old.person_classes)
                self.directives[id] = DirectiveAccess(fact.position, before.scope, eased)
            case DirectiveLifted():
                del self.directives[id]
            case GrantIssued() as e:
                preconditions = frozenset(c.number for c in e.conditions if c.kind == "precondition")
                grant = GrantAccess(
                    fact.position,
                    e.tiers,
                    e.user_classes,
                    e.affiliates,
                    e.until,
                    preconditions,
                    fact.position,
                    set(preconditions),
                )
                self.grants.setdefault((e.customer, e.release), []).append(grant)
                self._grant_of[id] = grant
            case _:
                if (known := self._grant_of.get(id)) is not None and kind == "grant":
                    change(known, fact)


def change(grant: GrantAccess, fact: Fact) -> None:
    """What a later fact of a grant's stream does to the access it gives."""
    match fact.event:
        case ConditionSatisfied(number):
            grant.unsatisfied.discard(number)
        case ConditionBreached(number):
            grant.unsatisfied |= {number} & grant.preconditions
        case GrantAmended(tiers, user_classes, until):
            grant.tiers = grant.tiers if tiers is None else tiers
            grant.user_classes = grant.user_classes if user_classes is None else user_classes
            grant.until = grant.until if until is None else until
        case GrantSuspended():
            grant.suspensions.add(fact.by.organization)
        case GrantReinstated():
            grant.suspensions.discard(fact.by.organization)
        case GrantRevoked(_, _, bar):
            grant.ended, grant.barred = "revoked", bar
        case ConditionChanged(number, _, _, _, dropped):
            if dropped:
                grant.unsatisfied.discard(number)
                grant.preconditions -= {number}
        case RenewalRequested(_, timely):
            grant.renewing = timely
        case RenewalEnded():
            grant.renewing = False
        case AppealDecided(_, outcome):
            grant.barred = grant.barred and outcome != "reverse"
        case BarLifted():
            grant.barred = False
        case GrantExpired():
            grant.ended = "expired"
        case GrantSurrendered() | GrantSuperseded():
            grant.ended = "given up"
        case _:
            return
    grant.changed = fact.position


def stops(directive: DirectiveAccess, use: Use, provider: str) -> bool:
    """In every list of the scope, and in none of the carve-outs. An unknown class is in any scope, in no carve-out."""
    scope, exempt = directive.scope, directive.carve_outs
    bodies = {use.customer, use.affiliate}
    return (
        (not scope.releases or use.release in scope.releases)
        and (not scope.providers or provider in scope.providers)
        and (not scope.organizations or not bodies.isdisjoint(scope.organizations))
        and (not scope.person_classes or use.person_class is None or use.person_class in scope.person_classes)
        and use.release not in exempt.releases
        and provider not in exempt.providers
        and bodies.isdisjoint(exempt.organizations)
        and use.person_class not in exempt.person_classes
    )


def answers(grants: list[GrantAccess], use: Use, release: ReleaseAccess, now: datetime) -> Iterator[Answer]:
    """One answer per grant that counts; surrendered and superseded ones count as no grant."""
    for grant in grants:
        if grant.ended != "given up":
            reason = of_grant(grant, use, release, now)
            allowed = reason == "granted"
            yield Answer(
                allowed,
                reason,
                (grant.position, grant.changed),
                grant.until if allowed and not grant.renewing else None,
            )


def of_grant(grant: GrantAccess, use: Use, release: ReleaseAccess, now: datetime) -> Reason:
    """The first reason, in the order of I10, for which this grant does not cover the use."""
    tier = release.tiers[0] if use.tier is None and len(release.tiers) == 1 else use.tier
    if grant.unsatisfied:
        return "pending_conditions"
    if grant.suspensions:
        return "grant_suspended"
    if grant.ended == "revoked":
        return "grant_revoked"
    if grant.ended == "expired" or (grant.until is not None and grant.until <= now and not grant.renewing):
        return "grant_expired"
    if tier not in grant.tiers:
        return "tier_not_covered"
    if grant.user_classes and use.person_class not in grant.user_classes:
        return "class_not_covered"
    if use.affiliate is not None and use.affiliate not in grant.affiliates:
        return "affiliate_not_covered"
    return "granted"


def best(found: list[Answer], release: ReleaseAccess) -> Answer:
    if not found:
        return Answer(False, "no_grant", (release.position,))
    answer = max(found, key=lambda a: (IN_A_GRANTED_PHASE.index(a.reason), a.valid_until or NEVER))
    because = tuple(sorted({release.position, *answer.because}))
    return Answer(answer.allowed, answer.reason, because, answer.valid_until)
