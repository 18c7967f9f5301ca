"""Who and what is there for a random act to be about?"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from domain import directive, grant, hold, key, organization, policy, release, request
from domain.facts import Fact
from domain.organization import PersonAppointed, PowersDelegated
from tests.simulation.service import Service

T = TypeVar("T")


class Scene:
    """Names of everything in the log, sorted by what can be done with it; draws are the seed's."""

    def __init__(self, service: Service, chance: Random) -> None:
        self.service = service
        self.chance = chance
        self.people: list[str] = []
        self.holders: dict[tuple[str, str], list[str]] = {}
        self.delegates: dict[str, list[str]] = {}
        self.kinds: dict[str, list[str]] = {"assent": [], "provider": [], "agency": [], "customer": []}
        self.policies: list[str] = []
        self.releases: list[str] = []
        self.requests: dict[str, dict[str, None]] = {"draft": {}, "submitted": {}, "in_review": {}, "decided": {}}
        self.grants: dict[str, dict[str, None]] = {"live": {}, "ended": {}}
        self.directives: dict[str, dict[str, None]] = {"in_force": {}, "lifted": {}}
        self.keys: list[str] = []
        self.holds: list[str] = []

    @property
    def now(self) -> datetime:
        return self.service.now

    # Draws

    def one(self, values: Iterable[T]) -> T | None:
        """One of them, or None where there is none."""
        found: Sequence[T] = values if isinstance(values, (list, tuple)) else list(values)
        return self.chance.choice(found) if found else None

    def some(self, values: Iterable[T], most: int = 2) -> tuple[T, ...]:
        found = list(values)
        return tuple(self.chance.sample(found, self.chance.randint(0, min(most, len(found)))))

    def often(self, share: float) -> bool:
        return self.chance.random() < share

    def later(self, days: float) -> datetime:
        """A whole second within so many days from now."""
        return self.now + timedelta(seconds=self.chance.randint(1, int(days * 86_400)))

    def earlier(self, days: float) -> datetime:
        return self.now - timedelta(seconds=self.chance.randint(0, int(days * 86_400)))

    # People

    def anybody(self) -> str:
        return self.chance.choice(self.people)

    def holder(self, office: str, *roles: str) -> str:
        """Somebody who holds one of these roles there, or did; now and then anybody."""
        if self.often(0.06):
            return self.anybody()
        found = [person for role in roles for person in self.holders.get((office, role), ())]
        if not found:
            return self.anybody()
        here: organization.Organization = self.service.state(f"organization-{office}")
        drawn = (self.chance.choice(found) for _ in range(3))
        return next((person for person in drawn if here.roles(person, self.now)), found[0])

    def officer(self, agency: str) -> str:
        """An officer, or somebody to whom powers were delegated."""
        if agency in self.delegates and self.often(0.12):
            return self.chance.choice(self.delegates[agency])
        return self.holder(agency, "reviewer", "reviewer", "countersigner", "head")

    def senior(self, agency: str) -> str:
        return self.holder(agency, "countersigner", "head")

    def manager(self, provider: str) -> str:
        return self.holder(provider, "release_manager")

    def applicant(self, customer: str) -> str:
        return self.holder(customer, "applicant")

    def colleague(self, person: str, organization: str) -> str:
        """Another officer of the same agency."""
        others = [
            p for role in ("countersigner", "head") for p in self.holders.get((organization, role), ()) if p != person
        ]
        return self.chance.choice(others) if others else self.anybody()

    def overseer(self, here: grant.Grant) -> tuple[str, str]:
        """A senior of an agency of the grant, or the provider's manager; and for whom."""
        agency = self.one((*here.agencies, here.provider)) or here.provider
        return (self.manager(agency) if agency == here.provider else self.senior(agency)), agency

    # Things

    def organization(self, kind: str) -> organization.Organization | None:
        id = self.one(self.kinds[kind])
        return self.service.state(f"organization-{id}") if id else None

    def request(self, *stages: str) -> request.AccessRequest | None:
        id = self.one([id for stage in stages for id in self.requests[stage]])
        return self.service.state(f"request-{id}") if id else None

    def grant(self, *stages: str) -> grant.Grant | None:
        id = self.one([id for stage in stages for id in self.grants[stage]])
        return self.service.state(f"grant-{id}") if id else None

    def release(self) -> release.Release | None:
        id = self.one(self.releases)
        return self.service.state(f"release-{id}") if id else None

    def directive(self) -> directive.Directive | None:
        id = self.one(self.directives["in_force" if self.often(0.9) else "lifted"])
        return self.service.state(f"directive-{id}") if id else None

    # The log goes on

    def take(self, facts: Iterable[Fact]) -> None:
        touched: dict[str, None] = {}
        for fact in facts:
            touched[fact.stream] = None
            match fact.event:
                case PersonAppointed(person, role):
                    self._known(person)
                    self.holders.setdefault((fact.stream.partition("-")[2], role), []).append(person)
                case PowersDelegated(to=person):
                    self._known(person)
                    self.delegates.setdefault(fact.stream.partition("-")[2], []).append(person)
        for stream in touched:
            self._sort(stream.partition("-")[2], self.service.state(stream))

    def _known(self, person: str) -> None:
        if person not in self.people:
            self.people.append(person)

    def _sort(self, id: str, state: Any) -> None:
        match state:
            case organization.Organization() if id not in self.kinds[state.kind]:
                self.kinds[state.kind].append(id)
            case policy.Policy() if id not in self.policies:
                self.policies.append(id)
            case release.Release() if id not in self.releases:
                self.releases.append(id)
            case request.AccessRequest():
                _move(self.requests, id, stage_of(state))
            case grant.Grant():
                _move(self.grants, id, "ended" if state.ended else "live")
            case directive.Directive():
                _move(self.directives, id, state.state)
            case key.Key() if id not in self.keys:
                self.keys.append(id)
            case hold.LegalHold() if id not in self.holds:
                self.holds.append(id)


def stage_of(state: request.AccessRequest) -> str:
    if state.outcome:
        return "decided"
    if state.terms is None:
        return "draft"
    return "in_review" if state.registered else "submitted"


def _move(stages: dict[str, dict[str, None]], id: str, stage: str) -> None:
    for name, ids in stages.items():
        if name == stage:
            ids[id] = None
        else:
            ids.pop(id, None)
