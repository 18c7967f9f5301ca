"""Rollout: where does each release stand, since when, and what is still missing before its next phase may begin?

Worked out at read time from the release's own document: days in a phase pass without any event.
"""

from datetime import datetime
from typing import Any

import msgspec

from domain.authority import Reach
from domain.clocks import DAY, elapsed_days
from domain.release import Incident, Phase, Release, hindrances
from domain.sign_offs import Leaf, Sheet, Signature, Tree, lacking, leaf_verdict, leaves, tree_from
from projections import pages, releases
from projections.pages import NOW, Asked, Document, Page
from projections.statements import Connection

TABLE = releases.TABLE

FIELDS = (
    "release",
    "provider",
    "model",
    "announced",
    "withdrawn",
    "phase",
    "access",
    "since",
    "days_in_phase",
    "phases",
    "customer_cap",
    "admitted",
    "places_left",
    "holds",
    "incidents",
    "next_phase",
)
FOR_OFFICERS = frozenset({"customer_cap", "admitted", "places_left", "holds", "incidents"})
"""What an item tells, in order; and what of that applicants are not told."""


async def page(
    conn: Connection,
    reach: Reach,
    asked: Asked = NOW,
    *,
    now: datetime,
    provider: str | None = None,
    phase: str | None = None,
    held: bool | None = None,
) -> Page:
    """The releases, by id, as far as the reader may know of each."""
    found = await releases.page(conn, reach, asked, provider=provider, phase=phase, held=held)
    return Page(pages.as_documents([of(document, now) for document in found.items]), found.next, found.position)


def of(document: Document, now: datetime) -> Document:
    """What a release's document says of its rollout at that time; gates, holds and incidents to officers alone."""
    here = state_of(document)
    for_officers = "incidents" in document
    coming = None if here.withdrawn else here.next_phase
    shown: Document = {
        "release": here.id,
        "provider": here.provider,
        "model": here.model,
        "announced": here.announced,
        "withdrawn": here.withdrawn,
        "phase": here.phase.name,
        "access": here.phase.access,
        "since": here.phase_began,
        "days_in_phase": elapsed_days(here.phase_began, now),
        "phases": [_step(phase, nth - here.current) for nth, phase in enumerate(here.phases)],
        "next_phase": coming and {"name": coming.name, "access": coming.access},
    }
    if not for_officers:
        return shown
    admitted, cap = document["admitted"], here.phase.customer_cap
    return shown | {
        "customer_cap": cap,
        "admitted": admitted,
        "places_left": None if cap is None else max(0, cap - admitted),
        "holds": sorted(here.holds),
        "incidents": [_open(each, now) for each in here.incidents if each.closed is None],
        "next_phase": coming and _progress(here, coming, admitted, now),
    }


def _step(phase: Phase, ahead: int) -> Document:
    return {
        "name": phase.name,
        "access": phase.access,
        "state": "current" if ahead == 0 else "coming" if ahead > 0 else "past",
    }


def _open(incident: Incident, now: datetime) -> Document:
    return {
        "number": incident.number,
        "severity": incident.severity,
        "summary": incident.summary,
        "at_threshold": incident.at_threshold,
        "organization": incident.organization,
        "opened": incident.opened,
        "days_open": elapsed_days(incident.opened, now),
    }


def _progress(here: Release, coming: Phase, admitted: int, now: datetime) -> Document:
    """How far the next phase is: its clocks, its gate leaf by leaf, and each thing that hinders it (I15)."""
    found = list(hindrances(here, coming, admitted, now))
    long_enough = here.phase_began + coming.min_days * DAY
    quiet_enough = here.quiet_since and here.quiet_since + coming.quiet_days * DAY
    return {
        "name": coming.name,
        "access": coming.access,
        "customer_cap": coming.customer_cap,
        "min_days": coming.min_days,
        "days_left": _days_until(long_enough, now),
        "quiet_days": coming.quiet_days,
        "quiet_days_left": _days_until(quiet_enough, now) if quiet_enough else 0,
        "not_before": max(long_enough, quiet_enough or long_enough),
        "gate": [_signed(leaf, here.sheet) for leaf in leaves(coming.gate)] if coming.gate else [],
        "may_begin": not found,
        "hindrances": [
            {"rule": each.rule, "title": each.title, "detail": each.detail, "missing": each.missing} for each in found
        ],
    }


def _days_until(instant: datetime, now: datetime) -> int:
    """Days that are left, a begun one counted whole."""
    return max(0, -((now - instant) // DAY))


def _signed(leaf: Leaf, sheet: Sheet) -> Document:
    said = leaf_verdict(leaf, sheet).value
    return {
        "agency": leaf.agency,
        "quorum": leaf.quorum,
        "countersign": leaf.countersign,
        "state": said,
        "lacks": lacking(leaf, sheet) if said == "waits" else None,
        "signed": [
            {"person": s.person, "position": s.position, "countersigned_by": s.countersigned}
            for s in sheet.of(leaf.agency)
        ],
    }


# The state again, of the document


class _Shown(msgspec.Struct):
    """What a release's document in either view says of its state."""

    id: str
    provider: str
    model: str
    tiers: tuple[str, ...]
    policy: str
    incident_threshold: Any
    phases: tuple[Phase, ...]
    announced: datetime
    phase: str
    phase_began: datetime
    withdrawn: bool
    phase_sign_offs: tuple[dict[str, Any], ...] = ()
    holds: frozenset[str] = frozenset()
    incidents: tuple[Incident, ...] = ()


def state_of(document: Document) -> Release:
    """The release as far as its document goes; who is admitted is not in it."""
    shown = msgspec.convert(document, _Shown, dec_hook=_tree)
    signatures = (
        Signature(s["agency"], s["person"], s["position"], (), s["reason"], s["countersigned_by"])
        for s in shown.phase_sign_offs
    )
    return Release(
        shown.id,
        shown.provider,
        shown.model,
        shown.tiers,
        shown.policy,
        shown.incident_threshold,
        shown.phases,
        shown.announced,
        [phase.name for phase in shown.phases].index(shown.phase),
        shown.phase_began,
        Sheet(tuple(signatures)),
        shown.holds,
        shown.incidents,
        withdrawn=shown.withdrawn,
    )


def _tree(type_: type, data: Any) -> Any:
    if type_ is Tree:
        return tree_from(data)
    raise NotImplementedError(f"nothing but trees is read here, not {type_}")
