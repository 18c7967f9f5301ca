"""Who must still act on a request, who of them is eligible, by when, and what would settle it?

Worked out at read time from the folded request and the organizations of its tree: who was appointed today counts today.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from domain import tasks
from domain.authority import offices
from domain.fields import Label
from domain.organization import Organization
from domain.request import AccessRequest
from domain.sign_offs import Leaf, waiting
from domain.tasks import Task
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
    task = tasks.of_request(leaf, here)
    approvals = sum(s.position != "refuse" for s in here.sheet.of(leaf.agency))
    return {
        "agency": leaf.agency,
        "lacks": task.lacks,
        "quorum": leaf.quorum,
        "quorum_left": max(0, leaf.quorum - approvals),
        "countersign": leaf.countersign,
        "silence": leaf.silence,
        "due": here.dues.get(leaf.agency),
        "missed": leaf.agency in here.missed,
        "eligible": eligible(leaf.agency, task, organizations, now),
        "settled_by": settled_by(leaf, task.lacks, here, approvals),
    }


def eligible(agency: str, task: Task, organizations: Organizations, now: datetime) -> list[dict[str, Any]]:
    """Who may give it now, by name: officers, and those to whom one lends the power (`via`), whom no rule keeps out.

    A person who may do it in an office of their own needs nobody else's.
    """
    here = organizations.get(agency)
    customer = organizations.get(task.customer) if task.customer else None
    if here is None or task.act is None:
        return []
    lent = (d.to for d in here.delegations if d.in_force(now))
    found: dict[str, dict[str, Any]] = {}
    for person in sorted({person for person, _ in here.officers(now)} | set(lent)):
        for office in offices([here], person, now):
            people = frozenset((person, *office.via))
            able = office.role in task.roles and (office.powers is None or task.act in office.powers)
            if not able or not task.is_open_to(people) or (customer is not None and customer.employs(people, now)):
                continue
            entry = found.setdefault(person, {"person": person, "roles": [], "via": list(office.via)})
            if entry["via"] == list(office.via):
                entry["roles"] = sorted({*entry["roles"], office.role})
    return list(found.values())


def settled_by(leaf: Leaf, lacks: str, here: AccessRequest, approvals: int) -> str:
    """What would settle this leaf, in a sentence."""
    match lacks:
        case "information":
            open_ = [q.number for q in here.questions if q.agency == leaf.agency and not q.accepted]
            numbers = ", ".join(map(str, open_))
            if tasks.unanswered(leaf.agency, here):
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
