"""How is a command handled, from the order to the answer? This is the only write path.

The handler holds the states of streams as of the log's size; the writer hands it whatever waits, and it decides each
command on those states and on the earlier commands of the batch. Nothing it decides counts before the writer says so.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial, reduce
from operator import is_
from typing import Any, Protocol, assert_never

import psycopg

from domain import organization, rulebook
from domain.authority import Standing
from domain.errors import Refused, StaleVersion
from domain.facts import SYSTEM, By, Fact
from domain.fields import Label, is_visible
from domain.values import replace, unguarded
from domain.world import EMPTY, Stream, Unloaded, World, fold, own_stream
from services.clock import Clock
from services.ids import keyed_id, new_id, seeded_id
from services.log import reader
from services.log.reader import LogEnd, Pool
from services.log.receipt import Receipt
from services.log.writer import Decision, NeedsStreams, Settled, StorageUnavailable, Writer, resolve
from services.replica import Replica
from services.settings import Settings
from services.vault import Vault

_log = logging.getLogger(__name__)

_ORGANIZATION = organization.stream("")


SKIP_SECONDS_MAX = 5.0


class KeyReused(Refused):
    status, rule, title = 422, "idempotency_key", "The key was used for another command"


class NotReached(Refused):
    """An order in a row was not decided, for the one before it was not accepted."""

    rule, title = "in_turn", "What comes before it was not accepted"


@unguarded
@dataclass(frozen=True, slots=True)
class Order:
    """A person's command and how it is to be taken. A dry run has no `key` and no `fingerprint`.

    `via` names the importer of an act of the past. With a `seed`, ids follow from it and are known beforehand; it is
    then the seed of this `key` alone. `after` is the order before it in a row: unless that one is accepted in the same
    append, this one is NotReached.
    """

    command: Any
    person: str
    acting_as: tuple[str, str] | None = None
    occurred: datetime | None = None
    key: bytes | None = None
    fingerprint: bytes | None = None
    if_match: int | None = None
    dry_run: bool = False
    via: tuple[str, ...] = ()
    seed: bytes | None = None
    after: "Order | None" = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OwnCommand:
    """A command of the service itself: nobody's act, and nobody's authority. `occurred`: where the log learns late."""

    command: Any
    occurred: datetime | None = None


@dataclass(frozen=True, slots=True)
class PassTime:
    """Let time alone do what is due to these streams until an instant. `via` names the importer who told of it."""

    streams: tuple[str, ...]
    until: datetime
    via: tuple[str, ...] = ()


@unguarded
@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did, as its caller may see it: applicants get their view's version and the events they see."""

    id: str
    stream: str
    version: int
    position: int
    number: int | None
    events: tuple[tuple[str, int], ...]
    receipt: Receipt | None
    dry_run: bool = False
    secret: str | None = None


Tell = Callable[[Answer | Exception], None]
"""Is told once what became of an order."""


class Elsewhere(Protocol):
    """Where another process decides for this one."""

    def hand_on(self, order: Order, tell: Tell) -> bool:
        """Whether the order is decided there. Raises QueueFull."""

    def tells_of(self, backend: int) -> bool:
        """Whether what that backend of the database appends is told from there."""


def folded(stream: str, facts: Sequence[Fact]) -> Stream:
    """A stream from all its facts."""
    evolve = rulebook.evolve_of(stream)
    return reduce(lambda state, fact: fold(state, fact, evolve), facts, EMPTY)


class Handler:
    """Decides orders on resident states; the writer's Decider."""

    def __init__(self, settings: Settings, conninfo: str, pool: Pool, clock: Clock, replica: Replica, vault: Vault):
        self.clock = clock
        self.replica = replica
        self._pool = pool
        self._vault = vault
        self._states: dict[str, Stream] = {}
        self._standings: dict[str, Standing] = {}
        self._states_max = settings.states_max
        self._drafts: deque[_Batch] = deque()
        self._drafted = _Drafted()
        self._telling: set[asyncio.Task[None]] = set()
        self.elsewhere: Elsewhere | None = None
        self.on_fold: list[Callable[[Sequence[Fact]], None]] = []
        self.writer = Writer(conninfo, self, settings.queue_max)

    async def handle(self, order: Order) -> Answer:
        """Have the order decided, and what it writes appended. Raises Refused."""
        sealed = await self._vault.seal(order.command, order.person)
        if sealed is not order.command:
            order = replace(order, command=sealed)
        if self.elsewhere is not None and not order.via:
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            if self.elsewhere.hand_on(order, partial(resolve, future)):
                return await future
        settled = await self.writer.submit(order, order.key, order.fingerprint)
        return await self._first_answer(order, settled) if settled.repeated else _settled(order, settled)

    def take(self, order: Order, tell: Tell) -> bool:
        """As `handle`, without a task: `tell` is told once what became of it. Whether it was taken. Raises Refused."""
        sealed = self._vault.seal_at_once(order.command, order.person)
        if sealed is None:
            return False
        if sealed is not order.command:
            order = replace(order, command=sealed)
        if self.elsewhere is None or not self.elsewhere.hand_on(order, tell):
            self.decide_here(order, tell)
        return True

    def decide_here(self, order: Order, tell: Tell) -> None:
        """Have an order decided in this process, whose texts are sealed. Raises QueueFull, StorageUnavailable."""

        def told(outcome: Settled | Exception) -> None:
            if isinstance(outcome, Exception):
                tell(outcome)
            elif outcome.repeated:
                self._tell_first_answer(order, outcome, tell)
            else:
                tell(_settled(order, outcome))

        self.writer.put(order, order.key, order.fingerprint, told)

    def is_told_of(self, backend: int) -> bool:
        """Whether what that backend of the database appends is known here without being read."""
        return self.writer.is_own(backend) or (self.elsewhere is not None and self.elsewhere.tells_of(backend))

    def _tell_first_answer(self, order: Order, settled: Settled, tell: Tell) -> None:
        """It may have to be read from the log, so this one takes a task."""

        async def tell_it() -> None:
            try:
                tell(await self._first_answer(order, settled))
            except psycopg.OperationalError:
                tell(StorageUnavailable("The first answer cannot be read now; repeating this is safe.", "the database"))
            except Exception as error:
                tell(error)

        task = asyncio.create_task(tell_it())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def handle_in_a_row(self, orders: Sequence[Order]) -> list[Settled | BaseException]:
        """Decide orders one upon the other, in one append: from the first refused on, none is written.

        What became of each: its facts, its refusal, or NotReached. One that was taken in earlier is `repeated`, and may
        have cost those after it their turn: NotReached without any refusal before them, they can be tried again.
        """
        row: list[Order] = []
        for order in orders:
            command = await self._vault.seal(order.command, order.person)
            row.append(replace(order, command=command, after=row[-1] if row else None))
        put = self.writer.promise
        promised = [put(order, order.key, order.fingerprint, in_row=order.after is not None) for order in row]
        return await asyncio.gather(*promised, return_exceptions=True)

    async def instruct(self, command: Any, occurred: datetime | None = None) -> None:
        """Have a command of the service itself decided. Raises Refused."""
        await self.writer.submit(OwnCommand(command, occurred))

    async def pass_time(self, streams: Sequence[str], until: datetime, via: tuple[str, ...] = ()) -> int:
        """Write what time alone has done to these streams until then; how many facts that made."""
        settled = await self.writer.submit(PassTime(tuple(streams), until, via))
        return len(settled.facts)

    async def state(self, stream: str) -> Any:
        """What a stream is now, by the log; None where nothing has happened in it."""
        async with self._pool.connection() as conn:
            facts = await reader.facts_of(conn, [stream])
        return folded(stream, facts.get(stream, ())).state

    async def _first_answer(self, order: Order, settled: Settled) -> Answer:
        """The answer of an earlier command under the same key, rebuilt from its events."""
        if settled.fingerprint != order.fingerprint:
            raise KeyReused("This Idempotency-Key was used for a command that differs.", "a key of its own")
        name = own_stream(order.command) or settled.facts[0].stream
        version = next((fact.version for fact in reversed(settled.facts) if fact.stream == name), 0)
        if settled.facts[0].by.role == "applicant":
            async with self._pool.connection() as conn:
                facts = await reader.facts_of(conn, [name])
            version = sum(_is_applicants(fact) for fact in facts[name] if fact.version <= version)
        return _answer(order.command, settled, version)

    # The writer's Decider

    def decide(self, works: Sequence[Any], end: LogEnd) -> list[Decision]:
        """Each work upon those before it. Raises NeedsStreams for all that any of them misses."""
        recorded = end.taken_in(self.clock.now())
        batch = _Batch(self._states, self._drafted, self._standings, self.replica, recorded, end.size)
        needed: set[str] = set()
        decisions = []
        for work in works:
            try:
                decisions.append(batch.decide(work))
            except Unloaded as missing:
                needed.add(missing.stream)
        if needed:
            raise NeedsStreams(needed)
        if batch.facts:
            self._drafts.append(batch)
            self._drafted.states.update(batch.written)
            self._drafted.organizations |= batch.organizations
        return decisions

    def forget(self) -> None:
        self._drafts.clear()
        self._drafted.clear()

    def _adopt(self, written: Mapping[str, Stream]) -> None:
        drafted = self._drafted.states
        for name, stream in written.items():
            self._states.pop(name, None)
            self._states[name] = stream
            if drafted.get(name) is stream:
                del drafted[name]

    def load(self, stream: str, facts: Sequence[Fact]) -> None:
        self._states[stream] = folded(stream, facts)

    async def skip(self, size: int) -> bool:
        """Nothing stays resident; who holds which office has to be known up to there."""
        self._states.clear()
        if not await self.replica.at_least(size - 1, SKIP_SECONDS_MAX):
            raise psycopg.OperationalError("What the log holds of offices has not been read in time.")
        return True

    def fold(self, facts: Sequence[Fact]) -> None:
        """Streams that are not resident, and have a past, stay so: they are loaded when a rule asks for them.

        What was just decided here was folded while it was.
        """
        at = 0
        while at < len(facts) and self._drafts:
            batch = self._drafts[0]
            assert batch.made(facts, at), "what was decided first comes first into the log"
            self._drafts.popleft()
            self._adopt(batch.written)
            at += len(batch.facts)
        if not self._drafts:
            self._drafted.clear()
        for fact in facts[at:]:
            before = self._states.pop(fact.stream, EMPTY if fact.version == 1 else None)
            if before is not None:
                self._states[fact.stream] = fold(before, fact, rulebook.evolve_of(fact.stream))
        self.replica.take(facts)
        for hear in self.on_fold:
            hear(facts)
        while len(self._states) > self._states_max:
            del self._states[next(iter(self._states))]


@dataclass(slots=True)
class _Drafted:
    """What was decided and is not yet in the log: the states it leaves, the organizations it changes."""

    states: dict[str, Stream] = field(default_factory=dict)
    organizations: set[str] = field(default_factory=set)

    def clear(self) -> None:
        self.states.clear()
        self.organizations.clear()


class _Batch:
    """The states as what is drafted, and the batch's earlier commands, leave them."""

    def __init__(
        self,
        resident: dict[str, Stream],
        drafted: _Drafted,
        standings: dict[str, Standing],
        replica: Replica,
        recorded: datetime,
        size: int,
    ) -> None:
        self._resident = resident
        self._drafted = drafted
        self._standings = standings
        self._replica = replica
        self._recorded = recorded
        self._size = size
        self.facts: list[Fact] = []
        self.written: dict[str, Stream] = {}
        self._fresh: set[str] = set()
        self.organizations: set[str] = set()
        self._accepted: set[int] = set()
        self._incomplete = False

    def made(self, facts: Sequence[Fact], at: int) -> bool:
        """Whether the batch's commands wrote these very facts, from there on."""
        found = facts[at : at + len(self.facts)]
        return len(found) == len(self.facts) and all(map(is_, found, self.facts))

    def decide(self, work: Order | OwnCommand | PassTime) -> Decision:
        try:
            match work:
                case Order():
                    return self._order(work)
                case OwnCommand(command, occurred):
                    world = self._begin()
                    now = min(occurred or self._recorded, self._recorded)
                    rulebook.decide(command, world, SYSTEM, now, self._new_id, new_id(self._recorded))
                case PassTime(streams, until, via):
                    until = min(until, self._recorded)
                    world = rulebook.let_time_pass(self._begin, streams, until, self._new_id, via)
                case _:
                    assert_never(work)
            return self._take(world)
        except Refused as refusal:
            return Decision(refusal=refusal)
        except Unloaded:
            self._incomplete = True
            raise
        except Exception as error:
            _log.exception("A command could not be decided")
            return Decision(refusal=error)

    def _order(self, order: Order) -> Decision:
        """Versions are those of the caller's view, and so is what If-Match compares."""
        if not (order.after is None or id(order.after) in self._accepted or self._incomplete):
            raise NotReached("An order before it in its row was not accepted.")
        key, now = order.key, self._recorded
        command_id = keyed_id(now, key, order.fingerprint) if key else new_id(now)
        begin, ids = self._seeded(order, order.seed) if order.seed else (self._begin, self._new_id)
        world, by = rulebook.handle(
            order.command,
            begin,
            order.person,
            order.acting_as,
            order.occurred,
            ids,
            command_id,
            None if order.if_match is None else _comparing(order.command, order.if_match),
            order.via,
        )
        own = 0  # after what time alone did first
        while world.facts[own].command != command_id:
            own += 1
        version = _version(world.stream(own_stream(order.command) or world.facts[own].stream), by)
        if order.dry_run:
            decided = Settled(world.facts[own:], (), 0)
            return Decision(answer=replace(_answer(order.command, decided, version), dry_run=True))
        self._accepted.add(id(order))
        return self._take(world, version, own)

    def _take(self, world: World, version: int = 0, own: int = 0) -> Decision:
        self.written.update(world.written)
        self.facts += world.facts
        for name in world.written:
            if name.startswith(_ORGANIZATION):
                self.organizations.add(name.removeprefix(_ORGANIZATION))
        self._size += len(world.facts)
        return Decision(world.facts, None, version, own)

    def _begin(self) -> World:
        organizations_of, evolve_of = self._organizations_of, rulebook.evolve_of
        return World(self._stream, organizations_of, evolve_of, self._size, self._recorded, self._standings)

    def _organizations_of(self, person: str) -> Iterable[str]:
        """Perhaps more than appointed the person: the batch may have changed any that it wrote to."""
        known = self._replica.organizations_of(person)
        drafted = self._drafted.organizations
        return self.organizations.union(drafted, known) if self.organizations or drafted else known

    def _stream(self, name: str) -> Stream:
        found = self.written.get(name) or self._drafted.states.get(name) or self._resident.get(name)
        if found is not None:
            return found
        if name.partition("-")[2] in self._fresh:
            return EMPTY
        raise Unloaded(name)

    def _new_id(self) -> str:
        id = new_id(self._recorded)
        self._fresh.add(id)
        return id

    def _seeded(self, order: Order, seed: bytes) -> tuple[Callable[[], World], Callable[[], str]]:
        """The beginning of an order, and the ids that follow from its seed, one by one from each beginning.

        A stream of such a name exists only where the order's key was used; then nothing that is decided here counts.
        """
        instant = order.occurred or self._recorded
        nths = itertools.count()

        def begin() -> World:
            nonlocal nths
            nths = itertools.count()
            return self._begin()

        def next_id() -> str:
            id = seeded_id(instant, seed, next(nths))
            self._fresh.add(id)
            return id

        return begin, next_id


def _comparing(command: Any, if_match: int) -> Callable[[World, By], None]:
    """Refuses a caller whose If-Match is not the version that their view has now."""

    def compare(world: World, by: By) -> None:
        name = own_stream(command)
        found = _version(world.stream(name), by) if name else 0
        if found != if_match:
            raise StaleVersion(f"Its version is {found} now.", f'If-Match: "{found}"')

    return compare


def _version(stream: Stream, by: By) -> int:
    return stream.applicant_version if by.role == "applicant" else stream.version


def _is_applicants(fact: Fact) -> bool:
    kind: type = type(fact.event)
    return is_visible(kind, Label.APPLICANT)


def _settled(order: Order, settled: Settled) -> Answer:
    """The answer to an order that was not a repetition."""
    if order.dry_run:
        answer: Answer = settled.answer
        return answer
    version: int = settled.answer
    return _answer(order.command, settled, version)


def _answer(command: Any, settled: Settled, version: int) -> Answer:
    """What the caller is told; the receipt is that of the last event they may see."""
    facts = settled.facts
    last = len(facts) - 1
    own = 0  # after what time alone did first
    while facts[own].command != facts[last].command:
        own += 1
    first, shown = facts[own], facts[own:]
    if first.by.role == "applicant":
        shown = [fact for fact in shown if _is_applicants(fact)]
        assert shown, "whoever did something sees it"
        last = facts.index(shown[-1])
    name = own_stream(command) or first.stream
    return Answer(
        name.partition("-")[2],
        name,
        version,
        facts[last].position,
        getattr(first.event, "number", None),
        tuple([(fact.type, fact.position) for fact in shown]),
        settled.receipt(last) if settled.leaves else None,
    )
