"""What is new in the log? Batches of facts in order of position, without gaps, for as long as anyone listens."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import psycopg
from psycopg import AsyncConnection

from domain.facts import Fact
from services.log import reader
from services.log.schema import CHANNEL

POLL_SECONDS = 1.0
"""A notification is only a hint: at least this often the log itself is asked."""

RETRY_SECONDS_MAX = 5.0

_log = logging.getLogger(__name__)


async def follow(conninfo: str, after: int, poll_seconds: float = POLL_SECONDS) -> AsyncGenerator[list[Fact]]:
    """Batches of at most 5,000 facts after a position (exclusive; -1 for all), then whatever comes, for ever.

    A lost connection is made again, and what was missed meanwhile comes first.
    """
    pause_seconds = 0.05
    while True:
        try:
            async with await AsyncConnection.connect(conninfo, autocommit=True) as conn:
                await conn.execute(f"LISTEN {CHANNEL}")  # before the first pull, or an event in between would wait
                while True:
                    facts = await reader.page(conn, after)
                    if facts:
                        after, pause_seconds = facts[-1].position, 0.05
                        yield facts
                    else:
                        async for _ in conn.notifies(timeout=poll_seconds, stop_after=1):
                            pass
        except psycopg.OperationalError as error:
            _log.warning("Following the log from position %s again: %s", after, error)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, RETRY_SECONDS_MAX)
