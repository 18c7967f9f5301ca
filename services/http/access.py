"""May they use it now? OpenID AuthZEN 1.0 over the access held in memory, for gateways in front of the models."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from domain.access import Answer as Verdict
from domain.access import Use
from domain.authority import Office
from domain.organization import ASSENT
from services.handle import Handler
from services.http.answers import JSON, LINES_JSON, Exchange, Receive, Scope, Send, request_id, send_answer, source_of
from services.http.bodies import check_declared, read_body, unfit
from services.http.identity import Identities
from services.http.machines import must_have_scope
from services.http.problems import BadParameter, MalformedBody, NotCaughtUp, NotYourRole
from services.http.rates import Rate

PATH = "/access/v1/evaluation"
WAIT_SECONDS_MAX = 2.0
"""How long an evaluation waits for the position that it must rest on."""

BODY_BYTES_MAX = 65_536

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class SubjectProperties(msgspec.Struct, frozen=True):
    """What is known about who uses it; others are ignored."""

    person_class: Text | None = None
    affiliate: Text | None = None


class ResourceProperties(msgspec.Struct, frozen=True):
    """Which tier is used; without one, the only one that the release has."""

    tier: Text | None = None


class Subject(msgspec.Struct, frozen=True):
    """A customer."""

    type: Text
    id: Text
    properties: SubjectProperties = SubjectProperties()


class Action(msgspec.Struct, frozen=True):
    name: Text
    properties: dict[str, Any] = {}


class Resource(msgspec.Struct, frozen=True):
    """A release."""

    type: Text
    id: Text
    properties: ResourceProperties = ResourceProperties()


class Context(msgspec.Struct, frozen=True):
    """`min_position`: the answer rests on the log at least as far as that."""

    min_position: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """May this subject do this to that resource?"""

    subject: Subject
    action: Action
    resource: Resource
    context: Context = Context()


class Reasons(msgspec.Struct):
    """Why; as of which position; which positions it rests on; when time alone will change it."""

    reason: str
    position: int
    because: tuple[int, ...]
    valid_until: datetime | None


class Decision(msgspec.Struct):
    decision: bool
    context: Reasons


_decode = msgspec.json.Decoder(Evaluation).decode
_encode = msgspec.json.Encoder().encode
UNKNOWN_RELEASE = Verdict(False, "unknown_release")


class Evaluations:
    """Answers from memory; the caller's offices say about which releases."""

    def __init__(self, handler: Handler, identities: Identities, rate: Rate | None) -> None:
        self._handler = handler
        self._replica = handler.replica
        self._identities = identities
        self._rate = rate

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refused; ConnectionError where the caller went away."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        identity = await self._identities.of(headers.get(b"authorization"), source_of(scope))
        if self._rate is not None:
            self._rate.take(identity.person)
        must_have_scope(identity, "access")
        check_query(scope["query_string"])
        asked = evaluation(await read_body(scope, headers, receive, BODY_BYTES_MAX))
        await self._wait_for(asked.context.min_position)
        body = self._decided(asked, identity.person)
        await send_answer(scope, send, request_id(headers.get(b"x-request-id")), 200, body, JSON)

    def take(self, exchange: Exchange) -> bool:
        """Whether it could be answered at once. Raises Refused."""
        identity = self._identities.known(exchange.headers.get(b"authorization"))
        if identity is None:
            return False
        must_have_scope(identity, "access")
        check_query(exchange.query)
        check_declared(exchange.headers, BODY_BYTES_MAX)
        asked = evaluation(exchange.body)
        if (asked.context.min_position or 0) > self._replica.position:
            return False
        if self._rate is not None:
            self._rate.take(identity.person)
        exchange.answer(200, LINES_JSON, self._decided(asked, identity.person))
        return True

    def _decided(self, asked: Evaluation, person: str) -> bytes:
        found = self._verdict(asked, person)
        reasons = Reasons(found.reason, self._replica.position, found.because, found.valid_until)
        return _encode(Decision(found.allowed, reasons))

    async def _wait_for(self, position: int | None) -> None:
        if position is not None and not await self._replica.at_least(position, WAIT_SECONDS_MAX):
            raise NotCaughtUp(
                f"Position {position} was asked for; this process has reached {self._replica.access.position}.",
                f"position {position}",
            )

    def _verdict(self, asked: Evaluation, person: str) -> Verdict:
        now = self._handler.clock.now()
        providers = providers_of(self._replica.standing(person, now).offices)
        release = self._replica.access.releases.get(asked.resource.id)
        if release is None or (providers is not None and release.provider not in providers):
            return UNKNOWN_RELEASE
        who, what = asked.subject, asked.resource
        use = Use(who.id, what.id, what.properties.tier, who.properties.person_class, who.properties.affiliate)
        return self._replica.access.check(use, now)


def check_query(query: bytes) -> None:
    """Raises BadParameter."""
    if query:
        raise BadParameter("An evaluation takes no parameters in its address.")


def evaluation(body: bytes) -> Evaluation:
    """What is asked. Raises MalformedBody, UnfitBody."""
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        raise unfit(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody("The body cannot be read as JSON.", "JSON in UTF-8") from error
    for where, found, known in (
        ("subject.type", asked.subject.type, "organization"),
        ("action.name", asked.action.name, "use"),
        ("resource.type", asked.resource.type, "release"),
    ):
        if found != known:
            raise unfit(f"Expected {known!r} - at `$.{where}`")
    return asked


def providers_of(offices: tuple[Office, ...]) -> frozenset[str] | None:
    """The providers about whose releases these offices may ask; None: about all. Raises NotYourRole for none."""
    if any(o.organization == ASSENT and o.role == "auditor" for o in offices):
        return None
    providers = frozenset(o.organization for o in offices if o.role in ("gateway", "release_manager"))
    if not providers:
        raise NotYourRole("Evaluations are for gateways and release managers.", "an appointment as gateway")
    return providers


def configuration(base: str) -> dict[str, str]:
    """AuthZEN's metadata: only what is served."""
    return {"policy_decision_point": base, "access_evaluation_endpoint": base + PATH}
