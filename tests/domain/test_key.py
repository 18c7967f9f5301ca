"""What may a machine's key open, and for how long?"""

import pytest

from domain import authority
from domain.authority import Office
from domain.errors import KeyIsRevoked, Malformed, NamesUnknown, NotAuthorised, NotFound, Refused
from domain.facts import SYSTEM
from domain.fields import Label
from domain.key import IssueKey, Key, KeyIssued, KeyRevoked, KeyRotated, RevokeKey, RotateKey, person, stream
from domain.organization import ChangeOrganization
from domain.release import HoldRollout
from domain.request import SignOff
from tests.spec import Story, cast, in_review, instant

ISSUED = instant("2026-06-20T13:00:00Z")
UNTIL = instant("2026-09-18T13:00:00Z")


def issued(organization: str = "openai", scopes: tuple[str, ...] = ("access",), story: Story | None = None) -> Story:
    """The key `k` of that organization; its secret's hash is `one`."""
    return (story or cast()).given(IssueKey(organization, "Gateway 1", scopes, digest="one"), ids=["k"])  # type: ignore[arg-type]


def key(story: Story) -> Key:
    found = story.state(stream("k"))
    assert isinstance(found, Key)
    return found


def offices(story: Story) -> tuple[Office, ...]:
    return authority.standing(story.world(), person("k"), story.now).offices


def test_a_key_is_good_for_ninety_days_unless_said_otherwise() -> None:
    command = IssueKey("openai", "Gateway 1", ("access",), digest="one")
    cast().when(command, ids=["k"]).then(KeyIssued("openai", "gateway", "Gateway 1", ("access",), UNTIL, "one"))


def test_a_key_holds_the_office_of_its_kind_of_organization() -> None:
    for organization, role in (
        ("openai", "gateway"),
        ("oncd", "reviewer"),
        ("northwind", "applicant"),
        ("assent", "auditor"),
    ):
        assert key(issued(organization, ("read",))).role == role


def test_a_scope_that_is_named_twice_counts_once() -> None:
    assert key(issued(scopes=("access", "read", "access"))).scopes == ("access", "read")


def test_a_key_for_an_organization_that_does_not_exist_is_refused() -> None:
    cast().when(IssueKey("nobody", "Gateway", ("access",))).refused(NamesUnknown, "organization nobody")


@pytest.mark.parametrize("organization", ["oncd", "northwind", "assent"])
def test_only_a_providers_key_answers_for_access(organization: str) -> None:
    cast().when(IssueKey(organization, "Odd", ("read", "access"))).refused(Malformed)


@pytest.mark.parametrize(("until", "good"), [("2026-06-20T13:00:00Z", False), ("2027-06-21T13:00:00Z", True)])
def test_a_key_ends_after_it_begins(until: str, good: bool) -> None:
    outcome = cast().when(IssueKey("openai", "Gateway", ("access",), instant(until)))
    assert (outcome.refusal is None) == good


def test_no_key_is_good_for_longer_than_a_year() -> None:
    too_long = instant("2027-06-21T13:00:01Z")
    cast().when(IssueKey("openai", "Gateway", ("access",), too_long)).refused(Malformed)


def test_after_a_rotation_both_secrets_are_good_until_the_overlap_is_over() -> None:
    story = issued().at("2026-07-01T12:00:00Z")
    story.when(RotateKey("k", 24, "two")).then(KeyRotated(instant("2026-07-02T12:00:00Z"), "two"))
    before, after = instant("2026-07-02T11:59:59Z"), instant("2026-07-02T12:00:00Z")
    assert [key(story).accepts(digest, before) for digest in ("one", "two", "three")] == [True, True, False]
    assert [key(story).accepts(digest, after) for digest in ("one", "two")] == [False, True]


def test_a_second_rotation_ends_the_oldest_secret_at_once() -> None:
    story = issued().given(RotateKey("k", 24, "two")).given(RotateKey("k", 24, "three"))
    assert [key(story).accepts(digest, story.now) for digest in ("one", "two", "three")] == [False, True, True]


def test_an_overlap_ends_with_the_key() -> None:
    story = issued().at("2026-09-18T12:00:00Z")
    story.when(RotateKey("k", 24, "two")).then(KeyRotated(UNTIL, "two"))


def test_a_key_opens_nothing_from_its_end_on() -> None:
    here = key(issued())
    assert here.accepts("one", instant("2026-09-18T12:59:59Z"))
    assert not here.accepts("one", UNTIL)
    issued().at("2026-09-18T13:00:00Z").when(RotateKey("k", 24, "two")).refused(KeyIsRevoked)


def test_a_revoked_key_opens_nothing_and_is_not_revived() -> None:
    story = issued().given(RotateKey("k", 24, "two"))
    story.when(RevokeKey("k", "Leaked")).then(KeyRevoked("Leaked"))
    assert not any(key(story).accepts(digest, story.now) for digest in ("one", "two"))
    story.when(RotateKey("k", 24, "three")).refused(KeyIsRevoked)
    story.when(RevokeKey("k")).refused(KeyIsRevoked)


def test_a_key_nobody_issued_is_not_there() -> None:
    cast().when(RotateKey("k", 24, "two")).refused(NotFound)


def test_a_key_reads_for_its_organization() -> None:
    story = issued("oncd", ("read",))
    held = offices(story)
    assert [(office.organization, office.role) for office in held] == [("oncd", "reviewer")]
    assert authority.reach(person("k"), held).clearance_for("northwind", ("oncd",)) is Label.INTERAGENCY


@pytest.mark.parametrize("command", [SignOff("nw", "oncd", "approve"), HoldRollout("gpt-5.6", "Wait")])
def test_no_machine_decides_anything(command: object) -> None:
    story = issued("oncd", ("read",), in_review())
    story.when(command, by=person("k")).refused(NotAuthorised)


@pytest.mark.parametrize("ending", [RevokeKey("k"), ChangeOrganization("oncd", closed=True)])
def test_a_key_holds_no_office_when_it_or_its_organization_has_ended(ending: object) -> None:
    story = issued("oncd", ("read",))
    assert offices(story)
    assert offices(story.given(ending)) == ()


def test_keys_are_administrators_business() -> None:
    for somebody, refusal in (("omar", NotFound), ("nina", NotFound), ("ada", NotAuthorised)):
        outcome: type[Refused] = refusal
        issued().when(RevokeKey("k"), by=somebody).refused(outcome)


def test_what_is_not_a_keys_event_leaves_it_as_it_is() -> None:
    story = issued()
    before = key(story)
    assert key(story.happened(stream("k"), HoldRollout("gpt-5.6", "Odd"), by=SYSTEM)) == before
