"""How do the projections get their log: which process brings them up, from what, and how is one made again?"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg import AsyncConnection

from domain.errors import Refused
from projections import PROJECTIONS, tracking
from projections.filling import Unfit
from projections.projector import FOLLOWED_MAX, Projector
from projections.rebuild import BeingRebuilt, Report, Verified, rebuild, silent, verify
from projections.tables import Table
from services.building import Building
from services.collector import rarely_collect
from services.log import reader
from services.log.source import reading
from services.migrations import Migration
from services.progress import shown

MIGRATIONS: tuple[Migration, ...] = (
    Migration(200, "projections", tracking.TABLES),
    Migration(201, "projection schemas", tracking.SCHEMAS),
    Migration(202, "projections being built", tracking.BUILDING),
)

RETRY_SECONDS_MAX = 5.0

BUILDERS = 2
"""Processes that build what is missing of a long log, so that this one goes on with what it has to do."""

_log = logging.getLogger(__name__)


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
        """Project. A table that must be built is built meanwhile, and joins once it is swapped in."""
        to_build = await projector.make_missing()
        building = asyncio.create_task(self._build(to_build), name="build projections")
        try:
            await projector.run()
        finally:
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)

    async def _build(self, tables: Sequence[Table]) -> None:
        """All in one pass; where that fails, each by itself, so that one that cannot be built is alone with that."""
        try:
            if tables:
                is_long = await self.log_size() > FOLLOWED_MAX
                await self.rebuild(tables, processes=BUILDERS if is_long else 1)
        except BeingRebuilt as refusal:
            _log.info("%s", refusal.detail)
        except Exception as error:
            if len(tables) == 1:
                _log.exception("%s could not be built; the version before it stays, if there is one", tables[0].name)
                return
            _log.warning("The projections could not be built together: %s", error)
            for table in tables:
                await self._build([table])

    async def rebuild(self, tables: Sequence[Table], report: Report = silent, processes: int = 1) -> int:
        """Make projections again beside the live ones and swap them in; the position that all have reached.

        Raises BeingRebuilt, Unfit.
        """
        async with reading(self._conninfo) as log, await self._connect() as conn:
            return await rebuild(conn, log, tables, Building(self._conninfo, processes).build, report)

    async def verify(self, table: Table, report: Report = silent) -> Verified:
        """Compare a projection's live rows with a replay of the log. Raises NotReady, Unfit."""
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


def command(conninfo: str, action: str, names: Sequence[str], processes: int, as_json: bool) -> int:
    """`assent projections list|rebuild|verify [NAME…]`; 1: one differs from the log or stopped; 2: it could not run."""
    known = {table.name: table for table in PROJECTIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.stderr.write(f"There is no projection {unknown[0]!r}; there are: {', '.join(known)}.\n")
        return 2
    tables = [known[name] for name in dict.fromkeys(names)] or PROJECTIONS
    rarely_collect()
    try:
        entries = asyncio.run(_act(Projecting(conninfo), action, tables, processes))
    except Refused as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 2
    except Unfit as unfit:
        sys.stderr.write(f"{unfit}. What was live stays so.\n")
        return 1
    for entry in [] if as_json else entries:
        sys.stdout.write(f"{entry['name']:<18} {entry['text']}\n")
    if as_json:
        sys.stdout.write(json.dumps(entries) + "\n")
    return 0 if all(entry["ok"] for entry in entries) else 1


Entries = list[dict[str, Any]]


async def _act(projecting: Projecting, action: str, tables: Sequence[Table], processes: int) -> Entries:
    if action == "list":
        chosen = {table.name for table in tables}
        return [_standing_entry(each) for each in await projecting.standings() if each.name in chosen]
    if action == "rebuild":
        began = time.monotonic()
        with shown(f"rebuild {len(tables)} projections") as done:
            position = await projecting.rebuild(tables, done, processes)
        seconds = round(time.monotonic() - began, 2)
        text = f"made again from the log, up to position {position}, in {seconds} s"
        told = {"ok": True, "position": position, "seconds": seconds, "text": text}
        return [{"name": table.name, **told} for table in tables]
    entries = []
    for table in tables:
        with shown(f"verify {table.name}") as done:
            entries.append(_verified_entry(table.name, await projecting.verify(table, done)))
    return entries


def _standing_entry(each: tracking.Standing) -> dict[str, Any]:
    text = f"{each.role}, version {each.version} in {each.schema}, at position {each.position}"
    if each.error is not None:
        text += f"; stopped before position {each.failed_position} ({each.failed_type}): {each.error}"
    rate, left = each.per_second, each.seconds_left
    if rate is not None and left is not None:
        text += f"; {each.built:,} of about {each.to_build:,} facts folded, {rate:,.0f} a second, {left:.0f} s left"
    return {**asdict(each), "per_second": rate, "seconds_left": left, "ok": each.error is None, "text": text}


def _verified_entry(name: str, found: Verified) -> dict[str, Any]:
    text = f"{found.rows} rows equal the replay up to position {found.position}"
    if found.difference is not None:
        text = f"differs from the replay up to position {found.position}: in {found.difference.table}, only in the "
        text += f"{found.difference.only_in}: {found.difference.row}"
    return {"name": name, "ok": found.difference is None, **asdict(found), "text": text}
