"""May they use it now? The answer of I10, reckoned from the other books for every question anew."""

from datetime import datetime
from typing import Any

from tests.simulation.books.grants import Grant
from tests.simulation.books.releases import Release

Use = dict[str, Any]
"""customer, release, and tier, person_class, affiliate or None."""

WORST_TO_BEST = (
    "no_grant",
    "pending_conditions",
    "grant_suspended",
    "grant_revoked",
    "grant_expired",
    "tier_not_covered",
    "class_not_covered",
    "affiliate_not_covered",
    "granted",
)


def reason(log: Any, use: Use, now: datetime) -> str:
    """The first reason that applies, in the order of I10."""
    release: Release | None = log.releases.all.get(use["release"])
    if release is None:
        return "unknown_release"
    customer = log.offices.organizations.get(use["customer"])
    if customer is None or customer.kind != "customer":
        return "unknown_customer"
    if release.withdrawn:
        return "withdrawn"
    if any(not d.lifted and d.stops(use, release.provider) for d in log.directives.all.values()):
        return "directive"
    grants: list[Grant] = log.grants.between.get((use["customer"], use["release"]), [])
    if any(grant.barred for grant in grants):
        return "barred"
    if release.phase["access"] != "granted":
        return {"closed": "phase_closed", "open": "open_phase"}[release.phase["access"]]
    return max((of_grant(grant, use, release, now) for grant in grants), key=WORST_TO_BEST.index, default="no_grant")


def of_grant(grant: Grant, use: Use, release: Release, now: datetime) -> str:
    """What one grant says; surrendered and superseded ones say nothing."""
    if grant.ended in ("surrendered", "superseded"):
        return "no_grant"
    unmet = ("open", "breached")
    if any(c.kind == "precondition" and c.state in unmet for c in grant.conditions.values()):
        return "pending_conditions"
    if grant.suspensions:
        return "grant_suspended"
    if grant.ended == "revoked":
        return "grant_revoked"
    if grant.ended == "expired" or (grant.until is not None and now >= grant.until and not grant.kept):
        return "grant_expired"
    tier = use["tier"] or (release.tiers[0] if len(release.tiers) == 1 else None)
    if tier not in grant.tiers:
        return "tier_not_covered"
    if grant.user_classes and use["person_class"] not in grant.user_classes:
        return "class_not_covered"
    if use["affiliate"] is not None and use["affiliate"] not in grant.affiliates:
        return "affiliate_not_covered"
    return "granted"
