"""How does a test say a rule: given a history, when someone acts, then these facts follow, or this refusal?

    in_review().when(SignOff("nw", "oncd", "approve"), by="olga").then(AgencySignedOff("oncd", 1, "approve"))

A `Story` is a log in memory, decided by `rulebook.handle`. It has one clock, which `at` sets. What opens a request,
grant or directive takes the next of the given `ids`, or else `id-1`, `id-2`, … Every append is checked: positions
without gaps, times that never go back (I8), and a replay that gives the states which the rules saw.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import ndiff
from itertools import count
from typing import Any

from domain import rulebook
from domain.errors import NotFound, Refused
from domain.facts import SYSTEM, By, Event, Fact
from domain.organization import Appoint, OrganizationRegistered, PersonAppointed, PowersDelegated, RegisterOrganization
from domain.policy import Clocks, GrantTerms, PublishPolicy
from domain.release import AdvancePhase, AnnounceRelease, Phase
from domain.request import Countersign, DraftRequest, RegisterRequest, SignOff
from domain.sign_offs import AllOf, Leaf, Tree
from domain.world import EMPTY, Stream, World, fold


def instant(text: str) -> datetime:
    """A time in UTC: `2026-06-20T13:00:00Z`, or a day's midnight."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def days(*texts: str) -> tuple[date, ...]:
    return tuple(date.fromisoformat(text) for text in texts)


class Story:
    """A history that grows as commands are given; see the module's first lines."""

    def __init__(self, at: str = "2026-06-20T13:00:00Z") -> None:
        self.now = instant(at)
        self.facts: list[Fact] = []
        self.streams: dict[str, Stream] = {}
        self._organizations: dict[str, set[str]] = {}
        self._standings: dict[str, Any] = {}
        self._names: deque[str] = deque()
        self._count = count(1)

    # What was before

    def at(self, time: str) -> "Story":
        """Set the clock; it never goes back."""
        assert instant(time) >= self.now, f"the story is at {self.now.isoformat()} already"
        self.now = instant(time)
        return self

    def given(self, *commands: Any, by: str = "root", ids: Iterable[str] = (), acting_as: str = "") -> "Story":
        """These commands were given, and none was refused."""
        self._names = deque(ids)
        for command in commands:
            world, _ = self._handle(command, by, acting_as, None)
            self._append(world)
        return self

    def happened(self, stream: str, *events: Event, by: By = SYSTEM, occurred: str = "") -> "Story":
        """These events are in the log, whatever the rules say to them."""
        world = self.world()
        for event in events:
            world.write(stream, event, by, instant(occurred) if occurred else self.now, "", None)
        self._append(world)
        return self

    # What is done, and what follows

    def when(
        self, command: Any, by: str = "root", *, acting_as: str = "", occurred: str = "", ids: Iterable[str] = ()
    ) -> "Outcome":
        """The command is given; say what follows with `then`, `refused` or `nothing`."""
        self._names = deque(ids)
        size = len(self.facts)
        try:
            world, _ = self._handle(command, by, acting_as, instant(occurred) if occurred else None)
        except Refused as refusal:
            return Outcome(self, [], refusal, size)
        self._append(world)
        return Outcome(self, world.facts, None, size)

    def when_time_passes(self, to: str, *, ids: Iterable[str] = ()) -> "Outcome":
        """Nobody acts until then; what time alone does is decided."""
        self.at(to)
        self._names = deque(ids)
        world = self.world()
        rulebook.pass_time(world, list(self.streams), self.now, self._id)
        size = len(self.facts)
        self._append(world)
        return Outcome(self, world.facts, None, size)

    # What is

    def state(self, stream: str) -> Any:
        return self.streams.get(stream, EMPTY).state

    def events(self, stream: str = "") -> list[Event]:
        return [fact.event for fact in self.facts if stream in ("", fact.stream)]

    def world(self) -> World:
        """The world of the next command: nothing written yet."""
        recorded = max([self.now, *(fact.recorded for fact in self.facts[-1:])])
        size = len(self.facts)
        return World(self._base, self._organizations_of, rulebook.evolve_of, size, recorded, self._standings)

    def _base(self, name: str) -> Stream:
        return self.streams.get(name, EMPTY)

    def _organizations_of(self, person: str) -> Iterable[str]:
        return sorted(self._organizations.get(person, ()))

    def _id(self) -> str:
        return self._names.popleft() if self._names else f"id-{next(self._count)}"

    def _handle(self, command: Any, person: str, acting_as: str, occurred: datetime | None) -> tuple[World, By]:
        chosen = tuple(acting_as.split("/")) if acting_as else None
        return rulebook.handle(command, self.world, person, chosen, occurred, self._id, "", lambda world, by: None)  # type: ignore[arg-type]

    def _append(self, world: World) -> None:
        for fact in world.facts:
            before = self._base(fact.stream)
            assert fact.position == len(self.facts), "positions have no gaps"
            assert fact.version == before.version + 1, "versions count from 1"
            assert fact.occurred <= fact.recorded, "I8: nothing is recorded before it occurred"
            assert fact.occurred >= before.occurred, "I8: within a stream occurred never goes back"
            self.streams[fact.stream] = fold(before, fact, rulebook.evolve_of(fact.stream))
            self.facts.append(fact)
            match fact.event:
                case PersonAppointed(person=person) | PowersDelegated(to=person):
                    self._organizations.setdefault(person, set()).add(fact.stream.partition("-")[2])
        for name, stream in world.written.items():
            assert self.streams[name] == stream, "a replay gives the states which the rules saw"


@dataclass(frozen=True)
class Outcome:
    """What followed from a command: new facts or a refusal. `size` is how long the log was before."""

    story: Story
    facts: list[Fact]
    refusal: Refused | None
    size: int

    def then(self, *events: Event) -> Story:
        """Exactly these events followed, in this order; `unittest.mock.ANY` stands for a field that does not matter."""
        assert self.refusal is None, f"refused: {_told(self.refusal)}\nexpected:\n{_listed(events)}"
        found = tuple(fact.event for fact in self.facts)
        assert found == events, "other events followed (- expected, + found):\n" + "\n".join(
            ndiff(_listed(events).splitlines(), _listed(found).splitlines())
        )
        return self.story

    def refused(self, refusal: type[Refused], *missing: str) -> Story:
        """It was refused by exactly this rule, saying that this is missing, and it left no event (I18)."""
        assert self.refusal is not None, f"not refused by {refusal.__name__}; there followed:\n" + _listed(
            fact.event for fact in self.facts
        )
        assert type(self.refusal) is refusal, f"expected {refusal.__name__}, but: {_told(self.refusal)}"
        assert self.refusal.rule and self.refusal.title and self.refusal.detail, "I18: a refusal names its rule"
        assert len(self.story.facts) == self.size, "I18: a refused command leaves no event"
        if missing:
            assert self.refusal.missing == missing
        elif refusal is NotFound:
            assert self.refusal.missing == (), "what one may not see is not described"
        return self.story

    def nothing(self) -> Story:
        """Nothing followed, and nothing forbade it."""
        return self.then()


def _listed(events: Iterable[Event]) -> str:
    return "\n".join(f"  {event!r}" for event in events) or "  (no event)"


def _told(refusal: Refused) -> str:
    return f"{type(refusal).__name__} ({refusal.rule}): {refusal.detail} Missing: {', '.join(refusal.missing) or '-'}"


# The cast: the people and organizations of the scenarios

ORGANIZATIONS = {
    "openai": RegisterOrganization("openai", "provider", "OpenAI", "US"),
    "oncd": RegisterOrganization("oncd", "agency", "Office of the National Cyber Director", "US", government=True),
    "ostp": RegisterOrganization("ostp", "agency", "Office of Science and Technology Policy", "US", government=True),
    "commerce": RegisterOrganization("commerce", "agency", "Department of Commerce", "US", government=True),
    "bis": RegisterOrganization("bis", "agency", "Bureau of Industry and Security", "US", government=True),
    "northwind": RegisterOrganization("northwind", "customer", "Northwind Bank", "US", "large"),
    "tinker": RegisterOrganization("tinker", "customer", "Tinker Labs", "US", "startup"),
}
PEOPLE = {
    "rita": ("assent", "registrar"),
    "dean": ("assent", "decider"),
    "ada": ("assent", "auditor"),
    "rae": ("openai", "release_manager"),
    "olga": ("oncd", "reviewer"),
    "omar": ("oncd", "head"),
    "sam": ("ostp", "reviewer"),
    "sue": ("ostp", "head"),
    "cora": ("commerce", "reviewer"),
    "carl": ("commerce", "countersigner"),
    "cleo": ("commerce", "head"),
    "bea": ("bis", "head"),
    "ben": ("bis", "head"),
    "nina": ("northwind", "applicant"),
    "tom": ("tinker", "applicant"),
}
ROOT = By("root", "assent", "administrator")

ONCD, OSTP, COMMERCE = Leaf("oncd"), Leaf("ostp"), Leaf("commerce", countersign=True)
THREE_AGENCIES = AllOf((ONCD, OSTP, COMMERCE))
THIRTY_DAYS = Clocks(30, "calendar", 10)
PHASES = (
    Phase("announced", "closed"),
    Phase("limited_preview", "granted", customer_cap=20),
    Phase("general_availability", "open", min_days=14, gate=AllOf((ONCD, OSTP))),
)


def cast(at: str = "2026-06-20T13:00:00Z") -> Story:
    """The organizations and their officers; `root` administers, each other person holds one role."""
    story = Story(at)
    began = story.now
    story.happened(
        "organization-assent",
        OrganizationRegistered("assent", "Assent", "US"),
        PersonAppointed("root", "administrator", began),
    )
    story.given(*ORGANIZATIONS.values())
    return story.given(*(Appoint(organization, person, role) for person, (organization, role) in PEOPLE.items()))  # type: ignore[arg-type]


def preview(
    sign_offs: Tree = THREE_AGENCIES,
    *,
    clocks: Clocks = THIRTY_DAYS,
    phases: tuple[Phase, ...] = PHASES,
    tiers: tuple[str, ...] = ("standard",),
    **policy: Any,
) -> Story:
    """The cast, and gpt-5.6 in its limited preview (since 26 June, 15:00 UTC) under the policy frontier-preview."""
    story = cast().given(
        PublishPolicy(
            "frontier-preview",
            "Executive Order 14409",
            sign_offs,
            clocks=clocks,
            **{"grant": GrantTerms(180), **policy},
        )
    )
    story.at("2026-06-24T15:00:00Z").given(
        AnnounceRelease("gpt-5.6", "openai", "GPT-5.6", tiers, "frontier-preview", "high", phases), by="rae"
    )
    return story.at("2026-06-26T15:00:00Z").given(AdvancePhase("gpt-5.6", phases[1].name), by="rae")


def application(customer: str = "northwind", **given: Any) -> DraftRequest:
    """What a customer asks for."""
    return DraftRequest(customer, "gpt-5.6", "Fraud analysis", **{"tier": "standard", "duration_days": 180, **given})


def in_review(sign_offs: Tree = THREE_AGENCIES, *, ask: DraftRequest | None = None, **preview_: Any) -> Story:
    """Northwind's request `nw`, handed in and registered on 27 June, 14:00 UTC, a Saturday."""
    story = preview(sign_offs, **preview_).at("2026-06-26T16:00:00Z").given(ask or application(), by="nina", ids=["nw"])
    return story.at("2026-06-27T14:00:00Z").given(RegisterRequest("nw"), by="rita")


def approve(story: Story, request: str, grant: str) -> Story:
    """All three agencies sign; the request's approval issues the grant."""
    for agency, person in (("oncd", "olga"), ("ostp", "sam"), ("commerce", "cora")):
        story.given(SignOff(request, agency, "approve"), by=person)
    return story.given(Countersign(request, "commerce"), by="carl", ids=[grant])


def granted(**in_review_: Any) -> Story:
    """Northwind holds the grant `g`, for 180 days from 30 June, 15:00 UTC."""
    return approve(in_review(**in_review_).at("2026-06-30T15:00:00Z"), "nw", "g")


def second_request(story: Story, customer: str = "tinker", by: str = "tom", id: str = "tk", **given: Any) -> Story:
    """Another request, handed in and registered now."""
    return story.given(application(customer, **given), by=by, ids=[id]).given(RegisterRequest(id), by="rita")


def appoint(story: Story, organization: str, role: str, *people: str) -> Story:
    """More officers."""
    return story.given(*(Appoint(organization, person, role) for person in people))  # type: ignore[arg-type]
