"""How does a whole list leave as a file, however long it is: exactly what its pages show, as of one position?

It is read part by part, each as of the position of the first, so nothing is held meanwhile: no snapshot, no connection,
and of the list only one part.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from fastapi import Response

from domain.authority import Reach
from domain.fields import Label
from projections.pages import LIMIT_MAX, Asked, Document, Page
from services.http.problems import BadParameter
from services.http.streamed import Streamed

Format = Literal["json", "csv", "jsonl"]

CSV, JSONL = "text/csv; charset=utf-8; header=present", "application/jsonl"
MEDIA_TYPES = {"csv": CSV, "jsonl": JSONL}

PART_SECONDS_MAX = 30.0
"""How long one part may take to be read."""

FORMULAS = frozenset("=+-@＝＋－＠")
"""What a spreadsheet takes for the beginning of a formula."""

BETWEEN = "; "
"""What stands between the names of a list in one cell."""

Read = Callable[[Asked], Awaitable[Page]]
"""A part of the list as the reader sees it, with its texts opened, and recorded as shown."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the documents of a list tell, in order; and what of that applicants are not told."""

    fields: Sequence[str]
    for_officers: frozenset[str]

    def of(self, reach: Reach) -> list[str]:
        """The columns for a reader: all of them where they may see any document in full."""
        hidden = frozenset() if reach.general >= Label.INTERAGENCY else self.for_officers
        return [name for name in self.fields if name not in hidden]


def check_whole(given: Collection[str]) -> None:
    """An export is the whole list. Raises BadParameter where a part was asked for."""
    if parts := sorted({"cursor", "limit"}.intersection(given)):
        raise BadParameter(f"A file holds the whole list; it takes no {' and no '.join(parts)}.", "format=json")


async def export(format: Format, name: str, columns: Sequence[str], at: int | None, read: Read) -> Response:
    """The list from its first item to its last. Whatever refuses the first part refuses the whole."""
    first = await read(Asked(at, None, LIMIT_MAX))
    parts = _parts(first, read)
    told = _csv(parts, columns) if format == "csv" else _jsonl(parts, first.position)
    file = f'attachment; filename="{name}-at-{first.position}.{format}"'
    return Streamed(told, headers={"content-type": MEDIA_TYPES[format], "content-disposition": file})


async def _parts(first: Page, read: Read) -> AsyncIterator[list[Document]]:
    part = first
    yield part.items
    while part.next is not None:
        async with asyncio.timeout(PART_SECONDS_MAX):
            part = await read(Asked(first.position, part.next, LIMIT_MAX))
        yield part.items


async def _jsonl(parts: AsyncIterator[list[Document]], position: int) -> AsyncIterator[bytes]:
    """An item a line, and at the end a line that says that this was all, and as of which position."""
    count = 0
    async for items in parts:
        count += len(items)
        yield msgspec.json.Encoder().encode_lines(items)
    yield msgspec.json.encode({"complete": {"items": count, "position": position}}) + b"\n"


# CSV (RFC 4180)


async def _csv(parts: AsyncIterator[list[Document]], columns: Sequence[str]) -> AsyncIterator[bytes]:
    yield _lines([columns])
    async for items in parts:
        yield _lines([[cell(item.get(name)) for name in columns] for item in items])


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """A value in one cell: names with `; ` between them, whatever has parts as JSON, and nothing for null.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return _harmless(value)
        case list() if not any(isinstance(each, dict | list) for each in value):
            return _harmless(BETWEEN.join(cell(each) for each in value))
        case _:
            return msgspec.json.encode(value).decode()


def _harmless(text: str) -> str:
    is_formula = text[:1] in ("\t", "\r", "\n") or text.lstrip()[:1] in FORMULAS
    return f"'{text}" if is_formula else text
