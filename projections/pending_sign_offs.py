"""Pending sign-offs: what does each agency, or each officer, still have to do, for which request or phase, by when?"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain import release, request, tasks
from domain.authority import Office, Reach
from domain.release import Release
from domain.request import AccessRequest
from domain.sign_offs import Leaf, waiting
from domain.tasks import Task
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, TEXTS, Connection, Row
from projections.views import View

ACTS = ("SignOff", "Countersign", "AcceptInformation", "SignOffPhase", "CountersignPhase")
"""The commands by which something in a queue is done."""

NOT_FOR_THE_CUSTOMERS_PEOPLE = ("SignOff", "Countersign")


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    """One row per agency whose sign-off would still help; an agency named twice in a tree has one task."""
    match stream.state:
        case AccessRequest() as here:
            yield from _of_request(name, here)
        case Release() as rollout:
            yield from _of_gate(name, rollout)


def _of_request(name: str, here: AccessRequest) -> Iterator[Row]:
    if here.terms is None or here.registered is None or here.outcome:
        return
    for leaf in _one_each(waiting(here.terms.sign_offs, here.sheet)):
        task, due = tasks.of_request(leaf, here), here.dues[leaf.agency]
        about = {
            "request": here.id,
            "release": here.release,
            "phase": None,
            "provider": here.provider,
            "customer": here.customer,
            "tier": here.tier,
            "due": due,
            "since": here.registered,
            "revision": here.revision,
            "state": here.state,
        }
        yield _row(name, leaf, task, due, [*here.agencies, here.provider], here.recused, about)


def _of_gate(name: str, here: Release) -> Iterator[Row]:
    coming = here.next_phase
    if here.withdrawn or coming is None or coming.gate is None:
        return
    for leaf in _one_each(waiting(coming.gate, here.sheet)):
        about = {
            "request": None,
            "release": here.id,
            "phase": coming.name,
            "provider": here.provider,
            "customer": None,
            "tier": None,
            "due": None,
            "since": here.phase_began,
            "revision": None,
            "state": "held" if here.held else "open",
        }
        yield _row(
            name, leaf, tasks.of_phase(leaf, here), pages.NO_DATE, [*here.gate_agencies, here.provider], (), about
        )


def _one_each(leaves: Iterable[Leaf]) -> Iterable[Leaf]:
    return {leaf.agency: leaf for leaf in leaves}.values()


def _row(
    name: str,
    leaf: Leaf,
    task: Task,
    due: datetime,
    concerned: list[str],
    recused: Collection[str],
    about: Document,
) -> Row:
    document = {"agency": leaf.agency, "stream": name, "lacks": task.lacks, "act": task.act, **about}
    signers = [" ".join(sorted(each)) for each in task.signers]
    what = leaf.agency, name, about["release"], due, task.lacks
    by_whom = task.act or "", task.customer or "", sorted(task.barred), signers
    return *what, *by_whom, concerned, sorted(recused), document


TABLE = StateTable(
    name="pending_sign_offs",
    version=3,
    kinds=frozenset({request.KIND, release.KIND}),
    columns={
        "agency": TEXT,
        "stream": TEXT,
        "release": TEXT,
        "due": "timestamptz NOT NULL",
        "lacks": TEXT,
        "act": TEXT,
        "customer": TEXT,
        "barred": TEXTS,
        "signers": TEXTS,
        "concerned": TEXTS,
        "recused": TEXTS,
        "document": DOCUMENT,
    },
    key=("agency", "stream"),
    rows=rows,
    views=("full",),
    indexes=("(agency, due, stream)", "(due, stream, agency)", "USING gin (concerned)", "USING gin (recused)"),
)

FIELDS = (
    "agency",
    "stream",
    "lacks",
    "act",
    "request",
    "release",
    "phase",
    "provider",
    "customer",
    "tier",
    "due",
    "since",
    "revision",
    "state",
    "overdue",
)
"""What a document tells, in order."""


@dataclass(frozen=True, slots=True)
class Officer:
    """Somebody whose own queue is asked for: the offices they hold, lent ones too, and who works for customers.

    `employed`: the customers for which a person works, by person: the officer, and whoever lends them a power.
    """

    person: str
    offices: tuple[Office, ...]
    employed: dict[str, tuple[str, ...]]


async def page(
    conn: Connection,
    reach: Reach,
    asked: Asked = NOW,
    *,
    now: datetime,
    agency: str | None = None,
    release: str | None = None,
    lacks: str | None = None,
    overdue: bool | None = None,
    officer: Officer | None = None,
) -> Page:
    """What waits for agencies (or for one), the most urgent first; only officers whom it concerns see it.

    `now` says what is overdue. With an `officer`: only what that person may do themselves.
    """
    all_ = reach.clearance is not None
    concerned = Clause("true") if all_ else Clause("concerned && %s::text[]", (sorted(reach.full),))
    sight = sights.unless_recused(reach, concerned, "stream")
    filters = pages.equal(agency=agency, release=release, lacks=lacks) + pages.overdue(overdue, now)
    if officer is not None:
        filters.append(_may_be_done_by(officer))
    found = await pages.page(conn, TABLE, [sight], filters, asked, ("due", "stream", "agency"))
    return Page([pages.with_overdue(item, now) for item in found.items], found.next, found.position)


def _may_be_done_by(officer: Officer) -> Clause:
    """I4 to I6: in an agency where they hold an office for it, by a power that was lent, where nothing keeps them."""
    ways = [way for office in officer.offices if office.kind == "agency" for way in _ways(office, officer)]
    if not ways:
        return Clause("false")
    agencies = sorted({office.organization for office in officer.offices if office.kind == "agency"})
    text = " OR ".join(f"({way.text})" for way in ways)
    return Clause(f"agency = ANY (%s) AND ({text})", (agencies, *(value for way in ways for value in way.values)))


def _ways(office: Office, officer: Officer) -> Iterator[Clause]:
    acts = [
        act for act in ACTS if office.role in tasks.roles_for(act) and (office.powers is None or act in office.powers)
    ]
    if acts:
        people = [officer.person, *office.via]
        customers = sorted({customer for person in people for customer in officer.employed.get(person, ())})
        values: tuple[Any, ...] = (
            office.organization,
            acts,
            people,
            people,
            list(NOT_FOR_THE_CUSTOMERS_PEOPLE),
            customers,
        )
        yield Clause(_WAY, values)


_WAY = """agency = %s AND act = ANY (%s) AND NOT barred && %s::text[]
AND (signers = '{{}}' OR EXISTS (
    SELECT FROM unnest(signers) AS each WHERE NOT string_to_array(each, ' ') && %s::text[]))
AND NOT (act = ANY (%s) AND customer = ANY (%s::text[]))"""
"""What one office allows: `Task.is_open_to`, and no task of a customer for which one of these people works."""
