"""How long does an answer wait for the position that it must rest on, and what is said where that is not reached?"""

from dataclasses import dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from services.http.problems import NotCaughtUp, NotThereYet
from services.log import reader
from services.replica import Replica

AHEAD_MAX = 100
"""What is about to be written is waited for; of what lies further behind the log's end, nobody can have been told."""


@dataclass(frozen=True, slots=True)
class Positions:
    """What this process has taken in of the log, and how far the log goes."""

    replica: Replica
    pool: AsyncConnectionPool[Any]

    async def reach(self, position: int, seconds: float) -> None:
        """Wait until this process knows the log up to there.

        Raises NotThereYet where the log itself does not go so far, NotCaughtUp where this process is behind.
        """
        if self.replica.position >= position:
            return
        if position < await self._size() + AHEAD_MAX and await self.replica.at_least(position, seconds):
            return
        asked = f"Position {position} was asked for"
        if position >= (size := await self._size()):
            raise NotThereYet(f"{asked}; the log ends at position {size - 1}.", "a position in the log")
        raise NotCaughtUp(f"{asked}; this process knows {self.replica.position}.", f"position {position}")

    async def _size(self) -> int:
        async with self.pool.connection() as conn:
            return (await reader.end(conn)).size
