"""How does a gateway keep a replica of what it enforces? A snapshot, then every change, as server-sent events.

Whoever follows costs nothing while nothing changes: the changes are in one window that all share, each encoded once,
and a snapshot is made once for all who come at about the same time. docs/access.md has the format.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from itertools import chain
from typing import Annotated, Any, NamedTuple

import msgspec
import psycopg
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from domain.access import microseconds, to_json
from domain.enforcement import Providers, concerned, is_for
from domain.errors import Refused
from services.changes import Changes
from services.http.access import PREFIX, Desk
from services.http.answers import source_of
from services.http.feed import RETRY_MILLISECONDS, Feed, position_of
from services.http.streamed import PATIENCE_SECONDS
from services.log import reader
from services.log.reader import Pool

FEED = f"{PREFIX}/feed"
VERSION = 1
HEARTBEAT_SECONDS = 2.0
"""As often it is asked whether the log ends where we are, and told; and whether the reader still may read."""

SNAPSHOT_SECONDS = 30.0
"""How long a snapshot is kept for others who come."""

RECORDS = 500
"""Records of a snapshot in one event."""

POSITION_MAX = 2**53

_encode = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


class Hello(msgspec.Struct):
    """Whose releases this is about (null: everybody's), where the log is, and whether a snapshot follows."""

    version: int
    providers: list[str] | None
    position: int
    epoch: int
    heartbeat_seconds: float
    snapshot: bool


class Heartbeat(msgspec.Struct, omit_defaults=True):
    """Everything up to the position was sent, and there was no more at `now` (microseconds)."""

    position: int
    now: int
    checkpoint: str = ""


class Caller(NamedTuple):
    """By which headers, and from where."""

    headers: dict[bytes, bytes]
    source: str


class Snapshot(NamedTuple):
    """All that such readers need as of a position, as events."""

    position: int
    made: float
    events: list[bytes]


class Following(BaseModel):
    """From where on."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        int | None, Field(ge=-1, le=POSITION_MAX, description="Go on after this position, as Last-Event-ID would")
    ] = None
    epoch: Annotated[int | None, Field(ge=0, le=POSITION_MAX, description="That of the `hello` before")] = None


class Pulse:
    """Whether this process knows the log to its end, and the newest checkpoint; asked while somebody follows."""

    def __init__(self, desk: Desk, pool: Pool) -> None:
        self.beat = 0
        self.checkpoint = ""
        self._now = 0
        self._position = -1
        self._desk = desk
        self._pool = pool
        self._followers = 0
        self._task: asyncio.Task[None] | None = None
        self._told: tuple[Heartbeat, bytes] | None = None

    def join(self) -> None:
        self._followers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="pulse")

    def leave(self) -> None:
        self._followers -= 1
        if self._followers == 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        replica = self._desk.replica
        while True:
            began = time.monotonic()
            try:
                now = microseconds(self._desk.now())
                position, checkpoint = await self._end()
                if await replica.at_least(position, HEARTBEAT_SECONDS):
                    self._now, self._position, self.checkpoint = now, position, checkpoint
                    self.beat += 1
                    replica.changes.wake()
            except psycopg.Error as error:
                _log.warning("Gateways hear nothing for now: %s", type(error).__name__)
            await asyncio.sleep(max(0.0, HEARTBEAT_SECONDS - (time.monotonic() - began)))

    async def _end(self) -> tuple[int, str]:
        """The log's last position, and the newest signed note; empty where nothing is signed yet."""
        async with self._pool.connection(timeout=HEARTBEAT_SECONDS) as conn:
            size = (await reader.end(conn)).size
            found = await reader.rows(conn, "SELECT note FROM cosigned_checkpoint ORDER BY size DESC LIMIT 1")
        return size - 1, found[0][0] if found else ""

    def told(self, at: int, has_checkpoint: bool) -> bytes:
        """The last heartbeat for somebody who has everything up to there; encoded once for all who are as far."""
        beat = Heartbeat(max(at, self._position), self._now, "" if has_checkpoint else self.checkpoint)
        if self._told is None or self._told[0] != beat:
            event = b"id: %d\nevent: heartbeat\ndata: %b\n\n" % (beat.position, _encode(beat))
            self._told = beat, event
        return self._told[1]


class AccessFeed:
    """What every follower shares."""

    def __init__(self, desk: Desk, pool: Pool) -> None:
        self._desk = desk
        self._pulse = Pulse(desk, pool)
        self._snapshots: dict[Providers, asyncio.Task[Snapshot]] = {}

    async def events(
        self, caller: Caller, readers: Providers, last: int | None, epoch: int | None
    ) -> AsyncIterator[bytes]:
        """Everything such a reader needs after `last`, for as long as they may read and keep up."""
        replica = self._desk.replica
        goes_on = last is not None and await self._knows(last, epoch)
        at = last if last is not None and goes_on else -1
        yield self._hello(readers, not goes_on)
        if not goes_on:
            snapshot = await self._snapshot(readers)
            for event in snapshot.events:
                yield event
            at = snapshot.position
            yield b'id: %d\nevent: complete\ndata: {"position":%d}\n\n' % (at, at)
        self._pulse.join()
        try:
            async for event in self._changes(caller, readers, at, replica.changes):
                yield event
        except Refused as refusal:
            yield b"event: ended\ndata: " + _encode({"rule": refusal.rule, "detail": refusal.detail}) + b"\n\n"
        finally:
            self._pulse.leave()

    async def _changes(self, caller: Caller, readers: Providers, at: int, changes: Changes) -> AsyncIterator[bytes]:
        """Changes and heartbeats. Raises Refused once the reader may not read on, or others than before."""
        pulse, replica = self._pulse, self._desk.replica
        beat, checkpoint = pulse.beat, ""
        while at >= changes.floor:
            until = replica.position
            found = list(changes.after(at, readers))
            at = max(at, until)
            if pulse.beat != beat:
                beat = pulse.beat
                if self._desk.providers(await self._desk.person(*caller)) != readers:
                    raise ReadsOthers
                found.append(pulse.told(at, checkpoint == pulse.checkpoint))
                checkpoint = pulse.checkpoint
            if found:
                yield b"".join(found)
            else:
                await changes.news()

    async def _knows(self, last: int, epoch: int | None) -> bool:
        """Whether all changes after that position are known here."""
        replica = self._desk.replica
        if epoch not in (None, replica.epoch) or last < replica.changes.floor:
            return False
        return await replica.at_least(last, HEARTBEAT_SECONDS)

    def _hello(self, readers: Providers, snapshot: bool) -> bytes:
        replica = self._desk.replica
        providers = None if readers is None else sorted(readers)
        hello = Hello(VERSION, providers, replica.position, replica.epoch, HEARTBEAT_SECONDS, snapshot)
        head = f": who takes nothing for {PATIENCE_SECONDS:g} seconds is cut off\nretry: {RETRY_MILLISECONDS}\n\n"
        return head.encode() + b"event: hello\ndata: %b\n\n" % _encode(hello)

    async def _snapshot(self, readers: Providers) -> Snapshot:
        """A new one, or that of somebody who came a little earlier, if all changes since are known."""
        known = self._snapshots.get(readers)
        if known is not None and known.done():
            is_good = not known.cancelled() and known.exception() is None and self._is_new(known.result())
            known = known if is_good else None
        if known is None:
            known = self._snapshots[readers] = asyncio.create_task(self._made(readers), name="snapshot")
            asyncio.get_running_loop().call_later(SNAPSHOT_SECONDS, self._forget, readers, known)
        return await asyncio.shield(known)

    def _is_new(self, snapshot: Snapshot) -> bool:
        is_young = time.monotonic() - snapshot.made < SNAPSHOT_SECONDS
        return is_young and snapshot.position >= self._desk.replica.changes.floor

    def _forget(self, readers: Providers, task: "asyncio.Task[Snapshot]") -> None:
        if self._snapshots.get(readers) is task:
            del self._snapshots[readers]

    async def _made(self, readers: Providers) -> Snapshot:
        """Records never change, so those of one moment can be encoded bit by bit, while others go on."""
        access, position = self._desk.replica.access, self._desk.replica.position
        things: list[Any] = [*access.customers.values(), *access.releases.values(), *access.directives.values()]
        records = [*things, *chain.from_iterable(access.grants.values())]
        events = []
        for first in range(0, len(records), RECORDS):
            part = records[first : first + RECORDS]
            told = [to_json(record) for record in part if is_for(concerned(record, access), readers)]
            if told:
                events.append(b"event: records\ndata: %b\n\n" % _encode(told))
            await asyncio.sleep(0)
        return Snapshot(position, time.monotonic(), events)


class ReadsOthers(Refused):
    status, rule, title = 403, "authority", "Your appointments have changed"

    def __init__(self) -> None:
        super().__init__("The releases that you may read are others than before; begin anew.")


def router(desk: Desk, pool: Pool) -> APIRouter:
    here = APIRouter(prefix=PREFIX, tags=["access"])
    shared = AccessFeed(desk, pool)

    @here.get("/feed", summary="What a gateway enforces: a snapshot, then every change, as server-sent events")
    async def feed(request: Request, asked: Annotated[Following, Query()]) -> Response:
        headers = dict(request.scope["headers"])
        source = source_of(request.scope)
        person = await desk.person(headers, source)
        desk.count(person)
        readers = desk.providers(person)
        last = position_of(request.headers.get("last-event-id"))
        after = last if last is not None else asked.after
        return Feed(shared.events(Caller(headers, source), readers, after, asked.epoch))

    return here
