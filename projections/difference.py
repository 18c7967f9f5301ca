"""In what do two documents differ? Paths, with what stood there before and what stands there after."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

import msgspec

Change = dict[str, Any]
"""`path` (a JSON Pointer, RFC 6901), `before` and `after`; what was not there at all has no member of that name."""


def differences(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Every place that differs, in the order of the documents; values as JSON has them.

    Members are compared one by one. Lists of names or numbers are one value; of other lists, elements that are the same
    on both sides are matched, so an index in a path is that of `after`, or of `before` for what is gone.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_members(before, after, path)
    elif isinstance(before, list) and isinstance(after, list) and _has_parts(before + after):
        yield from _of_elements(before, after, path)
    elif type(before) is not type(after) or before != after:
        yield {"path": path, "before": before, "after": after}


def _of_members(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        here = f"{path}/{_escaped(name)}"
        if name not in after:
            yield {"path": here, "before": before[name]}
        elif name not in before:
            yield {"path": here, "after": after[name]}
        else:
            yield from differences(before[name], after[name], here)


def _of_elements(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    same = SequenceMatcher(None, _encoded(before), _encoded(after), autojunk=False)
    for what, start, end, begin, stop in same.get_opcodes():
        if what == "equal":
            continue
        paired = min(end - start, stop - begin)
        for nth in range(paired):
            yield from differences(before[start + nth], after[begin + nth], f"{path}/{begin + nth}")
        for nth in range(start + paired, end):
            yield {"path": f"{path}/{nth}", "before": before[nth]}
        for nth in range(begin + paired, stop):
            yield {"path": f"{path}/{nth}", "after": after[nth]}


def _encoded(elements: list[Any]) -> list[bytes]:
    return [msgspec.json.encode(each) for each in elements]


def _has_parts(elements: list[Any]) -> bool:
    return any(isinstance(each, dict | list) for each in elements)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
