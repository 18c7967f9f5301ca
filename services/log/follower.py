"""What is new in the log? Batches of facts in order of position, without gaps, for as long as anyone listens."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

import psycopg
from psycopg import AsyncConnection

from domain.facts import Fact
from services.log import reader
from services.log.reader import Connection
from services.log.schema import CHANNEL

POLL_SECONDS = 1.0
"""A notification is only a hint: at least this often the log itself is asked."""

OWN_PAUSE_SECONDS = 0.01
"""For so long a process that appends itself does not hear what others append, unless its own append meets theirs."""

RETRY_SECONDS_MAX = 5.0

_log = logging.getLogger(__name__)


Known = Callable[[], int]
"""The last position that the follower has from elsewhere."""

IsOwn = Callable[[int], bool]
"""Whether the backend of that process id appends for the follower, who then has the facts without being told."""


async def follow(
    conninfo: str,
    after: int,
    poll_seconds: float = POLL_SECONDS,
    known: Known = lambda: -1,
    is_own: IsOwn = lambda pid: False,
) -> AsyncGenerator[list[Fact]]:
    """Batches of at most 5,000 facts after a position (exclusive; -1 for all), then whatever comes, for ever.

    A lost connection is made again, and what was missed meanwhile comes first.
    """
    pause_seconds = 0.05
    while True:
        try:
            async with await AsyncConnection.connect(conninfo, autocommit=True) as conn:
                await conn.execute(f"LISTEN {CHANNEL}")  # before the first pull, or an event in between would wait
                while True:
                    facts = await reader.page(conn, max(after, known()))
                    if facts:
                        after, pause_seconds = facts[-1].position, 0.05
                        yield facts
                    else:
                        await _news(conn, max(after, known()) + 1, poll_seconds, is_own)
        except psycopg.OperationalError as error:
            _log.warning("Following the log from position %s again: %s", after, error)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, RETRY_SECONDS_MAX)


async def _news(conn: Connection, size: int, seconds: float, is_own: IsOwn) -> None:
    """Wait until somebody else has appended beyond a size, or it is time to look.

    What was notified while facts were read, and read with them, is no news. Whoever hears itself append does not listen
    to each of its appends; it will do so again and again.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        heard = [notification async for notification in conn.notifies(timeout=left, stop_after=1)]
        while heard:
            if any(int(each.payload) > size and not is_own(each.pid) for each in heard):
                return
            if any(is_own(each.pid) for each in heard):
                await asyncio.sleep(OWN_PAUSE_SECONDS)
            heard = [notification async for notification in conn.notifies(timeout=0)]
