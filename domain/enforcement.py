"""What of the log does enforcement need to know, and who of the gateways?

Events say what happened; a gateway needs only how things stand. This fold knows the events, and leaves a record
(`access.py`) of each grant, release, directive and customer that a fact changed.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from domain import directive as directives
from domain.access import Access, Condition, Customer, Directive, Gone, Grant, Record, Release, Uses, microseconds
from domain.appeals import AppealDecided
from domain.directive import DirectiveEased, DirectiveIssued, DirectiveLifted
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

Providers = frozenset[str] | None
"""Some providers, or (None) all of them."""


ANSWERS_MAX = 250_000
"""How many answers whoever follows the log remembers: strangers choose what is asked."""


class Change(NamedTuple):
    """What a fact changed, and the providers whose gateways need to know."""

    record: Record
    to: Providers


class Enforcement:
    """Everything a check rests on, as of `access.position` (the last fact taken; -1: none)."""

    def __init__(self) -> None:
        self.access = Access(ANSWERS_MAX)
        self._phases: dict[str, dict[str, str]] = {}
        self._grants: dict[str, Grant] = {}
        self._preconditions: dict[str, frozenset[int]] = {}

    def take(self, fact: Fact) -> Change | None:
        """Take the next fact of the log in: what it changed, if it matters here; most do not."""
        access = self.access
        access.position = fact.position
        kind, _, id = fact.stream.partition("-")
        change = _CHANGES.get(kind)
        record = change(self, id, fact) if change else None
        if record is None:
            return None
        lifted = access.directives.get(id) if isinstance(record, Gone) else None
        to = concerned(lifted or record, access)
        access.put(record)
        return Change(record, to)

    def _customer(self, id: str, fact: Fact) -> Record | None:
        match fact.event:
            case OrganizationRegistered(kind="customer"):
                return Customer(id, fact.position)
            case _:
                return None

    def _release(self, id: str, fact: Fact) -> Record | None:
        at, here = fact.position, self.access.releases.get(id)
        match fact.event:
            case ReleaseAnnounced() as e:
                self._phases[id] = {phase.name: phase.access for phase in e.phases}
                first = e.phases[0]
                return Release(id, at, e.provider, e.tiers, first.name, first.access, at)
            case PhaseAdvanced(to) | PhaseRolledBack(to) if here is not None:
                return here._replace(changed=at, phase=to, access=self._phases[id][to], since=at)
            case ReleaseWithdrawn() if here is not None:
                return here._replace(changed=at, withdrawn=at)
            case _:
                return None

    def _directive(self, id: str, fact: Fact) -> Record | None:
        here = self.access.directives.get(id)
        match fact.event:
            case DirectiveIssued(_, scope, carve_outs):
                return Directive(id, fact.position, _uses(scope), _uses(carve_outs))
            case DirectiveEased(carve_outs) if here is not None:
                exempt = here.carve_outs.organizations | frozenset(carve_outs.organizations)
                eased = here.carve_outs._replace(organizations=exempt)
                return here._replace(changed=fact.position, carve_outs=eased)
            case DirectiveLifted():
                return Gone(id, fact.position, "directive")
            case _:
                return None

    def _grant(self, id: str, fact: Fact) -> Record | None:
        if isinstance(fact.event, GrantIssued):
            record = _issued(id, fact.event, fact.position)
            self._preconditions[id] = frozenset(each.number for each in record.conditions if each.holds_up)
        else:
            here = self._grants.get(id)
            if here is None:
                return None
            if isinstance(fact.event, GrantSurrendered | GrantSuperseded):
                del self._grants[id], self._preconditions[id]
                return Gone(id, fact.position, "grant", here.customer, here.release)
            changed = self._changed(here, fact)
            if changed is None:
                return None
            record = changed._replace(changed=fact.position)
        self._grants[id] = record
        return record

    def _changed(self, grant: Grant, fact: Fact) -> Grant | None:
        """What a later fact of its stream makes of a grant; None: nothing that matters here."""
        match fact.event:
            case ConditionSatisfied(number):
                return _with_condition(grant, number, False, fact.position)
            case ConditionBreached(number):
                return _with_condition(grant, number, number in self._preconditions[grant.id], fact.position)
            case ConditionChanged(number, _, _, _, dropped):
                if not dropped:
                    return grant
                self._preconditions[grant.id] -= {number}
                return grant._replace(conditions=tuple(each for each in grant.conditions if each.number != number))
            case GrantAmended(tiers, user_classes, until):
                return grant._replace(
                    tiers=grant.tiers if tiers is None else tiers,
                    user_classes=grant.user_classes if user_classes is None else user_classes,
                    until=grant.until if until is None else microseconds(until),
                )
            case GrantSuspended():
                return grant._replace(suspended_by=tuple(sorted({*grant.suspended_by, fact.by.organization})))
            case GrantReinstated():
                left = tuple(each for each in grant.suspended_by if each != fact.by.organization)
                return grant._replace(suspended_by=left)
            case GrantRevoked(_, _, bar):
                return grant._replace(ended="revoked", barred=bar)
            case GrantExpired():
                return grant._replace(ended="expired")
            case RenewalRequested(_, timely):
                return grant._replace(renewing=timely)
            case RenewalEnded():
                return grant._replace(renewing=False)
            case AppealDecided(_, outcome):
                return grant._replace(barred=grant.barred and outcome != "reverse")
            case BarLifted():
                return grant._replace(barred=False)
            case _:
                return None


_CHANGES: dict[str, Callable[[Enforcement, str, Fact], Record | None]] = {
    "organization": Enforcement._customer,
    "release": Enforcement._release,
    "directive": Enforcement._directive,
    "grant": Enforcement._grant,
}
"""By kind of stream; an approved request matters by the grant that it issues."""


def _issued(id: str, e: GrantIssued, at: int) -> Grant:
    conditions = tuple(Condition(each.number, each.kind == "precondition", at) for each in e.conditions)
    until = None if e.until is None else microseconds(e.until)
    return Grant(id, at, e.customer, e.release, at, e.tiers, e.user_classes, e.affiliates, until, conditions)


def _with_condition(grant: Grant, number: int, holds_up: bool, at: int) -> Grant:
    conditions = tuple(Condition(number, holds_up, at) if each.number == number else each for each in grant.conditions)
    return grant._replace(conditions=conditions)


def _uses(uses: directives.Uses) -> Uses:
    lists: tuple[Any, ...] = (uses.releases, uses.providers, uses.organizations, uses.person_classes)
    return Uses(*map(frozenset, lists))


# Who needs to know it


def concerned(record: Record, access: Access) -> Providers:
    """The providers whose gateways need the record: those of a release, of a grant's release, of what a directive may
    touch; all of them need to know the customers.
    """
    match record:
        case Release():
            return frozenset((record.provider,))
        case Grant() | Gone(kind="grant"):
            return _providers((record.release,), access)
        case Directive(_, _, scope):
            named = scope.providers or None
            if not scope.releases:
                return named
            of_releases = _providers(scope.releases, access)
            return of_releases if named is None else of_releases & named
        case _:
            return None


def _providers(releases: Iterable[str], access: Access) -> frozenset[str]:
    return frozenset(access.releases[id].provider for id in releases if id in access.releases)


def is_for(to: Providers, readers: Providers) -> bool:
    """Whether what concerns the one is for those who read for the other."""
    return to is None or readers is None or not to.isdisjoint(readers)
