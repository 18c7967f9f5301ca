"""How does one stream look to officers, and how to applicants?

It is folded twice: from all that officers see of its facts, and from all that applicants see.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from domain.facts import Fact, seen
from domain.fields import Label
from domain.rulebook import evolve_of
from domain.world import EMPTY, Stream, fold

View = Literal["full", "applicant"]


@dataclass(frozen=True, slots=True)
class Views:
    """One stream as officers see it and as applicants see it."""

    full: Stream = EMPTY
    applicant: Stream = EMPTY


def folded(views: Views, fact: Fact) -> Views:
    """Both views after one more fact; one that shows nothing of it stays the very same."""
    evolve = evolve_of(fact.stream)
    full, applicant = seen(fact, Label.INTERAGENCY), seen(fact, Label.APPLICANT)
    return Views(
        fold(views.full, full, evolve) if full else views.full,
        fold(views.applicant, applicant, evolve) if applicant else views.applicant,
    )


def views_of(facts: Iterable[Fact]) -> Views:
    """Both views of one stream, from its facts in order of version."""
    views = Views()
    for fact in facts:
        views = folded(views, fact)
    return views
