"""May this customer use this model now? What enforcement knows, and the reason for its answer; it also stands alone.

What is known is a set of records: a customer, a release, a grant, a directive as each stands now. A record replaces the
one before it, so whoever takes in the same records in the same order gives the same answers, without knowing any event
of the log. `enforcement.py` makes them from the log. Times are whole microseconds since 1970, UTC. The standard library
alone is imported: a gateway carries a copy of this file.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")

Reason = Literal[
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
IN_A_GRANTED_PHASE: tuple[Reason, ...] = (
    "no_grant",
    "pending_conditions",
    "grant_suspended",
    "grant_revoked",
    "grant_expired",
    "tier_not_covered",
    "class_not_covered",
    "affiliate_not_covered",
    "granted",
)
"""From the worst answer to the best; where several grants exist, the best stands (I10)."""

_RANK = {reason: rank for rank, reason in enumerate(IN_A_GRANTED_PHASE)}
_GRANTED = _RANK["granted"]

NEVER = 2**63 - 1
ANSWERS_MAX = 1_000_000
"""How many answers are remembered; with one more, all are forgotten and found anew."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """A time with its zone as microseconds since 1970."""
    return (instant - EPOCH) // _MICROSECOND


# Records: what enforcement knows. In JSON each is an array: its kind's name, then its fields in this order, forever


class Customer(NamedTuple):
    """An organization that may be granted something. `changed`: the position of the fact that left it as it is."""

    id: str
    changed: int


class Release(NamedTuple):
    """`access` (closed, granted, open) is that of its `phase`, which began at position `since`."""

    id: str
    changed: int
    provider: str
    tiers: tuple[str, ...]
    phase: str
    access: str
    since: int
    withdrawn: int | None = None


class Condition(NamedTuple):
    """`holds_up`: a precondition that is not satisfied. `since`: the position of the fact that left it so."""

    number: int
    holds_up: bool
    since: int


class Grant(NamedTuple):
    """`until`: its end in microseconds, if it has one; `renewing`: it has none while a timely renewal is decided."""

    id: str
    changed: int
    customer: str
    release: str
    issued: int
    tiers: tuple[str, ...]
    user_classes: tuple[str, ...]
    affiliates: tuple[str, ...]
    until: int | None
    conditions: tuple[Condition, ...] = ()
    suspended_by: tuple[str, ...] = ()
    ended: Literal["revoked", "expired"] | None = None
    barred: bool = False
    renewing: bool = False


class Uses(NamedTuple):
    """Lists that name uses. As a scope a use must be in every list given; as carve-outs it is exempt if in any."""

    releases: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    person_classes: frozenset[str] = frozenset()


class Directive(NamedTuple):
    """An order in force that stops uses."""

    id: str
    changed: int
    scope: Uses
    carve_outs: Uses


class Gone(NamedTuple):
    """A grant (of that customer, for that release) was given up, or a directive lifted: as if it had never been."""

    id: str
    changed: int
    kind: Literal["grant", "directive"]
    customer: str = ""
    release: str = ""


Record = Customer | Release | Grant | Directive | Gone
KINDS: dict[str, type[Record]] = {
    "customer": Customer,
    "release": Release,
    "grant": Grant,
    "directive": Directive,
    "gone": Gone,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def to_json(record: Record) -> list[Any]:
    """The record as an array that any JSON encoder takes; sets become sorted lists."""
    return [_NAMES[type(record)], *map(_plain, record)]


def _plain(value: Any) -> Any:
    if isinstance(value, Uses):
        return [sorted(names) for names in value]
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def from_json(row: Sequence[Any]) -> Record | None:
    """The record of such an array; None for a kind that this program does not know yet. Fields beyond ours are ignored.

    Raises TypeError or ValueError where it is no record at all.
    """
    if not row or isinstance(row, str) or not isinstance(row[0], str):
        raise ValueError("a record is an array that begins with its kind")
    kind = KINDS.get(row[0])
    if kind is None:
        return None
    fields: list[Any] = list(row[1 : len(kind._fields) + 1])
    if kind is Directive:
        fields[2:4] = [Uses(*map(frozenset, lists[:4])) for lists in fields[2:4]]
    if kind is Grant:
        fields[9:10] = [tuple(Condition(*each[:3]) for each in conditions) for conditions in fields[9:10]]
    make: Callable[..., Record] = kind
    return make(*(tuple(each) if isinstance(each, list) else each for each in fields))


# Answers


class Use(NamedTuple):
    """What is asked. A missing tier means the only tier; a missing person class is unknown."""

    customer: str
    release: str
    tier: str | None = None
    person_class: str | None = None
    affiliate: str | None = None


class Answer(NamedTuple):
    """An answer, and the records that it rests on.

    `until` (microseconds): when time alone ends an allowance. A refusal is not promised for any time: None.
    """

    use: Use
    allowed: bool
    reason: Reason
    until: int | None = None
    release: Release | None = None
    grant: Grant | None = None
    directive: Directive | None = None

    @property
    def valid_until(self) -> datetime | None:
        return None if self.until is None else EPOCH + timedelta(microseconds=self.until)

    @property
    def because(self) -> tuple[int, ...]:
        """The positions of the facts that it rests on."""
        if self.directive is not None:
            return (self.directive.changed,)
        if self.release is None or self.reason == "unknown_customer":
            return ()
        if self.release.withdrawn is not None:
            return (self.release.withdrawn,)
        grant = self.grant
        if grant is None:
            return (self.release.since,)
        if self.reason == "barred":
            return (grant.changed,)
        found = {self.release.since, grant.issued, grant.changed, *(each.since for each in grant.conditions)}
        return tuple(sorted(found))

    @property
    def conditions(self) -> tuple[int, ...]:
        """The numbers of the grant's conditions that this rests on: those that hold it up, or else all of them."""
        if self.grant is None:
            return ()
        waiting = self.reason == "pending_conditions"
        return tuple(each.number for each in self.grant.conditions if each.holds_up or not waiting)

    @property
    def missing(self) -> tuple[str, ...]:
        """What would have to be otherwise."""
        return () if self.allowed else MISSING[self.reason](self)


MISSING: dict[Reason, Callable[[Answer], tuple[str, ...]]] = {
    "unknown_release": lambda answer: ("a release that is known",),
    "unknown_customer": lambda answer: ("a customer that is registered",),
    "withdrawn": lambda answer: ("a release that is offered",),
    "directive": lambda answer: (f"lifting of directive {_id(answer.directive)}, or a carve-out of it",),
    "barred": lambda answer: (f"lifting of the bar of grant {_id(answer.grant)}",),
    "phase_closed": lambda answer: ("a phase in which the release may be used",),
    "no_grant": lambda answer: (f"a grant for {answer.use.release}",),
    "pending_conditions": lambda answer: tuple(f"condition {number}" for number in answer.conditions),
    "grant_suspended": lambda answer: tuple(
        f"reinstatement by {each}" for each in (answer.grant.suspended_by if answer.grant else ())
    ),
    "grant_revoked": lambda answer: ("another grant",),
    "grant_expired": lambda answer: ("a renewal",),
    "tier_not_covered": lambda answer: (f"tier {answer.use.tier}" if answer.use.tier else "a tier",),
    "class_not_covered": lambda answer: (
        f"person class {answer.use.person_class}" if answer.use.person_class else "a person class",
    ),
    "affiliate_not_covered": lambda answer: (f"affiliate {answer.use.affiliate}",),
}
"""What is missing, by the reason of a refusal."""


def _id(record: Grant | Directive | None) -> str:
    return record.id if record is not None else ""


class Access:
    """What enforcement knows, and the answers that follow from it.

    `position` is how far the log was followed; whoever puts records in says so. Answers are remembered until a record
    or time touches them: a check that was made before is one look into `answers`, good for `since` ≤ now < `due`.
    """

    def __init__(self, answers_max: int = ANSWERS_MAX) -> None:
        self.position = -1
        self.customers: dict[str, Customer] = {}
        self.releases: dict[str, Release] = {}
        self.directives: dict[str, Directive] = {}
        self.grants: dict[str, tuple[Grant, ...]] = {}
        self.answers: dict[tuple[str | None, ...], Answer] = {}
        self.since = -NEVER
        self.due = NEVER
        self._answers_max = answers_max
        self._asked: dict[str, list[Use]] = {}
        self._turns: list[tuple[int, str]] = []
        self._shared: dict[Any, Any] = {}

    # What is known

    def put(self, record: Record) -> None:
        """The record replaces what was known of its subject."""
        match record:
            case Grant():
                held = self.grants.get(record.customer, ())
                kept = self._compact(record)
                places = [kept if each.id == kept.id else each for each in held]
                self.grants[kept.customer] = tuple(places if kept in places else [*held, kept])
                self._forget(kept.customer)
            case Customer(id):
                self.customers[self._one(id)] = record._replace(id=self._one(id))
                self._forget(id)
            case Gone(id, _, "grant", customer):
                left = tuple(each for each in self.grants.get(customer, ()) if each.id != id)
                self.grants[customer] = left
                if not left:
                    del self.grants[customer]
                self._forget(customer)
            case Gone(id):
                self.directives.pop(id, None)
                self._forget_all()
            case Release(id):
                self.releases[self._one(id)] = record._replace(id=self._one(id))
                self._forget_all()
            case Directive():
                self.directives[record.id] = record
                self._forget_all()

    def records(self) -> Iterator[Record]:
        """All that is known, in an order in which it can be put."""
        yield from self.customers.values()
        yield from self.releases.values()
        yield from self.directives.values()
        for held in self.grants.values():
            yield from held

    def _compact(self, grant: Grant) -> Grant:
        """The same with every text and list that others have too held once."""
        one = self._one
        at = grant.changed
        return grant._replace(
            issued=at if grant.issued == at else grant.issued,
            conditions=tuple(each._replace(since=at) if each.since == at else each for each in grant.conditions),
            customer=one(grant.customer),
            release=one(grant.release),
            tiers=one(grant.tiers),
            user_classes=one(grant.user_classes),
            affiliates=one(grant.affiliates),
            suspended_by=one(grant.suspended_by),
        )

    def _one(self, value: T) -> T:
        """That value, as it was first met."""
        known: T = self._shared.setdefault(value, value)
        return known

    # What is answered

    def check(self, use: Use, now: int) -> Answer:
        """The answer at that time, in microseconds; found once, and remembered."""
        if self.since <= now < self.due:
            known = self.answers.get(use)
            if known is not None:
                return known
        elif now < self.since:
            return self.decide(use, now)[0]
        else:
            self._forget_due(now)
        customer, release = self.customers.get(use.customer), self.releases.get(use.release)
        if customer is None or release is None:
            return self.decide(use, now)[0]  # of strangers there is no end
        answer, turn = self.decide(Use(customer.id, release.id, *use[2:]), now)
        self._remember(answer, turn, now)
        return answer

    def decide(self, use: Use, now: int) -> tuple[Answer, int]:
        """The first reason that applies, in the order of I10, and until when time alone leaves that answer as it is."""
        release = self.releases.get(use.release)
        if release is None:
            return Answer(use, False, "unknown_release"), NEVER
        if use.customer not in self.customers:
            return Answer(use, False, "unknown_customer", None, release), NEVER
        if release.withdrawn is not None:
            return Answer(use, False, "withdrawn", None, release), NEVER
        for directive in self.directives.values():
            if stops(directive, use, release.provider):
                return Answer(use, False, "directive", None, release, None, directive), NEVER
        grants = [grant for grant in self.grants.get(use.customer, ()) if grant.release == use.release]
        barred = next((grant for grant in grants if grant.barred), None)
        if barred is not None:
            return Answer(use, False, "barred", None, release, barred), NEVER
        if release.access == "closed":
            return Answer(use, False, "phase_closed", None, release), NEVER
        if release.access == "open":
            return Answer(use, True, "open_phase", None, release), NEVER
        return best(grants, use, release, now)

    def alternatives(
        self, use: Use, now: int, providers: frozenset[str] | None = None, most: int = 10
    ) -> Iterable[tuple[str, str | None]]:
        """Other releases (of these providers; None: of all) that could be used now instead, each with a tier."""
        held = self.grants.get(use.customer, ())
        tiers = [(grant.release, tier) for grant in held for tier in grant.tiers]
        open_to_all = [(release.id, None) for release in self.releases.values() if release.access == "open"]
        found: dict[str, str | None] = {}
        for id, tier in (*open_to_all, *tiers):
            if len(found) == most:
                break
            release = self.releases.get(id)
            if id == use.release or id in found or release is None:
                continue
            if providers is None or release.provider in providers:
                instead = use._replace(release=id, tier=tier)
                if self.check(instead, now).allowed:
                    found[id] = tier
        return found.items()

    # What is remembered

    def _remember(self, answer: Answer, turn: int, now: int) -> None:
        if len(self.answers) >= self._answers_max:
            self._forget_all()
        use = answer.use
        self.answers[use] = answer
        self._asked.setdefault(use.customer, []).append(use)
        if turn < NEVER:
            heappush(self._turns, (turn, use.customer))
            self.due = min(self.due, turn)
        self.since = now

    def _forget(self, customer: str) -> None:
        for use in self._asked.pop(customer, ()):
            del self.answers[use]

    def _forget_due(self, now: int) -> None:
        while self._turns and self._turns[0][0] <= now:
            self._forget(heappop(self._turns)[1])
        self.due = self._turns[0][0] if self._turns else NEVER

    def _forget_all(self) -> None:
        self.answers.clear()
        self._asked.clear()
        self._turns.clear()
        self.due = NEVER


def stops(directive: Directive, use: Use, provider: str) -> bool:
    """In every list of the scope, and in none of the carve-outs. An unknown class is in any scope, in no carve-out."""
    scope, exempt = directive.scope, directive.carve_outs
    bodies = {use.customer, use.affiliate}
    return (
        (not scope.releases or use.release in scope.releases)
        and (not scope.providers or provider in scope.providers)
        and (not scope.organizations or not bodies.isdisjoint(scope.organizations))
        and (not scope.person_classes or use.person_class is None or use.person_class in scope.person_classes)
        and use.release not in exempt.releases
        and provider not in exempt.providers
        and bodies.isdisjoint(exempt.organizations)
        and use.person_class not in exempt.person_classes
    )


def best(grants: Sequence[Grant], use: Use, release: Release, now: int) -> tuple[Answer, int]:
    """The best answer that any of the grants gives, and when time alone may change it."""
    found: Grant | None = None
    rank, end, turn = -1, -1, NEVER
    for grant in grants:
        its_end = NEVER if grant.until is None or grant.renewing else grant.until
        its_rank = _RANK[of_grant(grant, use, release, now)]
        if now < its_end < turn and not grant.ended:
            turn = its_end
        if its_rank > rank or (its_rank == rank and its_end > end):
            found, rank, end = grant, its_rank, its_end
    if found is None:
        return Answer(use, False, "no_grant", None, release), NEVER
    allowed = rank == _GRANTED
    until = end if allowed and end < NEVER else None
    return Answer(use, allowed, IN_A_GRANTED_PHASE[rank], until, release, found), turn


def of_grant(grant: Grant, use: Use, release: Release, now: int) -> Reason:
    """The first reason, in the order of I10, for which this grant does not cover the use."""
    tier = release.tiers[0] if use.tier is None and len(release.tiers) == 1 else use.tier
    if any(condition.holds_up for condition in grant.conditions):
        return "pending_conditions"
    if grant.suspended_by:
        return "grant_suspended"
    if grant.ended == "revoked":
        return "grant_revoked"
    if grant.ended == "expired" or (grant.until is not None and grant.until <= now and not grant.renewing):
        return "grant_expired"
    if tier not in grant.tiers:
        return "tier_not_covered"
    if grant.user_classes and use.person_class not in grant.user_classes:
        return "class_not_covered"
    if use.affiliate is not None and use.affiliate not in grant.affiliates:
        return "affiliate_not_covered"
    return "granted"
