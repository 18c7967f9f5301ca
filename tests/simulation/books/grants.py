"""Did each grant follow from a decision, change as its agencies concurred, and end for good? I7, I12 to I14, I16."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.books import Entry, Violation, days, instant, instant_or_none

ENDINGS = {
    "GrantRevoked": "revoked",
    "GrantSurrendered": "surrendered",
    "GrantExpired": "expired",
    "GrantSuperseded": "superseded",
}
AFTER_REVOCATION = {"BarLiftingProposed", "BarLifted", "AppealFiled", "AppealDecided"}


@dataclass(slots=True)
class Condition:
    agency: str
    text: str
    kind: str
    due: datetime | None
    state: str = "open"


@dataclass(slots=True)
class Change:
    text: str | None
    due_days: int | None
    drop: bool
    people: frozenset[str]
    settled: bool = False


@dataclass(slots=True)
class Grant:
    """One grant, as far as the log has told of it."""

    id: str
    request: str
    customer: str
    release: str
    provider: str
    policy: str
    policy_version: int
    agencies: list[str]
    tiers: list[str]
    user_classes: list[str]
    affiliates: list[str]
    until: datetime | None
    conditions: dict[int, Condition]
    suspensions: dict[str, frozenset[str] | None] = field(default_factory=dict)
    notice: datetime | None = None
    changes: dict[tuple[int, int], Change] = field(default_factory=dict)
    renewal: str | None = None
    timely: bool = False
    ended: str | None = None
    ended_at: datetime | None = None
    revokers: frozenset[str] = frozenset()
    barred: bool = False
    bar_proposer: frozenset[str] | None = None
    appeals: list[str | None] = field(default_factory=list)
    owed: bool = False

    @property
    def kept(self) -> bool:
        """I14: a timely request for renewal is under review."""
        return self.renewal is not None and self.timely


class Grants:
    """Folds the streams of grants. `log` gives the other books."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.all: dict[str, Grant] = {}
        self.between: dict[tuple[str, str], list[Grant]] = {}

    def of(self, id: str) -> Grant:
        if id not in self.all:
            raise Violation("§2", f"there is no grant {id}")
        return self.all[id]

    def live(self, customer: str, release: str) -> bool:
        return any(grant.ended is None for grant in self.between.get((customer, release), ()))

    def take(self, entry: Entry) -> None:
        if entry.type == "GrantIssued":
            self._issued(entry)
            return
        here = self.of(entry.id)
        if here.ended is not None and not (here.ended == "revoked" and entry.type in AFTER_REVOCATION):
            raise Violation("I12", f"{entry.type} after the grant was {here.ended}")
        if entry.type in ENDINGS:
            self._ended(here, entry)
        elif entry.type not in HANDLERS:
            raise Violation("§2", f"no grant knows {entry.type}")
        else:
            HANDLERS[entry.type](self, here, entry)

    def _issued(self, entry: Entry) -> None:
        data = entry.data
        if entry.id in self.all:
            raise Violation("I12", "a grant was issued twice")
        old = self.all.get(data["supersedes"] or "")
        if old is not None and old.owed:
            self._issued_again(old, entry)
        else:
            request = self.log.requests.of(data["request"])
            if request.ended != "approved" or request.grant != entry.id:
                raise Violation("I2", "a grant was issued that no approval names")
            self.log.requests.terms_of_grant(request, entry)
        conditions = {
            c["number"]: Condition(c["agency"], c["text"], c["kind"], instant_or_none(c["due"]))
            for c in data["conditions"]
        }
        here = Grant(
            entry.id,
            data["request"],
            data["customer"],
            data["release"],
            data["provider"],
            data["policy"],
            data["policy_version"],
            data["agencies"],
            data["tiers"],
            data["user_classes"],
            data["affiliates"],
            instant_or_none(data["until"]),
            conditions,
        )
        self.all[entry.id] = here
        self.between.setdefault((here.customer, here.release), []).append(here)

    def _issued_again(self, old: Grant, entry: Entry) -> None:
        """A revocation reversed on appeal: the same authorization, under a new name."""
        data, old.owed = entry.data, False
        names = ("customer", "release", "provider", "tiers", "user_classes", "affiliates")
        if any(data[name] != getattr(old, name) for name in names) or instant_or_none(data["until"]) != old.until:
            raise Violation("I2", "a reversal issued another grant than the one that was revoked")
        kept = [(c.agency, c.text, c.kind) for c in old.conditions.values() if c.state != "dropped"]
        if [(c["agency"], c["text"], c["kind"]) for c in data["conditions"]] != kept:
            raise Violation("I7", "a reversal changed the conditions")

    def _ended(self, here: Grant, entry: Entry) -> None:
        match entry.type:
            case "GrantExpired":
                if here.kept:
                    raise Violation("I14", "the grant expired while its timely renewal was under review")
                if here.until is None or here.until > entry.occurred or instant(entry.data["until"]) != here.until:
                    raise Violation("I3", "the grant expired before its time")
            case "GrantSuperseded":
                if not self.log.requests.renewed_by(entry.data["by"], here.id):
                    raise Violation("I14", "superseded by a grant that does not renew it")
            case "GrantRevoked":
                heard = here.notice is not None and here.notice <= entry.occurred
                if not entry.data["finding"] and not heard:
                    raise Violation("§2", "revoked without a finding and before the customer was heard")
                here.barred, here.revokers = entry.data["bar"], frozenset(entry.people)
        here.ended, here.ended_at = ENDINGS[entry.type], entry.occurred

    # Conditions

    def satisfied(self, here: Grant, entry: Entry) -> None:
        self._condition(here, entry.data["number"]).state = "satisfied"

    def breached(self, here: Grant, entry: Entry) -> None:
        self._condition(here, entry.data["number"]).state = "breached"

    def reported(self, here: Grant, entry: Entry) -> None:
        if entry.data["condition"] is not None and entry.data["condition"] not in here.conditions:
            raise Violation("§2", "a report on a condition that the grant does not have")

    def _condition(self, here: Grant, number: int) -> Condition:
        """I7: what was dropped with its agency's concurrence does not come back."""
        condition = here.conditions[number]
        if condition.state == "dropped":
            raise Violation("I7", f"condition {number} was dropped, and came back")
        return condition

    def change_proposed(self, here: Grant, entry: Entry) -> None:
        data = entry.data
        self._condition(here, data["condition"])
        if sum(1 for condition, _ in here.changes if condition == data["condition"]) + 1 != data["number"]:
            raise Violation("§2", "proposed changes count from 1")
        change = Change(data["text"], data["due_days"], data["drop"], frozenset(entry.people))
        here.changes[data["condition"], data["number"]] = change

    def changed(self, here: Grant, entry: Entry) -> None:
        """I7: as it was proposed, and with the concurrence of somebody else; whose, the offices say."""
        data = entry.data
        condition, change = (
            self._condition(here, data["condition"]),
            here.changes.get((data["condition"], data["number"])),
        )
        if change is None or change.settled:
            raise Violation("I7", "a condition changed without a proposal")
        if change.people & entry.people:
            raise Violation("I4", f"{entry.person} concurred in their own proposal")
        due = condition.due if change.due_days is None else self._due(here, entry.occurred, change.due_days)
        if (data["text"], data["dropped"]) != (change.text or condition.text, change.drop):
            raise Violation("I7", "a condition changed to something else than was proposed")
        if instant_or_none(data["due"]) != due:
            raise Violation("I9", f"the condition is due {data['due']}, but counted {due}")
        condition.text, condition.due, change.settled = data["text"], due, True
        condition.state = "dropped" if change.drop else condition.state

    def _due(self, here: Grant, start: datetime, allowed: int) -> datetime:
        calendar = self.log.policy(here.policy, here.policy_version)["clocks"]["calendar"]
        return days.due(start, allowed, "calendar", self.log.closures(calendar))

    # Narrower, stopped, going on

    def amended(self, here: Grant, entry: Entry) -> None:
        tiers, classes, until = entry.data["tiers"], entry.data["user_classes"], instant_or_none(entry.data["until"])
        if tiers is not None and (not tiers or not set(tiers) <= set(here.tiers)):
            raise Violation("§2", "an amendment covers more tiers")
        if classes is not None and (not classes or (here.user_classes and not set(classes) <= set(here.user_classes))):
            raise Violation("§2", "an amendment covers more classes of users")
        if until is not None and here.until is not None and until > here.until:
            raise Violation("§2", "an amendment lasts longer")
        here.tiers = here.tiers if tiers is None else tiers
        here.user_classes = here.user_classes if classes is None else classes
        here.until = here.until if until is None else until

    def suspended(self, here: Grant, entry: Entry) -> None:
        if entry.organization in here.suspensions:
            raise Violation("I12", f"{entry.organization} suspended twice")
        here.suspensions[entry.organization] = None

    def reinstatement_proposed(self, here: Grant, entry: Entry) -> None:
        self._own_suspension(here, entry)
        here.suspensions[entry.organization] = frozenset(entry.people)

    def reinstated(self, here: Grant, entry: Entry) -> None:
        """I12: one's own suspension; I16: after a notice of revocation, by a second person."""
        self._own_suspension(here, entry)
        proposer = here.suspensions.pop(entry.organization)
        if here.notice is not None and (proposer is None or proposer & entry.people):
            raise Violation("I16", "reinstated by one person, after a notice of revocation")

    def _own_suspension(self, here: Grant, entry: Entry) -> None:
        if entry.organization not in here.suspensions:
            raise Violation("I12", f"{entry.organization} ended a suspension that it had not set")

    def notified(self, here: Grant, entry: Entry) -> None:
        if here.notice is not None:
            raise Violation("§2", "a second notice while one stands")
        here.notice = instant(entry.data["respond_by"])

    def notice_withdrawn(self, here: Grant, entry: Entry) -> None:
        here.notice = None
        here.suspensions = dict.fromkeys(here.suspensions)

    # Renewal

    def renewal_requested(self, here: Grant, entry: Entry) -> None:
        """I14: timely is what was handed in at least `renewal_days` before the end."""
        if here.renewal is not None:
            raise Violation("I14", "a second renewal while one is under review")
        allowed = self.log.policy(here.policy, here.policy_version)["clocks"]["renewal_days"]
        timely = allowed is None or here.until is None or self.log.acted <= here.until - timedelta(days=allowed)
        if entry.data["timely"] != timely:
            raise Violation("I14", f"the renewal is {'' if timely else 'not '}timely, and was not treated so")
        here.renewal, here.timely = entry.data["request"], timely

    def renewal_ended(self, here: Grant, entry: Entry) -> None:
        if here.renewal != entry.data["request"] or self.log.requests.of(here.renewal).ended in (None, "approved"):
            raise Violation("I14", "a renewal ended that is under review")
        here.renewal = None

    # After a revocation

    def bar_lifting_proposed(self, here: Grant, entry: Entry) -> None:
        if not here.barred:
            raise Violation("I16", "nobody is barred")
        here.bar_proposer = frozenset(entry.people)

    def bar_lifted(self, here: Grant, entry: Entry) -> None:
        if not here.barred or here.bar_proposer is None or here.bar_proposer & entry.people:
            raise Violation("I16", "a bar was lifted by one person")
        here.barred, here.bar_proposer = False, None

    def appealed(self, here: Grant, entry: Entry) -> None:
        if here.appeals and here.appeals[-1] in (None, "uphold"):
            raise Violation("I1", "an appeal while one is open, or after it upheld the revocation")
        if here.ended != "revoked" or entry.data["number"] != len(here.appeals) + 1:
            raise Violation("I1", "an appeal against nothing, or out of order")
        clocks = self.log.policy(here.policy, here.policy_version)["clocks"]
        if clocks["appeal_days"] is not None:
            assert here.ended_at is not None
            closures = self.log.closures(clocks["calendar"])
            due = days.due(here.ended_at, clocks["appeal_days"], clocks["days"], closures)
            if entry.occurred > due:
                raise Violation("I9", f"an appeal was due by {due}")
        here.appeals.append(None)

    def appeal_decided(self, here: Grant, entry: Entry) -> None:
        if not here.appeals or here.appeals[-1] is not None or entry.data["number"] != len(here.appeals):
            raise Violation("I1", "an appeal was decided that is not open")
        if here.revokers & entry.people:
            raise Violation("I4", f"{entry.person} decided an appeal against their own act")
        outcome = here.appeals[-1] = entry.data["outcome"]
        if outcome == "reverse":
            here.owed, here.barred = True, False

    # At the end of an append

    def settled(self, here: Grant) -> None:
        if here.owed:
            raise Violation("I2", "a reversal did not issue the grant anew")
        renewing = self.log.requests.all.get(here.renewal or "")
        if here.ended is None and renewing is not None and renewing.ended is not None:
            raise Violation("I14", f"the renewal was {renewing.ended}, and the grant does not know")

    def next_due(self, here: Grant) -> list[tuple[datetime, str, Any]]:
        """What time alone will do: when, and the event."""
        if here.ended is not None or here.until is None or here.kept:
            return []
        return [(here.until, "GrantExpired", None)]


HANDLERS = {
    "ConditionSatisfied": Grants.satisfied,
    "ConditionBreached": Grants.breached,
    "ComplianceReported": Grants.reported,
    "ConditionChangeProposed": Grants.change_proposed,
    "ConditionChanged": Grants.changed,
    "GrantAmended": Grants.amended,
    "GrantSuspended": Grants.suspended,
    "ReinstatementProposed": Grants.reinstatement_proposed,
    "GrantReinstated": Grants.reinstated,
    "RevocationNoticeIssued": Grants.notified,
    "RevocationNoticeWithdrawn": Grants.notice_withdrawn,
    "RenewalRequested": Grants.renewal_requested,
    "RenewalEnded": Grants.renewal_ended,
    "BarLiftingProposed": Grants.bar_lifting_proposed,
    "BarLifted": Grants.bar_lifted,
    "AppealFiled": Grants.appealed,
    "AppealDecided": Grants.appeal_decided,
}
