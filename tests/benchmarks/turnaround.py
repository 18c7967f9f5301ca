"""How long does the dashboard of turnaround take over a million requests, beside ten thousand: now, then, of some days?

The rows are made up by the database, not by a log: five years of requests for a hundred releases, each reviewed by two
to four agencies, with all their changes in the order of their positions. They are summed as a rebuild sums them.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, get_args

from psycopg import AsyncConnection, sql

from domain.authority import Reach
from domain.fields import Label
from projections.pages import NOW, Asked
from projections.projector import create, index
from projections.statements import Connection
from projections.turnaround import TABLE, By, Question, figures, requests
from services.assent import MIGRATIONS
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from tests.benchmarks.report import Report, progress

FACTS_OF_A_REQUEST = 9
FIRST, DAYS = date(2021, 1, 1), 1826
AUDITOR = Reach("auditor", Label.AUDITOR, frozenset(), frozenset())
PERIODS: dict[str, Callable[[Random], tuple[date | None, date | None]]] = {
    "ever": lambda chance: (None, None),
    "a_year": lambda chance: (date(2024, 1, 1), date(2024, 12, 31)),
    "ninety_days": lambda chance: ((first := FIRST + timedelta(chance.randrange(900, 1_300))), first + timedelta(89)),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many there are (1000000)")
    parser.add_argument("--few", type=int, default=10_000, help="how many it is compared with (10000)")
    parser.add_argument("--repetitions", type=int, default=15, help="how often each question is asked (15)")


def run(options: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name, EmbeddedPostgres(Path(name, "data")) as conninfo:
        migrate(conninfo, MIGRATIONS)
        return asyncio.run(_measured(conninfo, options))


async def _measured(conninfo: str, options: argparse.Namespace) -> Report:
    """Each question is asked of both sizes, one right after the other."""
    report, counts = Report(), (options.few, options.requests)
    async with await AsyncConnection.connect(conninfo, autocommit=True) as conn:
        for count in counts:
            progress(f"Making and summing {count:,} requests")
            report.figures[f"{count}_requests"] = await _made(conn, count)
        questions = {count: _questions(conn, FACTS_OF_A_REQUEST * count) for count in counts}
        for name in questions[options.few]:
            progress(name)
            for count in counts:
                await _serve(conn, count)
                found = await _timed(questions[count][name], options.repetitions)
                report.figures[f"{count}_requests"][name] = found
    few, many = report.figures.values()
    asked = questions[options.few]
    report.ratios = {f"{name}_vs_few": round(many[name]["p50_ms"] / few[name]["p50_ms"], 2) for name in asked}
    for found in (few, many):
        found["p50_ms_of_all"] = round(median(found[name]["p50_ms"] for name in asked), 2)
    report.ratios["all_vs_few"] = round(many["p50_ms_of_all"] / few["p50_ms_of_all"], 2)
    return report


def _schema(count: int) -> str:
    return f"{TABLE.name}_v{TABLE.version}_{count}"


async def _made(conn: Connection, count: int) -> dict[str, Any]:
    """So many requests, summed; how long that took, and how much room it takes."""
    schema = _schema(count)
    await create(conn, TABLE, schema, "building")
    await _make(conn, schema, count)
    began = time.perf_counter()
    await index(conn, TABLE, schema)
    found: dict[str, Any] = {"indexed_and_summed_s": round(time.perf_counter() - began, 1)}
    names = {table: sql.Identifier(schema, table) for table in ("current", "past", "tally")}
    await conn.execute(sql.SQL("ANALYZE {current}, {past}, {tally}").format(**names))
    await conn.execute("UPDATE projection SET role = 'retired' WHERE schema = %s", (schema,))
    mib = sql.SQL("SELECT pg_total_relation_size({}::regclass) / 1048576.0")
    for table in names:
        literal = sql.Literal(f'"{schema}".{table}')
        found[f"{table}_mib"] = round(float((await (await conn.execute(mib.format(literal))).fetchone() or (0,))[0]))
    return found


async def _serve(conn: Connection, count: int) -> None:
    """From now on the figures are those of so many requests."""
    last = FACTS_OF_A_REQUEST * count - 1
    await conn.execute("UPDATE projection SET role = 'retired' WHERE role = 'live'")
    await conn.execute("UPDATE projection SET role = 'live', position = %s WHERE schema = %s", (last, _schema(count)))


Ask = Callable[[Random], Awaitable[Any]]


def _questions(conn: Connection, size: int) -> dict[str, Ask]:
    """What is asked, by name: figures and first pages of what is behind them, now and about a year ago."""

    def figures_of(by: By, period: str, is_now: bool) -> Ask:
        def ask(chance: Random) -> Awaitable[Any]:
            asked = NOW if is_now else Asked(int(size * (0.8 + chance.uniform(-0.02, 0.02))))
            return figures(conn, AUDITOR, Question(by, *PERIODS[period](chance)), asked)

        return ask

    def behind(by: By, is_now: bool, **of: Any) -> Ask:
        def ask(chance: Random) -> Awaitable[Any]:
            asked = NOW if is_now else Asked(int(size * (0.8 + chance.uniform(-0.02, 0.02))))
            return requests(conn, AUDITOR, Question(by), asked, **of)

        return ask

    found: dict[str, Ask] = {}
    for when in ("now", "a_year_ago"):
        for by in get_args(By):
            for period in PERIODS:
                found[f"by_{by}_{period}_{when}"] = figures_of(by, period, when == "now")
        found[f"behind_an_agency_{when}"] = behind("agency", when == "now", value="a3", outcome="denied")
        found[f"behind_a_release_{when}"] = behind("release", when == "now", value="rel42", measure="deadlines_missed")
        found[f"behind_nobodys_{when}"] = behind("provider", when == "now", value="p99")
        found[f"behind_a_size_{when}"] = behind("size_class", when == "now", value="startup", outcome="lapsed")
    return found


async def _timed(ask: Ask, repetitions: int) -> dict[str, float]:
    chance, took = Random(1), []
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        await ask(chance)
        took.append((time.perf_counter() - began) * 1000)
    warm = sorted(took[1:])
    return {"p50_ms": round(median(warm), 2), "most_ms": round(warm[-1], 2)}


async def _make(conn: Connection, schema: str, count: int) -> None:
    """Requests spread over five years, each with nine facts; what is known of it changes at some of their positions."""
    size = FACTS_OF_A_REQUEST * count
    numbers = {
        "count": sql.Literal(count),
        "days": sql.Literal(DAYS),
        "a_day": sql.Literal(size / DAYS),
        "size": sql.Literal(size),
        "first": sql.Literal(str(FIRST)),
    }
    tables = {name: sql.Identifier(schema, name) for name in ("current", "past")}
    async with conn.transaction():
        await conn.execute("SELECT setseed(0.5)")
        for statement in (REQUESTS, VERSIONS, SHARES, PARTS, GRANTS, KEEP):
            await conn.execute(sql.SQL(statement).format(**numbers, **tables))


REQUESTS = """
CREATE TEMPORARY TABLE request ON COMMIT DROP AS
SELECT nth, nth::bigint * {size} / {count} AS began, day, rel, customer % 20000 AS customer, agencies.named,
    random() ^ 2 * 6 + 0.3 AS intake, 2 + random() * 10 + random() ^ 2 * 40 AS took, random() AS ends, random() AS asks,
    random() < 0.1 AS missed, random() < 0.03 AS silence
FROM (
    SELECT nth, nth::float / {count} * {days} AS day, (random() * 20000)::int AS customer,
        ((nth::float / {count} * {days} - random() * 365) / 18 + 21)::int AS rel
    FROM generate_series(0, {count} - 1) AS nth
) AS one CROSS JOIN LATERAL (
    SELECT CASE rel % 3 WHEN 0 THEN '{{a0,a1}}' WHEN 1 THEN '{{a0,a2,a3}}' ELSE '{{a0,a1,a4,a5}}' END::text[] AS named
) AS agencies"""

_END = """CASE WHEN ends < 0.5 THEN 'approved' WHEN ends < 0.7 THEN 'conditional' WHEN ends < 0.74 THEN 'no_objection'
    WHEN ends < 0.86 THEN 'denied' WHEN ends < 0.9 THEN 'returned' WHEN ends < 0.98 THEN 'withdrawn'
    ELSE 'lapsed' END"""
_WHO = """'cust' || customer AS customer, 'p' || rel % 10 AS provider, 'rel' || rel AS release,
    (ARRAY['startup', 'small', 'medium', 'large'])[1 + customer % 4] AS size_class,
    named || ('p' || rel % 10) AS concerned"""
_OPEN = "9223372036854775807"


def _version(kind: str, day: str, outcome: str, flags: str, measures: str, since: str, until: str) -> str:
    """A row as it was from some days after the submission up to others."""
    position = "(began + ({}) * {{a_day}})::bigint"
    until = _OPEN if until == _OPEN else position.format(until)
    return f"""SELECT {kind}, {_WHO}, began, to_char({{first}}::date + (day + {day})::int, 'YYYY-MM-DD') AS day,
        {outcome} AS outcome, {flags}, {measures}, {position.format(since)} AS since, {until} AS until"""


_TENTHS = "CASE WHEN {0} < 10 THEN ({0} * 10)::int ELSE 10 * ({0})::int END"
_INTAKE = _TENTHS.format("intake")
_REVIEW = "'review' AS about, lpad(nth::text, 26, '0') AS id, '1' AS cycle, '' AS agency"
_BY_THEM = "CASE WHEN ends < 0.9 THEN {} END"
VERSIONS = (
    "CREATE TEMPORARY TABLE version ON COMMIT DROP AS "
    + " UNION ALL ".join(
        each + " FROM request" + also
        for each, also in (
            (
                _version(
                    _REVIEW, "0", "'pending'", "false AS missed, false AS asked, false AS silence",
                    "NULL::int AS intake, NULL::int AS net, NULL::int AS gross", "0", "intake",
                ),
                "",
            ),
            (
                _version(
                    _REVIEW, "0", "'pending'", "false, false, false", f"{_INTAKE}, NULL, NULL", "intake",
                    "intake + took * CASE WHEN asks < 0.3 THEN 0.3 ELSE 1 END",
                ),
                "",
            ),
            (
                _version(
                    _REVIEW, "0", "'pending'", "missed, true, false", f"{_INTAKE}, NULL, NULL", "intake + took * 0.3",
                    "intake + took",
                ),
                " WHERE asks < 0.3",
            ),
            (
                _version(
                    _REVIEW, "intake + took", _END, "missed, asks < 0.3, silence",
                    f"{_INTAKE}, {_BY_THEM.format(_TENTHS.format('(took * 0.9)'))}, "
                    f"{_BY_THEM.format(_TENTHS.format('(intake + took)'))}",
                    "intake + took", _OPEN,
                ),
                "",
            ),
        )
    )
)  # fmt: skip
_PART = _REVIEW.replace("'review'", "'part'").replace("'' AS agency", "agency")
_SHARE = "took * (0.2 + 0.7 * share)"
SHARES = """
CREATE TEMPORARY TABLE part ON COMMIT DROP AS
SELECT request.*, agency, random() AS share FROM request, unnest(named) AS agency"""
PARTS = "INSERT INTO version " + " UNION ALL ".join(
    f"{each} FROM part"
    for each in (
        _version(
            _PART, "intake", "'pending'", "false, false, false", "NULL, NULL, NULL", "intake", f"intake + {_SHARE}",
        ),
        _version(
            _PART, f"intake + {_SHARE}", _END, "missed, asks < 0.1, silence",
            f"NULL::int, {_TENTHS.format(f'({_SHARE} * 0.9)')}, {_TENTHS.format(f'({_SHARE})')}",
            f"intake + {_SHARE}", _OPEN,
        ),
    )
)  # fmt: skip
GRANTS = """
INSERT INTO version
SELECT DISTINCT ON (release, customer) 'authorisation', release, '', '', customer, provider, release, size_class,
    ARRAY[provider], since, day, 'authorised', false, false, false, NULL::int, NULL::int, gross, since, until
FROM version WHERE about = 'review' AND outcome IN ('approved', 'conditional') AND since < {size}
ORDER BY release, customer, since"""
_KEPT = """about, id, cycle, agency, customer, provider, release, size_class, concerned, '{{}}'::text[], '', began, day,
    outcome, missed, asked, silence, intake, net, gross, now(), now(), since"""
KEEP = f"""
INSERT INTO {{past}} SELECT {_KEPT}, until FROM version WHERE since < until AND until < {{size}} ORDER BY until;
INSERT INTO {{current}} SELECT {_KEPT} FROM version WHERE since < {{size}} AND until >= {{size}} ORDER BY since;
"""  # noqa: S608 - names of ours
