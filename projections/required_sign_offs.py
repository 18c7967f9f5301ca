"""Who must still act on a request, who of them is eligible, by when, and what would settle it?

Worked out at read time from the folded request and the organizations of its tree: who was appointed today counts today.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from domain.authority import OFFICERS
from domain.fields import Label
from domain.organization import SENIORS, Organization, Role
from domain.request import AccessRequest
from domain.sign_offs import Leaf, lacking, waiting
from projections import requests
from projections.pages import Document
from projections.views import Views

Organizations = Mapping[str, Organization | None]


def organizations_needed(here: AccessRequest) -> tuple[str, ...]:
    """The organizations whose officers and people the answer depends on."""
    return (*here.agencies, here.customer)


def required_sign_offs(views: Views, organizations: Organizations, clearance: Label, now: datetime) -> Document:
    """What officers need to know; applicants learn whom it waits for and by when. Something has happened in it."""
    here: AccessRequest = views.full.state
    if clearance < Label.INTERAGENCY:
        shown = requests.for_applicants(views.applicant)
        return {"waiting_on": shown["waiting_on"], "due": shown["due"]}
    leaves = waiting(here.terms.sign_offs, here.sheet) if here.terms and here.registered and not here.outcome else ()
    return {
        "request": here.id,
        "revision": here.revision,
        "state": here.state,
        "waiting_on": requests.waiting_on(here),
        "due": here.due,
        "sign_offs": [required(leaf, here, organizations, now) for leaf in leaves],
    }


def required(leaf: Leaf, here: AccessRequest, organizations: Organizations, now: datetime) -> Document:
    """What one leaf of the tree lacks, and who may give it."""
    lacks = lacking(leaf, here.sheet)
    approvals = sum(s.position != "refuse" for s in here.sheet.of(leaf.agency))
    return {
        "agency": leaf.agency,
        "lacks": lacks,
        "quorum": leaf.quorum,
        "quorum_left": max(0, leaf.quorum - approvals),
        "countersign": leaf.countersign,
        "silence": leaf.silence,
        "due": here.dues.get(leaf.agency),
        "missed": leaf.agency in here.missed,
        "eligible": eligible(leaf, lacks, here, organizations, now),
        "settled_by": settled_by(leaf, lacks, here, approvals),
    }


def eligible(
    leaf: Leaf, lacks: str, here: AccessRequest, organizations: Organizations, now: datetime
) -> list[dict[str, Any]]:
    """The officers in office now who may give it, by name; not those whom recusal or separation of duties keeps out."""
    agency, customer = organizations.get(leaf.agency), organizations.get(here.customer)
    if agency is None or (lacks == "information" and unanswered(leaf.agency, here)):
        return []
    roles = SENIORS if lacks == "countersignature" else OFFICERS
    held: dict[str, list[Role]] = {}
    for person, role in agency.officers(now):
        if role in roles and may_act(person, leaf, lacks, here, customer, now):
            held.setdefault(person, []).append(role)
    return [{"person": person, "roles": sorted(held[person])} for person in sorted(held)]


def may_act(
    person: str, leaf: Leaf, lacks: str, here: AccessRequest, customer: Organization | None, now: datetime
) -> bool:
    """I4 and I5, for one officer of the leaf's agency."""
    if person in here.recused:
        return False
    if lacks == "information":
        return True
    if person == here.applicant or (customer is not None and customer.roles(person, now)):
        return False
    if any(s.person == person and s.agency != leaf.agency for s in here.sheet.signatures):
        return False
    if lacks == "countersignature":
        return any(s.person != person for s in here.sheet.awaiting_countersignature(leaf.agency))
    return all(s.person != person for s in here.sheet.of(leaf.agency))


def unanswered(agency: str, here: AccessRequest) -> list[int]:
    return [q.number for q in here.questions if q.agency == agency and not q.answered and not q.accepted]


def settled_by(leaf: Leaf, lacks: str, here: AccessRequest, approvals: int) -> str:
    """What would settle this leaf, in a sentence."""
    match lacks:
        case "information":
            open_ = [q.number for q in here.questions if q.agency == leaf.agency and not q.accepted]
            numbers = ", ".join(map(str, open_))
            if unanswered(leaf.agency, here):
                return f"The applicant's answer to question {numbers}, and its acceptance by {leaf.agency}."
            return f"The acceptance by {leaf.agency} of the answer to question {numbers}."
        case "countersignature":
            people = ", ".join(s.person for s in here.sheet.awaiting_countersignature(leaf.agency))
            return f"A countersignature, by another, of what {people} signed for {leaf.agency}."
        case _:
            left = max(1, leaf.quorum - approvals)
            more = "an approval" if left == 1 else f"approvals by {left} further officers"
            then = ", and a countersignature" if leaf.countersign else ""
            return f"{more[0].upper()}{more[1:]} of {leaf.agency}{then}."
