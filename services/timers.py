"""What does time alone do: which deadlines, lapses and expiries are due, and who sees to them?

A timer is a command of the system actor; its rule refuses a second firing, so several instances may run. What was due
in a week's outage happens at the next start, once, in due order, and as of the time it was due.
"""

import asyncio
import logging
from datetime import datetime

import psycopg
from psycopg_pool import PoolTimeout

from domain.errors import Refused
from projections import deadlines
from projections.tracking import NotReady
from services.clock import ManualClock, RealClock
from services.handle import Handler
from services.log.reader import Pool

STREAMS_MAX = 500
"""Streams that are seen to in one append."""

POLL_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Timers:
    """Sees to what is due, by the service's clock."""

    def __init__(self, handler: Handler, pool: Pool) -> None:
        self._handler = handler
        self._pool = pool

    async def run(self) -> None:
        """See to what is due, every second, for ever. A refusal or an outage is tried again at the next round."""
        while True:
            try:
                if isinstance(self._handler.clock, RealClock):
                    await self.see_to(self._handler.clock.now())
            except NotReady:
                pass  # the projector has not come so far; it will be asked again
            except (Refused, PoolTimeout, psycopg.OperationalError) as error:
                _log.warning("What is due will be seen to later: %s", error)
            await asyncio.sleep(POLL_SECONDS)

    async def see_to(self, now: datetime) -> None:
        """Have everything decided that is due by now, as far as the projection of deadlines knows."""
        done: set[str] = set()
        while True:
            async with self._pool.connection() as conn:
                due = [name for name in await deadlines.due_streams(conn, now, STREAMS_MAX) if name not in done]
            if not due:
                return
            await self._handler.pass_time(due, now)
            done.update(due)

    async def advance(self, to: datetime) -> None:
        """Let a manual clock go on, stopping at each instant at which something is due. Raises ValueError."""
        clock = self._handler.clock
        if not isinstance(clock, ManualClock):
            raise ValueError("The service's clock is the real one; nobody can move it.")
        while True:
            async with self._pool.connection() as conn:
                await deadlines.wait_until(conn, self._handler.writer.end.size - 1)
                due = await deadlines.next_due(conn)
            if due is None or due > to:
                break
            clock.advance_to(max(due, clock.now()))
            await self.see_to(clock.now())
        clock.advance_to(to)
