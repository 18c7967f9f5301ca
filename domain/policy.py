"""Policy: whose sign-offs are needed, by when, and what do silence and refusal mean?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

from domain import calendar, clocks, organization
from domain.calendar import FEDERAL
from domain.errors import NamesUnknown
from domain.facts import By, Fact
from domain.fields import DayKind, Public, Slug, SomeDays, Text
from domain.sign_offs import Tree, agencies
from domain.values import replace, unguarded
from domain.world import World

KIND = "policy"
OnRefusal = Literal["deny", "escalate"]


def stream(policy: str) -> str:
    return f"{KIND}-{policy}"


@dataclass(frozen=True, slots=True)
class Clocks:
    """How many days each step may take, and of which kind the review days are. None: that step has no clock."""

    review_days: SomeDays = 30
    days: DayKind = "calendar"
    information_days: SomeDays | None = None
    intake_days: SomeDays | None = None
    appeal_days: SomeDays | None = None
    renewal_days: SomeDays | None = None
    calendar: Slug = FEDERAL


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """How long a grant under this policy lasts at most; None: until it is ended."""

    days: SomeDays | None = None


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class PolicyPublished:
    """A version of the rule came into being. The stream's version is the policy's version."""

    authority_basis: Public[str]
    sign_offs: Public[Tree]
    on_refusal: Public[OnRefusal]
    decider: Public[bool]
    clocks: Public[Clocks]
    grant: Public[GrantTerms]
    effective_from: Public[datetime]


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Version:
    """One published version, numbered from 1."""

    number: int
    authority_basis: str
    sign_offs: Tree
    on_refusal: OnRefusal
    decider: bool
    clocks: Clocks
    grant: GrantTerms
    effective_from: datetime


@unguarded
@dataclass(frozen=True, slots=True)
class Policy:
    id: str
    versions: tuple[Version, ...] = ()

    def in_force(self, now: datetime) -> Version | None:
        """The latest version already in effect."""
        return next((v for v in reversed(self.versions) if v.effective_from <= now), None)


def find(world: World, policy: str) -> Policy | None:
    return world.state(stream(policy), Policy)


# Commands


@dataclass(frozen=True, slots=True)
class PublishPolicy:
    """Publish a new version of a review policy; requests already submitted keep theirs."""

    policy: Slug
    authority_basis: Text
    sign_offs: Tree
    on_refusal: OnRefusal = "deny"
    decider: bool = False
    clocks: Clocks = Clocks()
    grant: GrantTerms = GrantTerms()
    effective_from: datetime | None = None


Command = PublishPolicy


def decide(command: Command, world: World, by: By, now: datetime) -> Iterator[tuple[str, PolicyPublished]]:
    match command:
        case PublishPolicy():
            organization.must_be_agencies(world, agencies(command.sign_offs))
            yield (
                stream(command.policy),
                PolicyPublished(
                    command.authority_basis,
                    command.sign_offs,
                    command.on_refusal,
                    command.decider,
                    command.clocks,
                    command.grant,
                    command.effective_from or now,
                ),
            )
        case _:
            assert_never(command)


def clocks_of(id: str, number: int, world: World) -> Clocks:
    """The clocks of a published version."""
    found = find(world, id)
    assert found is not None, "a grant is pinned to a policy that was published"
    return found.versions[number - 1].clocks


def due_under(id: str, number: int, days: int, kind: str, start: datetime, world: World) -> datetime:
    """When so many days are over, by the calendar of a published version."""
    return clocks.due(start, days, kind, calendar.closures(world, clocks_of(id, number, world).calendar))


def must_exist(world: World, policy: str) -> Policy:
    found = find(world, policy)
    if found is None:
        raise NamesUnknown(f"There is no policy {policy!r}.", f"policy {policy}")
    return found


def evolve(state: Policy | None, fact: Fact) -> Policy:
    policy = state or Policy(fact.stream.removeprefix(f"{KIND}-"))
    match fact.event:
        case PolicyPublished() as e:
            version = Version(
                fact.version,
                e.authority_basis,
                e.sign_offs,
                e.on_refusal,
                e.decider,
                e.clocks,
                e.grant,
                e.effective_from,
            )
            return replace(policy, versions=(*policy.versions, version))
        case _:
            return policy
