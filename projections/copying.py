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
_bigints = Struct(">iqiq").pack
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


def form_of(columns: Mapping[str, str]) -> Callable[[Row], bytes]:
    """A function that writes rows of such columns (name → SQL type), without what stands before each row: how many
    columns it has. Written out column by column, for it is called for every row. Raises KeyError for an unknown type.
    """
    within: dict[str, Any] = {"join": b"".join}
    parts = []
    for nth, type_ in enumerate(columns.values()):
        kind = type_.partition(" ")[0]
        within[f"form{nth}"] = _FORMS[kind] if kind == DOCUMENT else _Written(_FORMS[kind])
        value = f"tuple(value{nth})" if kind == TEXTS else f"value{nth}"
        parts.append(f"form{nth}({value})" if kind == DOCUMENT else f"form{nth}[{value}]")
    names = "".join(f"value{nth}, " for nth in range(len(parts)))
    exec(f"def written(row):\n {names}= row\n return join(({', '.join(parts)},))", within)  # noqa: S102 - our own words
    written: Callable[[Row], bytes] = within["written"]
    return written


class Copying:
    """Rows on their way into one empty SQL table, whose columns these are."""

    def __init__(self, schema: str, table: str, columns: Sequence[str]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        self._statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(schema, table), names
        )
        self._begin = _short(len(columns))
        self._parts: list[bytes] = []
        self.waiting_bytes = 0

    def add(self, *parts: bytes) -> None:
        """One more row, in parts."""
        self._parts += (self._begin, *parts)
        self.waiting_bytes += sum(map(len, parts))

    def taken(self) -> "Load":
        """What came so far; from now on it is the taker's to write."""
        parts, self._parts, self.waiting_bytes = self._parts, [], 0
        return Load(self._statement, parts)


class Load:
    """Rows for one table."""

    def __init__(self, statement: sql.Composed, parts: Sequence[bytes]) -> None:
        self._statement = statement
        self._parts = parts

    async def write(self, conn: Connection) -> None:
        if not self._parts:
            return
        async with conn.cursor() as cursor, cursor.copy(self._statement) as copy:
            await copy.write(b"".join((SIGNATURE, *self._parts)))


def since(position: int) -> bytes:
    """How a position is written, as the last column of a row."""
    return _bigint(8, position)


def since_until(position: int, end: int) -> bytes:
    """How two positions are written, as the last columns of a row."""
    return _bigints(8, position, 8, end)
