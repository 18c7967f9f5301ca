"""May each part of the service do what it has to, and nothing else, whatever it tries?

Everything is tried on the real Postgres: for each role, on each table that is there, each act.
"""

import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent, Tracking
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from projections import PROJECTIONS
from services import roles
from services.assent import MIGRATIONS, prepared, running
from services.clock import ManualClock
from services.log import override
from services.log.folder import LogRefused, SignerFolder
from services.log.recorders import Factory
from services.log.schema import MAIN
from services.log.signer import check_at_start, sign_once
from services.log.snapshot import Snapshot
from services.log.verify import Differs, verify
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from services.project import Projecting
from services.roles import FUNCTIONS, PARTS, SCHEMAS, TABLES, Logins, RolesRefused, role_name
from services.settings import Settings
from tests.conftest import FAST, fresh_database
from tests.projections.shelf import eventually
from tests.services.log import test_schema
from tests.services.log.grown import ORIGIN, grow
from tests.services.test_handle import START, cast, in_review

SERVING = {"writer", "signer", "projector", "reader", "auditor", "vault", "door"}
AT_RUN_TIME = [part for part in PARTS if part != "owner"]
ROOT = Path(__file__).parents[2]

ACTS = {
    "SELECT": "SELECT FROM {table}",
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET {column} = DEFAULT",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "LOCK": "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
    "ADD A TRIGGER": "CREATE TRIGGER mine BEFORE UPDATE ON {table} FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "DISABLE TRIGGERS": "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "CHANGE": "ALTER TABLE {table} ADD COLUMN mine integer",
    "OWN": "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "DROP": "DROP TABLE {table}",
}
IMPLIED = {"LOCK": {"UPDATE", "DELETE"}}
"""What Postgres gives to whoever may do one of these."""

TRIED = [
    "SET session_replication_role = replica",
    "CREATE TABLE public.mine ()",
    "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql RETURN $1",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "ALTER FUNCTION append SECURITY INVOKER",
    "ALTER FUNCTION append RESET search_path",
    "DROP TRIGGER append_only ON event",
    "CREATE SCHEMA mine",
    "CREATE SCHEMA AUTHORIZATION CURRENT_USER",
    "CREATE TABLE vault.mine ()",
    "CREATE TABLE door.mine ()",
    "CREATE TABLE trail.mine ()",
    "CREATE EXTENSION vector",
    "CREATE ROLE mine",
    "ALTER DATABASE {database} SET session_replication_role = replica",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY event FROM '/dev/null'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_promote()",
    "SELECT passwd FROM pg_shadow",
]

Row = tuple[Any, ...]


def rows(conninfo: str, query: Any, *values: Any) -> list[Row]:
    with psycopg.connect(conninfo) as conn:
        return conn.execute(query, values).fetchall()


def user(conninfo: str) -> str:
    return str(conninfo_to_dict(conninfo)["user"])


def settings_of(database: str, folder: Path) -> Settings:
    return Settings(data=folder, database_url=database, port=0)


def append(conninfo: str, records: int = 3) -> None:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        grow(conn, records)


@pytest.fixture(scope="module")
def inhabited(postgres: str, template: str) -> Iterator[str]:
    """The conninfo, as superuser, of the database of `logins`."""
    yield from fresh_database(postgres, template)


@pytest.fixture(scope="module")
def logins(inhabited: str, tmp_path_factory: pytest.TempPathFactory) -> Logins:
    """The roles of a database with something in each table."""
    folder = tmp_path_factory.mktemp("roles")
    found = prepared(inhabited, settings_of(inhabited, folder))
    append(found.writer, 300)
    with psycopg.connect(found.signer, autocommit=True) as conn:
        assert sign_once(conn, SignerFolder(folder / "signer", ORIGIN))
    with psycopg.connect(found.vault) as conn:
        conn.execute("INSERT INTO vault.subject_key VALUES ('nina', 'wrapped')")
    with psycopg.connect(found.projector) as conn:
        conn.execute("INSERT INTO projection (schema, name, version, role) VALUES ('tries_v1', 'tries', 1, 'live')")
        conn.execute("SELECT make_projection_schema('tries_v1')")
        conn.execute("CREATE TABLE tries_v1.current (id text)")
        conn.execute("SELECT show_projection('tries_v1')")
    with psycopg.connect(found.library) as conn:
        conn.execute("INSERT INTO tracking VALUES ('app', 1)")
        conn.execute("INSERT INTO snapshot VALUES ('s', 1, 'T', '')")
    return found


def tables(conninfo: str) -> dict[str, tuple[str, str]]:
    """Every table and view that is nobody else's: its kind and its first column."""
    query = """
        SELECT nspname || '.' || relname, relkind::text, attname FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace JOIN pg_attribute ON attrelid = pg_class.oid AND attnum = 1
        WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND nspname NOT IN ('pg_catalog', 'information_schema')
        AND nspname NOT LIKE 'pg\\_t%%'"""
    return {name: (kind, column) for name, kind, column in rows(conninfo, query)}


def is_let(conn: Connection[Any], statement: Any) -> bool:
    """Whether it is let do that; of an act that is, nothing is left. Refused is what rights refuse, not a trigger."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement)
    except psycopg.errors.InsufficientPrivilege as refusal:
        assert "append-only" not in str(refusal), "only the second line held"
        return False
    except (psycopg.errors.IntegrityError, psycopg.errors.ObjectNotInPrerequisiteState):
        return True
    return True


# What each role may do


def test_every_table_function_and_schema_has_a_decision(inhabited: str, logins: Logins) -> None:
    of = "JOIN pg_namespace ON pg_namespace.oid = pronamespace"
    functions = names(inhabited, f"SELECT nspname || '.' || proname, nspname FROM pg_proc {of}")  # noqa: S608
    assert tables(inhabited).keys() - {"tries_v1.current"} == TABLES.keys()
    assert functions == FUNCTIONS.keys()
    assert names(inhabited, "SELECT nspname, nspname FROM pg_namespace") - {"tries_v1"} == SCHEMAS.keys()


def names(conninfo: str, query: str) -> set[str]:
    """The names that are not Postgres' own, of a query for names and schemas."""
    return {
        name
        for name, schema in rows(conninfo, query)
        if schema != "information_schema" and not schema.startswith("pg_")
    }


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("part", AT_RUN_TIME)
def test_each_role_does_to_each_table_what_was_decided_and_nothing_else(logins: Logins, part: str, act: str) -> None:
    decided = {name: {acts for who, acts in roles.decided("TABLE", name) if who == part} for name in TABLES}
    decided["tries_v1.current"] = {"reader": {"SELECT"}, "projector": set(ACTS)}.get(part, set())
    let = set()
    with psycopg.connect(getattr(logins, part), autocommit=True) as conn:
        for name, (kind, column) in tables(logins.owner).items():
            if kind == "v" and act not in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                continue
            statement = ACTS[act].format(table=name, column=column)
            if is_let(conn, statement):
                let.add(name)
    wanted = {act} | IMPLIED.get(act, set())
    assert let == {name for name, acts in decided.items() if acts & wanted}


@pytest.mark.parametrize("part", AT_RUN_TIME)
def test_each_role_calls_the_functions_that_were_decided(logins: Logins, part: str) -> None:
    query = """
        SELECT nspname || '.' || proname FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
        WHERE nspname = ANY (%s) AND has_function_privilege(pg_proc.oid, 'EXECUTE')"""
    found = {name for (name,) in rows(getattr(logins, part), query, list(SCHEMAS))}
    assert found == {name for name, parts in FUNCTIONS.items() if part in parts}


@pytest.mark.parametrize("statement", TRIED)
def test_no_role_gets_around_its_rights(logins: Logins, statement: str) -> None:
    for part in AT_RUN_TIME:
        with psycopg.connect(getattr(logins, part), autocommit=True) as conn:
            wanted = statement.format(database=conn.info.dbname)
            assert not is_let(conn, wanted), part


@pytest.mark.parametrize("part", AT_RUN_TIME)
def test_no_role_becomes_another(logins: Logins, database: str, part: str) -> None:
    others = [user(getattr(logins, other)) for other in PARTS if other != part] + [user(database)]
    with psycopg.connect(getattr(logins, part), autocommit=True) as conn:
        for other in others:
            for statement in ("SET ROLE {}", "SET SESSION AUTHORIZATION {}", "ALTER ROLE {} PASSWORD 'mine'",
                              "GRANT {} TO CURRENT_USER"):  # fmt: skip
                assert not is_let(conn, sql.SQL(statement).format(sql.Identifier(other))), (statement, other)


def test_a_role_can_log_in_with_its_password_and_nothing_more(inhabited: str, logins: Logins) -> None:
    query = """
        SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR rolinherit),
            count(*) FILTER (WHERE rolcanlogin AND rolpassword LIKE 'SCRAM-SHA-256$%%'),
            (SELECT count(*) FROM pg_auth_members WHERE member = ANY (array_agg(pg_authid.oid)))
        FROM pg_authid WHERE rolname = ANY (%s)"""
    users = [user(getattr(logins, part)) for part in PARTS]
    assert rows(inhabited, query, users) == [(False, len(PARTS), 0)]
    for part in PARTS:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(getattr(logins, part), password="guess"))


# What the writer can do with its one way in


@pytest.mark.parametrize("part", AT_RUN_TIME)
def test_nobody_forges_a_position(logins: Logins, part: str) -> None:
    forged = "INSERT INTO event (position, stream, version, type, record, leaf) VALUES (999, 's', 1, 'T', '', %s)"
    with psycopg.connect(getattr(logins, part)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(forged, (bytes(32),))


@pytest.mark.parametrize("part", FUNCTIONS["public.append"])
def test_append_goes_to_the_log_whatever_the_caller_puts_before_it(database: str, tmp_path: Path, part: str) -> None:
    logins = prepared(database, settings_of(database, tmp_path))
    with psycopg.connect(getattr(logins, part), autocommit=True) as conn:
        for table in ("event", "tree_head"):
            conn.execute(f"CREATE TEMP TABLE {table} (LIKE public.{table})")
        conn.execute("CREATE FUNCTION pg_temp.unnest(text[]) RETURNS SETOF text LANGUAGE sql RETURN 'forged'")
        conn.execute("SET search_path = pg_temp, public, pg_catalog")
        assert test_schema.append(conn, 0, [b"0", b"1"]) == (0, None)
        assert conn.execute("SELECT count(*) FROM event").fetchone() == (0,)
    assert rows(logins.auditor, "SELECT array_agg(position) FROM event") == [([0, 1],)]


@pytest.mark.parametrize("name", ["public", "vault", "pg_temp", "mine", "tries", 'x"; DROP SCHEMA vault; --_v1', ""])
def test_a_projector_makes_and_drops_schemas_of_projections_only(logins: Logins, name: str) -> None:
    for function in ("make_projection_schema", "drop_projection_schema"):
        with psycopg.connect(logins.projector) as conn, pytest.raises(psycopg.errors.InvalidName):
            conn.execute(f"SELECT {function}(%s)", (name,))


def test_a_schema_of_the_projectors_comes_before_nobodys_tables(logins: Logins) -> None:
    for part in PARTS:
        assert rows(getattr(logins, part), "SELECT current_schemas(false)::text") == [("{public}",)]


# What a superuser does is detected


def test_what_a_superuser_edits_is_not_signed(database: str, tmp_path: Path) -> None:
    folder, logins = SignerFolder(tmp_path / "signer", ORIGIN), prepared(database, settings_of(database, tmp_path))
    append(logins.writer)
    with psycopg.connect(database) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("UPDATE event SET record = 'another' WHERE position = 1")
    with psycopg.connect(logins.signer, autocommit=True) as conn, pytest.raises(LogRefused, match="was changed after"):
        sign_once(conn, folder)


def test_what_a_superuser_takes_away_after_it_was_signed_is_missed(database: str, tmp_path: Path) -> None:
    folder, logins = SignerFolder(tmp_path / "signer", ORIGIN), prepared(database, settings_of(database, tmp_path))
    append(logins.writer)
    with psycopg.connect(logins.signer, autocommit=True) as conn:
        assert sign_once(conn, folder)
    with psycopg.connect(database) as conn:
        conn.execute("ALTER TABLE tree_head DISABLE TRIGGER USER")
        conn.execute("DELETE FROM tree_head")
    with pytest.raises(LogRefused, match="records are missing"):
        check_at_start(logins.signer, folder)


async def test_the_auditor_finds_what_a_superuser_edits_after_it_was_signed(database: str, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path)
    folder = SignerFolder(tmp_path / "signer", settings.origin)

    async def is_signed() -> bool:
        signed = folder.signed()
        return signed is not None and signed.size == assent.handler.writer.end.size

    async with running(settings, ManualClock(START)) as assent:
        await cast(assent)
        await eventually(is_signed)
    logins = prepared(database, settings)
    with Snapshot(logins.auditor, folder) as evidence:
        assert verify(evidence).size == assent.handler.writer.end.size
    with psycopg.connect(database) as conn:
        conn.execute("ALTER TABLE event DISABLE TRIGGER USER")
        conn.execute("UPDATE event SET record = overlay(record PLACING 'x' FROM 40) WHERE position = 5")
    with Snapshot(logins.auditor, folder) as evidence, pytest.raises(Differs) as found:
        verify(evidence)
    assert found.value.position == 5


# The service with its roles


async def test_a_service_works_as_its_parts_and_never_as_the_owner_or_a_superuser(
    database: str, tmp_path: Path
) -> None:
    settings = settings_of(database, tmp_path)
    async with running(settings, ManualClock(START)) as assent:
        await cast(assent)
        await in_review(assent, "northwind", "nina")
        assert assent.shortcoming == ""
        logins = prepared(database, settings)

        async def is_projected() -> bool:
            standings = await Projecting(logins.reader).standings()
            return {each.position for each in standings} == {assent.handler.writer.end.size - 1}

        await eventually(is_projected)
        query = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
        with psycopg.connect(database) as conn:
            found = {name for (name,) in conn.execute(query, (conn.info.backend_pid,))}
    assert found == {user(getattr(logins, part)) for part in SERVING}


async def test_projections_are_rebuilt_and_verified_by_the_projector(database: str, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path)
    async with running(settings, ManualClock(START)) as assent:
        await cast(assent)
    logins = prepared(database, settings)
    table = PROJECTIONS[0]
    assert await Projecting(logins.projector).rebuild([table]) > 0
    assert (await Projecting(logins.projector).verify(table)).difference is None
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE projection SET retired = now() - interval '1 day' WHERE role = 'retired'")
    await Projecting(logins.projector).rebuild([table])
    live = [each for each in await Projecting(logins.reader).standings() if each.name == table.name]
    assert [each.role for each in live] == ["live"]
    current = sql.Identifier(live[0].schema, "current")
    assert rows(logins.reader, sql.SQL("SELECT count(*) > 0 FROM {}").format(current)) == [(True,)]


def test_an_override_waits_for_whoever_is_connected_as_another_role(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(override, "GONE_SECONDS_MAX", 0.1)
    folder, logins = SignerFolder(tmp_path / "signer", ORIGIN), prepared(database, settings_of(database, tmp_path))
    with psycopg.connect(logins.reader), pytest.raises(LogRefused, match="Somebody is connected"):
        override.command(logins.signer, MAIN, folder, "rosa", None, None, as_json=False)


def test_an_application_of_the_library_works_as_its_role(database: str, tmp_path: Path) -> None:
    logins = prepared(database, settings_of(database, tmp_path))
    with closing(Factory({"DATABASE_URL": logins.library, "ORIGINATOR_ID_TYPE": "uuid"})) as factory:
        recorder, snapshots = factory.process_recorder(), factory.aggregate_recorder("snapshots")
        event = StoredEvent(uuid4(), 1, "T", b"state")
        with recorder.subscribe() as subscription:
            recorder.insert_events([event], tracking=Tracking("upstream", 7))
            assert next(subscription).state == b"state"
        assert recorder.max_tracking_id("upstream") == 7
        recorder.insert_events([], tracking=Tracking("upstream", 8))
        snapshots.insert_events([event])
        assert list(snapshots.select_events(event.originator_id)) == [event]


# How the roles come about


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "roles").iterdir())}


def test_passwords_are_made_once_and_only_we_may_read_them(database: str, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path)
    first = prepared(database, settings)
    kept = files(tmp_path)
    assert prepared(database, settings) == first
    assert files(tmp_path) == kept
    assert kept.keys() == PARTS.keys()
    assert len({conninfo_to_dict(each)["password"] for each in kept.values()}) == len(PARTS)
    assert stat.S_IMODE((tmp_path / "roles").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "roles").iterdir()} == {0o600}


def test_a_start_that_finds_everything_in_order_changes_nothing(database: str, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path)
    prepared(database, settings)
    changed = "SELECT sum(xmin::text::bigint) FROM (SELECT xmin FROM pg_class UNION ALL SELECT xmin FROM pg_proc)"
    before = rows(database, changed)
    prepared(database, settings)
    assert rows(database, changed) == before


def test_processes_that_start_at_once_agree(empty_database: str, tmp_path: Path) -> None:
    settings, found = settings_of(empty_database, tmp_path), []
    threads = [threading.Thread(target=lambda: found.append(prepared(empty_database, settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 4
    for part in PARTS:
        assert rows(getattr(found[0], part), "SELECT 1") == [(1,)]


def test_a_right_too_many_is_taken_away_at_the_next_start(database: str, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path)
    logins = prepared(database, settings)
    with psycopg.connect(database) as conn:
        conn.execute("GRANT ALL ON event TO PUBLIC")
        conn.execute("GRANT EXECUTE ON FUNCTION append TO PUBLIC")
        conn.execute(sql.SQL("GRANT ALL ON vault.subject_key TO {}").format(sql.Identifier(user(logins.vault))))
        conn.execute(sql.SQL("REVOKE ALL ON event FROM {}").format(sql.Identifier(user(logins.reader))))
    prepared(database, settings)
    with psycopg.connect(logins.vault, autocommit=True) as conn:
        assert not is_let(conn, "SELECT FROM event")
        assert not is_let(conn, "TRUNCATE vault.subject_key")
    assert rows(logins.reader, "SELECT count(*) FROM event") == [(0,)]


def test_a_database_from_before_there_were_roles_is_handed_over(database: str, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path)
    append(database)
    with psycopg.connect(database) as conn:
        conn.execute("SELECT make_projection_schema('old_v1')")
        conn.execute("CREATE TABLE old_v1.current ()")
        conn.execute("INSERT INTO projection (schema, name, version, role) VALUES ('old_v1', 'old', 1, 'live')")
        conn.execute("CREATE TABLE theirs ()")
    logins = prepared(database, settings)
    owners = dict(rows(database, "SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relkind IN ('r', 'v')"))
    assert {owners[name.partition(".")[2]] for name in TABLES} == {user(logins.owner)}
    assert owners["theirs"] == user(database)
    assert "current" not in owners
    assert rows(logins.reader, "SELECT count(*) FROM event") == [(3,)]
    append(logins.writer)


def test_names_tell_whose_they_are_and_fit() -> None:
    assert role_name("assent", "writer") == "assent_writer"
    long = [role_name("a" * 59 + letter, part) for letter in "bc" for part in PARTS]
    assert len(set(long)) == 2 * len(PARTS)
    assert max(len(name) for name in long) <= 63
    assert {role_name(name, "writer") for name in ("ü" * 31, "ä" * 31)} & {"ü" * 31} == set()


# Where it is not ours to say


@pytest.fixture
def plain(postgres: str) -> Iterator[str]:
    """The conninfo of a database whose owner may do nothing beyond it."""
    yield from owned_database(postgres, "")


@pytest.fixture
def creating(postgres: str) -> Iterator[str]:
    """The same, but its owner may create roles."""
    yield from owned_database(postgres, "CREATEROLE")


def owned_database(postgres: str, power: str) -> Iterator[str]:
    for conninfo in fresh_database(postgres, "template0"):
        name = str(conninfo_to_dict(conninfo)["dbname"])
        with psycopg.connect(postgres, autocommit=True) as conn:
            conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'word' {power}")
            conn.execute(f"ALTER DATABASE {name} OWNER TO {name}")
        yield make_conninfo(conninfo, user=name, password="word")


async def test_where_no_roles_can_be_made_it_says_so_and_goes_on(
    plain: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(settings_of(plain, tmp_path), ManualClock(START)) as assent:
        await cast(assent)
        assert f"the database's user {user(plain)} may not create roles" in assent.shortcoming
        assert caplog.messages.count(assent.shortcoming) == 1
    assert prepared(plain, settings_of(plain, tmp_path)) == Logins.of_one(plain, assent.shortcoming)
    assert not any((tmp_path / "roles").glob("*"))


def test_whoever_may_create_roles_need_not_be_a_superuser(creating: str, tmp_path: Path) -> None:
    logins = prepared(creating, settings_of(creating, tmp_path))
    assert logins.shortcoming == ""
    append(logins.writer)
    with psycopg.connect(logins.writer, autocommit=True) as conn:
        assert not is_let(conn, "DELETE FROM event")
    assert prepared(creating, settings_of(creating, tmp_path)) == logins


def test_roles_are_made_later_where_they_may_be_made_later(plain: str, postgres: str, tmp_path: Path) -> None:
    settings = settings_of(plain, tmp_path)
    append(prepared(plain, settings).writer)
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER ROLE {} CREATEROLE").format(sql.Identifier(user(plain))))
    logins = prepared(plain, settings)
    assert logins.shortcoming == ""
    append(logins.writer)


def test_where_the_server_lets_no_new_role_in_one_does_everything(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "data", FAST) as conninfo:
        hba = tmp_path / "data" / "postgres" / "cluster" / "pg_hba.conf"
        hba.write_text("local all assent scram-sha-256\n")
        assert rows(conninfo, "SELECT pg_reload_conf()") == [(True,)]
        logins = prepared(conninfo, Settings(data=tmp_path / "data"))
        assert "does not let the roles in" in logins.shortcoming
        assert logins.writer == conninfo
        append(logins.writer)
        assert rows(conninfo, "SELECT count(*) FROM pg_roles WHERE rolname ~ '^assent_'") == [(0,)]
        assert not any((tmp_path / "data" / "roles").glob("*"))


def test_a_role_of_that_name_which_is_somebody_elses_is_left_alone(database: str, tmp_path: Path) -> None:
    name = role_name(str(conninfo_to_dict(database)["dbname"]), "reader")
    with psycopg.connect(database) as conn:
        conn.execute(sql.SQL("CREATE ROLE {} PASSWORD 'theirs'").format(sql.Identifier(name)))
    with pytest.raises(RolesRefused, match=f"a role {name} that Assent did not make"):
        prepared(database, settings_of(database, tmp_path))


def test_another_installation_does_not_change_the_passwords_of_a_database_in_use(database: str, tmp_path: Path) -> None:
    logins = prepared(database, settings_of(database, tmp_path / "one"))
    with pytest.raises(RolesRefused, match="does not hold their passwords"):
        prepared(database, settings_of(database, tmp_path / "two"))
    assert rows(logins.reader, "SELECT 1") == [(1,)]


def test_an_empty_database_takes_over_the_roles_of_one_that_was_dropped(
    postgres: str, database: str, tmp_path: Path
) -> None:
    prepared(database, settings_of(database, tmp_path / "one"))
    name = sql.Identifier(str(conninfo_to_dict(database)["dbname"]))
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {}").format(name))
        conn.execute(sql.SQL("CREATE DATABASE {}").format(name))
    append(prepared(database, settings_of(database, tmp_path / "two")).writer)


def test_a_database_restored_on_another_server_gets_the_roles_with_their_passwords(
    database: str, tmp_path: Path
) -> None:
    logins = prepared(database, settings_of(database, tmp_path / "data"))
    append(logins.writer)
    with EmbeddedPostgres(tmp_path / "other", FAST) as conninfo:
        migrate(conninfo, MIGRATIONS)
        found = prepared(conninfo, settings_of(conninfo, tmp_path / "data"))
        assert conninfo_to_dict(found.writer)["password"] == conninfo_to_dict(logins.writer)["password"]
        append(found.writer)


# Roles of an operator's making


@pytest.fixture
def operators(plain: str, postgres: str, tmp_path: Path) -> Settings:
    """Settings with a folder of logins; the database's own user is its owner."""
    folder = tmp_path / "logins"
    folder.mkdir()
    with psycopg.connect(postgres, autocommit=True) as conn:
        for part in AT_RUN_TIME:
            name = f"{part}_{user(plain)[-8:]}"
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'theirs'").format(sql.Identifier(name)))
            (folder / part).write_text(f"postgresql://{name}:theirs@\n")
    return Settings(data=tmp_path / "data", database_url=plain, database_logins=folder, port=0)


async def test_a_service_runs_as_roles_of_an_operators_making(operators: Settings) -> None:
    async with running(operators, ManualClock(START)) as assent:
        await cast(assent)
        await in_review(assent, "northwind", "nina")
        assert assent.shortcoming == ""
    logins = prepared(operators.database_url, operators)
    assert user(logins.owner) == user(operators.database_url)
    assert user(logins.writer).startswith("writer_")
    with psycopg.connect(logins.writer, autocommit=True) as conn:
        assert not is_let(conn, "DELETE FROM event")
        assert not is_let(conn, "SELECT FROM vault.subject_key")


def test_a_login_that_is_missing_or_garbled_is_named(operators: Settings) -> None:
    assert operators.database_logins is not None
    vault = operators.database_logins / "vault"
    vault.write_text("no login = at all")
    with pytest.raises(RolesRefused, match=f"{vault} is no login"):
        prepared(operators.database_url, operators)
    vault.unlink()
    with pytest.raises(RolesRefused, match=f"no file {vault}, the login of the vault"):
        prepared(operators.database_url, operators)


def test_the_page_shows_the_roles_as_they_are() -> None:
    assert roles.describe() in (ROOT / "docs" / "roles.md").read_text()
