"""What happened in one stream, and who must still act? Rendered from the log at read time, for whoever may read it."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from domain import organization, rulebook
from domain.authority import Reach
from domain.errors import NotFound
from domain.facts import Fact
from domain.fields import Label
from domain.grant import Grant
from domain.organization import Organization
from domain.release import Release
from domain.request import AccessRequest
from domain.world import EMPTY, Stream, fold
from projections import organizations
from projections.history import Entry, history
from projections.pages import Document
from projections.required_sign_offs import organizations_needed, required_sign_offs
from projections.views import Views, folded
from services.http.reads import Connection
from services.log import reader


async def entries(conn: Connection, reach: Reach, stream: str, at: int | None) -> list[Entry]:
    """What happened in the stream until a position (None: now), as far as the reader may know. Raises NotFound."""
    facts = await _facts(conn, stream)
    clearance = await clearance_for(conn, reach, _state(facts))
    return history(_until(facts, at), reach, clearance)


async def required(conn: Connection, reach: Reach, request: str, at: int | None, now: datetime) -> Document:
    """Who must still act on a request. Raises NotFound."""
    stream = f"request-{request}"
    facts = await _facts(conn, stream)
    clearance = await clearance_for(conn, reach, _state(facts))
    views = Views()
    for fact in _until(facts, at):
        views = folded(views, fact)
    here = views.full.state
    if here is None:
        raise NotFound
    names = organizations_needed(here)
    before = None if at is None else at + 1
    found = await reader.facts_of(conn, [organization.stream(name) for name in names], before)
    states = {name: _organization(found.get(organization.stream(name), ())) for name in names}
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


async def _facts(conn: Connection, stream: str) -> Sequence[Fact]:
    found = await reader.facts_of(conn, [stream])
    if stream not in found:
        raise NotFound
    return found[stream]


def _until(facts: Iterable[Fact], at: int | None) -> list[Fact]:
    return [fact for fact in facts if at is None or fact.position <= at]


def _state(facts: Sequence[Fact]) -> object:
    state: Stream = EMPTY
    for fact in facts:
        state = fold(state, fact, rulebook.evolve_of(fact.stream))
    return state.state


def _organization(facts: Sequence[Fact]) -> Organization | None:
    state = _state(facts)
    assert state is None or isinstance(state, Organization)
    return state
