"""Does a row come out of its table as it was put in by COPY?"""

from datetime import UTC, datetime

import psycopg
import pytest

from projections import copying
from projections.copying import Copying, form_of, since
from projections.state_table import TEXT
from projections.statements import DOCUMENT, TEXTS, Row
from tests.projections.shelf import connected
from tests.projections.test_statements import AWKWARD

COLUMNS = {
    "id": TEXT,
    "names": TEXTS,
    "due": "timestamptz NOT NULL",
    "many": "bigint",
    "few": "integer",
    "open": "boolean",
    "document": DOCUMENT,
}
LONG_AGO, SOON = datetime(1899, 12, 31, 23, 59, 59, 999_999, UTC), datetime(2027, 3, 4, 5, 6, 7, 8, UTC)

ROWS: list[Row] = [
    ("a", AWKWARD, LONG_AGO, -(2**63), -(2**31), True, {"text": 'say "no" \\ \n é 🗝', "at": SOON}),
    ("", [], SOON, 2**63 - 1, 2**31 - 1, False, []),
    (None, [], SOON, None, None, None, {}),
]


async def stored(conninfo: str, rows: list[Row]) -> list[Row]:
    written, copying = form_of(COLUMNS), Copying("public", "kept", [*COLUMNS, "since"])
    for nth, row in enumerate(rows):
        copying.add(written(row), since(nth))
    async with await connected(conninfo) as conn:
        await conn.execute("SET TIME ZONE 'UTC'")
        columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        await conn.execute(f"CREATE TABLE kept ({columns}, since bigint)".encode())
        await copying.taken().write(conn)
        assert copying.waiting_bytes == 0
        await copying.taken().write(conn)  # nothing
        return await (await conn.execute("SELECT * FROM kept ORDER BY since")).fetchall()


async def test_awkward_values_and_nulls_come_back_as_they_were(empty_database: str) -> None:
    found = await stored(empty_database, ROWS)
    assert [row[:6] for row in found] == [row[:6] for row in ROWS]
    assert [row[7] for row in found] == [0, 1, 2]
    assert found[0][6] == {"text": 'say "no" \\ \n é 🗝', "at": "2027-03-04T05:06:07.000008Z"}


async def test_what_is_remembered_of_a_column_is_bounded(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "VALUES_MAX", 3)
    rows: list[Row] = [(f"{nth % 5}", [f"{nth % 7}"], SOON, nth % 4, 0, True, nth) for nth in range(50)]
    assert [row[:7] for row in await stored(empty_database, rows)] == rows


def test_a_type_without_a_form_is_refused_before_anything_is_written() -> None:
    with pytest.raises(KeyError):
        form_of({"price": "numeric"})


async def test_nothing_is_half_written(empty_database: str) -> None:
    copying = Copying("public", "kept", ["id"])
    copying.add(form_of({"id": TEXT})(("a",)))
    copying.add(b"")  # a row of no column
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept (id text)")
    async with await connected(empty_database) as conn:
        with pytest.raises(psycopg.DatabaseError):
            await copying.taken().write(conn)
        assert await (await conn.execute("SELECT * FROM kept")).fetchall() == []
