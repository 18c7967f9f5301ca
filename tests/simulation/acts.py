"""What may somebody try next? One small entry per command: how often, and how to draw one that nearly makes sense."""

from collections.abc import Callable
from datetime import timedelta
from itertools import accumulate
from typing import Any

from domain import grant, request
from domain.calendar import AmendCalendar
from domain.directive import ConfirmLifting, EaseDirective, IssueDirective, ProposeLifting, Uses, WithdrawLifting
from domain.grant import (
    AmendGrant,
    ConcurConditionChange,
    LiftBar,
    NotifyIntentToRevoke,
    ProposeConditionChange,
    RecordBreach,
    ReinstateGrant,
    ReportCompliance,
    RevokeGrant,
    SatisfyCondition,
    SurrenderGrant,
    SuspendGrant,
    WithdrawNotice,
)
from domain.hold import PlaceLegalHold, ReleaseLegalHold
from domain.key import IssueKey, RevokeKey, RotateKey
from domain.log import RotateLogKey
from domain.organization import (
    DELEGABLE,
    ROLES,
    AddAffiliate,
    Appoint,
    ChangeOrganization,
    Delegate,
    EndAppointment,
    EndDelegation,
    RegisterOrganization,
)
from domain.policy import Clocks, GrantTerms, PublishPolicy
from domain.release import (
    SEVERITIES,
    AdvancePhase,
    AnnounceRelease,
    CloseIncident,
    CountersignPhase,
    HoldRollout,
    OpenIncident,
    Phase,
    ResumeRollout,
    RollBackPhase,
    SignOffPhase,
    WithdrawRelease,
)
from domain.request import (
    AcceptInformation,
    AmendRequest,
    Changes,
    Countersign,
    Decide,
    DraftRequest,
    Escalate,
    ExtendReview,
    ProvideInformation,
    Recuse,
    RegisterRequest,
    RequestInformation,
    RequestRenewal,
    ResolveDispute,
    ReturnWithoutAction,
    SignOff,
    SubmitRequest,
    WithdrawRequest,
)
from domain.retention import SetRetention
from domain.sign_offs import AllOf, AtLeast, Leaf, ProposedCondition, Tree, waiting
from domain.subject import EraseSubject
from tests.simulation.scene import Scene

CLASSES = ("us_person", "ally", "foreign_person")
TIERS = ("standard", "pro", "max")
COUNTRIES = ("US", "GB", "JP")
CALENDARS = ("us-federal", "us-federal", "office")

Act = tuple[Any, str] | None
"""A command and the person who tries it; None where there is nothing to be drawn."""

ACTS: dict[type, tuple[float, Callable[[Scene], Act]]] = {}
"""Each command with its weight and its draw."""


def act(command: type, weight: float) -> Callable[[Callable[[Scene], Act]], Callable[[Scene], Act]]:
    def entered(draw: Callable[[Scene], Act]) -> Callable[[Scene], Act]:
        assert command not in ACTS, f"{command.__name__} has its entry already"
        ACTS[command] = (weight, draw)
        return draw

    return entered


# Organizations


@act(RegisterOrganization, 0.15)
def register_organization(scene: Scene) -> Act:
    kind: Any = scene.chance.choice(("provider", "agency", "agency", "customer", "customer", "customer"))
    if len(scene.kinds[kind]) >= {"provider": 2, "agency": 5, "customer": 8}[kind]:
        return None
    id = f"{kind}-{len(scene.kinds[kind])}"
    size: Any = scene.one(("startup", "small", "medium", "large")) if kind == "customer" else None
    government = kind == "agency" and scene.often(0.7)
    return RegisterOrganization(id, kind, id.title(), scene.chance.choice(COUNTRIES), size, government), "root"


@act(ChangeOrganization, 0.3)
def change_organization(scene: Scene) -> Act:
    here = scene.organization(scene.chance.choice(("agency", "customer", "customer")))
    if here is None:
        return None
    closed = scene.one((None, None, False, here.kind == "customer" and scene.often(0.3)))
    return ChangeOrganization(here.id, scene.one((None, f"{here.name} II")), closed=closed), "root"


@act(AddAffiliate, 0.4)
def add_affiliate(scene: Scene) -> Act:
    here = scene.organization("customer")
    return (AddAffiliate(here.id, f"{here.id}-lab-{scene.chance.randint(1, 3)}", "Lab", "US"), "root") if here else None


@act(Appoint, 2)
def appoint(scene: Scene) -> Act:
    here = scene.organization(scene.chance.choice(("assent", "provider", "agency", "agency", "customer")))
    if here is None:
        return None
    role: Any = scene.chance.choice(ROLES[here.kind])
    person = scene.anybody() if scene.often(0.3) else f"person-{len(scene.people)}"
    starts = scene.one((None, None, None, scene.later(20), scene.earlier(20)))
    until = scene.later(400) if scene.often(0.2) else None
    by = scene.holder(here.id, "head") if here.kind == "agency" and scene.often(0.5) else "root"
    return Appoint(here.id, person, role, starts, until), by


@act(EndAppointment, 0.4)
def end_appointment(scene: Scene) -> Act:
    office: tuple[str, Any] = scene.chance.choice(list(scene.holders))
    organization, role = office
    person = scene.chance.choice(scene.holders[organization, role])
    if person == "root":
        return None
    by = scene.holder(organization, "head") if scene.often(0.4) else "root"
    return EndAppointment(organization, person, role), by


@act(Delegate, 1)
def delegate(scene: Scene) -> Act:
    here = scene.organization("agency")
    if here is None:
        return None
    by = scene.holder(here.id, "head") if scene.often(0.9) else scene.officer(here.id)
    powers = (*scene.some(sorted(DELEGABLE), 8), "SignOff")
    starts = scene.one((None, None, scene.later(10)))
    until = scene.one((None, scene.later(60)))
    return Delegate(here.id, scene.anybody(), powers, starts, until), by


@act(EndDelegation, 0.3)
def end_delegation(scene: Scene) -> Act:
    here = scene.organization("agency")
    if here is None or not here.delegations:
        return None
    return EndDelegation(here.id, scene.chance.randint(1, len(here.delegations) + 1)), scene.holder(here.id, "head")


# Policies and calendars


def tree(scene: Scene, depth: int = 0) -> Tree:
    """A random tree over the agencies that are there; the same agency now and then twice."""
    agencies = scene.kinds["agency"]
    if depth == 2 or scene.often(0.35):
        return leaf(scene, scene.chance.choice(agencies))
    wanted = scene.chance.randint(1, min(3, len(agencies)))
    parts = tuple(
        tree(scene, depth + 1) if scene.often(0.2) else leaf(scene, agency)
        for agency in scene.chance.sample(agencies, wanted)
    )
    return AllOf(parts) if scene.often(0.6) else AtLeast(scene.chance.randint(1, len(parts)), parts)


def leaf(scene: Scene, agency: str) -> Leaf:
    return Leaf(
        agency,
        2 if scene.often(0.15) else 1,
        scene.often(0.25),
        scene.one((None, None, scene.chance.randint(1, 25))),
        scene.one((None, None, "calendar", "business")),
        scene.chance.choice(("block", "block", "escalate", "no_objection")),
    )


@act(PublishPolicy, 0.5)
def publish_policy(scene: Scene) -> Act:
    if not scene.kinds["agency"]:
        return None
    clocks = Clocks(
        scene.chance.randint(3, 40),
        scene.chance.choice(("calendar", "business")),
        scene.one((None, scene.chance.randint(2, 20))),
        scene.one((None, scene.chance.randint(2, 15))),
        scene.one((None, scene.chance.randint(2, 30))),
        scene.one((None, scene.chance.randint(1, 30))),
        scene.chance.choice(CALENDARS),
    )
    effective = scene.one((None, None, None, scene.earlier(10), scene.later(10)))
    return PublishPolicy(
        f"policy-{scene.chance.randint(1, 3)}",
        "Order",
        tree(scene),
        scene.chance.choice(("deny", "deny", "escalate")),
        scene.often(0.2),
        clocks,
        GrantTerms(scene.one((None, scene.chance.randint(5, 120)))),
        effective,
    ), "root"


@act(AmendCalendar, 0.4)
def amend_calendar(scene: Scene) -> Act:
    dates = tuple(sorted({scene.later(60).date() for _ in range(scene.chance.randint(1, 4))}))
    return AmendCalendar(scene.chance.choice(CALENDARS), dates, "Closed"), "root"


# Releases


@act(AnnounceRelease, 0.3)
def announce_release(scene: Scene) -> Act:
    if not scene.kinds["provider"] or not scene.policies or len(scene.releases) >= 4:
        return None
    provider = scene.chance.choice(scene.kinds["provider"])
    phases = [Phase("announced", scene.chance.choice(("closed", "granted")))]
    for nth in range(1, scene.chance.randint(2, 5)):
        phases.append(
            Phase(
                f"phase-{nth}",
                scene.chance.choice(("granted", "granted", "granted", "open", "closed")),
                scene.one((0, 0, scene.chance.randint(1, 20))) or 0,
                scene.one((0, 0, scene.chance.randint(1, 10))) or 0,
                tree(scene) if scene.often(0.3) else None,
                scene.chance.randint(1, 4) if scene.often(0.6) else None,
            )
        )
    return AnnounceRelease(
        f"release-{len(scene.releases) + 1}",
        provider,
        "Model",
        TIERS[: scene.chance.randint(1, 3)],
        scene.chance.choice(scene.policies),
        scene.chance.choice(SEVERITIES),
        tuple(phases),
    ), scene.manager(provider)


@act(SignOffPhase, 2.5)
def sign_off_phase(scene: Scene) -> Act:
    here = scene.release()
    if here is None or here.next_phase is None or here.next_phase.gate is None:
        return None
    asked = scene.one(waiting(here.next_phase.gate, here.sheet))
    agency = asked.agency if asked and scene.often(0.9) else scene.chance.choice(scene.kinds["agency"])
    position: Any = "approve" if scene.often(0.85) else "refuse"
    return SignOffPhase(here.id, here.next_phase.name, agency, position), scene.officer(agency)


@act(CountersignPhase, 1)
def countersign_phase(scene: Scene) -> Act:
    here = scene.release()
    signed = scene.one(s for s in here.sheet.signatures if not s.countersigned) if here else None
    if here is None or signed is None:
        return None
    position: Any = "approve" if scene.often(0.8) else "refuse"
    return CountersignPhase(here.id, signed.agency, position), scene.senior(signed.agency)


@act(AdvancePhase, 3)
def advance_phase(scene: Scene) -> Act:
    here = scene.release()
    if here is None or here.next_phase is None:
        return None
    to = here.next_phase if scene.often(0.95) else scene.chance.choice(here.phases)
    return AdvancePhase(here.id, to.name), scene.manager(here.provider)


@act(RollBackPhase, 0.3)
def roll_back_phase(scene: Scene) -> Act:
    here = scene.release()
    if here is None:
        return None
    return RollBackPhase(here.id, scene.chance.choice(here.phases).name, "Trouble"), scene.manager(here.provider)


def rollout_officer(scene: Scene, here: Any) -> str:
    """Somebody who may hold the rollout."""
    agency = scene.one(here.gate_agencies)
    return scene.officer(agency) if agency and scene.often(0.7) else scene.manager(here.provider)


@act(HoldRollout, 0.4)
def hold_rollout(scene: Scene) -> Act:
    here = scene.release()
    return (HoldRollout(here.id, "Wait"), rollout_officer(scene, here)) if here else None


@act(ResumeRollout, 1.5)
def resume_rollout(scene: Scene) -> Act:
    here = scene.release()
    if here is None:
        return None
    holder = scene.one(sorted(here.holds))
    by = scene.holder(holder, "release_manager", "reviewer", "head") if holder else rollout_officer(scene, here)
    return ResumeRollout(here.id), by


@act(OpenIncident, 0.6)
def open_incident(scene: Scene) -> Act:
    here = scene.release()
    return (
        (OpenIncident(here.id, scene.chance.choice(SEVERITIES), "Leak"), rollout_officer(scene, here)) if here else None
    )


@act(CloseIncident, 1.2)
def close_incident(scene: Scene) -> Act:
    here = scene.release()
    incident = scene.one(i for i in here.incidents if not i.closed or scene.often(0.1)) if here else None
    if here is None or incident is None:
        return None
    by = scene.holder(incident.organization, "release_manager", "reviewer", "head")
    return CloseIncident(here.id, incident.number, "Mended"), by


@act(WithdrawRelease, 0.02)
def withdraw_release(scene: Scene) -> Act:
    here = scene.release()
    return (
        (WithdrawRelease(here.id, "Over"), scene.manager(here.provider)) if here and len(scene.releases) > 2 else None
    )


# Requests


@act(DraftRequest, 8)
def draft_request(scene: Scene) -> Act:
    customer, offered = scene.organization("customer"), scene.release()
    if (
        customer is None
        or offered is None
        or sum(map(len, scene.requests.values())) - len(scene.requests["decided"]) > 30
    ):
        return None
    old = scene.grant("live") if scene.often(0.15) else None
    tier = scene.chance.choice(offered.tiers) if scene.often(0.9) else scene.one((None, "max"))
    return DraftRequest(
        old.customer if old else customer.id,
        old.release if old else offered.id,
        "Fraud analysis",
        tier,
        scene.some(CLASSES),
        scene.some([a.id for a in customer.affiliates]),
        scene.one((None, scene.chance.randint(1, 200))),
        old.id if old else None,
        scene.often(0.2),
    ), scene.applicant(old.customer if old else customer.id)


@act(SubmitRequest, 2)
def submit_request(scene: Scene) -> Act:
    here = scene.request("draft")
    return (SubmitRequest(here.id), scene.applicant(here.customer)) if here else None


@act(RegisterRequest, 8)
def register_request(scene: Scene) -> Act:
    here = scene.request("submitted")
    return (RegisterRequest(here.id), scene.holder("assent", "registrar")) if here else None


@act(ReturnWithoutAction, 0.4)
def return_without_action(scene: Scene) -> Act:
    here = scene.request("submitted", "in_review")
    return (ReturnWithoutAction(here.id, "Incomplete"), scene.holder("assent", "registrar")) if here else None


@act(AmendRequest, 1)
def amend_request(scene: Scene) -> Act:
    here = scene.request("draft", "submitted", "in_review")
    if here is None:
        return None
    changes = Changes(
        scene.one((None, "More")),
        scene.one((None, None, None, *TIERS)),
        scene.one((None, None, scene.some(CLASSES))),
        None,
        scene.one((None, scene.chance.randint(1, 200))),
    )
    return AmendRequest(here.id, changes), scene.applicant(here.customer)


@act(WithdrawRequest, 0.4)
def withdraw_request(scene: Scene) -> Act:
    here = scene.request("draft", "submitted", "in_review", "decided")
    return (WithdrawRequest(here.id), scene.applicant(here.customer)) if here else None


def asked_agency(scene: Scene, here: request.AccessRequest) -> str:
    """An agency whose sign-off is waited for; now and then another."""
    asked = scene.one(waiting(here.terms.sign_offs, here.sheet)) if here.terms else None
    if asked is None or scene.often(0.1):
        return scene.one(here.agencies) or scene.chance.choice(scene.kinds["agency"])
    return asked.agency


@act(SignOff, 22)
def sign_off(scene: Scene) -> Act:
    here = scene.request("in_review")
    if here is None:
        return None
    agency = asked_agency(scene, here)
    position: Any = scene.chance.choices(("approve", "approve_with_conditions", "refuse"), (70, 20, 10))[0]
    conditions = tuple(
        ProposedCondition(
            f"Condition {scene.chance.randint(1, 9)}",
            scene.chance.choice(("precondition", "ongoing")),
            scene.one((None, scene.chance.randint(1, 30))),
        )
        for _ in range(scene.chance.randint(1, 2) if position == "approve_with_conditions" else 0)
    )
    return SignOff(here.id, agency, position, conditions), scene.officer(agency)


@act(Countersign, 9)
def countersign(scene: Scene) -> Act:
    here = scene.request("in_review")
    signed = scene.one(s for s in here.sheet.signatures if not s.countersigned) if here else None
    if here is None or signed is None:
        return None
    position: Any = "approve" if scene.often(0.85) else "refuse"
    return Countersign(here.id, signed.agency, position), scene.senior(signed.agency)


@act(ExtendReview, 0.8)
def extend_review(scene: Scene) -> Act:
    here = scene.request("in_review")
    agency = asked_agency(scene, here) if here else ""
    return (ExtendReview(here.id, agency, scene.chance.randint(1, 20), "Hard"), scene.officer(agency)) if here else None


@act(RequestInformation, 2)
def request_information(scene: Scene) -> Act:
    here = scene.request("in_review")
    agency = asked_agency(scene, here) if here else ""
    return (RequestInformation(here.id, agency, "Why?"), scene.officer(agency)) if here else None


@act(ProvideInformation, 5)
def provide_information(scene: Scene) -> Act:
    here = scene.request("in_review")
    question = scene.one(q for q in here.questions if not q.answered or scene.often(0.1)) if here else None
    return (
        (ProvideInformation(here.id, question.number, "So"), scene.applicant(here.customer))
        if here and question
        else None
    )


@act(AcceptInformation, 5)
def accept_information(scene: Scene) -> Act:
    here = scene.request("in_review")
    question = scene.one(q for q in here.questions if not q.accepted or scene.often(0.1)) if here else None
    return (AcceptInformation(here.id, question.number), scene.officer(question.agency)) if here and question else None


@act(Recuse, 0.7)
def recuse(scene: Scene) -> Act:
    here = scene.request("submitted", "in_review")
    if here is None:
        return None
    agency = asked_agency(scene, here)
    by = scene.officer(agency)
    return Recuse(here.id, by if scene.often(0.5) else scene.officer(agency)), by


@act(Escalate, 0.5)
def escalate(scene: Scene) -> Act:
    here = scene.request("in_review")
    by = scene.holder(asked_agency(scene, here), "head") if here else ""
    return (Escalate(here.id, "Stuck"), by) if here else None


@act(ResolveDispute, 3)
def resolve_dispute(scene: Scene) -> Act:
    here = scene.request("in_review")
    if here is None or not (here.escalated or scene.often(0.1)):
        return None
    outcome: Any = scene.chance.choice(("approve", "approve", "deny", "return"))
    overrules = here.agencies if scene.often(0.5) else scene.some(here.agencies)
    return ResolveDispute(here.id, outcome, "Settled", overrules), scene.holder("assent", "decider")


@act(Decide, 4)
def decide(scene: Scene) -> Act:
    here = scene.request("in_review")
    if here is None or not (here.state == "awaiting_decision" or scene.often(0.1)):
        return None
    return Decide(here.id, "approve" if scene.often(0.7) else "deny", "So"), scene.holder("assent", "decider")


@act(request.FileAppeal, 1.5)
def appeal_denial(scene: Scene) -> Act:
    here = scene.request("decided")
    if here is None or not (here.outcome == "denied" or scene.often(0.05)):
        return None
    return request.FileAppeal(here.id, "Unfair"), scene.applicant(here.customer)


@act(request.DecideAppeal, 4)
def decide_denial_appeal(scene: Scene) -> Act:
    here = scene.request("decided")
    if here is None or not here.appeals:
        return None
    outcome: Any = scene.chance.choice(("uphold", "reverse", "reverse", "remand", "remand"))
    return request.DecideAppeal(here.id, len(here.appeals), outcome, "So"), scene.holder("assent", "decider")


@act(RequestRenewal, 2)
def request_renewal(scene: Scene) -> Act:
    here = scene.grant("live")
    return (
        (RequestRenewal(here.id), scene.applicant(here.customer)) if here and (here.until or scene.often(0.1)) else None
    )


# Grants


def condition_of(scene: Scene, here: grant.Grant | None) -> grant.Condition | None:
    return scene.one(here.conditions) if here else None


@act(SatisfyCondition, 2.5)
def satisfy_condition(scene: Scene) -> Act:
    here = scene.grant("live")
    condition = condition_of(scene, here)
    return (
        (SatisfyCondition(here.id, condition.number), scene.officer(condition.agency)) if here and condition else None
    )


@act(RecordBreach, 0.6)
def record_breach(scene: Scene) -> Act:
    here = scene.grant("live")
    condition = condition_of(scene, here)
    return (
        (RecordBreach(here.id, condition.number, "Broken"), scene.officer(condition.agency))
        if here and condition
        else None
    )


@act(ReportCompliance, 0.5)
def report_compliance(scene: Scene) -> Act:
    here = scene.grant("live")
    return (ReportCompliance(here.id, "Kept", scene.one((None, 1))), scene.applicant(here.customer)) if here else None


@act(ProposeConditionChange, 1.5)
def propose_condition_change(scene: Scene) -> Act:
    here = scene.grant("live")
    condition = condition_of(scene, here)
    if here is None or condition is None:
        return None
    by = scene.applicant(here.customer) if scene.often(0.5) else scene.officer(scene.one(here.agencies) or "")
    if scene.often(0.3):
        return ProposeConditionChange(here.id, condition.number, drop=True), by
    days = scene.one((None, scene.chance.randint(1, 30)))
    return ProposeConditionChange(here.id, condition.number, scene.one((None, "Otherwise")), days), by


@act(ConcurConditionChange, 4)
def concur_condition_change(scene: Scene) -> Act:
    here = scene.grant("live")
    change = scene.one(here.changes) if here else None
    if here is None or change is None:
        return None
    agency = here.condition(change.condition).agency if scene.often(0.85) else scene.one(here.agencies) or ""
    return ConcurConditionChange(here.id, change.condition, change.number), scene.officer(agency)


@act(AmendGrant, 0.8)
def amend_grant(scene: Scene) -> Act:
    here = scene.grant("live")
    if here is None:
        return None
    tiers, classes = scene.one((None, here.tiers, TIERS[:1])), scene.one((None, here.user_classes[:1], CLASSES[:1]))
    return AmendGrant(here.id, "Narrower", tiers, classes, scene.one((None, scene.later(60)))), scene.overseer(here)[0]


@act(SuspendGrant, 1)
def suspend_grant(scene: Scene) -> Act:
    here = scene.grant("live")
    return (SuspendGrant(here.id, "Look"), scene.overseer(here)[0]) if here else None


@act(ReinstateGrant, 2)
def reinstate_grant(scene: Scene) -> Act:
    here = scene.grant("live")
    if here is None or not (here.suspensions or scene.often(0.05)):
        return None
    holder = scene.one(sorted(here.suspensions)) or here.provider
    return ReinstateGrant(here.id), scene.holder(holder, "release_manager", "reviewer", "countersigner", "head")


@act(NotifyIntentToRevoke, 0.8)
def notify_intent_to_revoke(scene: Scene) -> Act:
    here = scene.grant("live")
    return (NotifyIntentToRevoke(here.id, "Misuse", scene.later(20)), scene.overseer(here)[0]) if here else None


@act(WithdrawNotice, 0.4)
def withdraw_notice(scene: Scene) -> Act:
    here = scene.grant("live")
    if here is None or not (here.notice_respond_by or scene.often(0.1)):
        return None
    return WithdrawNotice(here.id), scene.overseer(here)[0]


@act(RevokeGrant, 0.8)
def revoke_grant(scene: Scene) -> Act:
    here = scene.grant("live")
    if here is None:
        return None
    return RevokeGrant(here.id, "Misuse", scene.one(("", "Stolen")) or "", scene.often(0.4)), scene.overseer(here)[0]


@act(LiftBar, 1.5)
def lift_bar(scene: Scene) -> Act:
    here = scene.grant("ended")
    return (LiftBar(here.id), scene.overseer(here)[0]) if here and (here.barred or scene.often(0.05)) else None


@act(SurrenderGrant, 0.3)
def surrender_grant(scene: Scene) -> Act:
    here = scene.grant("live")
    return (SurrenderGrant(here.id), scene.applicant(here.customer)) if here else None


@act(grant.FileAppeal, 1)
def appeal_revocation(scene: Scene) -> Act:
    here = scene.grant("ended")
    if here is None or not (here.ended == "revoked" or scene.often(0.05)):
        return None
    return grant.FileAppeal(here.id, "Unfair"), scene.applicant(here.customer)


@act(grant.DecideAppeal, 1.5)
def decide_revocation_appeal(scene: Scene) -> Act:
    here = scene.grant("ended")
    if here is None or not here.appeals:
        return None
    outcome: Any = scene.chance.choice(("uphold", "reverse", "reverse", "remand"))
    return grant.DecideAppeal(here.id, len(here.appeals), outcome, "So"), scene.holder("assent", "decider")


# Directives


def uses(scene: Scene) -> Uses:
    bodies = (*scene.kinds["customer"], *scene.kinds["provider"])
    return Uses(
        scene.some(scene.releases) if scene.often(0.6) else (),
        scene.some(scene.kinds["provider"], 1) if scene.often(0.3) else (),
        scene.some(bodies) if scene.often(0.4) else (),
        scene.some(CLASSES) if scene.often(0.3) else (),
    )


@act(IssueDirective, 0.5)
def issue_directive(scene: Scene) -> Act:
    if len(scene.directives["in_force"]) >= 3 or not scene.kinds["agency"]:
        return None
    agency = scene.chance.choice(scene.kinds["agency"])
    return IssueDirective("Letter", uses(scene), "Danger", uses(scene) if scene.often(0.5) else Uses()), scene.holder(
        agency, "head"
    )


@act(EaseDirective, 0.4)
def ease_directive(scene: Scene) -> Act:
    here = scene.directive()
    eased = Uses(organizations=scene.some(scene.kinds["customer"]))
    return (EaseDirective(here.id, eased), scene.holder(here.organization, "head")) if here else None


@act(ProposeLifting, 1)
def propose_lifting(scene: Scene) -> Act:
    here = scene.directive()
    return (ProposeLifting(here.id), scene.holder(here.organization, "head")) if here else None


@act(WithdrawLifting, 0.2)
def withdraw_lifting(scene: Scene) -> Act:
    here = scene.directive()
    return (WithdrawLifting(here.id), scene.holder(here.organization, "head")) if here else None


@act(ConfirmLifting, 1.2)
def confirm_lifting(scene: Scene) -> Act:
    here = scene.directive()
    return (ConfirmLifting(here.id), scene.holder(here.organization, "head")) if here else None


# The log


@act(RotateLogKey, 0.1)
def rotate_log_key(scene: Scene) -> Act:
    key = f"assent.test/log+{scene.chance.choice('0123'):0>8}+{'A' * 44}"
    return RotateLogKey("It is time", key), scene.chance.choice(("root", "root", "rita"))


# Machines and texts


@act(IssueKey, 0.1)
def issue_key(scene: Scene) -> Act:
    here = scene.organization(scene.chance.choice(("assent", "provider", "agency", "customer")))
    scopes: Any = scene.some(("access", "read", "export")) or ("read",)
    until = scene.one((None, scene.later(200)))
    return (IssueKey(here.id, "Machine", scopes, until, "0" * 64), "root") if here else None


@act(RotateKey, 0.1)
def rotate_key(scene: Scene) -> Act:
    key = scene.one(scene.keys)
    return (RotateKey(key, scene.chance.randint(0, 48), "1" * 64), "root") if key else None


@act(RevokeKey, 0.05)
def revoke_key(scene: Scene) -> Act:
    key = scene.one(scene.keys)
    return (RevokeKey(key, "Leaked"), "root") if key else None


@act(PlaceLegalHold, 0.1)
def place_legal_hold(scene: Scene) -> Act:
    return PlaceLegalHold(scene.anybody(), "Inquiry"), scene.holder("assent", "records_officer")


@act(ReleaseLegalHold, 0.1)
def release_legal_hold(scene: Scene) -> Act:
    hold = scene.one(scene.holds)
    return (ReleaseLegalHold(hold), scene.holder("assent", "records_officer")) if hold else None


@act(EraseSubject, 0.1)
def erase_subject(scene: Scene) -> Act:
    return EraseSubject(scene.anybody()), scene.holder("assent", "records_officer")


@act(SetRetention, 0.03)
def set_retention(scene: Scene) -> Act:
    return SetRetention(scene.chance.choice((0, 5, 30))), scene.holder("assent", "records_officer")


# What is next, and when

_DRAWS = [found for _, found in ACTS.values()]
_SUMS = list(accumulate(weight for weight, _ in ACTS.values()))


def draw(scene: Scene) -> Act:
    """An act by weight."""
    return scene.chance.choices(_DRAWS, cum_weights=_SUMS)[0](scene)


def pause(scene: Scene) -> timedelta:
    """Mostly minutes, sometimes hours or days, now and then weeks."""
    longest = scene.chance.choices((60, 1_800, 43_200, 259_200, 2_592_000), (40, 40, 15, 4, 1))[0]
    return timedelta(seconds=scene.chance.randint(0, longest))
