"""Which address takes which command, and how does a request become an order? The hot path: all is prepared."""

import hmac
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, get_args

import msgspec
from msgspec import UNSET, UnsetType

from domain import grant, request
from domain.calendar import AmendCalendar
from domain.directive import ConfirmLifting, EaseDirective, IssueDirective, ProposeLifting, WithdrawLifting
from domain.errors import NotFound, Refused
from domain.fields import Bounds, Pattern, hints, marks
from domain.grant import (
    AmendGrant,
    ConcurConditionChange,
    LiftBar,
    NotifyIntentToRevoke,
    ProposeConditionChange,
    RecordBreach,
    ReinstateGrant,
    ReportCompliance,
    RevokeGrant,
    SatisfyCondition,
    SurrenderGrant,
    SuspendGrant,
    WithdrawNotice,
)
from domain.hold import PlaceLegalHold, ReleaseLegalHold
from domain.key import IssueKey, RevokeKey, RotateKey
from domain.log import RotateLogKey
from domain.organization import (
    AddAffiliate,
    Appoint,
    ChangeOrganization,
    Delegate,
    EndAppointment,
    EndDelegation,
    RegisterOrganization,
    Role,
)
from domain.policy import PublishPolicy
from domain.release import (
    AdvancePhase,
    AnnounceRelease,
    CloseIncident,
    CountersignPhase,
    HoldRollout,
    OpenIncident,
    ResumeRollout,
    RollBackPhase,
    SignOffPhase,
    WithdrawRelease,
)
from domain.request import (
    AcceptInformation,
    AmendRequest,
    Countersign,
    Decide,
    DraftRequest,
    Escalate,
    ExtendReview,
    ProvideInformation,
    Recuse,
    RegisterRequest,
    RequestInformation,
    RequestRenewal,
    ResolveDispute,
    ReturnWithoutAction,
    SignOff,
    SubmitRequest,
    WithdrawRequest,
)
from domain.retention import SetRetention
from domain.subject import EraseSubject
from domain.world import own_stream
from services.api_keys import Secrets, digest_of, token_of
from services.handle import Answer, Handler, Order
from services.http.answers import (
    JSON,
    LINES_JSON,
    Exchange,
    Receive,
    Scope,
    Send,
    fixed_id,
    id_of,
    refuse,
    send_answer,
    source_of,
)
from services.http.bodies import Body, Given, body_of, check_declared, instant, minted_field, read_body
from services.http.identity import BACKDATE, Identities, Identity
from services.http.machines import must_be_person
from services.http.problems import (
    BadHeader,
    BadParameter,
    CrossSite,
    Headers,
    ScopeMissing,
    Unauthenticated,
    Unexpected,
)
from services.http.rates import Rate
from services.http.recorded import Attempt, Recorded, is_recorded
from services.log.receipt import Receipt
from services.logs import About, about

PREFIX = "/api/v1"

_log = logging.getLogger(__name__)

COMMANDS: dict[str, type] = {
    "/organizations": RegisterOrganization,
    "/organizations/{organization}/changes": ChangeOrganization,
    "/organizations/{organization}/affiliates": AddAffiliate,
    "/organizations/{organization}/appointments": Appoint,
    "/organizations/{organization}/appointments/{person}/end": EndAppointment,
    "/organizations/{organization}/delegations": Delegate,
    "/organizations/{organization}/delegations/{number}/end": EndDelegation,
    "/policies/{policy}/versions": PublishPolicy,
    "/calendars/{calendar}/closures": AmendCalendar,
    "/releases": AnnounceRelease,
    "/releases/{release}/phase": AdvancePhase,
    "/releases/{release}/rollback": RollBackPhase,
    "/releases/{release}/hold": HoldRollout,
    "/releases/{release}/resume": ResumeRollout,
    "/releases/{release}/withdrawal": WithdrawRelease,
    "/releases/{release}/phase-sign-offs": SignOffPhase,
    "/releases/{release}/phase-sign-offs/{agency}/countersignature": CountersignPhase,
    "/releases/{release}/incidents": OpenIncident,
    "/releases/{release}/incidents/{number}/closure": CloseIncident,
    "/requests": DraftRequest,
    "/requests/{request}/submission": SubmitRequest,
    "/requests/{request}/registration": RegisterRequest,
    "/requests/{request}/return": ReturnWithoutAction,
    "/requests/{request}/amendments": AmendRequest,
    "/requests/{request}/withdrawal": WithdrawRequest,
    "/requests/{request}/sign-offs": SignOff,
    "/requests/{request}/sign-offs/{agency}/countersignature": Countersign,
    "/requests/{request}/information-requests": RequestInformation,
    "/requests/{request}/information-requests/{number}/response": ProvideInformation,
    "/requests/{request}/information-requests/{number}/acceptance": AcceptInformation,
    "/requests/{request}/extensions": ExtendReview,
    "/requests/{request}/recusals": Recuse,
    "/requests/{request}/escalation": Escalate,
    "/requests/{request}/resolution": ResolveDispute,
    "/requests/{request}/decision": Decide,
    "/requests/{request}/appeals": request.FileAppeal,
    "/requests/{request}/appeals/{number}/decision": request.DecideAppeal,
    "/grants/{grant}/conditions/{number}/satisfaction": SatisfyCondition,
    "/grants/{grant}/conditions/{number}/breach": RecordBreach,
    "/grants/{grant}/conditions/{number}/changes": ProposeConditionChange,
    "/grants/{grant}/conditions/{number}/changes/{change}/concurrence": ConcurConditionChange,
    "/grants/{grant}/compliance-reports": ReportCompliance,
    "/grants/{grant}/amendments": AmendGrant,
    "/grants/{grant}/renewals": RequestRenewal,
    "/grants/{grant}/surrender": SurrenderGrant,
    "/grants/{grant}/suspension": SuspendGrant,
    "/grants/{grant}/reinstatement": ReinstateGrant,
    "/grants/{grant}/revocation-notice": NotifyIntentToRevoke,
    "/grants/{grant}/revocation-notice/withdrawal": WithdrawNotice,
    "/grants/{grant}/revocation": RevokeGrant,
    "/grants/{grant}/bar/lifting": LiftBar,
    "/grants/{grant}/appeals": grant.FileAppeal,
    "/grants/{grant}/appeals/{number}/decision": grant.DecideAppeal,
    "/directives": IssueDirective,
    "/directives/{directive}/easing": EaseDirective,
    "/directives/{directive}/lifting": ProposeLifting,
    "/directives/{directive}/lifting/withdrawal": WithdrawLifting,
    "/log/keys/rotation": RotateLogKey,
    "/keys": IssueKey,
    "/keys/{key}/rotation": RotateKey,
    "/keys/{key}/revocation": RevokeKey,
    "/legal-holds": PlaceLegalHold,
    "/legal-holds/{hold}/release": ReleaseLegalHold,
    "/subjects/{subject}/erasure": EraseSubject,
    "/retention": SetRetention,
}
"""Every command by its address under /api/v1. The path gives the command's first fields, the body the others."""

UNROUTED: dict[type, str] = {ConfirmLifting: "the second POST to /directives/{directive}/lifting confirms"}
"""Commands without an address of their own, and why."""

PLURALS = {
    "organization": "organizations",
    "policy": "policies",
    "calendar": "calendars",
    "release": "releases",
    "request": "requests",
    "grant": "grants",
    "directive": "directives",
    "log": "log",
    "key": "keys",
    "hold": "legal-holds",
    "subject": "subjects",
    "retention": "retention",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One address and its command; `parts` are the path's pieces, None where it gives a value."""

    path: str
    command: type
    parts: tuple[str | None, ...]
    given: tuple[str, ...]
    accepts: tuple[re.Pattern[str], ...]
    numbers: tuple[bool, ...]
    body: Body
    mints: bool
    """Whether the service makes a field of the command."""

    def values(self, texts: list[str]) -> Given:
        """What the path gives the command. Raises NotFound where no such thing can exist."""
        values: list[str | int] = []
        for text, accepted, is_number in zip(texts, self.accepts, self.numbers, strict=True):
            if accepted.fullmatch(text) is None:
                raise NotFound
            values.append(int(text) if is_number else text)
        return tuple(values)


def route(path: str, command: type) -> Route:
    parts = tuple(None if part.startswith("{") else part for part in path.split("/")[1:])
    given = tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))
    marked = [_accepted(hints(command)[name]) for name in given]
    body = body_of(command, given)
    accepts, numbers = tuple(accepted for accepted, _ in marked), tuple(is_number for _, is_number in marked)
    return Route(path, command, parts, given, accepts, numbers, body, minted_field(command) is not None)


def _accepted(hint: Any) -> tuple[re.Pattern[str], bool]:
    """What may stand in a path for a field of that type, and whether it is a number."""
    if (pattern := marks(hint, Pattern)) is not None:
        return re.compile(pattern.regex), False
    bounds = marks(hint, Bounds)
    assert bounds is not None and bounds.least == 1 and bounds.most is not None, f"{hint} cannot stand in a path"
    return re.compile(rf"[1-9][0-9]{{0,{len(str(bounds.most - 1)) - 1}}}"), True


ROUTES: tuple[Route, ...] = tuple(route(path, command) for path, command in COMMANDS.items())


class Directory:
    """Finds the route of a path, part by part."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root: dict[str | None, Any] = {}
        for each in routes:
            here = self._root
            for part in each.parts:
                here = here.setdefault(part, {})
            here[""] = each

    def find(self, path: str) -> tuple[Route, list[str]] | None:
        """The route of a path under /api/v1, and the texts that stand for its values."""
        here, texts = self._root, []
        for part in path.split("/")[3:]:
            following = here.get(part) if part else None
            if following is None:
                following = here.get(None) if part else None
                if following is None:
                    return None
                texts.append(part)
            here = following
        found: Route | None = here.get("")
        return None if found is None else (found, texts)


# Headers

_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_VERSION = re.compile(rb'"(0|[1-9][0-9]{0,17})"')
_ACTING_AS = re.compile(rb"([a-z0-9][a-z0-9.-]{0,62})/([a-z_]{1,32})")
_ROLES = frozenset(get_args(Role))
_TIME = msgspec.json.Decoder(datetime)


def key_of(headers: dict[bytes, bytes], dry_run: bool) -> bytes | None:
    """The Idempotency-Key. Raises BadHeader where it is missing or malformed."""
    key = headers.get(b"idempotency-key")
    if key is None and dry_run:
        return None
    if key is None or _KEY.fullmatch(key) is None:
        raise BadHeader(
            "A command needs an Idempotency-Key of 1 to 255 visible ASCII characters, the same when it is repeated.",
            "Idempotency-Key",
        )
    return key


def version_of(if_match: bytes | None) -> int | None:
    """The version in If-Match. Raises BadHeader."""
    if if_match is None:
        return None
    found = _VERSION.fullmatch(if_match)
    if found is None:
        raise BadHeader("If-Match is one version in double quotes, as ETag has it.", 'If-Match: "<version>"')
    return int(found[1])


def acting_as_of(value: bytes | None) -> tuple[str, str] | None:
    """The organization and role in Acting-As. Raises BadHeader."""
    if value is None:
        return None
    found = _ACTING_AS.fullmatch(value)
    if found is None or found[2].decode() not in _ROLES:
        raise BadHeader("Acting-As is an organization and a role of yours in it.", "Acting-As: <organization>/<role>")
    return found[1].decode(), found[2].decode()


def occurred_of(value: bytes | None, scopes: frozenset[str]) -> datetime | None:
    """The time in Occurred-At. Raises ScopeMissing, BadHeader, Malformed."""
    if value is None:
        return None
    if BACKDATE not in scopes:
        raise ScopeMissing("Saying when something happened needs a token for that.", f"token scope {BACKDATE}")
    try:
        found = _TIME.decode(b'"' + value + b'"')
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if found is None or found.tzinfo is None:
        raise BadHeader("Occurred-At is a time of RFC 3339 with its zone.", "Occurred-At: 2026-06-26T16:00:00Z")
    return instant(found)


def dry_run_of(query: bytes) -> bool:
    """Whether `?dry_run=true` is asked for. Raises BadParameter for anything else."""
    if query in (b"", b"dry_run=false"):
        return False
    if query == b"dry_run=true":
        return True
    raise BadParameter("A command takes one parameter, dry_run, which is true or false.", "?dry_run=true")


class Told(msgspec.Struct):
    """What path and headers say of a command, before its body is read."""

    given: Given
    person: str
    key: bytes | None
    if_match: int | None
    acting_as: tuple[str, str] | None
    occurred: datetime | None
    dry_run: bool

    def order(self, here: Route, path: str, body: bytes) -> Order:
        """Raises MalformedBody, UnfitBody, Malformed."""
        command = here.body.read(self.given, body)
        command_key = fingerprint = None
        if self.key is not None and not self.dry_run:
            command_key = sha256(self.person.encode() + b"\x00" + self.key).digest()
            fingerprint = hmac.digest(self.key, b"POST\n" + path.encode() + b"\n" + body, "sha256")
        return Order(
            command, self.person, self.acting_as, self.occurred, command_key, fingerprint, self.if_match, self.dry_run
        )


def told_of(here: Route, texts: list[str], query: bytes, headers: dict[bytes, bytes], identity: Identity) -> Told:
    """Raises NotFound, BadParameter, BadHeader, ScopeMissing, Malformed."""
    must_be_person(identity)
    given = here.values(texts)
    dry_run = dry_run_of(query)
    return Told(
        given,
        identity.person,
        key_of(headers, dry_run),
        version_of(headers.get(b"if-match")),
        acting_as_of(headers.get(b"acting-as")),
        occurred_of(headers.get(b"occurred-at"), identity.scopes),
        dry_run,
    )


# Answers


class Written(msgspec.Struct):
    """An event that a command wrote, or would write."""

    type: str
    position: int


class CommandAnswer(msgspec.Struct, omit_defaults=True):
    """What a command did. `version` is that of the caller's view; `number` that of a numbered part it opened.

    `secret` is the token of a machine's key that the command made.
    """

    id: str
    stream: str
    version: int
    position: int
    events: list[Written]
    number: int | UnsetType = UNSET
    receipt: Receipt | UnsetType = UNSET
    secret: str | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode


def encoded(answer: Answer) -> bytes:
    return _encode(
        CommandAnswer(
            answer.id,
            answer.stream,
            answer.version,
            answer.position,
            [Written(type_, position) for type_, position in answer.events],
            UNSET if answer.number is None else answer.number,
            answer.receipt or UNSET,
            UNSET if answer.secret is None else answer.secret,
        )
    )


def status_of(answer: Answer) -> int:
    return 200 if answer.dry_run else 201


def headers_of(answer: Answer) -> Headers:
    return [*JSON, (b"etag", b'"%d"' % answer.version), (b"location", _location(answer))]


def lines_of(answer: Answer) -> bytes:
    """The same as the lines they are sent in."""
    return b'%betag: "%d"\r\nlocation: %b\r\n' % (LINES_JSON, answer.version, _location(answer))


def _location(answer: Answer) -> bytes:
    kind = answer.stream[: -len(answer.id) - 1]
    return f"{PREFIX}/{PLURALS[kind]}/{answer.id}".encode()


@dataclass(frozen=True, slots=True)
class Made:
    """The value of a field that the service makes, and the secret behind it where the caller is told one."""

    value: str
    secret: str | None = None


Mint = Callable[[str, bytes], Made]
"""Makes it for a person's command under an Idempotency-Key (empty for a dry run): the same for the same."""


def mints(secrets: Secrets, next_log_key: Callable[[], str]) -> dict[type, Mint]:
    """What the service makes of each command that nobody can give whole."""

    def key_secret(person: str, key: bytes) -> Made:
        secret = secrets.of(person, key)
        return Made(digest_of(secret), secret)

    return {IssueKey: key_secret, RotateKey: key_secret, RotateLogKey: lambda person, key: Made(next_log_key())}


class Commands:
    """Takes the request of one command from the first header to the last byte of the answer."""

    def __init__(
        self,
        handler: Handler,
        identities: Identities,
        mints: Mapping[type, Mint],
        body_bytes_max: int,
        recorded: Recorded,
        rate: Rate | None,
    ) -> None:
        self._handler = handler
        self._identities = identities
        self._mints = mints
        self._body_bytes_max = body_bytes_max
        self._recorded = recorded
        self._rate = rate

    async def answer(self, here: Route, texts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refused; ConnectionError where the caller went away."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            identity = await self._identities.of_command(headers, source_of(scope))
        except (Unauthenticated, CrossSite):
            await self._recorded.signed_out(f"{PREFIX}{here.path}", scope)
            raise
        if self._rate is not None:
            self._rate.take(identity.person)
        attempt = attempted(here, identity.person)
        try:
            told = told_of(here, texts, scope["query_string"], headers, identity)
            body = await read_body(scope, headers, receive, self._body_bytes_max)
            order = told.order(here, scope["path"], body)
            attempt = attempted(here, identity.person, order)
            if here.mints:
                answer = await self._minted(order, told.key or b"")
            else:
                answer = await self._handler.handle(order)
        except Refused as refusal:
            await self._recorded.refused(attempt, refusal, scope)
            raise
        await send_answer(scope, send, id_of(scope), status_of(answer), encoded(answer), headers_of(answer))

    async def _minted(self, order: Order, key: bytes) -> Answer:
        """The answer of a command of which the service makes a part; its secret is told here, and nowhere else."""
        command, schema = order.command, order.command.__class__
        made = self._mints[schema](order.person, key)
        command = replace(command, **{str(minted_field(schema)): made.value})
        answer = await self._handler.handle(replace(order, command=command))
        if made.secret is None or answer.dry_run:
            return answer
        return replace(answer, secret=token_of(answer.id, made.secret))

    def take(self, here: Route, texts: list[str], exchange: Exchange) -> bool:
        """Whether the command could be put into the queue at once. Raises Refused where it never will."""
        if here.mints:
            return False
        headers = exchange.headers
        identity = self._identities.known(headers.get(b"authorization"))
        if identity is None:
            return False
        told = told_of(here, texts, exchange.query, headers, identity)
        check_declared(headers, self._body_bytes_max)
        order = told.order(here, exchange.path, exchange.body)
        if self._rate is not None:
            self._rate.take(identity.person)
        is_taken = self._handler.take(order, partial(self._tell, exchange, here, order))
        if self._rate is not None and not is_taken:
            self._rate.give_back(identity.person)  # it comes again, with a task
        return is_taken

    def _tell(self, exchange: Exchange, here: Route, order: Order, outcome: Answer | Exception) -> None:
        """What became of a command, to whoever sent it; a rule's refusal once it is recorded."""
        match outcome:
            case Answer():
                exchange.answer(status_of(outcome), lines_of(outcome), encoded(outcome))
            case Refused() as refusal if is_recorded(refusal):
                attempt = attempted(here, order.person, order)
                self._recorded.put_refused(
                    attempt, refusal, exchange, lambda unavailable: refuse(exchange, unavailable or refusal)
                )
            case Refused():
                refuse(exchange, outcome)
            case error:
                with about(About(fixed_id(exchange).decode(), lambda: PREFIX + here.path, order.person)):
                    _log.error("A command failed", exc_info=error, extra={"command": here.command.__name__})
                refuse(exchange, Unexpected())


def attempted(here: Route, person: str, order: Order | None = None) -> Attempt:
    """What somebody tried to do at an address, for the trail; without the order where it was not understood."""
    stream = None if order is None else own_stream(order.command)
    return Attempt(
        person,
        f"{PREFIX}{here.path}",
        here.command.__name__,
        () if stream is None else (stream,),
        order is not None and order.dry_run,
    )
