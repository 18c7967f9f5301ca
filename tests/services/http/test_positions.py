"""What is said to who asks for a position that this process does not know?"""

import pytest
from psycopg_pool import AsyncConnectionPool

from services.http.positions import AHEAD_MAX, Positions
from services.http.problems import NotCaughtUp, NotThereYet
from services.replica import Replica
from tests.projections.shelf import append
from tests.spec import cast


async def test_a_process_that_is_behind_is_told_from_a_log_that_ends_before(database: str) -> None:
    facts = cast().facts
    append(database, facts)
    async with AsyncConnectionPool(database, open=False) as pool:
        behind = Positions(Replica(), pool)
        with pytest.raises(NotCaughtUp) as late:
            await behind.reach(len(facts) - 1, 0.01)
        with pytest.raises(NotThereYet) as early:
            await behind.reach(len(facts), 0.01)
        with pytest.raises(NotThereYet):
            await behind.reach(len(facts) + AHEAD_MAX, 3600)
    assert (late.value.status, early.value.status) == (503, 425)


async def test_what_is_known_is_not_looked_up(database: str) -> None:
    facts = cast().facts
    replica = Replica()
    replica.take(facts)
    await Positions(replica, AsyncConnectionPool(database, open=False)).reach(len(facts) - 1, 0)
