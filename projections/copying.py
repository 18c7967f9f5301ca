"""In which form do rows travel into a table that is empty: as what Postgres' binary COPY takes, column by column?

A value that was written before (most names, states and lists were) is looked up, not written again.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from struct import Struct
from typing import Any

import msgspec
from psycopg import sql

from projections.statements import DOCUMENT, TEXTS, Connection, Row

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""How a binary COPY begins: no flags, no extension."""

VALUES_MAX = 20_000
"""So many values of a column are remembered; then all are forgotten."""

TEXT_OID = 25

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_short, _int = Struct(">h").pack, Struct(">i").pack
_bigint, _integer, _boolean = Struct(">iq").pack, Struct(">ii").pack, Struct(">i?").pack
_list = Struct(">iiiii").pack
_encode = msgspec.json.Encoder().encode

NULL = _int(-1)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _int(len(encoded)) + encoded


def _texts(values: Sequence[str]) -> bytes:
    """A one-dimensional array without nulls, counted from 1."""
    parts = b"".join(map(_text, values))
    body = _list(1, 0, TEXT_OID, len(values), 1) + parts if values else Struct(">iii").pack(0, 0, TEXT_OID)
    return _int(len(body)) + body


def _instant(value: datetime) -> bytes:
    since = value - _EPOCH
    return _bigint(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _document(value: Any) -> bytes:
    encoded = _encode(value)
    return _int(len(encoded)) + encoded


_FORMS: dict[str, Callable[[Any], bytes]] = {
    "text": _text,
    TEXTS: _texts,
    DOCUMENT: _document,
    "timestamptz": _instant,
    "bigint": lambda value: _bigint(8, value),
    "integer": lambda value: _integer(4, value),
    "boolean": lambda value: _boolean(1, value),
}
"""By the column's SQL type; a document is whatever msgspec encodes."""


class _Written(dict[Any, bytes]):
    """Values of one column and how they are written."""

    def __init__(self, form: Callable[[Any], bytes]) -> None:
        self._form = form

    def __missing__(self, value: Any) -> bytes:
        if len(self) >= VALUES_MAX:
            self.clear()
        written = self[value] = NULL if value is None else self._form(value)
        return written


class Form:
    """How the rows of some columns (name → SQL type) are written. Raises KeyError for a type that has no form."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        types = [type_.partition(" ")[0] for type_ in columns.values()]
        self._columns = [_FORMS[type_] if type_ == DOCUMENT else _Written(_FORMS[type_]).__getitem__ for type_ in types]
        self._lists = [nth for nth, type_ in enumerate(types) if type_ == TEXTS]

    def written(self, row: Row) -> bytes:
        """The row without what stands before each: how many columns it has."""
        values = list(row)
        for nth in self._lists:
            values[nth] = tuple(values[nth])
        return b"".join([column(value) for column, value in zip(self._columns, values, strict=True)])


class Copying:
    """Rows on their way into one empty SQL table, whose columns these are."""

    def __init__(self, schema: str, table: str, columns: Sequence[str]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        self._statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(schema, table), names
        )
        self._begin = _short(len(columns))
        self._rows: list[bytes] = []
        self.waiting_bytes = 0

    def add(self, *parts: bytes) -> None:
        """One more row, in parts."""
        row = b"".join((self._begin, *parts))
        self._rows.append(row)
        self.waiting_bytes += len(row)

    def taken(self) -> "Load":
        """What came so far; from now on it is the taker's to write."""
        rows, self._rows, self.waiting_bytes = self._rows, [], 0
        return Load(self._statement, rows)


class Load:
    """Rows for one table."""

    def __init__(self, statement: sql.Composed, rows: Sequence[bytes]) -> None:
        self._statement = statement
        self._rows = rows

    async def write(self, conn: Connection) -> None:
        if not self._rows:
            return
        async with conn.cursor() as cursor, cursor.copy(self._statement) as copy:
            await copy.write(SIGNATURE)
            await copy.write(b"".join(self._rows))


def positions(*positions: int) -> bytes:
    """How positions are written, as the last columns of a row."""
    return b"".join([_bigint(8, position) for position in positions])
