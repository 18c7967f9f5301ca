"""How far has each enforcement point come, and when did it take in a change?

Gateways say so themselves, many times a minute; it is no fact of the log. What they say is kept for as long as anybody
asks how far a revocation has reached, and forgotten then.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from domain.enforcement import Providers
from services.changes import Changes
from services.migrations import Migration

KEPT_DAYS = 30
"""How long it is known when a point took in a change, and how long a point that says nothing is remembered."""

POINTS_MAX = 100_000
"""How many points this process remembers to have heard of; one more, and it asks the database about all anew."""

SWEEP_SECONDS = 3600.0

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        121,
        "enforcement points",
        """
        CREATE TABLE door.enforcement_point (
            person text COLLATE "C" NOT NULL,
            point text COLLATE "C" NOT NULL,
            providers text[],
            position bigint NOT NULL,
            seen timestamptz NOT NULL,
            PRIMARY KEY (person, point)
        );
        COMMENT ON TABLE door.enforcement_point IS
            'Who enforces what the log says, and up to which position. providers: whose releases; null: everybody''s.';
        CREATE TABLE door.enforcement (
            person text COLLATE "C" NOT NULL,
            point text COLLATE "C" NOT NULL,
            position bigint NOT NULL,
            at timestamptz NOT NULL,
            PRIMARY KEY (person, point, position)
        );
        CREATE INDEX ON door.enforcement (at);
        COMMENT ON TABLE door.enforcement IS 'When a point first said to enforce the log up to a position.';
        """,
    ),
)

Pool = AsyncConnectionPool[AsyncConnection[Any]]
Key = tuple[str, str]
"""Who speaks, and for which of their points."""


class Word(NamedTuple):
    """What a point says, and whether anything changed for it since it last spoke."""

    providers: Providers
    position: int
    at: datetime
    is_news: bool


@dataclass(slots=True)
class Batch:
    """What is written at once: of each point the last word, until the writing begins."""

    words: dict[Key, Word] = field(default_factory=dict)
    writing: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """How a point stands to a change. `applied_at`: when it said so first; None where it has not, or long ago."""

    point: str
    by: str
    position: int
    seen: datetime
    applied: bool
    applied_at: datetime | None


class EnforcementPoints:
    """Keeps what they say in the schema `door`. Used on the event loop's thread alone."""

    def __init__(self, pool: Pool, now: Callable[[], datetime], changes: Changes) -> None:
        self._pool = pool
        self._now = now
        self._changes = changes
        self._heard: dict[Key, int] = {}
        self._next = Batch()
        self._one_at_a_time = asyncio.Lock()
        self._swept = float("-inf")

    async def hear(self, person: str, point: str, providers: Providers, position: int) -> None:
        """The point enforces the log up to there, for these providers; that is written. Raises psycopg.Error."""
        key, batch = (person, point), self._next
        known, before = self._heard.get(key), batch.words.get(key)
        is_news = known is None or self._changes.has_any(known, position, providers)
        batch.words[key] = Word(providers, position, self._now(), is_news or (before is not None and before.is_news))
        if len(self._heard) >= POINTS_MAX:
            self._heard.clear()
        self._heard[key] = position
        if batch.writing is None:
            batch.writing = asyncio.create_task(self._write(batch))
        await asyncio.shield(batch.writing)

    async def _write(self, batch: Batch) -> None:
        async with self._one_at_a_time:
            self._next = Batch()
            try:
                async with self._pool.connection() as conn, conn.transaction():
                    await self._put(conn, batch.words)
                    await self._sweep(conn)
            except BaseException:
                for key in batch.words:  # so that the next word of theirs is news again
                    self._heard.pop(key, None)
                raise

    async def _put(self, conn: AsyncConnection[Any], words: dict[Key, Word]) -> None:
        ordered = sorted(words.items())  # two processes that write the same points wait, and never for each other
        await conn.cursor().executemany(
            "INSERT INTO door.enforcement_point (person, point, providers, position, seen) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (person, point) DO UPDATE"
            " SET providers = excluded.providers, position = excluded.position, seen = excluded.seen",
            [
                (*key, None if word.providers is None else sorted(word.providers), word.position, word.at)
                for key, word in ordered
            ],
        )
        await conn.cursor().executemany(
            "INSERT INTO door.enforcement (person, point, position, at) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [(*key, word.position, word.at) for key, word in ordered if word.is_news],
        )

    async def _sweep(self, conn: AsyncConnection[Any]) -> None:
        """Forget what is old, now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        since = (self._now() - timedelta(days=KEPT_DAYS),)
        await conn.execute("DELETE FROM door.enforcement WHERE at < %s", since)
        await conn.execute("DELETE FROM door.enforcement_point WHERE seen < %s", since)

    async def reached(self, position: int, provider: str) -> list[Reached]:
        """How the points that enforce for a provider stand to a change: those that are behind first."""
        async with self._pool.connection() as conn:
            cursor = conn.cursor(row_factory=class_row(Reached))
            await cursor.execute(
                """
                SELECT point, person AS by, position, seen, position >= %(position)s AS applied,
                    (SELECT at FROM door.enforcement AS said
                     WHERE (said.person, said.point) = (here.person, here.point)
                        AND here.position >= %(position)s AND said.position >= %(position)s
                     ORDER BY said.position LIMIT 1) AS applied_at
                FROM door.enforcement_point AS here
                WHERE providers IS NULL OR %(provider)s = ANY (providers)
                ORDER BY applied, point, person""",
                {"position": position, "provider": provider},
            )
            return await cursor.fetchall()
