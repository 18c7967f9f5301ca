"""Is the rule book complete, and does deciding and replaying any history give the same?"""

import ast
from dataclasses import is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from domain import errors, rulebook
from domain.directive import WithdrawLifting
from domain.errors import BeforeTheLast, InTheFuture, Refused
from domain.facts import By
from domain.fields import Label, is_visible
from domain.grant import ExpireGrant, GrantExpired, RevokeGrant, SuspendGrant
from domain.organization import ChangeOrganization, Delegate, OrganizationChanged, RegisterOrganization
from domain.release import CustomerLeft, HoldRollout, RolloutHeld
from domain.request import AgencySignedOff, DeadlineMissed, LapseInformation, MissDeadline, RequestInformation, SignOff
from domain.rulebook import ALIASES, EVENTS, STREAMS, due_timer, evolve_of, own_stream
from domain.sign_offs import AllOf, Leaf
from domain.world import EMPTY, Stream, Unloaded, World, fold
from tests.spec import (
    COMMERCE,
    ONCD,
    OSTP,
    PHASES,
    Story,
    application,
    approve,
    cast,
    granted,
    in_review,
    instant,
    second_request,
)

DOMAIN = Path(rulebook.__file__).parent
SPECS = Path(__file__).parent


def sections(module: ModuleType) -> dict[str, list[type]]:
    """The dataclasses of a stream's file, by the section they stand in: `# Events`, `# State`, `# Commands`."""
    lines = Path(str(module.__file__)).read_text().splitlines()
    found: dict[str, list[type]] = {"Events": [], "State": [], "Commands": []}
    section = ""
    for line in lines:
        if line.startswith("# "):
            section = line[2:].split(":")[0]
        elif line.startswith("class ") and section in found:
            found[section].append(getattr(module, line[6:].split("(")[0].rstrip(":")))
    return found


@pytest.mark.parametrize("kind", STREAMS)
def test_every_event_of_a_streams_file_is_listed(kind: str) -> None:
    events = sections(STREAMS[kind])["Events"]
    assert events, "a stream's file opens with its events"
    assert [event for event in EVENTS.values() if event.__module__ == STREAMS[kind].__name__] == events


@pytest.mark.parametrize("kind", STREAMS)
def test_every_command_of_a_streams_file_is_decided(kind: str) -> None:
    module = STREAMS[kind]
    assert set(get_args(module.Command) or (module.Command,)) == set(sections(module)["Commands"])


def test_an_events_stable_name_is_its_own_or_an_alias() -> None:
    assert {name for name, event in EVENTS.items() if name != event.__name__} == set(ALIASES)
    assert {EVENTS[old].__name__ for old in ALIASES} == set(ALIASES.values())


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_a_frozen_value(name: str) -> None:
    event = EVENTS[name]
    assert is_dataclass(event)
    assert event.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in event.__dict__


# The specs themselves


def named_in_specs() -> set[str]:
    """Every name that a spec of a rule mentions beyond importing it."""
    specs = [SPECS.parent / "spec.py", *SPECS.glob("test_*.py")]
    nodes = [node for p in specs if p.name != "test_golden.py" for node in ast.walk(ast.parse(p.read_text()))]
    return {n.id if isinstance(n, ast.Name) else n.attr for n in nodes if isinstance(n, ast.Name | ast.Attribute)}


def refusals() -> set[str]:
    return {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Refused)}


def test_every_refusal_has_a_spec_or_is_raised_elsewhere() -> None:
    text = "".join(path.read_text() for path in DOMAIN.glob("*.py"))
    raised = {name for name in refusals() if f"raise {name}" in text or f"yield {name}" in text}
    assert raised - named_in_specs() == set()


def test_every_refusal_of_the_domain_is_raised_somewhere() -> None:
    by_services = {"Refused", "StaleVersion"}
    text = "".join(path.read_text() for path in DOMAIN.glob("*.py"))
    raised = {name for name in refusals() if f"raise {name}" in text or f"yield {name}" in text}
    assert refusals() - raised == by_services


def test_every_command_has_a_spec() -> None:
    commands = {command.__name__ for module in STREAMS.values() for command in sections(module)["Commands"]}
    assert commands - named_in_specs() == set()


def test_every_event_has_a_spec() -> None:
    assert set(EVENTS) - named_in_specs() == set()


def test_i18_every_refusal_says_what_is_missing() -> None:
    """A refusal is raised with its sentence and at least one thing that would be needed; NotFound tells nothing."""
    silent = [
        f"{path.name}:{node.lineno} {node.func.id}"
        for path in sorted(DOMAIN.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in refusals() - {"NotFound"}
        if len(node.args) < 2
    ]
    assert silent == []


@pytest.mark.parametrize("name", sorted(refusals()))
def test_a_refusal_carries_its_status_rule_and_title(name: str) -> None:
    refusal = getattr(errors, name)
    assert refusal.status in (400, 403, 404, 409, 412, 422)
    assert refusal.rule
    assert refusal.title


# Streams


@pytest.mark.parametrize(
    ("command", "stream"),
    [
        (RegisterOrganization("acme", "agency", "Acme", "US"), "organization-acme"),
        (application(), None),
        (SignOff("nw", "oncd", "approve"), "request-nw"),
        (MissDeadline("nw", "oncd"), "request-nw"),
        (ExpireGrant("g"), "grant-g"),
        (HoldRollout("gpt-5.6", "Wait"), "release-gpt-5.6"),
    ],
)
def test_a_command_acts_on_its_own_stream(command: Any, stream: str | None) -> None:
    assert own_stream(command) == stream


# Replay


def a_long_life() -> Story:
    story = second_request(in_review(AllOf((ONCD, Leaf("ostp", due_days=9), COMMERCE))), "tinker", "tom", "tk")
    story.at("2026-07-01T15:00:00Z").given(RequestInformation("tk", "oncd", "Who?"), by="olga")
    story = approve(story, "nw", "g").given(SuspendGrant("g", "Misuse"), by="sam")
    return story.when_time_passes("2027-03-01T15:00:00Z").story


def folded(facts: list[Any]) -> dict[str, Stream]:
    streams: dict[str, Stream] = {}
    for fact in facts:
        streams[fact.stream] = fold(streams.get(fact.stream, EMPTY), fact, evolve_of(fact.stream))
    return streams


def test_what_was_decided_and_what_is_replayed_are_the_same() -> None:
    story = a_long_life()
    assert folded(story.facts) == story.streams
    assert folded(story.facts) == folded(story.facts), "replaying twice equals once"


def test_any_prefix_of_a_history_folds() -> None:
    story = a_long_life()
    for size in range(len(story.facts) + 1):
        streams = folded(story.facts[:size])
        assert sum(stream.version for stream in streams.values()) == size
        for name, stream in streams.items():
            kind = STREAMS[name.partition("-")[0]]
            assert stream.state is None or type(stream.state).__module__ == kind.__name__


def test_history_that_today_would_be_refused_still_folds() -> None:
    story = cast().happened("grant-unknown", GrantExpired(instant("2026-06-01")))
    story.happened("release-unknown", CustomerLeft("northwind"), RolloutHeld("Wait"))
    story.happened("request-unknown", AgencySignedOff("oncd", 1, "approve"))
    assert story.state("request-unknown") is None


def test_an_applicants_version_counts_what_applicants_may_see() -> None:
    story = a_long_life()
    for name, stream in story.streams.items():
        seen = [f for f in story.facts if f.stream == name and is_visible(type(f.event), Label.APPLICANT)]
        assert stream.applicant_version == len(seen)
        assert stream.position == max(f.position for f in story.facts if f.stream == name)


# Time (I8)


def test_i8_nothing_has_occurred_in_the_future() -> None:
    in_review().when(SignOff("nw", "oncd", "approve"), by="olga", occurred="2026-06-27T14:00:01Z").refused(InTheFuture)


def test_i8_within_a_stream_time_never_goes_back() -> None:
    story = in_review().at("2026-07-01T15:00:00Z")
    story.when(SignOff("nw", "oncd", "approve"), by="olga", occurred="2026-06-27T13:59:59Z").refused(BeforeTheLast)
    story.given(HoldRollout("gpt-5.6", "Wait"), by="olga")
    story.when(SignOff("nw", "oncd", "approve"), by="olga", occurred="2026-06-27T14:00:00Z").then(
        AgencySignedOff("oncd", 1, "approve")
    )
    assert story.facts[-1].occurred == instant("2026-06-27T14:00:00Z")
    assert story.facts[-1].recorded == instant("2026-07-01T15:00:00Z")


def test_i8_what_a_command_writes_elsewhere_takes_the_later_time() -> None:
    story = granted().at("2026-07-05T12:00:00Z").given(HoldRollout("gpt-5.6", "Wait"), by="olga")
    story.at("2026-07-06T12:00:00Z")
    story.when(RevokeGrant("g", "Misuse", "Breach"), by="carl", occurred="2026-07-01T12:00:00Z")
    revoked, left = story.facts[-2:]
    assert revoked.occurred == instant("2026-07-01T12:00:00Z")
    assert left.occurred == instant("2026-07-05T12:00:00Z")


def test_i8_timers_are_decided_by_the_occurred_time_of_a_command_learnt_of_late() -> None:
    story = in_review(AllOf((Leaf("oncd", due_days=5), OSTP))).at("2026-08-01T12:00:00Z")
    story.when(SignOff("nw", "oncd", "approve"), by="olga", occurred="2026-07-01T12:00:00Z").then(
        AgencySignedOff("oncd", 1, "approve")
    )


def test_i8_timers_of_every_stream_that_is_read_come_first_in_due_order() -> None:
    story = second_request(granted(), "northwind", "nina", "nw-2")
    story = approve(story.at("2026-07-15T15:00:00Z"), "nw-2", "g-2").at("2027-03-01T12:00:00Z")
    before = len(story.facts)
    story.when(RevokeGrant("g-2", "Misuse", "Breach"), by="carl").refused(errors.GrantHasEnded)
    assert len(story.facts) == before
    story.when_time_passes("2027-03-01T12:00:00Z").then(
        GrantExpired(instant("2026-12-27T15:00:00Z")),
        GrantExpired(instant("2027-01-11T15:00:00Z")),
        CustomerLeft("northwind"),
    )
    assert [fact.occurred.isoformat()[:10] for fact in story.facts[-3:]] == ["2026-12-27", "2027-01-11", "2027-01-11"]


def test_a_timers_command_id_is_the_same_wherever_it_is_decided() -> None:
    story = in_review(AllOf((Leaf("oncd", due_days=5), OSTP)))
    story.when_time_passes("2026-08-01T12:00:00Z")
    other = in_review(AllOf((Leaf("oncd", due_days=5), OSTP))).at("2026-07-03T09:00:00Z")
    other.given(SignOff("nw", "ostp", "approve"), by="sam")
    missed = [next(f for f in s.facts if isinstance(f.event, DeadlineMissed)) for s in (story, other)]
    assert missed[0].command == missed[1].command != ""
    assert missed[0].occurred == missed[1].occurred


@pytest.mark.parametrize("timer", [MissDeadline("nw", "oncd"), MissDeadline("nw", None), LapseInformation("nw", 1)])
def test_a_timer_that_is_not_due_is_refused(timer: Any) -> None:
    story = in_review().given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    with pytest.raises(errors.NotDue):
        rulebook.decide(timer, story.world(), rulebook.SYSTEM, story.now, lambda: "id")


def test_a_grant_does_not_expire_before_its_end() -> None:
    story = granted()
    end = story.state("grant-g").until
    with pytest.raises(errors.NotDue):
        rulebook.decide(ExpireGrant("g"), story.world(), rulebook.SYSTEM, end - timedelta(seconds=1), lambda: "id")


def test_time_does_nothing_to_streams_without_clocks() -> None:
    story = a_long_life()
    far = instant("2099-01-01")
    assert [name for name, stream in story.streams.items() if due_timer(stream, far)] == []


def test_what_settles_a_request_is_caused_by_the_act_that_settled_it() -> None:
    story = in_review(ONCD)
    story.when(SignOff("nw", "oncd", "approve"), by="olga")
    act, *rest = story.facts[-4:]
    assert act.cause is None
    assert [fact.cause for fact in rest] == [act.position] * 3


# Loading


def test_a_stream_that_is_not_in_memory_is_asked_for_by_name() -> None:
    story = granted()

    def base(name: str) -> Stream:
        if name not in loaded:
            raise Unloaded(name)
        return story.streams.get(name, EMPTY)

    def begin() -> World:
        return World(base, lambda person: ["commerce"], evolve_of, len(story.facts), story.now)

    loaded: set[str] = set()
    revoke = RevokeGrant("g", "Misuse", "Breach")
    while True:
        try:
            world, _ = rulebook.handle(revoke, begin, "carl", None, None, lambda: "id", "c", lambda w, by: None)
            break
        except Unloaded as missing:
            assert missing.stream not in loaded, "each stream is asked for once"
            loaded.add(missing.stream)
    assert loaded == {"organization-commerce", "grant-g", "release-gpt-5.6"}
    assert [fact.type for fact in world.facts] == ["GrantRevoked", "CustomerLeft"]
    assert {fact.command for fact in world.facts} == {"c"}
    assert world.read.keys() <= loaded


def test_a_world_is_refused_before_anything_when_the_caller_read_an_older_version() -> None:
    story = in_review()

    def stale(world: World, by: Any) -> None:
        raise errors.StaleVersion("It is version 2 now.", "version 2")

    with pytest.raises(errors.StaleVersion):
        rulebook.handle(SignOff("nw", "oncd", "approve"), story.world, "olga", None, None, lambda: "id", "", stale)


def test_versions_are_compared_before_timers_are_decided() -> None:
    story = in_review().at("2027-01-01T12:00:00Z")
    seen = []
    rulebook.handle(
        SignOff("nw", "oncd", "approve"),
        story.world,
        "olga",
        None,
        None,
        lambda: "id",
        "",
        lambda world, by: seen.append(world.stream("request-nw").version),
    )
    assert seen == [story.streams["request-nw"].version]


def test_i18_a_refusal_after_several_events_leaves_none_of_them() -> None:
    story = in_review(ONCD, phases=(PHASES[0], replace(PHASES[1], customer_cap=1)))
    second_request(story)
    story.given(SignOff("nw", "oncd", "approve"), by="olga")
    story.when(SignOff("tk", "oncd", "approve"), by="olga").refused(errors.CustomerCapReached)
    assert story.state("request-tk").sheet.signatures == ()


# Whoever calls it


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (SignOff("gone", "oncd", "approve"), "request gone"),
        (RevokeGrant("gone", "Misuse", "Breach"), "grant gone"),
        (HoldRollout("gone", "Wait"), "release gone"),
        (ChangeOrganization("gone", name="Elsewhere"), "organization gone"),
        (WithdrawLifting("gone"), "directive gone"),
    ],
)
def test_a_rule_needs_no_authority_to_say_that_something_does_not_exist(command: Any, missing: str) -> None:
    story = in_review()
    with pytest.raises(errors.NamesUnknown) as refusal:
        rulebook.decide(command, story.world(), rulebook.SYSTEM, story.now, lambda: "id")
    assert refusal.value.missing == (missing,)
    assert str(refusal.value) == refusal.value.detail


def test_who_told_of_an_act_stands_behind_whose_power_it_was() -> None:
    story = in_review()
    story.given(Delegate("oncd", "oscar", ("SignOff",), story.now, instant("2026-08-01")), by="omar")

    def told(via: tuple[str, ...]) -> Any:
        sign = SignOff("nw", "oncd", "approve")
        world, by = rulebook.handle(
            sign, story.world, "oscar", None, None, lambda: "id", "c", lambda w, by: heard.append(by), via
        )
        assert {fact.by for fact in world.facts} == {by}
        return by.via

    heard: list[Any] = []
    assert told(()) == ("omar",)
    assert told(("import:rosa",)) == ("omar", "import:rosa")
    assert [by.via for by in heard] == [("omar",), ("omar", "import:rosa")], "who reads is compared as who acts"


def test_a_stream_is_imported_as_long_as_its_last_act_was() -> None:
    story = cast()
    for by, imported in ((By("x", "a", "b", ("import:rosa",)), True), (By("x", "a", "b", ("olga",)), False)):
        story.happened("organization-oncd", OrganizationChanged(name="ONCD"), by=by)
        assert story.streams["organization-oncd"].imported is imported
    story.happened("organization-oncd", OrganizationChanged(name="ONCD"))
    assert story.streams["organization-oncd"].imported is False


def test_a_timers_command_id_names_the_stream_what_it_does_and_when_it_was_due() -> None:
    story = in_review(AllOf((Leaf("oncd", due_days=5), OSTP)))
    story.when_time_passes("2026-07-10T12:00:00Z")
    assert story.facts[-1].command == "timer.request-nw.MissDeadline.20260702T210000Z"


def test_a_stream_that_is_asked_for_says_its_name() -> None:
    assert str(Unloaded("grant-g")) == "grant-g"
