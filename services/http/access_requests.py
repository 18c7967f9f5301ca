"""How does a refusal become an application? The draft profile of AuthZEN for access requests, where a setting wants it.

A refusal that an application could change says so, and carries a signed statement of what was refused. Whoever may
apply for the customer hands that in: it opens a request like any other, and its address tells what became of it. The
approval is the grant: ask again, and the decision point allows. Tokens, as everywhere, go by the real clock.
"""

import hmac
import math
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from fastapi import APIRouter, Depends, Request, Response

from domain.authority import Reach, concerned_with_request
from domain.errors import Refused
from domain.request import AccessRequest, DraftRequest
from domain.request import stream as stream_of
from services.durable import made_once
from services.handle import Handler, KeyReused, Order
from services.http.access import (
    ACTION,
    PREFIX,
    RESOURCE,
    SUBJECT,
    Action,
    Denial,
    MalformedAsk,
    Offer,
    Resource,
    Subject,
    check_head,
    decode,
)
from services.http.answers import Receive, Scope, Send, id_of, send_answer, source_of
from services.http.bodies import body_of, read_body
from services.http.identity import Identities
from services.http.machines import must_be_person
from services.http.problems import CrossSite, NoSuchPath, Unauthenticated
from services.http.rates import Rate
from services.http.reads import Reads, json_response
from services.http.recorded import Attempt, Recorded

REQUESTS, KEYS = f"{PREFIX}/requests", f"{PREFIX}/jwks"
CAPABILITY = "urn:openid:authzen:capability:access-request"
PROBLEMS = "urn:openid:authzen:access-request:error:"
OFFER_SECONDS = 600
"""How long a refusal may be answered with an application."""

BODY_BYTES_MAX = 65_536
PENDING = frozenset({"draft", "submitted", "in_review", "on_hold", "escalated", "awaiting_decision"})
STATUSES = {"approved": "approved", "denied": "denied", "returned": "denied", "withdrawn": "cancelled"}
"""What the profile calls the states of a request; `lapsed` is `expired`."""

FAR_AWAY = datetime(9999, 12, 31, tzinfo=UTC)
"""Until when a grant without an end is approved."""


class InvalidDenialBinding(Refused):
    status, rule, title = 400, "authzen", "The request is not bound to that refusal"
    type_uri = f"{PROBLEMS}invalid_denial_binding"


class ExpiredDenial(Refused):
    status, rule, title = 410, "authzen", "That refusal is too old to apply upon"
    type_uri = f"{PROBLEMS}expired_denial"


class DuplicateRequest(Refused):
    status, rule, title = 409, "idempotency_key", "The key was used for another request"
    type_uri = f"{PROBLEMS}duplicate_request"


class UnknownTask(Refused):
    status, rule, title = 404, "existence", "There is no such request"
    type_uri = f"{PROBLEMS}unknown_task"


class Binding(msgspec.Struct):
    """The refusal that is answered: as it was told."""

    expires_at: datetime
    binding_token: Annotated[str, msgspec.Meta(max_length=8192)] = ""
    evaluation_id: str = ""


class Justified(msgspec.Struct):
    """Why it is asked for: the intended use."""

    business_justification: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]


class Wanted(msgspec.Struct, frozen=True):
    requested_until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Application(msgspec.Struct):
    """What was refused, and why it should not be."""

    subject: Subject
    action: Action
    resource: Resource
    context: Justified
    denial: Binding
    requested_access: Wanted = Wanted()


class Task(msgspec.Struct):
    """A request under way: what became of it, and where that can be asked again."""

    id: str
    status: str
    status_endpoint: str


class Approval(msgspec.Struct):
    """The grant."""

    id: str
    approved_at: datetime | None
    approved_until: datetime


class Result(msgspec.Struct):
    """Ask the decision point again: it knows the grant."""

    approval: Approval
    mode: str = "reevaluate"


class Handed(msgspec.Struct, omit_defaults=True):
    """The task, and its result once it is approved."""

    task: Task
    result: Result | None = None


_decode = msgspec.json.Decoder(Application).decode
_encode = msgspec.json.Encoder().encode
_draft = body_of(DraftRequest, ())


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Denials:
    """Signs what was refused, so that nothing of it need be kept; the key is this installation's own."""

    def __init__(self, data: Path, issuer: str) -> None:
        key = load_pem_private_key(made_once(data / "access" / "denials.pem", _new_key), password=None)
        assert isinstance(key, Ed25519PrivateKey), "denials.pem holds another kind of key"
        self._private, self._public = key, key.public_key()
        self._raw = self._public.public_bytes_raw()
        self._key_id = sha256(self._raw).hexdigest()[:16]
        self._issuer = issuer or "urn:assent"

    def offer(self, subject: Subject, action: Action, resource: Resource) -> Denial:
        """What a refusal of that says of itself."""
        now, id = int(time.time()), secrets.token_urlsafe(15)
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "iat": now,
            "exp": now + OFFER_SECONDS,
            "jti": id,
            "evaluation_id": id,
            "binding_context_members": [],
            **_bound(subject, action, resource),
        }
        token = jwt.encode(claims, self._private, "EdDSA", {"kid": self._key_id, "typ": "JWT"})
        at = datetime.fromtimestamp(now, UTC)
        return Denial(id, at, Offer(at + timedelta(seconds=OFFER_SECONDS), token))

    def verify(self, asked: Application) -> str:
        """The id of the refusal, if it is one of ours, of that very question, and fresh.

        Raises InvalidDenialBinding, ExpiredDenial.
        """
        if asked.denial.expires_at.timestamp() <= time.time():
            raise ExpiredDenial("Its time is over.", "a refusal of a new evaluation")
        try:
            claims = jwt.decode(
                asked.denial.binding_token,
                self._public,
                algorithms=["EdDSA"],
                issuer=self._issuer,
                audience=self._issuer,
                options={"require": ["iss", "aud", "iat", "exp", "jti"], "strict_aud": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredDenial("Its time is over.", "a refusal of a new evaluation") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidDenialBinding("The binding token is none of ours.", "denial.binding_token") from error
        bound = _bound(asked.subject, asked.action, asked.resource)
        if any(claims.get(name) != value for name, value in bound.items()):
            raise InvalidDenialBinding("Another question was refused.", *bound)
        return str(claims["jti"])

    @property
    def key_set(self) -> dict[str, Any]:
        """The public key, as a JWK Set."""
        x = urlsafe_b64encode(self._raw).decode().rstrip("=")
        key = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self._key_id, "use": "sig", "alg": "EdDSA"}
        return {"keys": [key]}


def _bound(subject: Subject, action: Action, resource: Resource) -> dict[str, Any]:
    """What of a question counts, and is bound: properties that nobody here knows are not."""
    known = msgspec.to_builtins({"subject": subject, "resource": resource})
    return {**known, "action": {"name": action.name}}


@dataclass(frozen=True, slots=True)
class Requesting:
    """Takes applications. `denials`: None where the setting does not want them."""

    handler: Handler
    identities: Identities
    recorded: Recorded
    denials: Denials | None
    url: str
    rate: Rate | None

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refused; ConnectionError where the caller went away."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            identity = await self.identities.of_command(headers, source_of(scope))
        except (Unauthenticated, CrossSite):
            await self.recorded.signed_out(REQUESTS, scope)
            raise
        if self.denials is None:
            raise NoSuchPath
        if self.rate is not None:
            self.rate.take(identity.person)
        attempt = Attempt(identity.person, REQUESTS, DraftRequest.__name__)
        try:
            must_be_person(identity)
            check_head(headers, scope["query_string"], BODY_BYTES_MAX)
            body = await read_body(scope, headers, receive, BODY_BYTES_MAX)
            order = self._order(identity.person, headers.get(b"idempotency-key", b""), body, self.denials)
            answer = await self.handler.handle(order)
        except KeyReused as reused:
            raise DuplicateRequest(reused.detail, *reused.missing) from reused
        except Refused as refusal:
            await self.recorded.refused(attempt, refusal, scope)
            raise
        task = Task(answer.id, "pending", f"{self.url or base_of(scope)}{REQUESTS}/{answer.id}")
        location = (b"location", task.status_endpoint.encode("latin-1", "replace"))
        head = [(b"content-type", b"application/json"), location]
        await send_answer(scope, send, id_of(scope), 202, _encode(Handed(task)), head)

    def _order(self, person: str, key: bytes, body: bytes, denials: Denials) -> Order:
        """The draft that is handed in at once; without a key of the caller's, a refusal is good for one."""
        asked = decode(_decode, body)
        refusal = denials.verify(asked)
        if (asked.subject.type, asked.action.name, asked.resource.type) != (SUBJECT, ACTION, RESOURCE):
            raise InvalidDenialBinding("Only the use of a release can be applied for.", "a refusal of such a use")
        who, until = asked.subject.properties, asked.requested_access.requested_until
        command = _draft.read(
            (),
            _encode(
                {
                    "customer": asked.subject.id,
                    "release": asked.resource.id,
                    "use": asked.context.business_justification,
                    "tier": asked.resource.properties.tier,
                    "user_classes": [who.person_class] if who.person_class else [],
                    "affiliates": [who.affiliate] if who.affiliate else [],
                    "duration_days": None if until is None else self._days(until),
                }
            ),
        )
        if len(key) > 255:
            raise MalformedAsk("An Idempotency-Key has at most 255 characters.", "a shorter Idempotency-Key")
        key = key or refusal.encode()
        fingerprint = hmac.digest(key, b"POST\n" + REQUESTS.encode() + b"\n" + body, "sha256")
        return Order(command, person, key=sha256(person.encode() + b"\x00" + key).digest(), fingerprint=fingerprint)

    def _days(self, until: datetime) -> int:
        days = math.ceil((until - self.handler.clock.now()).total_seconds() / 86_400)
        if days < 1:
            raise MalformedAsk("Access cannot be asked for until a time that is past.", "a later requested_until")
        return days


def base_of(scope: Scope) -> str:
    """Where the caller reached us, as their Host header has it: it is one that we answer to."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"localhost")
    return f"{scope.get('scheme', 'http')}://{host.decode('latin-1')}"


def router(reads: Reads, denials: Denials | None, url: str) -> APIRouter:
    here = APIRouter(prefix=PREFIX, tags=["access"])

    @here.get("/requests/{id}", summary="What became of an application (AuthZEN's draft for access requests)")
    async def request(id: str, request: Request, reader_: Annotated[Reach, Depends(reads.reader)]) -> Response:
        if denials is None:
            raise NoSuchPath
        state: Any = await reads.handler.state(stream_of(id)) if id.isalnum() else None
        if not _is_theirs(state, reader_):
            raise UnknownTask("Nothing is known of it, for you.")
        await reads.recorded.document(request)
        status = "pending" if state.state in PENDING else STATUSES.get(state.state, "expired")
        task = Task(id, status, f"{url or base_of(request.scope)}{REQUESTS}/{id}")
        response = json_response(Handed(task, _result(reads.handler, state) if status == "approved" else None))
        if status == "pending":
            response.headers["retry-after"] = "60"
        return response

    @here.get("/jwks", summary="The keys that sign what was refused (AuthZEN's draft for access requests)")
    async def jwks() -> Response:
        return json_response({"keys": []} if denials is None else denials.key_set)

    return here


def _is_theirs(state: Any, reader_: Reach) -> bool:
    if not isinstance(state, AccessRequest) or reader_.person in state.recused:
        return False
    return reader_.clearance_for(state.customer, concerned_with_request(state)) is not None


def _result(handler: Handler, state: AccessRequest) -> Result:
    held = handler.replica.access.grants.get(state.customer, ())
    grant = next((each for each in held if each.id == state.grant), None)
    decided = state.decided
    if grant is None:
        return Result(Approval(state.grant or state.id, decided, decided or FAR_AWAY))
    until = FAR_AWAY if grant.until is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=grant.until)
    return Result(Approval(grant.id, decided, until))
