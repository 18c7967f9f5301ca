"""What is kept so that figures over any number of reviews, as of any position of the log, are read from a few rows?

Reviews, agencies' parts in them, and what rollouts reached are rows of `current` and `past`, as in a state table. What
begins at a position counts from there on, what ends there no more: so the figures as of a position are the sum of all
that happened up to it. That sum is kept in `tally`, by blocks: of 4,096 positions, of eight such blocks, of eight of
those, … A block is summed once something happened beyond it, and never touched again. As of any position a few dozen
blocks and the rows of less than one block make the figures (docs/decisions/figures-are-sums-of-blocks.md).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from domain import organization, release, request
from domain.facts import Fact, seen
from domain.fields import Label
from domain.organization import OrganizationChanged, OrganizationRegistered
from domain.request import AccessRequest
from domain.rulebook import evolve_of
from projections.availability import Reached, Rollout
from projections.copying import Copying, Load, form_of, since_until
from projections.copying import since as since_
from projections.histograms import bin_of, one_in
from projections.reviews import OUTCOMES, Measured, Review, Reviews, day_of, followed, measured, measured_part, tenths
from projections.state_table import FILLED_PERCENT, HELD_AT, TEXT
from projections.statements import TEXTS, Changes, Connection, Key, Row, Statements
from projections.tables import Known
from projections.views import Views

BLOCK_BITS = 12
"""A block of level 0 has 4,096 positions."""

BITS_A_LEVEL, LEVELS = 3, 8
"""A block of the next level has eight times as many, and so on: of the last one, 2^33."""

TEN, MONTH, YEAR = 9, 7, 4
"""How much of a day's text names such a period: `2026-07-1` is from the 10th to the 19th, `2026-07-3` the month's rest.

Sums are kept by ten days; from level 1 on also by month and by year, for a block of level 0 has few of them.
"""

UNKNOWN = "unknown"
SIZES_MAX = 50_000
"""So many customers' sizes are kept in memory."""

COLUMNS = {
    "about": TEXT,
    "id": TEXT,
    "cycle": TEXT,
    "agency": TEXT,
    "customer": TEXT,
    "provider": TEXT,
    "release": TEXT,
    "size_class": TEXT,
    "concerned": TEXTS,
    "recused": TEXTS,
    "granted": TEXT,
    "began": "bigint",
    "day": TEXT,
    "outcome": TEXT,
    "missed": "boolean",
    "asked": "boolean",
    "silence": "boolean",
    "intake": "integer",
    "net": "integer",
    "gross": "integer",
    "started": "timestamptz",
    "ended": "timestamptz",
}
"""`about`: a review, a part, an authorisation (a customer's first grant of a release) or an availability (a release's
first open phase). `id`: of the request or release. `size_class`: of the customer when it began, at position `began`;
empty as long as nothing is known of the customer. `day`: of the end, in Washington; of the beginning where there is no
end yet. `intake`, `net`, `gross`: in tenths of days, as `reviews.tenths` rounds them."""

ABOUT = ("review", "part", "authorisation", "availability")
KEY = ("about", "id", "cycle", "agency", "customer")
CUSTOMER, SIZE, BEGAN = (list(COLUMNS).index(name) for name in ("customer", "size_class", "began"))
ROWS = ("current", "past")
MEASURES = ("intake", "net", "gross")
FLAGS = {"missed": len(OUTCOMES) + 1, "asked": len(OUTCOMES) + 2, "silence": len(OUTCOMES) + 3}
"""The bin of `counts` in which such things are counted; bin 0 counts all, and an outcome's is its place from 1."""

_OUTCOMES = ", ".join(f"'{outcome}'" for outcome in OUTCOMES)
_COUNTED = " + ".join(
    [
        "1",
        f"coalesce({one_in(f'array_position(ARRAY[{_OUTCOMES}], outcome)')}, 0)",
        *(f"CASE WHEN {flag} THEN {one_in(str(bin))} ELSE 0 END" for flag, bin in FLAGS.items()),
    ]
)
CONTRIBUTIONS = {"counts": f"({_COUNTED})", **{name: one_in(bin_of(name)) for name in MEASURES}}
"""What one row adds to each sum, in SQL."""


@dataclass(frozen=True)
class TallyTable:
    """The rows, and sums over them by whom they concern, provider, release, size of customer, agency and ten days."""

    name: str
    version: int
    kinds = frozenset({request.KIND, release.KIND, organization.KIND})
    columns: Mapping[str, str] = field(default_factory=lambda: COLUMNS)
    keeps_past = True
    block_bits: int = BLOCK_BITS
    tables = (*ROWS, "size", "summed", "tally")

    def at_work(self, schema: str) -> "TallyRows":
        return TallyRows(self, schema)

    def filling(self, schema: str) -> "TallyFilling":
        return TallyFilling(self, schema)

    def create(self, schema: str) -> sql.Composed:
        columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        statements = f"""
            CREATE TABLE {{current}} ({columns}, since bigint NOT NULL) WITH (fillfactor = {FILLED_PERCENT});
            CREATE TABLE {{past}} ({columns}, since bigint NOT NULL, until bigint NOT NULL);
            CREATE TABLE {{size}} (customer {TEXT}, size_class {TEXT} NOT NULL, since bigint NOT NULL);
            CREATE TABLE {{summed}} (blocks bigint NOT NULL);
            INSERT INTO {{summed}} VALUES (0);
            CREATE TABLE {{tally}} (level smallint NOT NULL, block bigint NOT NULL, period {TEXT} NOT NULL,
                {", ".join(f"{name} {TEXTS if name == 'concerned' else TEXT} NOT NULL" for name in DIMENSIONS)},
                {", ".join(f"{name} numeric STORAGE MAIN" for name in CONTRIBUTIONS)})
                WITH (toast_tuple_target = 8160);
            {SUM_BLOCKS}"""  # noqa: S608 - names of ours
        return sql.SQL(statements).format(**_names(schema), bits=sql.Literal(self.block_bits))

    def index(self, schema: str) -> sql.Composed:
        """Keys and indexes; the sizes of customers that came after their reviews; the sums of all complete blocks."""
        statements = f"""
            ALTER TABLE {{size}} ADD PRIMARY KEY (customer, since);
            {"".join(_LATE_SIZES.format(rows=f"{{{rows}}}") for rows in ROWS)}
            ALTER TABLE {{current}} ADD PRIMARY KEY ({", ".join(KEY)});
            ALTER TABLE {{past}} ADD PRIMARY KEY ({", ".join(KEY)}, since);
            CREATE INDEX ON {{past}} (until);
            CREATE INDEX ON {{past}} {HELD_AT};
            {"".join(f"CREATE INDEX ON {{{rows}}} {index};" for rows in ROWS for index in INDEXES)}
            CREATE INDEX ON {{tally}} (level, about, length(period), block);
            CREATE INDEX ON {{tally}} (level, about, length(period), period, block);
            SELECT {{sum_blocks}}(
                greatest((SELECT max(since) FROM {{current}}), (SELECT max(until) FROM {{past}})) >> {{bits}}
            );"""  # noqa: S608 - names of ours
        return sql.SQL(statements).format(**_names(schema), bits=sql.Literal(self.block_bits))


INDEXES = (
    "(since)",
    "(about, outcome, day, id, cycle, agency, customer)",
    "(release, about, day, id, cycle, agency, customer)",
    "(about, outcome, day, id, cycle, agency, customer) WHERE missed",
    "(about, outcome, day, id, cycle, agency, customer) WHERE silence",
    "USING gin (concerned)",
    "USING gin (recused) WHERE recused <> ARRAY[]::text[]",
)

_LATE_SIZES = """
    UPDATE {rows} AS row SET size_class = found.size_class
    FROM (SELECT *, lead(since) OVER (PARTITION BY customer ORDER BY since) AS until FROM {{size}}) AS found
    WHERE row.size_class = '' AND found.customer = row.customer AND found.since <= row.began
        AND (found.until IS NULL OR found.until > row.began);"""

DIMENSIONS = ("about", "agency", "provider", "release", "size_class", "concerned")
"""What sums are kept apart by, beside the days; parts of agencies neither by release nor by size."""


def _names(schema: str) -> dict[str, sql.Identifier]:
    tables = (*TallyTable.tables, "sum_blocks")
    return {"schema": sql.Identifier(schema), **{name: sql.Identifier(schema, name) for name in tables}}


_SUMS = ", ".join(f"sum({name})" for name in CONTRIBUTIONS)
_OF_ROWS = ", ".join(f"sum(sign * {contribution})" for contribution in CONTRIBUTIONS.values())
_DIMENSIONS = ", ".join(DIMENSIONS)
_OWN_DIMENSIONS = ", ".join(
    f"CASE about WHEN 'part' THEN '' ELSE {name} END" if name in ("release", "size_class") else name
    for name in DIMENSIONS
)
_ABOUT = ", ".join(f"'{about}'" for about in ABOUT)
_KINDS = ", ".join(str(nth) for nth in range(2, 4 + len(DIMENSIONS)))
_COLUMNS = ", ".join(COLUMNS)

SUM_BLOCKS = f"""
CREATE FUNCTION {{sum_blocks}}(up_to bigint) RETURNS void LANGUAGE plpgsql SET search_path TO {{schema}}, pg_temp AS $$
DECLARE
    done bigint := (SELECT blocks FROM summed);
    first bigint;
    after bigint;
BEGIN
    IF coalesce(up_to <= done, true) THEN
        RETURN;
    END IF;
    first := done;
    WHILE first < up_to LOOP
        after := least(first + 16, up_to);
        INSERT INTO tally
        SELECT 0, position >> {{bits}}, left(day, {TEN}), {_OWN_DIMENSIONS}, {_OF_ROWS}
        FROM (
            SELECT since AS position, 1 AS sign, {_COLUMNS} FROM current
            WHERE since >= first << {{bits}} AND since < after << {{bits}}
            UNION ALL SELECT since, 1, {_COLUMNS} FROM past
            WHERE since >= first << {{bits}} AND since < after << {{bits}}
            UNION ALL SELECT until, -1, {_COLUMNS} FROM past
            WHERE until >= first << {{bits}} AND until < after << {{bits}}
        ) AS happened (position, sign, {_COLUMNS})
        GROUP BY {_KINDS};
        first := after;
    END LOOP;
    FOR higher IN 1..{LEVELS - 1} LOOP
        first := done >> ({BITS_A_LEVEL} * higher);
        after := up_to >> ({BITS_A_LEVEL} * higher);
        IF first < after THEN
            INSERT INTO tally SELECT higher, block >> {BITS_A_LEVEL}, period, {_DIMENSIONS}, {_SUMS} FROM tally
            WHERE level = higher - 1 AND length(period) = {TEN}
                AND block >= first << {BITS_A_LEVEL} AND block < after << {BITS_A_LEVEL}
                AND about IN ({_ABOUT})
            GROUP BY {_KINDS};
            INSERT INTO tally SELECT higher, block, left(period, {MONTH}), {_DIMENSIONS}, {_SUMS} FROM tally
            WHERE level = higher AND length(period) = {TEN} AND block >= first AND block < after
                AND about IN ({_ABOUT})
            GROUP BY {_KINDS};
            INSERT INTO tally SELECT higher, block, left(period, {YEAR}), {_DIMENSIONS}, {_SUMS} FROM tally
            WHERE level = higher AND length(period) = {MONTH} AND block >= first AND block < after
                AND about IN ({_ABOUT})
            GROUP BY {_KINDS};
        END IF;
    END LOOP;
    UPDATE summed SET blocks = up_to;
END $$;"""  # noqa: S608 - names of ours
"""Sums what is complete: the blocks of level 0 below `up_to`, and all that they complete. Nothing is summed twice."""


class TallyRows:
    """The table at work in one schema."""

    def __init__(self, table: TallyTable, schema: str) -> None:
        self.table = table
        self._place: Any = (table.name, "full")
        self._statements = Statements(schema, COLUMNS, KEY, keeps_past=True)
        names = _names(schema)
        self._insert_sizes = sql.SQL(
            "INSERT INTO {size} SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])"
        ).format(**names)
        self._select_sizes = sql.SQL(
            "SELECT customer, since, size_class FROM {size} WHERE customer = ANY (%s) ORDER BY customer, since"
        ).format(**names)
        self._select_summed = sql.SQL("SELECT blocks FROM {summed}").format(**names)
        self._sum_blocks = sql.SQL("SELECT {sum_blocks}(%s)").format(**names)
        self._known_sizes: dict[str, list[tuple[int, str]]] = {}
        self.forget()

    def forget(self) -> None:
        self._changes = Changes()
        self._sizes: list[tuple[str, str, int]] = []
        self._known_sizes.clear()
        self._last = -1
        self._summed: int | None = None

    # What facts change

    def hold(self, stream: str, known: Known, facts: Sequence[Fact]) -> None:
        life = known.held[self._place] = Life()
        evolve, here = evolve_of(stream), None
        for fact in facts:
            shown = seen(fact, Label.INTERAGENCY)
            here = evolve(here, shown) if shown else here
            for _ in life.follow(fact, here):
                pass

    def note(self, fact: Fact, before: Views, known: Known) -> None:
        life: Life = known.held.setdefault(self._place, Life())
        if (found := size_of(fact, known.views.full.state)) is not None:
            self._sizes.append(found)
        earlier = dict(life.rows)
        for row in life.follow(fact, known.views.full.state):
            key = row[: len(KEY)]
            if key in earlier:
                self._changes.end(key, fact.position)
            self._changes.begin(key, row, fact.position)
            self._last = fact.position

    # What is written

    async def write(self, conn: Connection) -> None:
        changes, self._changes = self._changes, Changes()
        sizes, self._sizes = self._sizes, []
        if sizes:
            await conn.execute(self._insert_sizes, [list(column) for column in zip(*sizes, strict=True)])
            for customer, _, _ in sizes:
                self._known_sizes.pop(customer, None)
        await self._fill(conn, changes)
        await self._statements.execute(conn, changes)
        await self._sum(conn)

    async def _fill(self, conn: Connection, changes: Changes) -> None:
        """Give the rows that begin the size that their customer had when they began."""
        customers = {row[CUSTOMER] for row, _ in changes.begun.values()} | {row[CUSTOMER] for row in changes.brief}
        missing = list(customers - self._known_sizes.keys() - {""})
        if missing:
            if len(self._known_sizes) > SIZES_MAX:
                self._known_sizes.clear()
                missing = list(customers - {""})
            cursor = await conn.execute(self._select_sizes, [missing])
            for customer, since, size in await cursor.fetchall():
                self._known_sizes.setdefault(customer, []).append((since, size))
        changes.begun = {key: (self._sized(row), since) for key, (row, since) in changes.begun.items()}
        changes.brief = [self._sized(row) for row in changes.brief]

    def _sized(self, row: Row) -> Row:
        return sized(row, self._known_sizes.get(row[CUSTOMER], ()))

    async def _sum(self, conn: Connection) -> None:
        """Sum the blocks beyond which something happened."""
        complete = self._last >> self.table.block_bits
        if self._summed is None:
            found = await (await conn.execute(self._select_summed)).fetchone()
            assert found is not None, "there is one row"
            (self._summed,) = found
        if complete > self._summed:
            await conn.execute(self._sum_blocks, [complete])
            self._summed = complete


class TallyFilling:
    """The table while it is being filled, stream by stream."""

    def __init__(self, table: TallyTable, schema: str) -> None:
        self.table = table
        self._written = form_of(COLUMNS)
        self._current = Copying(schema, "current", [*COLUMNS, "since"])
        self._past = Copying(schema, "past", [*COLUMNS, "since", "until"])
        self._size_written = form_of({"customer": TEXT, "size_class": TEXT, "since": "bigint"})
        self._size = Copying(schema, "size", ["customer", "size_class", "since"])
        self._sizes: dict[str, list[tuple[int, str]]] = {}
        self._life = Life()
        self._since: dict[Key, tuple[Row, int]] = {}

    @property
    def waiting_bytes(self) -> int:
        return self._current.waiting_bytes + self._past.waiting_bytes + self._size.waiting_bytes

    def note(self, fact: Fact, before: Views, views: Views) -> None:
        if (sized := size_of(fact, views.full.state)) is not None:
            self._size.add(self._size_written(sized))
            customer, size, since = sized
            self._sizes.setdefault(customer, []).append((since, size))
        for row in self._life.follow(fact, views.full.state):
            key = row[: len(KEY)]
            if key in self._since:
                self._end(key, fact.position)
            self._since[key] = row, fact.position

    def _end(self, key: Key, until: int) -> None:
        row, since = self._since[key]
        self._past.add(self._written(self._sized(row)), since_until(since, until))

    def _sized(self, row: Row) -> Row:
        return sized(row, self._sizes.get(row[CUSTOMER], ()))

    def end(self, stream: str, views: Views) -> None:
        for row, since in self._since.values():
            self._current.add(self._written(self._sized(row)), since_(since))
        self._life, self._since = Life(), {}

    def taken(self) -> list[Load]:
        return [self._current.taken(), self._past.taken(), self._size.taken()]


# One stream, as it is followed


@dataclass(slots=True)
class Life:
    """A request's reviews and the rows of the last one; or what a release has reached."""

    reviews: Reviews = ()
    rows: dict[Key, Row] = field(default_factory=dict)
    rollout: Rollout = field(default_factory=Rollout)

    def follow(self, fact: Fact, here: Any) -> Iterator[Row]:
        """The rows that are others than before by one more fact of the stream, which left its state as it is `here`."""
        match here:
            case AccessRequest():
                yield from self._of_request(fact, here)
            case release.Release():
                for reached in self.rollout.follow(fact, here):
                    yield _reached(here, reached)

    def _of_request(self, fact: Fact, here: AccessRequest) -> Iterator[Row]:
        after = followed(self.reviews, fact, here)
        if not after or (after is self.reviews and not isinstance(fact.event, request.PersonRecused)):
            return
        if len(after) > len(self.reviews):
            self.rows = {}
        self.reviews = after
        for row in _rows(here, after[-1]):
            key = row[: len(KEY)]
            if self.rows.get(key) != row:
                self.rows[key] = row
                yield row


def size_of(fact: Fact, here: Any) -> tuple[str, str, int] | None:
    """The customer, the size that a fact says it has, and since which position; None: it says none."""
    match here, fact.event:
        case organization.Organization(kind="customer"), OrganizationRegistered():
            return here.id, here.size_class or UNKNOWN, fact.position
        case organization.Organization(kind="customer"), OrganizationChanged(size_class=size) if size is not None:
            return here.id, size, fact.position
        case _:
            return None


def sized(row: Row, sizes: Sequence[tuple[int, str]]) -> Row:
    """The row with the size that its customer had when it began, if one is known."""
    size = next((size for since, size in reversed(sizes) if since <= row[BEGAN]), "")
    return (*row[:SIZE], size, *row[SIZE + 1 :])


def _rows(here: AccessRequest, review: Review) -> Iterator[Row]:
    """The review, and each agency's part in it. Who is recused from the request, the review's row says."""
    yield _row(here, review, measured(review), "", tuple(sorted(here.recused)))
    for agency, part in review.parts.items():
        yield _row(here, review, measured_part(review, part), agency, ())


def _row(here: AccessRequest, review: Review, found: Measured, agency: str, recused: Iterable[str]) -> Row:
    return (
        "part" if agency else "review",
        here.id,
        str(review.cycle),
        agency,
        here.customer,
        here.provider,
        here.release,
        "",
        (*here.agencies, here.provider),
        recused,
        here.grant or "" if found.outcome in ("approved", "conditional", "no_objection") and not agency else "",
        review.began,
        day_of(found.ended or found.started),
        found.outcome,
        found.missed,
        found.asked,
        found.silence,
        found.intake,
        found.net,
        found.gross,
        found.started,
        found.ended,
    )


def _reached(here: release.Release, reached: Reached) -> Row:
    about, outcome = ("authorisation", "authorised") if reached.customer else ("availability", "available")
    elapsed = tenths(reached.occurred - reached.announced)
    return (
        about,
        here.id,
        "",
        "",
        reached.customer,
        here.provider,
        here.id,
        "",
        (here.provider,),
        (),
        reached.grant,
        reached.position,
        day_of(reached.occurred),
        outcome,
        False,
        False,
        False,
        None,
        None,
        elapsed,
        reached.announced,
        reached.occurred,
    )
