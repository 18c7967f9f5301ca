"""When was a machine's key last used? Known to the minute, and written down while nobody waits for it."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

AGAIN_SECONDS = 60.0
"""How long after a use that was written down none of that key is."""

_log = logging.getLogger(__name__)


class KeyUses:
    """Notes them in the table `door.key_use`. Used on the event loop's thread alone."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]], now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now
        self._noted: set[str] = set()
        self._pending: set[str] = set()
        self._writing: asyncio.Task[None] | None = None

    def note(self, key: str) -> None:
        """The key is used now. On the hot road: almost always this is one look into a set."""
        if key in self._noted:
            return
        self._noted.add(key)
        self._pending.add(key)
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._noted.discard, key)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """All that is pending, also what comes meanwhile; a use that cannot be written is forgotten, not the next."""
        while self._pending:
            keys, self._pending = sorted(self._pending), set()
            try:
                async with self._pool.connection() as conn:
                    await conn.execute(
                        "INSERT INTO door.key_use (key, last_used) SELECT key, %s FROM unnest(%s::text[]) AS key"
                        " ON CONFLICT (key) DO UPDATE"
                        " SET last_used = greatest(door.key_use.last_used, excluded.last_used)",
                        (self._now(), keys),
                    )
            except psycopg.Error as error:
                _log.warning("The use of %d keys was not written down: %s", len(keys), type(error).__name__)

    async def of(self, keys: Iterable[str]) -> dict[str, datetime]:
        """When each of these keys was last used, where it ever was."""
        async with self._pool.connection() as conn:
            rows = await conn.execute("SELECT key, last_used FROM door.key_use WHERE key = ANY (%s)", (list(keys),))
            return dict(await rows.fetchall())
