"""Whose sign-offs are needed, which stand, and does the tree approve, refuse, or wait?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Literal

from domain.errors import AlreadySigned, NothingToCountersign, SeparationOfDuties
from domain.facts import By
from domain.fields import OptionalText, Position, SomeDays, Text
from domain.values import replace, unguarded

APPROVALS = ("approve", "approve_with_conditions")


class Tree:
    """A leaf names an agency; a branch asks for all, or for at least so many, of its parts."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Leaf(Tree):
    """One agency's sign-off: so many distinct people, countersigned if asked, within so many days."""

    agency: str
    quorum: int = 1
    countersign: bool = False
    due_days: int | None = None
    days: str | None = None
    silence: str = "block"


@dataclass(frozen=True, slots=True)
class AllOf(Tree):
    all_of: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class AtLeast(Tree):
    at_least: int
    of: tuple[Tree, ...]


SILENCES = ("block", "escalate", "no_objection")
"""What a leaf's silence may mean, the strictest first."""

DEPTH_MAX = 12
LEAVES_MAX = 100


def tree_from(data: Any, depth: int = 0) -> Tree:
    """The tree that JSON data describes. Raises ValueError in a sentence where it describes none."""
    if isinstance(data, Tree):
        return data
    if not isinstance(data, Mapping):
        raise ValueError("a tree of sign-offs is an object")
    if depth > DEPTH_MAX:
        raise ValueError(f"a tree of sign-offs is at most {DEPTH_MAX} levels deep")
    keys = set(data)
    if "agency" in keys:
        return _leaf_from(data, keys)
    if keys == {"all_of"}:
        return AllOf(_parts_from(data["all_of"], "all_of", depth))
    if keys == {"at_least", "of"}:
        parts, least = _parts_from(data["of"], "of", depth), data["at_least"]
        if type(least) is not int or not 1 <= least <= len(parts):
            raise ValueError(f"at_least is a number from 1 to {len(parts)}, the parts it chooses of")
        return AtLeast(least, parts)
    raise ValueError("a tree of sign-offs is a leaf with `agency`, or has `all_of`, or `at_least` and `of`")


def _parts_from(data: Any, key: str, depth: int) -> tuple[Tree, ...]:
    if not isinstance(data, (list, tuple)) or not data:
        raise ValueError(f"{key} is a list of at least one part")
    parts = tuple(tree_from(part, depth + 1) for part in data)
    if sum(1 for part in parts for _ in leaves(part)) > LEAVES_MAX:
        raise ValueError(f"a tree of sign-offs has at most {LEAVES_MAX} leaves")
    return parts


def _leaf_from(data: Mapping[str, Any], keys: set[str]) -> Leaf:
    unknown = keys - {f.name for f in fields(Leaf)}
    if unknown:
        raise ValueError(f"a leaf has no field {', '.join(sorted(unknown))}")
    leaf = Leaf(**data)
    if not isinstance(leaf.agency, str):
        raise ValueError("agency is the id of an organization")
    if type(leaf.quorum) is not int or not 1 <= leaf.quorum <= 100:
        raise ValueError("quorum is a number from 1 to 100")
    if type(leaf.countersign) is not bool:
        raise ValueError("countersign is true or false")
    if leaf.due_days is not None and (type(leaf.due_days) is not int or not 1 <= leaf.due_days <= 3660):
        raise ValueError("due_days is a number from 1 to 3660")
    if leaf.days not in (None, "calendar", "business"):
        raise ValueError("days is calendar or business")
    if leaf.silence not in SILENCES:
        raise ValueError("silence is block, escalate or no_objection")
    return leaf


def leaves(tree: Tree) -> Iterator[Leaf]:
    match tree:
        case Leaf():
            yield tree
        case AllOf(parts) | AtLeast(_, parts):
            for part in parts:
                yield from leaves(part)


def silence_of(agency: str, tree: Tree) -> str:
    """What the agency's silence means: where it has several leaves, the strictest of their answers."""
    answers = {leaf.silence for leaf in leaves(tree) if leaf.agency == agency}
    return next(answer for answer in SILENCES if answer in answers)


def agencies(tree: Tree | None) -> tuple[str, ...]:
    """The agencies of a tree, each once, in the tree's order."""
    return tuple(dict.fromkeys(leaf.agency for leaf in leaves(tree))) if tree else ()


@dataclass(frozen=True, slots=True)
class ProposedCondition:
    """A proviso as an agency words it in its sign-off."""

    text: Text
    kind: Literal["precondition", "ongoing"] = "ongoing"
    due_days: SomeDays | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class Signature:
    """One officer's current position for an agency, and who countersigned it."""

    agency: str
    person: str
    position: Position
    conditions: tuple[ProposedCondition, ...] = ()
    reason: OptionalText = ""
    countersigned: str | None = None
    via: tuple[str, ...] = ()

    @property
    def people(self) -> frozenset[str]:
        """Whose power stands behind it."""
        return frozenset((self.person, *self.via))

    @property
    def stance(self) -> tuple[Any, ...]:
        """What is said, whoever countersigned it."""
        return self.position, self.conditions, self.reason, self.via


class Verdict(Enum):
    APPROVES = "approves"
    REFUSES = "refuses"
    WAITS = "waits"


APPROVES, REFUSES, WAITS = Verdict


@unguarded
@dataclass(frozen=True, slots=True)
class Sheet:
    """What stands: each officer's latest position, silence deemed no objection, agencies overruled or still asking."""

    signatures: tuple[Signature, ...] = ()
    deemed: frozenset[str] = frozenset()
    overruled: frozenset[str] = frozenset()
    asking: frozenset[str] = field(default=frozenset())

    def of(self, agency: str) -> tuple[Signature, ...]:
        return tuple([s for s in self.signatures if s.agency == agency])

    def sign(self, signature: Signature) -> "Sheet":
        """The later position of an officer stands."""
        others = [s for s in self.signatures if s.person != signature.person or s.agency != signature.agency]
        return replace(self, signatures=(*others, signature))

    def countersign(self, agency: str, people: tuple[str, ...], countersigner: str) -> "Sheet":
        return replace(
            self,
            signatures=tuple(
                replace(s, countersigned=countersigner) if s.agency == agency and s.person in people else s
                for s in self.signatures
            ),
        )

    def strike(self, agency: str, people: tuple[str, ...]) -> "Sheet":
        """A refused countersignature sends the positions back: they no longer stand."""
        return replace(
            self, signatures=tuple(s for s in self.signatures if s.agency != agency or s.person not in people)
        )

    def awaiting_countersignature(self, agency: str) -> tuple[Signature, ...]:
        return tuple(s for s in self.of(agency) if s.countersigned is None)


BLANK = Sheet()


def leaf_verdict(leaf: Leaf, sheet: Sheet) -> Verdict:
    """A leaf approves when its quorum stands, countersigned where asked, none refusing and nothing asked."""
    if leaf.agency in sheet.overruled:
        return APPROVES
    settled, refusing = 0, False
    for s in sheet.signatures:
        if s.agency != leaf.agency:
            continue
        confirmed = not leaf.countersign or bool(s.countersigned)
        if s.position == "refuse" and confirmed:
            return REFUSES
        refusing = refusing or s.position == "refuse"
        settled += confirmed
    if refusing or leaf.agency in sheet.asking:
        return WAITS
    return APPROVES if settled >= leaf.quorum or leaf.agency in sheet.deemed else WAITS


def verdict(tree: Tree, sheet: Sheet) -> Verdict:
    """What the whole tree says: it refuses when the refusals that stand make it unsatisfiable."""
    if isinstance(tree, Leaf):
        return leaf_verdict(tree, sheet)
    least, parts = _branches(tree)
    return _together(least, [verdict(part, sheet) for part in parts])


def _branches(tree: Tree) -> tuple[int, tuple[Tree, ...]]:
    """How many parts a tree that is no leaf needs, and of which."""
    if isinstance(tree, AllOf):
        return len(tree.all_of), tree.all_of
    assert isinstance(tree, AtLeast), "a tree is a leaf, all of its parts, or at least so many of them"
    return tree.at_least, tree.of


def _together(least: int, verdicts: list[Verdict]) -> Verdict:
    if verdicts.count(APPROVES) >= least:
        return APPROVES
    return REFUSES if len(verdicts) - verdicts.count(REFUSES) < least else WAITS


def waiting(tree: Tree, sheet: Sheet) -> list[Leaf]:
    """The leaves whose sign-off would still help: none under a part that is settled already."""
    found: list[Leaf] = []
    _collect(tree, sheet, found)
    return found


def _collect(tree: Tree, sheet: Sheet, found: list[Leaf]) -> Verdict:
    """What a part says; the leaves it waits for come into the list."""
    if isinstance(tree, Leaf):
        said = leaf_verdict(tree, sheet)
        if said is WAITS:
            found.append(tree)
        return said
    before = len(found)
    least, parts = _branches(tree)
    said = _together(least, [_collect(part, sheet, found) for part in parts])
    if said is not WAITS:
        del found[before:]
    return said


def lacking(leaf: Leaf, sheet: Sheet) -> str:
    """What a waiting leaf lacks: `information`, `countersignature` or `sign_off`."""
    if leaf.agency in sheet.asking:
        return "information"
    signed = sheet.of(leaf.agency)
    if leaf.countersign and any(s.countersigned is None for s in signed) and len(signed) >= leaf.quorum:
        return "countersignature"
    return "sign_off"


# Separation of duties, the same for requests and for phases (I4)


def signs_for_one_agency(sheet: Sheet, agency: str, by: By) -> None:
    """Nobody counts twice in a tree: not for two agencies, nor by delegation."""
    for s in sheet.signatures:
        if s.agency != agency and not by.people.isdisjoint((*s.people, s.countersigned)):
            raise SeparationOfDuties(f"{by.person} has signed for {s.agency} (I4).", "another officer")


def takes_position(sheet: Sheet, signature: Signature) -> None:
    """A position that does not stand already, by a power that does not count already."""
    for s in sheet.of(signature.agency):
        if s.person != signature.person:
            if not s.people.isdisjoint(signature.people):
                raise SeparationOfDuties("A power that was delegated counts once (I4).", "another officer")
        elif s.stance == signature.stance:
            raise AlreadySigned(f"{s.person} has taken this position already.", "another position, or another officer")


def countersignable(sheet: Sheet, agency: str, by: By) -> tuple[str, ...]:
    """The people whose positions wait for this countersigner: nobody countersigns their own, nor by delegation."""
    signs_for_one_agency(sheet, agency, by)
    waits = sheet.awaiting_countersignature(agency)
    if not waits:
        raise NothingToCountersign(f"No position of {agency} awaits a countersignature.", "a sign-off")
    people = tuple(s.person for s in waits if by.people.isdisjoint(s.people))
    if not people:
        raise SeparationOfDuties("Nobody countersigns their own sign-off (I4).", "another countersigner")
    return people
