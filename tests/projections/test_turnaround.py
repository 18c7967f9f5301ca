"""Are the figures of turnaround those that the log gives at every position, and of what is listed behind them?"""

import json
import os
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from projections import turnaround
from projections.pages import Asked, Clause
from projections.turnaround import By, Question, figures, plan, requests
from services.log import record
from services.project import Projecting
from tests.projections.reckoning import Reckoning
from tests.projections.shelf import Connection, append, as_, projecting, reached
from tests.simulation.workload import Workload

PAGE = Path(__file__).parents[2] / "docs" / "turnaround.md"

SMALL_BLOCKS = replace(turnaround.TABLE, block_bits=4)
"""So that a story of some thousand facts fills blocks of four levels."""

BYS: tuple[By, ...] = ("agency", "provider", "size_class", "release")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnaround, "TABLE", SMALL_BLOCKS)


async def everything(conn: Connection, question: Question, at: int | None, **of: Any) -> list[dict[str, Any]]:
    """Every item behind a figure, page by page."""
    found, cursor = [], None
    while True:
        page = await requests(conn, as_("ada"), question, Asked(at, cursor, 200), **of)
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


def told(item: dict[str, Any]) -> dict[str, Any]:
    """An item's figures in the form of the reckoning's."""
    of = lambda days: (days["count"], days["median"], days["mean"], days["p90"]) if days else (0, None, None, None)  # noqa: E731
    return {
        "reviews": item["reviews"],
        "outcomes": {outcome: count for outcome, count in item["outcomes"].items() if count},
        **{name: item[name] for name in ("deadlines_missed", "silence", "information_requests")},
        "days": {name: of(days) for name, days in item["days"].items()},
        "authorised": of((item["authorised"] or {}).get("all")),
        "small": of((item["authorised"] or {}).get("small")),
        "available": of(item["available"]),
    }


def row_of(item: dict[str, Any]) -> tuple[Any, ...]:
    times = [
        time and (time if isinstance(time, datetime) else datetime.fromisoformat(time))
        for time in (item["started"], item["ended"])
    ]
    days = [None if (found := item[f"{name}_days"]) is None else float(found) for name in ("intake", "net", "gross")]
    names = ("request", "cycle", "agency", "customer", "size_class", "provider", "release", "outcome", "day")
    flags = ("deadline_missed", "silence", "information_requested")
    return *(item.get(name) or "" for name in names), *times, *days, *(item[flag] for flag in flags)


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_figures_are_those_that_a_walk_through_the_log_gives(
    log: str, conn: Connection, small_blocks: None, seed: int
) -> None:
    world = Workload(f"turnaround {seed}", keep=True)
    world.run(2_500)
    lines = [line for append_ in world.appends or [] for line in append_]
    records = [json.loads(line) for line in lines]
    chance = Random(seed)
    facts = [record.read(line) for line in lines]
    async with projecting(log, [SMALL_BLOCKS]):
        start = 0
        while start < len(facts):
            end = min(len(facts), start + chance.choice((1, 40, 700)))
            append(log, facts[start:end])
            await reached(log, end - 1, [SMALL_BLOCKS])
            start = end
        assert (await Projecting(log).verify(SMALL_BLOCKS)).difference is None
    days = sorted({row["day"] for row in Reckoning(records, len(records)).rows})
    positions = [len(records) - 1, *(chance.randrange(len(records)) for _ in range(6)), 255, 256]
    for position in positions:
        reckoned = Reckoning(records, position)
        first, last = sorted((chance.choice(days), chance.choice(days)))
        for since, until in ((None, None), (first, None), (None, last), (first, last)):
            limits = (since or "", until or "9999")
            for by in BYS:
                question = Question(by, since and date.fromisoformat(since), until and date.fromisoformat(until))
                found = await figures(conn, as_("ada"), question, Asked(position, None, 200))
                assert found.position == position
                assert {item["value"]: told(item) for item in found.items} == reckoned.figures(by, *limits)
        for by in BYS:
            listed = await everything(conn, Question(by, date.fromisoformat(first)), position)
            assert sorted(map(row_of, listed)) == sorted(map(row_of, reckoned.reviews(by, first)))


# Which sums and rows make up a period


def covered(since: date | None, until: date | None, level: int) -> list[date]:
    """The days that a plan adds up, each as often as it counts."""
    months, edges = plan(since, until)
    counts: dict[date, int] = {}
    every = [date(2023, 1, 1) + timedelta(days=nth) for nth in range(4 * 365)]
    for day in every:
        counts[day] = sum(sign * (first <= str(day) <= last) for sign, first, last in edges)
        counts[day] += 0 if months is None else sum(_in_period(day, clause) for clause in months.periods(level))
    assert set(counts.values()) <= {0, 1}
    return [day for day, count in counts.items() if count]


def _in_period(day: date, clause: Clause) -> bool:
    length = 4 if "length(period) = 4" in clause.text else 7
    first, last = clause.values or ("", "9999")
    return bool(first <= str(day)[:length] <= last)


@pytest.mark.parametrize("level", [0, 2])
def test_years_months_and_single_days_make_up_exactly_the_days_asked_for(level: int) -> None:
    chance = Random(7)
    for _ in range(300):
        since, until = sorted(date(2023, 6, 1) + timedelta(days=chance.randrange(900)) for _ in "12")
        for first, last in ((since, until), (since, None), (None, until), (None, None)):
            expected = [
                day
                for nth in range(4 * 365)
                if (first or date.min) <= (day := date(2023, 1, 1) + timedelta(days=nth)) <= (last or date.max)
            ]
            assert covered(first, last, level) == expected
            months, edges = plan(first, last)
            assert (
                sum((date.fromisoformat(b) - date.fromisoformat(a)).days + 1 for _, a, b in edges)
                <= 2 * 16 + (months is None) * 31
            ), "few rows are counted one by one"


# The page


def definitions() -> str:
    rows = [f"| {name.replace('_', ' ')} | {text} |" for name, text in turnaround.DEFINITIONS.items()]
    return "\n".join(["| word | meaning |", "|---|---|", *rows])


def test_the_page_says_what_the_answer_says() -> None:
    begin, end = "<!-- definitions -->\n", "\n<!-- /definitions -->"
    before, _, rest = PAGE.read_text().partition(begin)
    after = rest.partition(end.lstrip())[2]
    written = f"{before}{begin}{definitions()}{end}{after}"
    if os.environ.get("WRITE_PAGES"):
        PAGE.write_text(written)
    assert PAGE.read_text() == written, "./run docs writes it anew"
