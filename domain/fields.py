"""What may a field of a command or an event hold, and who may read it?

The dataclass is the only schema: a field's type carries its bounds, its need-to-know label and whether it is sealed.
Readers and descriptions (msgspec, OpenAPI) are derived from these marks; nothing states them twice.
"""

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Label(IntEnum):
    """Who needs to know a field; a reader cleared for one label reads every lower one as well.

    AGENCY is for the acting agency's own officers (and auditors), AUDITOR for auditors alone.
    """

    PUBLIC = 0
    APPLICANT = 1
    INTERAGENCY = 2
    AGENCY = 3
    AUDITOR = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """The length of a text or list (characters, elements) or the size of a number, both ends included."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that the whole of a text matches."""

    regex: str


@dataclass(frozen=True, slots=True)
class SealMark:
    """Free text of an applicant: stored as ciphertext under a key per person. No rule decides on it."""


SEALED = SealMark()


@dataclass(frozen=True, slots=True)
class MintMark:
    """Made by the service when it takes the command; no caller gives it."""


MINTED = MintMark()

Public = Annotated[T, Label.PUBLIC]
Applicant = Annotated[T, Label.APPLICANT]
Interagency = Annotated[T, Label.INTERAGENCY]
AgencyOnly = Annotated[T, Label.AGENCY]
AuditorOnly = Annotated[T, Label.AUDITOR]

Slug = Annotated[str, Pattern(r"[a-z0-9][a-z0-9.-]{0,62}")]
Identifier = Annotated[str, Pattern(r"[a-z0-9][a-z0-9.-]{0,62}")]
Person = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")]
Name = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")]
Text = Annotated[str, Bounds(1, 10_000)]
OptionalText = Annotated[str, Bounds(0, 10_000)]
SealedText = Annotated[str, Bounds(1, 20_000), SEALED]
OptionalSealedText = Annotated[str, Bounds(0, 20_000), SEALED]
Minted = Annotated[str, Bounds(0, 64), MINTED]
Country = Annotated[str, Pattern(r"[A-Z]{2}")]
Days = Annotated[int, Bounds(0, 3660)]
SomeDays = Annotated[int, Bounds(1, 3660)]
Count = Annotated[int, Bounds(1, 1_000_000)]

Position = Literal["approve", "approve_with_conditions", "refuse"]
Answer = Literal["approve", "refuse"]
DayKind = Literal["calendar", "business"]


def marks(hint: Any, kind: type[T]) -> T | None:
    """The last mark of that kind on an annotated type; a mark stands on the outermost Annotated only."""
    found: T | None = None
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, kind):
            found = mark
    return found


@cache
def hints(schema: type) -> dict[str, Any]:
    """The annotated type of each field of a dataclass."""
    found = get_type_hints(schema, include_extras=True)
    return {f.name: found[f.name] for f in fields(schema)}


@cache
def labels(schema: type) -> dict[str, Label]:
    """The need-to-know label of each field of an event; unmarked means interagency."""
    return {name: _label(hint) for name, hint in hints(schema).items()}


def _label(hint: Any) -> Label:
    label = marks(hint, Label)
    return Label.INTERAGENCY if label is None else label


@cache
def sealed_fields(schema: type) -> tuple[str, ...]:
    """The names of the fields that hold sealed text, also inside an optional: `Annotated[str, SEALED] | None`."""
    return tuple(name for name, hint in hints(schema).items() if _is_sealed(hint))


def _is_sealed(hint: Any) -> bool:
    if marks(hint, SealMark) is not None:
        return True
    return get_origin(hint) is not None and any(
        _is_sealed(part) for part in get_args(hint) if not isinstance(part, str)
    )


@cache
def is_visible(schema: type, clearance: Label) -> bool:
    """Whether a reader of that clearance may know that such an event happened: at least one field is theirs to read."""
    found = labels(schema)
    return not found or any(label <= clearance for label in found.values())


@cache
def _hidden(schema: type, clearance: Label) -> tuple[str, ...]:
    found = labels(schema)
    return tuple(f.name for f in fields(schema) if found[f.name] > clearance)


def who(schema: type) -> Label:
    """The label of the organization that acted: a class names it as WHO where it is part of the deliberations."""
    label: Label = getattr(schema, "WHO", Label.APPLICANT)
    return label


def redact(event: Any, clearance: Label) -> Any:
    """The event with every field above the clearance replaced by None; the event itself where nothing is hidden."""
    schema: type = type(event)
    hidden = _hidden(schema, clearance)
    return replace(event, **dict.fromkeys(hidden)) if hidden else event
