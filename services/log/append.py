"""How does a batch reach the database function `append`, and what does that answer?

The writer's connection carries one append at a time, so it is spoken to directly: every list becomes an array in
Postgres' binary format at once, and the call is on its way before anything is awaited.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from struct import pack, unpack_from
from typing import Any, NamedTuple

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from services.log.reader import Connection

_TEXT, _BYTEA, _BIGINT = 25, 17, 20

PREPARE = """
PREPARE append_batch (bigint, text[], bigint[], text[], bytea[], bytea[], bytea[], bytea[], bytea, bytea, bytea[]) AS
SELECT size_found, used_keys FROM append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""

_BINARY = 1
_NULL = b"\xff\xff\xff\xff"
_LENGTHS = [pack("!I", length) for length in range(2048)]


class Found(NamedTuple):
    """The log's size and the command keys that were used before; all was written if they are as expected, and none."""

    size: int
    used_keys: list[bytes] | None


def append(
    conn: Connection,
    expected_size: int,
    streams: Sequence[str],
    versions: Sequence[int],
    types: Sequence[str],
    command_keys: Sequence[bytes | None],
    fingerprints: Sequence[bytes | None],
    records: Sequence[bytes],
    leaves: Sequence[bytes],
    root: bytes,
    frontier: bytes,
    other_keys: Sequence[bytes],
) -> Coroutine[Any, Any, Found]:
    """Send the call; what is awaited is the answer. Until it has come, nobody else may use the connection.

    The connection has to be PREPAREd for it. Raises psycopg.Error.
    """
    values = (
        pack("!q", expected_size),
        _texts(streams),
        _bigints(versions),
        _texts(types),
        _byteas(command_keys),
        _byteas(fingerprints),
        _byteas(records),
        _byteas(leaves),
        root,
        frontier,
        _byteas(other_keys),
    )
    pgconn = conn.pgconn
    pgconn.send_query_prepared(b"append_batch", values, [_BINARY] * len(values), result_format=_BINARY)
    return _answer(pgconn, all_sent=pgconn.flush() == 0)


async def _answer(pgconn: PGconn, all_sent: bool) -> Found:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[PGresult] = loop.create_future()
    results: list[PGresult] = []

    def watch_no_more() -> None:
        loop.remove_reader(socket)
        loop.remove_writer(socket)

    def fail(error: Exception) -> None:
        """At once: of a lost connection libpq has closed the socket, and the next that is opened gets its number."""
        watch_no_more()
        if not answer.done():
            answer.set_exception(error)

    def read() -> None:
        if answer.done():  # whoever waited gave up in this turn
            return
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    watch_no_more()
                    answer.set_result(results[0])
                    return
                results.append(result)
            loop.remove_reader(socket)  # anew, for of a broken connection uvloop tells but once
            loop.add_reader(socket, read)
        except Exception as error:
            fail(error)

    def send() -> None:
        try:
            if pgconn.flush() == 0:
                loop.remove_writer(socket)
        except Exception as error:
            fail(error)

    socket = pgconn.socket
    loop.add_reader(socket, read)
    if not all_sent:
        loop.add_writer(socket, send)
    try:
        return _found(pgconn, await answer)
    except asyncio.CancelledError:
        watch_no_more()
        raise


def _found(pgconn: PGconn, result: PGresult) -> Found:
    if pgconn.status != ConnStatus.OK:
        raise psycopg.OperationalError(f"The connection is lost: {result.get_error_message()}")
    if result.status != ExecStatus.TUPLES_OK:
        raise error_from_result(result)
    size, keys = result.get_value(0, 0), result.get_value(0, 1)
    if size is None:
        raise psycopg.InternalError("append did not say which size it found")
    return Found(int.from_bytes(size), None if keys is None else _elements(keys))


# Arrays of one dimension: dimensions, nulls, element type, length, lower bound; elements


def _header(element: int, length: int) -> bytes:
    return pack("!IIIII", 1, 1, element, length, 1) if length else pack("!III", 0, 0, element)


def _array(element: int, values: Sequence[bytes | None]) -> bytes:
    parts = [_header(element, len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            length = len(value)
            parts += (_LENGTHS[length] if length < 2048 else pack("!I", length), value)
    return b"".join(parts)


def _texts(values: Sequence[str]) -> bytes:
    return _array(_TEXT, [value.encode() for value in values])


def _byteas(values: Sequence[bytes | None]) -> bytes:
    return _array(_BYTEA, values)


def _bigints(values: Sequence[int]) -> bytes:
    elements = [part for value in values for part in (8, value)]
    return _header(_BIGINT, len(values)) + pack("!" + "Iq" * len(values), *elements)


def _elements(array: bytes) -> list[bytes]:
    """The elements of an array without nulls."""
    (length,) = unpack_from("!I", array, 12)
    found, at = [], 20
    for _ in range(length):
        (size,) = unpack_from("!I", array, at)
        found.append(array[at + 4 : at + 4 + size])
        at += 4 + size
    return found
