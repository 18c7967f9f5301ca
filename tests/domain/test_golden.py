"""Can today's program read what it wrote on the first day, and does it still write the same?

Each event has a golden file: the `data` of one record, byte for byte. Events are forever, so a golden file is never
edited: an event that gains a field keeps its file readable, and gets its default there.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.appeals import AppealDecided, AppealFiled
from domain.calendar import CalendarAmended
from domain.directive import (
    DirectiveEased,
    DirectiveIssued,
    DirectiveLifted,
    LiftingProposed,
    LiftingWithdrawn,
    Uses,
)
from domain.grant import (
    BarLifted,
    BarLiftingProposed,
    ComplianceReported,
    ConditionBreached,
    ConditionChanged,
    ConditionChangeProposed,
    ConditionSatisfied,
    ConditionSet,
    GrantAmended,
    GrantExpired,
    GrantIssued,
    GrantReinstated,
    GrantRevoked,
    GrantSuperseded,
    GrantSurrendered,
    GrantSuspended,
    ReinstatementProposed,
    RenewalEnded,
    RenewalRequested,
    RevocationNoticeIssued,
    RevocationNoticeWithdrawn,
)
from domain.hold import LegalHoldPlaced, LegalHoldReleased
from domain.key import KeyIssued, KeyRevoked, KeyRotated
from domain.log import LogKeyRotated, RollbackAccepted
from domain.organization import (
    AffiliateAdded,
    AppointmentEnded,
    DelegationEnded,
    OrganizationChanged,
    OrganizationRegistered,
    PersonAppointed,
    PowersDelegated,
)
from domain.policy import Clocks, GrantTerms, PolicyPublished
from domain.release import (
    CustomerAdmitted,
    CustomerLeft,
    IncidentClosed,
    IncidentOpened,
    Phase,
    PhaseAdvanced,
    PhaseCountersignRefused,
    PhaseRolledBack,
    PhaseSignedOff,
    PhaseSignOffCountersigned,
    ReleaseAnnounced,
    ReleaseWithdrawn,
    RolloutHeld,
    RolloutResumed,
)
from domain.request import (
    AgencySignedOff,
    Changes,
    CountersignRefused,
    DeadlineMissed,
    DisputeResolved,
    DueDateMoved,
    InformationAccepted,
    InformationProvided,
    InformationRequested,
    InformationRequestLapsed,
    NoObjectionDeemed,
    PersonRecused,
    RequestAmended,
    RequestApproved,
    RequestDenied,
    RequestDrafted,
    RequestEscalated,
    RequestRegistered,
    RequestReturned,
    RequestSubmitted,
    RequestWithdrawn,
    ReviewExtended,
    SignOffCountersigned,
    SignOffVoided,
    Terms,
)
from domain.retention import RetentionSet
from domain.rulebook import EVENTS
from domain.sign_offs import AllOf, AtLeast, Leaf, ProposedCondition, Tree, tree_from
from domain.subject import SubjectErased, SubjectFreed, SubjectHeld
from tests.spec import days, instant

GOLDEN = Path(__file__).parent / "golden"
WRITE = "ASSENT_WRITE_GOLDEN"

SOON, LATER = instant("2026-07-27T21:00:00Z"), instant("2026-12-27T15:00:00.123456Z")
TREE = AllOf((Leaf("commerce", 2, True, 5, "business", "escalate"), AtLeast(1, (Leaf("oncd"), Leaf("ostp")))))
CLOCKS = Clocks(30, "business", 10, 5, 30, 60, "us-federal")
TERMS = Terms("frontier-preview", 2, TREE, "escalate", True, CLOCKS, 180)
ASKED = ("northwind", "gpt-5.6", "openai", "standard", "sealed.nina.bm9uY2U")
SCOPE = ("standard",), ("us_person",), ("nw-labs",)
OLD_KEY = "assent.test/log+00000001+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
NEW_KEY = "assent.test/log+00000002+AQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC"
SIGNED = "assent.test/log\n1042\nAQEB\n\n— assent.test/log AAAAAQ==\n"
DUES = {"commerce": SOON, "oncd": LATER}

EXAMPLES: tuple[Any, ...] = (
    OrganizationRegistered("customer", "Northwind “Bank” ü", "US", "large", False),
    OrganizationChanged("Northwind", "medium", True),
    AffiliateAdded("nw-labs", "Northwind Labs", "GB"),
    PersonAppointed("olga", "reviewer", SOON, LATER),
    AppointmentEnded("olga", "reviewer"),
    PowersDelegated(1, "omar", "dora", ("SignOff", "Countersign"), SOON, LATER),
    DelegationEnded(1),
    AppealFiled(1, "sealed.nina.AAAA"),
    AppealDecided(1, "reverse", "Wrongly denied", ("ostp",)),
    ConditionChangeProposed(2, 1, "Report within a day", 30, False),
    ConditionChanged(2, 1, "Report within a day", LATER, False),
    RenewalRequested("nw2", True),
    RenewalEnded("nw2"),
    PolicyPublished("Executive Order 14409", TREE, "escalate", True, CLOCKS, GrantTerms(180), SOON),
    CalendarAmended(days("2026-07-03", "2026-11-26"), "Federal holidays"),
    ReleaseAnnounced(
        "openai",
        "GPT-5.6",
        ("standard", "pro"),
        "frontier-preview",
        "high",
        (Phase("announced", "closed"), Phase("general_availability", "open", 14, 7, TREE, 20)),
    ),
    PhaseSignedOff("general_availability", "oncd", "approve", "Fine"),
    PhaseSignOffCountersigned("general_availability", "commerce", ("cora",), "Seen"),
    PhaseCountersignRefused("general_availability", "commerce", ("cora",), "Not yet"),
    PhaseAdvanced("general_availability", "Two weeks are over"),
    PhaseRolledBack("announced", "Harm"),
    RolloutHeld("Incident 1 is open.", 1),
    RolloutResumed("Incident closed"),
    IncidentOpened(1, "high", "A jailbreak chain was published", True),
    IncidentClosed(1, "Mitigation deployed"),
    ReleaseWithdrawn("Unsafe"),
    CustomerAdmitted("northwind", "g"),
    CustomerLeft("northwind"),
    RequestDrafted(*ASKED, ("us_person",), ("nw-labs",), 180, "g"),
    RequestSubmitted(*ASKED, TERMS, ("us_person",), ("nw-labs",), 180, "g", SOON),
    RequestRegistered(LATER, DUES),
    RequestReturned("No use is described"),
    RequestAmended(2, Changes("sealed.nina.bm9uY2U", "pro", ("ally",), ("nw-labs",), 90), True, "sealed.nina.cmVhc29u"),
    SignOffVoided("oncd", ("olga",)),
    RequestWithdrawn("sealed.nina.cmVhc29u"),
    AgencySignedOff(
        "commerce", 2, "approve_with_conditions", (ProposedCondition("Audit", "precondition", 10),), "Fine", "Note"
    ),
    SignOffCountersigned("commerce", ("cora",), "Seen"),
    CountersignRefused("commerce", ("cora",), "Not yet"),
    ReviewExtended("oncd", 7, LATER, DUES, "Holidays"),
    InformationRequested(1, "oncd", "Who holds the keys?", SOON),
    InformationProvided(1, "sealed.tom.YW5zd2Vy"),
    InformationAccepted(1),
    PersonRecused("olga", "A cousin works there"),
    RequestEscalated("Refused by oncd."),
    DisputeResolved("approve", ("oncd",), "Overruled"),
    NoObjectionDeemed("ostp", SOON),
    InformationRequestLapsed(1),
    DeadlineMissed("ostp", SOON),
    DueDateMoved(LATER, DUES, "The agencies were waiting for the applicant."),
    RequestApproved("g", "Agreed"),
    RequestDenied("Too risky", ("oncd",)),
    GrantIssued(
        "nw",
        *("northwind", "gpt-5.6", "openai", "frontier-preview", 2, ("commerce", "oncd")),
        *SCOPE,
        (ConditionSet(1, "commerce", "Audit", "precondition", SOON), ConditionSet(2, "oncd", "Report", "ongoing")),
        LATER,
        "old",
    ),
    ConditionSatisfied(1, "sealed.nina.ZXZpZGVuY2U"),
    ComplianceReported(2, "sealed.nina.cmVwb3J0"),
    ConditionBreached(2, "Nothing was reported"),
    GrantAmended(*SCOPE[:2], LATER, "Less"),
    GrantSuspended("Misuse", "Logs", SOON),
    ReinstatementProposed("Cleared"),
    GrantReinstated("Cleared"),
    RevocationNoticeIssued("Misuse", SOON),
    RevocationNoticeWithdrawn("Cleared"),
    GrantRevoked("Misuse", "Breach of condition 1", True),
    BarLiftingProposed("Reformed"),
    BarLifted("Agreed"),
    GrantSurrendered("sealed.nina.cmVhc29u"),
    GrantExpired(LATER),
    GrantSuperseded("g-2"),
    DirectiveIssued(
        "Letter of 12 June",
        Uses(("gpt-5.6",), ("openai",), ("northwind",), ("foreign_national",)),
        Uses(organizations=("tinker",)),
        "National security",
    ),
    DirectiveEased(Uses(organizations=("northwind",)), "Listed"),
    LiftingProposed("Verified"),
    LiftingWithdrawn("Not yet"),
    DirectiveLifted("Confirmed"),
    LogKeyRotated(NEW_KEY, OLD_KEY, "The yearly change of keys"),
    RollbackAccepted(1042, "AQEB", SIGNED, 1000, "AgIC", 992, NEW_KEY, "rosa", "The backup of Tuesday was restored"),
    KeyIssued("openai", "gateway", "Gateway 1", ("access", "read"), LATER, "0f" * 32),
    KeyRotated(SOON, "f0" * 32),
    KeyRevoked("Leaked"),
    LegalHoldPlaced("nina", "Smith v. Northwind"),
    LegalHoldReleased("Settled"),
    SubjectHeld("h"),
    SubjectFreed("h"),
    SubjectErased("She asked for it"),
    RetentionSet(1095),
)
BY_NAME = {type(example).__name__: example for example in EXAMPLES}


def golden(name: str) -> bytes:
    path = GOLDEN / f"{name}.json"
    if os.environ.get(WRITE) and not path.exists():
        path.write_bytes(msgspec.json.encode(BY_NAME[name]) + b"\n")
    assert path.exists(), f"{path.name} is missing: run the tests once with {WRITE}=1, look at it, and keep it for ever"
    return path.read_bytes().rstrip(b"\n")


def read(name: str, data: bytes) -> Any:
    def tree(kind: type, data: Any) -> Any:
        assert kind is Tree
        return tree_from(data)

    return msgspec.json.decode(data, type=EVENTS[name], dec_hook=tree)


def test_every_event_has_its_example_and_no_other() -> None:
    assert len(BY_NAME) == len(EXAMPLES)
    assert set(BY_NAME) == {event.__name__ for event in EVENTS.values()}


def test_every_golden_file_is_still_an_event_or_an_alias() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_an_old_record_is_read_as_the_event_it_was(name: str) -> None:
    assert read(name, golden(name)) == BY_NAME[EVENTS[name].__name__]


@pytest.mark.parametrize("name", BY_NAME)
def test_an_event_is_written_byte_for_byte_as_on_the_first_day(name: str) -> None:
    assert msgspec.json.encode(BY_NAME[name]) == golden(name)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_example_leaves_no_field_at_nothing(name: str) -> None:
    data = msgspec.to_builtins(BY_NAME[name])
    empty = {key for key, value in data.items() if value is None or value in ("", [], {})}
    assert empty == set()
