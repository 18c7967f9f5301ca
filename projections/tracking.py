"""How far has each projection come, in which schema does it live, and what stopped it?

One row per schema. Of one projection's schemas one is `live`; another may be `building` beside it. Readers ask which is
live each time, so that a swap is the change of a row and takes no lock that a reader waits for.

This is a tracking recorder of the `eventsourcing` library's kind, on an asynchronous connection: progress is a
`Tracking`, recorded only in the transaction that writes the rows. Positions are stored; notification ids stay here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eventsourcing.persistence import IntegrityError, Tracking
from psycopg import AsyncConnection
from psycopg.rows import class_row, tuple_row

from domain.errors import Refused

Connection = AsyncConnection[Any]

TABLES = """
CREATE TABLE projection (
    schema text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    role text NOT NULL CHECK (role IN ('live', 'building', 'retired')),
    position bigint NOT NULL DEFAULT -1,
    error text,
    failed_position bigint,
    failed_type text,
    retired timestamptz,
    CHECK ((error IS NULL) = (failed_position IS NULL))
);
CREATE UNIQUE INDEX one_live ON projection (name) WHERE role = 'live';
CREATE UNIQUE INDEX one_building ON projection (name) WHERE role = 'building';
COMMENT ON TABLE projection IS 'Where each projection lives and which position its rows have reached (-1: none).';
"""

BUILDING = """
ALTER TABLE projection
    ADD COLUMN began timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN built bigint,
    ADD COLUMN to_build bigint,
    ADD COLUMN told timestamptz;
COMMENT ON COLUMN projection.built IS 'How many facts a rebuild has folded at the time `told`, of about `to_build`.';
"""

SCHEMA_NAME = "^[a-z][a-z_]{0,40}_(v[0-9]+(_[0-9]+)?|replay)$"
"""What a schema of a projection is called; a regular expression of Postgres."""

SCHEMAS = f"""
CREATE FUNCTION make_projection_schema(schema text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    may record;
BEGIN
    IF schema !~ '{SCHEMA_NAME}' THEN
        RAISE EXCEPTION '% is no name for the schema of a projection.', schema USING ERRCODE = 'invalid_name';
    END IF;
    EXECUTE format('CREATE SCHEMA %I', schema);
    FOR may IN
        SELECT pg_get_userbyid(grantee) AS role, CASE privilege_type WHEN 'SELECT' THEN 'USAGE' ELSE 'CREATE' END AS act
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'public.projection'::regclass AND privilege_type IN ('SELECT', 'INSERT') AND grantee <> 0
    LOOP
        EXECUTE format('GRANT %s ON SCHEMA %I TO %I', may.act, schema, may.role);
    END LOOP;
END $$;
COMMENT ON FUNCTION make_projection_schema IS
    'A schema that those use who see the table projection, and in which those make tables who add to it.';

CREATE FUNCTION show_projection(schema text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    may record;
BEGIN
    FOR may IN
        SELECT pg_get_userbyid(grantee) AS role FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'public.projection'::regclass AND privilege_type = 'SELECT' AND grantee <> 0
    LOOP
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', schema, may.role);
    END LOOP;
END $$;
COMMENT ON FUNCTION show_projection IS 'The tables of that schema are read by those who see the table projection.';

CREATE FUNCTION drop_projection_schema(schema text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF schema !~ '{SCHEMA_NAME}' THEN
        RAISE EXCEPTION '% is no name for the schema of a projection.', schema USING ERRCODE = 'invalid_name';
    END IF;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', schema);
END $$;

REVOKE ALL ON FUNCTION make_projection_schema, show_projection, drop_projection_schema FROM PUBLIC;
"""  # noqa: S608 - the constant above
"""How a projector that may make no schema of its own choice gets one for a projection."""

POLL_SECONDS_MAX = 0.05


class NotReady(Refused):
    """The rows that would answer are not there yet, or have not come far enough; trying again later helps."""

    status, rule, title = 503, "projection", "The answer is still being worked out"
    retry_after = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """One schema of a projection. `error` says what stopped it, at the fact of `failed_position` and `failed_type`.

    While it is being built: how many facts were folded of about how many, and since it began, how long that took.
    """

    schema: str
    name: str
    version: int
    role: str
    position: int
    error: str | None
    failed_position: int | None
    failed_type: str | None
    built: int | None
    to_build: int | None
    build_seconds: float | None

    @property
    def per_second(self) -> float | None:
        """How many facts a rebuild folds in a second."""
        return self.built / self.build_seconds if self.built and self.build_seconds else None

    @property
    def seconds_left(self) -> float | None:
        """How long a rebuild will go on folding, if it goes on like that."""
        rate = self.per_second
        return max(0, (self.to_build or 0) - (self.built or 0)) / rate if rate else None


_SELECT = """
SELECT schema, name, version, role, position, error, failed_position, failed_type, built, to_build,
    extract(epoch FROM told - began)::float8 AS build_seconds
FROM projection"""


async def standings(conn: Connection) -> list[Standing]:
    """Every projection, live or being built."""
    async with conn.cursor(row_factory=class_row(Standing)) as cursor:
        await cursor.execute(f"{_SELECT} WHERE role <> 'retired' ORDER BY name, role DESC")
        return await cursor.fetchall()


async def standing(conn: Connection, name: str, role: str = "live", lock: bool = False) -> Standing | None:
    """The live (or building) schema of a projection; with `lock` it can neither move nor be swapped meanwhile."""
    async with conn.cursor(row_factory=class_row(Standing)) as cursor:
        await cursor.execute(f"{_SELECT} WHERE name = %s AND role = %s" + (" FOR UPDATE" if lock else ""), (name, role))
        return await cursor.fetchone()


async def wait_until(conn: Connection, name: str, position: int, seconds: float = 60.0) -> None:
    """Wait until a projection has reached a position. Raises NotReady where it stopped before, or is not in time."""
    pause_seconds = 0.001
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await standing(conn, name)
                if found is not None and found.position >= position:
                    return
                if found is not None and found.error is not None:
                    raise NotReady(f"The projection {name} stopped at position {found.failed_position}.")
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(1.25 * pause_seconds, POLL_SECONDS_MAX)
    except TimeoutError:
        raise NotReady(f"The projection {name} has not reached position {position} yet.") from None


def progress(schema: str, position: int) -> Tracking:
    """The library's notion of how far the projection in that schema came."""
    return Tracking(schema, position + 1)


async def track(conn: Connection, before: Sequence[Tracking], after: Sequence[Tracking]) -> None:
    """Record progress in the transaction that writes the rows.

    Raises IntegrityError unless each schema stands exactly at `before`: nothing is skipped, nothing counts twice.
    """
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            UPDATE projection SET position = moved.after, error = NULL, failed_position = NULL, failed_type = NULL
            FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS moved (schema, before, after)
            WHERE projection.schema = moved.schema AND projection.position = moved.before AND role <> 'retired'""",
            (
                [each.application_name for each in after],
                [each.notification_id - 1 for each in before],
                [each.notification_id - 1 for each in after],
            ),
        )
        moved = cursor.rowcount
    if moved != len(after):
        raise IntegrityError(f"{len(after) - moved} of {len(after)} projections were moved on by another.")


async def built(conn: Connection, schemas: Sequence[str], done: int, total: int) -> None:
    """Say how many facts a rebuild has folded, of about how many."""
    await conn.execute(
        "UPDATE projection SET built = %s, to_build = %s, told = now() WHERE schema = ANY (%s)",
        (done, total, list(schemas)),
    )


async def filled(conn: Connection, schemas: Sequence[str], position: int) -> None:
    """What is being built in these schemas has come that far, in whatever order that was."""
    await conn.execute(
        "UPDATE projection SET position = %s, built = NULL, to_build = NULL, told = NULL WHERE schema = ANY (%s)",
        (position, list(schemas)),
    )


async def record_error(conn: Connection, schema: str, error: str, position: int, type_: str) -> None:
    """Say what stopped a projection, and at which fact."""
    await conn.execute(
        "UPDATE projection SET error = %s, failed_position = %s, failed_type = %s WHERE schema = %s",
        (error, position, type_, schema),
    )
