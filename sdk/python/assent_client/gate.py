"""May this customer use this release now? Answered in this process, from a replica that follows the service's feed.

`Gate` brings the feed by a thread of its own, `AsyncGate` by a task. Both acknowledge what they enforce, keep a
snapshot for a cold start, and refuse everything once they have heard nothing for longer than their owner allows.
"""

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from secrets import SystemRandom
from types import TracebackType
from typing import Self

import httpx

from assent_client import snapshot
from assent_client.access import ANSWERS_MAX, Answer, Use
from assent_client.notes import NoteRefused, keys_of
from assent_client.replica import REAL, Clocks, FeedRefused, Hooks, Replica, Status, withheld
from assent_client.stream import Broken, Event, Events

FEED, ENFORCEMENT = "/access/v1/feed", "/access/v1/enforcement"
SILENCE_SECONDS_MAX = 10.0
"""A connection on which nothing comes for so long is given up; heartbeats come every two seconds."""

CONNECT_SECONDS_MAX = 5.0
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.05, 5.0
ACKNOWLEDGED_SECONDS, ACKNOWLEDGED_AGAIN_SECONDS = 1.0, 30.0
"""How often a position is acknowledged at most; and how often at least, though it is the same."""

Token = str | Callable[[], str]
"""A bearer token, or what gives the one of now; it is asked for each request, by a thread, so let it remember."""

_chance = SystemRandom()


class Unreached(ConnectionError):
    """The service did not answer with its feed. `pause`: for how many seconds it asked not to be asked again."""

    def __init__(self, status: int, detail: str, pause: float = 0.0) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.pause = pause


class _Line:
    """How to come back to the feed: with what, and after how long."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._anew = False
        self._failures = 0

    def headers(self) -> dict[str, str]:
        token = self._token if isinstance(self._token, str) else self._token()
        return {"authorization": f"Bearer {token}"}

    def request(self, replica: Replica) -> tuple[dict[str, str], dict[str, str]]:
        """The query and the headers."""
        headers = {**self.headers(), "accept": "text/event-stream", "accept-encoding": "identity"}
        place = replica.place
        if place is None or self._anew:
            return {}, headers
        return {"epoch": str(place.epoch)}, {**headers, "last-event-id": str(place.position)}

    def took(self, event: Event) -> None:
        if event.name in ("complete", "heartbeat"):
            self._failures = 0
        if event.name == "complete":
            self._anew = False

    def pause(self, error: Exception) -> float:
        """Seconds to wait after that: longer each time, and not the same as others who were cut off with us."""
        self._anew = self._anew or isinstance(error, FeedRefused)
        longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0**self._failures)
        self._failures = min(self._failures + 1, 20)
        asked = error.pause if isinstance(error, Unreached) else 0.0
        return asked + _chance.uniform(longest / 2, longest)


class _Duty:
    """When to acknowledge which position: a new one at once, but once a second at most."""

    def __init__(self) -> None:
        self._position = -1
        self._at = -math.inf

    def wait(self, position: int) -> float:
        """Seconds until that is to be acknowledged."""
        pause = ACKNOWLEDGED_AGAIN_SECONDS if position == self._position else ACKNOWLEDGED_SECONDS
        return max(0.0, self._at + pause - time.monotonic())

    def done(self, position: int) -> None:
        self._position, self._at = position, time.monotonic()


class _Gate:
    """What both have in common."""

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        max_staleness_seconds: float = 30.0,
        log_key: str | Iterable[str] = (),
        point: str = "",
        snapshot_file: str | Path | None = None,
        snapshot_seconds: float = 30.0,
        clock_skew_seconds_max: float | None = 5.0,
        hooks: Hooks | None = None,
        clocks: Clocks = REAL,
        answers_max: int = ANSWERS_MAX,
    ) -> None:
        """`max_staleness_seconds`: how long after the last heartbeat it answers; then everything is refused, `stale`.
        `log_key`: the keys of the log that may sign its checkpoints, as `./run log key` prints them (several around a
        rotation); with one, nothing is allowed before a checkpoint was verified. `point`: the name under which it
        acknowledges what it enforces (the host's). `snapshot_file`: where to keep what a cold start needs, written
        every `snapshot_seconds`. `clock_skew_seconds_max`: heartbeats that seem older than that do not count, and the
        later of our clock and the service's decides what has expired; None: the service's alone (for one whose clock
        is set by hand). Raises NoteRefused for a key that is none.
        """
        self.hooks = hooks or Hooks()
        self._url = url.rstrip("/")
        self._line = _Line(token)
        self._point = point or socket.gethostname()
        self._file = Path(snapshot_file) if snapshot_file is not None else None
        self._snapshot_seconds = snapshot_seconds
        self._wrote_at = time.monotonic()
        self._duty = _Duty()
        self._replica = Replica(
            max_staleness_seconds, keys_of(log_key), clock_skew_seconds_max, self.hooks, clocks, answers_max
        )
        self.check = self._replica.check
        """May this customer use this release now? In memory, from any thread."""

    @property
    def position(self) -> int:
        """Everything up to there is enforced; -1 before anything is known."""
        return self._replica.position

    def status(self) -> Status:
        return self._replica.status()

    def alternatives(self, use: Use, most: int = 10) -> list[tuple[str, str | None]]:
        """Other releases that this customer may use now instead, each with a tier (None: any)."""
        return self._replica.alternatives(use, most)

    def _restore(self) -> None:
        """Begin with the snapshot, if there is one and it can be relied on."""
        if self._file is None:
            return
        try:
            kept = snapshot.load(self._file)
            if kept is not None:
                self._replica.restore(kept)
        except (snapshot.SnapshotRefused, FeedRefused, NoteRefused, OSError) as error:
            self.hooks.unwritten(error)

    def _write(self) -> None:
        """Keep a snapshot. What was heard since counts too, so it is written though nothing changed."""
        self._wrote_at = time.monotonic()
        kept = self._replica.kept()
        if self._file is None or kept is None:
            return
        try:
            snapshot.write(self._file, kept)
        except OSError as error:
            self.hooks.unwritten(error)

    def _until_written(self) -> float:
        """Seconds until the snapshot is to be written."""
        if self._file is None:
            return math.inf
        return max(0.0, self._wrote_at + self._snapshot_seconds - time.monotonic())

    def _take(self, events: Iterator[Event]) -> None:
        for event in events:
            self._replica.take(event)
            self._line.took(event)

    def _rest(self, position: int) -> float:
        """Seconds for which there is nothing to do besides the feed, unless another position is enforced."""
        duty = self._duty.wait(position) if position >= 0 else ACKNOWLEDGED_SECONDS
        return max(0.001, min(duty, self._until_written()))

    def _is_beyond(self, position: int) -> bool:
        return self.position != position

    def _acknowledged(self, position: int, status: int) -> None:
        """A service that knows no such address is not asked again soon."""
        self._duty.done(position)
        if status == 200:
            self.hooks.acknowledged(position)


TIMEOUT = httpx.Timeout(SILENCE_SECONDS_MAX, connect=CONNECT_SECONDS_MAX)


def _refused(response: httpx.Response) -> Unreached:
    """What another answer than the feed says. Its body was read."""
    after = response.headers.get("retry-after", "")
    pause = float(after) if after.isdigit() else 0.0
    return Unreached(response.status_code, response.text[:300], min(pause, 60.0))


class Gate(_Gate):
    """A gate that a thread of its own keeps up to date, for as long as the block lasts:

    with Gate("https://assent.example", token, log_key=KEY) as gate:
        answer = gate.check("northgate", "atlas-4", tier="standard", person_class="us_person")
    """

    def start(self) -> Self:
        """Returns at once; answers are withheld until the feed was heard, unless a snapshot is fresh enough."""
        self._restore()
        self._closing = threading.Event()
        self._socket: socket.socket | None = None
        self._client = httpx.Client(base_url=self._url, timeout=TIMEOUT)
        self._errands_client = httpx.Client(base_url=self._url, timeout=TIMEOUT)
        self._threads = [
            threading.Thread(target=each, name=name, daemon=True)
            for each, name in ((self._follow, "assent-feed"), (self._errands, "assent-errands"))
        ]
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        self._closing.set()
        self._replica.wake()
        open_socket = self._socket
        if open_socket is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SILENCE_SECONDS_MAX)
        self._client.close()
        self._errands_client.close()
        self._write()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_until_ready(self, seconds: float) -> bool:
        """Whether it may answer, before that much time has passed."""
        deadline = time.monotonic() + seconds
        while (state := self.status().state) != "ready" and (left := deadline - time.monotonic()) > 0:
            self._closing.wait(min(0.01, left))
        return state == "ready"

    def check_after(
        self,
        position: int,
        customer: str,
        release: str,
        tier: str | None = None,
        person_class: str | None = None,
        affiliate: str | None = None,
        seconds: float = 2.0,
    ) -> Answer:
        """The answer on the log at least as far as that position; refused, `not_caught_up`, if that takes longer."""
        return self._replica.check_after(position, Use(customer, release, tier, person_class, affiliate), seconds)

    # The feed

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen()
            except Exception as error:
                # Whatever it is, also what a token or a hook raised: who gives up would refuse everything for good.
                if not self._closing.is_set():
                    self.hooks.disconnected(error)
                    self._closing.wait(self._line.pause(error))

    def _listen(self) -> None:
        """Take in what the feed says for as long as it lasts. Raises httpx.HTTPError, ConnectionError."""
        query, headers = self._line.request(self._replica)
        with self._client.stream("GET", FEED, params=query, headers=headers) as response:
            if response.status_code != 200:
                response.read()
                raise _refused(response)
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
            events = Events()
            try:
                for arrived in response.iter_raw():
                    self._take(events.of(arrived))
                    if self._closing.is_set():
                        return
            finally:
                self._socket = None
        raise Broken("The feed ended.")

    # What is done besides

    def _errands(self) -> None:
        while not self._closing.is_set():
            position = self.position
            if position >= 0 and self._duty.wait(position) == 0.0:
                self._acknowledge(position)
            if self._until_written() == 0.0:
                self._write()
            self._replica.other_than(position, self._rest(position), self._closing.is_set)
            self._closing.wait(self._duty.wait(self.position) if self.position != position else 0.0)

    def _acknowledge(self, position: int) -> None:
        body = {"point": self._point, "position": position}
        status = 0
        with suppress(httpx.HTTPError):
            status = self._errands_client.post(ENFORCEMENT, json=body, headers=self._line.headers()).status_code
        self._acknowledged(position, status)


class AsyncGate(_Gate):
    """A gate that a task keeps up to date, for as long as the block lasts:

    async with AsyncGate("https://assent.example", token, log_key=KEY) as gate:
        answer = gate.check("northgate", "atlas-4", tier="standard", person_class="us_person")
    """

    async def start(self) -> Self:
        """As `Gate.start`."""
        await asyncio.to_thread(self._restore)
        self._news = asyncio.Event()
        self._client = httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT)
        self._tasks = [
            asyncio.create_task(self._follow(), name="assent-feed"),
            asyncio.create_task(self._errands(), name="assent-errands"),
        ]
        return self

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()
        await asyncio.to_thread(self._write)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def wait_until_ready(self, seconds: float) -> bool:
        """As `Gate.wait_until_ready`."""
        return await self._until(lambda: self.status().state == "ready", seconds)

    async def check_after(
        self,
        position: int,
        customer: str,
        release: str,
        tier: str | None = None,
        person_class: str | None = None,
        affiliate: str | None = None,
        seconds: float = 2.0,
    ) -> Answer:
        """As `Gate.check_after`."""
        if not await self._until(lambda: self.position >= position, seconds):
            self.hooks.withheld("not_caught_up")
            return withheld(Use(customer, release, tier, person_class, affiliate), "not_caught_up")
        return self.check(customer, release, tier, person_class, affiliate)

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not holds():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        return True

    # The feed

    async def _follow(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # as in `Gate`
                self.hooks.disconnected(error)
                await asyncio.sleep(self._line.pause(error))

    async def _listen(self) -> None:
        """As `Gate._listen`."""
        query, headers = await asyncio.to_thread(self._line.request, self._replica)
        async with self._client.stream("GET", FEED, params=query, headers=headers) as response:
            if response.status_code != 200:
                await response.aread()
                raise _refused(response)
            events = Events()
            async for arrived in response.aiter_raw():
                self._take(events.of(arrived))
                self._news.set()
                self._news.clear()
        raise Broken("The feed ended.")

    # What is done besides

    async def _errands(self) -> None:
        while True:
            position = self.position
            if position >= 0 and self._duty.wait(position) == 0.0:
                await self._acknowledge(position)
            if self._until_written() == 0.0:
                await asyncio.to_thread(self._write)
            await self._until(partial(self._is_beyond, position), self._rest(position))
            await asyncio.sleep(self._duty.wait(self.position) if self.position != position else 0.0)

    async def _acknowledge(self, position: int) -> None:
        body = {"point": self._point, "position": position}
        status = 0
        with suppress(httpx.HTTPError):
            headers = await asyncio.to_thread(self._line.headers)
            status = (await self._client.post(ENFORCEMENT, json=body, headers=headers)).status_code
        self._acknowledged(position, status)
