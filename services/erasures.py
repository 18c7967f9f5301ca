"""Who destroys the key of a person whom the log says is erased?

Every process that hears of it, and whoever is first does it. What the log held when the process started counts as well,
so an erasure whose process died is carried out by the next one.
"""

import asyncio
import logging

import psycopg

from domain.facts import Fact
from domain.subject import KIND, SubjectErased
from services.vault import Vault

RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Erasures:
    """What was heard and not yet carried out, in order of position."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._heard: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    def hear(self, fact: Fact) -> None:
        """Listen to what the log tells."""
        if type(fact.event) is SubjectErased:
            self._heard.put_nowait((fact.position, fact.stream.removeprefix(f"{KIND}-")))

    async def run(self) -> None:
        """Carry them out, for ever; while the database is away, try again."""
        while True:
            position, person = await self._heard.get()
            while True:
                try:
                    await self._vault.erase(person, position)
                    break
                except psycopg.Error as error:
                    _log.warning("The erasure at position %s waits for the database: %s", position, error)
                    await asyncio.sleep(RETRY_SECONDS)
