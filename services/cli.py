"""What can a person at a terminal ask of Assent?

Exit codes: 0 done; 1 it ran, and the answer is no (a story differs, a projection differs, a target is missed);
2 it could not run (bad arguments, settings, files or storage).
"""

import argparse
import asyncio
import errno
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from getpass import getuser
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import uvicorn

from domain.trail import Caller, ExportRun
from services import demo, logs
from services.assent import Assent, following, gateways, prepared, running, sharing
from services.clock import ManualClock
from services.collector import rarely_collect
from services.doors import OPEN, Doors, DoorsClosed, end_with_parent
from services.http.access_feed import FEED
from services.http.answers import STRICT_TRANSPORT
from services.http.arrivals import Arriving
from services.http.identity import BACKDATE, DevelopmentIssuer, DevelopmentOnly
from services.http.protocol import Protocol
from services.log import terminal
from services.log.bundle import Bundle, NoBundle
from services.log.folder import LogRefused, SignerFolder
from services.log.schema import MAIN, TRAIL, Ledger
from services.log.snapshot import Snapshot
from services.log.streams import READINGS, RULES
from services.migrations import MigrationRefused
from services.play import BadScenario, Player, StepFailed, Steps, first_instant, read_scenario
from services.postgres import PostgresUnavailable, open_database
from services.project import command as project
from services.replay import life
from services.roles import Logins, RolesRefused
from services.settings import BadSetting, Settings, read_settings
from services.trail import TrailUnavailable, record_at_terminal, signer_folder
from services.witness import Witness, WitnessFolder, WitnessUnable

TOKEN_SECONDS = 12 * 3600

SERVED = frozenset({"feed"})
"""The roles that a door has as well: they are about requests."""

BACKLOG = 4096
"""Connections that wait to be accepted."""

PORT_SECONDS, PORT_ATTEMPTS = 1.0, 20
"""How long, and how often, a port is tried that somebody has."""


class Unable(Exception):
    """The command could not run; the message says what would help."""


# Serving


class _Server(uvicorn.Server):
    """Serves until it is told to stop; signals are the command line's."""

    @contextmanager
    def capture_signals(self) -> Any:
        with nullcontext():
            yield


@asynccontextmanager
async def serving(
    app: Any, settings: Settings, has_door: bool = True, listening: socket.socket | None = None
) -> AsyncIterator[tuple[_Server, str]]:
    """The application on its port, or on a socket that listens there already; yields the server and its address.

    `has_door`: it is one of `answers.Door` too.
    """
    protocol = partial(Protocol, app) if has_door else Arriving
    protocol_made: Any = partial(protocol, request_seconds=settings.request_seconds)  # called as a class would be
    strict = [] if settings.mode == "development" else [STRICT_TRANSPORT]
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol_made,
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        log_level="warning",
        server_header=False,
        headers=[(name.decode(), value.decode()) for name, value in strict],
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        backlog=BACKLOG,
    )
    listening = listening or (await _listening(settings))[0]
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await _started(server, task)
        yield server, _address(listening, settings)
    finally:
        server.should_exit = True
        await task
        listening.close()


async def _started(server: _Server, task: "asyncio.Task[None]") -> None:
    """Uvicorn tells of its start by a flag alone."""
    while not server.started and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def _address(listening: socket.socket, settings: Settings) -> str:
    return f"http://{settings.host}:{listening.getsockname()[1]}"


async def _listening(settings: Settings, count: int = 1) -> list[socket.socket]:
    """So many sockets on the port, among which the system shares out who connects. Raises Unable.

    A process that was just killed may have the port for a moment yet.
    """
    for left in reversed(range(PORT_ATTEMPTS)):
        try:
            if count > 1:
                _bound(settings.host, settings.port, shared=False).close()  # or it would join whoever shares it
            first = _bound(settings.host, settings.port, shared=count > 1)
            port = first.getsockname()[1]
            found = [first, *(_bound(settings.host, port, shared=True) for _ in range(count - 1))]
            for each in found:
                each.listen(BACKLOG)
            return found
        except OSError as error:
            if not left or error.errno != errno.EADDRINUSE:
                raise Unable(
                    f"Port {settings.port} on {settings.host} cannot be had ({error.strerror})."
                    " ASSENT_PORT names another."
                ) from None
        await asyncio.sleep(PORT_SECONDS / PORT_ATTEMPTS)
    raise AssertionError("the last attempt returns or raises")


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    """`shared`: with other sockets of this user that are."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        found.bind((host, port))
    except OSError:
        found.close()
        raise
    return found


async def serve(settings: Settings, told: bool) -> int:
    """Serve until Ctrl-C or SIGTERM. With `told`, an empty log opens on the demo story."""
    stop = _stop_signal()
    tell = told and settings.mode == "development" and settings.clock == "real"
    clock = ManualClock(datetime.now(UTC) - timedelta(days=demo.DAYS)) if tell else None
    async with running(settings, clock) as assent:
        if tell:
            if assent.is_new:
                print("Telling the demo story …", flush=True)
                await tell_demo(assent, settings)
            assent.use_real_clock()
        rarely_collect()
        async with sharing(assent, settings), _taking_requests(assent, settings) as address:
            print(greeting(address, settings), flush=True)
            if assent.shortcoming:
                print(f"\nNote: {assent.shortcoming}", flush=True)
            await stop.wait()
            print("Stopping.", flush=True)
    return 0


@asynccontextmanager
async def _taking_requests(assent: Assent, settings: Settings) -> AsyncIterator[str]:
    """By this process, or by doors of its own; yields the address."""
    count = settings.door_count(len(os.sched_getaffinity(0)))
    if count == 0:
        async with serving(assent.app, settings) as (_, address):
            yield address
        return
    listening = await _listening(settings, count)
    async with Doors(listening):
        yield _address(listening[0], settings)


async def door(settings: Settings, listening: socket.socket) -> int:
    """Take requests for the process that started this one, until it says so, or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that of a terminal is for whoever started this
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    end_with_parent()
    async with running(replace(settings, roles=settings.roles & SERVED)) as assent:
        rarely_collect()
        async with sharing(assent, settings, may_lead=False), serving(assent.app, settings, listening=listening):
            print(OPEN, flush=True)
            await stop.wait()
    return 0


async def feed(settings: Settings) -> int:
    """Answer gateways, until Ctrl-C or SIGTERM."""
    stop = _stop_signal()
    async with gateways(settings) as app, serving(app, settings) as (_, address):
        rarely_collect()
        print(f"Assent answers gateways at {address}{FEED}", flush=True)
        await stop.wait()
        print("Stopping.", flush=True)
    return 0


async def work(parts: AbstractAsyncContextManager[Any], what: str) -> int:
    """Do what a process does without being asked, until Ctrl-C or SIGTERM."""
    stop = _stop_signal()
    async with parts:
        rarely_collect()
        print(what, flush=True)
        await stop.wait()
        print("Stopping.", flush=True)
    return 0


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def tell_demo(assent: Assent, settings: Settings) -> None:
    issuer = DevelopmentIssuer(settings)
    transport = httpx.ASGITransport(app=assent.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
        player = Player(client, issuer.issue)
        await player.play(demo.story(assent.handler.clock.now()))


def greeting(address: str, settings: Settings) -> str:
    """What a newcomer reads first."""
    if settings.mode != "development":
        return f"Assent serves {address}"
    issuer = DevelopmentIssuer(settings)
    lines = [f"\nAssent serves {address}   (interface: {address}/docs; log in as anybody: {address}/login)\n"]
    lines += ["Tokens for today, one per persona:"]
    for person, who in demo.PERSONAS.items():
        lines += [f"\n  {person}, {who}", f"  {issuer.issue(person, seconds=TOKEN_SECONDS)}"]
    header = '-H "Authorization: Bearer $(./run token {})"'
    lines += [
        "\nThree commands to try:",
        f"  curl {header.format('cora')} '{address}/api/v1/requests?waiting_on=commerce'",
        f"  curl {header.format('olga')} {address}/api/v1/dashboards/pending_sign_offs",
        "  ./run replay release-atlas-4",
        "\nCtrl-C stops it.",
    ]
    return "\n".join(lines)


def token(settings: Settings, person: str, scopes: Sequence[str], seconds: int) -> str:
    """A token of the development issuer. Raises Unable, DevelopmentOnly."""
    try:
        return DevelopmentIssuer(settings).issue(person, scopes, seconds)
    except ValueError as error:
        raise Unable(f"Sorry, {error}.") from None


async def witness(settings: Settings) -> int:
    """Cosign the checkpoints of the logs that are known, until Ctrl-C or SIGTERM."""
    if not settings.witness_logs:
        raise Unable("ASSENT_WITNESS_LOGS names no log to witness; `assent log key`, where the log is, prints its key.")
    stop = _stop_signal()
    folder = WitnessFolder(settings.data / "witness")
    with folder.held():
        ours = Witness(folder, settings.witness_name, settings.witness_logs)
        async with serving(ours, settings, has_door=False) as (_, address):
            print(f"The witness {ours.verifier} answers at {address}", flush=True)
            await stop.wait()
            print("Stopping.", flush=True)
    return 0


# Stories


async def play(settings: Settings, steps: Steps, url: str | None, say: Callable[[str], None]) -> int:
    """Play a scenario against a running service, or against one of its own on a fresh database."""
    if url is not None:
        issuer = DevelopmentIssuer(settings)
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            return await _play(Player(client, issuer.issue, say), steps)
    start = first_instant(steps)
    with tempfile.TemporaryDirectory(prefix="assent-play-") as folder:
        own = replace(
            settings,
            data=Path(folder),
            port=0,
            host="127.0.0.1",
            mode="development",
            clock="manual",
            clock_start=start or datetime.now(UTC),
            database_url="",
            database_url_file=None,
            database_logins=None,
            commands_per_second=0,
            evaluations_per_second=0,
            reads_per_second=0,
        )
        async with (
            running(own) as assent,
            serving(assent.app, own) as (_, address),
            httpx.AsyncClient(base_url=address, timeout=30) as client,
        ):
            return await _play(Player(client, DevelopmentIssuer(own).issue, say), steps)


async def _play(player: Player, steps: Steps) -> int:
    count = await player.play(steps)
    print(f"{count} steps, all as expected.")
    return 0


# The log and the projections


def with_database(settings: Settings, act: Callable[[Logins], int]) -> int:
    """Do something with the migrated database, started for the purpose where it does not run."""
    with open_database(settings) as conninfo:
        return act(prepared(conninfo, settings))


def replay(settings: Settings, stream: str, at: datetime | None, as_json: bool) -> int:
    """Print the life of a stream, read through the library's event store; 1 where nothing is known of it."""

    def act(logins: Logins) -> int:
        entries = life(logins.auditor, stream, at)
        if not entries:
            print(f"The log knows no stream {stream!r}.", file=sys.stderr)
            return 1
        for entry in entries:
            line = f"{entry['position']:>8}  {entry['occurred']:%Y-%m-%d %H:%M}  {entry['text']}"
            print(msgspec.json.encode(entry).decode() if as_json else line)
        return 0

    return with_database(settings, act)


def export_log(settings: Settings, snapshot: Snapshot, logins: Logins, to: Path, as_json: bool) -> int:
    """Write what is signed to a file, once it is recorded who did so."""

    def record(size: int) -> None:
        event = ExportRun(Caller((), "", "terminal"), getuser(), snapshot.origin, size)
        try:
            folder = signer_folder(settings.data, settings.origin)
            record_at_terminal(logins.writer, logins.auditor, folder, event)
        except TrailUnavailable as refusal:
            raise Unable(refusal.detail) from refusal

    return terminal.export_log(snapshot, to, as_json, record)


def show_checkpoint(settings: Settings, ledger: Ledger, as_json: bool) -> int:
    """Print the newest signed checkpoint; 1 where there is none yet."""

    def act(logins: Logins) -> int:
        with psycopg.connect(ledger.within(logins.auditor)) as conn:
            row = conn.execute("SELECT size, note FROM cosigned_checkpoint ORDER BY size DESC LIMIT 1").fetchone()
        if row is None:
            print("Nothing is signed yet.", file=sys.stderr)
            return 1
        print(json.dumps({"size": row[0], "note": row[1]}) if as_json else row[1], end="\n" if as_json else "")
        return 0

    return with_database(settings, act)


def show_key(folder: SignerFolder) -> int:
    """Print the verifier key of the log's checkpoints; auditors get it once, and not from the log."""
    print(folder.verifier())
    return 0


# The command line


OF_THE_TESTS = {
    "bench": ("tests.benchmarks", "measure; prints figures and ratios"),
    "audit": ("tests.audit", "known holes in what the locks pin, and whether that is what is installed"),
    "fuzz": ("tests.fuzzing", "ask whatever the OpenAPI document allows and forbids, as every role"),
}
"""Commands for whoever changes Assent: the module with their `command(words)`, and a word about them."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="run", description="Approval workflow for access to frontier AI models.", epilog=__doc__
    )
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = found.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve until Ctrl-C; without a command, as this, on a demo story")
    door = commands.add_parser("door", help="take requests for a `serve` that decides, which starts it: ASSENT_DOORS")
    door.add_argument("socket", type=int, help="the number of a socket that listens")
    commands.add_parser("project", help="bring projections and checkpoints up to the log, apart from serving")
    commands.add_parser("feed", help="answer gateways, and feed their replicas, apart from serving")
    commands.add_parser("timers", help="do what time alone does, apart from serving")
    witnessing = commands.add_parser("witness", help="cosign the checkpoints of logs, with a key and a file of its own")
    witnessing.add_argument("--key", action="store_true", help="print the witness's verifier key, and do no more")
    story = commands.add_parser("play", help="play a scenario and compare the answers")
    story.add_argument("file", type=Path)
    story.add_argument("--url", help="a running service with a manual clock; without, one of its own")
    story.add_argument("--quiet", action="store_true", help="print only what differs")
    life = commands.add_parser("replay", help="print the life of a stream, such as release-atlas-4")
    life.add_argument("stream")
    life.add_argument("--at", type=_instant, help="as the log was at that time")
    token = commands.add_parser("token", help="print a token of the development issuer")
    token.add_argument("person")
    token.add_argument("--seconds", type=int, default=TOKEN_SECONDS)
    token.add_argument("--backdate", action="store_true", help="allow Occurred-At")
    printing = [life, *_add_log(commands)]
    projections = commands.add_parser("projections", help="list, rebuild or verify the projections")
    projections.add_argument("action", choices=["list", "rebuild", "verify"])
    projections.add_argument("name", nargs="*", help="which (all)")
    projections.add_argument("--processes", type=_several, default=1, help="how many fold the log in a rebuild (1)")
    past = commands.add_parser("import", help="take in acts of the past from a file of scenario lines")
    past.add_argument("file", type=Path)
    past.add_argument("--as", dest="person", help="who imports, a records officer (the first administrator)")
    past.add_argument("--name", help="what the import is called; told again under it, it goes on (the file's name)")
    for name, (_, sentence) in OF_THE_TESTS.items():
        commands.add_parser(name, help=sentence, add_help=False)
    simulate = commands.add_parser("simulate", help="random worlds against the rule book; an auditor reads their logs")
    simulate.add_argument("--steps", type=int, default=100_000, help="how many (100000)")
    simulate.add_argument("--seed", type=int, default=1, help="the same seed gives the same worlds (1)")
    simulate.add_argument("--world", type=int, help="this world alone, with the records of what went wrong")
    simulate.add_argument("--processes", type=int, default=1, help="how many worlds at a time (1)")
    for each in (*printing, projections, past, simulate):
        each.add_argument("--json", action="store_true", help="print JSON")
    return found


def _add_log(commands: Any) -> list[argparse.ArgumentParser]:
    """What can be asked of the log, and those of it that print JSON where they are told to."""
    log = commands.add_parser("log", help="the log as proof")
    acts = log.add_subparsers(dest="action", metavar="ACTION", required=True)
    newest = acts.add_parser("checkpoint", help="print the newest signed checkpoint")
    key = acts.add_parser("key", help="print the verifier key that auditors are to have from elsewhere than the log")
    exported = acts.add_parser("export", help="write all that is signed to one file that proves itself")
    exported.add_argument("--to", type=Path, required=True, metavar="FILE")
    verified = acts.add_parser("verify", help="is the log what was written? An exported file, or the database")
    verified.add_argument("file", type=Path, nargs="?", help="needs no database and no service")
    verified.add_argument("--key", help="a verifier key of the log, as the auditor was given it")
    verified.add_argument("--witness", action="append", default=[], help="the key of a witness that must have cosigned")
    verified.add_argument(
        "--checkpoint", type=Path, action="append", default=[], metavar="NOTE", help="one that the log must begin with"
    )
    override = acts.add_parser("override", help="with the service stopped: go on from another log than was signed")
    override.add_argument("--accept", metavar="SIZE/ROOT", help="the log to go on from; without, only what there is")
    override.add_argument("--reason", help="why what was signed is given up; recorded for ever")
    override.add_argument("--operator", help="who accepts it (the user of this terminal)")
    for each in (newest, key, exported, verified, override):
        each.add_argument("--trail", action="store_true", help="of the trail: who read what, and was refused what")
    return [newest, exported, verified, override]


def _several(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least one")
    return count


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    logs.begin()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in OF_THE_TESTS:  # their options are their own, --help too
            found: int = import_module(OF_THE_TESTS[words[0]][0]).command(words[1:])
            return found
        given, settings = parser().parse_args(words), read_settings(os.environ)
        logs.begin(settings.log_format)
        return _run(given, settings)
    except (
        BadSetting,
        BadScenario,
        DevelopmentOnly,
        PostgresUnavailable,
        RolesRefused,
        MigrationRefused,
        LogRefused,
        NoBundle,
        Unable,
        WitnessUnable,
        DoorsClosed,
    ) as no:
        print(no, file=sys.stderr)
    except OSError as error:
        print(f"{error.strerror}: {error.filename}" if error.filename else error, file=sys.stderr)
    except StepFailed as differs:
        print(differs, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 2


def _run(given: argparse.Namespace, settings: Settings) -> int:
    match given.command:
        case None | "serve":
            return _loop(serve(settings, told=given.command is None))
        case "door":
            return _loop(door(settings, socket.socket(fileno=given.socket)))
        case "project":
            return _loop(work(following(settings), "Assent brings projections and checkpoints up to the log."))
        case "feed":
            return _loop(feed(settings))
        case "timers":
            parts = running(replace(settings, roles=frozenset({"timers"})))
            return _loop(work(parts, "Assent does what time alone does."))
        case "witness" if given.key:
            print(Witness(WitnessFolder(settings.data / "witness"), settings.witness_name, ()).verifier)
            return 0
        case "witness":
            return _loop(witness(settings))
        case "play":
            say: Callable[[str], None] = (lambda words: None) if given.quiet else print
            return _loop(play(settings, read_scenario(given.file.read_text()), given.url, say))
        case "replay":
            return replay(settings, given.stream, given.at, given.json)
        case "token":
            scopes = (BACKDATE,) if given.backdate else ()
            print(token(settings, given.person, scopes, given.seconds))
            return 0
        case "log":
            return _log(given, settings)
        case "projections":
            return with_database(
                settings,
                lambda logins: project(logins.projector, given.action, given.name, given.processes, given.json),
            )
        case "import":
            from services import imports

            def take(logins: Logins) -> int:
                return _loop(
                    imports.command(settings, logins, given.file, given.person, given.name, as_json=given.json)
                )

            return with_database(settings, take)
        case "simulate":
            from tests.simulation.soak import simulate

            return simulate(given.steps, given.seed, given.world, given.processes, given.json)
        case _:
            raise AssertionError(given.command)


def _log(given: argparse.Namespace, settings: Settings) -> int:
    if given.trail:
        ledger, folder, book = TRAIL, signer_folder(settings.data, settings.origin), READINGS
    else:
        ledger, folder, book = MAIN, SignerFolder(settings.data / "signer", settings.origin), RULES

    def snapshot(logins: Logins) -> Snapshot:
        witnesses = () if given.trail else [witness.key for witness in settings.witnesses]
        return Snapshot(ledger.within(logins.auditor), folder, witnesses)

    match given.action:
        case "checkpoint":
            return show_checkpoint(settings, ledger, given.json)
        case "key":
            return show_key(folder)
        case "export":
            return with_database(settings, lambda at: export_log(settings, snapshot(at), at, given.to, given.json))
        case "verify":
            known = terminal.brought_along(given.key, given.witness, given.checkpoint)
            if given.file is not None:
                return terminal.verify_log(Bundle(given.file), known, given.json, book)
            return with_database(settings, lambda at: terminal.verify_log(snapshot(at), known, given.json, book))
        case "override":
            from services.log.override import command

            operator = given.operator or getuser()
            return with_database(
                settings,
                lambda at: command(at.signer, ledger, folder, operator, given.reason, given.accept, given.json),
            )
        case _:
            raise AssertionError(given.action)


def _loop(work: Any) -> int:
    import uvloop

    code: int = uvloop.run(work)
    return code


if __name__ == "__main__":
    sys.exit(main())
