"""Are the figures of turnaround those that the log gives at every position, and of what is listed behind them?"""

import json
import os
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from psycopg import sql

from domain.authority import Office, reach
from domain.grant import RevokeGrant
from domain.organization import ChangeOrganization
from domain.release import AdvancePhase, SignOffPhase
from domain.request import (
    AcceptInformation,
    AmendRequest,
    Changes,
    DecideAppeal,
    FileAppeal,
    ProvideInformation,
    Recuse,
    RequestInformation,
    ReturnWithoutAction,
    SignOff,
    WithdrawRequest,
)
from domain.sign_offs import AllOf, AtLeast, Leaf
from projections import turnaround
from projections.filling import fill
from projections.pages import Asked, Clause
from projections.projector import create, index
from projections.turnaround import By, Question, figures, plan, requests
from services.log import record
from services.project import Projecting, reading
from tests.projections.reckoning import Reckoning
from tests.projections.shelf import Connection, append, as_, projecting, reached, tell
from tests.simulation.workload import Workload
from tests.spec import application, approve, granted, in_review, preview, second_request

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


# What counts as what


async def figure(conn: Connection, by: By, value: str, person: str = "ada", at: int | None = None) -> dict[str, Any]:
    """The figures of one value."""
    found = {item["value"]: item for item in (await figures(conn, as_(person), Question(by), Asked(at))).items}
    return found[value]


def outcomes(item: dict[str, Any]) -> dict[str, int]:
    return {outcome: count for outcome, count in item["outcomes"].items() if count}


async def test_silence_is_counted_apart_and_never_as_an_approval(log: str, conn: Connection) -> None:
    silent = AllOf((Leaf("oncd"), Leaf("ostp", silence="no_objection")))
    story = in_review(silent).given(SignOff("nw", "oncd", "approve"), by="olga")
    story.when_time_passes("2026-08-01T00:00:00Z", ids=["g"])
    await tell(log, story)
    ostp, review = await figure(conn, "agency", "ostp"), await figure(conn, "provider", "openai")
    assert outcomes(ostp) == outcomes(review) == {"no_objection": 1}
    assert (ostp["silence"], review["silence"], (await figure(conn, "agency", "oncd"))["silence"]) == (1, 1, 0)
    assert ostp["days"]["gross"]["count"] == 0, "silence is no answer whose speed could be told"
    assert outcomes(await figure(conn, "agency", "oncd")) == {"approved": 1}


async def test_an_approval_that_did_not_need_the_silence_is_one(log: str, conn: Connection) -> None:
    either = AtLeast(1, (Leaf("oncd", quorum=2), Leaf("ostp", silence="no_objection"), Leaf("commerce")))
    story = in_review(AllOf((either, Leaf("bis"))))
    story.when_time_passes("2026-08-01T00:00:00Z")
    story.given(SignOff("nw", "commerce", "approve"), by="cora").given(SignOff("nw", "bis", "approve"), by="bea")
    await tell(log, story)
    review = await figure(conn, "size_class", "large")
    assert (outcomes(review), review["silence"], review["deadlines_missed"]) == ({"approved": 1}, 1, 1)
    assert outcomes(await figure(conn, "agency", "oncd")) == {"unanswered": 1}


async def test_waiting_for_the_applicant_is_taken_out_of_net_days_once(log: str, conn: Connection) -> None:
    story = in_review(AllOf((Leaf("oncd"), Leaf("ostp"))))
    story.at("2026-06-29T14:00:00Z").given(RequestInformation("nw", "oncd", "Who?"), by="olga")
    story.at("2026-06-30T14:00:00Z").given(RequestInformation("nw", "ostp", "Where?"), by="sam")
    story.at("2026-07-02T14:00:00Z").given(
        ProvideInformation("nw", 1, "We."), ProvideInformation("nw", 2, "Here."), by="nina"
    )
    for number, agency, person in ((1, "oncd", "olga"), (2, "ostp", "sam")):
        story.given(AcceptInformation("nw", number), by=person).given(SignOff("nw", agency, "approve"), by=person)
    await tell(log, story)
    review, oncd = await figure(conn, "release", "gpt-5.6"), await figure(conn, "agency", "oncd")
    assert {name: found["median"] for name, found in review["days"].items()} == {
        "intake": 0.9,
        "net": 2.0,
        "gross": 5.9,
    }
    assert {name: found["median"] for name, found in oncd["days"].items()} == {"intake": None, "net": 2.0, "gross": 5.0}
    assert (review["information_requests"], review["information_requests_share"]) == (1, 1.0)


async def test_a_material_amendment_starts_the_agencies_clocks_anew_and_not_the_reviews(
    log: str, conn: Connection
) -> None:
    story = in_review(AllOf((Leaf("oncd"), Leaf("ostp"))))
    story.at("2026-06-30T14:00:00Z").given(SignOff("nw", "oncd", "approve"), by="olga")
    signed = story.facts[-1].position
    story.at("2026-07-03T14:00:00Z").given(AmendRequest("nw", Changes(duration_days=360)), by="nina")
    voided = story.facts[-1].position
    story.at("2026-07-04T14:00:00Z").given(SignOff("nw", "oncd", "approve"), by="olga")
    story.given(SignOff("nw", "ostp", "approve"), by="sam")
    await tell(log, story)
    assert (await figure(conn, "agency", "oncd"))["days"]["net"]["median"] == 1.0
    assert (await figure(conn, "provider", "openai"))["days"]["net"]["median"] == 7.0
    assert outcomes(await figure(conn, "agency", "oncd", at=voided)) == {"pending": 1}
    assert (await figure(conn, "agency", "oncd", at=signed))["days"]["net"]["median"] == 3.0


async def test_what_went_back_before_registration_has_intake_days_and_was_never_the_agencies(
    log: str, conn: Connection
) -> None:
    story = preview().at("2026-06-26T16:00:00Z").given(application(), by="nina", ids=["nw"])
    story.at("2026-06-28T16:00:00Z").given(ReturnWithoutAction("nw", "No use is named."), by="rita")
    story.given(application("tinker"), by="tom", ids=["tk"]).given(WithdrawRequest("tk"), by="tom")
    story.given(application("tinker", draft=True), by="tom", ids=["dr"]).given(WithdrawRequest("dr"), by="tom")
    await tell(log, story)
    review = await figure(conn, "provider", "openai")
    assert outcomes(review) == {"returned": 1, "withdrawn": 1}
    assert {name: (found["count"], found["median"]) for name, found in review["days"].items()} == {
        "intake": (1, 2.0),
        "net": (0, None),
        "gross": (1, 2.0),
    }
    assert (await figures(conn, as_("ada"), Question("agency"))).items == []


async def test_an_appeal_is_a_review_of_its_own_and_edits_no_earlier_one(log: str, conn: Connection) -> None:
    story = in_review(Leaf("oncd")).at("2026-06-29T14:00:00Z").given(SignOff("nw", "oncd", "refuse"), by="olga")
    story.at("2026-07-01T14:00:00Z").given(FileAppeal("nw", "Unfair"), by="nina")
    story.at("2026-07-05T14:00:00Z").given(DecideAppeal("nw", 1, "reverse", "It is fair."), by="dean", ids=["g"])
    await tell(log, story)
    items = (await requests(conn, as_("ada"), Question("provider"))).items
    assert [(item["cycle"], item["outcome"], item["intake_days"], item["net_days"]) for item in items] == [
        (1, "denied", 0.9, 2.0),
        (2, "approved", None, 4.0),
    ]
    assert [item["outcome"] for item in (await requests(conn, as_("ada"), Question("agency"))).items] == ["denied"]


async def test_what_is_told_late_counts_on_the_day_on_which_it_happened_once_the_log_knows_it(
    log: str, conn: Connection
) -> None:
    story = in_review(Leaf("oncd")).at("2026-07-20T14:00:00Z")
    known = story.facts[-1].position
    story.when(SignOff("nw", "oncd", "approve"), by="olga", occurred="2026-06-30T02:00:00Z", ids=["g"])
    await tell(log, story)
    evening = Question("provider", date(2026, 6, 29), date(2026, 6, 29))
    (item,) = (await figures(conn, as_("ada"), evening)).items
    assert (outcomes(item), item["days"]["net"]["median"]) == ({"approved": 1}, 2.5), "in Washington it was the 29th"
    assert (await figures(conn, as_("ada"), evening, Asked(known))).items == []


async def test_a_customers_first_grant_counts_whatever_became_of_it_and_by_the_size_it_had(
    log: str, conn: Connection
) -> None:
    story = granted()
    story.at("2026-07-01T15:00:00Z").given(RevokeGrant("g", "Misuse", "Breach"), by="carl")
    story.given(ChangeOrganization("northwind", size_class="small"))
    story.at("2026-07-04T15:00:00Z")
    approve(second_request(story), "tk", "g2")
    approve(second_request(story, "northwind", "nina", "nw2"), "nw2", "g3")
    story.at("2026-07-14T15:00:00Z").given(
        SignOffPhase("gpt-5.6", "general_availability", "oncd", "approve"), by="olga"
    )
    story.given(SignOffPhase("gpt-5.6", "general_availability", "ostp", "approve"), by="sam")
    story.given(AdvancePhase("gpt-5.6", "general_availability"), by="rae")
    await tell(log, story)
    item = await figure(conn, "release", "gpt-5.6")
    assert {size: (found["count"], found["median"]) for size, found in item["authorised"].items()} == {
        "all": (2, 8.0),
        "small": (1, 10.0),
        "large": (1, 6.0),
    }
    assert (item["available"]["count"], item["available"]["median"]) == (1, 20.0)
    sizes = {each["value"]: each["reviews"] for each in (await figures(conn, as_("ada"), Question("size_class"))).items}
    assert sizes == {"large": 1, "startup": 1, "small": 1}, "a review keeps the size that its customer had"
    (tinker,) = (await requests(conn, as_("ada"), Question("release"), measure="authorised_small")).items
    assert (tinker["customer"], tinker["grant"], tinker["request"]) == ("tinker", "g2", None)


# Who sees what


async def test_everybody_sees_the_figures_of_what_they_may_read_and_exactly_what_is_behind_them(
    log: str, conn: Connection
) -> None:
    story = approve(in_review().at("2026-06-30T15:00:00Z"), "nw", "g")
    second_request(story)
    story.given(Recuse("tk", "sam", "A cousin works there"), by="sue")
    await tell(log, story)
    expected = {"ada": 2, "rita": 2, "dean": 2, "olga": 2, "rae": 2, "sam": 1, "bea": 0, "nina": 0, "tom": 0, "root": 2}
    administrator = reach("root", (Office("assent", "assent", "administrator"),))
    for person, count in expected.items():
        reader = administrator if person == "root" else as_(person)
        found = (await figures(conn, reader, Question("provider"))).items
        behind = (await requests(conn, reader, Question("provider"))).items
        assert sum(item["reviews"] for item in found) == count, person
        assert len(behind) == (0 if person == "root" else count), person
        before = await figures(conn, reader, Question("agency"), Asked(story.facts[-2].position))
        assert {item["reviews"] for item in before.items} == ({count} if count else set()), person
    bea = await figure(conn, "provider", "openai", "bea")
    assert (bea["reviews"], bea["authorised"]["all"]["count"]) == (0, 1), "who is admitted, every officer may know"


async def test_filled_in_any_order_of_streams_the_rows_and_sums_are_the_same(
    log: str, conn: Connection, small_blocks: None
) -> None:
    facts = approve(second_request(granted()), "tk", "g2").facts
    append(log, facts)
    async with projecting(log, [SMALL_BLOCKS]):
        await reached(log, len(facts) - 1, [SMALL_BLOCKS])
    schema = "turnaround_v2_2"
    await create(conn, SMALL_BLOCKS, schema, "retired")
    async with reading(log) as source:
        for kind in sorted(SMALL_BLOCKS.kinds, reverse=True):
            await fill(conn, source.lives(f"{kind}-", f"{kind}.", len(facts)), [(SMALL_BLOCKS, schema)], lambda _: None)
    await index(conn, SMALL_BLOCKS, schema)
    for table in SMALL_BLOCKS.tables:
        query = "SELECT t::text FROM {}.{} AS t ORDER BY 1"
        live, filled = [
            await (await conn.execute(sql.SQL(query).format(sql.Identifier(each), sql.Identifier(table)))).fetchall()
            for each in ("turnaround_v2", schema)
        ]
        assert live == filled
        assert live


# Which sums and rows make up a period


def covered(since: date | None, until: date | None, level: int) -> list[date]:
    """The days that a plan adds up; none of them twice."""
    span, edges = plan(since, until)
    counts: dict[date, int] = {}
    for day in (date(2023, 1, 1) + timedelta(days=nth) for nth in range(4 * 365)):
        counts[day] = sum(sign * (first <= str(day) <= last) for sign, first, last in edges)
        counts[day] += 0 if span is None else sum(_in_period(day, clause) for clause in span.periods(level))
    assert set(counts.values()) <= {0, 1}
    return [day for day, count in counts.items() if count]


def _in_period(day: date, clause: Clause) -> bool:
    length = int(clause.text.partition(" = ")[2][0])
    first, last = clause.values
    return bool(first <= str(day)[:length] <= last)


@pytest.mark.parametrize("level", [0, 2])
def test_years_months_tens_and_single_days_make_up_exactly_the_days_asked_for(level: int) -> None:
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
            _, edges = plan(first, last)
            one_by_one = sum((date.fromisoformat(b) - date.fromisoformat(a)).days + 1 for _, a, b in edges)
            assert one_by_one <= 10, "few rows are counted one by one"


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
