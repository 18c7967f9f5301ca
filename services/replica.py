"""What does this process hold of the log in memory, to answer checks and to know who holds which office?

It takes in every fact in order of position: those this process appends at once, those of others as soon as they are
announced. It never decides anything: the writer's own states do.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

import psycopg

from domain import directive, grant, key, log, organization, release, rulebook, subject
from domain.authority import Standing, standing
from domain.enforcement import Enforcement
from domain.facts import Fact
from domain.log import RollbackAccepted
from domain.organization import PersonAppointed, PowersDelegated
from domain.world import EMPTY, Stream, World, fold
from services.changes import Changes
from services.log import reader
from services.log.follower import IsOwn, follow

HOLDERS = frozenset({organization.KIND, key.KIND})
"""The kinds of streams that say who holds an office."""

KINDS = frozenset({directive.KIND, grant.KIND, log.KIND, release.KIND, subject.KIND}) | HOLDERS
"""The kinds of streams that a check, an office or a listener depends on."""

Hears = Callable[[Fact], None]


class Replica:
    """Access and offices as of `position`, the last fact taken in (-1: none). `hears` is told of facts of KINDS.

    What changed for enforcement is in `changes`, for those who follow it; `epoch` counts how often an operator went on
    from another log than was signed, whose positions mean other facts.
    """

    def __init__(self, hears: Hears = lambda fact: None) -> None:
        self._enforcement = Enforcement()
        self.access = self._enforcement.access
        self.changes = Changes()
        self.epoch = 0
        self._hears = hears
        self._holders: dict[str, Stream] = {}
        self._appointed_by: dict[str, set[str]] = {}
        self._standings: dict[str, Standing] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = itertools.count()

    @property
    def position(self) -> int:
        return self.access.position

    async def load(self, conninfo: str) -> None:
        """Take in the whole log as it is now, which is read as far as it matters here. Raises psycopg.Error."""
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as conn:
            size = (await reader.end(conn)).size
            while facts := await reader.page_of_kinds(conn, KINDS, after=self.position, before=size):
                for fact in facts:
                    self._apply(fact)
        self.access.position = size - 1

    async def follow(self, conninfo: str, is_own: IsOwn) -> None:
        """Take in what other processes append, for ever; what this one's writer appends, it folds in as well."""
        async for facts in follow(conninfo, self.position, known=lambda: self.position, is_own=is_own):
            self.take(facts)

    def take(self, facts: Sequence[Fact]) -> None:
        """Take in what comes next; facts arrive from two sides, so some are known already and some come too early."""
        for fact in facts:
            if fact.position != self.access.position + 1:
                continue
            self._apply(fact)
        self._wake()
        self.changes.tell()

    def take_news(self, before: int, size: int, facts: Sequence[Fact]) -> bool:
        """Take in that the log went on from one size to another by facts of which these are of KINDS.

        Whether nothing is missing in between.
        """
        if before > self.position + 1:
            return False
        for fact in facts:
            if fact.position > self.position:
                self._apply(fact)
        self.access.position = max(self.position, size - 1)
        self._wake()
        self.changes.tell()
        return True

    @staticmethod
    def holds(fact: Fact) -> bool:
        """Whether a replica keeps anything of the fact."""
        return fact.stream.partition("-")[0] in KINDS

    def _apply(self, fact: Fact) -> None:
        change = self._enforcement.take(fact)
        if change is not None:
            self.changes.put(fact.position, change)
        if isinstance(fact.event, RollbackAccepted):
            self.epoch += 1
        if fact.stream.partition("-")[0] in HOLDERS:
            self._take_holder(fact)
        self._hears(fact)

    def _take_holder(self, fact: Fact) -> None:
        before = self._holders.get(fact.stream, EMPTY)
        self._holders[fact.stream] = fold(before, fact, rulebook.evolve_of(fact.stream))
        match fact.event:
            case PersonAppointed(person=person) | PowersDelegated(to=person):
                self._appointed_by.setdefault(person, set()).add(fact.stream.removeprefix("organization-"))

    def organizations_of(self, person: str) -> Iterable[str]:
        """The organizations that ever appointed the person."""
        return self._appointed_by.get(person, ())

    def standing(self, person: str, now: datetime) -> Standing:
        """The roles the person holds now, and what these let them read."""
        return standing(self._world(now), person, now)

    def key(self, id: str) -> key.Key | None:
        """A machine's key."""
        found: key.Key | None = self._holders.get(key.stream(id), EMPTY).state
        return found

    def _world(self, now: datetime) -> World:
        return World(
            lambda name: self._holders.get(name, EMPTY),
            self.organizations_of,
            rulebook.evolve_of,
            self.position + 1,
            now,
            self._standings,
        )

    async def at_least(self, position: int, seconds: float) -> bool:
        """Wait until the position has been taken in; False if it was not in time."""
        if self.position >= position:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (position, next(self._tickets), future))
        with suppress(TimeoutError):
            await asyncio.wait_for(future, seconds)
        return self.position >= position

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.position:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
