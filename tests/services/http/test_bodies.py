"""Does a body become the command, and nothing but what the command's dataclass allows?"""

from collections.abc import Iterator
from dataclasses import is_dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.authority import COMMANDS as MAY
from domain.errors import Refused
from domain.fields import Bounds, Pattern, hints, marks
from domain.organization import Appoint
from domain.policy import PublishPolicy
from domain.release import OpenIncident
from domain.request import AmendRequest, Changes, ProvideInformation, SignOff
from domain.sign_offs import AllOf, AtLeast, Leaf, ProposedCondition
from services.http.bodies import body_of
from services.http.commands import COMMANDS, ROUTES, UNROUTED, Route
from services.http.examples import body_example
from services.http.problems import MalformedBody, UnfitBody

SIGN_OFF = body_of(SignOff, ("request",))
POLICY = body_of(PublishPolicy, ("policy",))


def sign_off(**given_: Any) -> bytes:
    return msgspec.json.encode({"agency": "oncd", "position": "approve", **given_})


def policy(tree: Any) -> Any:
    body = {"authority_basis": "Executive Order 14409", "sign_offs": tree}
    return POLICY.read(("preview",), msgspec.json.encode(body))


def test_a_body_gives_the_fields_that_the_path_does_not() -> None:
    body = sign_off(conditions=[{"text": "Report misuse", "kind": "ongoing"}], reason="Fine")
    condition = ProposedCondition("Report misuse", "ongoing")
    assert SIGN_OFF.read(("r1",), body) == SignOff("r1", "oncd", "approve", (condition,), "Fine")


def test_a_field_that_ends_with_an_underscore_has_none_in_json() -> None:
    body = b'{"person": "cora", "role": "reviewer", "from": "2026-06-20T13:00:00Z"}'
    found = body_of(Appoint, ("organization",)).read(("commerce",), body)
    assert found == Appoint("commerce", "cora", "reviewer", datetime(2026, 6, 20, 13, tzinfo=UTC))


def test_times_are_turned_into_utc() -> None:
    body = b'{"person": "cora", "role": "reviewer", "from": "2026-06-20T09:00:00-04:00"}'
    found = body_of(Appoint, ("organization",)).read(("commerce",), body)
    assert found.from_ == datetime(2026, 6, 20, 13, tzinfo=UTC) and found.from_.tzinfo is UTC


def test_what_is_left_out_takes_the_commands_default() -> None:
    found = POLICY.read(("preview",), b'{"authority_basis": "EO", "sign_offs": {"agency": "oncd"}}')
    assert found == PublishPolicy("preview", "EO", Leaf("oncd"))


def test_an_amendment_may_change_one_thing_alone() -> None:
    found = body_of(AmendRequest, ("request",)).read(("r1",), b'{"changes": {"use": "Fraud"}}')
    assert found == AmendRequest("r1", Changes(use="Fraud"))


def test_a_tree_of_sign_offs_may_be_nested() -> None:
    tree = {"all_of": [{"agency": "oncd"}, {"at_least": 1, "of": [{"agency": "ostp"}, {"agency": "doe"}]}]}
    assert policy(tree).sign_offs == AllOf((Leaf("oncd"), AtLeast(1, (Leaf("ostp"), Leaf("doe")))))


@pytest.mark.parametrize(
    "tree",
    [
        {},
        [],
        "oncd",
        None,
        {"all_of": []},
        {"at_least": 3, "of": [{"agency": "oncd"}]},
        {"at_least": True, "of": [{"agency": "oncd"}]},
        {"agency": "oncd", "veto": True},
        {"agency": "oncd", "quorum": 0},
        {"agency": "oncd", "quorum": 10**30},
        {"agency": 7},
        {"agency": "oncd", "silence": ["block"]},
        {"agency": "oncd", "days": {}},
    ],
)
def test_what_is_no_tree_of_sign_offs_is_refused(tree: Any) -> None:
    with pytest.raises(UnfitBody):
        policy(tree)


UNFIT: dict[str, bytes] = {
    "an unknown field": sign_off(veto=True),
    "an unknown field further in": sign_off(conditions=[{"text": "x", "weight": 1}]),
    "a missing field": b'{"agency": "oncd"}',
    "a number for a text": sign_off(reason=7),
    "a text for a list": sign_off(conditions="none"),
    "null for a text": sign_off(reason=None),
    "a position that does not exist": sign_off(position="abstain"),
    "a slug with capitals": sign_off(agency="ONCD"),
    "a slug with a line break at its end": sign_off(agency="oncd\n"),
    "an empty slug": sign_off(agency=""),
    "a text that is too long": sign_off(reason="x" * 10_001),
    "too many conditions": sign_off(conditions=[{"text": "x"}] * 101),
    "NUL in a text": sign_off(reason="a\0b"),
    "NUL in a text further in": sign_off(conditions=[{"text": "a\0b"}]),
    "a list for an object": b"[]",
    "a text for an object": b'"approve"',
}


@pytest.mark.parametrize("body", UNFIT.values(), ids=UNFIT.keys())
def test_a_body_that_does_not_fit_is_refused(body: bytes) -> None:
    with pytest.raises(UnfitBody):
        SIGN_OFF.read(("r1",), body)


UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "half an object": b'{"agency": "oncd"',
    "two objects": sign_off() + sign_off(),
    "a byte order mark": b"\xef\xbb\xbf" + sign_off(),
    "a byte that is no UTF-8": b'{"agency": "oncd", "position": "approve", "reason": "\xff"}',
    "a lone surrogate": b'{"agency": "oncd", "position": "approve", "reason": "\\ud800"}',
    "a raw control character": b'{"agency": "oncd", "position": "approve", "reason": "a\x00b"}',
    "not a number": b'{"agency": "oncd", "position": "approve", "reason": NaN}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        SIGN_OFF.read(("r1",), body)


def test_a_text_may_speak_of_nul_and_hold_every_other_character() -> None:
    odd = 'the escape \\u0000, a tab\t, a line\n, "quotes", \x01, \x7f, \u202e, \ufeff, \U0001f980'
    assert SIGN_OFF.read(("r1",), sign_off(reason=odd)).reason == odd


def test_a_body_nested_without_end_is_refused() -> None:
    deep = b'{"authority_basis": "EO", "sign_offs": ' + b'{"all_of": [' * 50_000
    with pytest.raises(MalformedBody):
        POLICY.read(("preview",), deep)


@pytest.mark.parametrize(
    ("days", "status"), [("0", 422), ("3661", 422), ("1e3", 422), ("99999999999999999999999", 422), ("1.5", 422)]
)
def test_numbers_outside_of_their_bounds_are_refused(days: str, status: int) -> None:
    body = f'{{"agency": "oncd", "days": {days}, "reason": "More time"}}'.encode()
    with pytest.raises(Refused) as refused:
        next(r for r in ROUTES if r.path.endswith("/extensions")).body.read(("r1",), body)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "time",
    [
        "2026-06-20",
        "2026-06-20T13:00:00",
        "2026-13-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2201-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "now",
        1750000000,
    ],
)
def test_a_time_without_zone_or_far_away_is_refused(time: Any) -> None:
    body = msgspec.json.encode({"person": "cora", "role": "reviewer", "until": time})
    with pytest.raises(Refused) as refused:
        body_of(Appoint, ("organization",)).read(("commerce",), body)
    assert refused.value.status == 422


def test_the_refusal_names_the_field_that_is_missing() -> None:
    with pytest.raises(UnfitBody) as refused:
        body_of(OpenIncident, ("release",)).read(("r",), b'{"severity": "high"}')
    assert (refused.value.missing, refused.value.detail) == (("summary",), "The field summary is missing.")


def test_the_refusal_says_where_in_the_body_it_does_not_fit() -> None:
    with pytest.raises(UnfitBody) as refused:
        SIGN_OFF.read(("r1",), sign_off(conditions=[{"text": ""}]))
    assert refused.value.missing == ("conditions[0].text",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(ROUTES), st.data())
def test_whatever_the_body_it_is_read_or_refused(route: Route, data: st.DataObject) -> None:
    """Of a good body, one field is anything at all."""
    body = dict(body_example(route.command, route.given))
    name = data.draw(st.sampled_from(sorted(body)) if body else st.text(max_size=10))
    body[name] = data.draw(JSON)
    path = given(route)
    try:
        assert isinstance(route.body.read(path, msgspec.json.encode(body)), route.command)
    except Refused as refused:
        assert refused.status in (400, 422)


def given(route: Route) -> tuple[Any, ...]:
    """What the path gives the command beside its body."""
    return tuple(1 if is_number else "x" for is_number in route.numbers)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.command.__name__)
def test_every_commands_example_is_a_body_that_it_takes(route: Route) -> None:
    path = given(route)
    body = msgspec.json.encode(body_example(route.command, route.given))
    assert isinstance(route.body.read(path, body), route.command)


def test_every_command_that_a_person_may_give_has_an_address() -> None:
    assert set(COMMANDS.values()) | UNROUTED.keys() == MAY.keys()
    assert len(set(COMMANDS.values())) == len(COMMANDS)


def unbounded(hint: Any, where: str) -> Iterator[str]:
    """The texts and numbers within a type for which the domain names no bounds."""
    if hint in (int, str):
        yield where
    elif get_origin(hint) is Annotated:
        inner = get_args(hint)[0]
        if inner not in (int, str):
            yield from unbounded(inner, where)
        elif marks(hint, Bounds) is None and marks(hint, Pattern) is None:
            yield where
    elif is_dataclass(hint):
        assert isinstance(hint, type)
        for name, field in hints(hint).items():
            yield from unbounded(field, f"{hint.__name__}.{name}")
    elif get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from unbounded(part, where)


def test_every_text_and_number_of_a_command_has_its_bounds() -> None:
    found = {each for command in COMMANDS.values() for each in unbounded(command, "")}
    assert found == set()


def test_an_answer_may_be_as_long_as_its_field_allows() -> None:
    read = body_of(ProvideInformation, ("request", "number")).read
    assert len(read(("r1", 1), msgspec.json.encode({"answer": "x" * 20_000})).answer) == 20_000
    with pytest.raises(UnfitBody):
        read(("r1", 1), msgspec.json.encode({"answer": "x" * 20_001}))
