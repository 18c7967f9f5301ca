"""Can anything but `append` change the log, and does `append` keep what it promises?"""

from typing import Any

import psycopg
import pytest
from psycopg import Connection

from services.log.merkle import Frontier, leaf_hash

TABLES = ("event", "tree_head", "checkpoint", "cosignature", "tile")


def append(
    conn: Connection[Any], base: int, records: list[bytes], keys: list[bytes | None] | None = None, **changes: Any
) -> Any:
    """(size found, used keys). Streams are named after the records."""
    tree = Frontier()
    tree.extend(leaf_hash(b"%d" % nth) for nth in range(base))
    leaves = [leaf_hash(record) for record in records]
    tree.extend(leaves)
    values: dict[str, Any] = {
        "base": base,
        "streams": [f"s-{record.hex()}" for record in records],
        "versions": [1] * len(records),
        "types": ["T"] * len(records),
        "keys": keys or [None] * len(records),
        "fingerprints": [None] * len(records),
        "records": records,
        "leaves": leaves,
        "root": tree.root(),
        "frontier": bytes(tree),
        "other": [],
    }
    return conn.execute(
        "SELECT * FROM append(%(base)s, %(streams)s::text[], %(versions)s::bigint[], %(types)s::text[], "
        "%(keys)s::bytea[], %(fingerprints)s::bytea[], %(records)s::bytea[], %(leaves)s::bytea[], "
        "%(root)s, %(frontier)s, %(other)s::bytea[])",
        values | changes,
    ).fetchone()


@pytest.fixture
def conn(database: str) -> Any:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def size(conn: Connection[Any]) -> int:
    found = conn.execute("SELECT count(*) FROM event").fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
def test_nothing_in_the_log_is_changed_or_removed(conn: Connection[Any], table: str, change: str) -> None:
    append(conn, 0, [b"0"])
    conn.execute("INSERT INTO checkpoint VALUES (1, 'note')")
    conn.execute("INSERT INTO cosignature VALUES (1, 'one', 'line')")
    conn.execute("INSERT INTO tile VALUES (0, 0, %s)", (b"\0" * 510 * 32,))
    columns = {"event": "record", "tree_head": "root", "checkpoint": "note", "cosignature": "line", "tile": "hashes"}
    column = columns[table]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        conn.execute(change.format(table, column, column))


def test_an_append_gives_positions_without_gaps(conn: Connection[Any]) -> None:
    assert append(conn, 0, [b"0", b"1"]) == (0, None)
    assert append(conn, 2, [b"2"]) == (2, None)
    assert conn.execute("SELECT array_agg(position ORDER BY position) FROM event").fetchone() == ([0, 1, 2],)


@pytest.mark.parametrize("base", [0, 2, 7])
def test_an_append_to_a_log_of_another_size_writes_nothing(conn: Connection[Any], base: int) -> None:
    append(conn, 0, [b"0"])
    assert append(conn, base, [b"x"]) == (1, None)
    assert size(conn) == 1


def test_an_append_of_nothing_tells_the_size(conn: Connection[Any]) -> None:
    append(conn, 0, [b"0", b"1"])
    assert append(conn, 2, []) == (2, None)
    assert append(conn, 1, []) == (2, None)


def test_a_used_command_key_is_named_and_nothing_written(conn: Connection[Any]) -> None:
    append(conn, 0, [b"0", b"1"], keys=[b"k1", b"k2"])
    assert append(conn, 2, [b"2", b"3"], keys=[b"k2", b"k3"]) == (2, [b"k2"])
    assert append(conn, 2, [b"2"], other=[b"k1"]) == (2, [b"k1"])
    assert size(conn) == 2


def test_a_version_twice_is_refused_with_its_whole_batch(conn: Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        append(conn, 0, [b"0", b"1"], streams=["s-1", "s-1"])
    assert (size(conn), append(conn, 0, [b"0"])) == (0, (0, None))


def test_a_record_above_its_limit_is_refused(conn: Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        append(conn, 0, [b"x" * 65_536])


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_append_refuses_to_run_on_an_old_snapshot(conn: Connection[Any], level: str) -> None:
    with pytest.raises(psycopg.errors.InvalidTransactionState), conn.transaction():
        conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        append(conn, 0, [b"0"])


def test_a_stranger_may_not_append(conn: Connection[Any]) -> None:
    public = "SELECT has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc WHERE proname = 'append'"
    assert conn.execute(public).fetchall() == [(False,)] * 2


def test_a_function_of_another_schema_cannot_slip_into_append(conn: Connection[Any]) -> None:
    query = "SELECT pronamespace::regnamespace::text, proconfig, prosecdef FROM pg_proc WHERE proname = 'append'"
    for schema, settings, by_owner in conn.execute(query).fetchall():
        assert f"search_path=pg_catalog, {schema}, pg_temp" in settings
        assert by_owner
