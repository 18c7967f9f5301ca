"""What does this process hold of the log in memory, to answer checks and to know who holds which office?

It takes in every fact in order of position: those this process appends at once, those of others as soon as they are
announced. It never decides anything: the writer's own states do.
"""

import asyncio
import heapq
import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime

import psycopg

from domain import directive, grant, organization, release, rulebook
from domain.access import Access
from domain.authority import Standing, standing
from domain.facts import Fact
from domain.organization import PersonAppointed, PowersDelegated
from domain.world import EMPTY, Stream, World, fold
from services.log import reader
from services.log.follower import IsOwn, follow
from services.log.reader import Connection

KINDS = frozenset({directive.KIND, grant.KIND, organization.KIND, release.KIND})
"""The kinds of streams that a check or an office depends on."""


class Replica:
    """Access and offices as of `position`, the last fact taken in (-1: none)."""

    def __init__(self) -> None:
        self.access = Access()
        self._organizations: dict[str, Stream] = {}
        self._appointed_by: dict[str, set[str]] = {}
        self._standings: dict[str, Standing] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = itertools.count()

    @property
    def position(self) -> int:
        return self.access.position

    async def load(self, conn: Connection) -> None:
        """Take in the whole log as it is now, which is read as far as it matters here."""
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

    def _apply(self, fact: Fact) -> None:
        self.access.apply(fact)
        if fact.stream.startswith("organization-"):
            self._take_organization(fact)

    def _take_organization(self, fact: Fact) -> None:
        before = self._organizations.get(fact.stream, EMPTY)
        self._organizations[fact.stream] = fold(before, fact, organization.evolve)
        match fact.event:
            case PersonAppointed(person=person) | PowersDelegated(to=person):
                self._appointed_by.setdefault(person, set()).add(fact.stream.removeprefix("organization-"))

    def organizations_of(self, person: str) -> Iterable[str]:
        """The organizations that ever appointed the person."""
        return self._appointed_by.get(person, ())

    def standing(self, person: str, now: datetime) -> Standing:
        """The roles the person holds now, and what these let them read."""
        return standing(self._world(now), person, now)

    def _world(self, now: datetime) -> World:
        return World(
            lambda name: self._organizations.get(name, EMPTY),
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


async def loaded(conninfo: str) -> Replica:
    """A replica of the log as it is now. Raises psycopg.Error."""
    replica = Replica()
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as conn:
        await replica.load(conn)
    return replica
