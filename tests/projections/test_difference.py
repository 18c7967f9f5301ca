"""In what do two documents differ, and is nothing told that is the same?"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.difference import differences

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=4),
    max_leaves=12,
)


def at(document: Any, path: str) -> Any:
    """What stands at a JSON Pointer."""
    for part in path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"state": "in_review"}, {"state": "approved"}, [("/state", "in_review", "approved")]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("/a/c", 2, 3)]),
        ({"names": ["x", "y"]}, {"names": ["y"]}, [("/names", ["x", "y"], ["y"])]),
        (None, {"a": 1}, [("", None, {"a": 1})]),
        ({"held": False}, {"held": 0}, [("/held", False, 0)]),
        ({"a/b~c": 1}, {"a/b~c": 2}, [("/a~1b~0c", 1, 2)]),
    ],
)
def test_a_change_is_told_with_its_path_and_both_values(before: Any, after: Any, found: list[Any]) -> None:
    assert [(each["path"], each["before"], each["after"]) for each in differences(before, after)] == found


def test_what_was_added_has_no_before_and_what_is_gone_no_after() -> None:
    signed = {"agency": "oncd", "position": "approve"}
    other = {"agency": "ostp", "position": "approve"}
    assert list(differences({"s": [signed]}, {"s": [other, signed]})) == [{"path": "/s/0", "after": other}]
    assert list(differences({"s": [signed, other]}, {"s": [other]})) == [{"path": "/s/0", "before": signed}]
    assert list(differences({"a": 1}, {"b": 1})) == [{"path": "/a", "before": 1}, {"path": "/b", "after": 1}]


def test_an_element_that_changed_is_compared_member_by_member() -> None:
    before = {"questions": [{"number": 1, "state": "open"}, {"number": 2, "state": "open"}]}
    after = {"questions": [{"number": 1, "state": "open"}, {"number": 2, "state": "answered"}]}
    assert list(differences(before, after)) == [{"path": "/questions/1/state", "before": "open", "after": "answered"}]


@given(DOCUMENTS)
def test_a_document_does_not_differ_from_itself(document: Any) -> None:
    assert list(differences(document, document)) == []


@given(DOCUMENTS, DOCUMENTS)
def test_every_change_quotes_what_stands_in_the_documents(before: Any, after: Any) -> None:
    found = list(differences(before, after))
    for change in found:
        if "after" in change:
            assert at(after, change["path"]) == change["after"]
        else:
            assert at(before, change["path"]) == change["before"]
    assert bool(found) == (json.dumps(before, sort_keys=True) != json.dumps(after, sort_keys=True))
