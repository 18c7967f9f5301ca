"""Which rows of a table does a reader see, and in which view? Need to know, as conditions of SQL.

Every answer is a list of conditions of which no row fulfils two, so that each can walk an index of its own.
"""

from domain.authority import Reach
from domain.fields import Label
from projections.pages import Clause


def concerned(reach: Reach) -> list[Clause]:
    """Rows of requests or grants: in full to those whom they concern, as an applicant to the customer's own people."""
    full = Clause("view = 'full' AND concerned && %s::text[]", (sorted(reach.full),))
    one = len(reach.own) == 1  # of one customer an index gives the rows in order; of several it cannot
    own = Clause(
        f"view = 'applicant' AND customer = {'%s' if one else 'ANY (%s::text[])'} AND NOT concerned && %s::text[]",
        (*reach.own, sorted(reach.full)) if one else (sorted(reach.own), sorted(reach.full)),
    )
    if reach.clearance is not None:
        return [Clause("view = 'full'")]
    return [*([full] if reach.full else []), *([own] if reach.own else [])]


def unless_recused(reach: Reach, sight: Clause, request: str) -> Clause:
    """I5: a recused person does not read the request, nor its past from before. `request` is the column that names it.

    Nobody is ever un-recused, so one row that names them is enough.
    """
    named = f"SELECT {request} FROM {{}} WHERE recused @> ARRAY[%s::text]"  # noqa: S608 - a column of ours
    either = f"{named.format('{current}')} UNION ALL {named.format('{past}')}"
    return Clause(f"{sight.text} AND {request} <> ALL (ARRAY({either}))", (*sight.values, reach.person, reach.person))


def general(reach: Reach) -> list[Clause]:
    """Rows of what is no customer's business: in full to officers, in the public's words to everybody else."""
    return [Clause("view = 'full'" if reach.general >= Label.INTERAGENCY else "view = 'applicant'")]
