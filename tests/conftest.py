"""How does each test get a database of its own on one real Postgres, shared by all workers?"""

import fcntl
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from services.assent import MIGRATIONS
from services.migrations import migrate
from services.postgres import EmbeddedPostgres

TEMPLATE = "assent_template"
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}
"""For tests that kill no server: those start a durable one of their own."""


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def postgres(shared_folder: Path) -> Iterator[str]:
    """The conninfo of one server for the whole run: the first worker starts it, the last one stops it."""
    with EmbeddedPostgres(shared_folder / "data", FAST) as conninfo:
        yield conninfo


@pytest.fixture(scope="session")
def template(postgres: str, shared_folder: Path) -> str:
    """The name of a migrated database to copy; the first worker makes it."""
    with (shared_folder / "template.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        with psycopg.connect(postgres, autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchall():
                connection.execute(f"CREATE DATABASE {TEMPLATE}_unfinished")
                migrate(make_conninfo(postgres, dbname=f"{TEMPLATE}_unfinished"), MIGRATIONS)
                connection.execute(f"ALTER DATABASE {TEMPLATE}_unfinished RENAME TO {TEMPLATE}")
    return TEMPLATE


@pytest.fixture
def database(postgres: str, template: str) -> Iterator[str]:
    """The conninfo of a fresh, migrated database."""
    yield from fresh_database(postgres, template)


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The conninfo of a fresh database without any table."""
    yield from fresh_database(postgres, "template0")


def fresh_database(server: str, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
