"""What does each body look like? One example value per field, and whole bodies where a name has a sense of its own."""

from dataclasses import MISSING, fields
from typing import Any

from domain import grant, request
from domain.directive import EaseDirective, IssueDirective
from domain.key import IssueKey
from domain.log import RotateLogKey
from domain.organization import AddAffiliate, Delegate, RegisterOrganization
from domain.policy import PublishPolicy
from domain.release import AnnounceRelease
from domain.request import AmendRequest, ResolveDispute, SignOff
from services.http.bodies import wire_name

TREE = {"all_of": [{"agency": "oncd"}, {"agency": "ostp"}, {"agency": "commerce", "countersign": True}]}

FIELDS: dict[str, Any] = {
    "agency": "commerce",
    "answer": "Cards and transfers of the retail bank; no decision is automatic.",
    "authority": "Export Administration Regulations, 15 CFR 744",
    "country": "US",
    "customer": "northwind",
    "dates": ["2026-07-03"],
    "days": 10,
    "deficiencies": "The intended use is not described.",
    "grounds": "The plan against misuse was handed in, but not read.",
    "finding": "Weights were copied to a machine outside of the agreed region.",
    "id": "northwind",
    "name": "Northwind Bank",
    "number": 1,
    "outcome": "approve",
    "person": "cora",
    "phase": "general_availability",
    "position": "approve",
    "powers": ["SignOff", "RequestInformation"],
    "question": "Which transactions are analysed?",
    "reason": "The safeguards are in place.",
    "release": "gpt-5.6",
    "resolution": "The filter was repaired and tested.",
    "respond_by": "2026-08-01T21:00:00Z",
    "role": "reviewer",
    "severity": "high",
    "summary": "A jailbreak circulates.",
    "text": "No misuse was found in July.",
    "tier": "standard",
    "to": "limited_preview",
    "use": "Fraud analysis",
}
"""A value for each field that a command needs, by name."""

BODIES: dict[type, dict[str, Any]] = {
    Delegate: {"to": "oskar", "powers": ["SignOff", "RequestInformation"]},
    grant.ProposeConditionChange: {"text": "Report misuse within 48 hours"},
    request.DecideAppeal: {"outcome": "uphold", "reason": "The denial was right."},
    grant.DecideAppeal: {"outcome": "uphold", "reason": "The revocation was right."},
    RegisterOrganization: {
        "id": "northwind",
        "kind": "customer",
        "name": "Northwind Bank",
        "country": "US",
        "size_class": "large",
    },
    AddAffiliate: {"id": "northwind-uk", "name": "Northwind UK", "country": "GB"},
    PublishPolicy: {
        "authority_basis": "Executive Order 14409, voluntary review",
        "sign_offs": TREE,
        "on_refusal": "deny",
        "clocks": {"review_days": 30, "days": "calendar", "information_days": 10},
        "grant": {"days": 180},
    },
    AnnounceRelease: {
        "id": "gpt-5.6",
        "provider": "openai",
        "model": "GPT-5.6",
        "tiers": ["standard"],
        "policy": "frontier-preview",
        "incident_threshold": "high",
        "phases": [
            {"name": "announced", "access": "closed"},
            {"name": "limited_preview", "access": "granted", "customer_cap": 20},
            {"name": "general_availability", "access": "open", "min_days": 14, "gate": {"agency": "oncd"}},
        ],
    },
    AmendRequest: {"changes": {"use": "Fraud analysis and credit scoring"}, "reason": "A second use was added."},
    SignOff: {
        "agency": "commerce",
        "position": "approve_with_conditions",
        "conditions": [{"text": "Report misuse within 24 hours", "kind": "ongoing"}],
        "reason": "The safeguards are in place.",
    },
    ResolveDispute: {"outcome": "approve", "reason": "The objection was answered.", "overrules": ["commerce"]},
    IssueDirective: {
        "authority": "Export Administration Regulations, 15 CFR 744",
        "scope": {"releases": ["gpt-5.6"], "person_classes": ["foreign_national"]},
        "carve_outs": {"organizations": ["northwind"]},
        "reason": "The release may not be exported for now.",
    },
    IssueKey: {"organization": "openai", "name": "Gateway in Virginia", "scopes": ["access"]},
    EaseDirective: {"carve_outs": {"organizations": ["northwind"]}, "reason": "A licence was issued."},
    RotateLogKey: {"reason": "The yearly change of keys"},
}

EVALUATION = {
    "subject": {"type": "organization", "id": "northwind", "properties": {"person_class": "us_person"}},
    "action": {"name": "use"},
    "resource": {"type": "release", "id": "gpt-5.6", "properties": {"tier": "standard"}},
    "context": {"min_position": 41},
}

DECISION = {
    "decision": True,
    "context": {
        "reason": "granted",
        "position": 41,
        "because": [17, 40],
        "valid_until": "2026-12-27T15:00:00Z",
        "phase": "limited_preview",
        "grant": "01kwk2q8xrewp9q7rmkbd2k7me",
        "directive": None,
        "conditions": [1],
        "missing": [],
        "alternatives": [],
    },
}

ASKED = {
    "evaluate": EVALUATION,
    "evaluateMany": {
        **{name: EVALUATION[name] for name in ("subject", "action")},
        "evaluations": [{"resource": {"type": "release", "id": "gpt-5.6"}}, {}],
        "options": {"evaluations_semantic": "deny_on_first_deny"},
    },
    "searchSubjects": {**EVALUATION, "subject": {"type": "organization"}, "page": {"limit": 2}},
    "searchResources": {**EVALUATION, "resource": {"type": "release"}},
    "searchActions": {name: EVALUATION[name] for name in ("subject", "resource")},
    "applyForAccess": {
        **{name: EVALUATION[name] for name in ("subject", "action", "resource")},
        "context": {"business_justification": "Fraud analysis"},
        "denial": {"expires_at": "2026-07-08T14:10:00Z", "binding_token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln"},
        "requested_access": {"requested_until": "2026-12-31T00:00:00Z"},
    },
    "acknowledgeEnforcement": {"point": "gateway-eu-1", "position": 41},
}
"""What a gateway may send, by operation."""

_LAST = {"page": {"next_token": "", "count": 1}, "context": {"position": 41}}
TOLD = {
    "evaluate": DECISION,
    "evaluateMany": {
        "evaluations": [
            DECISION,
            {
                "decision": False,
                "context": {
                    "reason": "malformed",
                    "position": 41,
                    "missing": ["resource"],
                    "error": {"status": 400, "message": "The field resource is missing."},
                },
            },
        ]
    },
    "searchSubjects": {"results": [{"type": "organization", "id": "northwind"}], **_LAST},
    "searchResources": {"results": [{"type": "release", "id": "gpt-5.6"}], **_LAST},
    "searchActions": {"results": [{"name": "use"}], **_LAST},
    "applyForAccess": {
        "task": {
            "id": "01kwk2q8xrewp9q7rmkbd2k7me",
            "status": "pending",
            "status_endpoint": "https://assent.example/access/v1/requests/01kwk2q8xrewp9q7rmkbd2k7me",
        }
    },
    "acknowledgeEnforcement": {"position": 57},
}

ANSWER = {
    "id": "01kwk2q8xrewp9q7rmkbd2k7me",
    "stream": "request-01kwk2q8xrewp9q7rmkbd2k7me",
    "version": 3,
    "position": 41,
    "events": [{"type": "AgencySignedOff", "position": 41}],
    "receipt": {"position": 41, "leaf": "3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "size": 42},
}

DIFFERENCE = {
    "stream": "request-01kwk2q8xrewp9q7rmkbd2k7me",
    "from": {"position": 40, "version": 2},
    "to": {"position": 41, "version": 3},
    "changes": [{"path": "/waiting_on", "before": ["oncd", "commerce"], "after": ["commerce"]}],
    "facts": [
        {"position": 41, "type": "AgencySignedOff", "text": "Olga (reviewer, oncd) approved revision 1 for oncd."}
    ],
}

CSV = "id,customer,waiting_on,due\r\n01kwk2q8xrewp9q7rmkbd2k7me,northwind,oncd; commerce,2026-07-27T21:00:00Z\r\n"
JSONL = '{"id":"01kwk2q8xrewp9q7rmkbd2k7me","customer":"northwind"}\n{"complete":{"items":1,"position":41}}\n'

PROBLEM = {
    "type": "urn:assent:problem:sign-offs-missing",
    "title": "Sign-offs are missing",
    "status": 409,
    "detail": "The tree of sign-offs is not satisfied (I2).",
    "rule": "I2",
    "missing": ["commerce"],
}


def body_example(command: type, given: tuple[str, ...]) -> dict[str, Any]:
    """A body that the command takes: its own, or one of the fields that it cannot do without (and a reason)."""
    if command in BODIES:
        return BODIES[command]
    needed = [
        each.name
        for each in fields(command)
        if each.name not in given and (each.default is MISSING or each.name == "reason")
    ]
    return {wire_name(name): FIELDS[name] for name in needed}
