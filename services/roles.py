"""Which roles of the database are there, what may each of them do, and how does each part log in as its own?

Least privilege: whoever gets hold of one part's connection can do what that part does and nothing else. The roles are
made once, with random passwords kept under ASSENT_DATA; what they may do is the table below, brought about at every
start. Where the server allows no new roles, one role does everything, and the service says so.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from projections.tracking import SCHEMA_NAME
from services.durable import replace
from services.log.schema import MAIN, TRAIL, Ledger
from services.migrations import LOCK_KEY
from services.settings import Settings

PARTS: Mapping[str, str] = {
    "owner": "owns schemas, tables and functions; migrates at the start, and is not used afterwards",
    "writer": "appends to the log and to the trail, through `append` alone, and reads what deciding needs",
    "signer": "publishes checkpoints, tiles and cosignatures; changes none",
    "projector": "reads the log; makes, fills and drops the schemas of projections",
    "reader": "answers queries: reads projections and the log",
    "auditor": "reads the log and the trail, and nothing else: who read what, replay, verification",
    "vault": "makes, reads and destroys the keys of sealed texts",
    "door": "knows which browsers are logged in, when a machine's key was used, and what gateways enforce",
    "library": "what an application of the `eventsourcing` library may do on this log",
}
"""Each part of the service that logs in by itself, and what for. Timers read as the reader, act through the writer."""

Acts = tuple[str, ...]
READ: Acts = ("SELECT",)
ADD: Acts = ("SELECT", "INSERT")


def _log(ledger: Ledger, readers: Sequence[str], provers: Sequence[str]) -> dict[str, Mapping[str, Acts]]:
    """One of the two logs, beside those who work on it: who reads its records, and who shows or checks its proofs."""
    records = dict.fromkeys(("writer", "signer", *readers), READ)
    proofs = dict.fromkeys(provers, READ)
    found = {
        "event": records,
        "tree_head": records,
        "checkpoint": {"signer": ADD, **proofs},
        "tile": {"signer": ADD, **proofs},
        "cosignature": {"signer": ADD, **proofs},
        "cosigned_checkpoint": proofs,
        "event_json": {"auditor": READ},
    }
    return {f"{ledger.schema}.{name}": acts for name, acts in found.items()}


TABLES: Mapping[str, Mapping[str, Acts]] = {
    **_log(MAIN, ("projector", "reader", "auditor", "library"), ("reader", "auditor")),
    **_log(TRAIL, ("auditor",), ("auditor",)),
    "public.tracking": {"library": ("SELECT", "INSERT", "UPDATE")},
    "public.snapshot": {"library": ADD},
    "public.projection": {"projector": ("SELECT", "INSERT", "UPDATE", "DELETE"), "reader": READ},
    "public.schema_migration": {"auditor": READ},
    "vault.subject_key": {"vault": ("SELECT", "INSERT", "UPDATE", "DELETE")},
    "vault.master": {"vault": ("SELECT", "UPDATE")},
    "vault.erasure": {"vault": ADD},
    "door.session": {"door": ("SELECT", "INSERT", "UPDATE", "DELETE")},
    "door.login": {"door": ("SELECT", "INSERT", "DELETE")},
    "door.key_use": {"door": ("SELECT", "INSERT", "UPDATE")},
    "door.enforcement_point": {"door": ("SELECT", "INSERT", "UPDATE", "DELETE")},
    "door.enforcement": {"door": ("SELECT", "INSERT", "DELETE")},
}
"""Every table and view, and what each part may do to it; what is not here, it may not."""

FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "public.append": ("writer", "library"),
    "public.refuse_change": (),
    "public.recorded_at": ("reader", "auditor"),
    "public.position_at": ("reader", "auditor"),
    "trail.append": ("writer",),
    "trail.refuse_change": (),
    "trail.recorded_at": ("auditor",),
    "trail.position_at": ("auditor",),
    "trail.subjects_of": ("auditor",),
    "public.make_projection_schema": ("projector",),
    "public.show_projection": ("projector",),
    "public.drop_projection_schema": ("projector",),
}
"""Every function, and the parts that may call it."""

SCHEMAS: Mapping[str, tuple[str, ...]] = {
    "public": tuple(PARTS),
    "trail": ("writer", "signer", "auditor"),
    "vault": ("vault",),
    "door": ("door",),
}
"""Every schema and who may use what is in it; `make_projection_schema` opens those of projections."""

MARK = "Assent: "
"""How the comment of a role begins that we made."""

NAME_BYTES_MAX = 63


class RolesRefused(Exception):
    """The database's roles cannot be used as they are. The message says why, and what an operator can do."""


class _NotAllowed(Exception):
    """The server does not let us have roles of our own; the message says why not."""


@dataclass(frozen=True, slots=True, repr=False)
class Logins:
    """A conninfo string for each part. `shortcoming`: why one role does everything; empty where each has its own."""

    owner: str
    writer: str
    signer: str
    projector: str
    reader: str
    auditor: str
    vault: str
    door: str
    library: str
    shortcoming: str = ""

    @classmethod
    def of_one(cls, conninfo: str, shortcoming: str = "") -> "Logins":
        """Everything as one role."""
        return cls(**dict.fromkeys(PARTS, conninfo), shortcoming=shortcoming)


assert tuple(PARTS) == tuple(field.name for field in fields(Logins))[:-1]


def logins_of(conninfo: str, settings: Settings) -> Logins:
    """How each part logs in to that server; makes the roles where they are missing. Raises RolesRefused.

    Any number of processes of an installation may call it at once.
    """
    if settings.database_logins is not None:
        return _given(conninfo, settings.database_logins)
    try:
        return _made(conninfo, settings.data / "roles")
    except _NotAllowed as why:
        return Logins.of_one(
            conninfo,
            f"One database role does everything, for {why}. A part that is broken into can then do all that this role"
            " can; verification still detects it. docs/roles.md says how to separate them.",
        )


# Logins that are kept in files: one per part, each a conninfo string that is laid over the server's


@dataclass(frozen=True, slots=True, repr=False)
class _Login:
    user: str
    password: str

    def over(self, conninfo: str) -> str:
        return make_conninfo(conninfo, user=self.user, password=self.password)


def _given(conninfo: str, folder: Path) -> Logins:
    """What an operator put there. Without a file for the owner, that is whoever DATABASE_URL names."""
    found = {}
    for part in PARTS:
        try:
            own = conninfo_to_dict((folder / part).read_text().strip())
        except FileNotFoundError:
            if part != "owner":
                raise RolesRefused(f"DATABASE_LOGINS has no file {folder / part}, the login of the {part}.") from None
            own = {}
        except (OSError, psycopg.ProgrammingError, UnicodeDecodeError) as error:
            raise RolesRefused(f"{folder / part} is no login: a postgresql:// address is one ({error}).") from error
        found[part] = make_conninfo(conninfo, **own)
    return Logins(**found)


def _kept(folder: Path, part: str) -> _Login | None:
    try:
        found = conninfo_to_dict((folder / part).read_text())
    except FileNotFoundError:
        return None
    return _Login(str(found["user"]), str(found["password"]))


def _keep(folder: Path, part: str, login: _Login) -> None:
    """Durable when it returns, and only ours to read: the role is made afterwards."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(folder / part, make_conninfo(user=login.user, password=login.password).encode())


# Roles of our own making


def role_name(database: str, part: str) -> str:
    """Roles belong to the whole server, so their names say whose database they are for."""
    name = f"{database}_{part}"
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    digest = sha256(database.encode()).hexdigest()[:12]
    return f"{re.sub(r'[^a-z0-9]', '_', database.lower())[:36]}_{digest}_{part}"


def _made(conninfo: str, folder: Path) -> Logins:
    """Our own roles, made and put in order where needed. Raises _NotAllowed, RolesRefused."""
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        kept = {part: _kept(folder, part) for part in PARTS}
        chosen = {part: kept[part] or _Login(role_name(admin.info.dbname, part), _password()) for part in PARTS}
        there = _comments(admin, chosen)
        absent = [part for part in PARTS if part not in there]
        lost = [part for part in there if kept[part] is None]
        _must_be_free_to_take(admin, chosen, {part: there[part] for part in lost}, folder)
        try:
            if absent or lost:
                _must_be_creator(admin)
            for part in (*absent, *lost):
                _keep(folder, part, chosen[part])
            with admin.transaction():
                for part in absent:
                    _make(admin, part, chosen[part])
                for part in (*absent, *lost):
                    _set_password(admin, chosen[part])
                _put_in_order(admin, {part: login.user for part, login in chosen.items()})
            _must_be_let_in(chosen["owner"].over(conninfo))
        except (psycopg.errors.InsufficientPrivilege, _NotAllowed) as why:
            if there:
                raise RolesRefused(f"The database's roles ({folder}) cannot be used: {why}.") from why
            _unmake(admin, chosen)
            for part in PARTS:
                if kept[part] is None:
                    (folder / part).unlink(missing_ok=True)
            raise _NotAllowed(str(why)) from why
    return Logins(**{part: login.over(conninfo) for part, login in chosen.items()})


def _password() -> str:
    return secrets.token_urlsafe(32)


def _comments(admin: Connection[Any], chosen: Mapping[str, _Login]) -> dict[str, str]:
    """The parts whose roles are there, with the roles' comments."""
    query = "SELECT rolname, coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = ANY (%s)"
    found = dict(admin.execute(query, ([login.user for login in chosen.values()],)).fetchall())
    return {part: found[login.user] for part, login in chosen.items() if login.user in found}


def _must_be_free_to_take(
    admin: Connection[Any], chosen: Mapping[str, _Login], lost: Mapping[str, str], folder: Path
) -> None:
    """A role whose password is not known to us may be somebody else's, or that of a service which runs elsewhere."""
    for part, comment in lost.items():
        if not comment.startswith(MARK):
            raise RolesRefused(
                f"The server has a role {chosen[part].user} that Assent did not make. Rename it, or make roles for"
                " Assent and name the folder of their logins in DATABASE_LOGINS."
            )
    if lost and admin.execute("SELECT to_regclass('public.event')").fetchall() != [(None,)]:
        raise RolesRefused(
            f"This database has roles for Assent, but {folder} does not hold their passwords. Every process on one"
            " database names the same ASSENT_DATA; if that folder was lost, restore it from its backup, or give each"
            f" role a new password and write `user=… password=…` to a file of the part's name: {', '.join(lost)}."
        )


def _must_be_creator(admin: Connection[Any]) -> None:
    query = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    if admin.execute(query).fetchall() != [(True,)]:
        raise _NotAllowed(f"the database's user {admin.info.user} may not create roles")


def _must_be_let_in(conninfo: str) -> None:
    try:
        psycopg.connect(conninfo, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        raise _NotAllowed(f"the server does not let the roles in that were made ({error})") from error


def _make(admin: Connection[Any], part: str, login: _Login) -> None:
    """A role that may log in and nothing else. Its search path leaves out a schema of its own name: that came first."""
    role = sql.Identifier(login.user)
    admin.execute(sql.SQL("CREATE ROLE {} LOGIN NOINHERIT").format(role))
    admin.execute(sql.SQL("ALTER ROLE {} SET search_path = public, pg_temp").format(role))
    admin.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(role, MARK + PARTS[part]))
    if not _is_superuser(admin):
        admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))


def _is_superuser(admin: Connection[Any]) -> bool:
    return admin.info.parameter_status("is_superuser") == "on"


def _set_password(admin: Connection[Any], login: _Login) -> None:
    """It leaves this process only as what verifies it, so no log of the server ever has it."""
    verifier = admin.pgconn.encrypt_password(login.password.encode(), login.user.encode(), b"scram-sha-256")
    admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login.user), verifier.decode()))


def _unmake(admin: Connection[Any], chosen: Mapping[str, _Login]) -> None:
    """As if the roles had never been made."""
    with admin.transaction():
        for part in _comments(admin, chosen):
            role = sql.Identifier(chosen[part].user)
            admin.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
            admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


# What the owner owns


def _put_in_order(admin: Connection[Any], names: Mapping[str, str]) -> None:
    """Everything of Assent's in this database is the owner's, and the owner may make more. Raises _NotAllowed."""
    if not _is_open(admin, names):
        _open(admin, names)
    if not _is_open(admin, names):
        raise _NotAllowed(f"the database's user {admin.info.user} may not pass on the right to use the database")
    for kind, name, quoted, owner in admin.execute(_OWNERS, {"schemas": list(SCHEMAS)}).fetchall():
        if is_ours(kind, name) and owner != names["owner"]:
            if name == "public.projection":
                _discard_projections(admin)
            change = sql.SQL(f"ALTER {kind} {quoted} OWNER TO {{}}")
            admin.execute(change.format(sql.Identifier(names["owner"])))


def _is_open(admin: Connection[Any], names: Mapping[str, str]) -> bool:
    query = """
        SELECT bool_and(has_database_privilege(name, current_database(), 'CONNECT')
            AND has_schema_privilege(name, 'public', 'USAGE')
            AND (name <> %(owner)s OR has_database_privilege(name, current_database(), 'CREATE'))
            AND (name <> %(owner)s OR has_schema_privilege(name, 'public', 'CREATE')))
        FROM unnest(%(names)s::text[]) AS name"""
    values = {"owner": names["owner"], "names": list(names.values())}
    return admin.execute(query, values).fetchall() == [(True,)]


def _open(admin: Connection[Any], names: Mapping[str, str]) -> None:
    roles = sql.SQL(", ").join(map(sql.Identifier, names.values()))
    database, owner = sql.Identifier(admin.info.dbname), sql.Identifier(names["owner"])
    for statement in (
        "GRANT CONNECT ON DATABASE {database} TO {roles}",
        "GRANT CREATE ON DATABASE {database} TO {owner}",
        "GRANT USAGE ON SCHEMA public TO {roles}",
        "GRANT CREATE ON SCHEMA public TO {owner}",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    ):
        admin.execute(sql.SQL(statement).format(database=database, roles=roles, owner=owner))


def _discard_projections(admin: Connection[Any]) -> None:
    """Those made before there were roles, which they cannot use: they are made again from the log."""
    for (schema,) in admin.execute("SELECT schema FROM projection WHERE schema ~ %s", (SCHEMA_NAME,)).fetchall():
        admin.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
    admin.execute("DELETE FROM projection")


_OBJECTS = """
    SELECT 'TABLE' AS kind, format('%%s.%%s', nspname, relname) AS name, format('%%I.%%I', nspname, relname) AS quoted,
        relowner AS owner, coalesce(relacl, acldefault('r', relowner)) AS acl
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = ANY (%(schemas)s) AND relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT 'FUNCTION', format('%%s.%%s', nspname, proname), pg_proc.oid::regprocedure::text,
        proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname = ANY (%(schemas)s)
    UNION ALL
    SELECT 'SCHEMA', nspname, quote_ident(nspname), nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE nspname = ANY (%(schemas)s)"""

_OWNERS = f"SELECT kind, name, quoted, pg_get_userbyid(owner) FROM ({_OBJECTS}) AS object ORDER BY kind <> 'SCHEMA'"  # noqa: S608
"""Schemas first: whoever is given what is in one must be able to make more of it there."""

_RIGHTS = f"""
    SELECT kind, name, quoted, CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END, privilege_type
    FROM ({_OBJECTS}) AS object LEFT JOIN LATERAL aclexplode(acl) ON grantee <> owner"""  # noqa: S608


# What each part may do


@dataclass(frozen=True, slots=True, order=True)
class _Right:
    """An act on one table, function or schema, as SQL writes it, and the role that may do it ("": everybody)."""

    kind: str
    quoted: str
    act: str
    role: str

    def change(self, word: str, preposition: str) -> sql.Composed:
        role = sql.Identifier(self.role) if self.role else sql.SQL("PUBLIC")
        return sql.SQL(f"{word} {self.act} ON {self.kind} {self.quoted} {preposition} {{}}").format(role)


def grant(logins: Logins) -> None:
    """Bring about, as the owner, that each part may do what the tables above say, and nobody anything else.

    Called after the migrations. Changes only what differs; leaves alone roles that are not ours. Raises RolesRefused.
    """
    with psycopg.connect(logins.owner) as conn:
        users = {part: conninfo_to_dict(getattr(logins, part)).get("user") for part in PARTS}
        names = {part: str(user or conn.info.user) for part, user in users.items()}
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        wanted, found = _wanted_and_found(conn, names)
        try:
            for right in sorted(found - wanted):
                conn.execute(right.change("REVOKE", "FROM"))
            for right in sorted(wanted - found):
                conn.execute(right.change("GRANT", "TO"))
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject) as error:
            raise RolesRefused(f"{conn.info.user} cannot give the database's roles their rights: {error}.") from error


def _wanted_and_found(conn: Connection[Any], names: Mapping[str, str]) -> tuple[set[_Right], set[_Right]]:
    wanted, found = set(), set()
    ours = {*names.values(), ""} - {names["owner"]}
    for kind, name, quoted, role, act in conn.execute(_RIGHTS, {"schemas": list(SCHEMAS)}):
        if not is_ours(kind, name):
            continue
        if act is not None and role in ours:
            found.add(_Right(kind, quoted, act, role))
        wanted |= {_Right(kind, quoted, act, names[part]) for part, act in decided(kind, name)}
    return {right for right in wanted if right.role in ours}, found


def is_ours(kind: str, name: str) -> bool:
    """Whether it was made by a migration; `public` is the database's own."""
    return name in {"TABLE": TABLES, "FUNCTION": FUNCTIONS, "SCHEMA": SCHEMAS.keys() - {"public"}}[kind]


def decided(kind: str, name: str) -> list[tuple[str, str]]:
    """Each part that may do something to a table, function or schema, and what."""
    match kind:
        case "TABLE":
            return [(part, act) for part, acts in TABLES.get(name, {}).items() for act in acts]
        case "FUNCTION":
            return [(part, "EXECUTE") for part in FUNCTIONS.get(name, ())]
        case _:
            return [(part, "USAGE") for part in SCHEMAS.get(name, ())]


def describe() -> str:
    """The tables of docs/roles.md, in Markdown: who the roles are, and who may do what to what."""
    who = ["| role | what for |", "|---|---|", *(f"| `{part}` | {what} |" for part, what in PARTS.items())]
    what = ["| table, view or function | " + " | ".join(list(PARTS)[1:]) + " |", "|---" * len(PARTS) + "|"]
    for kind, names in (("TABLE", TABLES), ("FUNCTION", FUNCTIONS)):
        for name in names:
            found = decided(kind, name)
            acts = [", ".join(act.lower() for who, act in found if who == part) for part in list(PARTS)[1:]]
            what.append(f"| `{name.removeprefix('public.')}` | " + " | ".join(acts) + " |")
    return "\n".join([*who, "", *what]) + "\n"
