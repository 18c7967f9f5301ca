"""Which projections are there? Each file answers one question, from rows that can be thrown away and made again."""

from projections import (
    activity,
    conditions,
    deadlines,
    directives,
    grants,
    grounds,
    keys,
    legal_holds,
    organizations,
    pending_sign_offs,
    policies,
    releases,
    requests,
    subjects,
    turnaround,
)
from projections.tables import Table

PROJECTIONS: tuple[Table, ...] = (
    organizations.TABLE,
    policies.TABLE,
    releases.TABLE,
    requests.TABLE,
    grants.TABLE,
    grounds.TABLE,
    conditions.TABLE,
    directives.TABLE,
    pending_sign_offs.TABLE,
    deadlines.TABLE,
    keys.TABLE,
    legal_holds.TABLE,
    subjects.TABLE,
    activity.TABLE,
    turnaround.TABLE,
)
