"""Does a tree of sign-offs, as its JSON stands in the log, say yes, no, or not yet?"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]
YES, NO, OPEN = "yes", "no", "open"


@dataclass(slots=True)
class Position:
    """What one person said for an agency, who confirmed it, and with whose powers they spoke."""

    position: str
    conditions: list[dict[str, Any]]
    people: frozenset[str]
    confirmed_by: frozenset[str] = frozenset()


@dataclass(slots=True)
class Positions:
    """What stands: agency → person → position, the oldest first; and what counts without a position."""

    standing: dict[str, dict[str, Position]] = field(default_factory=dict)
    deemed: set[str] = field(default_factory=set)
    overruled: set[str] = field(default_factory=set)
    asking: dict[int, str] = field(default_factory=dict)

    def of(self, agency: str) -> dict[str, Position]:
        return self.standing.get(agency, {})

    def take(self, agency: str, person: str, position: Position) -> None:
        """A later position of a person replaces the earlier one."""
        mine = self.standing.setdefault(agency, {})
        mine.pop(person, None)
        mine[person] = position

    def strike(self, agency: str, people: list[str]) -> None:
        for person in people:
            self.standing.get(agency, {}).pop(person, None)

    def elsewhere(self, agency: str, people: set[str]) -> str | None:
        """Another agency for which one of these people signed or countersigned."""
        for other, mine in self.standing.items():
            if other != agency and any(people & (p.people | p.confirmed_by) for p in mine.values()):
                return other
        return None

    def involved(self) -> set[str]:
        """Everybody whose hand or power is in what stands."""
        found: set[str] = set()
        for mine in self.standing.values():
            for position in mine.values():
                found |= position.people | position.confirmed_by
        return found


def leaves(node: Node) -> Iterator[Node]:
    if "agency" in node:
        yield node
        return
    for part in node.get("all_of") or node["of"]:
        yield from leaves(part)


def agencies(node: Node | None) -> list[str]:
    """The agencies of a tree in its order, each once."""
    return [] if node is None else list(dict.fromkeys(leaf["agency"] for leaf in leaves(node)))


def says(node: Node, positions: Positions) -> str:
    """YES, NO, or OPEN."""
    if "agency" in node:
        return leaf_says(node, positions)
    parts = node.get("all_of") or node["of"]
    needed = node.get("at_least", len(parts))
    answers = [says(part, positions) for part in parts]
    if answers.count(YES) >= needed:
        return YES
    return NO if answers.count(YES) + answers.count(OPEN) < needed else OPEN


def leaf_says(leaf: Node, positions: Positions) -> str:
    agency = leaf["agency"]
    if agency in positions.overruled:
        return YES
    mine = positions.of(agency).values()
    counting = [p for p in mine if p.confirmed_by] if leaf["countersign"] else list(mine)
    if any(p.position == "refuse" for p in counting):
        return NO
    if agency in positions.asking.values() or any(p.position == "refuse" for p in mine):
        return OPEN
    return YES if agency in positions.deemed or len(counting) >= leaf["quorum"] else OPEN


def awaited(node: Node, positions: Positions) -> Iterator[Node]:
    """The leaves that could still settle the tree: open ones under open parts."""
    if says(node, positions) == OPEN:
        if "agency" in node:
            yield node
            return
        for part in node.get("all_of") or node["of"]:
            yield from awaited(part, positions)
