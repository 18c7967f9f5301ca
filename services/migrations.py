"""How does a database get the tables that this version needs, once, whoever starts first?"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import psycopg

LOCK_KEY = 0x617373656E74
"""The advisory lock that one migrating process holds: "assent" in ASCII."""


class MigrationRefused(Exception):
    """The database was migrated by a different or newer version; the message says which step differs."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: SQL statements run in one transaction, once. Never changed after a release; a change is a new step.

    Numbers are unique over all parts of the service; what is pending runs in their order.
    """

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


def migrate(conninfo: str, steps: Sequence[Migration]) -> tuple[Migration, ...]:
    """Runs the steps that this database has not seen and returns them.

    Any number of processes may call it at once: one works, the others wait. A failing step leaves no trace, and the
    steps before it stand. Raises MigrationRefused when a step that ran before is unknown now or has other statements.
    """
    ordered = sorted(steps, key=lambda step: step.number)
    numbers = [step.number for step in ordered]
    assert len(set(numbers)) == len(numbers), f"two migrations share a number: {numbers}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (number integer PRIMARY KEY, name text NOT NULL,"
            " applied timestamptz NOT NULL DEFAULT now(), sha256 text NOT NULL)"
        )
        pending = _pending(connection, ordered)
        for step in pending:
            with connection.transaction():
                connection.execute(step.sql.encode())
                connection.execute(
                    "INSERT INTO schema_migration (number, name, sha256) VALUES (%s, %s, %s)",
                    (step.number, step.name, step.digest),
                )
    return pending


def _pending(connection: psycopg.Connection, steps: Sequence[Migration]) -> tuple[Migration, ...]:
    rows = connection.execute("SELECT number, name, sha256 FROM schema_migration ORDER BY number").fetchall()
    known = {step.number: step for step in steps}
    for number, name, digest in rows:
        if number not in known:
            raise MigrationRefused(
                f"This database has migration {number} ({name}), which this version of Assent does not know:"
                " a newer version has used it. Start that version, or restore a backup made before it."
            )
        if known[number].digest != digest:
            raise MigrationRefused(
                f"Migration {number} ({name}) has run on this database with other statements than this version has."
                " A migration never changes once it has run; its change must be a new one."
            )
    applied = {number for number, _, _ in rows}
    return tuple(step for step in steps if step.number not in applied)
