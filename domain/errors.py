"""Every refusal by name. A refusal names the rule and what is missing; it leaves no event (I18)."""


class Refused(Exception):
    """A command or query was refused. `detail` says it in a sentence; `missing` lists what would be needed."""

    status = 409
    rule = "rule_book"
    title = "The rule book forbids it"

    def __init__(self, detail: str, *missing: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.missing = missing


class Malformed(Refused):
    status, rule, title = 422, "well_formed", "The command does not make sense"


class NamesUnknown(Refused):
    status, rule, title = 422, "names_known_things", "The command names something that does not exist"


class NotFound(Refused):
    """Unknown, not yours to see, or recused: all look the same."""

    status, rule, title = 404, "need_to_know", "There is no such thing, or it is not yours to see"

    def __init__(self) -> None:
        super().__init__("Nothing of that name exists that you may see.")


class NotAuthorised(Refused):
    status, rule, title = 403, "authority", "Your appointments do not cover this"


class AmbiguousAuthority(Refused):
    status, rule, title = 400, "acting_as", "Several of your appointments would do"


class StaleVersion(Refused):
    status, rule, title = 412, "if_match", "It has changed since you read it"


class InTheFuture(Refused):
    status, rule, title = 422, "I8", "It cannot have occurred yet"


class BeforeTheLast(Refused):
    rule, title = "I8", "Within a stream, time never goes back"


class AlreadyExists(Refused):
    rule, title = "unique_id", "The name is taken"


class NotDue(Refused):
    rule, title = "I9", "Nothing is due"


class NotAppointed(Refused):
    rule, title = "appointment", "There is no such appointment"


class AlreadyAppointed(Refused):
    rule, title = "appointment", "The person holds that role already"


class NotDelegable(Refused):
    rule, title = "I6", "The power cannot be delegated"


class NotDelegated(Refused):
    rule, title = "I6", "There is no such delegation"


class OrganizationClosed(Refused):
    rule, title = "organization_open", "The organization is closed"


class SeparationOfDuties(Refused):
    """One person may not do both: their own organization's request, two agencies' sign-offs, both of two signatures."""

    rule, title = "I4", "Separation of duties"


class TwoPeople(SeparationOfDuties):
    rule, title = "I16", "One stops access; two different people let it go on"


# Requests


class RequestIsDecided(Refused):
    rule, title = "I1", "The review cycle is over"


class NotInReview(Refused):
    rule, title = "request_in_review", "The review has not begun"


class NotADraft(Refused):
    rule, title = "request_is_draft", "The request is handed in already"


class NotRegistrable(Refused):
    rule, title = "request_is_submitted", "The request does not wait for registration"


class NoPolicyInForce(Refused):
    rule, title = "policy_in_force", "No version of the policy is in force"


class AlreadySigned(Refused):
    rule, title = "one_position_each", "The position stands already"


class NothingToCountersign(Refused):
    rule, title = "countersignature", "Nothing waits for a countersignature"


class SignOffsMissing(Refused):
    rule, title = "I2", "Sign-offs are missing"


class AlreadyExtended(Refused):
    rule, title = "one_extension", "The review was extended once"


class TooLate(Refused):
    rule, title = "extension_before_due", "It is too late for that"


class AlreadyAnswered(Refused):
    rule, title = "question_open", "The question is settled"


class NotAnswered(Refused):
    rule, title = "question_answered", "The question waits for its answer"


class AlreadyRecused(Refused):
    rule, title = "I5", "The person is recused already"


class AlreadyEscalated(Refused):
    rule, title = "escalation", "The request is escalated already"


class NotEscalated(Refused):
    rule, title = "escalation", "The request is not escalated"


class NotWaitingForDecision(Refused):
    rule, title = "decider", "The request waits for no decision"


class AppealIsOpen(Refused):
    rule, title = "I1", "An appeal is open already"


class AppealIsDecided(Refused):
    rule, title = "I1", "The appeal is decided"


class NothingToAppeal(Refused):
    rule, title = "appeal", "There is no decision to appeal against"


class TooLateToAppeal(Refused):
    rule, title = "appeal_in_time", "The time to appeal is over"


# Releases


class NotTheNextPhase(Refused):
    rule, title = "I15", "Phases follow their order"


class ReleaseHeld(Refused):
    rule, title = "I15", "The rollout is held"


class IncidentOpen(Refused):
    rule, title = "I15", "An incident at the threshold is open"


class TooSoon(Refused):
    rule, title = "I15", "It is too soon"


class GateNotSatisfied(Refused):
    rule, title = "I15", "The gate is not satisfied"


class CustomerCapReached(Refused):
    rule, title = "I17", "The phase takes no further customer"


class ReleaseWithdrawnAlready(Refused):
    rule, title = "release_offered", "The release has been withdrawn"


class AlreadyHeld(Refused):
    rule, title = "one_hold_each", "You hold the rollout already"


class NotHeld(Refused):
    rule, title = "I12", "The rollout is not held"


class HeldByAnother(Refused):
    rule, title = "I12", "Another organization holds the rollout"


class NotTheOpener(Refused):
    rule, title = "I15", "Only the organization that opened an incident closes it"


class IncidentIsClosed(Refused):
    rule, title = "incident_open", "The incident is closed"


# Grants


class GrantHasEnded(Refused):
    rule, title = "I12", "The grant has ended"


class ConditionNotOpen(Refused):
    rule, title = "condition_open", "The condition is settled"


class NotNarrower(Refused):
    rule, title = "amendments_narrow", "An amendment may only narrow"


class AlreadySuspended(Refused):
    rule, title = "one_suspension_each", "You have suspended the grant already"


class NotSuspended(Refused):
    rule, title = "I12", "The grant is not suspended"


class SuspendedByAnother(Refused):
    rule, title = "I12", "Another organization suspended the grant"


class NoticeAlreadyIssued(Refused):
    rule, title = "one_notice", "A notice stands already"


class NoNotice(Refused):
    rule, title = "notice", "No notice stands"


class NoticeOrFinding(Refused):
    rule, title = "notice_or_finding", "A revocation needs a notice or a finding"


class NotBarred(Refused):
    rule, title = "bar", "The customer is not barred"


class ChangeIsSettled(Refused):
    rule, title = "I7", "The proposed change is settled"


class RenewalIsOpen(Refused):
    rule, title = "one_renewal", "A renewal is under review already"


# Directives


class DirectiveIsLifted(Refused):
    rule, title = "I11", "The directive has been lifted"


class NothingProposed(Refused):
    rule, title = "I16", "Nobody has proposed it"


# The log itself


class KeyInUse(Refused):
    rule, title = "log_key", "The log is signed with that key already"


class RollbackTooLate(Refused):
    rule, title = "rollback_first", "An accepted rollback is recorded before anything else"


# Machines and texts


class KeyIsRevoked(Refused):
    rule, title = "key_in_force", "The key opens nothing any more"


class HoldIsReleased(Refused):
    rule, title = "hold_stands", "The hold was released"


class HeldForLaw(Refused):
    rule, title = "legal_hold", "A legal hold keeps these texts"


class StillRetained(Refused):
    rule, title = "retention", "These texts must still be kept"
