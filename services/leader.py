"""Which process of an installation decides, and how do the orders of the others reach it?

Whoever holds the lock of a file under ASSENT_DATA leads, and listens on a socket beside it. The others hand it what
they were ordered; where nobody listens, or another program, or one that works on another log, a process decides itself.
Both are safe at any time, for whatever is decided is appended under "the log's size is still S" and a command's key.
"""

import asyncio
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import msgspec

from domain.errors import Refused
from domain.facts import Fact
from services import wire
from services.handle import Answer, Handler, Order, Tell
from services.log import reader
from services.log.reader import Pool
from services.log.writer import PATIENCE_SECONDS, QueueFull

SILENT_SECONDS_MAX = PATIENCE_SECONDS + 2
"""A process that decides answers sooner, if only that the storage does not."""

GREETING_SECONDS_MAX = 2.0
RETRY_SECONDS = (0.02, 1.0)
"""Between two attempts to find who leads: at first, and at most."""

UNREAD_BYTES_MAX = 16 << 20
"""Whoever leaves more unread is cut off."""

WATCH_SECONDS = 1.0

FINISH_SECONDS, FINISH_STEPS = 0.5, 50
"""How long whoever stops leading still answers what it has taken, and how often it looks whether all is."""

_log = logging.getLogger(__name__)


class Seat:
    """The place of whoever leads, `ASSENT_DATA/leader`: a lock, and a socket for this user's processes alone."""

    def __init__(self, data: Path) -> None:
        folder = data / "leader"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._lock: int | None = None

    def close(self) -> None:
        self.leave()
        os.close(self._folder)

    def take(self) -> bool:
        """Whether it was free; then it is held until `leave`, or until this process ends."""
        lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=self._folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def leave(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _address(self) -> str:
        """However long the folder's path is: that of a socket has a hundred bytes."""
        return f"/proc/self/fd/{self._folder}/socket"

    def listening(self) -> socket.socket:
        """For whoever holds the seat. What the last one left there is taken away."""
        assert self._lock is not None, "only who leads listens"
        with suppress(FileNotFoundError):
            os.unlink("socket", dir_fd=self._folder)
        found = _unix_socket()
        found.bind(self._address)
        os.chmod("socket", 0o600, dir_fd=self._folder)
        found.listen(64)
        return found

    def connected(self) -> socket.socket | None:
        """To whoever listens; None where nobody does."""
        found = _unix_socket()
        try:
            found.connect(self._address)
        except OSError:  # nobody, nobody any more, or somebody who does not come to it
            found.close()
            return None
        return found


def _unix_socket() -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.setblocking(False)
    return found


def _is_own_user(transport: asyncio.BaseTransport) -> bool:
    """Whether the process at the other end runs as the user that this one does."""
    found = transport.get_extra_info("socket")
    _, user, _ = struct.unpack("iII", found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")))
    return bool(user == os.geteuid())


class _End(asyncio.Protocol):
    """One end of a connection: greets, checks who is there, and sends in one write what a turn of the loop brought."""

    def __init__(self, greeting: wire.Greeting) -> None:
        self._greeting = greeting
        self._frames = wire.Frames()
        self._items: list[bytes] = []
        self.is_met = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if _is_own_user(transport):
            self.transport.write(wire.alone(self._greeting))
        else:
            _log.warning("A process of another user came to the socket of whoever decides, and was sent away")
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.take(data):
                if self.is_met:
                    self.take(frame)
                elif not self.transport.is_closing():
                    self._meet(wire.greeting_of(frame))
        except (wire.Malformed, msgspec.MsgspecError, Refused) as error:
            _log.error("A process of this installation sent what cannot be read: %s", error)
            self.transport.abort()

    def _meet(self, other: wire.Greeting) -> None:
        self.is_met = other == self._greeting
        if self.is_met:
            self.met()
        else:
            self.transport.close()

    def put(self, item: bytes) -> None:
        if not self._items:
            asyncio.get_running_loop().call_soon(self._send)
        self._items.append(item)

    def _send(self) -> None:
        items, self._items = self._items, []
        if self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            _log.error("A process of this installation leaves unread what it is told, and is cut off")
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.write(wire.framed(items))

    def met(self) -> None:
        """The other end is one of this program and of this log."""

    def take(self, frame: bytes) -> None:
        """Raises msgspec.DecodeError where it makes no sense."""


class Desk(_End):
    """Where whoever leads takes the orders of one other process, and gives back what became of them."""

    def __init__(self, greeting: wire.Greeting, handler: Handler, desks: set["Desk"]) -> None:
        super().__init__(greeting)
        self._handler = handler
        self._desks = desks
        self.undecided = 0

    def met(self) -> None:
        self._desks.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._desks.discard(self)

    def take(self, frame: bytes) -> None:
        for ticket, order in wire.orders(frame):
            self.undecided += 1
            try:
                self._handler.decide_here(order, partial(self._tell, ticket))
            except Refused as refusal:
                self._tell(ticket, refusal)

    def _tell(self, ticket: int, outcome: Answer | Exception) -> None:
        self.undecided -= 1
        self.put(wire.outcome_item(ticket, outcome))

    # Whoever does not take the answers gives no more orders either

    def pause_writing(self) -> None:
        self.read_no_more()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def read_no_more(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()


class Line(_End):
    """The way to whoever leads, from a process that hands its orders on."""

    def __init__(self, greeting: wire.Greeting, handler: Handler, waiting_max: int) -> None:
        super().__init__(greeting)
        self._handler = handler
        self._waiting_max = waiting_max
        self._waiting: dict[int, tuple[Order, Tell]] = {}
        self._tickets = 0
        self._heard_at = 0.0
        self._backend: int | None = None
        self.meeting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.is_down = asyncio.Event()

    def met(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self.meeting.set_result(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """What it was told of is decided here: under its key, so it is not done twice."""
        self.is_met = False
        self.is_down.set()
        if not self.meeting.done():
            self.meeting.set_result(False)
        waiting, self._waiting = self._waiting, {}
        for order, tell in waiting.values():
            try:
                self._handler.decide_here(order, tell)
            except Refused as refusal:
                tell(refusal)

    def hand_on(self, order: Order, tell: Tell) -> bool:
        """Whether whoever leads is told; `tell` hears what becomes of it. Raises QueueFull."""
        if not self.is_met:
            return False
        if len(self._waiting) >= self._waiting_max:
            raise QueueFull(f"{self._waiting_max} commands are waiting already.")
        item = wire.order_item(self._tickets, order)
        if len(item) > wire.ITEM_BYTES_MAX:
            return False
        if not self._waiting:
            self._heard_at = asyncio.get_running_loop().time()
        self._waiting[self._tickets] = order, tell
        self._tickets += 1
        self.put(item)
        return True

    def take(self, frame: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        for told in wire.outcomes(frame):
            if isinstance(told, wire.News):
                follows = self._handler.replica.take_news(told.before, told.size, told.facts)
                self._backend = told.backend if follows else None
                continue
            ticket, outcome = told
            _, tell = self._waiting.pop(ticket, (None, None))
            if tell is None:
                raise wire.Malformed(f"nobody waits under the ticket {ticket}")
            try:
                tell(outcome)
            except Exception:
                _log.exception("Nobody heard what became of a command")

    def tells_of(self, backend: int) -> bool:
        """Whether what that backend of the database appends is told here, and need not be read."""
        return self.is_met and backend == self._backend

    def give_up_if_silent(self) -> None:
        """Whoever leads may hang without being dead."""
        if self._waiting and asyncio.get_running_loop().time() - self._heard_at > SILENT_SECONDS_MAX:
            _log.error("The process that decides does not answer; this one decides itself")
            self.transport.abort()


class Leadership:
    """Whether this process leads, or hands its orders on, or decides for itself; from one moment to the next."""

    def __init__(self, handler: Handler, data: Path, log: str, waiting_max: int, may_lead: bool = True) -> None:
        """`log` names the log that this process works on, and no other."""
        self._handler = handler
        self._seat = Seat(data)
        self._greeting = wire.Greeting(wire.SCHEMA, log)
        self._waiting_max = waiting_max
        self._may_lead = may_lead
        self._desks: set[Desk] = set()
        self._known = asyncio.Event()
        self._has_complained = False

    async def run(self) -> None:
        """For ever."""
        least, most = RETRY_SECONDS
        pause_seconds = least
        try:
            while True:
                try:
                    if self._may_lead and self._seat.take():
                        await self._lead()
                    is_found = await self._hand_on()
                except OSError:
                    _log.exception("Whether another process decides could not be found out; this one does")
                    self._seat.leave()
                    is_found = False
                self._known.set()
                pause_seconds = least if is_found else min(2 * pause_seconds, most)
                await asyncio.sleep(pause_seconds)
        finally:
            self._seat.close()

    async def settled(self) -> None:
        """Until it is known for the first time who decides here."""
        await self._known.wait()

    async def _lead(self) -> None:
        """Until this process ends."""
        loop = asyncio.get_running_loop()
        make = partial(Desk, self._greeting, self._handler, self._desks)
        server = await loop.create_unix_server(make, sock=self._seat.listening())
        self._handler.on_fold.append(self._tell_news)
        self._known.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            await self._finish()
            self._handler.on_fold.remove(self._tell_news)
            self._seat.leave()

    async def _finish(self) -> None:
        """Answer what was taken, and take no more."""
        for desk in self._desks:
            desk.read_no_more()
        for _ in range(FINISH_STEPS):
            await asyncio.sleep(FINISH_SECONDS / FINISH_STEPS)
            if not any(desk.undecided for desk in self._desks):
                break
        for desk in list(self._desks):
            desk.transport.close()

    def _tell_news(self, facts: Sequence[Fact]) -> None:
        """Before anybody hears what became of their command, every process can know what it changed."""
        if self._desks:
            replica, backend = self._handler.replica, self._handler.writer.backend
            held = [fact for fact in facts if replica.holds(fact)]
            item = wire.news_item(facts[0].position, facts[-1].position + 1, backend, held)
            for desk in self._desks:
                desk.put(item)

    async def _hand_on(self) -> bool:
        """While there is a line to whoever leads. Whether there was one."""
        found = self._seat.connected()
        if found is None:
            return False
        line = Line(self._greeting, self._handler, self._waiting_max)
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=found)
        try:
            async with asyncio.timeout(GREETING_SECONDS_MAX):
                is_met = await line.meeting
        except TimeoutError:
            is_met = False
        if not is_met:
            if not self._has_complained:
                _log.warning("Another version, or one on another database, decides in this folder; this one does too")
            self._has_complained = True
            transport.abort()
            return False
        self._has_complained = False
        self._handler.elsewhere = line
        self._known.set()
        try:
            while not line.is_down.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_SECONDS):
                        await line.is_down.wait()
                line.give_up_if_silent()
        finally:
            self._handler.elsewhere = None
            transport.abort()
            await line.is_down.wait()
        return True


async def log_of(pool: Pool) -> str:
    """Which log a process works on: where its database is, and the first leaf, which holds a random salt."""
    async with pool.connection() as conn:
        first = await reader.leaves(conn, 0, 1)
        info = conn.info
        return f"{info.host}:{info.port}/{info.dbname} {b''.join(first).hex()}"
