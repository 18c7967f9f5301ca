"""Which commands, events and streams are there, and how is any command decided?"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from domain import (
    appeals,
    calendar,
    directive,
    grant,
    hold,
    key,
    log,
    organization,
    policy,
    release,
    request,
    retention,
    subject,
)
from domain.authority import acting
from domain.errors import BeforeTheLast, InTheFuture, Refused
from domain.facts import SYSTEM, By, Event, Fact
from domain.values import replace
from domain.world import Evolve, Stream, World, kind_of, own_stream

STREAMS = {
    module.KIND: module
    for module in (
        organization,
        policy,
        calendar,
        release,
        request,
        grant,
        directive,
        key,
        hold,
        subject,
        retention,
        log,
    )
}
"""The kinds of streams; one file each."""

_OPENING = (request.KIND, grant.KIND, directive.KIND, key.KIND, hold.KIND)
"""The kinds of streams whose ids are not chosen by people: their rules are given new ones."""

_EVENTS: tuple[type, ...] = (
    organization.OrganizationRegistered,
    organization.OrganizationChanged,
    organization.AffiliateAdded,
    organization.PersonAppointed,
    organization.AppointmentEnded,
    organization.PowersDelegated,
    organization.DelegationEnded,
    policy.PolicyPublished,
    calendar.CalendarAmended,
    release.ReleaseAnnounced,
    release.PhaseSignedOff,
    release.PhaseSignOffCountersigned,
    release.PhaseCountersignRefused,
    release.PhaseAdvanced,
    release.PhaseRolledBack,
    release.RolloutHeld,
    release.RolloutResumed,
    release.IncidentOpened,
    release.IncidentClosed,
    release.ReleaseWithdrawn,
    release.CustomerAdmitted,
    release.CustomerLeft,
    request.RequestDrafted,
    request.RequestSubmitted,
    request.RequestRegistered,
    request.RequestReturned,
    request.RequestAmended,
    request.SignOffVoided,
    request.RequestWithdrawn,
    request.AgencySignedOff,
    request.SignOffCountersigned,
    request.CountersignRefused,
    request.ReviewExtended,
    request.InformationRequested,
    request.InformationProvided,
    request.InformationAccepted,
    request.PersonRecused,
    request.RequestEscalated,
    request.DisputeResolved,
    request.NoObjectionDeemed,
    request.InformationRequestLapsed,
    request.DeadlineMissed,
    request.DueDateMoved,
    request.RequestApproved,
    request.RequestDenied,
    grant.GrantIssued,
    grant.ConditionSatisfied,
    grant.ComplianceReported,
    grant.ConditionBreached,
    grant.ConditionChangeProposed,
    grant.ConditionChanged,
    grant.RenewalRequested,
    grant.RenewalEnded,
    grant.GrantAmended,
    grant.GrantSuspended,
    grant.ReinstatementProposed,
    grant.GrantReinstated,
    grant.RevocationNoticeIssued,
    grant.RevocationNoticeWithdrawn,
    grant.GrantRevoked,
    grant.BarLiftingProposed,
    grant.BarLifted,
    grant.GrantSurrendered,
    grant.GrantExpired,
    grant.GrantSuperseded,
    appeals.AppealFiled,
    appeals.AppealDecided,
    directive.DirectiveIssued,
    directive.DirectiveEased,
    directive.LiftingProposed,
    directive.LiftingWithdrawn,
    directive.DirectiveLifted,
    log.LogKeyRotated,
    log.RollbackAccepted,
    key.KeyIssued,
    key.KeyRotated,
    key.KeyRevoked,
    hold.LegalHoldPlaced,
    hold.LegalHoldReleased,
    subject.SubjectHeld,
    subject.SubjectFreed,
    subject.SubjectErased,
    retention.RetentionSet,
)
ALIASES: dict[str, str] = {}
"""The old names of renamed events, each with its name of today: events are forever."""

_BY_NAME = {event.__name__: event for event in _EVENTS}
EVENTS: dict[str, type] = {**_BY_NAME, **{old: _BY_NAME[new] for old, new in ALIASES.items()}}
"""Every event by its stable name, as the log stores it, and by the names it had before."""

Ids = Callable[[], str]


def evolve_of(stream: str) -> Evolve:
    """How a stream of that name folds."""
    return STREAMS[stream.partition("-")[0]].evolve  # type: ignore[no-any-return]


def decide(command: Any, world: World, by: By, now: datetime, ids: Ids, command_id: str = "") -> list[Fact]:
    """The facts that the command writes, each folded into the world at once. Raises Refused where a rule forbids it."""
    first, cause = len(world.facts), None
    for name, event in _rules(command, world, by, now, ids):
        fact = world.write(name, event, by, now, command_id, cause)
        if cause is None:
            cause = fact.position
    return world.facts[first:]


def handle(
    command: Any,
    begin: Callable[[], World],
    person: str,
    acting_as: tuple[str, str] | None,
    occurred: datetime | None,
    ids: Ids,
    command_id: str,
    compare: Callable[[World, By], None] | None,
    via: tuple[str, ...] = (),
) -> tuple[World, By]:
    """A person's command, from authority to facts: the world after it, with every fact, and as whom they acted.

    `begin` gives a world in which nothing is written; `occurred` is when it happened, where the log learns of it late;
    `compare` refuses a caller who read an older version than today's. The timers of the streams read that are due by
    then are decided first, in due order (I8). A refused command leaves nothing, not even those. `via` names who told of
    the act, where the person did not come themselves.
    """
    world = begin()
    now = world.recorded if occurred is None else occurred
    if now > world.recorded:
        raise InTheFuture(f"It is {world.recorded.isoformat()} now.", "an occurred time that is not in the future")
    by = acting(command, world, person, acting_as, now)
    by = replace(by, via=(*by.via, *via)) if via else by
    if compare is not None:
        compare(world, by)
    late: set[str] = set()
    while True:
        refusal: Refused | None = None
        try:
            _time_goes_on(command, world, now)
            decide(command, world, by, now, ids, command_id)
        except Refused as found:
            refusal = found
        newly_late = _newly_late(world, late, now)
        if not newly_late:
            break
        late |= newly_late
        world = begin()
        pass_time(world, late, now, ids, via)
    if refusal is not None:
        raise refusal
    return world, by


def let_time_pass(
    begin: Callable[[], World], streams: Iterable[str], now: datetime, ids: Ids, via: tuple[str, ...] = ()
) -> World:
    """The world after what time alone has done by now to these streams, and to those that it reads on the way (I8)."""
    late = set(streams)
    while True:
        world = begin()
        pass_time(world, late, now, ids, via)
        newly_late = _newly_late(world, late, now)
        if not newly_late:
            return world
        late |= newly_late


def _newly_late(world: World, late: set[str], now: datetime) -> set[str]:
    """The streams that turn out to have been read while a timer of theirs was due."""
    return {
        name
        for name, before in world.read.items()
        if type(before.state) in _TIMERS and name not in late and due_timer(before, now)
    }


def pass_time(world: World, streams: Iterable[str], now: datetime, ids: Ids, via: tuple[str, ...] = ()) -> None:
    """Decide, in due order, what time alone has done to these streams by now.

    What was due before a stream's last event, but only came to matter after it, occurs with that event (I8). `via`
    names the importer who told of that time: what an imported stream's timer opens is imported as well.
    """
    names = set(streams)
    late = {name: timer for name in names if (timer := due_timer(world.stream(name), now))}
    while late:
        name, (due, timer) = min(late.items(), key=lambda each: (each[1][0], each[0]))
        command_id = f"timer.{name}.{type(timer).__name__}.{due:%Y%m%dT%H%M%S}Z"
        here = world.stream(name)
        by = replace(SYSTEM, via=via) if here.imported else SYSTEM
        facts = decide(timer, world, by, max(due, here.occurred), ids, command_id)
        for touched in names & {fact.stream for fact in facts}:
            late.pop(touched, None)
            if following := due_timer(world.stream(touched), now):
                late[touched] = following


_TIMERS: dict[type, Callable[[Any, datetime], tuple[datetime, Any] | None]] = {
    request.AccessRequest: request.timer,
    grant.Grant: grant.timer,
}
"""The streams to which time alone does something."""


def due_timer(stream: Stream, now: datetime) -> tuple[datetime, Any] | None:
    """The first thing that time alone does to a stream by then, as a command of the system, and when it is due."""
    timer = _TIMERS.get(type(stream.state))
    return timer(stream.state, now) if timer else None


def _time_goes_on(command: Any, world: World, now: datetime) -> None:
    """I8: within a command's own stream, occurred never goes back."""
    name = own_stream(command)
    if name is not None and (last := world.stream(name).occurred) > now:
        raise BeforeTheLast(f"The last event of {name} occurred at {last.isoformat()}.", "a later occurred time")


def _rules(command: Any, world: World, by: By, now: datetime, ids: Ids) -> Iterator[tuple[str, Event]]:
    """The rules of the file that the command is written in."""
    kind = kind_of(command)
    if kind in _OPENING:
        return STREAMS[kind].decide(command, world, by, now, ids)  # type: ignore[no-any-return]
    return STREAMS[kind].decide(command, world, by, now)  # type: ignore[no-any-return]
