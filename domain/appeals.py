"""Appeals: what is filed against a denial or a revocation, and what may come of it?

They are numbered parts of a request's or a grant's stream. An appeal opens a new cycle; it never edits what was
decided (I1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from domain.errors import AppealIsDecided, AppealIsOpen, NotFound, SeparationOfDuties, TooLateToAppeal
from domain.facts import By, Fact
from domain.fields import Applicant, Interagency, SealedText
from domain.values import replace, unguarded

Outcome = Literal["uphold", "reverse", "remand"]


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class AppealFiled:
    """The applicant asks somebody uninvolved to look at a denial or a revocation again."""

    number: Applicant[int]
    grounds: Applicant[SealedText]


@dataclass(frozen=True, slots=True)
class AppealDecided:
    """Somebody uninvolved decided; a reversal names the agencies that it overrules."""

    number: Applicant[int]
    outcome: Applicant[Outcome]
    reason: Applicant[str]
    overrules: Interagency[tuple[str, ...]] = ()


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Appeal:
    """One appeal; `outcome` is None until it is decided."""

    number: int
    grounds: str
    filed: datetime
    outcome: Outcome | None = None
    decided: datetime | None = None
    reason: str = ""


Appeals = tuple[Appeal, ...]


def file(appeals: Appeals, grounds: str, due: datetime | None, now: datetime) -> AppealFiled:
    """The next appeal; one at a time, in time, and none once the decision was upheld."""
    last = appeals[-1] if appeals else None
    if last is not None and last.outcome is None:
        raise AppealIsOpen(f"Appeal {last.number} is open.", "its decision")
    if last is not None and last.outcome == "uphold":
        raise AppealIsDecided(f"Appeal {last.number} upheld the decision, and that is final.", "another decision")
    if due is not None and now > due:
        raise TooLateToAppeal(f"An appeal was due by {due.isoformat()}.", "an appeal in time")
    return AppealFiled(len(appeals) + 1, grounds)


def decidable(appeals: Appeals, number: int, by: By, involved: Iterable[str]) -> Appeal:
    """The open appeal of that number. I4: nobody decides an appeal against their own act."""
    found = next((appeal for appeal in appeals if appeal.number == number), None)
    if found is None:
        raise NotFound
    if found.outcome is not None:
        raise AppealIsDecided(f"Appeal {number} is decided.", "an open appeal")
    if not by.people.isdisjoint(involved):
        raise SeparationOfDuties(f"{by.person} took part in what is appealed against (I4).", "somebody uninvolved")
    return found


def evolve(appeals: Appeals, fact: Fact) -> Appeals:
    """The appeals after one more of their facts."""
    match fact.event:
        case AppealFiled(number, grounds):
            return (*appeals, Appeal(number, grounds, fact.occurred))
        case AppealDecided(number, outcome, reason):
            return tuple(
                replace(appeal, outcome=outcome, decided=fact.occurred, reason=reason)
                if appeal.number == number
                else appeal
                for appeal in appeals
            )
        case _:
            return appeals
