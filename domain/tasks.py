"""What does an agency still have to do on a tree of sign-offs, by which command, and whom do the rules keep from it?"""

from collections.abc import Iterable
from dataclasses import dataclass

from domain.authority import OFFICERS
from domain.organization import SENIORS, Role
from domain.release import Release
from domain.request import AccessRequest
from domain.sign_offs import Leaf, Sheet, Signature, lacking
from domain.values import unguarded


@unguarded
@dataclass(frozen=True, slots=True)
class Task:
    """What a leaf that waits lacks. `act` is the command that gives it; None: it waits for the applicant's answer.

    `barred`: whom the stream itself keeps from it (I4, I5). `signers`: whose power stands behind each position that
    waits for a countersignature, which needs one that they have no part in. `customer`: whose people may not do it
    either, whoever they are at that time.
    """

    lacks: str
    act: str | None
    barred: frozenset[str] = frozenset()
    signers: tuple[frozenset[str], ...] = ()
    customer: str | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        return roles_for(self.act) if self.act else ()

    def is_open_to(self, people: frozenset[str]) -> bool:
        """Whether nothing in the stream keeps somebody from it who acts with the power of all these people."""
        return (
            self.act is not None
            and self.barred.isdisjoint(people)
            and (not self.signers or any(each.isdisjoint(people) for each in self.signers))
        )


def roles_for(act: str) -> tuple[Role, ...]:
    """The roles of an agency in which one gives such a command."""
    return SENIORS if act.startswith("Countersign") else OFFICERS


def of_request(leaf: Leaf, here: AccessRequest) -> Task:
    """What a leaf of the request's tree lacks, which waits."""
    lacks = lacking(leaf, here.sheet)
    if lacks == "information":
        act = None if unanswered(leaf.agency, here) else "AcceptInformation"
        return Task(lacks, act, here.recused)
    barred = here.recused | {here.applicant} | _elsewhere(leaf, here.sheet)
    if lacks == "countersignature":
        return Task(lacks, "Countersign", barred, _awaiting(leaf, here.sheet), here.customer)
    return Task(lacks, "SignOff", barred | _people(here.sheet.of(leaf.agency)), (), here.customer)


def of_phase(leaf: Leaf, here: Release) -> Task:
    """What a leaf of the next phase's gate lacks, which waits."""
    lacks = lacking(leaf, here.sheet)
    barred = _elsewhere(leaf, here.sheet)
    if lacks == "countersignature":
        return Task(lacks, "CountersignPhase", barred, _awaiting(leaf, here.sheet))
    return Task(lacks, "SignOffPhase", barred | _people(here.sheet.of(leaf.agency)))


def unanswered(agency: str, here: AccessRequest) -> list[int]:
    """The agency's questions that wait for the applicant, by number."""
    return [q.number for q in here.questions if q.agency == agency and not q.answered and not q.accepted]


def _elsewhere(leaf: Leaf, sheet: Sheet) -> frozenset[str]:
    """Whoever had a part in what another agency of the tree signed: nobody counts twice."""
    others = [s for s in sheet.signatures if s.agency != leaf.agency]
    return _people(others) | {s.countersigned for s in others if s.countersigned}


def _people(signatures: Iterable[Signature]) -> frozenset[str]:
    return frozenset(person for s in signatures for person in s.people)


def _awaiting(leaf: Leaf, sheet: Sheet) -> tuple[frozenset[str], ...]:
    return tuple(s.people for s in sheet.awaiting_countersignature(leaf.agency))
