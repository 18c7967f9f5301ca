"""Is what enforcement knows told in a form that lasts, and to those alone who need it?"""

from typing import Any

import pytest

from domain.access import Access, from_json
from domain.enforcement import concerned


def test_fields_and_kinds_that_come_later_are_passed_over() -> None:
    row = ["customer", "northwind", 7]
    assert from_json([*row, "more"]) == from_json(row)
    assert from_json(["quota", "northwind", 8, 100]) is None


@pytest.mark.parametrize(
    "row", [[], [7], ["customer"], ["grant", "g", 1], "customer", ["directive", "d", 1, None, None]]
)
def test_what_is_no_record_is_refused(row: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        from_json(row)


# Who is told what


DIRECTIVES = {
    "one of ours": (["ours"], [], {"us"}),
    "one of theirs": (["theirs"], [], {"them"}),
    "one of each": (["ours", "theirs"], [], {"us", "them"}),
    "a provider": ([], ["us"], {"us"}),
    "a release, and a provider whose it is not": (["ours"], ["them"], set()),
    "a class of persons": ([], [], None),
}


@pytest.mark.parametrize("name", DIRECTIVES)
def test_a_directive_is_told_to_those_whose_releases_it_may_touch(name: str) -> None:
    releases, providers, expected = DIRECTIVES[name]
    access = Access()
    for id, provider in (("ours", "us"), ("theirs", "them")):
        row = ["release", id, 1, provider, ["standard"], "preview", "granted", 1, None]
        found = from_json(row)
        assert found is not None
        access.put(found)
    directive = from_json(["directive", "d", 5, [releases, providers, [], ["ally"]], [[], [], [], []]])
    assert directive is not None
    assert concerned(directive, access) == (None if expected is None else frozenset(expected))
