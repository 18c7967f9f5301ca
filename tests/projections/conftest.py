"""How does each test of the projections get a database in which they can be made?"""

from collections.abc import AsyncIterator

import pytest

from tests.projections.shelf import Connection, connected


@pytest.fixture
def log(database: str) -> str:
    """The conninfo of a fresh database with an empty log and no projection yet."""
    return database


@pytest.fixture
async def conn(log: str) -> AsyncIterator[Connection]:
    """A connection to the database of `log`."""
    async with await connected(log) as opened:
        yield opened
