"""Directive: which uses are stopped across customers, by whose order, and who is exempt?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, assert_never

from domain.errors import (
    DirectiveIsLifted,
    Malformed,
    NamesUnknown,
    NothingProposed,
    TwoPeople,
)
from domain.facts import By, Event, Fact
from domain.fields import Bounds, Identifier, Interagency, Name, OptionalText, Public, Slug, Text
from domain.values import replace, unguarded
from domain.world import World

KIND = "directive"
Ids = Callable[[], str]


def stream(directive: str) -> str:
    return f"{KIND}-{directive}"


@unguarded
@dataclass(frozen=True, slots=True)
class Uses:
    """Lists that name uses. As a scope a use must be in every list given; as carve-outs it is exempt if in any."""

    releases: Annotated[tuple[Slug, ...], Bounds(0, 1000)] = ()
    providers: Annotated[tuple[Slug, ...], Bounds(0, 1000)] = ()
    organizations: Annotated[tuple[Slug, ...], Bounds(0, 10_000)] = ()
    person_classes: Annotated[tuple[Name, ...], Bounds(0, 100)] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.releases or self.providers or self.organizations or self.person_classes)


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class DirectiveIssued:
    """From now on, uses in the scope and not carved out are refused."""

    authority: Public[str]
    scope: Public[Uses]
    carve_outs: Public[Uses]
    reason: Interagency[str] = ""


@dataclass(frozen=True, slots=True)
class DirectiveEased:
    """Named organizations are exempt from now on."""

    carve_outs: Public[Uses]
    reason: Interagency[str] = ""


@dataclass(frozen=True, slots=True)
class LiftingProposed:
    """The first of two people wants the directive lifted."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class LiftingWithdrawn:
    """The proposal to lift was taken back."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class DirectiveLifted:
    """The second of two people confirmed: the directive stops nothing any more."""

    reason: Public[str] = ""


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Directive:
    id: str
    organization: str
    authority: str
    scope: Uses
    carve_outs: Uses
    reason: str
    issued: datetime
    lifting_proposed_by: str | None = None
    lifted: datetime | None = None

    @property
    def state(self) -> Literal["in_force", "lifted"]:
        return "lifted" if self.lifted else "in_force"


def find(world: World, directive: str) -> Directive | None:
    return world.state(stream(directive), Directive)


# Commands


@dataclass(frozen=True, slots=True)
class IssueDirective:
    """Stop access across customers, at once."""

    authority: Text
    scope: Uses
    reason: Text
    carve_outs: Uses = Uses()


@dataclass(frozen=True, slots=True)
class EaseDirective:
    """Exempt named organizations."""

    directive: Identifier
    carve_outs: Uses
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class ProposeLifting:
    """Ask that the directive be lifted; where another person has asked before, this confirms it."""

    directive: Identifier
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class WithdrawLifting:
    """Take the proposal to lift back."""

    directive: Identifier
    reason: OptionalText = ""


@dataclass(frozen=True, slots=True)
class ConfirmLifting:
    """The second of two people confirms what the first proposed."""

    directive: Identifier
    reason: OptionalText = ""


Command = IssueDirective | EaseDirective | ProposeLifting | WithdrawLifting | ConfirmLifting


def decide(command: Command, world: World, by: By, now: datetime, ids: Ids) -> Iterator[tuple[str, Event]]:
    if isinstance(command, IssueDirective):
        yield stream(ids()), issue(command, world)
        return
    here, id = in_force(world, command.directive), stream(command.directive)
    match command:
        case EaseDirective(_, carve_outs, reason):
            yield id, DirectiveEased(only_organizations(carve_outs, world), reason)
        case ProposeLifting(_, reason):
            if here.lifting_proposed_by is None:
                yield id, LiftingProposed(reason)
            else:
                yield id, confirm(here, by, reason)
        case WithdrawLifting(_, reason):
            if here.lifting_proposed_by is None:
                raise NothingProposed("Nobody has proposed to lift this directive.", "a proposal")
            yield id, LiftingWithdrawn(reason)
        case ConfirmLifting(_, reason):
            if here.lifting_proposed_by is None:
                raise NothingProposed("Nobody has proposed to lift this directive.", "a proposal by another person")
            yield id, confirm(here, by, reason)
        case _:
            assert_never(command)


def issue(command: IssueDirective, world: World) -> DirectiveIssued:
    if command.scope.is_empty:
        raise Malformed("A directive's scope has at least one list.", "releases, providers, organizations or classes")
    _known(command.scope, world)
    _known(command.carve_outs, world)
    return DirectiveIssued(command.authority, command.scope, command.carve_outs, command.reason)


def only_organizations(carve_outs: Uses, world: World) -> Uses:
    if not carve_outs.organizations or carve_outs != Uses(organizations=carve_outs.organizations):
        raise Malformed("Easing exempts named organizations, and nothing else.", "organizations")
    _known(carve_outs, world)
    return carve_outs


def confirm(here: Directive, by: By, reason: str) -> DirectiveLifted:
    """I16: two different people lift a directive."""
    if here.lifting_proposed_by == by.person:
        raise TwoPeople(f"{by.person} proposed it; another person confirms (I16).", "a second person")
    return DirectiveLifted(reason)


def in_force(world: World, directive: str) -> Directive:
    found = find(world, directive)
    if found is None:
        raise NamesUnknown(f"There is no directive {directive!r}.", f"directive {directive}")
    if found.lifted:
        raise DirectiveIsLifted("The directive has been lifted.", "a directive in force")
    return found


def _known(uses: Uses, world: World) -> None:
    """Every release and organization that is named exists."""
    names = [f"release-{release}" for release in uses.releases]
    names += [f"organization-{organization}" for organization in (*uses.providers, *uses.organizations)]
    missing = [name.replace("-", " ", 1) for name in names if world.stream(name).state is None]
    if missing:
        raise NamesUnknown(f"There is no {missing[0]}.", *missing)


def evolve(state: Directive | None, fact: Fact) -> Directive | None:
    match fact.event:
        case DirectiveIssued(authority, scope, carve_outs, reason):
            id = fact.stream.removeprefix(f"{KIND}-")
            return Directive(id, fact.by.organization, authority, scope, carve_outs, reason, fact.occurred)
    if state is None:
        return None
    match fact.event:
        case DirectiveEased(carve_outs):
            exempt = tuple(dict.fromkeys((*state.carve_outs.organizations, *carve_outs.organizations)))
            return replace(state, carve_outs=replace(state.carve_outs, organizations=exempt))
        case LiftingProposed():
            return replace(state, lifting_proposed_by=fact.by.person)
        case LiftingWithdrawn():
            return replace(state, lifting_proposed_by=None)
        case DirectiveLifted():
            return replace(state, lifted=fact.occurred)
        case _:
            return state
