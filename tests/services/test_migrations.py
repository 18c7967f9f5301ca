"""Does each migration run once, whoever starts first, and is a foreign database refused?"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psycopg
import pytest

from services.migrations import Migration, MigrationRefused, migrate

FIRST = Migration(1, "a table", "CREATE TABLE apple (id int PRIMARY KEY); INSERT INTO apple VALUES (1)")
SECOND = Migration(2, "a column", "SELECT pg_sleep(0.2); ALTER TABLE apple ADD colour text DEFAULT 'red %'")
BROKEN = Migration(3, "a mistake", "CREATE TABLE pear (id int); SELECT 1 / 0")


def rows(conninfo: str, query: bytes) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo) as connection:
        return connection.execute(query).fetchall()


def applied(conninfo: str) -> list[tuple[object, ...]]:
    return rows(conninfo, b"SELECT number, name FROM schema_migration ORDER BY number")


def test_steps_run_in_the_order_of_their_numbers(empty_database: str) -> None:
    assert migrate(empty_database, (SECOND, FIRST)) == (FIRST, SECOND)
    assert applied(empty_database) == [(1, "a table"), (2, "a column")]
    assert rows(empty_database, b"SELECT id, colour FROM apple") == [(1, "red %")]


def test_a_step_runs_once(empty_database: str) -> None:
    migrate(empty_database, (FIRST,))
    assert migrate(empty_database, (FIRST, SECOND)) == (SECOND,)
    assert migrate(empty_database, (FIRST, SECOND)) == ()


def test_of_four_processes_one_migrates_and_the_others_wait(empty_database: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        racing = [processes.submit(migrate, empty_database, (FIRST, SECOND)) for _ in range(4)]
        ran = [step for each in racing for step in each.result(timeout=60)]
    assert ran == [FIRST, SECOND]
    assert rows(empty_database, b"SELECT id FROM apple") == [(1,)]


def test_a_failing_step_leaves_no_trace_and_those_before_it_stand(empty_database: str) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_database, (FIRST, BROKEN))
    assert applied(empty_database) == [(1, "a table")]
    assert rows(empty_database, b"SELECT to_regclass('pear')") == [(None,)]


def test_a_database_of_a_newer_version_is_refused(empty_database: str) -> None:
    migrate(empty_database, (FIRST, SECOND))
    with pytest.raises(MigrationRefused, match=r"migration 2 \(a column\), which this version of Assent does not know"):
        migrate(empty_database, (FIRST,))


def test_a_step_that_changed_after_it_ran_is_refused(empty_database: str) -> None:
    migrate(empty_database, (FIRST,))
    with pytest.raises(MigrationRefused, match=r"Migration 1 .* other statements"):
        migrate(empty_database, (Migration(1, "a table", FIRST.sql + ";"), SECOND))
    assert applied(empty_database) == [(1, "a table")]
