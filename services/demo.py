"""What believable story does a fresh Assent open on? Sixty days of a rollout, told as a scenario.

Two releases, four agencies, customers of every size: a conditional approval, a denial, a revocation, an incident that
held a rollout, a directive in force, questions to an applicant, and a queue that waits for sign-offs today.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

DAYS = 60

PERSONAS = {
    "olga": "reviewer at the Office of the National Cyber Director",
    "cora": "reviewer at the Department of Commerce",
    "carl": "countersigner at the Department of Commerce",
    "hana": "head of the Department of Commerce",
    "rae": "release manager at Meridian AI",
    "nina": "applicant at Northgate Bank",
    "tom": "applicant at Tinker Labs",
    "root": "administrator, registrar, decider and auditor of this service",
}

ORGANIZATIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("meridian", "provider", "Meridian AI", {}),
    ("halcyon", "provider", "Halcyon Research", {}),
    ("oncd", "agency", "Office of the National Cyber Director", {"government": True}),
    ("ostp", "agency", "Office of Science and Technology Policy", {"government": True}),
    ("commerce", "agency", "Department of Commerce", {"government": True}),
    ("halcyon-trust", "agency", "Halcyon trust team", {"government": False}),
    ("northgate", "customer", "Northgate Bank", {"size_class": "large"}),
    ("riverbend", "customer", "Riverbend Health", {"size_class": "medium"}),
    ("patchwork", "customer", "Patchwork Security", {"size_class": "small"}),
    ("tinker", "customer", "Tinker Labs", {"size_class": "startup"}),
    ("openfield", "customer", "Openfield Robotics", {"size_class": "startup"}),
)

APPOINTMENTS = (
    ("meridian", "rae", "release_manager"),
    ("meridian", "gate-one", "gateway"),
    ("halcyon", "hugo", "release_manager"),
    ("oncd", "olga", "reviewer"),
    ("oncd", "oskar", "reviewer"),
    ("ostp", "sam", "reviewer"),
    ("commerce", "cora", "reviewer"),
    ("commerce", "carl", "countersigner"),
    ("commerce", "hana", "head"),
    ("commerce", "henry", "head"),
    ("halcyon-trust", "gil", "reviewer"),
    ("northgate", "nina", "applicant"),
    ("riverbend", "rosa", "applicant"),
    ("patchwork", "pam", "applicant"),
    ("tinker", "tom", "applicant"),
    ("openfield", "ole", "applicant"),
)

THREE_AGENCIES = {
    "authority_basis": "Executive Order 14409, voluntary review",
    "sign_offs": {"all_of": [{"agency": "oncd"}, {"agency": "ostp"}, {"agency": "commerce", "countersign": True}]},
    "on_refusal": "deny",
    "clocks": {"review_days": 30, "days": "calendar", "information_days": 10, "intake_days": 5},
    "grant": {"days": 180},
}
TRUST_TEAM = {
    "authority_basis": "The provider's own restricted release",
    "sign_offs": {"agency": "halcyon-trust"},
    "on_refusal": "deny",
    "clocks": {"review_days": 10, "days": "business"},
    "grant": {"days": 365},
}
ATLAS = {
    "id": "atlas-4",
    "provider": "meridian",
    "model": "Atlas 4",
    "tiers": ["standard", "extended"],
    "policy": "frontier-preview",
    "incident_threshold": "high",
    "phases": [
        {"name": "announced", "access": "closed"},
        {"name": "limited_preview", "access": "granted", "customer_cap": 20},
        {
            "name": "general_availability",
            "access": "open",
            "min_days": 45,
            "quiet_days": 14,
            "gate": {"all_of": [{"agency": "oncd"}, {"agency": "ostp"}]},
        },
    ],
}
SENTINEL = {
    "id": "sentinel",
    "provider": "halcyon",
    "model": "Sentinel",
    "tiers": ["standard"],
    "policy": "trust-team",
    "incident_threshold": "critical",
    "phases": [{"name": "restricted", "access": "granted"}],
}


def story(start: datetime) -> list[tuple[int, dict[str, Any]]]:
    """The steps, numbered from 1, from `start` for sixty days."""
    steps = [step for chapter in CHAPTERS for step in chapter(start)]
    return list(enumerate(sorted(steps, key=lambda step: datetime.fromisoformat(step["at"])), 1))


def _at(start: datetime, days: float) -> dict[str, Any]:
    return {"at": (start + timedelta(days=days)).isoformat()}


def _post(start: datetime, days: float, person: str, path: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**_at(start, days), "as": person, "post": path, "body": body, "expect": 201, **more}


def people_and_policies(start: datetime) -> Iterator[dict[str, Any]]:
    for nth, (id, kind, name, more) in enumerate(ORGANIZATIONS):
        yield _post(
            start,
            nth / 1000,
            "root",
            "/organizations",
            {"id": id, "kind": kind, "name": name, "country": "US", **more},
        )
    for nth, (organization, person, role) in enumerate(APPOINTMENTS):
        path = f"/organizations/{organization}/appointments"
        yield _post(start, 0.1 + nth / 1000, "root", path, {"person": person, "role": role})
    yield _post(start, 0.2, "root", "/policies/frontier-preview/versions", THREE_AGENCIES)
    yield _post(start, 0.21, "root", "/policies/trust-team/versions", TRUST_TEAM)


def announcements(start: datetime) -> Iterator[dict[str, Any]]:
    yield _post(start, 2, "rae", "/releases", ATLAS)
    yield _post(start, 3, "hugo", "/releases", SENTINEL)
    opening = {"to": "limited_preview", "reason": "The preview opens to approved customers"}
    yield _post(start, 5, "rae", "/releases/atlas-4/phase", opening)


def _ask(start: datetime, days: float, person: str, customer: str, use: str, **more: Any) -> Iterator[dict[str, Any]]:
    body = {
        "customer": customer,
        "release": "atlas-4",
        "tier": "standard",
        "use": use,
        "user_classes": ["us_person"],
        "duration_days": 180,
        **more,
    }
    yield _post(start, days, person, "/requests", body, save={f"{customer}_request": "id"})
    yield _post(start, days + 1, "root", f"/requests/{{{customer}_request}}/registration", {})


def _sign(start: datetime, days: float, person: str, agency: str, customer: str, **more: Any) -> dict[str, Any]:
    body = {"agency": agency, "position": "approve", **more}
    return _post(start, days, person, f"/requests/{{{customer}_request}}/sign-offs", body)


def _countersign(start: datetime, days: float, customer: str) -> dict[str, Any]:
    return _post(start, days, "carl", f"/requests/{{{customer}_request}}/sign-offs/commerce/countersignature", {})


def a_bank_is_approved_with_a_condition(start: datetime) -> Iterator[dict[str, Any]]:
    yield from _ask(start, 6, "nina", "northgate", "Finding fraud in payment flows")
    yield _sign(start, 9, "olga", "oncd", "northgate")
    yield _sign(start, 10, "sam", "ostp", "northgate")
    conditions = [{"text": "Report misuse within 24 hours", "kind": "ongoing"}]
    yield _sign(start, 12, "cora", "commerce", "northgate", position="approve_with_conditions", conditions=conditions)
    yield _countersign(start, 13, "northgate")


def a_security_firm_is_approved_and_later_revoked(start: datetime) -> Iterator[dict[str, Any]]:
    yield from _ask(start, 7, "pam", "patchwork", "Finding and mending flaws in open source software")
    yield _sign(start, 11, "oskar", "oncd", "patchwork")
    yield _sign(start, 12.5, "sam", "ostp", "patchwork")
    yield _sign(start, 14, "cora", "commerce", "patchwork")
    yield _countersign(start, 15, "patchwork")
    saved = {"patchwork_grant": "items.0.id"}
    yield {**_at(start, 15.1), "get": "/grants?customer=patchwork", "as": "pam", "save": saved}


def an_incident_holds_the_rollout(start: datetime) -> Iterator[dict[str, Any]]:
    summary = {"severity": "high", "summary": "A chain of prompts that defeats the safeguards was published"}
    yield _post(start, 20, "rae", "/releases/atlas-4/incidents", summary)
    finding = {
        "reason": "The customer passed its access on",
        "finding": "Breach of the terms, found on inspection",
        "bar": True,
    }
    yield _post(start, 22, "hana", "/grants/{patchwork_grant}/revocation", finding)
    resolution = {"resolution": "The safeguard was mended, and the mending verified"}
    yield _post(start, 25, "rae", "/releases/atlas-4/incidents/1/closure", resolution)
    yield _post(start, 25.1, "rae", "/releases/atlas-4/resume", {"reason": "The incident is closed"})


def a_directive_is_issued_and_eased(start: datetime) -> Iterator[dict[str, Any]]:
    ask = {
        "customer": "northgate",
        "release": "sentinel",
        "use": "Testing our own networks",
        "user_classes": ["us_person", "foreign_national"],
    }
    yield _post(start, 26, "nina", "/requests", ask, save={"sentinel_request": "id"})
    yield _post(start, 27, "root", "/requests/{sentinel_request}/registration", {})
    approval = {"agency": "halcyon-trust", "position": "approve"}
    yield _post(start, 28, "gil", "/requests/{sentinel_request}/sign-offs", approval)
    order = {
        "authority": "Letter of the Under Secretary",
        "scope": {"releases": ["sentinel"], "person_classes": ["foreign_national"]},
        "carve_outs": {},
        "reason": "No foreign national may use the release until further notice",
    }
    yield _post(start, 32, "hana", "/directives", order, save={"directive": "id"})
    easing = {"carve_outs": {"organizations": ["northgate"]}, "reason": "Listed organizations may go on"}
    yield _post(start, 40, "hana", "/directives/{directive}/easing", easing)
    yield _post(start, 58, "hana", "/directives/{directive}/lifting", {"reason": "Commitments were verified"})


def a_robot_maker_is_refused(start: datetime) -> Iterator[dict[str, Any]]:
    yield from _ask(start, 30, "ole", "openfield", "Autonomous survey drones")
    yield _sign(start, 36, "sam", "ostp", "openfield", position="refuse", reason="No plan against misuse")


def a_queue_waits_today(start: datetime) -> Iterator[dict[str, Any]]:
    yield from _ask(start, 44, "rosa", "riverbend", "Reading radiology reports", duration_days=90)
    yield _sign(start, 47, "olga", "oncd", "riverbend")
    yield from _ask(start, 48, "tom", "tinker", "Tools for software developers")
    question = {"agency": "oncd", "question": "Who holds the signing keys?"}
    yield _post(start, 51, "olga", "/requests/{tinker_request}/information-requests", question)
    answer = {"answer": "Two founders, in a hardware module."}
    yield _post(start, 55, "tom", "/requests/{tinker_request}/information-requests/1/response", answer)
    yield _sign(start, 55.5, "cora", "commerce", "tinker")
    extended = {
        "customer": "northgate",
        "release": "atlas-4",
        "tier": "extended",
        "use": "Drafting replies for our branches",
        "user_classes": ["us_person"],
        "duration_days": 90,
    }
    yield _post(start, 56, "nina", "/requests", extended, save={"extended_request": "id"})
    yield _post(start, 57, "root", "/requests/{extended_request}/registration", {})
    yield _post(start, 59, "ole", "/requests", {**extended, "customer": "openfield", "tier": "standard"})


CHAPTERS = (
    people_and_policies,
    announcements,
    a_bank_is_approved_with_a_condition,
    a_security_firm_is_approved_and_later_revoked,
    an_incident_holds_the_rollout,
    a_directive_is_issued_and_eased,
    a_robot_maker_is_refused,
    a_queue_waits_today,
)
