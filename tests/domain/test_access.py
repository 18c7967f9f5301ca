"""May they use it now: does the answer name the first reason that applies (I10)?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from domain.access import IN_A_GRANTED_PHASE, Access, Answer, Use, microseconds
from domain.appeals import AppealDecided
from domain.directive import DirectiveEased, DirectiveIssued, DirectiveLifted, Uses
from domain.enforcement import Enforcement
from domain.facts import By
from domain.grant import (
    BarLifted,
    ConditionBreached,
    ConditionChanged,
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
    RenewalEnded,
    RenewalRequested,
)
from domain.organization import AffiliateAdded, OrganizationRegistered
from domain.release import Phase, PhaseAdvanced, PhaseRolledBack, ReleaseAnnounced, ReleaseWithdrawn
from tests.spec import Story, instant

ONCD, RAE = By("olga", "oncd", "reviewer"), By("rae", "openai", "release_manager")
NOW, UNTIL = instant("2026-07-01T12:00:00Z"), instant("2026-12-27T15:00:00Z")
PHASES = (Phase("announced", "closed"), Phase("preview", "granted"), Phase("everywhere", "open"))
USE = Use("northwind", "gpt-5.6", "standard", "us_person")


def history(*, tiers: tuple[str, ...] = ("standard", "pro"), phase: str = "preview") -> Story:
    """Two customers, and a release in the phase in which grants count."""
    story = Story("2026-06-20T13:00:00Z")
    for customer in ("northwind", "tinker"):
        story.happened(f"organization-{customer}", OrganizationRegistered("customer", customer, "US", "large"))
    story.happened("organization-northwind", AffiliateAdded("nw-labs", "Northwind Labs", "GB"))
    story.happened(
        "release-gpt-5.6", ReleaseAnnounced("openai", "GPT-5.6", tiers, "frontier-preview", "high", PHASES), by=RAE
    )
    for coming in {"announced": (), "preview": ("preview",), "everywhere": ("preview", "everywhere")}[phase]:
        story.happened("release-gpt-5.6", PhaseAdvanced(coming), by=RAE)
    return story


def issued(*, preconditions: int = 0, **given: Any) -> GrantIssued:
    plain: dict[str, Any] = {
        "tiers": ("standard",),
        "user_classes": ("us_person",),
        "affiliates": ("nw-labs",),
        "until": UNTIL,
    }
    conditions = tuple(ConditionSet(n + 1, "oncd", "First this", "precondition") for n in range(preconditions))
    return GrantIssued(
        "nw",
        "northwind",
        "gpt-5.6",
        "openai",
        "frontier-preview",
        1,
        ("oncd",),
        conditions=(*conditions, ConditionSet(9, "oncd", "Report", "ongoing")),
        **{**plain, **given},
    )


def with_grant(*events: Any, **given: Any) -> Story:
    return history().happened("grant-g", issued(**given), *events, by=ONCD)


def check(story: Story, use: Use = USE, at: str = "2026-07-01T12:00:00Z") -> Answer:
    enforcement = Enforcement()
    for fact in story.facts:
        enforcement.take(fact)
    assert enforcement.access.position == len(story.facts) - 1
    return enforcement.access.check(use, microseconds(instant(at)))


def reason(story: Story, use: Use = USE, at: str = "2026-07-01T12:00:00Z") -> str:
    answer = check(story, use, at)
    assert answer.allowed is (answer.reason in ("granted", "open_phase"))
    assert answer.allowed or answer.valid_until is None, "a refusal is not promised for any time"
    return answer.reason


def test_a_grant_that_covers_the_use_allows_it_until_it_ends() -> None:
    answer = check(with_grant())
    assert (answer.allowed, answer.reason, answer.valid_until) == (True, "granted", UNTIL)


DIRECTIVE = DirectiveIssued("Letter", Uses(releases=("gpt-5.6",)), Uses())
BAR = GrantRevoked("Misuse", "", True)

# Each row makes one reason apply, on top of all the rows below it: so the answer shows which comes first.
LADDER: tuple[tuple[str, Callable[[Story], Story]], ...] = (
    ("withdrawn", lambda story: story.happened("release-gpt-5.6", ReleaseWithdrawn("Unsafe"), by=RAE)),
    ("directive", lambda story: story.happened("directive-d", DIRECTIVE, by=ONCD)),
    ("barred", lambda story: story.happened("grant-old", issued(), BAR, by=ONCD)),
    ("phase_closed", lambda story: story.happened("release-gpt-5.6", PhaseRolledBack("announced"), by=RAE)),
)


@pytest.mark.parametrize("rung", range(len(LADDER)), ids=[name for name, _ in LADDER])
def test_i10_the_first_reason_in_order_is_given(rung: int) -> None:
    story = with_grant()
    for _, apply in reversed(LADDER[rung:]):
        story = apply(story)
    answer = check(story)
    assert (answer.allowed, answer.reason) == (False, LADDER[rung][0])


def test_i10_what_is_unknown_comes_before_everything_else() -> None:
    story = with_grant()
    for _, apply in reversed(LADDER):
        story = apply(story)
    assert reason(story, Use("northwind", "gpt-9")) == "unknown_release"
    assert reason(story, Use("nobody", "gpt-9")) == "unknown_release"
    assert reason(story, Use("nobody", "gpt-5.6")) == "unknown_customer"


@pytest.mark.parametrize("no_customer", ["oncd", "openai"])
def test_i10_only_a_customer_is_known_as_one(no_customer: str) -> None:
    story = with_grant().happened(f"organization-{no_customer}", OrganizationRegistered("agency", "Office", "US"))
    assert reason(story, Use(no_customer, "gpt-5.6")) == "unknown_customer"


@pytest.mark.parametrize(
    ("events", "given", "use", "at", "expected"),
    [
        pytest.param(
            [GrantSuspended("Misuse")],
            {"preconditions": 1},
            Use("northwind", "gpt-5.6", "pro", "ally", "other"),
            "2027-01-01",
            "pending_conditions",
            id="pending conditions come first",
        ),
        pytest.param(
            [GrantSuspended("Misuse")],
            {},
            Use("northwind", "gpt-5.6", "pro", "ally", "other"),
            "2027-01-01",
            "grant_suspended",
            id="then a suspension",
        ),
        pytest.param(
            [GrantRevoked("Misuse")],
            {},
            Use("northwind", "gpt-5.6", "pro", "ally", "other"),
            "2027-01-01",
            "grant_revoked",
            id="then a revocation",
        ),
        pytest.param(
            [], {}, Use("northwind", "gpt-5.6", "pro", "ally", "other"), "2027-01-01", "grant_expired", id="then expiry"
        ),
        pytest.param(
            [],
            {},
            Use("northwind", "gpt-5.6", "pro", "ally", "other"),
            "2026-07-01",
            "tier_not_covered",
            id="then the tier",
        ),
        pytest.param(
            [],
            {},
            Use("northwind", "gpt-5.6", "standard", "ally", "other"),
            "2026-07-01",
            "class_not_covered",
            id="then the class of person",
        ),
        pytest.param(
            [],
            {},
            Use("northwind", "gpt-5.6", "standard", "us_person", "other"),
            "2026-07-01",
            "affiliate_not_covered",
            id="then the affiliate",
        ),
        pytest.param(
            [],
            {},
            Use("northwind", "gpt-5.6", "standard", "us_person", "nw-labs"),
            "2026-07-01",
            "granted",
            id="else it is granted",
        ),
    ],
)
def test_i10_in_a_granted_phase_the_first_reason_in_order_is_given(
    events: list[Any], given: dict[str, Any], use: Use, at: str, expected: str
) -> None:
    assert reason(with_grant(*events, **given), use, at) == expected


def test_without_a_grant_nothing_is_granted() -> None:
    assert reason(history()) == "no_grant"
    assert reason(with_grant(), Use("tinker", "gpt-5.6", "standard", "us_person")) == "no_grant"


@pytest.mark.parametrize("ending", [GrantSurrendered(), GrantSuperseded("g-2")])
def test_surrendered_and_superseded_count_as_no_grant(ending: Any) -> None:
    assert reason(with_grant(ending)) == "no_grant"


def test_i10_a_grant_expires_by_time_before_any_timer() -> None:
    assert reason(with_grant(), at="2026-12-27T14:59:59Z") == "granted"
    assert reason(with_grant(), at="2026-12-27T15:00:00Z") == "grant_expired"
    assert reason(with_grant(GrantExpired(UNTIL))) == "grant_expired"
    assert check(with_grant(until=None), at="2099-01-01").reason == "granted"
    assert check(with_grant(until=None)).valid_until is None


def test_in_an_open_phase_everybody_known_may_use_it() -> None:
    story = history(phase="everywhere")
    answer = check(story)
    assert (answer.allowed, answer.reason, answer.because, answer.valid_until) == (True, "open_phase", (5,), None)
    assert reason(story, Use("tinker", "gpt-5.6", "unheard-of", None)) == "open_phase"


@pytest.mark.parametrize("phase", ["announced", "preview", "everywhere"])
def test_a_bar_holds_in_every_phase(phase: str) -> None:
    story = history(phase=phase).happened("grant-g", issued(), BAR, by=ONCD)
    assert reason(story) == "barred"
    assert reason(story, Use("tinker", "gpt-5.6")) != "barred"


def test_a_lifted_bar_leaves_the_grant_revoked() -> None:
    assert reason(with_grant(BAR, BarLifted())) == "grant_revoked"
    assert reason(history(phase="everywhere").happened("grant-g", issued(), BAR, BarLifted(), by=ONCD)) == "open_phase"


# Several grants


GRANTS: dict[str, tuple[Any, ...]] = {
    "no_grant": (issued(), GrantSurrendered()),
    "pending_conditions": (issued(preconditions=1),),
    "grant_suspended": (issued(), GrantSuspended("Misuse")),
    "grant_revoked": (issued(), GrantRevoked("Misuse")),
    "grant_expired": (issued(until=instant("2026-06-30")),),
    "tier_not_covered": (issued(tiers=("pro",)),),
    "class_not_covered": (issued(user_classes=("ally",)),),
    "affiliate_not_covered": (issued(affiliates=()),),
    "granted": (issued(),),
}
IN_ORDER = list(GRANTS)


@pytest.mark.parametrize("better", range(1, len(IN_ORDER)), ids=IN_ORDER[1:])
def test_i10_of_several_grants_the_best_answer_stands_whichever_came_first(better: int) -> None:
    use = Use("northwind", "gpt-5.6", "standard", "us_person", "nw-labs")
    for worse in range(better):
        for pair in ((better, worse), (worse, better)):
            story = history()
            for place, which in enumerate(pair):
                story.happened(f"grant-{place}", *GRANTS[IN_ORDER[which]], by=ONCD)
            assert reason(story, use) == IN_ORDER[better]


def test_the_order_of_answers_is_the_one_of_i10() -> None:
    assert tuple(IN_ORDER) == IN_A_GRANTED_PHASE


def test_i13_ending_one_grant_never_cuts_access_that_another_gives() -> None:
    for ending in (GrantRevoked("Misuse"), GrantExpired(UNTIL), GrantSurrendered(), GrantSuspended("Misuse")):
        assert reason(with_grant(ending).happened("grant-2", issued(), by=ONCD)) == "granted"


def test_access_that_two_grants_give_is_valid_until_the_later_one_ends() -> None:
    story = with_grant(until=instant("2026-08-01")).happened("grant-2", issued(), by=ONCD)
    assert check(story).valid_until == UNTIL


# What a grant covers


@pytest.mark.parametrize(
    ("tiers", "asked", "expected"),
    [
        (("standard",), None, "granted"),
        (("standard",), "standard", "granted"),
        (("standard",), "pro", "tier_not_covered"),
        (("standard", "pro"), None, "tier_not_covered"),
        (("standard", "pro"), "standard", "granted"),
    ],
)
def test_a_missing_tier_means_the_only_tier(tiers: tuple[str, ...], asked: str | None, expected: str) -> None:
    story = history(tiers=tiers).happened("grant-g", issued(), by=ONCD)
    assert reason(story, Use("northwind", "gpt-5.6", asked, "us_person")) == expected


@pytest.mark.parametrize(
    ("classes", "asked", "expected"),
    [
        (("us_person",), "us_person", "granted"),
        (("us_person",), "foreign_national", "class_not_covered"),
        (("us_person",), None, "class_not_covered"),
        ((), None, "granted"),
        ((), "foreign_national", "granted"),
    ],
)
def test_an_unknown_class_is_refused_where_a_grant_is_limited_by_class(
    classes: tuple[str, ...], asked: str | None, expected: str
) -> None:
    assert reason(with_grant(user_classes=classes), Use("northwind", "gpt-5.6", "standard", asked)) == expected


def test_a_suspension_ends_when_each_organization_has_ended_its_own() -> None:
    story = with_grant(GrantSuspended("Misuse")).happened("grant-g", GrantSuspended("Fraud"), by=RAE)
    story.happened("grant-g", GrantReinstated(), by=ONCD)
    assert reason(story) == "grant_suspended"
    story.happened("grant-g", GrantReinstated(), by=RAE)
    assert reason(story) == "granted"


def test_every_precondition_is_satisfied_first() -> None:
    story = with_grant(ConditionSatisfied(1), preconditions=2)
    assert reason(story) == "pending_conditions"
    story.happened("grant-g", ConditionSatisfied(2), by=ONCD)
    assert reason(story) == "granted"


def test_a_grants_own_state_and_its_access_agree_on_a_precondition_that_is_broken() -> None:
    story = with_grant(ConditionSatisfied(1), ConditionBreached(1, "Broken"), preconditions=1)
    pending = story.state("grant-g").state == "pending_conditions"
    assert (reason(story) == "pending_conditions") == pending


def test_an_amendment_narrows_access_at_once() -> None:
    assert reason(with_grant(GrantAmended((), None, None), tiers=("standard",))) == "tier_not_covered"
    assert reason(with_grant(GrantAmended(None, ("ally",), None))) == "class_not_covered"
    assert reason(with_grant(GrantAmended(None, None, instant("2026-06-30")))) == "grant_expired"


# Directives


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        (Uses(releases=("gpt-5.6",)), True),
        (Uses(releases=("other",)), False),
        (Uses(providers=("openai",)), True),
        (Uses(providers=("other",)), False),
        (Uses(organizations=("northwind",)), True),
        (Uses(organizations=("tinker",)), False),
        (Uses(person_classes=("us_person",)), True),
        (Uses(person_classes=("foreign_national",)), False),
        (Uses(releases=("gpt-5.6",), person_classes=("us_person",)), True),
        (Uses(releases=("gpt-5.6",), person_classes=("foreign_national",)), False),
        (Uses(("gpt-5.6",), ("openai",), ("northwind",), ("us_person",)), True),
        (Uses(("gpt-5.6",), ("openai",), ("tinker",), ("us_person",)), False),
    ],
)
def test_a_directive_stops_a_use_that_is_in_every_list_of_its_scope(scope: Uses, stopped: bool) -> None:
    story = with_grant().happened("directive-d", DirectiveIssued("Letter", scope, Uses()), by=ONCD)
    assert (reason(story) == "directive") == stopped


@pytest.mark.parametrize(
    ("carve_outs", "exempt"),
    [
        (Uses(releases=("gpt-5.6",)), True),
        (Uses(providers=("openai",)), True),
        (Uses(organizations=("northwind",)), True),
        (Uses(person_classes=("us_person",)), True),
        (Uses(releases=("other",), organizations=("northwind",)), True),
        (Uses(("other",), ("other",), ("tinker",), ("foreign_national",)), False),
    ],
)
def test_a_use_in_any_carve_out_is_exempt(carve_outs: Uses, exempt: bool) -> None:
    issued_ = DirectiveIssued("Letter", Uses(releases=("gpt-5.6",)), carve_outs)
    story = with_grant().happened("directive-d", issued_, by=ONCD)
    assert (reason(story) == "granted") == exempt


def test_an_unknown_class_is_in_every_scope_and_in_no_carve_out() -> None:
    unknown = Use("northwind", "gpt-5.6", "standard", None)
    story = with_grant(user_classes=())
    assert reason(story, unknown) == "granted"
    scope = Uses(person_classes=("foreign_national",))
    assert reason(with_grant().happened("directive-d", DirectiveIssued("L", scope, Uses())), unknown) == "directive"
    carved = DirectiveIssued("L", Uses(releases=("gpt-5.6",)), Uses(person_classes=("us_person",)))
    assert reason(with_grant().happened("directive-d", carved), unknown) == "directive"


def test_easing_exempts_besides_what_was_exempt_before() -> None:
    story = with_grant(user_classes=()).happened(
        "directive-d",
        DirectiveIssued("Letter", Uses(releases=("gpt-5.6",)), Uses(person_classes=("us_person",))),
        DirectiveEased(Uses(organizations=("northwind",))),
        by=ONCD,
    )
    assert reason(story, Use("northwind", "gpt-5.6", "standard", "foreign_national")) == "granted"
    assert reason(story, Use("tinker", "gpt-5.6", "standard", "us_person")) == "no_grant"
    assert reason(story, Use("tinker", "gpt-5.6", "standard", "foreign_national")) == "directive"


def test_i11_lifting_a_directive_restores_what_was_before_and_nothing_else() -> None:
    story = with_grant().happened("directive-d", DIRECTIVE, by=ONCD)
    story.happened("directive-e", DirectiveIssued("Another", Uses(providers=("openai",)), Uses()), by=ONCD)
    assert reason(story) == "directive"
    story.happened("directive-d", DirectiveLifted(), by=ONCD)
    assert reason(story) == "directive", "the other directive is still in force"
    story.happened("directive-e", DirectiveLifted(), by=ONCD)
    assert reason(story) == "granted"


def test_i11_lifting_a_directive_does_not_reinstate_what_was_suspended_separately() -> None:
    story = with_grant().happened("directive-d", DIRECTIVE, by=ONCD)
    story.happened("grant-g", GrantSuspended("Misuse"), by=ONCD)
    story.happened("directive-d", DirectiveLifted(), by=ONCD)
    assert reason(story) == "grant_suspended"


# What an answer rests on


def test_an_answer_names_the_facts_it_rests_on() -> None:
    story = with_grant(GrantSuspended("Misuse"))
    phase, grant, suspension = 4, 5, 6
    assert check(story).because == (phase, grant, suspension)
    assert check(history()).because == (phase,)
    assert check(history(phase="announced")).because == (3,)
    assert check(Story(), Use("northwind", "gpt-5.6")).because == ()
    for name, apply in LADDER:
        story = apply(with_grant())
        assert check(story).because == (len(story.facts) - 1,), name


def test_an_eased_directive_is_still_the_fact_that_an_answer_rests_on() -> None:
    story = with_grant().happened("directive-d", DIRECTIVE, by=ONCD)
    story.happened("directive-d", DirectiveEased(Uses(organizations=("tinker",))), by=ONCD)
    assert check(story).because == (len(story.facts) - 1,)


# What changes access later


def test_before_its_first_advance_a_release_is_in_its_first_phase() -> None:
    assert reason(history(phase="announced").happened("grant-g", issued(), by=ONCD)) == "phase_closed"


def test_an_amendment_leaves_what_it_does_not_name() -> None:
    wide = {"tiers": ("standard", "pro"), "user_classes": ("us_person", "ally")}
    for amendment in (
        GrantAmended(("standard",), None, None),
        GrantAmended(None, ("us_person",), None),
        GrantAmended(None, None, instant("2026-08-01")),
    ):
        story = with_grant(amendment, **wide)
        assert reason(story) == "granted"
        assert reason(story, at="2026-12-28") == "grant_expired"
        assert reason(story, Use("northwind", "gpt-5.6", "standard", "foreign_national")) == "class_not_covered"
        others = [
            reason(story, Use("northwind", "gpt-5.6", "pro", "us_person")),
            reason(story, Use("northwind", "gpt-5.6", "standard", "ally")),
            reason(story, at="2026-09-01"),
        ]
        assert sum(other != "granted" for other in others) == 1


def test_only_a_broken_precondition_stops_access() -> None:
    satisfied = ConditionSatisfied(1), ConditionSatisfied(2)
    assert reason(with_grant(*satisfied, ConditionBreached(9, "Late"), preconditions=2)) == "granted"
    story = with_grant(*satisfied, ConditionBreached(1, "Off"), ConditionSatisfied(1), preconditions=2)
    assert reason(story) == "granted"
    story = with_grant(ConditionBreached(1, "Off"), ConditionSatisfied(1), preconditions=2)
    assert reason(story) == "pending_conditions"


def test_a_dropped_precondition_stops_nothing_any_more() -> None:
    dropped = ConditionChanged(1, 1, "First this", None, True)
    assert reason(with_grant(dropped, preconditions=2)) == "pending_conditions"
    assert reason(with_grant(dropped, ConditionSatisfied(2), preconditions=2)) == "granted"
    assert reason(with_grant(dropped, ConditionBreached(1, "Off"), preconditions=1)) == "granted"
    two = dropped, ConditionSatisfied(2), ConditionBreached(2, "Off")
    assert reason(with_grant(*two, preconditions=2)) == "pending_conditions"
    assert reason(with_grant(ConditionChanged(1, 1, "Else", None, False), preconditions=1)) == "pending_conditions"


def test_i14_while_a_timely_renewal_is_decided_a_grant_has_no_end() -> None:
    story = with_grant(RenewalRequested("nw-2", True))
    assert check(story, at="2027-01-10").reason == "granted"
    assert check(story).valid_until is None
    story.happened("grant-g", RenewalEnded("nw-2"), by=ONCD)
    assert check(story).valid_until == UNTIL
    assert reason(story, at="2027-01-10") == "grant_expired"
    assert reason(with_grant(RenewalRequested("nw-2", False)), at="2027-01-10") == "grant_expired"


@pytest.mark.parametrize(("outcome", "expected"), [("reverse", "grant_revoked"), ("uphold", "barred")])
def test_a_bar_falls_with_the_revocation_that_was_reversed(outcome: Any, expected: str) -> None:
    assert reason(with_grant(BAR, AppealDecided(1, outcome, "So"))) == expected
    assert reason(with_grant(GrantRevoked("Misuse"), AppealDecided(1, outcome, "So"))) == "grant_revoked"


def test_what_happens_in_a_request_of_the_same_id_does_not_touch_the_grant() -> None:
    story = with_grant(BAR).happened("request-g", AppealDecided(1, "reverse", "So"), by=ONCD)
    assert reason(story) == "barred"


def test_an_answer_rests_on_the_last_fact_that_mattered() -> None:
    story = with_grant(GrantSuspended("Misuse"))
    before = check(story)
    story.happened("grant-g", AffiliateAdded("x", "Not of a grant", "US"), by=ONCD)
    assert check(story) == before


# What is missing, and what could be used instead


def known(story: Story) -> Enforcement:
    enforcement = Enforcement()
    for fact in story.facts:
        enforcement.take(fact)
    return enforcement


MISSING: tuple[tuple[Story, Use, tuple[str, ...]], ...] = (
    (with_grant(), USE, ()),
    (with_grant(), Use("northwind", "gpt-9"), ("a release that is known",)),
    (with_grant(), Use("nobody", "gpt-5.6"), ("a customer that is registered",)),
    (
        with_grant().happened("release-gpt-5.6", ReleaseWithdrawn("Unsafe"), by=RAE),
        USE,
        ("a release that is offered",),
    ),
    (
        with_grant().happened("directive-d", DIRECTIVE, by=ONCD),
        USE,
        ("lifting of directive d, or a carve-out of it",),
    ),
    (with_grant(BAR), USE, ("lifting of the bar of grant g",)),
    (history(phase="announced"), USE, ("a phase in which the release may be used",)),
    (history(), USE, ("a grant for gpt-5.6",)),
    (with_grant(ConditionSatisfied(1), preconditions=3), USE, ("condition 2", "condition 3")),
    (
        with_grant(GrantSuspended("Misuse")).happened("grant-g", GrantSuspended("Fraud"), by=RAE),
        USE,
        ("reinstatement by oncd", "reinstatement by openai"),
    ),
    (with_grant(GrantRevoked("Misuse")), USE, ("another grant",)),
    (with_grant(GrantExpired(UNTIL)), USE, ("a renewal",)),
    (with_grant(), USE._replace(tier="pro"), ("tier pro",)),
    (with_grant(), USE._replace(tier=None), ("a tier",)),
    (with_grant(), USE._replace(person_class="ally"), ("person class ally",)),
    (with_grant(), USE._replace(person_class=None), ("a person class",)),
    (with_grant(), USE._replace(affiliate="other"), ("affiliate other",)),
)


@pytest.mark.parametrize(
    ("story", "use", "missing"), MISSING, ids=[", ".join(each[2]) or "nothing" for each in MISSING]
)
def test_a_refusal_says_what_would_have_to_be_otherwise(story: Story, use: Use, missing: tuple[str, ...]) -> None:
    assert check(story, use).missing == missing


def test_an_answer_names_the_conditions_that_it_rests_on() -> None:
    assert check(with_grant(ConditionSatisfied(1), preconditions=2)).conditions == (2,)
    satisfied = with_grant(ConditionSatisfied(1), ConditionSatisfied(2), preconditions=2)
    assert check(satisfied).conditions == (1, 2, 9)
    issue = check(with_grant()).because[-1]
    assert check(satisfied).because == (4, issue, issue + 1, issue + 2)
    assert check(history()).conditions == ()


def other_releases() -> Story:
    """Beside gpt-5.6: one open to all, one that northwind holds a grant for, one that it does not."""
    story = with_grant(GrantRevoked("Misuse"))
    for id, provider, phase in (
        ("open", "openai", "everywhere"),
        ("held", "openai", "preview"),
        ("foreign", "meta", "preview"),
        ("other", "openai", "preview"),
    ):
        story.happened(
            f"release-{id}", ReleaseAnnounced(provider, id, ("standard", "pro"), "p", "high", PHASES), by=RAE
        )
        for coming in ("preview", "everywhere") if phase == "everywhere" else ("preview",):
            story.happened(f"release-{id}", PhaseAdvanced(coming), by=RAE)
    for id in ("held", "foreign"):
        story.happened(f"grant-{id}", replace(issued(tiers=("pro",)), release=id, provider="x"), by=ONCD)
    return story


def instead(story: Story, use: Use = USE, at: str = "2026-07-01", **how: Any) -> dict[str, str | None]:
    return dict(known(story).access.alternatives(use, microseconds(instant(at)), **how))


def test_a_refused_customer_is_told_which_other_releases_they_may_use_now() -> None:
    assert instead(other_releases()) == {"open": None, "held": "pro", "foreign": "pro"}
    assert instead(other_releases(), providers=frozenset({"openai"})) == {"open": None, "held": "pro"}
    assert instead(other_releases(), at="2027-01-01") == {"open": None}
    assert instead(other_releases(), USE._replace(person_class="ally")) == {"open": None}
    assert instead(other_releases(), USE._replace(release="held")) == {"open": None, "foreign": "pro"}
    assert len(instead(other_releases(), most=2)) == 2
    assert instead(other_releases(), USE._replace(customer="nobody")) == {}


# What is remembered


NOON = microseconds(NOW)
TINKERS = Use("tinker", "gpt-5.6", "standard", "us_person")


def two_grants(**given: Any) -> Enforcement:
    story = with_grant(**given)
    story.happened("grant-t", replace(issued(), customer="tinker"), by=ONCD)
    enforcement = known(story)
    for use in (USE, TINKERS):
        assert enforcement.access.check(use, NOON).allowed
    return enforcement


def tell(enforcement: Enforcement, stream: str, event: Any) -> None:
    """One more fact of that stream."""
    story = Story("2026-07-01T12:00:00Z").happened(stream, event, by=ONCD)
    enforcement.take(story.facts[0])


def test_an_answer_is_remembered_and_found_under_the_plain_parts_of_the_use() -> None:
    access = two_grants().access
    assert access.check(USE, NOON) is access.check(Use(*USE), NOON + 1)
    assert access.answers[tuple(USE)].allowed
    assert access.since <= NOON < access.due == microseconds(UNTIL)


def test_a_change_of_a_grant_is_forgotten_of_its_customer_alone() -> None:
    enforcement = two_grants()
    tell(enforcement, "grant-g", GrantSuspended("Misuse"))
    assert set(enforcement.access.answers) == {TINKERS}
    assert enforcement.access.check(USE, NOON).reason == "grant_suspended"


@pytest.mark.parametrize(
    ("stream", "event"),
    [
        ("directive-d", DIRECTIVE),
        ("release-gpt-5.6", PhaseRolledBack("announced")),
        ("release-gpt-5.6", ReleaseWithdrawn("Unsafe")),
    ],
)
def test_what_touches_many_forgets_all(stream: str, event: Any) -> None:
    enforcement = two_grants()
    tell(enforcement, stream, event)
    assert enforcement.access.answers == {}
    assert not enforcement.access.check(USE, NOON).allowed and not enforcement.access.check(TINKERS, NOON).allowed


def test_a_lifted_directive_is_forgotten_with_its_answers() -> None:
    enforcement = two_grants()
    tell(enforcement, "directive-d", DIRECTIVE)
    assert enforcement.access.check(USE, NOON).reason == "directive"
    tell(enforcement, "directive-d", DirectiveLifted())
    assert enforcement.access.check(USE, NOON).allowed


def test_an_answer_that_time_ends_is_forgotten_in_time_and_no_other() -> None:
    access = two_grants(until=instant("2026-08-01")).access
    ends = microseconds(instant("2026-08-01"))
    assert access.check(USE, ends - 1).allowed
    assert access.check(USE, ends).reason == "grant_expired"
    assert access.answers[TINKERS].allowed and access.due == microseconds(UNTIL)


def test_a_clock_that_goes_back_is_answered_as_of_its_time() -> None:
    access = two_grants(until=instant("2026-08-01")).access
    ends = microseconds(instant("2026-08-01"))
    assert access.check(USE, ends).reason == "grant_expired"
    assert access.check(USE, ends - 1).allowed
    assert access.check(USE, ends).reason == "grant_expired"


def test_of_strangers_nothing_is_remembered_and_of_others_a_bounded_number() -> None:
    access = two_grants().access
    for nth in range(20):
        access.check(Use("northwind", f"gpt-{nth}"), NOON)
        access.check(Use(f"stranger-{nth}", "gpt-5.6"), NOON)
    assert set(access.answers) == {USE, TINKERS}
    small = Access(answers_max=3)
    for record in access.records():
        small.put(record)
    for nth in range(20):
        assert small.check(USE._replace(tier=f"tier-{nth}"), NOON).reason == "tier_not_covered"
        assert len(small.answers) <= 3
