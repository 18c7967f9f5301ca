"""Releases: in which phase is each rollout, what holds it, and what comes next?"""

from collections.abc import Iterator

from domain.authority import Reach
from domain.release import KIND, Release
from domain.world import Stream
from projections import organizations, pages, sights
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, Connection, Row
from projections.views import View


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: Release = stream.state
    if view == "full":
        yield view, here.id, here.provider, here.phase.name, here.held, full(stream)
    else:
        yield view, here.id, here.provider, here.phase.name, False, for_applicants(stream)


TABLE = StateTable(
    name="releases",
    version=2,
    kinds=frozenset({KIND}),
    columns={
        "view": TEXT,
        "id": TEXT,
        "provider": TEXT,
        "phase": TEXT,
        "held": "boolean NOT NULL",
        "document": DOCUMENT,
    },
    key=("view", "id"),
    rows=rows,
    indexes=("(view, provider, id)", "(view, phase, id)"),
)

FIELDS = (
    "id",
    "provider",
    "model",
    "tiers",
    "policy",
    "incident_threshold",
    "phase",
    "phase_began",
    "access",
    "next_phase",
    "phases",
    "withdrawn",
    "announced",
    "version",
    "phase_sign_offs",
    "held",
    "holds",
    "incidents",
    "admitted",
    "position",
)
"""What a document tells, in order, to those who see it in full."""

FOR_OFFICERS = frozenset({"phase_sign_offs", "held", "holds", "incidents", "admitted"})
"""Of these, what applicants are not told."""


def full(stream: Stream) -> Document:
    """The rollout with all that is open, held and signed."""
    here: Release = stream.state
    return _public(here) | {
        "version": stream.version,
        "phase_sign_offs": [
            {
                "agency": s.agency,
                "person": s.person,
                "position": s.position,
                "reason": s.reason,
                "countersigned_by": s.countersigned,
            }
            for s in here.sheet.signatures
        ],
        "held": here.held,
        "holds": sorted(here.holds),
        "incidents": here.incidents,
        "admitted": len(here.admitted),
        "position": stream.position,
    }


def for_applicants(stream: Stream) -> Document:
    """What everybody may know. Holds, incidents and sign-offs are not part of it."""
    return _public(stream.state) | {"version": stream.applicant_version, "position": stream.position}


def _public(here: Release) -> Document:
    return {
        "id": here.id,
        "provider": here.provider,
        "model": here.model,
        "tiers": here.tiers,
        "policy": here.policy,
        "incident_threshold": here.incident_threshold,
        "phase": here.phase.name,
        "phase_began": here.phase_began,
        "access": here.phase.access,
        "next_phase": here.next_phase and here.next_phase.name,
        "phases": here.phases,
        "withdrawn": here.withdrawn,
        "announced": here.announced,
    }


async def page(
    conn: Connection,
    reach: Reach,
    asked: Asked = NOW,
    *,
    provider: str | None = None,
    phase: str | None = None,
    held: bool | None = None,
) -> Page:
    """The releases, by id. Whoever may not know of holds finds none held."""
    filters = pages.equal(provider=provider, phase=phase)
    if held is not None:
        filters.append(Clause("held = %s", (held,)))
    return await pages.page(conn, TABLE, await _sight(conn, reach), filters, asked)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One release as the reader may see it. Raises NotFound."""
    return await pages.detail(conn, TABLE, await _sight(conn, reach), id, at)


async def _sight(conn: Connection, reach: Reach) -> list[Clause]:
    """A provider's release managers see their own releases in full; those of others as everybody does."""
    only_providers = reach.clearance is None and reach.full and not await organizations.is_any_agency(conn, reach.full)
    if not only_providers:
        return sights.general(reach)
    providers = (sorted(reach.full),)
    return [
        Clause("view = 'full' AND provider = ANY (%s::text[])", providers),
        Clause("view = 'applicant' AND provider <> ALL (%s::text[])", providers),
    ]
