"""How do the projections get their log: which process brings them up, from what, and how is one made again?"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from domain.errors import Refused
from domain.facts import Fact
from projections import PROJECTIONS, tracking
from projections.projector import Projector
from projections.rebuild import BeingRebuilt, Report, Verified, rebuild, verify
from projections.statements import Connection
from projections.tables import Table
from services.log import reader
from services.log.follower import follow
from services.migrations import Migration
from services.progress import shown

MIGRATIONS: tuple[Migration, ...] = (
    Migration(200, "projections", tracking.TABLES),
    Migration(201, "projection schemas", tracking.SCHEMAS),
)

CONNECTIONS_MAX = 4
RETRY_SECONDS_MAX = 5.0

_log = logging.getLogger(__name__)


class PostgresLog:
    """The log as projections read it, from the database it is in."""

    def __init__(self, conninfo: str, pool: AsyncConnectionPool[Connection]) -> None:
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


@asynccontextmanager
async def reading(conninfo: str) -> AsyncIterator[PostgresLog]:
    """The log of that database."""
    options = {"autocommit": True}
    async with AsyncConnectionPool(conninfo, min_size=1, max_size=CONNECTIONS_MAX, open=False, kwargs=options) as pool:
        yield PostgresLog(conninfo, pool)


class Projecting:
    """The projections of one database."""

    def __init__(self, conninfo: str, tables: Sequence[Table] = PROJECTIONS) -> None:
        self._conninfo = conninfo
        self._tables = tables

    async def run(self) -> None:
        """Keep all of them up to the log, for ever; where another process does so, wait to take its place."""
        pause_seconds = 0.05
        while True:
            try:
                async with reading(self._conninfo) as log, await self._connect() as conn:
                    projector = Projector(conn, log, self._tables)
                    await projector.lead()
                    pause_seconds = 0.05
                    await self._run(projector)
            except psycopg.OperationalError as error:
                _log.warning("The projections will go on once the database does: %s", error)
            except Exception:
                _log.exception("The projections cannot read the log, and stand still")
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, RETRY_SECONDS_MAX)

    async def _run(self, projector: Projector) -> None:
        """Project. A table of which only another version is there is built meanwhile, and joins once swapped in."""
        outdated = await projector.make_missing()
        builds = [asyncio.create_task(self._build(table), name=f"build {table.name}") for table in outdated]
        try:
            await projector.run()
        finally:
            for build in builds:
                build.cancel()
            await asyncio.gather(*builds, return_exceptions=True)

    async def _build(self, table: Table) -> None:
        try:
            await self.rebuild(table)
        except BeingRebuilt as refusal:
            _log.info("%s", refusal.detail)
        except Exception:
            _log.exception("The new version of %s could not be built; the one before it stays", table.name)

    async def rebuild(self, table: Table, report: Report = lambda _: None) -> int:
        """Make a projection again beside the live one and swap it in; the position at the swap. Raises BeingRebuilt."""
        async with reading(self._conninfo) as log, await self._connect() as conn:
            return await rebuild(conn, log, table, report)

    async def verify(self, table: Table, report: Report = lambda _: None) -> Verified:
        """Compare a projection's live rows with a replay of the log. Raises NotReady."""
        async with reading(self._conninfo) as log, await self._connect() as conn:
            return await verify(conn, log, table, report)

    async def log_size(self) -> int:
        async with await self._connect() as conn:
            return (await reader.end(conn)).size

    async def standings(self) -> list[tracking.Standing]:
        """Where each projection stands."""
        async with await self._connect() as conn:
            return await tracking.standings(conn)

    async def _connect(self) -> AsyncConnection[Any]:
        return await AsyncConnection.connect(self._conninfo, autocommit=True)


# At a terminal


def command(conninfo: str, action: str, names: Sequence[str], as_json: bool) -> int:
    """`assent projections list|rebuild|verify [NAME…]`; 1: one differs from the log or stopped; 2: it could not run."""
    known = {table.name: table for table in PROJECTIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.stderr.write(f"There is no projection {unknown[0]!r}; there are: {', '.join(known)}.\n")
        return 2
    try:
        entries = asyncio.run(_act(Projecting(conninfo), action, [known[name] for name in names] or PROJECTIONS))
    except Refused as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 2
    for entry in [] if as_json else entries:
        sys.stdout.write(f"{entry['name']:<18} {entry['text']}\n")
    if as_json:
        sys.stdout.write(json.dumps(entries) + "\n")
    return 0 if all(entry["ok"] for entry in entries) else 1


Entries = list[dict[str, Any]]


async def _act(projecting: Projecting, action: str, tables: Sequence[Table]) -> Entries:
    if action == "list":
        chosen = {table.name for table in tables}
        return [_standing_entry(each) for each in await projecting.standings() if each.name in chosen]
    entries = []
    for table in tables:
        with shown(f"{action} {table.name}", await projecting.log_size()) as done:

            def report(position: int, done: Callable[[int], None] = done) -> None:
                done(position + 1)

            if action == "rebuild":
                position = await projecting.rebuild(table, report)
                text = f"made again from the log, up to position {position}"
                entries.append({"name": table.name, "ok": True, "position": position, "text": text})
            else:
                entries.append(_verified_entry(table.name, await projecting.verify(table, report)))
    return entries


def _standing_entry(each: tracking.Standing) -> dict[str, Any]:
    text = f"{each.role}, version {each.version} in {each.schema}, at position {each.position}"
    if each.error is not None:
        text += f"; stopped before position {each.failed_position} ({each.failed_type}): {each.error}"
    return {**asdict(each), "ok": each.error is None, "text": text}


def _verified_entry(name: str, found: Verified) -> dict[str, Any]:
    text = f"{found.rows} rows equal the replay up to position {found.position}"
    if found.difference is not None:
        text = f"differs from the replay up to position {found.position}: in {found.difference.table}, only in the "
        text += f"{found.difference.only_in}: {found.difference.row}"
    return {"name": name, "ok": found.difference is None, **asdict(found), "text": text}
