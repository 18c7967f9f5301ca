"""What is one round of the kill test: callers at work, a blow at some moment, and everything checked afterwards?"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from projections import PROJECTIONS
from services.log import note
from services.log.folder import SignerFolder
from services.postgres import EmbeddedPostgres
from services.project import Projecting
from services.settings import Settings
from services.witness import WitnessFolder
from tests.crash import checker, load
from tests.crash.checker import Fault, Log, Told, faults, named, read_log
from tests.crash.power import Disk
from tests.crash.processes import (
    PROGRAM,
    NotBack,
    Process,
    Service,
    backends,
    ended_after,
    free_port,
    kill,
    postmaster,
    tokens,
)

BLOWS = ("service", "backend", "postmaster", "everything", "power")
"""What can be struck wherever there are services: `everything` are all processes at once; `power` takes with them what
was not on the disk."""

LOAD_SECONDS = 2.5
STRIKE_SECONDS = (0.3, 2.2)
WRITTEN_BACK_SECONDS = (0.0, 0.5)
"""How long before the power fails the system has written back what it had."""
AWAY_SECONDS_MAX = 0.3
"""A supervisor is that quick."""

REPEATED_MAX = 100
PROVEN_MAX = 50
APART = ("tests.crash.apart",)
WATCH_SECONDS = 0.03
RECOVERY_SECONDS_MAX = 30.0
CALLERS = load.SIGNERS + load.RACERS + load.QUESTIONERS


@dataclass
class Trial:
    """Services on one data folder, round after round on one log; `others` are processes by what they are struck as, and
    `witness` is the folder of the one that is asked to cosign.

    `durability` are settings of Postgres that replace ours, until a process of Assent has to start it again.
    """

    data: Path
    services: Sequence[Service]
    rng: random.Random
    others: Mapping[str, Process] = field(default_factory=dict)
    witness: WitnessFolder | None = None
    durability: Mapping[str, str] = field(default_factory=dict)
    patience_seconds: float = load.GIVE_UP_SECONDS
    told: list[Told] = field(default_factory=list)
    shown: dict[str, None] = field(default_factory=dict)
    blows: Counter[str] = field(default_factory=Counter)
    before: Log | None = None
    proven: int = 0

    @property
    def rounds(self) -> int:
        return self.blows.total()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The processes and their server, and what callers need to be there."""
        processes = [*self.services, *self.others.values()]
        server = EmbeddedPostgres(self.data, self.durability)
        await asyncio.to_thread(server.start)
        try:
            with ended_after(*processes):
                for process in processes:
                    process.start()
                for process in processes:
                    await process.ready()
                self._tokens = tokens(self.data)
                caller = self._caller(doors=1)
                await load.prepare(caller)
                await caller.close()
                yield
        finally:
            await asyncio.to_thread(server.stop)

    async def round(self, blow: str) -> list[Fault]:
        """All the faults that the round left."""
        self.blows[blow] += 1
        found: list[Fault] = []
        try:
            found = await self._round(blow)
        except* NotBack as gone:
            found += named("processes_come_back", words(gone))
        except* AssertionError as surprise:
            found += named("callers_find_what_they_were_told", words(surprise))
        if found:
            with EmbeddedPostgres(self.data) as conninfo:
                found += faults(self._log(conninfo), self.told)
        return list(dict.fromkeys(found))

    async def projections(self) -> list[Fault]:
        """What the projections have come to, at the end of all rounds: an error of theirs would stay."""
        assert self.before is not None, "a round came before"
        with EmbeddedPostgres(self.data) as conninfo:
            try:
                differing = await _differing_projections(conninfo, len(self.before.rows) - 1)
            except NotBack as gone:
                return named("processes_come_back", [str(gone)])
        return named("projections_equal_the_replay", differing)

    async def _round(self, blow: str) -> list[Fault]:
        callers = [*(self._caller() for _ in range(CALLERS)), self._caller(doors=1)]
        watching = asyncio.create_task(self._watch())
        try:
            stage = await load.set_stage(callers[-1], self.rounds, LOAD_SECONDS)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(stage, callers[:CALLERS]))
                group.create_task(self._strike(blow))
            surprises = named("callers_find_what_they_were_told", stage.surprises)
            return surprises or await self._examine(callers[0])
        finally:
            watching.cancel()
            for caller in callers:
                await caller.close()

    def _caller(self, doors: int | None = None) -> load.Caller:
        """At all doors, in an order of its own, or at so many: where one door prepares, others have nothing to miss."""
        ports = [service.port for service in self.services]
        ports = self.rng.sample(ports, doors or len(ports))
        rng = random.Random(self.rng.getrandbits(64))
        return load.Caller(ports, self._tokens, self.told, rng, self.patience_seconds)

    async def _watch(self) -> None:
        """Collect the checkpoints that are shown to whoever asks, at all doors."""
        caller = self._caller()
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(load.ATTEMPT_SECONDS):
                    status, _, note = await caller.once("GET", "root", "/log/checkpoint")
                if status == 200:
                    self.shown[note.decode()] = None
            await caller.to_next_door()
            await asyncio.sleep(WATCH_SECONDS)

    async def _strike(self, blow: str) -> None:
        """Postgres comes back by Assent's own doing; Assent's processes by ours, as a supervisor would do it."""
        await asyncio.sleep(self.rng.uniform(*STRIKE_SECONDS))
        victims: Sequence[Process] = ()
        match blow:
            case "backend":
                kill(self.rng.choice(backends(self.data)))
            case "postmaster":
                kill(postmaster(self.data))
            case "service":
                victims = [self.rng.choice(self.services)]
            case "door":
                kill(self.rng.choice([door for service in self.services for door in service.doors()]))
            case "everything":
                kill(postmaster(self.data))
                victims = [*self.services, *self.others.values()]
            case "power":
                await asyncio.to_thread(Disk(self.data).write_back)
                await asyncio.sleep(self.rng.uniform(*WRITTEN_BACK_SECONDS))
                victims = [*self.services, *self.others.values()]
            case _:
                victims = [self.others[blow]]
        for victim in victims:
            victim.kill()
        if blow == "power":
            await asyncio.to_thread(Disk(self.data).lose_power, self.durability.get("fsync") != "off")
        await self._come_back(victims)

    async def _come_back(self, victims: Sequence[Process]) -> None:
        if victims:
            await asyncio.sleep(self.rng.uniform(0, AWAY_SECONDS_MAX))
        for victim in victims:
            victim.start()
        for victim in victims:
            await victim.ready()

    async def _examine(self, caller: load.Caller) -> list[Fault]:
        accepted = [each for each in self.told if each.accepted]
        last = max(each.last for each in accepted)
        status, answer = await caller.get("root", f"/requests?limit=1&after={last}")
        found = [] if status == 200 else [Fault("reads_catch_up", f"Not with position {last}: {answer}")]
        sample = self.rng.sample(accepted, min(REPEATED_MAX, len(accepted)))
        again = await load.again(caller, sample)
        found += named(
            "a_repeated_key_gives_the_first_answer", checker.a_repeated_key_gives_the_first_answer(sample, again)
        )
        with EmbeddedPostgres(self.data) as conninfo:
            await _signed(conninfo, "checkpoint", last)
            if self.witness is not None:
                await _signed(conninfo, "cosignature", last)
            proofs = [(each, await _proof(caller, each)) for each in sample[:PROVEN_MAX]]
            log = self._log(conninfo)
            found += faults(log, self.told)
            found += named("receipts_are_proven", checker.receipts_are_proven(log, proofs))
            found += named("history_stays", checker.history_stays(self.before, log) if self.before else ())
        self.before, self.proven = log, self.proven + len(proofs)
        return found

    def _log(self, conninfo: str) -> Log:
        """With all checkpoints that were shown, and the one that the signer keeps."""
        folder = SignerFolder(self.data / "signer", Settings().origin)
        signed = folder.signed()
        log = read_log(conninfo, folder.verifier().public)
        log = replace(log, shown=[*self.shown, *([signed.note] if signed else [])])
        if self.witness is None:
            return log
        seen = [(each.size, each.root) for each in self.witness.seen().values()]
        return replace(log, witness=self.witness.key().public_key().public_bytes_raw(), seen=seen)


TARGETS = (*BLOWS, "signer", "witness")


def installation(
    data: Path,
    rng: random.Random,
    program: Sequence[str] = PROGRAM,
    durability: Mapping[str, str] | None = None,
    patience_seconds: float = load.GIVE_UP_SECONDS,
) -> Trial:
    """As in production: two processes serve, by this program; another projects and signs; a witness, from a folder of
    its own, cosigns. Struck are TARGETS.
    """
    services = [Service(data, {"ASSENT_ROLES": "timers"}, program) for _ in range(2)]
    apart, port = data.with_name("witness"), free_port()
    folder, name = WitnessFolder(apart / "witness"), Settings().witness_name
    key = note.verifier_of(name, folder.key(), note.COSIGNATURE)
    signer = Process(data, "project", {"ASSENT_WITNESSES": f"{key} http://127.0.0.1:{port}"})
    log = SignerFolder(data / "signer", Settings().origin).verifier()
    witness = Process(apart, "witness", {"ASSENT_PORT": str(port), "ASSENT_WITNESS_LOGS": str(log)})
    others = {"signer": signer, "witness": witness}
    return Trial(data, services, rng, others, folder, durability or {}, patience_seconds)


def words(group: BaseExceptionGroup[AssertionError]) -> Iterator[str]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from words(each)
        else:
            yield str(each)


async def _proof(caller: load.Caller, told: Told) -> dict[str, object]:
    path = f"/log/proof/{told.answer['receipt']['position']}"
    status, proof = await caller.get("root", path)
    assert status == 200, f"{path} was answered {status}: {proof}"
    return proof


async def _signed(conninfo: str, table: Literal["checkpoint", "cosignature"], position: int) -> None:
    """Wait until one covers the position: signer and witness, too, come back by themselves."""
    newest = sql.SQL("SELECT coalesce(max(size), 0) FROM {}").format(sql.Identifier(table))
    deadline = time.monotonic() + RECOVERY_SECONDS_MAX
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as conn:
        while True:
            found = await (await conn.execute(newest)).fetchone()
            if found is not None and found[0] > position:
                return
            if time.monotonic() > deadline:
                raise NotBack(f"The newest {table} is of size {found}, and does not come to position {position}.")
            await asyncio.sleep(0.05)


async def _differing_projections(conninfo: str, position: int) -> list[str]:
    """Live rows that are not those of a replay, and projections that stay behind the log."""
    found, projecting = [], Projecting(conninfo)
    for table in PROJECTIONS:
        deadline = time.monotonic() + RECOVERY_SECONDS_MAX
        while (verified := await projecting.verify(table)).position < position:
            if time.monotonic() > deadline:
                raise NotBack(f"{table.name} stays at position {verified.position}.")
            await asyncio.sleep(0.05)
        if verified.difference is not None:
            found.append(f"{table.name} is not what a replay yields: {verified.difference}")
    return found


def with_doors(data: Path, rng: random.Random) -> Trial:
    """Two processes serve, each by a door of its own; one of them decides for all."""
    services = [Service(data, {"ASSENT_DOORS": "1"}) for _ in range(2)]
    return Trial(data, services, rng)


def on_machines_of_their_own(data: Path, rng: random.Random) -> Trial:
    """As `installation`, but both of the processes that serve decide."""
    return installation(data, rng, APART)
