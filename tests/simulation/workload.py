"""What do people try in a random world, step by step, and what did the auditor find?

A world has its seed and a bounded size; a soak is many worlds under seeds derived from one. Everything in a world
follows from its seed, so a breach is found again by naming seed and world.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from domain import authority
from domain.access import Use, microseconds
from domain.facts import SYSTEM
from domain.organization import ASSENT, Appoint, OrganizationRegistered, PersonAppointed, RegisterOrganization
from domain.world import own_stream
from tests.simulation import acts
from tests.simulation.auditor import Auditor
from tests.simulation.scene import Scene
from tests.simulation.service import Order, Outcome, Service

STEPS_OF_A_WORLD = 2_500
BEGINNING = datetime(2025, 1, 1, 14, tzinfo=UTC)
SPREAD_DAYS = 2_000
"""Worlds begin on different days, so that closures and changes of the clock fall differently."""


@dataclass
class Tally:
    """What came of the steps: per command, how many were accepted, refused (by which rule), or only tried (dry)."""

    steps: int = 0
    records: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    dry: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    delegated: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.steps + other.steps,
            self.records + other.records,
            self.accepted + other.accepted,
            self.refused + other.refused,
            self.dry + other.dry,
            self.events + other.events,
            self.answers + other.answers,
            self.delegated + other.delegated,
        )


class Workload:
    """One random world; `lines` are its log when `keep` asks for them."""

    def __init__(self, seed: str, *, keep: bool = False) -> None:
        self.chance = Random(seed)
        self.service = Service(BEGINNING + timedelta(days=self.chance.randint(0, SPREAD_DAYS)), self.chance)
        self.scene = Scene(self.service, self.chance)
        self.auditor = Auditor()
        self.tally = Tally()
        self.appends: list[list[bytes]] | None = [] if keep else None

    def run(self, steps: int) -> Tally:
        """That many steps: each a command that somebody tries, or time that passes. Raises Violation."""
        self._begin()
        while self.tally.steps < steps:
            self.service.now += acts.pause(self.scene)
            if self.chance.random() < 0.04:
                self._time_passes()
            else:
                self._batch(min(self._how_many(), steps - self.tally.steps))
            if self.chance.random() < 0.15:
                self._ask()
        return self.tally

    def _how_many(self) -> int:
        return self.chance.choices((1, 2, 5), (80, 15, 5))[0]

    # The beginning

    def _begin(self) -> None:
        roles: tuple[Any, ...] = ("administrator", "registrar", "decider", "records_officer")
        appointed = [PersonAppointed("root", role, self.service.now) for role in roles]
        registered = OrganizationRegistered("assent", "Assent", "US")
        self._took(self.service.happened(f"organization-{ASSENT}", [registered, *appointed], SYSTEM))
        for order in self._first_orders():
            self._took(*self.service.batch([order]))

    def _first_orders(self) -> Iterator[Order]:
        """Enough organizations, officers, rules and releases for something to happen."""
        chance, scene = self.chance, self.scene
        kinds: tuple[tuple[Any, int, int], ...] = (("provider", 1, 2), ("agency", 2, 4), ("customer", 3, 6))
        for kind, least, most in kinds:
            for nth in range(chance.randint(least, most)):
                command = RegisterOrganization(f"{kind}-{nth}", kind, kind, "US", None, kind == "agency" and nth != 1)
                yield Order(command, "root")
        offices: list[tuple[str, Any]] = [(ASSENT, role) for role in ("registrar", "decider", "decider")]
        roles = ("reviewer", "reviewer", "countersigner", "head", "head")
        offices += [(id, role) for id in scene.kinds["agency"] for role in roles]
        offices += [(id, "release_manager") for id in scene.kinds["provider"] for _ in range(2)]
        offices += [(id, "applicant") for id in scene.kinds["customer"]]
        for organization, role in offices:
            person = scene.anybody() if chance.random() < 0.08 else f"person-{len(scene.people)}"
            yield Order(Appoint(organization, person, role), "root")
        for make, times in ((acts.publish_policy, 3), (acts.add_affiliate, 2), (acts.announce_release, 3)):
            for _ in range(times):
                made = make(scene)
                if made is not None:
                    yield Order(*made)

    # Steps

    def _batch(self, size: int) -> None:
        orders = [order for _ in range(size) if (order := self._order()) is not None]
        if orders:
            self._took(*self.service.batch(orders))

    def _order(self) -> Order | None:
        made = None
        for _ in range(20):
            made = acts.draw(self.scene)
            if made is not None:
                break
        if made is None:
            return None
        command, person = made
        chance = self.chance.random
        occurred = self.scene.earlier(10) if chance() < 0.06 else None
        if chance() < 0.01:
            occurred = self.scene.later(1)
        via = ("import:importer",) if occurred is not None and chance() < 0.2 else ()
        acting_as = self._office(command, person) if chance() < 0.3 else None
        return Order(command, person, acting_as, occurred, self._version(command), chance() < 0.05, via)

    def _office(self, command: Any, person: str) -> tuple[str, str] | None:
        """An office of the person that may do such a thing somewhere."""
        roles = {role for rule in authority.COMMANDS[type(command)] for role in rule.roles}
        return self.scene.one(
            [office for office, people in self.scene.holders.items() if person in people and office[1] in roles]
        )

    def _version(self, command: Any) -> int | None:
        """What If-Match says: mostly nothing, else the stream's version, or nearly."""
        name = own_stream(command)
        if name is None or self.chance.random() > 0.05:
            return None
        stream = self.service.states.get(name)
        return (stream.version if stream else 0) + self.chance.choice((0, 0, -1))

    def _time_passes(self) -> None:
        self._took(self.service.pass_time())

    def _took(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            self.tally.steps += 1
            self._count(outcome)
            if outcome.refusal is not None:
                self._refused(outcome)
            elif outcome.lines:
                if self.appends is not None:
                    self.appends.append(list(outcome.lines))
                self.auditor.append(list(outcome.lines))
                self.scene.take(outcome.facts)

    def _refused(self, outcome: Outcome) -> None:
        refusal, order = outcome.refusal, outcome.order
        assert refusal is not None and order is not None
        told = {"status": refusal.status, "rule": refusal.rule, "title": refusal.title}
        told |= {"detail": refusal.detail, "missing": list(refusal.missing)}
        self.auditor.refused(outcome.command_id, order.person, own_stream(order.command), told)

    def _count(self, outcome: Outcome) -> None:
        name = acting_name(outcome.order.command) if outcome.order else "(time)"
        self.tally.records += len(outcome.lines)
        if outcome.refusal is not None:
            self.tally.refused[name, outcome.refusal.rule] += 1
        elif outcome.order is not None and outcome.order.dry_run:
            self.tally.dry[name] += 1
        else:
            self.tally.accepted[name] += 1
        self.tally.events.update(fact.type for fact in outcome.facts)
        self.tally.delegated += sum(any(":" not in person for person in fact.by.via) for fact in outcome.facts)

    # Checks

    def _ask(self) -> None:
        """A check of access, as a gateway would ask, compared with the auditor's own answer."""
        scene, pick = self.scene, self.scene.one
        stages = self.chance.choices(([], ["live"], ["live", "ended"]), (20, 60, 20))[0]
        grant = scene.grant(*stages)
        use = Use(
            (grant.customer if grant else pick([*scene.kinds["customer"], "nobody", *scene.kinds["agency"][:1]]))
            or "nobody",
            (grant.release if grant else pick([*scene.releases, "nothing"])) or "nothing",
            pick((None, *(grant.tiers if grant else ()), *acts.TIERS)),
            pick((None, *acts.CLASSES)),
            pick((None, None, *(grant.affiliates if grant else ()), "customer-0-lab-1")),
        )
        answer = self.service.enforcement.access.check(use, microseconds(self.service.now))
        asked = {name: getattr(use, name) for name in ("customer", "release", "tier", "person_class", "affiliate")}
        self.auditor.answered(asked, self.service.now, answer.reason, answer.allowed)
        self.tally.answers[answer.reason] += 1


def acting_name(command: Any) -> str:
    """The command's name; where two streams have one of that name, with the stream's kind."""
    kind = type(command).__module__.rpartition(".")[2]
    name = type(command).__name__
    return f"{kind}.{name}" if name in ("FileAppeal", "DecideAppeal") else name
