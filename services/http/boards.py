"""What do the dashboards need beside rows: who holds which office at that time, and which facts matter?"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import partial
from types import ModuleType
from typing import Any

from domain import organization
from domain.authority import Reach, offices
from domain.organization import Organization
from domain.world import EMPTY, fold
from projections import activity, activity_counts, clearance, pages, pending_sign_offs
from projections.pending_sign_offs import Officer
from services.http.reads import Connection, Reads
from services.log import reader

Board = Callable[..., Awaitable[pages.Page]]
"""Told who reads, which part, what time it was then, and by name the filters of its list; answers with a page."""


async def pending(
    reads: Reads,
    conn: Connection,
    reach: Reach,
    asked: pages.Asked,
    now: datetime,
    *,
    officer: str | None,
    **filters: Any,
) -> pages.Page:
    """What waits for sign-offs; for `officer`, what that person could do themselves at that time."""
    person = None if officer is None else await _officer(reads, conn, officer, asked.at, now)
    return await pending_sign_offs.page(conn, reach, asked, now=now, officer=person, **filters)


def told_the_time(answers: ModuleType) -> Board:
    """The board whose page needs nothing more than to know what time it was then."""

    async def board(
        reads: Reads, conn: Connection, reach: Reach, asked: pages.Asked, now: datetime, **filters: Any
    ) -> pages.Page:
        found: pages.Page = await answers.page(conn, reach, asked, now=now, **filters)
        return found

    return board


async def matrix(
    reads: Reads, conn: Connection, reach: Reach, asked: pages.Asked, now: datetime, **filters: Any
) -> pages.Page:
    """Who may use what, and why, from the facts of the log that it rests on."""
    facts_at = partial(reader.facts_at, conn)
    return await clearance.page(conn, reach, asked, clearance.Which(**filters), now=now, facts_at=facts_at)


async def acts(
    reads: Reads, conn: Connection, reach: Reach, asked: pages.Asked, now: datetime, **filters: Any
) -> pages.Page:
    """What a person did."""
    acting, seat = await _acting(reads, conn, reach, **filters), _seat(reads, reach)
    return await activity.page(conn, reach, seat, asked, acting, facts_at=partial(reader.facts_at, conn))


async def acts_counted(
    reads: Reads, conn: Connection, reach: Reach, asked: pages.Asked, now: datetime, **filters: Any
) -> pages.Page:
    """How often a person did what."""
    acting = await _acting(reads, conn, reach, **filters)
    return await activity_counts.page(conn, reach, _seat(reads, reach), asked, acting)


async def _acting(
    reads: Reads,
    conn: Connection,
    reach: Reach,
    *,
    person: str | None,
    from_: str | None,
    to: str | None,
    **filters: Any,
) -> activity.Acting:
    """Whose acts (of nobody: the reader's own), and which: `from_` and `to` are positions, or times, as recorded.

    Raises BadParameter.
    """
    first = None if from_ is None else await reads.first_position_from(conn, from_, "from")
    last = None if to is None else await reads.position_at(conn, to, "to")
    return activity.Acting(person or reach.person, first=first, last=last, **filters)


def _seat(reads: Reads, reach: Reach) -> activity.Seat:
    """Where the reader acts today, by whosever power, and which agencies they head themselves."""
    held = reads.handler.replica.standing(reach.person, reads.handler.clock.now()).offices
    heads = (office.organization for office in held if office.role == "head" and not office.via)
    return activity.Seat(frozenset(office.organization for office in held), frozenset(heads))


async def _officer(reads: Reads, conn: Connection, person: str, at: int | None, now: datetime) -> Officer:
    """The person's offices at that time, as the log had it at a position (None: now), and who works for customers."""
    found = await _organizations(reads, conn, [person], at)
    held = offices(found, person, now)
    people = {person, *(lender for office in held for lender in office.via)}
    bodies = await _organizations(reads, conn, people, at)
    employed = {each: tuple(_employers(bodies, each, now)) for each in people}
    return Officer(person, held, employed)


def _employers(bodies: Iterable[Organization], person: str, now: datetime) -> Iterable[str]:
    return (here.id for here in bodies if here.kind == "customer" and here.roles(person, now))


async def _organizations(reads: Reads, conn: Connection, people: Iterable[str], at: int | None) -> list[Organization]:
    """The organizations that ever appointed one of these people, or lent them a power, as of a position."""
    names = {organization.stream(id) for person in people for id in reads.handler.replica.organizations_of(person)}
    found = await reader.facts_of(conn, sorted(names), None if at is None else at + 1)
    states = []
    for facts in found.values():
        state = EMPTY
        for fact in facts:
            state = fold(state, fact, organization.evolve)
        if isinstance(state.state, Organization):
            states.append(state.state)
    return states
