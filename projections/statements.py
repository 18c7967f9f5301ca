"""How do changed rows reach a state table: by which statements, and in which form do they travel?

At most four statements for a batch, each of which takes its rows as one array for every column. A row that goes on
under its key is updated in place, so no index needs to know as long as nothing differs but its document; what it said
before goes from `current` to `past` within the database.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from psycopg import AsyncConnection, sql

Connection = AsyncConnection[Any]
Row = tuple[Any, ...]
Key = tuple[Any, ...]

TEXTS = "text[]"
DOCUMENT = "json"

AS_TEXT = frozenset({TEXTS, DOCUMENT})
"""What travels as texts and is cast: Postgres' arrays do not nest, and a document is text already."""


@dataclass(slots=True)
class Changes:
    """What a batch of facts does to the rows of one table.

    Of the rows that were there before it, `ended` are those that no longer hold, each with the position from which on;
    `begun` are those that hold after it, with the position since which; `brief` began and ended within it, and bear
    both positions.
    """

    ended: dict[Key, int] = field(default_factory=dict)
    begun: dict[Key, tuple[Row, int]] = field(default_factory=dict)
    brief: list[Row] = field(default_factory=list)

    def begin(self, key: Key, row: Row, since: int) -> None:
        self.begun[key] = row, since

    def end(self, key: Key, until: int) -> None:
        begun = self.begun.pop(key, None)
        if begun is None:
            self.ended[key] = until
        else:
            self.brief.append((*begun[0], begun[1], until))


class Statements:
    """The statements of one table, written out once. `columns` are names and SQL types, `key` some of the names."""

    def __init__(self, schema: str, columns: Mapping[str, str], key: Sequence[str], keeps_past: bool) -> None:
        self._keeps_past = keeps_past
        types = {name: type_.partition(" ")[0] for name, type_ in columns.items()}
        self._lists = [nth for nth, type_ in enumerate(types.values()) if type_ == TEXTS]
        keys = {name: types[name] for name in key}
        kept = {**types, "since": "bigint"} if keeps_past else types
        names: dict[str, sql.Composable] = {
            "current": sql.Identifier(schema, "current"),
            "past": sql.Identifier(schema, "past"),
            "columns": _names(kept),
            "values": _values(kept),
            "keys": _names(keys),
            "own": _names(kept, "row"),
            "own_key": _names(keys, "row"),
            "given_key": _names(keys, "given"),
            "others": sql.SQL(", ").join(_taken_over(name) for name in kept if name not in keys),
        }
        until = {"until": "bigint"}
        self._close = _bytes(_CLOSE, names, given=_given({**keys, **until}))
        self._keep = _bytes(_KEEP, names, given=_given({**kept, **until}))
        self._delete = _bytes(_DELETE, names, given=_given(keys))
        self._put = _bytes(_PUT, names, given=_given(kept))

    async def execute(self, conn: Connection, changes: Changes) -> None:
        """Write the changes, in the transaction under way."""
        if self._keeps_past and changes.ended:
            keys = _columns(changes.ended)
            await conn.execute(self._close, [*keys, list(changes.ended.values())], prepare=True)
        if self._keeps_past and changes.brief:
            *columns, since, until = _columns(changes.brief)
            await conn.execute(self._keep, [*self._with_texts(columns), since, until], prepare=True)
        if gone := changes.ended.keys() - changes.begun.keys():
            await conn.execute(self._delete, _columns(gone), prepare=True)
        if changes.begun:
            rows, since = _columns(changes.begun.values())
            columns = self._with_texts(_columns(rows))
            await conn.execute(self._put, [*columns, since] if self._keeps_past else columns, prepare=True)

    def _with_texts(self, columns: list[list[Any]]) -> list[list[Any]]:
        for nth in self._lists:
            columns[nth] = [_text_of(tuple(values)) for values in columns[nth]]
        return columns


_CLOSE = """
INSERT INTO {past} ({columns}, until) SELECT {own}, given.until
FROM {current} AS row JOIN {given} ON ({own_key}) = ({given_key})"""

_KEEP = "INSERT INTO {past} ({columns}, until) SELECT {values}, until FROM {given}"

_DELETE = "DELETE FROM {current} AS row USING {given} WHERE ({own_key}) = ({given_key})"

_PUT = "INSERT INTO {current} ({columns}) SELECT {values} FROM {given} ON CONFLICT ({keys}) DO UPDATE SET {others}"


def _bytes(statement: str, names: Mapping[str, sql.Composable], **more: sql.Composable) -> bytes:
    return sql.SQL(statement).format(**names, **more).as_bytes(None)


def _names(columns: Iterable[str], of: str = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*filter(None, (of, name))) for name in columns)


def _taken_over(name: str) -> sql.Composed:
    return sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))


def _given(columns: Mapping[str, str]) -> sql.Composed:
    """The parameters as a table."""
    arrays = sql.SQL(", ").join(sql.SQL(f"%b::{'text' if type_ in AS_TEXT else type_}[]") for type_ in columns.values())
    return sql.SQL("unnest({}) AS given ({})").format(arrays, _names(columns))


def _values(columns: Mapping[str, str]) -> sql.Composed:
    """The columns of that table, each as its own type."""
    return sql.SQL(", ").join(
        sql.SQL("{}::" + type_ if type_ in AS_TEXT else "{}").format(sql.Identifier(name))
        for name, type_ in columns.items()
    )


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


@lru_cache(maxsize=10_000)
def _text_of(values: tuple[str, ...]) -> str:
    """A text[] as Postgres writes it; most lists are the same few."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
