"""Which browser is logged in, as whom, and until when? The server knows; the browser has a random name for it."""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from services.http.browsers import CSRF_HEADER, Browsers, RawHeaders, cookie
from services.http.identity import Identity
from services.migrations import Migration

LOGIN_SECONDS_MAX = 600
"""How long somebody may take at the identity provider."""

TOUCH_SECONDS = 60
"""To how many seconds the last use is known."""

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        120,
        "door",
        """
        CREATE SCHEMA door;
        CREATE TABLE door.session (
            id bytea PRIMARY KEY,
            person text COLLATE "C" NOT NULL,
            scopes text[] NOT NULL,
            created timestamptz NOT NULL DEFAULT now(),
            last_used timestamptz NOT NULL DEFAULT now(),
            expires timestamptz NOT NULL
        );
        COMMENT ON TABLE door.session IS 'Browsers that are logged in. id: SHA-256 of what the cookie holds.';
        CREATE TABLE door.login (
            state bytea PRIMARY KEY,
            browser bytea NOT NULL,
            issuer text NOT NULL,
            leads_to text NOT NULL,
            expires timestamptz NOT NULL
        );
        COMMENT ON TABLE door.login IS 'Browsers that were sent to log in; state and browser are SHA-256. Used once.';
        CREATE TABLE door.key_use (
            key text COLLATE "C" PRIMARY KEY,
            last_used timestamptz NOT NULL
        );
        COMMENT ON TABLE door.key_use IS 'When a key of a machine was last used, to the minute.';
        """,
    ),
)

Pool = AsyncConnectionPool[AsyncConnection[Any]]


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is logged in. `id` is what its cookie holds; `expires`: seconds since 1970, used or not."""

    id: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Login:
    """Where a browser was sent to log in, and where it goes after that."""

    issuer: str
    leads_to: str


class Sessions:
    """Those of this installation, whichever of its processes is asked. A logout counts at once, everywhere."""

    def __init__(self, pool: Pool, browsers: Browsers, seconds_max: int, idle_seconds_max: int) -> None:
        self._pool = pool
        self.browsers = browsers
        self.seconds_max = seconds_max
        self._idle_seconds_max = idle_seconds_max

    async def visitor(self, headers: RawHeaders) -> Session | None:
        """The session of the browser that sent this; None where there is none any more."""
        id = cookie(headers, self.browsers.session_cookie)
        if id is None:
            return None
        async with self._pool.connection() as conn:
            rows = await conn.execute(
                "SELECT person, scopes, extract(epoch FROM expires)::float8,"
                " last_used < now() - make_interval(secs => %s) FROM door.session"
                " WHERE id = %s AND now() < least(expires, last_used + make_interval(secs => %s))",
                (TOUCH_SECONDS, _digest(id), self._idle_seconds_max),
            )
            if (row := await rows.fetchone()) is None:
                return None
            person, scopes, expires, is_to_touch = row
            if is_to_touch:
                await conn.execute("UPDATE door.session SET last_used = now() WHERE id = %s", (_digest(id),))
        return Session(id, Identity(person, frozenset(scopes), expires))

    async def sender(self, headers: RawHeaders) -> Session | None:
        """The same for a command, which must be meant. Raises CrossSite."""
        found = await self.visitor(headers)
        if found is not None:
            shown = headers.get(CSRF_HEADER)
            self.browsers.must_be_meant(headers, found.id, None if shown is None else shown.decode("latin-1"))
        return found

    async def begin(self, identity: Identity, headers: RawHeaders) -> str:
        """A new session, with an id that nobody had before; the one that the browser had is over."""
        id = secrets.token_urlsafe(32)
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute(
                "DELETE FROM door.session WHERE now() >= least(expires, last_used + make_interval(secs => %s))",
                (self._idle_seconds_max,),
            )
            await self._end(conn, cookie(headers, self.browsers.session_cookie))
            await conn.execute(
                "INSERT INTO door.session (id, person, scopes, expires)"
                " VALUES (%s, %s, %s, now() + make_interval(secs => %s))",
                (_digest(id), identity.person, sorted(identity.scopes), self.seconds_max),
            )
        return id

    async def end(self, id: str) -> None:
        async with self._pool.connection() as conn:
            await self._end(conn, id)

    async def _end(self, conn: AsyncConnection[Any], id: str | None) -> None:
        if id is not None:
            await conn.execute("DELETE FROM door.session WHERE id = %s", (_digest(id),))

    async def begin_login(self, state: str, browser: str, login: Login) -> None:
        """Remember that this browser was sent away with that state."""
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute("DELETE FROM door.login WHERE expires <= now()")
            await conn.execute(
                "INSERT INTO door.login (state, browser, issuer, leads_to, expires)"
                " VALUES (%s, %s, %s, %s, now() + make_interval(secs => %s))",
                (_digest(state), _digest(browser), login.issuer, login.leads_to, LOGIN_SECONDS_MAX),
            )

    async def finish_login(self, state: str, browser: str) -> Login | None:
        """What was remembered, once; None where it was another browser, too long ago, or never."""
        async with self._pool.connection() as conn:
            rows = await conn.execute(
                "DELETE FROM door.login WHERE state = %s AND browser = %s AND now() < expires"
                " RETURNING issuer, leads_to",
                (_digest(state), _digest(browser)),
            )
            row = await rows.fetchone()
        return None if row is None else Login(*row)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
