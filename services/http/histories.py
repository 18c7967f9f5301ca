"""What happened in one stream, and who must still act? Rendered from the log at read time, for whoever may read it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from domain import organization, rulebook
from domain.authority import Reach
from domain.errors import NotFound
from domain.facts import Fact
from domain.fields import Label, is_visible
from domain.grant import Grant
from domain.organization import Organization
from domain.release import Release
from domain.request import AccessRequest
from domain.world import EMPTY, Stream, fold
from projections import organizations
from projections.history import Entry, history
from projections.pages import Document
from projections.required_sign_offs import organizations_needed, required_sign_offs
from projections.state_table import StateTable
from projections.views import View, Views, folded, views_of
from services.log import reader
from services.log.reader import Connection


@dataclass(frozen=True, slots=True)
class Until:
    """Which facts count: those up to a position, and those that had occurred by a time; both inclusive. None: all.

    Within a stream occurred never goes back (I8), so they are the first of its facts.
    """

    at: int | None = None
    occurred: datetime | None = None

    def of(self, facts: Iterable[Fact]) -> list[Fact]:
        return [fact for fact in facts if self.covers(fact)]

    def covers(self, fact: Fact) -> bool:
        return (self.at is None or fact.position <= self.at) and (
            self.occurred is None or fact.occurred <= self.occurred
        )


async def entries(conn: Connection, reach: Reach, stream: str, until: Until) -> list[Entry]:
    """What happened in the stream, as far as the reader may know. Raises NotFound."""
    facts = await facts_of(conn, stream)
    return await told(conn, reach, facts, until.of(facts))


async def told(conn: Connection, reach: Reach, facts: Sequence[Fact], some: Sequence[Fact]) -> list[Entry]:
    """Some of the facts of a stream, all of which are given, as far as the reader may know. Raises NotFound."""
    clearance = await clearance_for(conn, reach, state_of(facts))
    found = history(some, reach, clearance)
    return found if clearance >= Label.INTERAGENCY else await _without_hidden_causes(conn, found, clearance)


async def _without_hidden_causes(conn: Connection, found: list[Entry], clearance: Label) -> list[Entry]:
    """The entries, with `cause` None where the reader may not know of that event."""
    own = {each["position"] for each in found}
    causes = {each["cause"] for each in found if each["cause"] is not None}
    elsewhere = await reader.types(conn, causes - own)
    known = own | {position for position, type in elsewhere.items() if is_visible(rulebook.EVENTS[type], clearance)}
    return [each if each["cause"] in known else {**each, "cause": None} for each in found]


async def with_receipts(conn: Connection, found: list[Entry]) -> list[Entry]:
    """The entries, each with what proves that it is in the log: its position and leaf, and the size of the log then."""
    receipts = await reader.receipts(conn, [each["position"] for each in found])
    return [{**each, "receipt": receipts[each["position"]]} for each in found]


async def document(conn: Connection, reach: Reach, table: StateTable, stream: str, until: Until) -> Document:
    """The document that the table would keep of the stream if no other facts were there. Raises NotFound."""
    facts = await facts_of(conn, stream)
    _, found = await shown(conn, reach, table, facts, until)
    return found


async def shown(
    conn: Connection, reach: Reach, table: StateTable, facts: Sequence[Fact], until: Until
) -> tuple[View, Document]:
    """The document of a stream and the view it is of, from all facts of the stream. Raises NotFound.

    Who reads what follows from the stream as it was then, as in the rows of the past; but who was ever recused from a
    request reads nothing of it (I5).
    """
    now, counting = state_of(facts), until.of(facts)
    if isinstance(now, AccessRequest) and reach.person in now.recused:
        raise NotFound
    clearance = await clearance_for(conn, reach, state_of(counting))
    view: View = "applicant" if clearance < Label.INTERAGENCY and "applicant" in table.views else "full"
    found = made(table, counting, view)
    if found is None:
        raise NotFound
    return view, found


def made(table: StateTable, facts: Sequence[Fact], view: View) -> Document | None:
    """The document of a view of a stream; None where these facts show nothing to it."""
    stream: Stream = getattr(views_of(facts), view)
    rows = list(table.rows(facts[0].stream, view, stream)) if stream.state is not None else []
    found: Document | None = msgspec.json.decode(msgspec.json.encode(rows[0][-1])) if rows else None
    return found


async def required(conn: Connection, reach: Reach, request: str, until: Until, now: datetime) -> Document:
    """Who must still act on a request. Raises NotFound."""
    stream = f"request-{request}"
    facts = await facts_of(conn, stream)
    clearance = await clearance_for(conn, reach, state_of(facts))
    views = Views()
    for fact in until.of(facts):
        views = folded(views, fact)
    here = views.full.state
    if here is None:
        raise NotFound
    names = organizations_needed(here)
    before = None if until.at is None else until.at + 1
    found = await reader.facts_of(conn, [organization.stream(name) for name in names], before)
    states = {name: _organization(until.of(found.get(organization.stream(name), ()))) for name in names}
    return required_sign_offs(views, states, clearance, now)


async def clearance_for(conn: Connection, reach: Reach, state: object) -> Label:
    """As what the reader reads this stream as it stands today: recusal counts for its past as well. Raises NotFound."""
    match state:
        case AccessRequest():
            concerned = (*state.agencies, state.provider) if state.terms else ()
            clearance = None if reach.person in state.recused else reach.clearance_for(state.customer, concerned)
        case Grant():
            clearance = reach.clearance_for(state.customer, (*state.agencies, state.provider))
        case Release() if reach.clearance is None and reach.full and state.provider not in reach.full:
            is_officer = await organizations.is_any_agency(conn, reach.full)
            clearance = reach.general if is_officer else Label.APPLICANT
        case _:
            clearance = reach.general
    if clearance is None:
        raise NotFound
    return clearance


async def facts_of(conn: Connection, stream: str) -> Sequence[Fact]:
    """All facts of a stream. Raises NotFound where there are none."""
    found = await reader.facts_of(conn, [stream])
    if stream not in found:
        raise NotFound
    return found[stream]


def state_of(facts: Sequence[Fact]) -> object:
    """The state of one stream after these facts; None where there are none."""
    state: Stream = EMPTY
    for fact in facts:
        state = fold(state, fact, rulebook.evolve_of(fact.stream))
    return state.state


def _organization(facts: Sequence[Fact]) -> Organization | None:
    state = state_of(facts)
    assert state is None or isinstance(state, Organization)
    return state
