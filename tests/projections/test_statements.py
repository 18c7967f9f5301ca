"""Does a row reach its table as it is, and does its past stay when it goes on or ends?"""

import psycopg
import pytest
from psycopg import sql

from projections.state_table import TEXT
from projections.statements import DOCUMENT, TEXTS, Changes, Statements
from tests.projections.shelf import connected

COLUMNS = {"id": TEXT, "names": TEXTS, "document": DOCUMENT}
AWKWARD = ["", "NULL", "null", "{}", "a,b", 'say "no"', "back\\slash", "\\", '"', " ", "\t\n", "é ∑ 🗝"]

Rows = list[tuple[object, ...]]


@pytest.fixture
def table(database: str) -> str:
    """A database with such a table in the schema `any_v1`."""
    with psycopg.connect(database) as conn:
        conn.execute("CREATE SCHEMA any_v1")
        for name, range_, key in (
            ("current", "since bigint", "id"),
            ("past", "since bigint, until bigint", "id, since"),
        ):
            conn.execute(
                sql.SQL("CREATE TABLE any_v1.{} (id text, names text[], document json, {}, PRIMARY KEY ({}))").format(
                    sql.Identifier(name), sql.SQL(range_), sql.SQL(key)
                )
            )
    return database


async def written(conninfo: str, *batches: Changes) -> tuple[Rows, Rows]:
    """The rows of `current` and of `past` after these batches."""
    statements = Statements("any_v1", COLUMNS, ["id"], keeps_past=True)
    async with await connected(conninfo) as conn, conn.transaction():
        for changes in batches:
            await statements.execute(conn, changes)
        current = await conn.execute("SELECT id, names, document::text, since FROM any_v1.current ORDER BY id")
        past = await conn.execute("SELECT id, names, document::text, since, until FROM any_v1.past ORDER BY id, since")
        return await current.fetchall(), await past.fetchall()


def begun(id: str, names: list[str], since: int) -> Changes:
    changes = Changes()
    changes.begin((id,), (id, names, f'{{"since": {since}}}'), since)
    return changes


async def test_lists_of_awkward_texts_come_back_as_they_were(table: str) -> None:
    current, past = await written(table, begun("a", AWKWARD, 7), begun("b", [], 8))
    assert current == [("a", AWKWARD, '{"since": 7}', 7), ("b", [], '{"since": 8}', 8)]
    assert past == []


async def test_what_a_row_said_is_kept_whether_it_lasted_for_many_batches_or_for_less_than_one(table: str) -> None:
    goes_on, ends = Changes(), Changes()
    for since in (5, 6):
        goes_on.end(("a",), since)
        goes_on.begin(("a",), ("a", [str(since)], f'{{"since": {since}}}'), since)
    goes_on.end(("b",), 6)
    ends.end(("a",), 9)
    current, past = await written(table, begun("a", ["1"], 1), begun("b", [], 2), begun("c", [], 3), goes_on, ends)
    assert current == [("c", [], '{"since": 3}', 3)]
    assert past == [
        ("a", ["1"], '{"since": 1}', 1, 5),
        ("a", ["5"], '{"since": 5}', 5, 6),
        ("a", ["6"], '{"since": 6}', 6, 9),
        ("b", [], '{"since": 2}', 2, 6),
    ]


def test_a_row_that_began_and_ended_within_a_batch_never_was_there() -> None:
    changes = begun("a", [], 4)
    changes.end(("a",), 5)
    assert (changes.begun, changes.ended, changes.brief) == ({}, {}, [("a", [], '{"since": 4}', 4, 5)])
