"""How far do gateways enforce the log, and which of them have taken in what became of a grant?"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from domain.authority import Reach
from domain.enforcement import Enforcement
from domain.facts import Fact
from domain.fields import Label
from domain.grant import Grant
from services.enforcement_points import EnforcementPoints, Reached
from services.http import histories
from services.http.access import PREFIX, Desk, Position, decode
from services.http.answers import JSON, Receive, Scope, Send, id_of, send_answer
from services.http.problems import NotYourRole
from services.http.queries import Id
from services.http.reads import After, Reads, json_response

ENFORCEMENT = f"{PREFIX}/enforcement"
BODY_BYTES_MAX = 1024

PointName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:/+-]{0,127}\Z")]


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`point`: the caller's own name for where it enforces. `position`: what it refuses and allows rests on that."""

    point: PointName
    position: Position


class Known(msgspec.Struct):
    """How far this process has followed the log."""

    position: int


class LastChange(msgspec.Struct):
    """What became of a grant last, as far as enforcement is concerned."""

    position: int
    type: str
    recorded: datetime


class ReachOfChange(msgspec.Struct):
    """Which enforcement points have applied it, and who is behind (those first)."""

    grant: str
    release: str
    change: LastChange
    applied: int
    behind: int
    points: list[Reached]


_decode = msgspec.json.Decoder(Acknowledgement).decode
_encode = msgspec.json.Encoder().encode


class Acknowledging:
    """Takes the words of gateways."""

    def __init__(self, desk: Desk, points: EnforcementPoints) -> None:
        self._desk = desk
        self._points = points

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refused, psycopg.Error; ConnectionError where the caller went away."""
        person, body = await self._desk.heard(scope, receive, BODY_BYTES_MAX)
        said = decode(_decode, body)
        providers = self._desk.providers(person)
        await self._desk.reach(said.position)  # nobody enforces what has not happened
        await self._points.hear(person, said.point, providers, said.position)
        known = _encode(Known(self._desk.replica.position))
        await send_answer(scope, send, id_of(scope), 200, known, JSON)


def router(reads: Reads, points: EnforcementPoints) -> APIRouter:
    here = APIRouter(prefix="/api/v1", tags=["grants"])

    @here.get("/grants/{id}/enforcement", summary="Which enforcement points have applied the grant's last change")
    async def enforcement(
        request: Request, reach: Annotated[Reach, Depends(reads.reader)], id: Id, asked: Annotated[After, Query()]
    ) -> Response:
        async with reads.pool.connection() as conn:
            facts = await histories.facts_of(conn, f"grant-{id}")
            grant = histories.state_of(facts)
            clearance = await histories.clearance_for(conn, reach, grant)
        if clearance < Label.INTERAGENCY:
            raise NotYourRole("Gateways are not shown to customers.", "an appointment in an agency or at the provider")
        assert isinstance(grant, Grant)
        fact = last_change(facts)
        found = await points.reached(fact.position, grant.provider)
        applied = sum(each.applied for each in found)
        change = LastChange(fact.position, fact.type, fact.recorded)
        await reads.recorded.document(request)
        return json_response(ReachOfChange(id, grant.release, change, applied, len(found) - applied, found))

    return here


def last_change(facts: Sequence[Fact]) -> Fact:
    """The last of a grant's facts that changed what is enforced; its issue, if nothing did."""
    enforcement = Enforcement()
    return [fact for fact in facts if enforcement.take(fact) is not None][-1]
