"""How does a log get the requests of two years, a million of them, within minutes?

The rule book decides the lives of a thousand requests, week by week and with timers, of many customers. Each
is then told as many times as the log shall have thousands of requests, under ids of their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import psycopg

from domain.facts import Fact
from domain.grant import SuspendGrant
from domain.organization import Appoint, RegisterOrganization
from domain.policy import GrantTerms, PublishPolicy
from domain.release import AdvancePhase, AnnounceRelease, Phase
from domain.request import Countersign, Escalate, RegisterRequest, ReturnWithoutAction, SignOff, WithdrawRequest
from domain.sign_offs import AllOf, Leaf, ProposedCondition
from services.ids import new_id
from services.log.merkle import Frontier, leaf_hash
from services.log.record import Tail, seal, tail
from tests.benchmarks.grown import CHUNK, Row, append, settle
from tests.spec import COMMERCE, ONCD, OSTP, THIRTY_DAYS, THREE_AGENCIES, Story, application, cast, instant

BEGIN = "2024-10-01T13:00:00Z"
STRETCHES = 100
STRETCH_DAYS = 7
LIVES = 10
"""Requests that are told apart in each stretch."""

REVIEW_STRETCHES = 3
"""How much later a review ends: those of the last ones are still open."""

REQUESTS_MIN = STRETCHES * LIVES
CUSTOMERS = 40
RELEASES = 8
SELDOM = 20
"""In each so many stretches there is one request of its own kind: escalated, of the customer `seldom`, or for `bis`."""

PHASES = (Phase("closed", "closed"), Phase("preview", "granted"))


@dataclass
class Years:
    """The story that is told again, and under which ids: those of each request and grant that is told many times."""

    copies: int
    story: Story
    ids: dict[str, list[str]] = field(default_factory=dict)

    def ids_of(self, name: str, now: datetime) -> list[str]:
        if name not in self.ids:
            self.ids[name] = [new_id(now) for _ in range(self.copies)]
        return self.ids[name]


def end() -> datetime:
    """The time after the last act."""
    return instant(BEGIN) + timedelta(days=STRETCH_DAYS * (STRETCHES + 1))


def grow(conninfo: str, requests: int) -> int:
    """Put the story into an empty log, with about so many requests; how many there are. Nobody else may write to it."""
    years = Years(max(1, requests // REQUESTS_MIN), _before())
    frontier = Frontier()
    base: dict[int, tuple[int, int]] = {}
    with psycopg.connect(conninfo) as conn:
        waiting: list[Row] = []
        for fact in _facts(years):
            waiting += _told(years, fact, frontier.size + len(waiting), base)
            if len(waiting) >= CHUNK:
                append(conn, waiting, frontier)
                waiting = []
        append(conn, waiting, frontier)
    settle(conninfo)
    return years.copies * REQUESTS_MIN


def _told(years: Years, fact: Fact, position: int, base: dict[int, tuple[int, int]]) -> Iterator[Row]:
    """A fact of the story as records: one, or as many as the request is told times. `base`: where each fact is told."""
    kind, _, name = fact.stream.partition("-")
    copied = name in years.ids
    ids = years.ids[name] if copied else [name]
    base[fact.position] = (position, len(ids))
    cause, causes = base.get(fact.cause, (0, 0)) if fact.cause is not None else (0, 0)
    mark = 10**15
    before = tail(replace(fact, command="(command)", salt="(salt)", cause=None if fact.cause is None else mark))
    others = [each for each in ("r" + name[1:], "g" + name[1:]) if copied and each in years.ids]
    for nth, id in enumerate(ids):
        text = before.replace(b"(salt)", b"%032x" % (position + nth)).replace(b"(command)", id.encode())
        for other in others:
            text = text.replace(b'"%b"' % other.encode(), b'"%b"' % years.ids[other][nth].encode())
        if fact.cause is not None:
            text = text.replace(b"%d" % mark, b"%d" % (cause + (nth if causes > 1 else 0)))
        stream = f"{kind}-{id}"
        record = seal(position + nth, stream, fact.version, fact.type, fact.recorded, Tail(text))
        yield position + nth, stream, fact.version, fact.type, None, None, record, leaf_hash(record)


# The story


def _before() -> Story:
    """Organizations and releases. Most releases need three agencies, the last one `bis` as well."""
    story = cast(BEGIN).given(Appoint("assent", "rex", "records_officer"))
    for nth in range(CUSTOMERS):
        story.given(RegisterOrganization(f"c{nth:02}", "customer", f"Customer {nth}", "US", _size(nth)))
        story.given(Appoint(f"c{nth:02}", f"of-c{nth:02}", "applicant"))
    story.given(RegisterOrganization("seldom", "customer", "Seldom", "US", "small"))
    story.given(Appoint("seldom", "of-seldom", "applicant"), Appoint("bis", "bob", "reviewer"))
    terms = {"clocks": THIRTY_DAYS, "grant": GrantTerms(180)}
    story.given(PublishPolicy("common", "Executive Order 14409", THREE_AGENCIES, **terms))  # type: ignore[arg-type]
    four = AllOf((ONCD, OSTP, COMMERCE, Leaf("bis")))
    story.given(PublishPolicy("with-bis", "Executive Order 14409", four, **terms))  # type: ignore[arg-type]
    for nth in range(RELEASES):
        policy = "with-bis" if nth == RELEASES - 1 else "common"
        id = f"model-{nth}"
        story.given(AnnounceRelease(id, "openai", f"Model {nth}", ("standard",), policy, "high", PHASES), by="rae")
        story.given(AdvancePhase(id, "preview"), by="rae")
    return story


def _size(nth: int) -> str:
    return ("startup", "small", "medium", "large")[nth % 4]


def _facts(years: Years) -> Iterator[Fact]:
    """The story, week by week: reviews begin, go on, end; grants come to their end by time."""
    story, told = years.story, 0
    for stretch in range(STRETCHES):
        now = instant(BEGIN) + timedelta(days=STRETCH_DAYS * (stretch + 1))
        story.when_time_passes(now.isoformat())
        for nth in range(LIVES):
            _begin(years, stretch, nth)
        if stretch >= REVIEW_STRETCHES:
            for nth in range(LIVES):
                _finish(years, stretch - REVIEW_STRETCHES, nth)
        if stretch % SELDOM == 0:
            _seldom(story, stretch)
        yield from story.facts[told:]
        told = len(story.facts)


def _begin(years: Years, stretch: int, nth: int) -> None:
    """A request is handed in; most are registered, and some are signed off by one agency at once."""
    story, name = years.story, f"r{stretch:03}x{nth}"
    customer = f"c{(stretch * LIVES + nth) ** 2 % CUSTOMERS:02}"
    years.ids_of(name, story.now)
    asked = replace(application(customer), release=f"model-{nth % (RELEASES - 1)}")
    story.given(asked, by=f"of-{customer}", ids=[name])
    if nth == 6:
        story.given(ReturnWithoutAction(name, "The intended use is not described"), by="rita")
        return
    story.given(RegisterRequest(name), by="rita")
    if nth % 2:
        story.given(SignOff(name, "oncd", "approve"), by="olga")


def _finish(years: Years, stretch: int, nth: int) -> None:
    """It is withdrawn, refused, or approved; some of these under a condition."""
    story, name = years.story, f"r{stretch:03}x{nth}"
    if nth == 6:
        return
    if nth == 5:
        story.given(WithdrawRequest(name), by=f"of-{story.state(f'request-{name}').customer}")
        return
    if not nth % 2:
        story.given(SignOff(name, "oncd", "approve"), by="olga")
    if nth in (4, 8):
        story.given(SignOff(name, "ostp", "refuse", reason="Too risky"), by="sam")
        return
    condition = (ProposedCondition("Report misuse within 24 hours", "ongoing", due_days=30),) if nth == 1 else ()
    story.given(SignOff(name, "ostp", "approve"), by="sam")
    how = "approve_with_conditions" if condition else "approve"
    story.given(SignOff(name, "commerce", how, condition), by="cora")  # type: ignore[arg-type]
    grant = f"g{stretch:03}x{nth}"
    years.ids_of(grant, story.now)
    story.given(Countersign(name, "commerce"), by="carl", ids=[grant])


def _seldom(story: Story, stretch: int) -> None:
    """One request that is escalated, one for which `bis` is asked, and a grant that is suspended."""
    for id, release in ((f"escalated-{stretch}", "model-0"), (f"bis-{stretch}", f"model-{RELEASES - 1}")):
        asked = replace(application("seldom"), release=release)
        story.given(asked, by="of-seldom", ids=[id]).given(RegisterRequest(id), by="rita")
    story.given(Escalate(f"escalated-{stretch}", "They disagree"), by="omar")
    id = f"suspended-{stretch}"
    asked = replace(application("seldom"), release="model-1")
    story.given(asked, by="of-seldom", ids=[id]).given(RegisterRequest(id), by="rita")
    for agency, person in (("oncd", "olga"), ("ostp", "sam"), ("commerce", "cora")):
        story.given(SignOff(id, agency, "approve"), by=person)
    story.given(Countersign(id, "commerce"), by="carl", ids=[f"g-{id}"])
    story.given(SuspendGrant(f"g-{id}", "Seen misuse"), by="cora")
