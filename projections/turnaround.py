"""How long do reviews take, how do they end, and how soon may customers use a model?"""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from psycopg import sql
from psycopg.rows import tuple_row

from domain.authority import Reach
from projections import organizations, pages
from projections.histograms import Days, bins, days, together
from projections.pages import NOW, Asked, Clause, Document, Page
from projections.reviews import OUTCOMES
from projections.statements import Connection
from projections.tally import (
    BITS_A_LEVEL,
    CONTRIBUTIONS,
    FLAGS,
    LEVELS,
    MEASURES,
    MONTH,
    TEN,
    YEAR,
    TallyTable,
)

DAY = timedelta(days=1)
TABLE = TallyTable(name="turnaround", version=2)

By = Literal["agency", "provider", "size_class", "release"]
Outcome = Literal[
    "approved",
    "conditional",
    "no_objection",
    "denied",
    "returned",
    "withdrawn",
    "lapsed",
    "unanswered",
    "pending",
]
Measure = Literal[
    "intake",
    "net",
    "gross",
    "deadlines_missed",
    "silence",
    "information_requests",
    "authorised",
    "authorised_small",
    "authorised_large",
    "available",
]

SMALL = 5
"""Fewer of anything say little: such figures are flagged, and exact all the same."""

DEFINITIONS = {
    "review": "One cycle of a request: from its submission to the decision. An appeal opens another review, from its "
    "filing to what decides it; the earlier one stays as it was. A draft is none. Amendments, extensions, escalations "
    "and renewals make no review of their own: their time is part of the one they happen in.",
    "part": "By agency, figures are of each agency's own part in the reviews whose tree names it: from the day its "
    "clock started (registration, a material amendment, or an appeal's remand, whichever was last) to its answer: "
    "when its sign-offs came to settle its leaves (quorum, countersignature, no open question of its own) as they "
    "stand. An answer that was struck or overruled by time, amendment or the agency itself is none; one that a "
    "decider overruled is still the agency's.",
    "period": "`from` and `to` (both included) are days in Washington, and select reviews by the day on which they "
    "were decided, in the world: by occurred times, also of what was backdated or imported. Pending ones are selected "
    "by the day on which they began; agencies' parts by the day of their answer; authorisations and availability by "
    "the day on which they came about.",
    "at": "Everything as the log had it at that position or time: what was recorded later, also of earlier days, does "
    "not count yet.",
    "approved": "Approved, and no sign-off that stands sets a condition. Of an agency: its approval stands.",
    "conditional": "Approved under a condition that a sign-off sets.",
    "no_objection": "Approved, and only because silence counted as no objection (NoObjectionDeemed): never an "
    "approval in these figures. Of an agency: it was silent until its due date, and has not answered since.",
    "denied": "Denied, or a denial upheld on appeal. Of an agency: its refusal stands.",
    "returned": "Sent back without action: by the registrar before the review, or by a decider.",
    "withdrawn": "Taken back by the applicant. An agency that had answered before keeps its answer.",
    "lapsed": "Ended because the applicant did not answer a question in time.",
    "unanswered": "Of agencies only: the request was decided without their answer.",
    "pending": "Not decided yet. Of an agency: it has not answered, and the request is not decided.",
    "deadlines_missed": "Reviews in which a due date was missed, the registrar's or an agency's. By agency: its own.",
    "silence": "Reviews in which an agency's silence was deemed no objection, however they ended. By agency: its own.",
    "information_requests": "Reviews in which the applicant was asked something; the share is of all reviews. By "
    "agency: it asked.",
    "intake": "Days from submission to registration, or to the return where it went back before. Appeals have none.",
    "gross": "Days from submission (of an appeal: its filing) to the decision, everything included. Reviews that the "
    "applicant withdrew or let lapse have none. By agency: from its clock's start to its answer.",
    "net": "Days from registration (of an appeal: its filing) to the decision, without those in which the applicant "
    "was waited for: the union of the times from a question to its answer. By agency: gross days, less such waiting.",
    "days": "Days of twenty-four hours: to a tenth of a day up to ten days, to a whole day from there on, halves "
    "rounded up. The median is the middle one, or the mean of the two in the middle; p90 the smallest that nine in "
    "ten do not exceed (nearest rank). At most 15,000 days are told.",
    "size_class": "The size of the customer when the review began, or when it was authorised.",
    "authorised": "Days from the model's announcement to a customer's first grant of the release, whatever became of "
    "that grant. Small customers: startup and small; large: medium and large.",
    "available": "Days from the model's announcement to the first phase that is open to all.",
    "small": f"Fewer than {SMALL}: such figures are exact, and say little.",
}
"""What the figures mean: shown with them, and told in docs/turnaround.md."""

SIZES = {"small": ("startup", "small"), "large": ("medium", "large")}
_ABOUT = {
    "agency": ("part",),
    "size_class": ("review", "authorisation"),
    "provider": ("review", "authorisation", "availability"),
    "release": ("review", "authorisation", "availability"),
}
_FIGURES = {"deadlines_missed": "missed", "silence": "silence", "information_requests": "asked"}


@dataclass(frozen=True, slots=True)
class Question:
    """Figures by what, and of which days (both included; None: open)."""

    by: By
    since: date | None = None
    until: date | None = None


FIELDS = (
    "value",
    "reviews",
    "outcomes",
    *_FIGURES,
    "information_requests_share",
    "days",
    "authorised",
    "available",
    "small",
    "requests",
)
"""What is told of each value; `requests`: where what is behind it is listed."""

FIELDS_BEHIND = (
    "request",
    "cycle",
    "agency",
    "customer",
    "size_class",
    "provider",
    "release",
    "grant",
    "outcome",
    "started",
    "ended",
    "day",
    "intake_days",
    "net_days",
    "gross_days",
    "deadline_missed",
    "silence",
    "information_requested",
)


# Who sees what


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose reviews count for a reader: all, or those that concern these organizations; of whose requests none does
    (I5); and whether they know of all customers admitted to all releases.
    """

    everything: bool
    organizations: list[str]
    rollouts: bool
    person: str

    def clause(self) -> Clause:
        if self.everything:
            return Clause("true")
        rollouts = " OR about IN ('authorisation', 'availability')" if self.rollouts else ""
        return Clause(f"(concerned && %s::text[]{rollouts})", (self.organizations,))


async def sight(conn: Connection, reach: Reach) -> Sight | None:
    """None: nothing of this is for that reader."""
    everything = reach.clearance is not None or reach.statistics
    if not everything and not reach.full:
        return None
    rollouts = everything or await organizations.is_any_agency(conn, reach.full)
    return Sight(everything, sorted(reach.full), rollouts, reach.person)


_RECUSED = "recused <> ARRAY[]::text[] AND recused @> ARRAY[%s::text]"
_RECUSED_FROM = f"SELECT id FROM {{current}} WHERE {_RECUSED} UNION SELECT id FROM {{past}} WHERE {_RECUSED}"  # noqa: S608 - names of ours
"""The requests from which somebody was ever recused."""


# The figures


async def figures(conn: Connection, reach: Reach, question: Question, asked: Asked = NOW) -> Page:
    """For each value that the question asks by, in its order: counts, days, and the way to what is behind them.

    Raises Malformed for a bad limit, NotReady while the rows are being built for the first time.
    """
    pages.must_fit(asked)
    seen = await sight(conn, reach)
    async with conn.transaction():
        await conn.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL max_parallel_workers_per_gather = 0"
        )
        reached = await pages.common_position(conn, [TABLE], None)
        at = reached if asked.at is None else min(asked.at, reached)
        found: list[tuple[Any, ...]] = []
        if seen is not None:
            sums = _Sums(await pages.schema_of(conn, TABLE), question, seen, at, at == reached)
            found = await sums.read(conn, asked.cursor or "")
    values = list(dict.fromkeys(value for value, *_ in found))
    shown = values[: asked.limit]
    items = [_item(value, question.by, [row for row in found if row[0] == value]) for value in shown]
    return Page(items, shown[-1] if len(values) > len(shown) else None, at)


class _Sums:
    """Which rows make up the figures as of a position: blocks that are summed, and what is beside them."""

    def __init__(self, schema: str, question: Question, seen: Sight, at: int, is_now: bool) -> None:
        self._names = {name: sql.Identifier(schema, name) for name in TABLE.tables}
        self._question, self._seen, self._at, self._is_now = question, seen, at, is_now
        self._about = list(_ABOUT[question.by])
        self._branches: list[sql.Composable] = []
        self._values: list[Any] = []

    async def read(self, conn: Connection, after: str) -> list[tuple[Any, ...]]:
        """(value, about, size, counts, intake, net, gross) of the values after one, in their order, without zeros."""
        span, edges = plan(self._question.since, self._question.until)
        recused_from = await self._recused_from(conn)
        if span is not None:
            (summed,) = (await self._rows(conn, "SELECT blocks FROM {summed}", []))[0]
            blocks = min((self._at + 1) >> TABLE.block_bits, summed)
            self._add_blocks(blocks, span)
            self._add_rows_since(blocks << TABLE.block_bits, span)
        for sign, first, last in edges:
            inside = Clause("day BETWEEN %s AND %s AND outcome = ANY (%s)", (first, last, list(EVERY_OUTCOME)))
            self._add_rows(sign, inside)
        if recused_from:
            days = str(self._question.since or ""), str(self._question.until or "9999-12-31")
            inside = Clause("day BETWEEN %s AND %s", days)
            self._add_rows(-1, inside, Clause("id = ANY (%s) AND about IN ('review', 'part')", (recused_from,)))
        sums = ", ".join(f"sum({name})::text" for name in CONTRIBUTIONS)
        query = f"""
            SELECT value, about, size, {sums}
            FROM ({{branches}}) AS part (value, about, size, {", ".join(CONTRIBUTIONS)})
            WHERE value > %s GROUP BY value, about, size HAVING sum(counts) <> 0 ORDER BY value"""  # noqa: S608 - names of ours
        return await self._rows(
            conn, query, [*self._values, after], branches=sql.SQL(" UNION ALL ").join(self._branches)
        )

    async def _recused_from(self, conn: Connection) -> list[str]:
        person = self._seen.person
        return [id for (id,) in await self._rows(conn, _RECUSED_FROM, [person, person])]

    async def _rows(
        self, conn: Connection, query: str, values: Sequence[Any], **parts: sql.Composable
    ) -> list[tuple[Any, ...]]:
        async with conn.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(sql.SQL(query).format(**self._names, **parts), values)
            return await cursor.fetchall()

    def _add(self, columns: Sequence[str], source: str, *clauses: Clause) -> None:
        size = " ".join(
            f"WHEN size_class IN ({', '.join(repr(each) for each in classes)}) THEN '{size}'"
            for size, classes in SIZES.items()
        )
        conditions = [Clause("about = ANY (%s)", (self._about,)), self._seen.clause(), *clauses]
        text = f"""
            SELECT {self._question.by}, about, CASE WHEN about <> 'authorisation' THEN '' {size} ELSE '' END,
                {", ".join(columns)}
            FROM {source} WHERE {" AND ".join(clause.text for clause in conditions)}"""  # noqa: S608 - names of ours
        self._branches.append(sql.SQL(text).format(**self._names))
        self._values += [value for clause in conditions for value in clause.values]

    def _add_blocks(self, blocks: int, days: "Span") -> None:
        """The largest blocks that lie wholly below, then the next smaller ones, down to single ones of level 0."""
        start = 0
        for level in range(LEVELS - 1, -1, -1):
            end = blocks >> (BITS_A_LEVEL * level)
            if start < end:
                for period in days.periods(level):
                    among = Clause("level = %s AND block >= %s AND block < %s", (level, start, end))
                    self._add(list(CONTRIBUTIONS), "{tally}", among, period)
            start = end << BITS_A_LEVEL

    def _add_rows_since(self, start: int, days: "Span") -> None:
        """What happened in the last block, which is not complete at this position."""
        for sign, table, position in ((1, "current", "since"), (1, "past", "since"), (-1, "past", "until")):
            happened = Clause(f"{position} >= %s AND {position} <= %s", (start, self._at))
            self._add(_signed(sign), f"{{{table}}}", happened, days.days())

    def _add_rows(self, sign: int, *clauses: Clause) -> None:
        """Rows that hold at this position, one by one."""
        self._add(_signed(sign), "{current}", *clauses, Clause("since <= %s", (self._at,)))
        if not self._is_now:
            held = Clause("since <= %s AND until > %s", (self._at, self._at))
            self._add(_signed(sign), "{past}", *clauses, held)


def _signed(sign: int) -> list[str]:
    return [f"{sign} * {contribution}" for contribution in CONTRIBUTIONS.values()]


# Days as years, months, tens, and single days at the edges


@dataclass(frozen=True, slots=True)
class Span:
    """Days from one that begins a ten to one that ends a ten, both included; None: open."""

    first: date | None
    last: date | None

    def days(self) -> Clause:
        """The rows whose day lies within."""
        return Clause("day BETWEEN %s AND %s", (str(self.first or ""), str(self.last or "9999-12-31")))

    def periods(self, level: int) -> Iterator[Clause]:
        """The sums that make it up: as years and months where those are kept, and the tens beside them."""
        if level == 0:
            yield _sums(TEN, self.first, self.last)
            return
        first = self.first and _begin_after(self.first, self.first.replace(day=1), _last_of(self.first))
        last = self.last and _end_before(self.last, self.last.replace(day=1), _last_of(self.last))
        if first and last and first > last:
            yield _sums(TEN, self.first, self.last)
            return
        yield from _beside(TEN, self.first, first, last, self.last)
        begin = first and _begin_after(first, first.replace(month=1), first.replace(month=12, day=31))
        end = last and _end_before(last, last.replace(month=1, day=1), last.replace(month=12))
        if begin and end and begin > end:
            yield _sums(MONTH, first, last)
            return
        yield from _beside(MONTH, first, begin, end, last)
        yield _sums(YEAR, begin, end)


def _sums(length: int, first: date | None, last: date | None) -> Clause:
    """The sums of periods of that length."""
    limits = str(first or "")[:length], str(last or "9999-12-31")[:length]
    return Clause(f"length(period) = {length} AND period BETWEEN %s AND %s", limits)


def _beside(
    length: int, first: date | None, begin: date | None, end: date | None, last: date | None
) -> Iterator[Clause]:
    """What lies before the beginning, and after the end, of the longer periods."""
    if first and begin and first < begin:
        yield _sums(length, first, begin - DAY)
    if last and end and last > end:
        yield _sums(length, end + DAY, last)


def _begin_after(day: date, begin: date, end: date) -> date:
    """The first day of the first period that lies wholly from a day on, which is in the one from `begin` to `end`."""
    return day if day == begin else end + DAY


def _end_before(day: date, begin: date, end: date) -> date:
    """The last day of the last period that lies wholly up to a day, which is in the one from `begin` to `end`."""
    return day if day == end else begin - DAY


Edge = tuple[int, str, str]
"""Single days to add (1) or to take away (-1), both ends included."""


def plan(since: date | None, until: date | None) -> tuple[Span | None, list[Edge]]:
    """The whole tens of some days, and the days to add to them, or to take away from them, whichever are fewer."""
    if since and until and _ten(since) == _ten(until) != (since, until):
        return None, [(1, str(since), str(until))]
    edges: list[Edge] = []
    first, last = since, until
    if since is not None:
        begin, end = _ten(since)
        if since - begin <= end - since:
            first = begin
            edges += [(-1, str(begin), str(since - DAY))] if begin < since else []
        else:
            first = end + DAY
            edges.append((1, str(since), str(end)))
    if until is not None:
        begin, end = _ten(until)
        if end - until <= until - begin:
            last = end
            edges += [(-1, str(until + DAY), str(end))] if until < end else []
        else:
            last = begin - DAY
            edges.append((1, str(begin), str(until)))
    return (None if first and last and first > last else Span(first, last)), edges


def _ten(day: date) -> tuple[date, date]:
    """The first and the last of the days whose texts begin alike up to the ten."""
    begin = max(1, day.day // 10 * 10)
    return day.replace(day=begin), min(day.replace(day=1) + timedelta(day.day // 10 * 10 + 8), _last_of(day))


def _last_of(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


# What is told of them


def _item(value: str, by: By, found: Sequence[tuple[Any, ...]]) -> Document:
    """Of one value: its reviews (or parts), and what its rollouts reached; None for what is not told by this."""
    sums = {(about, size): numbers for _, about, size, *numbers in found}
    counts, *measures = map(bins, sums.get(("part" if by == "agency" else "review", ""), [None] * len(CONTRIBUTIONS)))

    def of(bin: int) -> int:
        return counts[bin] if bin < len(counts) else 0

    reviews = of(0)
    return {
        "value": value,
        "reviews": reviews,
        "outcomes": {outcome: of(bin) for bin, outcome in enumerate(OUTCOMES, 1)},
        **{name: of(FLAGS[flag]) for name, flag in _FIGURES.items()},
        "information_requests_share": of(FLAGS["asked"]) / reviews if reviews else None,
        "days": {name: _told(days(measure)) for name, measure in zip(MEASURES, measures, strict=True)},
        "authorised": None if by == "agency" else _authorised(sums),
        "available": _told(days(bins(sums.get(("availability", ""), [None])[-1])))
        if by in ("provider", "release")
        else None,
        "small": reviews < SMALL,
    }


def _authorised(sums: dict[tuple[str, str], list[str | None]]) -> Document:
    of_size = {size: bins(found[-1]) for (about, size), found in sums.items() if about == "authorisation"}
    everybody: Sequence[int] = []
    for histogram in of_size.values():
        everybody = together(everybody, histogram)
    return {"all": _told(days(everybody)), **{size: _told(days(of_size.get(size, []))) for size in SIZES}}


def _told(found: Days) -> Document:
    return {
        "count": found.count,
        "median": found.median,
        "mean": found.mean,
        "p90": found.p90,
        "small": found.count < SMALL,
    }


# What is behind them

ITEM = """json_build_object(
    'request', CASE WHEN about IN ('review', 'part') THEN id END,
    'cycle', nullif(cycle, '')::integer,
    'agency', nullif(agency, ''),
    'customer', nullif(customer, ''),
    'size_class', nullif(size_class, ''),
    'provider', provider,
    'release', release,
    'grant', nullif(granted, ''),
    'outcome', outcome,
    'started', to_jsonb(started AT TIME ZONE 'UTC') #>> '{{}}' || 'Z',
    'ended', to_jsonb(ended AT TIME ZONE 'UTC') #>> '{{}}' || 'Z',
    'day', day,
    'intake_days', intake / 10.0,
    'net_days', net / 10.0,
    'gross_days', gross / 10.0,
    'deadline_missed', missed,
    'silence', silence,
    'information_requested', asked
)"""
ORDER = ("day", "id", "cycle", "agency", "customer")
EVERY_OUTCOME = (*OUTCOMES, "authorised", "available")


async def requests(
    conn: Connection,
    reach: Reach,
    question: Question,
    asked: Asked = NOW,
    *,
    value: str | None = None,
    outcome: Outcome | None = None,
    measure: Measure | None = None,
) -> Page:
    """The reviews, parts or authorisations that a figure counts, by day. Who may not read the requests finds none.

    Each outcome walks an index by itself, so that those of which there are few need not be looked for.
    """
    filters = [_counted(question.by, measure), *pages.equal(**{question.by: value})]
    if value is not None and question.by in ("agency", "provider"):
        filters.append(Clause("concerned @> ARRAY[%s::text]", (value,)))  # follows, and has an index
    if question.since is not None:
        filters.append(Clause("day >= %s", (str(question.since),)))
    if question.until is not None:
        filters.append(Clause("day <= %s", (str(question.until),)))
    seen = await sight(conn, reach)
    sights = []
    if seen is not None and (reach.clearance is not None or reach.full):
        whole = Sight(reach.clearance is not None, seen.organizations, seen.rollouts, seen.person).clause()
        others = f"(about NOT IN ('review', 'part') OR id <> ALL (ARRAY({_RECUSED_FROM})))"
        behind = Clause(f"{whole.text} AND {others}", (*whole.values, reach.person, reach.person))
        sights = [
            Clause(f"outcome = %s AND {behind.text}", (each, *behind.values))
            for each in ([outcome] if outcome else EVERY_OUTCOME)
        ]
    return await pages.page(conn, TABLE, sights, filters, asked, ORDER, ITEM)


def _counted(by: By, measure: Measure | None) -> Clause:
    """What rows a figure counts."""
    about = "part" if by == "agency" else "review"
    match measure:
        case None:
            return Clause("about = %s AND agency " + ("<> ''" if about == "part" else "= ''"), (about,))
        case "authorised":
            return Clause("about = 'authorisation'")
        case "authorised_small" | "authorised_large":
            sizes = SIZES[measure.removeprefix("authorised_")]
            return Clause("about = 'authorisation' AND size_class = ANY (%s)", (list(sizes),))
        case "available":
            return Clause("about = 'availability'")
        case "intake" | "net" | "gross":
            return Clause(f"about = %s AND {measure} IS NOT NULL", (about,))
        case _:
            return Clause(f"about = %s AND {_FIGURES[measure]}", (about,))
