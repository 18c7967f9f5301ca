"""What do gateways ask about, who may ask, and how is it told? What evaluations, searches and the feed share.

OpenID AuthZEN 1.0: a subject (a customer) does something (use it) with a resource (a release). Whatever is malformed
is a 400 here, as AuthZEN has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeVar

import msgspec

from domain.access import Answer, Use, microseconds
from domain.authority import Office
from domain.enforcement import Providers
from domain.errors import Refused
from domain.organization import ASSENT
from services.http.answers import Receive, Scope, source_of
from services.http.bodies import check_declared, read_body, unfit
from services.http.identity import Identities
from services.http.machines import must_have_scope
from services.http.problems import BadParameter, MalformedBody, NotCaughtUp, NotJson, NotYourRole
from services.http.rates import Rate
from services.replica import Replica

PREFIX = "/access/v1"
WAIT_SECONDS_MAX = 2.0
"""How long an answer waits for the position that it must rest on."""

ALTERNATIVES_MAX = 10

REQUESTABLE = frozenset(
    ("no_grant", "grant_revoked", "grant_expired", "tier_not_covered", "class_not_covered", "affiliate_not_covered")
)
"""The refusals that another grant would change."""

T = TypeVar("T")
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Position = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

SUBJECT, ACTION, RESOURCE = "organization", "use", "release"
"""The one type of subject, action and type of resource that anything is known of."""


class MalformedAsk(Refused):
    """What was sent is not what AuthZEN describes."""

    status, rule, title = 400, "authzen", "This is no request of the Authorization API"


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
    """`min_position`: the answer rests on the log at least as far as that. `receipt`: it can be shown to others."""

    min_position: Position | None = None
    receipt: bool = False


class Evaluation(msgspec.Struct, frozen=True):
    """May this subject do this to that resource?"""

    subject: Subject
    action: Action
    resource: Resource
    context: Context = Context()


class Alternative(msgspec.Struct):
    """Another release that the same customer may use now, and the tier to ask for (null: any)."""

    release: str
    tier: str | None


class Fault(msgspec.Struct):
    """Why one of many questions is none."""

    status: int
    message: str


class Offer(msgspec.Struct):
    """Until when an application may follow from a refusal, and what binds it to that refusal."""

    expires_at: datetime
    binding_token: str


class Denial(msgspec.Struct):
    """A refusal that an application could change."""

    evaluation_id: str
    evaluated_at: datetime
    access_request: Offer


class Denies(Protocol):
    """Signs what was refused."""

    def offer(self, subject: Subject, action: Action, resource: Resource) -> Denial: ...


class Reasons(msgspec.Struct):
    """Why; as of which position; what it rests on; when time alone will change it; what would have to be otherwise."""

    reason: str
    position: int
    because: tuple[int, ...] = ()
    valid_until: datetime | None = None
    phase: str | None = None
    grant: str | None = None
    directive: str | None = None
    conditions: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    alternatives: list[Alternative] = []
    error: Fault | msgspec.UnsetType = msgspec.UNSET
    evaluation_id: str | msgspec.UnsetType = msgspec.UNSET
    evaluated_at: datetime | msgspec.UnsetType = msgspec.UNSET
    access_request: Offer | msgspec.UnsetType = msgspec.UNSET
    receipt: str | msgspec.UnsetType = msgspec.UNSET


class Decision(msgspec.Struct):
    decision: bool
    context: Reasons


def decode(decoder: Callable[[bytes], T], body: bytes) -> T:
    """What was sent, as far as it is of the right shape. Raises MalformedAsk, MalformedBody."""
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        raise malformed(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody("The body cannot be read as JSON.", "JSON in UTF-8") from error


def malformed(message: str) -> MalformedAsk:
    """What msgspec found wrong, as a refusal."""
    found = unfit(message)
    return MalformedAsk(found.detail, *found.missing)


def check_head(headers: dict[bytes, bytes], query: bytes, bytes_max: int) -> None:
    """Raises MalformedAsk, BadParameter, BodyTooLarge."""
    if query:
        raise BadParameter("What is asked stands in the body, and not in the address.")
    try:
        check_declared(headers, bytes_max)
    except NotJson as refusal:
        raise MalformedAsk(refusal.detail, *refusal.missing) from refusal


@dataclass(frozen=True, slots=True)
class Desk:
    """Where gateways ask: what is known, what time it is, and who they are."""

    replica: Replica
    now: Callable[[], datetime]
    identities: Identities
    rate: Rate | None = None
    denials: Denies | None = None

    async def person(self, headers: dict[bytes, bytes], source: str) -> str:
        """Who asks. Raises Unauthenticated, TooManyRequests, ScopeMissing."""
        identity = await self.identities.of(headers.get(b"authorization"), source)
        must_have_scope(identity, "access")
        return identity.person

    async def heard(self, scope: Scope, receive: Receive, bytes_max: int) -> tuple[str, bytes]:
        """Who asks, and the body of what they ask; it counts. Raises Refused, also for what no body can be."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        person = await self.person(headers, source_of(scope))
        self.count(person)
        check_head(headers, scope["query_string"], bytes_max)
        return person, await read_body(scope, headers, receive, bytes_max)

    def count(self, person: str) -> None:
        """One more question of theirs is answered. Raises TooManyRequests."""
        if self.rate is not None:
            self.rate.take(person)

    def known_person(self, headers: dict[bytes, bytes]) -> str | None:
        """Who asks, where it is known without asking anybody. Raises ScopeMissing."""
        identity = self.identities.known(headers.get(b"authorization"))
        if identity is None:
            return None
        must_have_scope(identity, "access")
        return identity.person

    def providers(self, person: str) -> Providers:
        """About whose releases the person may ask. Raises NotYourRole."""
        return providers_of(self.replica.standing(person, self.now()).offices)

    async def reach(self, position: int | None) -> None:
        """Wait until this process knows the log up to there; the database is not asked. Raises NotCaughtUp."""
        if position is not None and not await self.replica.at_least(position, WAIT_SECONDS_MAX):
            raise NotCaughtUp(
                f"Position {position} was asked for; this process knows {self.replica.position}.",
                f"position {position}",
            )

    def decide(self, asked: Evaluation, providers: Providers) -> Decision:
        """The decision, as of now, for a gateway of these providers."""
        who, what = asked.subject, asked.resource
        use = Use(who.id, what.id, what.properties.tier, who.properties.person_class, who.properties.affiliate)
        unknown = unknown_of(asked.subject.type, asked.action.name, asked.resource.type)
        if unknown is not None:
            missing = ({"unknown_release": RESOURCE, "unknown_customer": SUBJECT}.get(unknown, ACTION),)
            return Decision(False, Reasons(unknown, self.replica.position, missing=missing))
        decision = self.told(self.check(use, providers), providers)
        if self.denials is not None and decision.context.reason in REQUESTABLE:
            denial = self.denials.offer(asked.subject, asked.action, asked.resource)
            told = decision.context
            told.evaluation_id, told.evaluated_at = denial.evaluation_id, denial.evaluated_at
            told.access_request = denial.access_request
        return decision

    def check(self, use: Use, providers: Providers) -> Answer:
        """The answer as of now; the releases of other providers are unknown."""
        if not self.knows(use.release, providers):
            return Answer(use, False, "unknown_release")
        return self.replica.access.check(use, microseconds(self.now()))

    def knows(self, release: str, providers: Providers) -> bool:
        """Whether a gateway of these providers may know of the release."""
        here = self.replica.access.releases.get(release)
        return here is not None and (providers is None or here.provider in providers)

    def told(self, answer: Answer, providers: Providers) -> Decision:
        found = Reasons(answer.reason, self.replica.position, answer.because, answer.valid_until)
        if answer.release is not None:
            found.phase = answer.release.phase
        if answer.grant is not None:
            found.grant, found.conditions = answer.grant.id, answer.conditions
        if answer.directive is not None:
            found.directive = answer.directive.id
        if not answer.allowed:
            found.missing = answer.missing
            now = microseconds(self.now())
            others = self.replica.access.alternatives(answer.use, now, providers, ALTERNATIVES_MAX)
            found.alternatives = [Alternative(release, tier) for release, tier in others]
        return Decision(answer.allowed, found)


def unknown_of(subject: str, action: str, resource: str) -> str | None:
    """The reason for which nothing is known about such a thing; None where something may be."""
    if resource != RESOURCE:
        return "unknown_release"
    if subject != SUBJECT:
        return "unknown_customer"
    return None if action == ACTION else "unknown_action"


def providers_of(offices: tuple[Office, ...]) -> Providers:
    """The providers about whose releases these offices may ask; None: about all. Raises NotYourRole for none."""
    if any(o.organization == ASSENT and o.role == "auditor" for o in offices):
        return None
    providers = frozenset([o.organization for o in offices if o.role in ("gateway", "release_manager")])
    if not providers:
        raise NotYourRole("This is for gateways and release managers.", "an appointment as gateway")
    return providers


def configuration(base: str, has_requests: bool) -> dict[str, Any]:
    """AuthZEN's metadata: only what is served."""
    requests = {
        "access_request_endpoint": f"{base}{PREFIX}/requests",
        "jwks_uri": f"{base}{PREFIX}/jwks",
        "capabilities": ["urn:openid:authzen:capability:access-request"],
    }
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}{PREFIX}/evaluation",
        "access_evaluations_endpoint": f"{base}{PREFIX}/evaluations",
        "search_subject_endpoint": f"{base}{PREFIX}/search/subject",
        "search_resource_endpoint": f"{base}{PREFIX}/search/resource",
        "search_action_endpoint": f"{base}{PREFIX}/search/action",
        **(requests if has_requests else {}),
    }
