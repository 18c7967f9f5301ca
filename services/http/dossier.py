"""What does the whole of one request come to on paper: terms, sign-offs, happenings in words, receipts, checkpoint?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from jinja2 import Environment, PackageLoader, select_autoescape

from domain.authority import Reach
from projections import requests
from projections.history import Entry, on
from projections.pages import Document
from services.http import histories
from services.http.queries import Id
from services.http.reads import InTheWorld, Reads
from services.log import note, reader
from services.log.note import Checkpoint

TOLD_ELSEWHERE = frozenset({"sign_off_tree", "sign_offs", "deemed", "overruled", "questions", "appeals"})
"""What of a request's document has a part of its own in the dossier."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree of sign-offs: how deep it stands, what is asked for, and how far that is, if one may know."""

    depth: int
    asked: str
    given: tuple[str, ...] = ()


def router(reads: Reads) -> APIRouter:
    here = APIRouter(prefix="/api/v1", tags=["requests"])

    @here.get("/requests/{id}/dossier", summary="One request with all that happened, to be printed")
    async def dossier(
        request: Request, reach: Annotated[Reach, Depends(reads.reader)], id: Id, asked: Annotated[InTheWorld, Query()]
    ) -> Response:
        position = reads.handler.replica.position
        async with reads.pool.connection() as conn:
            until = await reads.until(conn, asked)
            until = until if until.at is not None else replace(until, at=position)
            facts = await histories.facts_of(conn, f"request-{id}")
            _, document = await histories.shown(conn, reach, requests.TABLE, facts, until)
            entries = await histories.told(conn, reach, facts, until.of(facts))
            entries = await histories.with_receipts(conn, entries)
            signed = await reader.rows(conn, "SELECT note FROM cosigned_checkpoint ORDER BY size DESC LIMIT 1")
        document, entries = await reads.vault.open([document, entries])
        await reads.recorded.document(request)
        checkpoint = signed[0][0] if signed else None
        text = _page(document, entries, checkpoint, reach.person, reads.handler.clock.now(), until)
        return Response(text, media_type="text/html; charset=utf-8")

    return here


def _page(
    document: Document,
    entries: list[Entry],
    checkpoint: str | None,
    person: str,
    now: datetime,
    until: histories.Until,
) -> str:
    return _pages.get_template("dossier.html").render(
        document=document,
        terms=[(name, _text(value)) for name, value in document.items() if name not in TOLD_ELSEWHERE],
        tree=list(branches(document)),
        entries=entries,
        checkpoint=checkpoint,
        signed=Checkpoint.parse(note.parse(checkpoint).text).size if checkpoint else 0,
        person=person,
        made=on(now),
        until=until,
    )


def branches(document: Document) -> Iterator[Branch]:
    """The tree of sign-offs that the request is pinned to, line by line; none before it is handed in."""
    if document["sign_off_tree"] is not None:
        yield from _branches(document["sign_off_tree"], document, 0)


def _branches(tree: Any, document: Document, depth: int) -> Iterator[Branch]:
    if "agency" in tree:
        yield Branch(depth, _leaf(tree), tuple(_given(tree["agency"], document)))
        return
    inner = tree.get("all_of") or tree["of"]
    yield Branch(depth, "All of" if "all_of" in tree else f"At least {tree['at_least']} of")
    for each in inner:
        yield from _branches(each, document, depth + 1)


def _leaf(leaf: Any) -> str:
    people = "" if leaf["quorum"] == 1 else f", {leaf['quorum']} officers"
    return f"{leaf['agency']}{people}{', countersigned' if leaf['countersign'] else ''}"


def _given(agency: str, document: Document) -> Iterator[str]:
    """How far an agency is; nothing where the reader's view does not tell."""
    if "sign_offs" not in document:
        return
    signed = [each for each in document["sign_offs"] if each["agency"] == agency]
    for each in signed:
        by = f", countersigned by {each['countersigned_by']}" if each["countersigned_by"] else ""
        yield f"{each['person']}: {each['position'].replace('_', ' ')}{by}"
        yield from (f"condition ({each['kind']}): {each['text']}" for each in each["conditions"])
    if agency in document["deemed"]:
        yield "silent until it was due, which counts as no objection"
    if agency in document["overruled"]:
        yield "overruled"
    if not signed and agency not in document["deemed"]:
        yield "no position"


def _text(value: Any) -> str:
    """A value of a document in words."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list():
            return "; ".join(map(_text, value)) or "–"
        case dict():
            return ", ".join(f"{name.replace('_', ' ')}: {_text(each)}" for name, each in value.items()) or "–"
        case _:
            return str(value)


_pages = Environment(
    loader=PackageLoader("services.http", "."),
    autoescape=select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters |= {"words": _text, "on": on}
