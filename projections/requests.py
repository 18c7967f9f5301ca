"""Requests: which are there, how far is each review, and who must act next?"""

from collections.abc import Iterator
from typing import Any

from domain.authority import Reach
from domain.request import KIND, AccessRequest
from domain.sign_offs import waiting
from domain.world import Stream
from projections import pages, sights
from projections.pages import NOW, Asked, Clause, Document, Page, Turn
from projections.state_table import TEXT, StateTable
from projections.statements import DOCUMENT, TEXTS, Connection, Row
from projections.views import View

FINAL = frozenset({"approved", "denied", "returned", "withdrawn", "lapsed"})


def rows(name: str, view: View, stream: Stream) -> Iterator[Row]:
    here: AccessRequest = stream.state
    concerned = [*here.agencies, here.provider] if here.terms else []
    document = full(stream) if view == "full" else for_applicants(stream)
    waiting_on, recused = document["waiting_on"], document["recused"] if view == "full" else []
    yield view, here.id, here.customer, here.release, here.state, waiting_on, concerned, recused, document


TABLE = StateTable(
    name="requests",
    version=1,
    kinds=frozenset({KIND}),
    columns={
        "view": TEXT,
        "id": TEXT,
        "customer": TEXT,
        "release": TEXT,
        "state": TEXT,
        "waiting_on": TEXTS,
        "concerned": TEXTS,
        "recused": TEXTS,
        "document": DOCUMENT,
    },
    key=("view", "id"),
    rows=rows,
    indexes=(
        "(view, state, id)",
        "(view, customer, id)",
        "(view, release, id)",
        "USING gin (waiting_on)",
        "(view, id) WHERE waiting_on <> '{}'",
        "USING gin (concerned)",
        "USING gin (recused)",
    ),
)

FIELDS = (
    "id",
    "customer",
    "release",
    "provider",
    "tier",
    "use",
    "user_classes",
    "affiliates",
    "duration_days",
    "renews",
    "applicant",
    "state",
    "revision",
    "version",
    "policy",
    "policy_version",
    "sign_off_tree",
    "submitted",
    "registered",
    "intake_due",
    "due",
    "dues",
    "sign_offs",
    "deemed",
    "overruled",
    "waiting_on",
    "questions",
    "grant",
    "decided",
    "reason",
    "cycle",
    "appeals",
    "recused",
    "position",
)
"""What a document tells, in order, to those who see it in full."""

FOR_OFFICERS = frozenset({"dues", "sign_offs", "deemed", "overruled", "recused"})
"""Of these, what applicants are not told."""


# Documents


def full(stream: Stream) -> Document:
    """The request as officers, deciders and auditors read it."""
    here: AccessRequest = stream.state
    return _application(here) | {
        "version": stream.version,
        **_terms(here),
        "submitted": here.submitted,
        "registered": here.registered,
        "intake_due": here.intake_due,
        "due": here.due,
        "dues": here.dues,
        "sign_offs": [
            {
                "agency": s.agency,
                "person": s.person,
                "position": s.position,
                "conditions": s.conditions,
                "reason": s.reason,
                "countersigned_by": s.countersigned,
            }
            for s in here.sheet.signatures
        ],
        "deemed": sorted(here.sheet.deemed),
        "overruled": sorted(here.sheet.overruled),
        "waiting_on": waiting_on(here),
        "questions": questions(here),
        **_outcome(here),
        "recused": sorted(here.recused),
        "position": stream.position,
    }


def for_applicants(stream: Stream) -> Document:
    """The request as its customer reads it: nothing of the deliberations."""
    here: AccessRequest = stream.state
    return _application(here) | {
        "version": stream.applicant_version,
        **_terms(here),
        "submitted": here.submitted,
        "registered": here.registered,
        "intake_due": here.intake_due,
        "due": here.due,
        "waiting_on": ["agencies"] if here.state == "in_review" else waiting_on(here),
        "questions": questions(here),
        **_outcome(here),
        "position": stream.position,
    }


def _application(here: AccessRequest) -> Document:
    return {
        "id": here.id,
        "customer": here.customer,
        "release": here.release,
        "provider": here.provider,
        "tier": here.tier,
        "use": here.use,
        "user_classes": here.user_classes,
        "affiliates": here.affiliates,
        "duration_days": here.duration_days,
        "renews": here.renews,
        "applicant": here.applicant,
        "state": here.state,
        "revision": here.revision,
    }


def _terms(here: AccessRequest) -> Document:
    terms = here.terms
    return {
        "policy": terms and terms.policy,
        "policy_version": terms and terms.version,
        "sign_off_tree": terms and terms.sign_offs,
    }


def _outcome(here: AccessRequest) -> Document:
    return {
        "grant": here.grant,
        "decided": here.decided,
        "reason": here.reason,
        "cycle": here.cycle,
        "appeals": here.appeals,
    }


def waiting_on(here: AccessRequest) -> list[str]:
    """Who must act next: agencies by name, or `applicant`, `registrar`, `decider`; nobody once it is decided."""
    match here.state:
        case "draft" | "on_hold":
            return ["applicant"]
        case "submitted":
            return ["registrar"]
        case "escalated" | "awaiting_decision":
            return ["decider"]
        case "in_review":
            assert here.terms is not None, "a request in review is pinned to a policy"
            return list(dict.fromkeys(leaf.agency for leaf in waiting(here.terms.sign_offs, here.sheet)))
        case _:
            return []


def questions(here: AccessRequest) -> list[dict[str, Any]]:
    return [
        {
            "number": q.number,
            "agency": q.agency,
            "question": q.question,
            "asked": q.asked,
            "due": q.due,
            "answer": q.answer,
            "answered": q.answered,
            "state": "accepted" if q.accepted else "answered" if q.answered else "open",
        }
        for q in here.questions
    ]


# Queries


async def page(
    conn: Connection,
    reach: Reach,
    asked: Asked = NOW,
    *,
    state: str | None = None,
    waiting_on: str | None = None,
    customer: str | None = None,
    release: str | None = None,
) -> Page:
    """The requests a reader may see, oldest first."""
    filters = pages.equal(state=state, customer=customer, release=release) + pages.including(waiting_on=waiting_on)
    if waiting_on is not None:
        filters.append(Clause("waiting_on <> '{{}}'"))
    return await pages.page(conn, TABLE, _sight(reach), filters, asked)


async def changed(conn: Connection, reach: Reach, customer: str, after: int, at: int) -> list[Turn]:
    """Which requests of a customer changed, as far as the reader sees them; so many at most. Raises NotReady."""
    return await pages.changed(conn, TABLE, _sight(reach), pages.equal(customer=customer), after, at)


async def detail(conn: Connection, reach: Reach, id: str, at: int | None = None) -> Document:
    """One request as the reader may see it. Raises NotFound."""
    return await pages.detail(conn, TABLE, _sight(reach), id, at)


def _sight(reach: Reach) -> list[Clause]:
    return [sights.unless_recused(reach, sight, "id") for sight in sights.concerned(reach)]
