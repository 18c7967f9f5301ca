"""An import tells of the past: everything before its first wrong line is in the log, once, and nothing after it."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import psycopg
import pytest

from domain.errors import NotAuthorised, Refused
from domain.facts import Fact
from domain.organization import RegisterOrganization
from services.assent import running
from services.clock import ManualClock
from services.handle import NotReached, Order
from services.http.identity import DevelopmentIssuer
from services.imports import ROW_LINES, Importer, Stopped, Tally, first_instant, importing
from services.log import reader
from services.log.writer import Settled
from services.play import Player, read_scenario
from services.roles import Logins
from services.settings import Settings
from services.timers import Timers
from tests.benchmarks import command as benchmark
from tests.conftest import fresh_database

ROOT = Path(__file__).parents[2]
FIRST_LIGHT = ROOT / "tests/scenarios/first-light.jsonl"
BEGIN = datetime(2024, 1, 8, 15, tzinfo=UTC)
LATER = ManualClock(datetime(2027, 6, 1, tzinfo=UTC))
REVIEW_DAYS = (1, 2, 3, 5, 8)
"""How long the reviews of the cases take, in turn: their median is 3."""

Line = dict[str, Any]


def post(at: datetime, person: str, path: str, body: Line, **more: Any) -> Line:
    return {"at": at.isoformat(), "as": person, "post": path, "body": body, **more}


def cast() -> Iterator[Line]:
    """A provider, an agency, a customer, their people, a policy and a release."""
    for organization, kind, more in (
        ("meridian", "provider", {}),
        ("oncd", "agency", {"government": True}),
        ("northwind", "customer", {"size_class": "large"}),
    ):
        yield post(
            BEGIN, "root", "/organizations", {"id": organization, "kind": kind, "name": "N", "country": "US", **more}
        )
    for organization, person, role in (
        ("meridian", "rae", "release_manager"),
        ("oncd", "olga", "reviewer"),
        ("northwind", "nina", "applicant"),
    ):
        yield post(BEGIN, "root", f"/organizations/{organization}/appointments", {"person": person, "role": role})
    policy = {"authority_basis": "EO", "sign_offs": {"agency": "oncd"}, "on_refusal": "deny", "grant": {"days": 90}}
    yield post(BEGIN, "root", "/policies/preview/versions", policy)
    release = {"id": "atlas", "provider": "meridian", "model": "Atlas", "tiers": ["standard"], "policy": "preview"}
    phases = [{"name": "preview", "access": "granted"}]
    yield post(BEGIN, "rae", "/releases", {**release, "incident_threshold": "high", "phases": phases})


def case(nth: int) -> Iterator[Line]:
    """One request from hand to decision; every fifth is denied."""
    at = BEGIN + timedelta(days=1, minutes=nth)
    request = {"customer": "northwind", "release": "atlas", "use": f"Case {nth}"}
    yield post(at, "nina", "/requests", request, save={"request": "id"})
    yield post(at + timedelta(hours=1), "root", "/requests/{request}/registration", {})
    decided = at + timedelta(hours=1, days=REVIEW_DAYS[nth % len(REVIEW_DAYS)])
    position = {"agency": "oncd", "position": "refuse" if nth % 5 == 4 else "approve", "reason": "Reviewed"}
    yield post(decided, "olga", "/requests/{request}/sign-offs", position)


def cases(count: int) -> Iterator[Line]:
    yield from cast()
    for nth in range(count):
        yield from case(nth)


def text(lines: Iterable[Line | str]) -> bytes:
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()


@asynccontextmanager
async def importer(database: str, folder: Path, since: datetime = BEGIN, **more: Any) -> AsyncIterator[Importer]:
    settings = Settings(data=folder, database_url=database)
    given = {"person": "root", "name": "story", **more}
    async with importing(settings, Logins.of_one(database), given["person"], given["name"], since, LATER) as found:
        yield found


async def take(database: str, folder: Path, lines: Iterable[Line | str], **more: Any) -> Tally:
    async with importer(database, folder, **more) as found:
        await found.take(io.BytesIO(text(lines)))
        return found.tally


async def log(database: str) -> list[Fact]:
    async with await psycopg.AsyncConnection.connect(database) as conn:
        return await reader.page(conn, after=-1, limit=1_000_000)


async def stopped(database: str, folder: Path, lines: Sequence[Line | str], **more: Any) -> Stopped:
    with pytest.raises(Stopped) as found:
        await take(database, folder, lines, **more)
    return found.value


# What is told


async def test_an_imported_story_leaves_the_log_that_playing_it_would(
    postgres: str, template: str, tmp_path: Path
) -> None:
    story = FIRST_LIGHT.read_bytes()
    since = first_instant(io.BytesIO(story), 10**6)
    assert since is not None
    with another(postgres, template) as played, another(postgres, template) as imported:
        settings = Settings(data=tmp_path / "played", database_url=played, port=0)
        async with running(settings, ManualClock(since)) as assent:
            transport = httpx.ASGITransport(app=assent.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                await Player(client, DevelopmentIssuer(settings).issue).play(read_scenario(story.decode()))
        async with importer(imported, tmp_path / "imported", since) as found:
            await found.take(io.BytesIO(story))
            assert found.tally.unchecked == story.count(b'"evaluate"')
        assert lives(await log(imported)) == lives(await log(played))


@contextmanager
def another(server: str, template: str) -> Iterator[str]:
    yield from fresh_database(server, template)


def lives(facts: Sequence[Fact]) -> dict[str, list[tuple[Any, ...]]]:
    """What happened in each stream, with ids replaced by their turn, and without what differs between two tellings."""
    turns: dict[str, str] = {}
    for fact in facts:
        kind, _, id = fact.stream.partition("-")
        if len(id) == 26:
            turns.setdefault(id, f"{kind} {len(turns)}")

    def told(event: Any) -> str:
        found = re.sub(r"sealed\.[\w.-]+", "sealed", msgspec.json.encode(event).decode())
        return re.sub("|".join(turns) or "$^", lambda id: turns[id[0]], found)

    found: dict[str, list[tuple[Any, ...]]] = {}
    for fact in facts:
        kind, _, id = fact.stream.partition("-")
        if kind in ("calendar", "log"):
            continue  # of which years it knows depends on the day it is told as well; each log has a key of its own
        by = (fact.by.person, fact.by.organization, fact.by.role)
        found.setdefault(f"{kind} {turns.get(id, id)}", []).append((fact.type, fact.occurred, by, told(fact.event)))
    return found


async def test_the_people_of_the_past_act_as_themselves_then_and_the_importer_stands_in_via(
    database: str, tmp_path: Path
) -> None:
    await take(database, tmp_path, cases(1))
    signed = next(fact for fact in await log(database) if fact.type == "AgencySignedOff")
    assert (signed.by.person, signed.by.organization, signed.by.via) == ("olga", "oncd", ("import:root",))
    assert signed.occurred == BEGIN + timedelta(days=2, hours=1)
    assert signed.recorded == LATER.now()


async def test_authority_is_that_of_the_time_told_of(database: str, tmp_path: Path) -> None:
    ended = post(
        BEGIN + timedelta(days=1), "root", "/organizations/meridian/appointments/rae/end", {"role": "release_manager"}
    )
    hold = post(BEGIN + timedelta(days=2), "rae", "/releases/atlas/hold", {"reason": "Late"})
    found = await stopped(database, tmp_path, [*cast(), ended, hold])
    assert (found.number, found.rule) == (10, "authority")


async def test_an_appointment_counts_for_the_very_next_line(database: str, tmp_path: Path) -> None:
    assert (await take(database, tmp_path, cast())).commands == 8


async def test_whoever_is_no_records_officer_now_imports_nothing(database: str, tmp_path: Path) -> None:
    await take(database, tmp_path, cast())
    with pytest.raises(NotAuthorised, match="olga may not import"):
        await take(database, tmp_path, case(0), person="olga")


async def test_an_answer_beyond_the_id_may_be_saved_and_matched(database: str, tmp_path: Path) -> None:
    lines = [*cast(), *case(0)][:-1]
    asked = post(
        BEGIN + timedelta(days=2),
        "olga",
        "/requests/{request}/information-requests",
        {"agency": "oncd", "question": "Why?"},
    )
    asked |= {"save": {"question": "number"}, "match": {"number": 1}}
    answer = {"answer": "Because."}
    answered = post(
        BEGIN + timedelta(days=3), "nina", "/requests/{request}/information-requests/{question}/response", answer
    )
    assert (await take(database, tmp_path, [*lines, asked, answered])).commands == len(lines) + 2
    assert (await take(database, tmp_path, [*lines, asked, answered])).known >= len(lines) + 2


async def test_a_refusal_that_is_told_of_is_expected_and_never_written(database: str, tmp_path: Path) -> None:
    twice = {**next(cast()), "expect": 409}
    tally = await take(database, tmp_path, [*cast(), twice, *case(0)])
    assert tally.commands == 11
    again = await take(database, tmp_path, [*cast(), twice, *case(0)])
    assert (again.commands, again.known) == (0, 11)


async def test_a_command_that_should_have_been_refused_stops_the_import_unwritten(
    database: str, tmp_path: Path
) -> None:
    lines = [*cast(), *case(0)]
    lines[-1]["expect"] = 409
    found = await stopped(database, tmp_path, lines)
    assert found.number == len(lines) and "expected: 409" in str(found)
    assert not any(fact.type == "AgencySignedOff" for fact in await log(database))


# Wrong lines

WRONG: dict[str, tuple[Line | str, str]] = {
    "not JSON": ("{]", "not JSON"),
    "not an object": ("[]", "object"),
    "no kind of step": ({"as": "root"}, "one of"),
    "nobody": ({"post": "/organizations"}, "as whom"),
    "no such command": (post(BEGIN, "root", "/organisations", {}), "no command at /organisations"),
    "a body that does not fit": (post(BEGIN, "root", "/organizations", {"id": "x"}), "missing"),
    "a name nobody saved": (post(BEGIN, "root", "/requests/{other}/registration", {}), "{other}"),
    "a rule": (
        post(BEGIN, "root", "/organizations", {"id": "oncd", "kind": "agency", "name": "N", "country": "US"}),
        "taken",
    ),
    "out of order in time": (
        post(BEGIN + timedelta(hours=1), "nina", "/requests/{request}/withdrawal", {"reason": "No"}),
        "goes back",
    ),
    "the future": (
        post(datetime(2099, 1, 1, tzinfo=UTC), "root", "/organizations/oncd/changes", {"name": "O"}),
        "cannot have occurred",
    ),
    "no time zone": ({"at": "2024-02-01T00:00:00", "note": ""}, "timezone"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_line_stops_the_import_by_its_number_and_nothing_after_it_is_written(
    wrong: str, database: str, tmp_path: Path
) -> None:
    line, words = WRONG[wrong]
    before, after = [*cast(), *case(0)], [*case(1)]
    found = await stopped(database, tmp_path, [*before, line, *after])
    assert found.number == len(before) + 1
    assert words in str(found) and str(found).startswith(f"Line {found.number}")
    facts = await log(database)
    assert sum(fact.type == "RequestSubmitted" for fact in facts) == 1
    assert facts[-1].type in ("GrantIssued", "CustomerAdmitted")
    mended = await take(database, tmp_path, [*before, {"note": "mended"}, *after])
    assert (mended.known, mended.commands) == (len(before), len(after))


async def test_a_line_that_changed_under_its_number_is_refused(database: str, tmp_path: Path) -> None:
    lines = [*cast(), *case(0)]
    await take(database, tmp_path, lines)
    changed = [*lines[:-1], {**lines[-1], "body": {"agency": "oncd", "position": "refuse", "reason": "No"}}]
    found = await stopped(database, tmp_path, changed)
    assert (found.number, found.rule) == (len(lines), "idempotency_key")
    inserted = await stopped(database, tmp_path, [*lines[:8], *case(1), *lines[8:]])
    assert inserted.number == 9


async def test_what_is_refused_in_a_row_takes_the_rest_of_the_row_with_it(database: str, tmp_path: Path) -> None:
    async with importer(database, tmp_path) as found:
        agencies = [RegisterOrganization(id, "agency", "N", "US") for id in ("one", "one", "two")]
        orders = [Order(each, "root", key=bytes([nth]), fingerprint=b"") for nth, each in enumerate(agencies)]
        size = found.handler.writer.end.size
        outcomes = await found.handler.handle_in_a_row(orders)
        assert [type(outcome) for outcome in outcomes][::2] == [Settled, NotReached]
        assert isinstance(outcomes[1], Refused) and outcomes[1].rule == "unique_id"
        assert found.handler.writer.end.size == size + 1


async def test_the_command_line_names_the_line_and_ends_with_1(database: str, tmp_path: Path) -> None:
    file = tmp_path / "story.jsonl"
    file.write_bytes(text([*cast(), "{]", *case(0)]))
    process = started(database, tmp_path, file)
    told = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 1
    assert (told["commands"], told["problem"]["line"]) == (8, 9)
    assert told["problem"]["detail"].startswith("Line 9: It is not JSON")


# Again


async def test_a_second_run_writes_nothing(database: str, tmp_path: Path) -> None:
    lines = list(cases(ROW_LINES // 2))
    first = await take(database, tmp_path, lines)
    size = len(await log(database))
    again = await take(database, tmp_path, lines)
    assert (first.commands, again.commands, again.known) == (len(lines), 0, len(lines))
    assert len(await log(database)) == size
    other = await stopped(database, tmp_path, lines, name="another telling")
    assert other.number == 1


async def test_two_imports_of_one_file_at_once_write_it_once(database: str, tmp_path: Path) -> None:
    lines = list(cases(200))
    async with importer(database, tmp_path / "one") as one, importer(database, tmp_path / "one") as other:
        await asyncio.gather(*(each.take(io.BytesIO(text(lines))) for each in (one, other)))
    assert one.tally.commands + other.tally.commands == len(lines)
    assert one.tally.known + other.tally.known == len(lines)
    assert sum(fact.type == "RequestSubmitted" for fact in await log(database)) == 200


async def test_an_import_goes_on_beside_a_service_that_serves(database: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url=database, port=0)
    async with importer(database, tmp_path) as found, running(settings, LATER) as assent:
        importing_ = asyncio.create_task(found.take(io.BytesIO(text(cases(300)))))
        served = 0
        while not importing_.done():
            await assent.handler.handle(Order(RegisterOrganization(f"live-{served}", "agency", "N", "US"), "root"))
            served += 1
        await importing_
    facts = await log(database)
    assert [fact.position for fact in facts] == list(range(len(facts)))
    assert sum(fact.type == "RequestSubmitted" for fact in facts) == 300
    assert served > 0 and sum(fact.stream.startswith("organization-live-") for fact in facts) == served


async def test_a_killed_import_is_told_again_and_goes_on(database: str, tmp_path: Path) -> None:
    file = tmp_path / "story.jsonl"
    file.write_bytes(text(cases(2500)))
    size = 0
    for _ in range(3):
        process = started(database, tmp_path, file)
        await grown(process, database, size + 700)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = len(await log(database))
        assert found > size
        size = found
    process = started(database, tmp_path, file)
    told = json.loads(process.communicate(timeout=120)[0])
    assert process.returncode == 0 and told["commands"] > 0 and told["known"] > 0
    assert told["commands"] + told["known"] == 8 + 3 * 2500
    facts = await log(database)
    assert [sum(fact.type == type_ for fact in facts) for type_ in ("RequestSubmitted", "RequestRegistered")] == [
        2500
    ] * 2
    assert sum(fact.type in ("RequestApproved", "RequestDenied") for fact in facts) == 2500


async def grown(process: "subprocess.Popen[str]", database: str, size: int) -> None:
    """Until the log is that large; the process that makes it grow must not have come to its end."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        while (await reader.end(conn)).size < size:
            assert process.poll() is None
            await asyncio.sleep(0.02)


def started(database: str, folder: Path, file: Path) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASSENT_")}
    given = {"PYTHONPATH": str(ROOT), "ASSENT_DATA": str(folder / "data"), "DATABASE_URL": url(database)}
    command = [sys.executable, "-P", "-m", "services.cli", "import", str(file), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**kept, **given})


def url(conninfo: str) -> str:
    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    return f"postgresql:///?{urlencode(given)}"


# Time


async def test_what_was_imported_is_left_alone_by_timers(database: str, tmp_path: Path) -> None:
    await take(database, tmp_path, cases(1))
    size = len(await log(database))
    async with running(Settings(data=tmp_path, database_url=database, port=0), LATER) as assent:
        await projected(assent, size)
        await Timers(assent.handler, assent.handler._pool).see_to(LATER.now())
    assert not any(fact.type == "GrantExpired" for fact in await log(database))


async def projected(assent: Any, size: int) -> None:
    from projections import deadlines

    async with assent.handler._pool.connection() as conn:
        await deadlines.wait_until(conn, size - 1)


async def test_what_was_due_before_the_next_act_is_decided_by_that_act(database: str, tmp_path: Path) -> None:
    lines = [*cast(), *case(0)]
    late = BEGIN + timedelta(days=60)
    await take(database, tmp_path, [*lines[:-1], {**lines[-1], "at": late.isoformat()}])
    types = [(fact.type, fact.occurred) for fact in await log(database) if fact.stream.startswith("request-")]
    assert [type_ for type_, _ in types] == [
        *("RequestSubmitted", "RequestRegistered", "DeadlineMissed", "AgencySignedOff", "RequestApproved"),
    ]
    assert types[2][1] < late


async def test_a_tick_lets_time_do_what_is_due_by_then_and_no_more(database: str, tmp_path: Path) -> None:
    silence = {"agency": "oncd", "silence": "no_objection"}
    lines = [*cast(), *case(0)][:-1]
    lines[6]["body"]["sign_offs"] = silence
    tick = {"at": (BEGIN + timedelta(days=90)).isoformat(), "tick": True}
    await take(database, tmp_path, [*lines, tick])
    types = [fact.type for fact in await log(database)]
    assert types[-4:] == ["NoObjectionDeemed", "RequestApproved", "GrantIssued", "CustomerAdmitted"]
    await take(database, tmp_path, [*lines, tick, {**tick, "at": (BEGIN + timedelta(days=900)).isoformat()}])
    assert [fact.type for fact in await log(database)][len(types) :] == ["GrantExpired", "CustomerLeft"]


# Many


def imported(database: str, folder: Path, count: int) -> tuple[Line, int]:
    """So many cases, imported by a process of its own: what it told, and the most memory it had, in KiB."""
    file = folder / f"{count}.jsonl"
    file.write_bytes(text(cases(count)))
    process = started(database, folder, file)
    assert process.stdout is not None
    told = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, told
    return told, usage.ru_maxrss


async def test_ten_thousand_cases_come_back_with_their_counts_and_medians_and_need_no_more_memory_than_two_thousand(
    postgres: str, template: str, tmp_path: Path
) -> None:
    count = 10_000
    with another(postgres, template) as few, another(postgres, template) as many:
        _, little = imported(few, tmp_path, 2_000)
        began = time.monotonic()
        told, much = imported(many, tmp_path, count)
        assert told["commands"] == 8 + 3 * count
        assert told["commands"] / (time.monotonic() - began) > 500, "thousands a second, on a machine of its own"
        with psycopg.connect(many) as conn:
            outcomes = dict(conn.execute("SELECT type, count(*) FROM event GROUP BY type").fetchall())
            days = conn.execute(REVIEWS).fetchall()
    assert (outcomes["RequestApproved"], outcomes["RequestDenied"]) == (count * 4 // 5, count // 5)
    assert outcomes["GrantIssued"] == count * 4 // 5
    assert len(days) == count and median(day for (day,) in days) == 3
    assert much < 1.25 * little


REVIEWS = """
SELECT extract(epoch FROM
    (decided.record ->> 'occurred')::timestamptz - (registered.record ->> 'occurred')::timestamptz) / 86400
FROM event_json AS registered JOIN event_json AS decided USING (stream)
WHERE registered.type = 'RequestRegistered' AND decided.type IN ('RequestApproved', 'RequestDenied')"""


def test_the_benchmark_tells_rate_memory_and_the_ratio_to_a_bulk_insert(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark(["import", "--json", "--commands", "1000"]) == 0
    found = json.loads(capsys.readouterr().out)
    figures = found["figures"]
    assert (figures["commands"], set(figures["peak_rss_mib"])) == (1000, {"100", "1000"})
    ours, theirs = figures["events_per_second"], figures["bulk_rows_per_second"]
    assert found["ratios"]["vs_bulk_insert"] == pytest.approx(ours / theirs, abs=0.001)
