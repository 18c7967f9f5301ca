"""How do the parts become one running service? They are composed here, in one place, and nowhere else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from domain import log, organization
from domain.calendar import FEDERAL, Calendar
from domain.errors import Refused
from domain.organization import ASSENT, ROLES, Appoint, RegisterOrganization
from services.clock import Clock, ManualClock, RealClock
from services.closures import missing_closures
from services.enforcement_points import MIGRATIONS as ENFORCEMENT_MIGRATIONS
from services.erasures import Erasures
from services.handle import Handler
from services.http.app import build_access_app, build_app
from services.http.sessions import MIGRATIONS as DOOR_MIGRATIONS
from services.leader import Leadership, log_of
from services.log.cosign import cosigning
from services.log.folder import LogRefused, SignerFolder
from services.log.reader import Pool
from services.log.schema import MIGRATIONS as LOG_MIGRATIONS
from services.log.schema import TRAIL
from services.log.signer import Signer, check_at_start
from services.master_keys import MasterKeys
from services.migrations import migrate
from services.postgres import Server, open_database
from services.project import MIGRATIONS as PROJECTION_MIGRATIONS
from services.project import Projecting
from services.replica import Replica
from services.roles import Logins, grant, logins_of
from services.settings import Settings
from services.timers import Timers
from services.trail import Trail, check_trail_at_start, signer_folder
from services.vault import MIGRATIONS as VAULT_MIGRATIONS
from services.vault import Vault

MIGRATIONS = (*LOG_MIGRATIONS, *VAULT_MIGRATIONS, *DOOR_MIGRATIONS, *ENFORCEMENT_MIGRATIONS, *PROJECTION_MIGRATIONS)

EVER = datetime(2000, 1, 1, tzinfo=UTC)
"""Since when the first administrator holds office: acts of the past may be imported at any time."""

FOLLOWING = frozenset({"project", "sign"})
"""The roles that need the log alone."""

WATCH_SECONDS = 0.5
"""How often the embedded server is looked after."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assent:
    """A running service: its application and what the command line needs of its parts."""

    app: Any
    handler: Handler
    pool: Pool
    is_new: bool
    shortcoming: str

    def use_real_clock(self) -> None:
        """From now on, time goes on by itself."""
        self.handler.clock = RealClock()


def clock_of(settings: Settings) -> Clock:
    if settings.clock == "manual":
        assert settings.clock_start is not None, "settings refuse a manual clock without a start"
        return ManualClock(settings.clock_start)
    return RealClock()


def prepared(conninfo: str, settings: Settings) -> Logins:
    """The database with the tables of this version, and how each part logs in to it.

    Raises RolesRefused, MigrationRefused.
    """
    found = logins_of(conninfo, settings)
    migrate(found.owner, MIGRATIONS)
    grant(found)
    return found


@dataclass(frozen=True, slots=True)
class _Database:
    """The migrated database, whose log is the one that was signed. The pool is the reader's."""

    logins: Logins
    pool: Pool
    folder: SignerFolder
    trail_folder: SignerFolder


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[_Database]:
    """Bring it up, look after it, leave it.

    Raises PostgresUnavailable, RolesRefused, MigrationRefused or LogRefused.
    """
    server = open_database(settings)
    conninfo = await asyncio.to_thread(server.start)
    try:
        found = await asyncio.to_thread(prepared, conninfo, settings)
        if found.shortcoming:
            _log.warning("%s", found.shortcoming)
        folder = SignerFolder(settings.data / "signer", settings.origin)
        trail_folder = signer_folder(settings.data, settings.origin)
        await asyncio.to_thread(check_at_start, found.signer, folder)
        await asyncio.to_thread(check_trail_at_start, found.signer, trail_folder)
        pool = _pool(found.reader, 2, 12)
        async with pool, _doing(postgres=_look_after(server, pool)):
            yield _Database(found, pool, folder, trail_folder)
    finally:
        await asyncio.to_thread(server.stop)


def _pool(conninfo: str, least: int, most: int) -> Pool:
    options: dict[str, Any] = {"open": False, "kwargs": {"autocommit": True}, "timeout": 5.0, "reconnect_timeout": 2.0}
    return AsyncConnectionPool(conninfo, min_size=least, max_size=most, **options)


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Assent]:
    """Serve, and do what `roles` says beside it; end in reverse order.

    Raises PostgresUnavailable, RolesRefused, MigrationRefused or LogRefused.
    """
    async with (
        _database(settings) as database,
        _pool(database.logins.vault, 1, 4) as vault_pool,
        _pool(database.logins.door, 1, 4) as door,
    ):
        logins, pool = database.logins, database.pool
        vault = Vault(vault_pool, MasterKeys(settings.data / "keys"))
        erasures = Erasures(vault)
        replica = Replica(erasures.hear)
        handler = Handler(settings, logins.writer, pool, clock or clock_of(settings), replica, vault)
        timers = Timers(handler, pool)
        trail = Trail(logins.writer, logins.auditor, database.trail_folder, lambda: handler.clock, settings.queue_max)
        await handler.writer.start()
        await replica.load(logins.reader)  # later than the writer, whose decisions must not miss an office
        is_new = handler.writer.end.size == 0
        await bootstrap(handler, settings, database.folder)
        work = {"replica": replica.follow(logins.reader, handler.is_told_of), "erasures": erasures.run()}
        if "timers" in settings.roles:
            work["timers"] = timers.run()
        async with _doing(**work), _following(database, settings, settings.roles), trail:
            try:
                standing = Projecting(logins.reader)
                app = build_app(settings, handler, pool, door, vault, standing, database.folder, timers.advance, trail)
                yield Assent(app, handler, pool, is_new, logins.shortcoming)
            finally:
                await handler.writer.stop()


@asynccontextmanager
async def sharing(assent: Assent, settings: Settings, may_lead: bool = True) -> AsyncIterator[None]:
    """Decide for the other processes of the installation, or hand orders on to the one that does.

    A process whose clock is not everybody's keeps to itself.
    """
    if settings.clock == "manual":
        yield
        return
    log = await log_of(assent.pool)
    leadership = Leadership(assent.handler, settings.data, log, settings.queue_max, may_lead)
    async with _doing(leadership=leadership.run()):
        await leadership.settled()
        yield


@asynccontextmanager
async def gateways(settings: Settings) -> AsyncIterator[Any]:
    """Answer gateways, and nobody else: the application with the feed and evaluations. Raises as `running` does."""
    async with _database(settings) as database, _pool(database.logins.door, 1, 2) as door:
        replica, conninfo = Replica(), database.logins.reader
        await replica.load(conninfo)
        async with _doing(replica=replica.follow(conninfo, lambda pid: False)):
            yield build_access_app(settings, replica, clock_of(settings).now, database.pool, door, database.folder)


@asynccontextmanager
async def following(settings: Settings) -> AsyncIterator[None]:
    """Serve nobody, but bring projections and checkpoints up to the log. Raises as `running` does."""
    async with _database(settings) as database, _following(database, settings, FOLLOWING):
        yield


@asynccontextmanager
async def _following(database: _Database, settings: Settings, roles: frozenset[str]) -> AsyncIterator[None]:
    """What follows from the log, as far as these roles go."""
    logins = database.logins
    signers = [
        Signer(logins.signer, database.folder),
        Signer(TRAIL.within(logins.signer), database.trail_folder, TRAIL),
    ]
    work = {"projector": Projecting(logins.projector).run()} if "project" in roles else {}
    if "sign" in roles and settings.witnesses:
        work["cosigning"] = cosigning(logins.signer, settings.witnesses)
    async with _doing(**work):
        if "sign" in roles:
            for signer in signers:
                signer.start()
        try:
            yield
        finally:
            for signer in signers:
                await asyncio.to_thread(signer.stop)


@asynccontextmanager
async def _doing(**work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Tasks by name, for as long as they are needed."""
    tasks = [asyncio.create_task(each, name=name) for name, each in work.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def bootstrap(
    handler: Handler, settings: Settings, folder: SignerFolder, occurred: datetime | None = None
) -> None:
    """An empty log begins with the organization that runs the service, its first administrator, calendar and key.

    In development mode the first administrator holds every other role of `assent` as well. Several processes may come
    first at once: whoever is second is refused, and goes on. `occurred`: when it was, where an import tells it late.
    """
    roles = ROLES["assent"] if settings.mode == "development" else ("administrator",)
    commands: list[Any] = [RegisterOrganization(ASSENT, "assent", "Assent", "US")]
    commands += [Appoint(ASSENT, settings.root, role, from_=EVER) for role in roles]
    await record_rollback(handler, folder)
    if await handler.state(organization.stream(ASSENT)) is None:
        for command in commands:
            with suppress(Refused):
                await handler.instruct(command, occurred)
    await record_closures(handler, occurred)
    await record_first_key(handler, folder, occurred)


async def record_rollback(handler: Handler, folder: SignerFolder) -> None:
    """What an operator accepted while the service stood still comes before anything else. Raises LogRefused."""
    signed = await asyncio.to_thread(folder.signed)
    if signed is None or signed.accepted is None:
        return
    with suppress(Refused):
        await handler.instruct(log.AcceptRollback(signed.accepted))
    state = await handler.state(log.STREAM)
    if state is None or signed.accepted not in state.rollbacks:
        raise LogRefused(
            f"The log was accepted with {signed.size} records, but something else was appended before that could be "
            "recorded. Look at what there is now: `assent log override`."
        )


async def record_first_key(handler: Handler, folder: SignerFolder, occurred: datetime | None) -> None:
    """See to it that the log says with which key it was signed from the beginning: every later one follows from it."""
    if await handler.state(log.STREAM) is None:
        first = await asyncio.to_thread(folder.verifier)
        with suppress(Refused):
            await handler.instruct(log.RotateLogKey("The log's first key.", str(first)), occurred)


async def record_closures(handler: Handler, occurred: datetime | None = None) -> None:
    """See to it that the federal calendar knows the closures of the years around now."""
    state = await handler.state(f"calendar-{FEDERAL}")
    recorded = state.closures if isinstance(state, Calendar) else frozenset()
    command = missing_closures(recorded, handler.clock.now().date())
    if command is not None:
        with suppress(Refused):
            await handler.instruct(command, occurred)


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
