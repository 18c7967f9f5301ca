"""Does a tree of sign-offs approve, refuse or wait exactly when the policy says so?"""

from typing import Any

import msgspec
import pytest

from domain.sign_offs import (
    AllOf,
    AtLeast,
    Leaf,
    ProposedCondition,
    Sheet,
    Signature,
    Verdict,
    agencies,
    lacking,
    leaves,
    tree_from,
    verdict,
    waiting,
)

APPROVES, REFUSES, WAITS = Verdict.APPROVES, Verdict.REFUSES, Verdict.WAITS
A, B, C = Leaf("a"), Leaf("b"), Leaf("c")


def sheet(*positions: str, **more: Any) -> Sheet:
    """Positions written `agency:person+` (approves), `-` (refuses), and `!` behind where countersigned."""
    signatures = []
    for text in positions:
        agency, _, rest = text.rstrip("!").partition(":")
        position = {"+": "approve", "-": "refuse", "?": "approve_with_conditions"}[rest[-1]]
        signatures.append(
            Signature(agency, rest[:-1], position, countersigned="boss" if text.endswith("!") else None)  # type: ignore[arg-type]
        )
    return Sheet(tuple(signatures), **{key: frozenset(value) for key, value in more.items()})


@pytest.mark.parametrize(
    ("leaf", "signed", "expected"),
    [
        pytest.param(A, sheet(), WAITS, id="it waits for its first sign-off"),
        pytest.param(A, sheet("a:x+"), APPROVES, id="one approval suffices"),
        pytest.param(A, sheet("a:x?"), APPROVES, id="an approval with conditions is one"),
        pytest.param(A, sheet("b:x+"), WAITS, id="another agency's approval is not"),
        pytest.param(A, sheet("a:x-"), REFUSES, id="one refusal suffices"),
        pytest.param(A, sheet("a:x+", "a:y-"), REFUSES, id="none may refuse"),
        pytest.param(A, sheet("a:x+", asking="a"), WAITS, id="nothing asked may be open"),
        pytest.param(A, sheet("a:x+", asking="b"), APPROVES, id="another agency's question does not matter"),
        pytest.param(A, sheet("a:x-", asking="a"), REFUSES, id="an agency that asks may refuse"),
        pytest.param(A, sheet(deemed="a"), APPROVES, id="silence deemed no objection approves"),
        pytest.param(A, sheet("a:x-", deemed="a"), REFUSES, id="a refusal after silence refuses"),
        pytest.param(A, sheet(deemed="a", asking="a"), WAITS, id="silence does not answer one's own question"),
        pytest.param(A, sheet("a:x-", overruled="a"), APPROVES, id="an overruled refusal approves"),
        pytest.param(Leaf("a", 2), sheet("a:x+"), WAITS, id="a quorum of two waits for the second"),
        pytest.param(Leaf("a", 2), sheet("a:x+", "a:y?"), APPROVES, id="two people fill a quorum of two"),
        pytest.param(Leaf("a", 2), sheet("a:x+", "a:y-"), REFUSES, id="one refusal of two refuses"),
        pytest.param(
            Leaf("a", countersign=True), sheet("a:x+"), WAITS, id="an approval waits for its countersignature"
        ),
        pytest.param(Leaf("a", countersign=True), sheet("a:x+!"), APPROVES, id="a countersigned approval approves"),
        pytest.param(Leaf("a", countersign=True), sheet("a:x-"), WAITS, id="a refusal waits for its countersignature"),
        pytest.param(Leaf("a", countersign=True), sheet("a:x-!"), REFUSES, id="a countersigned refusal refuses"),
        pytest.param(Leaf("a", countersign=True), sheet("a:x+!", "a:y-"), WAITS, id="none refusing, not even for now"),
        pytest.param(Leaf("a", 2, True), sheet("a:x+!", "a:y+"), WAITS, id="each of the quorum is countersigned"),
        pytest.param(Leaf("a", 2, True), sheet("a:x+!", "a:y+!"), APPROVES, id="both are countersigned"),
    ],
)
def test_a_leaf(leaf: Leaf, signed: Sheet, expected: Verdict) -> None:
    assert verdict(leaf, signed) is expected


@pytest.mark.parametrize(
    ("tree", "signed", "expected"),
    [
        pytest.param(AllOf((A, B)), sheet("a:x+"), WAITS, id="all waits for each"),
        pytest.param(AllOf((A, B)), sheet("a:x+", "b:y+"), APPROVES, id="all is satisfied by all"),
        pytest.param(AllOf((A, B)), sheet("a:x-"), REFUSES, id="all is refused by one"),
        pytest.param(AtLeast(1, (A, B)), sheet("a:x-"), WAITS, id="one of two survives a refusal"),
        pytest.param(AtLeast(1, (A, B)), sheet("a:x-", "b:y-"), REFUSES, id="one of two refused by both"),
        pytest.param(AtLeast(1, (A, B)), sheet("a:x-", "b:y+"), APPROVES, id="one of two approved against the other"),
        pytest.param(AtLeast(2, (A, B, C)), sheet("a:x+", "b:y-"), WAITS, id="two of three may still be had"),
        pytest.param(AtLeast(2, (A, B, C)), sheet("a:x-", "b:y-"), REFUSES, id="two of three cannot be had"),
        pytest.param(AtLeast(2, (A, B, C)), sheet("a:x+", "c:y+"), APPROVES, id="two of three"),
        pytest.param(AllOf((A, AtLeast(1, (B, C)))), sheet("a:x+", "c:y+"), APPROVES, id="nested: one of the two"),
        pytest.param(AllOf((A, AtLeast(1, (B, C)))), sheet("b:x-", "c:y-"), REFUSES, id="nested: neither of the two"),
        pytest.param(AllOf((A, AtLeast(1, (B, C)))), sheet("b:x+", "c:y+"), WAITS, id="nested: two cannot stand for a"),
        pytest.param(
            AtLeast(1, (AllOf((A, B)), C)), sheet("a:x-"), WAITS, id="a refused branch leaves the other one open"
        ),
        pytest.param(
            AllOf((Leaf("a", 2, True), AtLeast(1, (B, C)))),
            sheet("a:x+!", "a:y+!", "b:z+"),
            APPROVES,
            id="quorum, countersignature and choice together",
        ),
    ],
)
def test_a_tree(tree: Any, signed: Sheet, expected: Verdict) -> None:
    assert verdict(tree, signed) is expected


def test_the_later_position_of_an_officer_stands_and_each_counts_once() -> None:
    once = Sheet().sign(Signature("a", "x", "approve")).sign(Signature("a", "x", "approve", reason="again"))
    assert verdict(Leaf("a", 2), once) is WAITS
    assert verdict(A, once.sign(Signature("a", "x", "refuse"))) is REFUSES
    assert verdict(A, sheet("a:x-").sign(Signature("a", "x", "approve"))) is APPROVES


def test_a_revised_position_needs_a_countersignature_of_its_own() -> None:
    leaf = Leaf("a", countersign=True)
    assert verdict(leaf, sheet("a:x+!").sign(Signature("a", "x", "refuse"))) is WAITS


def test_a_refused_countersignature_strikes_the_position() -> None:
    struck = sheet("a:x+", "a:y+", "b:z+").strike("a", ("x",))
    assert [(s.agency, s.person) for s in struck.signatures] == [("a", "y"), ("b", "z")]


def test_only_leaves_that_would_still_help_are_waited_for() -> None:
    tree = AllOf((A, AtLeast(1, (B, C))))
    assert [leaf.agency for leaf in waiting(tree, sheet())] == ["a", "b", "c"]
    assert [leaf.agency for leaf in waiting(tree, sheet("b:x+"))] == ["a"]
    assert [leaf.agency for leaf in waiting(tree, sheet("b:x-"))] == ["a", "c"]
    assert list(waiting(tree, sheet("a:x-"))) == []
    assert list(waiting(tree, sheet("a:x+", "b:y+"))) == []


@pytest.mark.parametrize(
    ("leaf", "signed", "expected"),
    [
        (A, sheet(), "sign_off"),
        (A, sheet("a:x+", asking="a"), "information"),
        (Leaf("a", countersign=True), sheet("a:x+"), "countersignature"),
        (Leaf("a", 2, True), sheet("a:x+"), "sign_off"),
        (Leaf("a", 2, True), sheet("a:x+!", "a:y+"), "countersignature"),
    ],
)
def test_a_waiting_leaf_says_what_it_lacks(leaf: Leaf, signed: Sheet, expected: str) -> None:
    assert lacking(leaf, signed) == expected


def test_a_tree_is_read_from_json_with_its_defaults() -> None:
    tree = tree_from(
        {
            "all_of": [
                {"agency": "commerce", "quorum": 2, "countersign": True, "due_days": 5, "days": "business"},
                {"at_least": 1, "of": [{"agency": "oncd", "silence": "no_objection"}, {"agency": "ostp"}]},
            ]
        }
    )
    assert tree == AllOf(
        (
            Leaf("commerce", 2, True, 5, "business", "block"),
            AtLeast(1, (Leaf("oncd", silence="no_objection"), Leaf("ostp", 1, False, None, None, "block"))),
        )
    )
    assert agencies(tree) == ("commerce", "oncd", "ostp")
    assert agencies(None) == ()


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"agency": "a"}
    for _ in range(depth):
        tree = {"all_of": [tree]}
    return tree


def test_the_root_may_be_a_leaf_and_a_tree_may_be_deep_and_wide() -> None:
    assert tree_from({"agency": "a"}) == A
    assert len(list(leaves(tree_from(nested(12))))) == 1
    assert len(list(leaves(tree_from({"all_of": [{"agency": "a"}] * 100})))) == 100


@pytest.mark.parametrize(
    "leaf", [{"quorum": 1}, {"quorum": 100}, {"due_days": 1}, {"due_days": 3660}, {"days": "calendar"}, {"days": None}]
)
def test_a_leaf_may_go_to_its_bounds(leaf: dict[str, Any]) -> None:
    assert tree_from({"agency": "a", **leaf}) == Leaf("a", **leaf)


def test_at_least_may_ask_for_all() -> None:
    assert tree_from({"at_least": 1, "of": [{"agency": "a"}]}) == AtLeast(1, (A,))


@pytest.mark.parametrize("key", ["all_of", "of"])
def test_a_branch_of_nothing_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key} is a list"):
        tree_from({"all_of": []} if key == "all_of" else {"at_least": 1, "of": []})


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(None, id="nothing"),
        pytest.param("oncd", id="a text"),
        pytest.param([{"agency": "a"}], id="a list"),
        pytest.param({}, id="empty"),
        pytest.param({"all_of": []}, id="all of nothing"),
        pytest.param({"all_of": {"agency": "a"}}, id="all of what is no list"),
        pytest.param({"all_of": [{"agency": "a"}], "of": []}, id="two kinds of branch"),
        pytest.param({"all_of": [{"agency": "a"}], "agency": "a"}, id="branch and leaf"),
        pytest.param({"at_least": 1}, id="of what"),
        pytest.param({"of": [{"agency": "a"}]}, id="at least how many"),
        pytest.param({"at_least": 0, "of": [{"agency": "a"}]}, id="none of them"),
        pytest.param({"at_least": 2, "of": [{"agency": "a"}]}, id="more than there are"),
        pytest.param({"at_least": True, "of": [{"agency": "a"}]}, id="true is no number"),
        pytest.param({"at_least": 1.0, "of": [{"agency": "a"}]}, id="a fraction is no number"),
        pytest.param({"agency": 7}, id="an agency that is no text"),
        pytest.param({"agency": "a", "quorum": 0}, id="a quorum of none"),
        pytest.param({"agency": "a", "quorum": True}, id="a quorum that is no number"),
        pytest.param({"agency": "a", "quorum": 101}, id="a quorum beyond measure"),
        pytest.param({"agency": "a", "countersign": 1}, id="countersign is true or false"),
        pytest.param({"agency": "a", "due_days": 0}, id="due at once"),
        pytest.param({"agency": "a", "due_days": 3661}, id="due in more than ten years"),
        pytest.param({"agency": "a", "days": "working"}, id="unknown kind of days"),
        pytest.param({"agency": "a", "silence": "approve"}, id="silence never approves"),
        pytest.param({"agency": "a", "weight": 2}, id="unknown field"),
        pytest.param(nested(13), id="too deep"),
        pytest.param({"all_of": [{"agency": "a"}] * 101}, id="too wide"),
    ],
)
def test_what_is_no_tree_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        tree_from(data)


def test_a_condition_is_a_precondition_or_ongoing() -> None:
    assert ProposedCondition("Report misuse").kind == "ongoing"
    with pytest.raises(msgspec.ValidationError, match="sometimes"):
        msgspec.convert({"text": "Report misuse", "kind": "sometimes"}, ProposedCondition)
