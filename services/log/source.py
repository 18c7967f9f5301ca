"""How do projections read the log: as it grows, page by page, or stream by stream?"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from psycopg_pool import AsyncConnectionPool

from domain.facts import Fact
from services.log import reader
from services.log.follower import follow
from services.log.reader import Pool

CONNECTIONS_MAX = 4


class PostgresLog:
    """The log as projections read it, from the database it is in."""

    def __init__(self, conninfo: str, pool: Pool) -> None:
        self._conninfo = conninfo
        self._pool = pool

    def follow(self, after: int) -> AsyncGenerator[Sequence[Fact], None]:
        return follow(self._conninfo, after)

    async def page(self, after: int, before: int | None = None) -> Sequence[Fact]:
        async with self._pool.connection() as conn:
            return await reader.page(conn, after, before=before)

    async def facts_of(self, streams: Collection[str], before: int) -> Mapping[str, Sequence[Fact]]:
        async with self._pool.connection() as conn:
            return await reader.facts_of(conn, streams, before=before)

    async def size(self) -> int:
        async with self._pool.connection() as conn:
            return (await reader.end(conn)).size

    async def lives(self, begin: str, end: str, before: int) -> AsyncGenerator[Sequence[Fact], None]:
        """While a page is being used, the next one is read."""
        async with self._pool.connection() as conn:
            coming = asyncio.ensure_future(reader.page_of_streams(conn, (begin, 0), end, before))
            try:
                while facts := await coming:
                    after = facts[-1].stream, facts[-1].version
                    coming = asyncio.ensure_future(reader.page_of_streams(conn, after, end, before))
                    yield facts
            finally:
                coming.cancel()
                with suppress(asyncio.CancelledError):
                    await coming

    async def streams_along(self, before: int, count: int) -> Sequence[str]:
        """The streams of about so many facts, evenly spread over the positions below one."""
        async with self._pool.connection() as conn:
            return await reader.streams_along(conn, before, count)


@asynccontextmanager
async def reading(conninfo: str) -> AsyncIterator[PostgresLog]:
    """The log of that database."""
    options = {"autocommit": True}
    async with AsyncConnectionPool(conninfo, min_size=1, max_size=CONNECTIONS_MAX, open=False, kwargs=options) as pool:
        yield PostgresLog(conninfo, pool)
