"""What is one round of the kill test: callers at work, a blow at some moment, and everything checked afterwards?"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import psycopg

from projections import PROJECTIONS
from services.log.folder import SignerFolder
from services.postgres import EmbeddedPostgres
from services.project import Projecting
from services.settings import Settings
from tests.crash import load
from tests.crash.checker import Log, Told, faults, read_log, repeated_otherwise, rewritten
from tests.crash.processes import Service, backends, postmaster, tokens

Blow = Literal["service", "backend", "postmaster", "everything"]
BLOWS: tuple[Blow, ...] = get_args(Blow)

LOAD_SECONDS = 2.5
STRIKE_SECONDS = (0.3, 2.2)
REPEATED_MAX = 100
RECOVERY_SECONDS_MAX = 30.0
CALLERS = load.SIGNERS + load.RACERS + load.QUESTIONERS


@dataclass
class Trial:
    """Services on one data folder, round after round on one log."""

    data: Path
    services: Sequence[Service]
    rng: random.Random
    told: list[Told] = field(default_factory=list)
    rounds: int = 0
    before: Log | None = None

    async def start(self) -> None:
        for service in self.services:
            service.start()
            await service.listening()
        self._tokens = tokens(self.data)
        caller = self._caller()
        await load.prepare(caller)
        await caller.close()

    async def round(self, blow: Blow) -> list[str]:
        """All the faults that the round left."""
        self.rounds += 1
        callers = [self._caller() for _ in range(CALLERS)]
        stage = await load.set_stage(callers[0], self.rounds, LOAD_SECONDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(stage, callers))
            group.create_task(self._strike(blow))
        found = await self._examine(callers[0])
        for caller in callers:
            await caller.close()
        return found

    def _caller(self) -> load.Caller:
        doors = [service.port for service in self.services]
        self.rng.shuffle(doors)
        return load.Caller(doors, self._tokens, self.told, random.Random(self.rng.getrandbits(64)))

    async def _strike(self, blow: Blow) -> None:
        """Postgres comes back by the service's own doing; the service by ours, as a supervisor would do it."""
        await asyncio.sleep(self.rng.uniform(*STRIKE_SECONDS))
        victims = [self.rng.choice(self.services)] if blow == "service" else self.services
        match blow:
            case "backend":
                kill(self.rng.choice(backends(self.data)))
                return
            case "postmaster":
                kill(postmaster(self.data))
                return
            case "everything":
                kill(postmaster(self.data))
        for service in victims:
            service.kill()
        await asyncio.sleep(self.rng.uniform(0, 0.3))
        for service in victims:
            service.start()
        for service in victims:
            await service.listening()

    async def _examine(self, caller: load.Caller) -> list[str]:
        last = max(each.last for each in self.told if each.status == 201)
        status, answer = await caller.get("root", f"/requests?limit=1&after={last}")
        found = [] if status == 200 else [f"A read did not catch up with position {last}: {answer}"]
        accepted = [each for each in self.told if each.status == 201]
        sample = self.rng.sample(accepted, min(REPEATED_MAX, len(accepted)))
        found += repeated_otherwise(sample, await load.again(caller, sample))
        with EmbeddedPostgres(self.data) as conninfo:
            await _signed(conninfo, last)
            log = read_log(conninfo, SignerFolder(self.data / "signer", Settings().origin).verifier().public)
            found += faults(log, self.told)
            found += rewritten(self.before, log) if self.before else []
            found += await _differing_projections(conninfo, len(log.rows) - 1)
        self.before = log
        return found


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _signed(conninfo: str, position: int) -> None:
    """Wait until a checkpoint covers the position: the signer, too, comes back by itself."""
    deadline = time.monotonic() + RECOVERY_SECONDS_MAX
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as conn:
        while True:
            found = await (await conn.execute("SELECT coalesce(max(size), 0) FROM checkpoint")).fetchone()
            if found is not None and found[0] > position:
                return
            assert time.monotonic() < deadline, f"The signer has come to {found}, and not to position {position}."
            await asyncio.sleep(0.05)


async def _differing_projections(conninfo: str, position: int) -> list[str]:
    """Live rows that are not those of a replay, and projections that stay behind the log."""
    found, projecting = [], Projecting(conninfo)
    for table in PROJECTIONS:
        deadline = time.monotonic() + RECOVERY_SECONDS_MAX
        while (verified := await projecting.verify(table)).position < position:
            assert time.monotonic() < deadline, f"{table.name} stays at position {verified.position}."
            await asyncio.sleep(0.05)
        if verified.difference is not None:
            found.append(f"{table.name} is not what a replay yields: {verified.difference}")
    return found
