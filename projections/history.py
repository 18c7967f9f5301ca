"""What happened in one stream, in plain words, as far as the reader may know?

Rendered at read time from the facts of the log: nothing of it is stored. A sentence never quotes sealed text; it stands
in `data`, where whoever answers opens it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

import msgspec

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
from domain.authority import Reach
from domain.facts import By, Fact, seen
from domain.fields import Label, labels

Entry = dict[str, Any]
Words = Callable[[Any], str]


def history(facts: Iterable[Fact], reach: Reach, clearance: Label) -> list[Entry]:
    """What a reader with that clearance for the stream may know of its facts, in order; the rest is not there.

    Fields for the acting agency's own officers are shown to those, and to auditors.
    """
    entries = (entry(fact, clearance_for(fact, reach, clearance)) for fact in facts)
    return [each for each in entries if each is not None]


def clearance_for(fact: Fact, reach: Reach, clearance: Label) -> Label:
    own = clearance >= Label.INTERAGENCY and fact.by.organization in reach.full
    return max(clearance, Label.AGENCY) if own else clearance


def entry(fact: Fact, clearance: Label) -> Entry | None:
    """One fact for a reader of that clearance; None: not theirs to know. A name that is hidden is None."""
    visible = seen(fact, clearance)
    if visible is None:
        return None
    kind: type = type(fact.event)
    known = labels(kind)
    return {
        "position": fact.position,
        "type": fact.type,
        "text": sentence(visible),
        "recorded": fact.recorded,
        "occurred": fact.occurred,
        "person": visible.by.person or None,
        "organization": visible.by.organization or None,
        "role": visible.by.role or None,
        "via": visible.by.via,
        "cause": fact.cause,
        "data": {
            field.name: msgspec.to_builtins(getattr(fact.event, field.name))
            for field in fields(fact.event)
            if known[field.name] <= clearance
        },
    }


def sentence(fact: Fact) -> str:
    """The fact in a sentence. Fields that its reader may not know are None in it."""
    kind: type = type(fact.event)
    words = HAPPENINGS[kind](fact.event) if kind in HAPPENINGS else f"{actor(fact.by)} {ACTS[kind](fact.event)}"
    return f"{words[0].upper()}{words[1:]}."


def actor(by: By) -> str:
    """Who acted, as far as that may be known."""
    if not by.organization:
        return "the agencies"
    if not by.person:
        return by.organization
    if by.role == "system":
        return "the system"
    chain = f", for {', '.join(by.via)}" if by.via else ""
    return f"{by.person} ({by.role.replace('_', ' ')}, {by.organization}{chain})"


# The words


def because(reason: str | None) -> str:
    return f": {reason.rstrip('.')}" if reason else ""


def on(instant: datetime | None) -> str:
    return f"{instant:%-d %B %Y, %H:%M} UTC" if instant else "no date"


def key_named(verifier_key: str) -> str:
    """A verifier key by its id, without its other two parts."""
    return f"the key {verifier_key.split('+')[1]}"


def listed(names: Iterable[str] | None) -> str:
    return ", ".join(names or ()) or "nobody"


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


POSITIONS = {"approve": "approved", "approve_with_conditions": "approved", "refuse": "refused"}


def signed(e: request.AgencySignedOff) -> str:
    conditions = ""
    if e.conditions:
        texts = "; ".join(condition.text.rstrip(".") for condition in e.conditions)
        conditions = f" with {counted(len(e.conditions), 'condition')}: {texts}"
    reason = f" ({e.reason.rstrip('.')})" if e.reason else ""
    return f"{POSITIONS[e.position]} revision {e.revision} for {e.agency}{conditions}{reason}"


def amended(e: request.RequestAmended) -> str:
    changed = [
        field.name.replace("_", " ") for field in fields(e.changes) if getattr(e.changes, field.name) is not None
    ]
    return f"changed the application ({listed(changed)}); this is revision {e.revision}"


def uses(e: directive.Uses) -> str:
    lists = ((field.name.replace("_", " "), getattr(e, field.name)) for field in fields(e))
    return "; ".join(f"{name} {listed(values)}" for name, values in lists if values) or "nothing"


def narrowed(e: grant.GrantAmended) -> str:
    changes = [
        *([f"tiers {listed(e.tiers)}"] if e.tiers is not None else []),
        *([f"user classes {listed(e.user_classes)}"] if e.user_classes is not None else []),
        *([f"until {on(e.until)}"] if e.until is not None else []),
    ]
    return f"narrowed the grant to {'; '.join(changes)}{because(e.reason)}"


def issued(e: grant.GrantIssued) -> str:
    term = f"until {on(e.until)}" if e.until else "until it is ended"
    conditions = f", under {counted(len(e.conditions), 'condition')}" if e.conditions else ""
    return f"{e.customer} may use {e.release} ({listed(e.tiers)}) {term}{conditions}"


def changed_organization(e: organization.OrganizationChanged) -> str:
    changes = [
        *([f"its name to {e.name}"] if e.name is not None else []),
        *([f"its size to {e.size_class}"] if e.size_class is not None else []),
        *([] if e.closed is None else ["its doors: it is closed" if e.closed else "its doors: it is open again"]),
    ]
    return f"changed {' and '.join(changes)}"


def until(instant: datetime | None) -> str:
    return f" until {on(instant)}" if instant else ""


HAPPENINGS: Mapping[type, Words] = {
    request.SignOffVoided: lambda e: f"the change voids what {listed(e.people)} signed for {e.agency}",
    request.RequestEscalated: lambda e: f"the request was escalated{because(e.reason)}",
    request.NoObjectionDeemed: lambda e: f"{e.agency} was silent until {on(e.due)}, which counts as no objection",
    request.InformationRequestLapsed: lambda e: f"question {e.number} was not answered in time; the request lapsed",
    request.DeadlineMissed: lambda e: (
        f"{e.agency} did not sign off by {on(e.due)}" if e.agency else f"the request was not registered by {on(e.due)}"
    ),
    request.DueDateMoved: lambda e: f"the review is due by {on(e.due)} now{because(e.reason)}",
    request.RequestApproved: lambda e: f"the request was approved{because(e.reason)}; grant {e.grant} was issued",
    request.RequestDenied: lambda e: f"the request was denied{because(e.reason)}",
    grant.GrantIssued: issued,
    grant.GrantExpired: lambda e: f"the grant's time was over on {on(e.until)}",
    grant.GrantSuperseded: lambda e: f"grant {e.by} took this one's place",
    grant.RenewalEnded: lambda e: f"the renewal by request {e.request} came to nothing",
    release.CustomerAdmitted: lambda e: f"{e.customer} was admitted, by grant {e.grant}",
    release.CustomerLeft: lambda e: f"{e.customer} left: its last grant ended",
}
"""What follows from somebody's act, or from time alone: a sentence of its own."""

ACTS: Mapping[type, Words] = {
    organization.OrganizationRegistered: lambda e: f"registered {e.name} as {e.kind}",
    organization.OrganizationChanged: changed_organization,
    organization.AffiliateAdded: lambda e: f"added the affiliate {e.name} ({e.id}, {e.country})",
    organization.PersonAppointed: lambda e: (
        f"appointed {e.person} as {e.role.replace('_', ' ')} from {on(e.starts)}{until(e.until)}"
    ),
    organization.AppointmentEnded: lambda e: f"ended the appointment of {e.person} as {e.role.replace('_', ' ')}",
    organization.PowersDelegated: lambda e: (
        f"let {e.to} use the powers {listed(e.powers)} from {on(e.starts)}{until(e.until)} (delegation {e.number})"
    ),
    organization.DelegationEnded: lambda e: f"ended delegation {e.number}",
    policy.PolicyPublished: lambda e: (
        f"published a version, in effect from {on(e.effective_from)}, on the basis of {e.authority_basis.rstrip('.')}"
    ),
    calendar.CalendarAmended: lambda e: f"closed the office on {counted(len(e.dates), 'day')}{because(e.reason)}",
    release.ReleaseAnnounced: lambda e: f"announced {e.model}; {e.phases[0].name} began",
    release.PhaseSignedOff: lambda e: f"{POSITIONS[e.position]} entering {e.phase} for {e.agency}{because(e.reason)}",
    release.PhaseSignOffCountersigned: lambda e: (
        f"countersigned what {listed(e.people)} signed for {e.agency} on entering {e.phase}{because(e.reason)}"
    ),
    release.PhaseCountersignRefused: lambda e: (
        f"sent back what {listed(e.people)} signed for {e.agency} on entering {e.phase}{because(e.reason)}"
    ),
    release.PhaseAdvanced: lambda e: f"let the phase {e.to} begin{because(e.reason)}",
    release.PhaseRolledBack: lambda e: f"rolled the release back to {e.to}{because(e.reason)}",
    release.RolloutHeld: lambda e: f"held the rollout{because(e.reason)}",
    release.RolloutResumed: lambda e: f"ended its hold of the rollout{because(e.reason)}",
    release.IncidentOpened: lambda e: f"opened incident {e.number} ({e.severity}){because(e.summary)}",
    release.IncidentClosed: lambda e: f"closed incident {e.number}{because(e.resolution)}",
    release.ReleaseWithdrawn: lambda e: f"withdrew the release{because(e.reason)}",
    request.RequestDrafted: lambda e: f"drafted an application of {e.customer} for {e.release}, tier {e.tier}",
    request.RequestSubmitted: lambda e: (
        f"handed in the application of {e.customer} for {e.release}, tier {e.tier},"
        f" under version {e.terms.version} of {e.terms.policy}"
    ),
    request.RequestRegistered: lambda e: f"found the application complete; the review is due by {on(e.due)}",
    request.RequestReturned: lambda e: f"returned the application{because(e.deficiencies)}",
    request.RequestAmended: amended,
    request.RequestWithdrawn: lambda e: "withdrew the application",
    request.AgencySignedOff: signed,
    request.SignOffCountersigned: lambda e: (
        f"countersigned what {listed(e.people)} signed for {e.agency}{because(e.reason)}"
    ),
    request.CountersignRefused: lambda e: f"sent back what {listed(e.people)} signed for {e.agency}{because(e.reason)}",
    request.ReviewExtended: lambda e: (
        f"extended the review by {counted(e.days, 'day')}, until {on(e.due)}{because(e.reason)}"
    ),
    request.InformationRequested: lambda e: f"asked question {e.number} for {e.agency}{until(e.due)}: {e.question}",
    request.InformationProvided: lambda e: f"answered question {e.number}",
    request.InformationAccepted: lambda e: f"accepted the answer to question {e.number}",
    request.PersonRecused: lambda e: f"recused {e.person} from this request{because(e.reason)}",
    request.DisputeResolved: lambda e: (
        f"settled the dispute ({e.outcome}"
        + (f", overruling {listed(e.overrules)}" if e.overrules else "")
        + f"){because(e.reason)}"
    ),
    grant.ConditionSatisfied: lambda e: f"found condition {e.number} satisfied",
    grant.ComplianceReported: lambda e: f"reported on {f'condition {e.condition}' if e.condition else 'compliance'}",
    grant.ConditionBreached: lambda e: f"found condition {e.number} broken{because(e.finding)}",
    grant.ConditionChangeProposed: lambda e: (
        f"proposed change {e.number} of condition {e.condition}: "
        + ("drop it" if e.drop else e.text or "another due date")
    ),
    grant.ConditionChanged: lambda e: (
        f"concurred in change {e.number} of condition {e.condition}: {'dropped' if e.dropped else e.text}"
    ),
    grant.RenewalRequested: lambda e: (
        f"asked for renewal by request {e.request}" + ("" if e.timely else ", too late to keep the grant in force")
    ),
    appeals.AppealFiled: lambda e: f"filed appeal {e.number}",
    appeals.AppealDecided: lambda e: (
        f"decided appeal {e.number} ({e.outcome}"
        + (f", overruling {listed(e.overrules)}" if e.overrules else "")
        + f"){because(e.reason)}"
    ),
    grant.GrantAmended: narrowed,
    grant.GrantSuspended: lambda e: f"suspended the grant{because(e.reason)}",
    grant.ReinstatementProposed: lambda e: f"proposed to reinstate the grant{because(e.reason)}",
    grant.GrantReinstated: lambda e: f"ended its suspension of the grant{because(e.reason)}",
    grant.RevocationNoticeIssued: lambda e: (
        f"announced the grant's revocation, to be answered by {on(e.respond_by)}{because(e.reason)}"
    ),
    grant.RevocationNoticeWithdrawn: lambda e: f"took the notice of revocation back{because(e.reason)}",
    grant.GrantRevoked: lambda e: (
        f"revoked the grant{' and barred the customer' if e.bar else ''}{because(e.reason)}"
        + (f" (finding: {e.finding.rstrip('.')})" if e.finding else "")
    ),
    grant.BarLiftingProposed: lambda e: f"proposed to lift the bar{because(e.reason)}",
    grant.BarLifted: lambda e: f"lifted the bar{because(e.reason)}",
    grant.GrantSurrendered: lambda e: "gave the grant back",
    directive.DirectiveIssued: lambda e: (
        f"stopped access ({uses(e.scope)}) under {e.authority.rstrip('.')}"
        + ("" if e.carve_outs.is_empty else f", except {uses(e.carve_outs)}")
        + because(e.reason)
    ),
    directive.DirectiveEased: lambda e: f"exempted {listed(e.carve_outs.organizations)}{because(e.reason)}",
    directive.LiftingProposed: lambda e: f"proposed to lift the directive{because(e.reason)}",
    directive.LiftingWithdrawn: lambda e: f"took the proposal to lift the directive back{because(e.reason)}",
    directive.DirectiveLifted: lambda e: f"lifted the directive{because(e.reason)}",
    log.LogKeyRotated: lambda e: f"had the log signed with {key_named(e.key)}{because(e.reason)}",
    log.RollbackAccepted: lambda e: (
        f"went on from a log of {counted(e.found_size, 'record')}, as {e.operator} accepted, where"
        f" {counted(e.signed_size, 'record')} had been signed, {e.agreed_size} of them the same{because(e.reason)}"
    ),
    key.KeyIssued: lambda e: f"issued a key to {e.organization} ({e.name}), good until {on(e.until)}",
    key.KeyRotated: lambda e: f"gave the key a new secret; the one before is good until {on(e.previous_until)}",
    key.KeyRevoked: lambda e: f"revoked the key{because(e.reason)}",
    hold.LegalHoldPlaced: lambda e: f"placed a hold on what {e.person} wrote{because(e.reason)}",
    hold.LegalHoldReleased: lambda e: f"released the hold{because(e.reason)}",
    subject.SubjectHeld: lambda e: f"placed hold {e.hold} on the person's texts",
    subject.SubjectFreed: lambda e: f"released hold {e.hold} on the person's texts",
    subject.SubjectErased: lambda e: f"erased the person's texts{because(e.reason)}",
    retention.RetentionSet: lambda e: f"said that texts are kept for {counted(e.days, 'day')} after the last office",
}
"""What somebody did: the sentence's predicate, after who did it."""
