"""How do lists reach Postgres without an adapter call for each element? As arrays in its binary format."""

from collections.abc import Sequence
from struct import pack
from typing import Any

from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_TEXT, _TEXTS = 25, 1009
_BYTEA, _BYTEAS = 17, 1001
_BIGINT, _BIGINTS = 20, 1016

_NULL = b"\xff\xff\xff\xff"
_LENGTHS = [pack("!I", length) for length in range(2048)]


class _Array(bytes):
    """One dimension in Postgres' binary format: dimensions, nulls, element type, length, lower bound; elements."""


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


class Texts(_Array):
    """text[] from strings."""

    def __new__(cls, values: Sequence[str]) -> "Texts":
        return super().__new__(cls, _array(_TEXT, [value.encode() for value in values]))


class Byteas(_Array):
    """bytea[] from bytes or None."""

    def __new__(cls, values: Sequence[bytes | None]) -> "Byteas":
        return super().__new__(cls, _array(_BYTEA, values))


class BigInts(_Array):
    """bigint[] from integers."""

    def __new__(cls, values: Sequence[int]) -> "BigInts":
        elements = [part for value in values for part in (8, value)]
        return super().__new__(cls, _header(_BIGINT, len(values)) + pack("!" + "Iq" * len(values), *elements))


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        return bytes(obj)


class _TextsDumper(_ArrayDumper):
    oid = _TEXTS


class _ByteasDumper(_ArrayDumper):
    oid = _BYTEAS


class _BigIntsDumper(_ArrayDumper):
    oid = _BIGINTS


def register_arrays(context: AdaptContext) -> None:
    """Let a connection take these arrays as parameters."""
    for array, dumper in ((Texts, _TextsDumper), (Byteas, _ByteasDumper), (BigInts, _BigIntsDumper)):
        context.adapters.register_dumper(array, dumper)
