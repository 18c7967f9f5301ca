"""How is a command handled in memory, the way `services/handle.py` does, down to the very bytes of each record?

What a command writes is encoded as its records, and read back from their bytes: what is folded, and what the auditor is
given, is the log. Ids, salts and all else that is left to chance come from the seed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any

from domain import rulebook
from domain.enforcement import Enforcement
from domain.errors import Refused, StaleVersion
from domain.facts import By, Fact
from domain.organization import PersonAppointed, PowersDelegated
from domain.world import EMPTY, Stream, World, fold, own_stream
from services.log import record

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class Order:
    """A person's command, and how it is to be taken; see `services.handle.Order`."""

    command: Any
    person: str
    acting_as: tuple[str, str] | None = None
    occurred: datetime | None = None
    if_match: int | None = None
    dry_run: bool = False
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order, or (None) of time passing: the records, or why it was refused."""

    order: Order | None
    command_id: str
    facts: Sequence[Fact] = ()
    lines: Sequence[bytes] = ()
    refusal: Refused | None = None


class Service:
    """States of all streams, access, and a clock that the workload moves."""

    def __init__(self, now: datetime, chance: Random) -> None:
        self.now = now
        self.size = 0
        self.states: dict[str, Stream] = {}
        self.enforcement = Enforcement()
        self._chance = chance
        self._organizations: dict[str, set[str]] = {}
        self._standings: dict[str, Any] = {}
        self._timed: set[str] = set()
        self._overlay: dict[str, Stream] = {}
        self._decided = 0
        self._names = 0

    def state(self, stream: str) -> Any:
        return self.states.get(stream, EMPTY).state

    # The write path

    def batch(self, orders: Sequence[Order]) -> list[Outcome]:
        """Each order decided upon those before it, then all appended. Sometimes another process was first."""
        outcomes = self._decide_all(orders)
        if self._chance.random() < 0.02:
            outcomes = self._decide_all(orders)
        overlay = self._overlay
        found = [self._append(outcome) for outcome in outcomes]
        if self._chance.random() < 0.1:
            for name, stream in overlay.items():
                assert self.states[name] == stream, f"{name}: the log's bytes give another state than the rules saw"
        return found

    def pass_time(self) -> Outcome:
        """What time alone has done by now to every stream but those that an importer tells of."""
        self._begin_batch()
        due = [name for name in self._timed if self._is_due(self.states[name])]
        world = rulebook.let_time_pass(self._world, due, self.now, self.new_id)
        return self._append(Outcome(None, "", world.facts))

    def _is_due(self, stream: Stream) -> bool:
        return not stream.imported and rulebook.due_timer(stream, self.now) is not None

    def happened(self, stream: str, events: Iterable[Any], by: By) -> Outcome:
        """What the service writes of itself at its first start."""
        self._begin_batch()
        world = self._world()
        for event in events:
            world.write(stream, event, by, self.now, "bootstrap", None)
        return self._append(Outcome(None, "bootstrap", world.facts))

    def _begin_batch(self) -> None:
        self._overlay, self._decided = {}, self.size

    def _decide_all(self, orders: Sequence[Order]) -> list[Outcome]:
        self._begin_batch()
        return [self._decide(order) for order in orders]

    def _decide(self, order: Order) -> Outcome:
        command_id = self.new_id()
        try:
            world, _ = rulebook.handle(
                order.command,
                self._world,
                order.person,
                order.acting_as,
                order.occurred,
                self.new_id,
                command_id,
                self._compare(order),
                order.via,
            )
        except Refused as refusal:
            return Outcome(order, command_id, refusal=refusal)
        if order.dry_run:
            return Outcome(order, command_id)
        self._overlay.update(world.written)
        self._decided += len(world.facts)
        return Outcome(order, command_id, world.facts)

    def _compare(self, order: Order) -> Callable[[World, By], None]:
        def compare(world: World, by: By) -> None:
            name = own_stream(order.command)
            if order.if_match is None or name is None:
                return
            stream = world.stream(name)
            version = stream.applicant_version if by.role == "applicant" else stream.version
            if order.if_match != version:
                raise StaleVersion(f"Its version is {version} now.", f'If-Match: "{version}"')

        return compare

    def _append(self, outcome: Outcome) -> Outcome:
        """Encode, decode and fold what was written; the same facts must come back from the bytes."""
        lines, facts = [], []
        for decided in outcome.facts:
            fact = replace(decided, salt=f"{self._chance.getrandbits(128):032x}")
            line = record.seal_fact(fact)
            fact = record.read(line)
            assert replace(fact, salt="") == decided, "a record's bytes give back the fact"
            self._fold(fact)
            lines.append(line)
            facts.append(fact)
        return replace(outcome, facts=facts, lines=lines)

    def _fold(self, fact: Fact) -> None:
        name = fact.stream
        after = fold(self.states.get(name, EMPTY), fact, rulebook.evolve_of(name))
        self.states[name] = after
        self.size = fact.position + 1
        self.enforcement.take(fact)
        match fact.event:
            case PersonAppointed(person=person) | PowersDelegated(to=person):
                self._organizations.setdefault(person, set()).add(name.partition("-")[2])
        if name.startswith(("request-", "grant-")):
            ended = getattr(after.state, "outcome", None) or getattr(after.state, "ended", None)
            (self._timed.discard if ended else self._timed.add)(name)

    def _world(self) -> World:
        return World(self._stream, self._organizations_of, rulebook.evolve_of, self._decided, self.now, self._standings)

    def _stream(self, name: str) -> Stream:
        return self._overlay.get(name) or self.states.get(name, EMPTY)

    def _organizations_of(self, person: str) -> Iterable[str]:
        return sorted(self._organizations.get(person, ()))

    def new_id(self) -> str:
        """A sortable id that follows from the seed; like those of `services.ids`, of one instant it sorts by chance."""
        self._names += 1
        chance = "".join(self._chance.choices(ALPHABET, k=4))
        return f"{self._names // 4:06d}{chance}{self._names % 4}"
