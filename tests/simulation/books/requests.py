"""Was each request decided once, on the revision that was signed, by people who may, and in time? I1 to I5, I9."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.books import Entry, Violation, days, instant, instant_or_none, trees
from tests.simulation.books.trees import NO, OPEN, YES, Position, Positions

ENDINGS = {
    "RequestApproved": "approved",
    "RequestDenied": "denied",
    "RequestReturned": "returned",
    "RequestWithdrawn": "withdrawn",
    "InformationRequestLapsed": "lapsed",
}
BEFORE_REVIEW = {
    "RequestSubmitted",
    "RequestRegistered",
    "RequestReturned",
    "RequestAmended",
    "RequestWithdrawn",
    "PersonRecused",
    "DeadlineMissed",
}
"""What may happen to a request that is not registered."""


@dataclass(slots=True)
class Question:
    agency: str
    due: datetime | None
    answered: bool = False


@dataclass(slots=True)
class Request:
    """One request, as far as the log has told of it."""

    id: str
    customer: str
    release: str
    provider: str
    applicant: str
    tier: str
    user_classes: list[str]
    affiliates: list[str]
    duration_days: int | None
    renews: str | None
    revision: int = 1
    terms: dict[str, Any] | None = None
    intake_due: datetime | None = None
    registered: bool = False
    began: datetime | None = None
    dues: dict[str, datetime] = field(default_factory=dict)
    missed: set[str | None] = field(default_factory=set)
    waits: list[tuple[datetime, datetime]] = field(default_factory=list)
    stopped: datetime | None = None
    extension_days: int = 0
    positions: Positions = field(default_factory=Positions)
    questions: dict[int, Question] = field(default_factory=dict)
    escalated: bool = False
    recused: set[str] = field(default_factory=set)
    ended: str | None = None
    ended_at: datetime | None = None
    decider: str | None = None
    appeals: list[str | None] = field(default_factory=list)
    grant: str | None = None
    resolved: str | None = None
    voided: bool = False
    clock_moved: bool = False
    unanswered: bool = False

    @property
    def tree(self) -> trees.Node:
        assert self.terms is not None
        return self.terms["sign_offs"]  # type: ignore[no-any-return]

    @property
    def agencies(self) -> list[str]:
        return trees.agencies(self.tree) if self.terms else []

    @property
    def verdict(self) -> str:
        return trees.says(self.tree, self.positions)


class Requests:
    """Folds the streams of requests. `log` gives the other books."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.all: dict[str, Request] = {}

    def of(self, id: str) -> Request:
        if id not in self.all:
            raise Violation("§2", f"there is no request {id}")
        return self.all[id]

    def take(self, entry: Entry) -> None:
        if entry.id not in self.all:
            self._opened(entry)
            return
        here = self.all[entry.id]
        self._must_be_open(here, entry)
        if entry.cause is None and (recused := entry.people & here.recused):
            raise Violation("I5", f"{', '.join(sorted(recused))} is recused, and acted")
        HANDLERS[entry.type](self, here, entry)

    def _opened(self, entry: Entry) -> None:
        if entry.type not in ("RequestDrafted", "RequestSubmitted"):
            raise Violation("§2", f"{entry.type} in a request that nobody drafted")
        data = entry.data
        release = self.log.releases.of(data["release"])
        if release.withdrawn or release.provider != data["provider"]:
            raise Violation("§2", "a request for a release that is not offered")
        here = Request(
            entry.id,
            data["customer"],
            data["release"],
            data["provider"],
            entry.person,
            data["tier"],
            data["user_classes"],
            data["affiliates"],
            data["duration_days"],
            data["renews"],
        )
        self.all[entry.id] = here
        if entry.type == "RequestSubmitted":
            self.submitted(here, entry)

    def _must_be_open(self, here: Request, entry: Entry) -> None:
        """I1: after the decision of a cycle only an appeal is heard, one at a time."""
        if here.ended is None:
            if not here.registered and entry.type not in BEFORE_REVIEW:
                raise Violation("§2", f"{entry.type} before the review began")
            return
        appealed = bool(here.appeals) and here.appeals[-1] is None
        if entry.type == ("AppealDecided" if appealed else "AppealFiled") and here.ended == "denied":
            return
        raise Violation("I1", f"{entry.type} after the request was {here.ended}")

    # The application

    def submitted(self, here: Request, entry: Entry) -> None:
        if here.terms is not None:
            raise Violation("I1", "a request was handed in twice")
        terms = here.terms = entry.data["terms"]
        version, published = self.log.policy_in_force(self.log.releases.of(here.release).policy, entry.occurred)
        pinned = {name: terms[name] for name in ("sign_offs", "on_refusal", "decider", "clocks")}
        if (terms["version"], pinned, terms["grant_days"]) != (
            version,
            {name: published[name] for name in pinned},
            published["grant"]["days"],
        ):
            raise Violation("I2", "the request is not pinned to the version of the policy in force")
        here.intake_due = instant_or_none(entry.data["intake_due"])
        self._same(here.intake_due, self._counted(here, entry.occurred, terms["clocks"]["intake_days"]), "intake_due")

    def registered(self, here: Request, entry: Entry) -> None:
        if here.registered or here.terms is None:
            raise Violation("§2", "what is registered is a request that was handed in, once")
        here.registered, here.began = True, entry.occurred
        self._new_dues(here, entry)

    def amended(self, here: Request, entry: Entry) -> None:
        changes = {name: value for name, value in entry.data["changes"].items() if value is not None}
        if entry.data["revision"] != here.revision + 1:
            raise Violation("I2", "revisions count one by one")
        duration = changes.get("duration_days")
        longer = duration is not None and here.duration_days is not None and duration > here.duration_days
        material = longer or set(changes) != {"duration_days"}
        if material != entry.data["material"]:
            raise Violation("I2", f"the change is {'' if material else 'not '}material, and was not treated so")
        here.revision += 1
        for name, value in changes.items():
            if name != "use":
                setattr(here, name, value)
        if material and here.registered:
            here.voided = here.clock_moved = True
            here.positions.deemed.clear()
            here.positions.overruled.clear()
            self._begin_again(here, entry)

    def _begin_again(self, here: Request, entry: Entry) -> None:
        here.missed.clear()
        here.waits.clear()
        here.began = entry.occurred
        here.stopped = None if all(q.answered for q in here.questions.values()) else entry.occurred

    # Positions

    def signed_off(self, here: Request, entry: Entry) -> None:
        data, agency = entry.data, entry.data["agency"]
        if data["revision"] != here.revision:
            raise Violation("I2", f"revision {data['revision']} was signed when {here.revision} was current")
        self._may_sign(here, entry, agency)
        for person, position in here.positions.of(agency).items():
            if person != entry.person and position.people & entry.people:
                raise Violation("I4", "one power counts for two people")
        here.positions.take(
            agency, entry.person, Position(data["position"], data["conditions"], frozenset(entry.people))
        )

    def countersigned(self, here: Request, entry: Entry) -> None:
        self._may_sign(here, entry, entry.data["agency"])
        self._confirming(here, entry)
        for person in entry.data["people"]:
            here.positions.of(entry.data["agency"])[person].confirmed_by = frozenset(entry.people)

    def countersign_refused(self, here: Request, entry: Entry) -> None:
        self._may_sign(here, entry, entry.data["agency"])
        self._confirming(here, entry)
        here.positions.strike(entry.data["agency"], entry.data["people"])

    def _confirming(self, here: Request, entry: Entry) -> None:
        mine = here.positions.of(entry.data["agency"])
        for person in entry.data["people"]:
            if person not in mine or mine[person].confirmed_by:
                raise Violation("I4", f"no position of {person} awaits a countersignature")
            if mine[person].people & entry.people:
                raise Violation("I4", f"{entry.person} countersigned their own sign-off")

    def _may_sign(self, here: Request, entry: Entry, agency: str) -> None:
        own = here.applicant in entry.people or self.log.offices.holds_any(entry.people, here.customer, entry.occurred)
        if own:
            raise Violation("I4", f"{entry.person} signed off their own organization's request")
        if other := here.positions.elsewhere(agency, entry.people):
            raise Violation("I4", f"{entry.person} counts for {agency} and for {other}")

    def voided(self, here: Request, entry: Entry) -> None:
        if not here.voided:
            raise Violation("I2", "sign-offs were voided without a material change")
        here.positions.strike(entry.data["agency"], entry.data["people"])

    # The clock

    def extended(self, here: Request, entry: Entry) -> None:
        if here.extension_days:
            raise Violation("I9", "the review was extended a second time")
        if here.stopped is None and max(here.dues.values()) <= entry.occurred:
            raise Violation("I9", "the review was extended when it was due")
        here.extension_days = entry.data["days"]
        self._new_dues(here, entry)

    def asked(self, here: Request, entry: Entry) -> None:
        number = entry.data["number"]
        if number != len(here.questions) + 1:
            raise Violation("§2", "questions count from 1")
        due = instant_or_none(entry.data["due"])
        assert here.terms is not None
        self._same(due, self._counted(here, entry.occurred, here.terms["clocks"]["information_days"]), "due")
        here.questions[number] = Question(entry.data["agency"], due)
        here.positions.asking[number] = entry.data["agency"]
        here.stopped = here.stopped or entry.occurred

    def answered(self, here: Request, entry: Entry) -> None:
        question = here.questions[entry.data["number"]]
        if question.answered:
            raise Violation("§2", "a question was answered twice")
        question.answered = True
        if here.stopped is not None and all(q.answered for q in here.questions.values()):
            here.waits.append((here.stopped, entry.occurred))
            here.stopped, here.clock_moved = None, True

    def accepted(self, here: Request, entry: Entry) -> None:
        if not here.questions[entry.data["number"]].answered or entry.data["number"] not in here.positions.asking:
            raise Violation("§2", "a question was closed that is not answered, or is closed")
        del here.positions.asking[entry.data["number"]]

    def due_moved(self, here: Request, entry: Entry) -> None:
        if not here.clock_moved:
            raise Violation("I9", "a due date moved without a reason")
        self._new_dues(here, entry)

    def _new_dues(self, here: Request, entry: Entry) -> None:
        """I9: the dates are what this book counts on its own calendar."""
        found = {agency: instant(due) for agency, due in entry.data["dues"].items()}
        counted = self._dues(here)
        if found != counted:
            raise Violation("I9", f"due dates {_told(found)}, but counted {_told(counted)}")
        self._same(instant(entry.data["due"]), max(counted.values()), "due")
        here.dues, here.clock_moved = counted, False

    def _dues(self, here: Request) -> dict[str, datetime]:
        """Each agency's date: its own days or the policy's; one that was missed stays; the earliest of several."""
        assert here.terms is not None and here.began is not None
        clocks = here.terms["clocks"]
        closures = self.log.closures(clocks["calendar"])
        dues = {agency: due for agency, due in here.dues.items() if agency in here.missed}
        for leaf in trees.leaves(here.tree):
            if leaf["agency"] not in here.missed:
                allowed = (leaf["due_days"] or clocks["review_days"]) + here.extension_days
                due = days.due(here.began, allowed, leaf["days"] or clocks["days"], closures, tuple(here.waits))
                dues[leaf["agency"]] = min(due, dues.get(leaf["agency"], due))
        return dues

    def _counted(self, here: Request, start: datetime, allowed: int | None) -> datetime | None:
        """When that many of the policy's days are over."""
        assert here.terms is not None
        clocks = here.terms["clocks"]
        if allowed is None:
            return None
        return days.due(start, allowed, clocks["days"], self.log.closures(clocks["calendar"]))

    def _same(self, found: datetime | None, counted: datetime | None, name: str) -> None:
        if found != counted:
            raise Violation("I9", f"{name} is {found}, but counted {counted}")

    # Time alone

    def next_due(self, here: Request) -> list[tuple[datetime, str, Any]]:
        """What time alone will do: when, the event, and the agency or question."""
        if here.ended is not None or here.terms is None:
            return []
        found: list[tuple[datetime, str, Any]] = [
            (q.due, "InformationRequestLapsed", number)
            for number, q in here.questions.items()
            if q.due is not None and not q.answered
        ]
        if not here.registered:
            if here.intake_due is not None and None not in here.missed:
                found.append((here.intake_due, "DeadlineMissed", None))
        elif here.stopped is None:
            for leaf in trees.awaited(here.tree, here.positions):
                if leaf["agency"] not in here.missed:
                    found.append((here.dues[leaf["agency"]], "DeadlineMissed", leaf["agency"]))
        return found

    def deemed(self, here: Request, entry: Entry) -> None:
        """I3: silence is no objection only where every leaf of the agency says so, and only silence is."""
        agency = entry.data["agency"]
        mine = [leaf for leaf in trees.leaves(here.tree) if leaf["agency"] == agency]
        if not mine or any(leaf["silence"] != "no_objection" for leaf in mine):
            raise Violation("I3", f"the policy does not take the silence of {agency} for no objection")
        if here.positions.of(agency):
            raise Violation("I3", f"{agency} was not silent")
        self._overdue(here, entry)
        here.positions.deemed.add(agency)

    def missed(self, here: Request, entry: Entry) -> None:
        """I3: where the policy takes silence for no objection, or escalates it, so it is done."""
        agency = entry.data["agency"]
        says = {leaf["silence"] for leaf in trees.leaves(here.tree) if leaf["agency"] == agency}
        if says == {"no_objection"} and not here.positions.of(agency):
            raise Violation("I3", f"the silence of {agency} is no objection, and was not deemed so")
        self._overdue(here, entry)
        here.unanswered = here.unanswered or (says == {"escalate"} and not here.escalated)

    def _overdue(self, here: Request, entry: Entry) -> None:
        agency = entry.data["agency"]
        due = here.intake_due if agency is None else here.dues.get(agency)
        if due is None or due > entry.occurred or agency in here.missed or here.stopped is not None:
            raise Violation("I3", f"the silence of {agency or 'the registrar'} was counted before its time")
        if instant(entry.data["due"]) != due:
            raise Violation("I9", f"the date missed was {due}")
        here.missed.add(agency)

    def lapsed(self, here: Request, entry: Entry) -> None:
        question = here.questions[entry.data["number"]]
        if question.answered or question.due is None or question.due > entry.occurred:
            raise Violation("I3", "a question lapsed before its time")
        self.ended(here, entry)

    # Decisions

    def recused(self, here: Request, entry: Entry) -> None:
        here.recused.add(entry.data["person"])

    def escalated(self, here: Request, entry: Entry) -> None:
        here.escalated, here.unanswered = True, False

    def resolved(self, here: Request, entry: Entry) -> None:
        if not here.escalated:
            raise Violation("I2", "a dispute was resolved that nobody had escalated")
        if not set(entry.data["overrules"]) <= set(here.agencies):
            raise Violation("I2", "an agency was overruled that is not in the tree")
        self._uninvolved(here, entry)
        here.escalated = False
        here.resolved = entry.data["outcome"]
        here.positions.overruled |= set(entry.data["overrules"])

    def _uninvolved(self, here: Request, entry: Entry) -> None:
        if involved := entry.people & (here.positions.involved() | {here.decider}):
            raise Violation("I4", f"{', '.join(str(i) for i in involved)} decided on their own act")

    def approved(self, here: Request, entry: Entry) -> None:
        if here.verdict != YES:
            raise Violation("I2", "approved, but the tree is not satisfied on the current revision")
        self._decided(here, entry)
        here.grant = entry.data["grant"]
        self.ended(here, entry)

    def denied(self, here: Request, entry: Entry) -> None:
        assert here.terms is not None
        if entry.cause is None and here.verdict == OPEN:
            raise Violation("I2", "denied before the sign-offs were settled")
        refused = here.verdict == NO and here.terms["on_refusal"] == "deny" and not here.terms["decider"]
        if entry.cause is not None and here.resolved != "deny" and not refused:
            raise Violation("I2", "denied, but neither the tree nor the policy says so")
        self._decided(here, entry)
        self.ended(here, entry)

    def _decided(self, here: Request, entry: Entry) -> None:
        """Where the policy has a decider it is the decider's act; elsewhere it follows from what settled it."""
        assert here.terms is not None
        if entry.cause is None:
            if not here.terms["decider"]:
                raise Violation("I2", "decided by itself, where the sign-offs settle it")
            self._uninvolved(here, entry)
        elif here.terms["decider"] and here.resolved is None:
            raise Violation("I2", "decided without the decider")

    def returned(self, here: Request, entry: Entry) -> None:
        if entry.cause is not None and here.resolved != "return":
            raise Violation("I2", "returned, but nobody resolved so")
        self.ended(here, entry)

    def withdrawn(self, here: Request, entry: Entry) -> None:
        self.ended(here, entry)

    def ended(self, here: Request, entry: Entry) -> None:
        here.ended, here.ended_at = ENDINGS[entry.type], entry.occurred
        here.decider = entry.person
        here.escalated, here.stopped = False, None

    # Appeals

    def appealed(self, here: Request, entry: Entry) -> None:
        if entry.data["number"] != len(here.appeals) + 1 or (here.appeals and here.appeals[-1] == "uphold"):
            raise Violation("I1", "an appeal after the appeal that upheld the decision, or out of order")
        assert here.terms is not None and here.ended_at is not None
        due = self._counted(here, here.ended_at, here.terms["clocks"]["appeal_days"])
        if due is not None and entry.occurred > due:
            raise Violation("I9", f"an appeal was due by {due}")
        here.appeals.append(None)

    def appeal_decided(self, here: Request, entry: Entry) -> None:
        outcome = here.appeals[-1] = entry.data["outcome"]
        if entry.data["number"] != len(here.appeals):
            raise Violation("I1", "an appeal was decided that is not open")
        self._uninvolved(here, entry)
        if outcome == "uphold":
            return
        here.ended = None
        if outcome == "reverse":
            here.positions.overruled |= set(entry.data["overrules"])
            here.resolved = "approve"
            return
        here.resolved = None
        here.positions = Positions(asking=here.positions.asking)
        here.extension_days, here.clock_moved = 0, True
        self._begin_again(here, entry)

    # At the end of an append

    def settled(self, here: Request) -> None:
        """What settles a request is in the same append as the decision; so is what a change or an answer moves."""
        if here.ended is not None or not here.registered:
            return
        assert here.terms is not None
        if here.voided and any(here.positions.standing.values()):
            raise Violation("I2", "a material change left sign-offs of the old revision standing")
        here.voided = False
        if here.clock_moved and here.dues != self._dues(here):
            raise Violation("I9", "the applicant kept the agencies waiting, and no date moved")
        here.clock_moved = False
        if here.unanswered:
            raise Violation("I3", "the policy escalates silence, and nobody was told")
        if here.resolved is not None:
            raise Violation("I1", "a dispute was resolved, but nothing decided")
        if not here.terms["decider"] and not here.escalated and here.verdict != OPEN:
            raise Violation("I2", "the tree is settled, and the request neither decided nor escalated")

    # Grants

    def renewed_by(self, new: str, old: str) -> bool:
        """Whether the new grant was given to a request that renews the old one."""
        issued = self.log.grants.all.get(new)
        return issued is not None and self.all[issued.request].renews == old

    def terms_of_grant(self, here: Request, entry: Entry) -> None:
        """I2: the grant says what was asked and signed, and lasts no longer than policy and request allow."""
        data, terms = entry.data, here.terms
        assert terms is not None
        asked = (here.customer, here.release, here.provider, [here.tier], here.user_classes, here.affiliates)
        names = ("customer", "release", "provider", "tiers", "user_classes", "affiliates")
        if tuple(data[name] for name in names) != asked:
            raise Violation("I2", "the grant is not what was asked for")
        if (data["policy"], data["policy_version"], data["agencies"]) != (
            terms["policy"],
            terms["version"],
            here.agencies,
        ):
            raise Violation("I2", "the grant does not name the policy it was given under")
        limits = [limit for limit in (terms["grant_days"], here.duration_days) if limit is not None]
        until = entry.occurred + timedelta(days=min(limits)) if limits else None
        self._same(instant_or_none(data["until"]), until, "until")
        if [(c["number"], c["agency"], c["text"], c["kind"], c["due"]) for c in data["conditions"]] != [
            (number, agency, c["text"], c["kind"], self._condition_due(here, entry, c["due_days"]))
            for number, (agency, c) in enumerate(_conditions(here), 1)
        ]:
            raise Violation("I7", "the grant's conditions are not those of the approvals that stand")

    def _condition_due(self, here: Request, entry: Entry, allowed: int | None) -> str | None:
        assert here.terms is not None
        if allowed is None:
            return None
        closures = self.log.closures(here.terms["clocks"]["calendar"])
        return days.due(entry.occurred, allowed, "calendar", closures).isoformat().replace("+00:00", "Z")


def _conditions(here: Request) -> list[tuple[str, dict[str, Any]]]:
    """The conditions of the approvals that stand, in the tree's order."""
    return [
        (agency, condition)
        for agency in here.agencies
        for position in here.positions.of(agency).values()
        if position.position != "refuse"
        for condition in position.conditions
    ]


def _told(dues: dict[str, datetime]) -> str:
    return ", ".join(f"{agency} {due:%Y-%m-%dT%H:%MZ}" for agency, due in sorted(dues.items()))


HANDLERS = {
    "RequestSubmitted": Requests.submitted,
    "RequestRegistered": Requests.registered,
    "RequestReturned": Requests.returned,
    "RequestAmended": Requests.amended,
    "SignOffVoided": Requests.voided,
    "RequestWithdrawn": Requests.withdrawn,
    "AgencySignedOff": Requests.signed_off,
    "SignOffCountersigned": Requests.countersigned,
    "CountersignRefused": Requests.countersign_refused,
    "ReviewExtended": Requests.extended,
    "InformationRequested": Requests.asked,
    "InformationProvided": Requests.answered,
    "InformationAccepted": Requests.accepted,
    "PersonRecused": Requests.recused,
    "RequestEscalated": Requests.escalated,
    "DisputeResolved": Requests.resolved,
    "NoObjectionDeemed": Requests.deemed,
    "InformationRequestLapsed": Requests.lapsed,
    "DeadlineMissed": Requests.missed,
    "DueDateMoved": Requests.due_moved,
    "RequestApproved": Requests.approved,
    "RequestDenied": Requests.denied,
    "AppealFiled": Requests.appealed,
    "AppealDecided": Requests.appeal_decided,
}
