"""How long does each review take, how does it end, and what is each agency's own part in that?

A review is one cycle of a request: from its submission, or an appeal's filing, to the decision. Its parts are those of
the agencies of the pinned tree. What each word and number means is said in `projections/turnaround.py`, `DEFINITIONS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from domain import appeals
from domain.clocks import ZONE, Interval, union
from domain.facts import Fact
from domain.request import (
    AccessRequest,
    DeadlineMissed,
    InformationRequested,
    InformationRequestLapsed,
    NoObjectionDeemed,
    RequestAmended,
    RequestApproved,
    RequestDenied,
    RequestRegistered,
    RequestReturned,
    RequestSubmitted,
    RequestWithdrawn,
)
from domain.sign_offs import Leaf, Sheet, Verdict, leaf_verdict, leaves, verdict
from domain.values import replace, unguarded

OUTCOMES = (
    "approved",
    "conditional",
    "no_objection",
    "denied",
    "returned",
    "withdrawn",
    "lapsed",
    "unanswered",
    "pending",
)
"""How a review, or an agency's part in it, ended; `pending`: not yet."""

BY_THE_AUTHORITIES = frozenset({"approved", "conditional", "no_objection", "denied", "returned"})
"""Ends that say something of how long the authorities took: an applicant's leaving, or silence, does not."""

ANSWERS = frozenset({"approved", "conditional", "denied"})


@unguarded
@dataclass(frozen=True, slots=True)
class Part:
    """What an agency had to do in a review, since its clock started last, and its answer as it stands."""

    started: datetime
    answer: str | None = None
    answered: datetime | None = None
    deemed: datetime | None = None
    missed: bool = False
    asked: bool = False
    silence: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class Review:
    """One cycle of a request; it began at the log's position `began`. Flags tell what happened at any time in it."""

    cycle: int
    began: int
    started: datetime
    registered: datetime | None = None
    waits: tuple[Interval, ...] = ()
    waits_since: datetime | None = None
    outcome: str = "pending"
    ended: datetime | None = None
    missed: bool = False
    asked: bool = False
    silence: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def counts_from(self) -> datetime | None:
        """When the authorities' own time began: an appeal needs no registration."""
        return self.started if self.cycle > 1 else self.registered

    def waited(self, since: datetime, until: datetime) -> timedelta:
        """How much of that time was spent waiting for the applicant."""
        intervals = self.waits if self.waits_since is None else (*self.waits, (self.waits_since, until))
        inside = ((max(start, since), min(end, until)) for start, end in intervals)
        return sum((end - start for start, end in union(pair for pair in inside if pair[0] < pair[1])), timedelta())


Reviews = tuple[Review, ...]
"""The reviews of one request, in order; only the last one still changes."""


def followed(reviews: Reviews, fact: Fact, here: AccessRequest | None) -> Reviews:
    """The reviews of a request after one more fact of it, which left the request as it is `here`."""
    match fact.event:
        case RequestSubmitted():
            return (Review(1, fact.position, fact.occurred),)
        case appeals.AppealFiled():
            return (*reviews, Review(len(reviews) + 1, fact.position, fact.occurred))
    if not reviews or here is None or reviews[-1].ended is not None:
        return reviews  # a draft, or what comes after the decision
    last = reviews[-1]
    after = _waiting(_answered(_happened(last, fact, here), fact, here), fact, here)
    return reviews if after == last else (*reviews[:-1], after)


def _happened(review: Review, fact: Fact, here: AccessRequest) -> Review:
    match fact.event:
        case RequestRegistered():
            return replace(review, registered=fact.occurred, parts=_parts(here, fact.occurred))
        case RequestAmended(_, _, True):
            anew: Any = {"started": fact.occurred, "answer": None, "answered": None, "deemed": None}
            return replace(review, parts={agency: replace(part, **anew) for agency, part in review.parts.items()})
        case InformationRequested(_, agency):
            return _flagged(replace(review, asked=True), agency, asked=True)
        case DeadlineMissed(agency):
            return _flagged(replace(review, missed=True), agency, missed=True)
        case NoObjectionDeemed(agency):
            return _flagged(replace(review, silence=True), agency, silence=True, deemed=fact.occurred)
        case RequestApproved():
            return _ended(review, fact, _approval(here))
        case RequestDenied() | appeals.AppealDecided(_, "uphold"):
            return _ended(review, fact, "denied")
        case RequestReturned():
            return _ended(review, fact, "returned")
        case RequestWithdrawn():
            return _ended(review, fact, "withdrawn")
        case InformationRequestLapsed():
            return _ended(review, fact, "lapsed")
        case appeals.AppealDecided(_, "remand"):
            return replace(review, parts=_parts(here, fact.occurred))
        case _:
            return review


def _parts(here: AccessRequest, started: datetime) -> dict[str, Part]:
    return {agency: Part(started) for agency in here.agencies}


def _flagged(review: Review, agency: str | None, **flags: Any) -> Review:
    """The intake's missed date, or a question of an agency whose part has not begun, is nobody's part."""
    if agency is None or agency not in review.parts:
        return review
    return replace(review, parts={**review.parts, agency: replace(review.parts[agency], **flags)})


def _ended(review: Review, fact: Fact, outcome: str) -> Review:
    return replace(review, outcome=outcome, ended=fact.occurred)


def _approval(here: AccessRequest) -> str:
    """I3: an approval that stands only by silence is told apart from those that somebody gave."""
    assert here.terms is not None, "a request that was approved is pinned to a policy"
    sheet = here.sheet
    if sheet.deemed and verdict(here.terms.sign_offs, replace(sheet, deemed=frozenset())) is not Verdict.APPROVES:
        return "no_objection"
    return "conditional" if any(s.conditions and s.position != "refuse" for s in sheet.signatures) else "approved"


def _answered(review: Review, fact: Fact, here: AccessRequest) -> Review:
    """Each agency's answer, dated when it became what it is. The facts after an amendment strike what it voids."""
    if not review.parts or here.terms is None or review.ended is not None or isinstance(fact.event, RequestAmended):
        return review
    own = replace(here.sheet, deemed=frozenset(), overruled=frozenset())
    parts = dict(review.parts)
    for agency, part in review.parts.items():
        answer = _answer([leaf for leaf in leaves(here.terms.sign_offs) if leaf.agency == agency], own)
        if answer != part.answer:
            parts[agency] = replace(part, answer=answer, answered=fact.occurred if answer else None)
    return review if parts == review.parts else replace(review, parts=parts)


def _answer(own_leaves: list[Leaf], sheet: Sheet) -> str | None:
    """What an agency says in all its leaves, by itself; None: it has not settled that yet."""
    said = [leaf_verdict(leaf, sheet) for leaf in own_leaves]
    if Verdict.REFUSES in said:
        return "denied"
    if Verdict.WAITS in said:
        return None
    return "conditional" if any(s.conditions for s in sheet.of(own_leaves[0].agency)) else "approved"


def _waiting(review: Review, fact: Fact, here: AccessRequest) -> Review:
    """The clock stands still from the first open question to the last answer, or to the decision."""
    stopped = here.stopped is not None and review.ended is None
    if stopped and review.waits_since is None:
        return replace(review, waits_since=fact.occurred)
    if not stopped and review.waits_since is not None:
        return replace(review, waits=(*review.waits, (review.waits_since, fact.occurred)), waits_since=None)
    return review


# What is measured


TENTHS_MAX = 150_000
_TENTH, _DAY = timedelta(hours=2, minutes=24), timedelta(days=1)


def tenths(elapsed: timedelta) -> int:
    """Days in tenths, halves rounded up: to a tenth of a day below ten days, from there on to a whole day."""
    found = (elapsed + _TENTH / 2) // _TENTH
    if found > 100:
        found = 10 * ((elapsed + _DAY / 2) // _DAY)
    return min(found, TENTHS_MAX)


def day_of(instant: datetime) -> str:
    """The day in Washington: `2026-07-08`."""
    return instant.astimezone(ZONE).date().isoformat()


@unguarded
@dataclass(frozen=True, slots=True)
class Measured:
    """What is counted of a review or of a part: when it began and ended, how, and in how many tenths of days."""

    outcome: str
    started: datetime
    ended: datetime | None
    missed: bool
    asked: bool
    silence: bool
    intake: int | None = None
    net: int | None = None
    gross: int | None = None


def measured(review: Review) -> Measured:
    started, ended, begun = review.started, review.ended, review.counts_from
    intake = net = gross = None
    if review.cycle == 1 and (review.registered or review.outcome == "returned"):
        intake = tenths((review.registered or ended or started) - started)
    if ended is not None and review.outcome in BY_THE_AUTHORITIES:
        gross = tenths(ended - started)
        if begun is not None:
            net = tenths(ended - begun - review.waited(begun, ended))
    return Measured(review.outcome, started, ended, review.missed, review.asked, review.silence, intake, net, gross)


def measured_part(review: Review, part: Part) -> Measured:
    """Net and gross days of an agency are those until its answer; where it gave none, there are none."""
    outcome, ended = "pending", review.ended
    if part.answer is not None:
        outcome, ended = part.answer, part.answered
    elif part.deemed is not None:
        outcome, ended = "no_objection", part.deemed
    elif review.ended is not None:
        outcome = review.outcome if review.outcome in ("returned", "withdrawn", "lapsed") else "unanswered"
    net = gross = None
    if outcome in ANSWERS and ended is not None:
        gross = tenths(ended - part.started)
        net = tenths(ended - part.started - review.waited(part.started, ended))
    return Measured(outcome, part.started, ended, part.missed, part.asked, part.silence, None, net, gross)
