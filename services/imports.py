"""How do acts of the past come into the log in bulk: in their order, each once, up to the first that is wrong?

An import tells a story (the lines of a scenario) straight to the handler: the people of the past act as themselves,
with the authority they had then, and the importer stands in `via`. Lines go in rows: each is decided upon those before
it, a row is one append, and from the first refused line on nothing of it is written. See docs/importing.md.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypedDict

import httpx
import msgspec
from psycopg_pool import AsyncConnectionPool
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from domain import grant, request
from domain.calendar import FEDERAL, Calendar
from domain.errors import NotAuthorised, Refused
from domain.facts import IMPORTER, Fact
from domain.organization import ASSENT
from domain.rulebook import due_timer
from domain.world import own_stream
from services.assent import bootstrap, clock_of
from services.clock import Clock
from services.closures import missing_closures
from services.handle import Handler, KeyReused, NotReached, Order, folded
from services.http.app import build_app
from services.http.bodies import instant, unfit
from services.http.commands import PREFIX, ROUTES, Directory, encoded
from services.http.identity import DevelopmentIssuer
from services.ids import seeded_id
from services.log import reader
from services.log.folder import SignerFolder
from services.log.reader import Pool
from services.log.signer import check_at_start
from services.log.writer import QueueFull, Settled, StorageUnavailable
from services.master_keys import MasterKeys
from services.play import KINDS, BadScenario, Player, Step, StepFailed
from services.project import Projecting
from services.replica import Replica
from services.roles import Logins
from services.settings import Settings
from services.timers import Timers
from services.trail import Trail, signer_folder
from services.vault import Vault

ROW_LINES = 500
"""Lines that are decided and appended together: more are hardly faster, and keep other writers waiting."""

BREATH_LINES = 20
"""Lines that are read before the row under way gets its turn."""

STATES_MAX = 2_000
"""Streams in memory: an import comes back to few of them, and its memory must not grow with its file."""

TIMED_STREAMS = 100
"""Streams that time passes for in one append."""

_DIRECTORY = Directory(route for route in ROUTES if not route.mints)

_Line = TypedDict(
    "_Line",
    {
        "at": Annotated[datetime, msgspec.Meta(tz=True)],
        "as": str,
        "post": str,
        "get": str,
        "evaluate": dict[str, Any],
        "tick": bool,
        "note": Any,
        "body": dict[str, Any],
        "save": dict[str, str],
        "expect": int,
        "match": dict[str, Any],
    },
    total=False,
)
_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


class Stopped(Exception):
    """A line is wrong, so the import ends there: what comes before it is in the log, what comes after it is not."""

    def __init__(self, number: int, problem: str, rule: str = "scenario", missing: Sequence[str] = ()) -> None:
        super().__init__(problem if problem.startswith("Line ") else f"Line {number}: {problem}")
        self.number = number
        self.rule = rule
        self.missing = tuple(missing)


def _stopped(number: int, refusal: BaseException) -> Stopped:
    match refusal:
        case KeyReused():
            return Stopped(number, "It is not the line that was imported under this number; see --name.", refusal.rule)
        case Refused():
            return Stopped(number, f"{refusal.title}. {refusal.detail}", refusal.rule, refusal.missing)
        case StepFailed() | BadScenario():
            return Stopped(number, str(refusal))
        case _:
            raise refusal


@dataclass
class Tally:
    """What an import came to. `known`: in the log before; `unchecked`: expectations of a log that has gone on since."""

    lines: int = 0
    commands: int = 0
    events: int = 0
    known: int = 0
    unchecked: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """A command and the line that tells of it."""

    number: int
    order: Order


@dataclass
class Importer(Player):
    """Plays a story into the log as it is. What a Player asks of the service, this one tells the handler."""

    handler: Handler = field(kw_only=True)
    pool: Pool = field(kw_only=True)
    person: str = field(kw_only=True)
    name: str = field(kw_only=True)
    line_bytes_max: int = field(kw_only=True)
    tally: Tally = field(default_factory=Tally)
    at: datetime | None = None
    resuming: bool = True
    """Whether all lines so far were in the log before, which then may know of later ones as well."""

    _row: list[Told] = field(default_factory=list, init=False)
    _under_way: "asyncio.Task[None] | None" = field(default=None, init=False)
    _years: set[int] = field(default_factory=set, init=False)

    @property
    def _via(self) -> tuple[str, ...]:
        return (IMPORTER + self.person,)

    async def take(self, file: BinaryIO, report: Callable[[int, Tally], None] = lambda read_bytes, tally: None) -> None:
        """Take in every line. Raises Stopped; StorageUnavailable: told again, the import goes on where it stopped."""
        wrong: Stopped | None = None
        read_bytes = 0
        for number, line in enumerate(_lines(file, self.line_bytes_max), 1):
            read_bytes += len(line)
            if number % BREATH_LINES == 0:
                await asyncio.sleep(0)
                report(read_bytes, self.tally)
            try:
                await self._take_line(number, line)
            except Stopped as found:
                wrong = found
                break
            self.tally.lines = number
        await self._settle()
        report(read_bytes, self.tally)
        if wrong is not None:
            raise wrong

    async def _take_line(self, number: int, line: bytes) -> None:
        if len(line) > self.line_bytes_max:
            raise Stopped(number, f"A line has at most {self.line_bytes_max:,} bytes.")
        if not line.strip():
            return
        try:
            await self._step(number, _step_of(number, line))
        except (StorageUnavailable, QueueFull):
            raise
        except (Refused, StepFailed, BadScenario) as wrong:
            raise _stopped(number, wrong) from wrong

    async def _step(self, number: int, step: Step) -> None:
        if "at" in step:
            await self._go_on(instant(step["at"]))
        if "tick" in step:
            await self._settle()
            await self._let_time_do(self._now(number))
        elif "get" in step:
            await self._read(number, step)
        elif "evaluate" in step:
            self.tally.unchecked += 1  # a gateway is told what is true now, not then
        else:
            await super()._step(number, {name: value for name, value in step.items() if name != "at"})

    def _now(self, number: int) -> datetime:
        if self.at is None:
            raise Stopped(number, "Neither it nor a line before it says when, by `at`.")
        return self.at

    async def _go_on(self, at: datetime) -> None:
        """The days on which federal offices were closed are recorded before anything is due in those years."""
        self.at = at
        if at.year in self._years:
            return
        self._years.add(at.year)
        state = await self.handler.state(f"calendar-{FEDERAL}")
        command = missing_closures(state.closures if isinstance(state, Calendar) else frozenset(), at.date())
        if command is not None:
            with suppress(Refused):  # another process recorded them meanwhile
                await self.handler.instruct(command, at)

    async def _read(self, number: int, step: Step) -> None:
        """A read is compared where the log is as the story has it by now: not while earlier lines are only repeated."""
        await self._settle()
        if self.resuming:
            self.tally.unchecked += 1
            step = {name: value for name, value in step.items() if name not in ("match", "expect")}
            if "save" not in step:
                return
        self.position = self.handler.writer.end.size - 1
        await super()._step(number, {name: value for name, value in step.items() if name != "at"})

    async def _post(self, number: int, step: Step) -> Any:
        if step.get("expect", 201) != 201:
            return await self._must_be_refused(number, step)
        order = self._order(number, step)
        self._row.append(Told(number, order))
        if "match" in step or any(path != "id" for path in step.get("save", {}).values()):
            await self._settle()
            return msgspec.json.decode(encoded(await self.handler.handle(order)))  # repeated: the first answer again
        if len(self._row) >= ROW_LINES:
            await self._send()
        return {"id": _id_of(order)}

    def _order(self, number: int, step: Step) -> Order:
        """Raises Refused, BadScenario, Stopped."""
        at, person, path = self._now(number), step["as"], self._named(step["post"], number)
        found = _DIRECTORY.find(PREFIX + path)
        if found is None:
            raise Stopped(number, f"There is no command at {path}.")
        route, texts = found
        body = _encode(self._filled(step.get("body", {}), number))
        command = route.body.read(route.values(texts), body)
        key = _digest("import", self.person, self.name, str(number))
        fingerprint = _digest(at.isoformat(), person, path, body.decode())
        return Order(command, person, occurred=at, key=key, fingerprint=fingerprint, via=self._via, seed=key)

    async def _must_be_refused(self, number: int, step: Step) -> Any:
        """Nothing of it is ever written: it is a dry run."""
        await self._settle()
        if self.resuming:
            self.tally.unchecked += 1
            return {}
        try:
            order = replace(self._order(number, step), key=None, fingerprint=None, seed=None, dry_run=True)
            await self.handler.handle(order)
        except (StorageUnavailable, QueueFull):
            raise
        except Refused as refusal:
            if refusal.status == step["expect"]:
                return {"status": refusal.status, "rule": refusal.rule, "missing": list(refusal.missing)}
            raise
        raise StepFailed(number, f"POST {step['post']} as {step['as']}", step["expect"], 201)

    # Rows: while one is appended, the next is read

    async def _send(self) -> None:
        """Have the row decided once the one before it is in the log. Raises Stopped for that one."""
        await self._arrive()
        row, self._row = self._row, []
        if row:
            self._under_way = asyncio.create_task(self._tell(row))

    async def _settle(self) -> None:
        """Have every line so far in the log. Raises Stopped."""
        await self._send()
        await self._arrive()

    async def _arrive(self) -> None:
        if self._under_way is None:
            return
        task, self._under_way = self._under_way, None
        try:
            await task
        except Stopped:
            self._row = []
            raise

    async def _tell(self, row: list[Told]) -> None:
        """Raises Stopped, StorageUnavailable, QueueFull."""
        must_be_records_officer(self.handler, self.person)
        if self.resuming:
            row = await self._unknown(row)
        while row:
            outcomes = await self.handler.handle_in_a_row([told.order for told in row])
            taken = 0
            for told, outcome in zip(row, outcomes, strict=True):
                if isinstance(outcome, NotReached) and taken:
                    break
                self._count(told, outcome)
                taken += 1
            row = row[taken:]

    def _count(self, told: Told, outcome: Settled | BaseException) -> None:
        if isinstance(outcome, StorageUnavailable | QueueFull):
            raise outcome
        if isinstance(outcome, BaseException):
            raise _stopped(told.number, outcome) from outcome
        if not outcome.repeated:
            self.tally.commands += 1
            self.tally.events += len(outcome.facts)
        elif outcome.fingerprint == told.order.fingerprint:
            self.tally.known += 1
        else:
            raise _stopped(told.number, KeyReused(""))

    async def _unknown(self, row: Sequence[Told]) -> list[Told]:
        """The lines of the row that the log does not know: those it knows come first, as they were written in order."""
        query = "SELECT command_key, fingerprint FROM event WHERE command_key = ANY (%s)"
        async with self.pool.connection() as conn:
            found = dict(await reader.rows(conn, query, [told.order.key for told in row]))
        for told in row[: len(found)]:
            if found.get(told.order.key) != told.order.fingerprint:
                raise _stopped(told.number, KeyReused(""))
        self.tally.known += len(found)
        self.resuming = len(found) == len(row)
        return list(row[len(found) :])

    # Time

    async def _let_time_do(self, until: datetime) -> None:
        """What is due by then to what was imported; timers leave that alone."""
        waiting = await self._due(until)
        while waiting:
            now, later = waiting[:TIMED_STREAMS], waiting[TIMED_STREAMS:]
            names = [name for _, name in now]
            self.tally.events += await self.handler.pass_time(names, later[0][0] if later else until, self._via)
            waiting = sorted([*later, *await self._due_of(names, until)])

    async def _due(self, until: datetime) -> list[tuple[datetime, str]]:
        """What is due by then, in due order, from the log itself."""
        query = "SELECT stream FROM event WHERE version = 1 AND stream > %s AND stream < %s ORDER BY stream LIMIT %s"
        found: list[tuple[datetime, str]] = []
        for kind in (request.KIND, grant.KIND):
            last = f"{kind}-"
            while last:
                async with self.pool.connection() as conn:
                    names = [name for (name,) in await reader.rows(conn, query, last, f"{kind}.", STATES_MAX)]
                found += await self._due_of(names, until)
                last = names[-1] if names else ""
        return sorted(found)

    async def _due_of(self, names: Sequence[str], until: datetime) -> list[tuple[datetime, str]]:
        async with self.pool.connection() as conn:
            facts = await reader.facts_of(conn, names)
        streams = ((name, folded(name, facts[name])) for name in names)
        timers = ((name, due_timer(stream, until)) for name, stream in streams if stream.imported)
        return [(timer[0], name) for name, timer in timers if timer is not None]


def _lines(file: BinaryIO, bytes_max: int) -> Iterator[bytes]:
    """Lines as they come; of one that is too long only its beginning."""
    return iter(lambda: file.readline(bytes_max + 1), b"")


def _step_of(number: int, line: bytes) -> Step:
    try:
        step = _decode(line)
    except msgspec.ValidationError as error:
        raise _stopped(number, unfit(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Stopped(number, f"It is not JSON: {error}.") from error
    if sum(kind in step for kind in KINDS) != 1:
        raise Stopped(number, f"It needs one of {', '.join(KINDS)}.")
    if "as" not in step and not ("tick" in step or "note" in step):
        raise Stopped(number, "It does not say as whom.")
    found: Mapping[str, Any] = step
    return found


def _id_of(order: Order) -> str:
    """The id that the command's answer will have."""
    name = own_stream(order.command)
    if name is not None:
        return name.partition("-")[2]
    assert order.occurred is not None and order.seed is not None
    return seeded_id(order.occurred, order.seed, 0)


def _digest(*parts: str) -> bytes:
    return sha256("\x00".join(parts).encode()).digest()


def first_instant(file: BinaryIO, line_bytes_max: int) -> datetime | None:
    """When the story begins; None where that cannot be told."""
    for line in _lines(file, line_bytes_max):
        try:
            step = _decode(line) if line.strip() else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if "at" in step:
            return instant(step["at"])
    return None


# What an import runs on: the write path alone, with what it needs of the log in memory


class _People(Replica):
    """Who was ever appointed. Nobody asks an import for access, so what that rests on is left out."""

    async def load_people(self, conn: reader.Connection, size: int) -> None:
        """The organizations of the log as it was at that size."""
        for facts in (await reader.facts_of_kind(conn, "organization", before=size)).values():
            self.take(facts)

    def take(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if fact.stream.startswith("organization-"):
                self._take_holder(fact)
            self.access.position = max(self.access.position, fact.position)
        self._wake()


@asynccontextmanager
async def importing(
    settings: Settings, logins: Logins, person: str, name: str, since: datetime | None, clock: Clock | None = None
) -> AsyncIterator[Importer]:
    """An importer on a migrated database. An empty log begins at `since`. Raises NotAuthorised, LogRefused."""
    folder = SignerFolder(settings.data / "signer", settings.origin)
    await asyncio.to_thread(check_at_start, logins.signer, folder)
    options = {"autocommit": True}
    async with (
        AsyncConnectionPool(logins.reader, min_size=1, max_size=8, open=False, kwargs=options) as pool,
        AsyncConnectionPool(logins.vault, min_size=1, max_size=8, open=False, kwargs=options) as vault_pool,
        AsyncConnectionPool(logins.door, min_size=0, max_size=1, open=False, kwargs=options) as door,
    ):
        vault, people = Vault(vault_pool, MasterKeys(settings.data / "keys")), _People()
        own = replace(settings, states_max=min(settings.states_max, STATES_MAX))
        handler = Handler(own, logins.writer, pool, clock or clock_of(settings), people, vault)
        await handler.writer.start()
        try:
            size = handler.writer.end.size
            async with pool.connection() as conn:
                await people.load_people(conn, size)
            await bootstrap(handler, settings, folder, since)
            must_be_records_officer(handler, person)
            projecting = Projecting(logins.projector)
            timers = Timers(handler, pool)

            async def make(until_done: AsyncExitStack) -> Any:
                own = signer_folder(settings.data, settings.origin)
                trail = Trail(logins.writer, logins.auditor, own, lambda: handler.clock, settings.queue_max)
                await until_done.enter_async_context(trail)
                return build_app(settings, handler, pool, door, vault, projecting, folder, timers.advance, trail)

            async with _reading(make, projecting) as client:
                yield Importer(
                    client,
                    DevelopmentIssuer(settings).issue if settings.mode == "development" else _no_token,
                    handler=handler,
                    pool=pool,
                    person=person,
                    name=name,
                    line_bytes_max=settings.body_bytes_max,
                    resuming=size > 0,
                )
        finally:
            await handler.writer.stop()


def must_be_records_officer(handler: Handler, person: str) -> None:
    """Whoever imports is a records officer, now. Raises NotAuthorised."""
    held = handler.replica.standing(person, handler.clock.now()).offices
    if not any(office.organization == ASSENT and office.role == "records_officer" for office in held):
        raise NotAuthorised(f"{person} may not import.", f"an appointment of {person} as records_officer of {ASSENT}")


def _no_token(person: str) -> str:
    raise BadScenario("Reads of an import are answered in development mode only.")


@asynccontextmanager
async def _reading(
    make: Callable[[AsyncExitStack], Awaitable[Any]], projecting: Projecting
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is answered from projections; they and the application are made when something is read first."""
    made: list[Any] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if not made:
            made.extend((await make(until_done), asyncio.create_task(projecting.run(), name="projector")))
        await made[0](scope, receive, send)

    transport = httpx.ASGITransport(app=answer)
    async with (
        AsyncExitStack() as until_done,
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=600) as client,
    ):
        yield client
    for task in made[1:]:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# At a terminal


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an import ended early, and at which line, if it was one."""

    rule: str
    detail: str
    missing: tuple[str, ...] = ()
    line: int | None = None


async def command(
    settings: Settings, logins: Logins, path: Path, person: str | None, name: str | None, as_json: bool
) -> int:
    """`assent import FILE`: 0 all is in the log; 1 a line, or the importer, was refused; 2 the storage failed."""
    tally, began, code = Tally(), time.monotonic(), 0
    problem: Problem | None = None
    try:
        with path.open("rb") as file:
            since = first_instant(file, settings.body_bytes_max)
            file.seek(0)
            async with importing(settings, logins, person or settings.root, name or path.name, since) as importer:
                tally, began = importer.tally, time.monotonic()
                with _shown(path) as report:
                    await importer.take(file, report)
    except Stopped as wrong:
        problem, code = Problem(wrong.rule, str(wrong), wrong.missing, wrong.number), 1
    except NotAuthorised as wrong:
        problem, code = Problem(wrong.rule, wrong.detail, wrong.missing), 1
    except (StorageUnavailable, QueueFull) as wrong:
        problem, code = Problem(wrong.rule, f"{wrong.detail} Import again, and it goes on from there."), 2
    seconds = time.monotonic() - began
    rate = round(tally.commands / seconds) if tally.commands else 0
    if as_json:
        found = {**asdict(tally), "seconds": round(seconds, 3), "commands_per_second": rate, "problem": problem}
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.write(_told(tally, seconds, rate) + "\n")
    if problem is not None:
        missing = f" Missing: {', '.join(problem.missing)}." if problem.missing else ""
        sys.stderr.write(f"{problem.detail}{missing}\n")
    return code


def _told(tally: Tally, seconds: float, rate: int) -> str:
    parts = [f"{tally.commands:,} commands imported, {tally.events:,} events, in {seconds:.1f} s ({rate:,} a second)"]
    parts += [f"{tally.known:,} were in the log before"] if tally.known else []
    parts += [f"{tally.unchecked:,} expectations not checked"] if tally.unchecked else []
    return "; ".join(parts) + "."


@contextmanager
def _shown(path: Path) -> Iterator[Callable[[int, Tally], None]]:
    """A progress bar, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda read_bytes, tally: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]:,.0f} a second"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"import {path.name}", total=path.stat().st_size, rate=0)
        yield lambda read_bytes, tally: progress.update(
            task, completed=read_bytes, rate=tally.commands / (time.monotonic() - began)
        )
