"""How do the parts become one running service? They are composed here, in one place, and nowhere else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from domain.calendar import FEDERAL, Calendar
from domain.errors import Refused
from domain.organization import ASSENT, ROLES, Appoint, RegisterOrganization
from services.clock import Clock, ManualClock, RealClock
from services.closures import missing_closures
from services.handle import Handler
from services.http.app import build_app
from services.log.schema import MIGRATIONS as LOG_MIGRATIONS
from services.log.signer import Signer, SignerFolder, check_at_start
from services.migrations import migrate
from services.postgres import Server, open_database
from services.project import MIGRATIONS as PROJECTION_MIGRATIONS
from services.project import Projecting
from services.replica import loaded
from services.settings import Settings
from services.timers import Timers
from services.vault import MIGRATIONS as VAULT_MIGRATIONS
from services.vault import Vault, master_key

MIGRATIONS = (*LOG_MIGRATIONS, *VAULT_MIGRATIONS, *PROJECTION_MIGRATIONS)

EVER = datetime(2000, 1, 1, tzinfo=UTC)
"""Since when the first administrator holds office: acts of the past may be imported at any time."""

WATCH_SECONDS = 0.5
"""How often the embedded server is looked after."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assent:
    """A running service: its application and what the command line needs of its parts."""

    app: Any
    handler: Handler
    is_new: bool

    def use_real_clock(self) -> None:
        """From now on, time goes on by itself."""
        self.handler.clock = RealClock()


def clock_of(settings: Settings) -> Clock:
    if settings.clock == "manual":
        assert settings.clock_start is not None, "settings refuse a manual clock without a start"
        return ManualClock(settings.clock_start)
    return RealClock()


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Assent]:
    """Start everything in order; end it in reverse. Raises PostgresUnavailable, MigrationRefused or LogRefused."""
    server = open_database(settings)
    conninfo = await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(migrate, conninfo, MIGRATIONS)
        folder = SignerFolder(settings.data / "signer", settings.origin)
        await asyncio.to_thread(check_at_start, conninfo, folder)
        signer = Signer(conninfo, folder)
        async with AsyncConnectionPool(
            conninfo,
            min_size=2,
            max_size=12,
            open=False,
            kwargs={"autocommit": True},
            timeout=5.0,
            reconnect_timeout=2.0,
        ) as pool:
            vault = Vault(pool, master_key(settings.data / "keys" / "master"))
            replica = await loaded(conninfo)
            handler = Handler(settings, conninfo, pool, clock or clock_of(settings), replica, vault)
            await handler.writer.start()
            is_new = handler.writer.end.size == 0
            await bootstrap(handler, settings)
            projecting = Projecting(conninfo)
            timers = Timers(handler, pool)
            tasks = [
                asyncio.create_task(_look_after(server, pool), name="postgres"),
                asyncio.create_task(replica.follow(conninfo), name="replica"),
                asyncio.create_task(projecting.run(), name="projector"),
                asyncio.create_task(timers.run(), name="timers"),
            ]
            signer.start()
            try:
                app = build_app(settings, handler, pool, vault, projecting, folder, timers.advance)
                yield Assent(app, handler, is_new)
            finally:
                await handler.writer.stop()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.to_thread(signer.stop)
    finally:
        await asyncio.to_thread(server.stop)


async def bootstrap(handler: Handler, settings: Settings) -> None:
    """An empty log begins with the organization that runs the service, its first administrator, and the calendar.

    In development mode the first administrator holds every other role of `assent` as well. Several processes may come
    first at once: whoever is second is refused, and goes on.
    """
    roles = ROLES["assent"] if settings.mode == "development" else ("administrator",)
    commands: list[Any] = [RegisterOrganization(ASSENT, "assent", "Assent", "US")]
    commands += [Appoint(ASSENT, settings.root, role, from_=EVER) for role in roles]
    if handler.writer.end.size == 0:
        for command in commands:
            with suppress(Refused):
                await handler.instruct(command)
    await record_closures(handler)


async def record_closures(handler: Handler) -> None:
    """See to it that the federal calendar knows the closures of the years around now."""
    state = await handler.state(f"calendar-{FEDERAL}")
    recorded = state.closures if isinstance(state, Calendar) else frozenset()
    command = missing_closures(recorded, handler.clock.now().date())
    if command is not None:
        with suppress(Refused):
            await handler.instruct(command)


async def _look_after(server: Server, pool: AsyncConnectionPool[Any]) -> None:
    """Start the embedded server again whenever it is gone."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            async with pool.connection(timeout=2.0) as conn:
                await conn.execute("SELECT 1")
        except psycopg.Error as error:
            _log.warning("The database does not answer: %s", error)
            with suppress(Exception):
                await asyncio.to_thread(server.start)
