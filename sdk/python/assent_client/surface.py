"""What can be asked of Assent? Every command, query and question, typed.

Written by `./run docs` from the description that the service gives; a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NotRequired, TypedDict

from assent_client.calls import Command, Pages, Query, Question

SignOffTree = dict[str, Any]


class AccessRequestsResult(TypedDict):
    approval: Approval
    mode: NotRequired[str]


class Action(TypedDict):
    name: str
    properties: NotRequired[dict[str, Any]]


class Alternative(TypedDict):
    release: str
    tier: str | None


class AnyResource(TypedDict):
    type: str
    properties: NotRequired[ResourceProperties]


class AnySubject(TypedDict):
    type: str
    properties: NotRequired[SubjectProperties]


class Approval(TypedDict):
    id: str
    approved_at: str | None
    approved_until: str


class AsOf(TypedDict):
    position: int


class Binding(TypedDict):
    expires_at: str
    binding_token: NotRequired[str]
    evaluation_id: NotRequired[str]


class Changes(TypedDict):
    use: NotRequired[str | None]
    tier: NotRequired[str | None]
    user_classes: NotRequired[list[str] | None]
    affiliates: NotRequired[list[str] | None]
    duration_days: NotRequired[int | None]


class Clocks(TypedDict):
    review_days: NotRequired[int]
    days: NotRequired[Literal["business", "calendar"]]
    information_days: NotRequired[int | None]
    intake_days: NotRequired[int | None]
    appeal_days: NotRequired[int | None]
    renewal_days: NotRequired[int | None]
    calendar: NotRequired[str]


class CommandAnswer(TypedDict):
    id: str
    stream: str
    version: int
    position: int
    events: list[Written]
    number: NotRequired[int]
    receipt: NotRequired[Receipt]
    secret: NotRequired[str]


class Context(TypedDict):
    min_position: NotRequired[int | None]
    receipt: NotRequired[bool]


class Decision(TypedDict):
    decision: bool
    context: Reasons


class Decisions(TypedDict):
    evaluations: list[Decision]


class Fault(TypedDict):
    status: int
    message: str


class GrantTerms(TypedDict):
    days: NotRequired[int | None]


class Handed(TypedDict):
    task: Task
    result: NotRequired[AccessRequestsResult | None]


class Justified(TypedDict):
    business_justification: str


class Known(TypedDict):
    position: int


class Listing(TypedDict):
    items: list[dict[str, Any]]
    next: str | int | None
    position: int


class NextPage(TypedDict):
    next_token: str
    count: int


class Offer(TypedDict):
    expires_at: str
    binding_token: str


class Options(TypedDict):
    evaluations_semantic: NotRequired[Literal["deny_on_first_deny", "execute_all", "permit_on_first_permit"]]


class Page(TypedDict):
    token: NotRequired[str]
    next_token: NotRequired[str]
    limit: NotRequired[int]


class Phase(TypedDict):
    name: str
    access: Literal["closed", "granted", "open"]
    min_days: NotRequired[int]
    quiet_days: NotRequired[int]
    gate: NotRequired[SignOffTree | None]
    customer_cap: NotRequired[int | None]


class ProposedCondition(TypedDict):
    text: str
    kind: NotRequired[Literal["ongoing", "precondition"]]
    due_days: NotRequired[int | None]


class Reasons(TypedDict):
    reason: str
    position: int
    because: NotRequired[list[int]]
    valid_until: NotRequired[str | None]
    phase: NotRequired[str | None]
    grant: NotRequired[str | None]
    directive: NotRequired[str | None]
    conditions: NotRequired[list[int]]
    missing: NotRequired[list[str]]
    alternatives: NotRequired[list[Alternative]]
    error: NotRequired[Fault]
    evaluation_id: NotRequired[str]
    evaluated_at: NotRequired[str]
    access_request: NotRequired[Offer]
    receipt: NotRequired[str]


class Receipt(TypedDict):
    position: int
    leaf: str
    size: int


class Resource(TypedDict):
    type: str
    id: str
    properties: NotRequired[ResourceProperties]


class ResourceProperties(TypedDict):
    tier: NotRequired[str | None]


class Results(TypedDict):
    results: list[SearchResult]
    page: NextPage
    context: AsOf


class SearchResult(TypedDict):
    type: NotRequired[str]
    id: NotRequired[str]
    name: NotRequired[str]


class Subject(TypedDict):
    type: str
    id: str
    properties: NotRequired[SubjectProperties]


class SubjectProperties(TypedDict):
    person_class: NotRequired[str | None]
    affiliate: NotRequired[str | None]


class Task(TypedDict):
    id: str
    status: str
    status_endpoint: str


class Uses(TypedDict):
    releases: NotRequired[list[str]]
    providers: NotRequired[list[str]]
    organizations: NotRequired[list[str]]
    person_classes: NotRequired[list[str]]


class Wanted(TypedDict):
    requested_until: NotRequired[str | None]


class Written(TypedDict):
    type: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetWellKnownAuthzenConfiguration(Query[dict[str, Any]]):
    """Where evaluations are answered."""

    PATH: ClassVar[str] = "/.well-known/authzen-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeEnforcement(Question[Known]):
    """So far the log is enforced here."""

    PATH: ClassVar[str] = "/access/v1/enforcement"
    point: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate(Question[Decision]):
    """May they use it now? (OpenID AuthZEN 1.0)."""

    PATH: ClassVar[str] = "/access/v1/evaluation"
    subject: Subject
    action: Action
    resource: Resource
    context: Context | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateMany(Question[Decisions]):
    """Many questions at once (OpenID AuthZEN 1.0)."""

    PATH: ClassVar[str] = "/access/v1/evaluations"
    subject: dict[str, Any] | None = None
    action: dict[str, Any] | None = None
    resource: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    evaluations: list[Any] | None = None
    options: Options | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAccessV1Jwks(Query[dict[str, Any]]):
    """The keys that sign what was refused (AuthZEN's draft for access requests)."""

    PATH: ClassVar[str] = "/access/v1/jwks"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyForAccess(Command[Handed]):
    """Apply upon a refusal (OpenID AuthZEN 1.0)."""

    PATH: ClassVar[str] = "/access/v1/requests"
    subject: Subject
    action: Action
    resource: Resource
    context: Justified
    denial: Binding
    requested_access: Wanted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAccessV1RequestsId(Query[dict[str, Any]]):
    """What became of an application (AuthZEN's draft for access requests)."""

    PATH: ClassVar[str] = "/access/v1/requests/{id}"
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchActions(Question[Results]):
    """What may they do with it now? (OpenID AuthZEN 1.0)."""

    PATH: ClassVar[str] = "/access/v1/search/action"
    subject: Subject
    resource: Resource
    context: Context | None = None
    page: Page | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResources(Question[Results]):
    """What may they use now? (OpenID AuthZEN 1.0)."""

    PATH: ClassVar[str] = "/access/v1/search/resource"
    subject: Subject
    action: Action
    resource: AnyResource
    context: Context | None = None
    page: Page | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSubjects(Question[Results]):
    """Who may use it now? (OpenID AuthZEN 1.0)."""

    PATH: ClassVar[str] = "/access/v1/search/subject"
    subject: AnySubject
    action: Action
    resource: Resource
    context: Context | None = None
    page: Page | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendCalendar(Command[CommandAnswer]):
    """Record days on which the office is closed."""

    PATH: ClassVar[str] = "/api/v1/calendars/{calendar}/closures"
    calendar: str
    dates: list[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsActivity(Pages[Listing]):
    """What a person did, the latest first."""

    PATH: ClassVar[str] = "/api/v1/dashboards/activity"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    person: str | None = None
    organization: str | None = None
    stream: str | None = None
    type: str | None = None
    from_: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsActivityCounts(Pages[Listing]):
    """How often a person did what, by type of event."""

    PATH: ClassVar[str] = "/api/v1/dashboards/activity_counts"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    person: str | None = None
    organization: str | None = None
    stream: str | None = None
    type: str | None = None
    from_: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsClearance(Pages[Listing]):
    """Which customer may use which release and tier, and why; a page is of so many customers."""

    PATH: ClassVar[str] = "/api/v1/dashboards/clearance"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    customer: str | None = None
    release: str | None = None
    provider: str | None = None
    reason: (
        Literal[
            "unknown_release",
            "unknown_customer",
            "withdrawn",
            "directive",
            "barred",
            "phase_closed",
            "no_grant",
            "pending_conditions",
            "grant_suspended",
            "grant_revoked",
            "grant_expired",
            "tier_not_covered",
            "class_not_covered",
            "affiliate_not_covered",
            "granted",
            "open_phase",
        ]
        | None
    ) = None
    allowed: bool | None = None
    person_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsConditions(Pages[Listing]):
    """Open and broken conditions of live grants, in the order in which they are due."""

    PATH: ClassVar[str] = "/api/v1/dashboards/conditions"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    agency: str | None = None
    customer: str | None = None
    release: str | None = None
    overdue: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsPendingSignOffs(Pages[Listing]):
    """What waits for sign-offs, the most urgent first."""

    PATH: ClassVar[str] = "/api/v1/dashboards/pending_sign_offs"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    agency: str | None = None
    release: str | None = None
    lacks: Literal["sign_off", "countersignature", "information"] | None = None
    overdue: bool | None = None
    officer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsRollout(Pages[Listing]):
    """Where each release stands, and what is missing before its next phase."""

    PATH: ClassVar[str] = "/api/v1/dashboards/rollout"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    provider: str | None = None
    phase: str | None = None
    held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsTurnaround(Pages[Listing]):
    """How long reviews take, how they end, and how soon customers may use a model."""

    PATH: ClassVar[str] = "/api/v1/dashboards/turnaround"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    by: Literal["agency", "provider", "size_class", "release"] | None = None
    from_: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDashboardsTurnaroundRequests(Pages[Listing]):
    """The requests, or customers, that a figure of turnaround counts."""

    PATH: ClassVar[str] = "/api/v1/dashboards/turnaround/requests"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    by: Literal["agency", "provider", "size_class", "release"] | None = None
    from_: str | None = None
    to: str | None = None
    value: str | None = None
    outcome: (
        Literal[
            "approved",
            "conditional",
            "no_objection",
            "denied",
            "returned",
            "withdrawn",
            "lapsed",
            "unanswered",
            "pending",
        ]
        | None
    ) = None
    measure: (
        Literal[
            "intake",
            "net",
            "gross",
            "deadlines_missed",
            "silence",
            "information_requests",
            "authorised",
            "authorised_small",
            "authorised_large",
            "available",
        ]
        | None
    ) = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDiff(Query[dict[str, Any]]):
    """What changed between two points, and by which facts."""

    PATH: ClassVar[str] = "/api/v1/diff"
    stream: str
    from_: str
    to: str
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDirectives(Pages[Listing]):
    """Directives, page by page."""

    PATH: ClassVar[str] = "/api/v1/directives"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    state: Literal["in_force", "lifted"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueDirective(Command[CommandAnswer]):
    """Stop access across customers, at once."""

    PATH: ClassVar[str] = "/api/v1/directives"
    authority: str
    scope: Uses
    reason: str
    carve_outs: Uses | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EaseDirective(Command[CommandAnswer]):
    """Exempt named organizations."""

    PATH: ClassVar[str] = "/api/v1/directives/{directive}/easing"
    directive: str
    carve_outs: Uses
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeLifting(Command[CommandAnswer]):
    """Ask that the directive be lifted; where another person has asked before, this confirms it."""

    PATH: ClassVar[str] = "/api/v1/directives/{directive}/lifting"
    directive: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawLifting(Command[CommandAnswer]):
    """Take the proposal to lift back."""

    PATH: ClassVar[str] = "/api/v1/directives/{directive}/lifting/withdrawal"
    directive: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDirectivesId(Query[dict[str, Any]]):
    """One directive."""

    PATH: ClassVar[str] = "/api/v1/directives/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDirectivesIdHistory(Pages[Listing]):
    """Directive: what happened, in words."""

    PATH: ClassVar[str] = "/api/v1/directives/{id}/history"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None
    cursor: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetEvents(Query[Listing]):
    """The events themselves, in order of position."""

    PATH: ClassVar[str] = "/api/v1/events"
    after: int | None = None
    stream: str | None = None
    type: str | None = None
    person: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetGrants(Pages[Listing]):
    """Grants, page by page."""

    PATH: ClassVar[str] = "/api/v1/grants"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    state: (
        Literal["pending_conditions", "active", "suspended", "revoked", "surrendered", "expired", "superseded"] | None
    ) = None
    customer: str | None = None
    release: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendGrant(Command[CommandAnswer]):
    """Narrow a grant: fewer tiers, fewer classes of users, an earlier end."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/amendments"
    grant: str
    reason: str
    tiers: list[str] | None = None
    user_classes: list[str] | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAppealOfGrant(Command[CommandAnswer]):
    """Ask somebody uninvolved to look at a revocation again."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/appeals"
    grant: str
    grounds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideAppealOfGrant(Command[CommandAnswer]):
    """Uphold a revocation, reverse it by a new grant, or send it back to the agencies."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/appeals/{number}/decision"
    grant: str
    number: int
    outcome: Literal["remand", "reverse", "uphold"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftBar(Command[CommandAnswer]):
    """Let a barred customer ask again: the first call proposes, another person's confirms."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/bar/lifting"
    grant: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCompliance(Command[CommandAnswer]):
    """Report how a condition, or all of them, are kept."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/compliance-reports"
    grant: str
    text: str
    condition: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBreach(Command[CommandAnswer]):
    """Find a condition broken."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/conditions/{number}/breach"
    grant: str
    number: int
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeConditionChange(Command[CommandAnswer]):
    """Ask that a condition be worded otherwise, or dropped."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/conditions/{number}/changes"
    grant: str
    number: int
    text: str | None = None
    due_days: int | None = None
    drop: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurConditionChange(Command[CommandAnswer]):
    """Concur, for the agency that set the condition, in a proposed change."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/conditions/{number}/changes/{change}/concurrence"
    grant: str
    number: int
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SatisfyCondition(Command[CommandAnswer]):
    """Find a condition satisfied."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/conditions/{number}/satisfaction"
    grant: str
    number: int
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinstateGrant(Command[CommandAnswer]):
    """End one's own organization's suspension; while a notice of revocation stands, two people do it."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/reinstatement"
    grant: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRenewal(Command[CommandAnswer]):
    """Ask for a grant's renewal: a request like the one before opens, and its approval supersedes the grant."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/renewals"
    grant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeGrant(Command[CommandAnswer]):
    """End a grant: after a notice whose time is over, or at once on a stated finding."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/revocation"
    grant: str
    reason: str
    finding: str | None = None
    bar: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyIntentToRevoke(Command[CommandAnswer]):
    """Tell the customer that the grant will be revoked, and by when to respond."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/revocation-notice"
    grant: str
    reason: str
    respond_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawNotice(Command[CommandAnswer]):
    """Take a notice of revocation back."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/revocation-notice/withdrawal"
    grant: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrenderGrant(Command[CommandAnswer]):
    """Give a grant back."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/surrender"
    grant: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendGrant(Command[CommandAnswer]):
    """Stop the use for now."""

    PATH: ClassVar[str] = "/api/v1/grants/{grant}/suspension"
    grant: str
    reason: str
    finding: str | None = None
    review_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetGrantsId(Query[dict[str, Any]]):
    """One grant."""

    PATH: ClassVar[str] = "/api/v1/grants/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetGrantsIdEnforcement(Query[dict[str, Any]]):
    """Which enforcement points have applied the grant's last change."""

    PATH: ClassVar[str] = "/api/v1/grants/{id}/enforcement"
    id: str
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetGrantsIdHistory(Pages[Listing]):
    """Grant: what happened, in words."""

    PATH: ClassVar[str] = "/api/v1/grants/{id}/history"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None
    cursor: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeys(Pages[Listing]):
    """Keys, page by page."""

    PATH: ClassVar[str] = "/api/v1/keys"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    organization: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueKey(Command[CommandAnswer]):
    """Give a machine of an organization a key."""

    PATH: ClassVar[str] = "/api/v1/keys"
    organization: str
    name: str
    scopes: list[Literal["access", "export", "read"]]
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeysId(Query[dict[str, Any]]):
    """One key."""

    PATH: ClassVar[str] = "/api/v1/keys/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey(Command[CommandAnswer]):
    """Let the key open nothing any more, from now on."""

    PATH: ClassVar[str] = "/api/v1/keys/{key}/revocation"
    key: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey(Command[CommandAnswer]):
    """Give the key a new secret. The one before stays good for some hours, so that machines can change over."""

    PATH: ClassVar[str] = "/api/v1/keys/{key}/rotation"
    key: str
    overlap_hours: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLegalHolds(Pages[Listing]):
    """Legal-holds, page by page."""

    PATH: ClassVar[str] = "/api/v1/legal-holds"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    person: str | None = None
    state: Literal["standing", "released"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceLegalHold(Command[CommandAnswer]):
    """Keep a person's texts until further notice."""

    PATH: ClassVar[str] = "/api/v1/legal-holds"
    person: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLegalHold(Command[CommandAnswer]):
    """The texts need not be kept for this hold any longer."""

    PATH: ClassVar[str] = "/api/v1/legal-holds/{hold}/release"
    hold: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLegalHoldsId(Query[dict[str, Any]]):
    """One legal hold."""

    PATH: ClassVar[str] = "/api/v1/legal-holds/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogCheckpoint(Query[Any]):
    """The newest signed head of the log (a C2SP signed note)."""

    PATH: ClassVar[str] = "/api/v1/log/checkpoint"
    after: int | None = None
    cosigned_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogConsistency(Query[dict[str, Any]]):
    """The proof that the log only grew between two sizes."""

    PATH: ClassVar[str] = "/api/v1/log/consistency"
    from_: int
    to: int
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogKeys(Query[Listing]):
    """The keys that signed the log, and what of it was given up, as its records say."""

    PATH: ClassVar[str] = "/api/v1/log/keys"
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateLogKey(Command[CommandAnswer]):
    """Have the log signed with another key. The service names it: the secret half never leaves the signer's folder."""

    PATH: ClassVar[str] = "/api/v1/log/keys/rotation"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogProofPosition(Query[dict[str, Any]]):
    """The proof that an event is in the log."""

    PATH: ClassVar[str] = "/api/v1/log/proof/{position}"
    position: int
    after: int | None = None
    cosigned_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogTileEntriesPlace(Query[Any]):
    """The records themselves, as an entry bundle (C2SP tlog-tiles)."""

    PATH: ClassVar[str] = "/api/v1/log/tile/entries/{place}"
    place: str
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogTileLevelPlace(Query[Any]):
    """Hashes of the tree, as a tile (C2SP tlog-tiles)."""

    PATH: ClassVar[str] = "/api/v1/log/tile/{level}/{place}"
    level: str
    place: str
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOrganizations(Pages[Listing]):
    """Organizations, page by page."""

    PATH: ClassVar[str] = "/api/v1/organizations"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    kind: Literal["provider", "agency", "customer", "assent"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterOrganization(Command[CommandAnswer]):
    """Let an organization take part."""

    PATH: ClassVar[str] = "/api/v1/organizations"
    id: str
    kind: Literal["agency", "assent", "customer", "provider"]
    name: str
    country: str
    size_class: Literal["large", "medium", "small", "startup"] | None = None
    government: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOrganizationsId(Query[dict[str, Any]]):
    """One organization."""

    PATH: ClassVar[str] = "/api/v1/organizations/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOrganizationsIdHistory(Pages[Listing]):
    """Organization: what happened, in words."""

    PATH: ClassVar[str] = "/api/v1/organizations/{id}/history"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None
    cursor: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAffiliate(Command[CommandAnswer]):
    """Record a body that belongs to the organization."""

    PATH: ClassVar[str] = "/api/v1/organizations/{organization}/affiliates"
    organization: str
    id: str
    name: str
    country: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appoint(Command[CommandAnswer]):
    """Appoint a person to a role."""

    PATH: ClassVar[str] = "/api/v1/organizations/{organization}/appointments"
    organization: str
    person: str
    role: Literal[
        "administrator",
        "applicant",
        "auditor",
        "countersigner",
        "decider",
        "gateway",
        "head",
        "records_officer",
        "registrar",
        "release_manager",
        "reviewer",
    ]
    from_: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAppointment(Command[CommandAnswer]):
    """End a person's appointment to a role."""

    PATH: ClassVar[str] = "/api/v1/organizations/{organization}/appointments/{person}/end"
    organization: str
    person: str
    role: Literal[
        "administrator",
        "applicant",
        "auditor",
        "countersigner",
        "decider",
        "gateway",
        "head",
        "records_officer",
        "registrar",
        "release_manager",
        "reviewer",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOrganization(Command[CommandAnswer]):
    """Record a new name or size, or that it closed."""

    PATH: ClassVar[str] = "/api/v1/organizations/{organization}/changes"
    organization: str
    name: str | None = None
    size_class: Literal["large", "medium", "small", "startup"] | None = None
    closed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate(Command[CommandAnswer]):
    """Let another person use some of one's powers; each is named by its command, such as SignOff."""

    PATH: ClassVar[str] = "/api/v1/organizations/{organization}/delegations"
    organization: str
    to: str
    powers: list[str]
    from_: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndDelegation(Command[CommandAnswer]):
    """End a delegation before its time."""

    PATH: ClassVar[str] = "/api/v1/organizations/{organization}/delegations/{number}/end"
    organization: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPolicies(Pages[Listing]):
    """Policies, page by page."""

    PATH: ClassVar[str] = "/api/v1/policies"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPoliciesId(Query[dict[str, Any]]):
    """One policy."""

    PATH: ClassVar[str] = "/api/v1/policies/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPoliciesIdHistory(Pages[Listing]):
    """Policy: what happened, in words."""

    PATH: ClassVar[str] = "/api/v1/policies/{id}/history"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None
    cursor: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPolicy(Command[CommandAnswer]):
    """Publish a new version of a review policy; requests already submitted keep theirs."""

    PATH: ClassVar[str] = "/api/v1/policies/{policy}/versions"
    policy: str
    authority_basis: str
    sign_offs: SignOffTree
    on_refusal: Literal["deny", "escalate"] | None = None
    decider: bool | None = None
    clocks: Clocks | None = None
    grant: GrantTerms | None = None
    effective_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetReleases(Pages[Listing]):
    """Releases, page by page."""

    PATH: ClassVar[str] = "/api/v1/releases"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    provider: str | None = None
    phase: str | None = None
    held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceRelease(Command[CommandAnswer]):
    """Announce a model release; its first phase begins."""

    PATH: ClassVar[str] = "/api/v1/releases"
    id: str
    provider: str
    model: str
    tiers: list[str]
    policy: str
    incident_threshold: Literal["critical", "high", "low", "medium"]
    phases: list[Phase]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetReleasesId(Query[dict[str, Any]]):
    """One release."""

    PATH: ClassVar[str] = "/api/v1/releases/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetReleasesIdHistory(Pages[Listing]):
    """Release: what happened, in words."""

    PATH: ClassVar[str] = "/api/v1/releases/{id}/history"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None
    cursor: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRollout(Command[CommandAnswer]):
    """Let no further phase begin."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/hold"
    release: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncident(Command[CommandAnswer]):
    """Report that something went wrong with the release."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/incidents"
    release: str
    severity: Literal["critical", "high", "low", "medium"]
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseIncident(Command[CommandAnswer]):
    """Report that it is resolved."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/incidents/{number}/closure"
    release: str
    number: int
    resolution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvancePhase(Command[CommandAnswer]):
    """Let the next phase begin."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/phase"
    release: str
    to: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOffPhase(Command[CommandAnswer]):
    """Take an agency's position on entering the next phase."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/phase-sign-offs"
    release: str
    phase: str
    agency: str
    position: Literal["approve", "refuse"]
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountersignPhase(Command[CommandAnswer]):
    """Confirm, or send back, what an agency's officers signed for the next phase."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/phase-sign-offs/{agency}/countersignature"
    release: str
    agency: str
    position: Literal["approve", "refuse"] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRollout(Command[CommandAnswer]):
    """End one's own hold."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/resume"
    release: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBackPhase(Command[CommandAnswer]):
    """Go back to an earlier phase."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/rollback"
    release: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawRelease(Command[CommandAnswer]):
    """End the release for everybody."""

    PATH: ClassVar[str] = "/api/v1/releases/{release}/withdrawal"
    release: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequests(Pages[Listing]):
    """Requests, page by page."""

    PATH: ClassVar[str] = "/api/v1/requests"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None
    state: (
        Literal[
            "draft",
            "submitted",
            "in_review",
            "on_hold",
            "escalated",
            "awaiting_decision",
            "approved",
            "denied",
            "returned",
            "withdrawn",
            "lapsed",
        ]
        | None
    ) = None
    waiting_on: str | None = None
    customer: str | None = None
    release: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRequest(Command[CommandAnswer]):
    """Ask for the use of a release; unless it is to stay a draft, the application is handed in at once."""

    PATH: ClassVar[str] = "/api/v1/requests"
    customer: str
    release: str
    use: str
    tier: str | None = None
    user_classes: list[str] | None = None
    affiliates: list[str] | None = None
    duration_days: int | None = None
    renews: str | None = None
    draft: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequestsId(Query[dict[str, Any]]):
    """One request."""

    PATH: ClassVar[str] = "/api/v1/requests/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequestsIdDossier(Query[Any]):
    """One request with all that happened, to be printed."""

    PATH: ClassVar[str] = "/api/v1/requests/{id}/dossier"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequestsIdHistory(Pages[Listing]):
    """Request: what happened, in words."""

    PATH: ClassVar[str] = "/api/v1/requests/{id}/history"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None
    cursor: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequestsIdRequiredSignOffs(Query[dict[str, Any]]):
    """Who must still act, who is eligible, by when."""

    PATH: ClassVar[str] = "/api/v1/requests/{id}/required-sign-offs"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendRequest(Command[CommandAnswer]):
    """Change an application."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/amendments"
    request: str
    changes: Changes
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAppealOfRequest(Command[CommandAnswer]):
    """Ask somebody uninvolved to look at a denial again; a new cycle opens."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/appeals"
    request: str
    grounds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideAppealOfRequest(Command[CommandAnswer]):
    """Uphold a denial, reverse it, or send it back for a new review."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/appeals/{number}/decision"
    request: str
    number: int
    outcome: Literal["remand", "reverse", "uphold"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide(Command[CommandAnswer]):
    """Decide a request whose policy asks for a decider."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/decision"
    request: str
    outcome: Literal["approve", "deny"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate(Command[CommandAnswer]):
    """Hand a request to the deciders."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/escalation"
    request: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendReview(Command[CommandAnswer]):
    """Let the review take longer: once, and before it is due."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/extensions"
    request: str
    agency: str
    days: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInformation(Command[CommandAnswer]):
    """Ask the applicant; the clock stops."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/information-requests"
    request: str
    agency: str
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptInformation(Command[CommandAnswer]):
    """Close a question that was answered."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/information-requests/{number}/acceptance"
    request: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvideInformation(Command[CommandAnswer]):
    """Answer an agency's question."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/information-requests/{number}/response"
    request: str
    number: int
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recuse(Command[CommandAnswer]):
    """Keep a person out of this request."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/recusals"
    request: str
    person: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest(Command[CommandAnswer]):
    """Find an application complete; the clock starts."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/registration"
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveDispute(Command[CommandAnswer]):
    """Settle an escalated request, naming the agencies that are overruled."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/resolution"
    request: str
    outcome: Literal["approve", "deny", "return"]
    reason: str
    overrules: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnWithoutAction(Command[CommandAnswer]):
    """Send an application back that cannot be reviewed."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/return"
    request: str
    deficiencies: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOff(Command[CommandAnswer]):
    """Take an agency's position on the current revision."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/sign-offs"
    request: str
    agency: str
    position: Literal["approve", "approve_with_conditions", "refuse"]
    conditions: list[ProposedCondition] | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersign(Command[CommandAnswer]):
    """Confirm, or send back, what the agency's officers signed."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/sign-offs/{agency}/countersignature"
    request: str
    agency: str
    position: Literal["approve", "refuse"] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRequest(Command[CommandAnswer]):
    """Hand a draft in."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/submission"
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawRequest(Command[CommandAnswer]):
    """Take an application back."""

    PATH: ClassVar[str] = "/api/v1/requests/{request}/withdrawal"
    request: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRetention(Command[CommandAnswer]):
    """Say for how many days after a person's last appointment their texts are kept."""

    PATH: ClassVar[str] = "/api/v1/retention"
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSubjects(Pages[Listing]):
    """Subjects, page by page."""

    PATH: ClassVar[str] = "/api/v1/subjects"
    after: int | None = None
    at: str | None = None
    cursor: str | None = None
    limit: int | None = None
    format: Literal["json", "csv", "jsonl"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSubjectsId(Query[dict[str, Any]]):
    """One subject."""

    PATH: ClassVar[str] = "/api/v1/subjects/{id}"
    id: str
    after: int | None = None
    at: str | None = None
    occurred_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseSubject(Command[CommandAnswer]):
    """Make a person's free text unreadable for ever."""

    PATH: ClassVar[str] = "/api/v1/subjects/{subject}/erasure"
    subject: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrail(Pages[Listing]):
    """Who read what, and was refused what, in order of position."""

    PATH: ClassVar[str] = "/api/v1/trail"
    person: str | None = None
    subject: str | None = None
    type: str | None = None
    from_: str | None = None
    to: str | None = None
    cursor: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailCheckpoint(Query[Any]):
    """The newest signed head of the log (a C2SP signed note)."""

    PATH: ClassVar[str] = "/api/v1/trail/checkpoint"
    after: int | None = None
    cosigned_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailConsistency(Query[dict[str, Any]]):
    """The proof that the log only grew between two sizes."""

    PATH: ClassVar[str] = "/api/v1/trail/consistency"
    from_: int
    to: int
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailProofPosition(Query[dict[str, Any]]):
    """The proof that an event is in the log."""

    PATH: ClassVar[str] = "/api/v1/trail/proof/{position}"
    position: int
    after: int | None = None
    cosigned_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailTileEntriesPlace(Query[Any]):
    """The records themselves, as an entry bundle (C2SP tlog-tiles)."""

    PATH: ClassVar[str] = "/api/v1/trail/tile/entries/{place}"
    place: str
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTrailTileLevelPlace(Query[Any]):
    """Hashes of the tree, as a tile (C2SP tlog-tiles)."""

    PATH: ClassVar[str] = "/api/v1/trail/tile/{level}/{place}"
    level: str
    place: str
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHealthz(Query[dict[str, Any]]):
    """The process answers."""

    PATH: ClassVar[str] = "/healthz"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetMetrics(Query[Any]):
    """What can be measured, as Prometheus reads it."""

    PATH: ClassVar[str] = "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOpenapiJson(Query[dict[str, Any]]):
    """This description."""

    PATH: ClassVar[str] = "/openapi.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetReadyz(Query[dict[str, Any]]):
    """Database, projections and signer are well."""

    PATH: ClassVar[str] = "/readyz"
