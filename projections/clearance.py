"""Clearance: which customer may use which release and tier, as of a position and at a time, and why?

`domain.access` decides, from the very facts that a gateway's answer rests on. Rows only say which facts those are. Of
the grants, those on which an answer can rest (`grounds.py`); of each stream, in the view for applicants, one row for
each fact that applicants may see, for its document bears the version; and nothing that access rests on is hidden from
them. So the cost is that of the page's customers times the releases, however long the log is.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import tuple_row

from domain.access import Access, Answer, Use, microseconds
from domain.authority import Reach
from domain.enforcement import Enforcement
from domain.facts import Fact
from domain.grant import GrantIssued
from domain.sign_offs import agencies, tree_from
from projections import directives, grants, grounds, organizations, pages, policies, releases
from projections.pages import Asked, Clause, Document, Page
from projections.state_table import StateTable
from projections.statements import Connection

TABLES = (
    organizations.TABLE,
    releases.TABLE,
    grounds.TABLE,
    grants.TABLE,
    directives.TABLE,
    policies.TABLE,
)
TABLE = organizations.TABLE
"""What a page is a page of: customers."""

FIELDS = (
    "customer",
    "release",
    "provider",
    "tier",
    "person_class",
    "allowed",
    "reason",
    "because",
    "valid_until",
    "grant",
    "directive",
    "classes",
)
"""What a cell tells, in order; `grant` and `directive`: on which it rests, if on one."""

CUSTOMERS_MAX = 200
"""How many customers one answer looks at, where a filter leaves nothing of the first of them."""

FactsAt = Callable[[Collection[int]], Awaitable[Sequence[Fact]]]
"""The facts at these positions of the log, in order."""


@dataclass(frozen=True, slots=True)
class Which:
    """Which cells are asked for. `person_class`: who uses it; None: unknown (I10)."""

    customer: str | None = None
    release: str | None = None
    provider: str | None = None
    reason: str | None = None
    allowed: bool | None = None
    person_class: str | None = None

    def keeps(self, answer: Answer) -> bool:
        return self.reason in (None, answer.reason) and self.allowed in (None, answer.allowed)


async def page(conn: Connection, reach: Reach, asked: Asked, which: Which, *, now: datetime, facts_at: FactsAt) -> Page:
    """The cells of so many customers, by customer, release and tier; where a filter leaves none, of the next ones.

    Auditors, registrars and deciders see all; officers and release managers those of releases that concern them, unless
    a grant that does not is among its grounds; applicants those of their own customer.
    """
    at = await pages.common_position(conn, TABLES, asked.at)
    following, looked_at, items = asked.cursor, 0, []
    while True:
        part = Asked(at, following, asked.limit)
        customers = await pages.page(conn, TABLE, _customers(reach), pages.equal(id=which.customer), part)
        if customers.items:
            matrix = await _matrix(conn, reach, [each["id"] for each in customers.items], which, at, facts_at)
            items += list(matrix.cells(which, now))
        following, looked_at = customers.next, looked_at + len(customers.items)
        if items or following is None or looked_at >= CUSTOMERS_MAX:
            return Page(pages.as_documents(items), following, at)


def _customers(reach: Reach) -> list[Clause]:
    """The customers of whom the reader may see anything."""
    every = "view = 'full' AND kind = 'customer'"
    if reach.clearance is not None or reach.full:
        return [Clause(every)]
    return [Clause(f"{every} AND id = ANY (%s)", (sorted(reach.own),))] if reach.own else []


@dataclass(frozen=True, slots=True)
class _Matrix:
    """What the cells of some customers rest on, and who asks."""

    reach: Reach
    access: Access
    customers: Sequence[str]
    releases: Sequence[Document]
    concerned: Mapping[str, frozenset[str]]
    grants: Mapping[tuple[str, str], Sequence[GrantIssued]]
    classes: frozenset[str]

    def cells(self, which: Which, now: datetime) -> Iterator[Document]:
        at = microseconds(now)
        for customer in self.customers:
            for release in self.releases:
                held = self.grants.get((customer, release["id"]), ())
                if self._is_shown(customer, release, held):
                    for tier in release["tiers"]:
                        answer = self.access.check(Use(customer, release["id"], tier, which.person_class), at)
                        if which.keeps(answer):
                            yield self._cell(answer, customer, release, tier, held, which, at)

    def _is_shown(self, customer: str, release: Document, held: Sequence[GrantIssued]) -> bool:
        """Need to know, as for the grants themselves: one that is hidden hides the answer that rests on it."""
        if self.reach.clearance is not None or customer in self.reach.own:
            return True
        if any(self.reach.full.isdisjoint((*grant.agencies, grant.provider)) for grant in held):
            return False
        return bool(held) or not self.reach.full.isdisjoint(self.concerned[release["id"]])

    def _cell(
        self,
        answer: Answer,
        customer: str,
        release: Document,
        tier: str,
        held: Sequence[GrantIssued],
        which: Which,
        at: int,
    ) -> Document:
        named = self.classes.union(*(grant.user_classes for grant in held))
        uses = [Use(customer, release["id"], tier, each) for each in sorted(named)] if not which.person_class else []
        return {
            "customer": customer,
            "release": release["id"],
            "provider": release["provider"],
            "tier": tier,
            "person_class": which.person_class,
            **_told(answer),
            "classes": [{"person_class": use.person_class, **_told(self.access.check(use, at))} for use in uses],
        }


def _told(answer: Answer) -> Document:
    return {
        "allowed": answer.allowed,
        "reason": answer.reason,
        "because": answer.because,
        "valid_until": answer.valid_until,
        "grant": answer.grant and answer.grant.id,
        "directive": answer.directive and answer.directive.id,
    }


async def _matrix(
    conn: Connection, reach: Reach, customers: Sequence[str], which: Which, at: int, facts_at: FactsAt
) -> _Matrix:
    own = Clause("view = 'applicant'")
    wanted: list[tuple[StateTable, list[Clause]]] = [
        (releases.TABLE, [own, *pages.equal(id=which.release, provider=which.provider)]),
        (directives.TABLE, [own, *pages.equal(state="in_force")]),
        (policies.TABLE, [own]),
    ]
    async with pages.snapshot(conn):
        lives = await pages.lives(conn, TABLES)
        offered, orders, rules = await pages.documents(conn, wanted, lives, at)
        ids = [each["id"] for each in offered]
        count = await grounds.grants_that_count(conn, lives[grounds.TABLE.name], customers, ids, at)
        subjects = {
            organizations.TABLE.name: customers,
            releases.TABLE.name: ids,
            grants.TABLE.name: count,
            directives.TABLE.name: [each["id"] for each in orders],
        }
        positions = await _positions(conn, {lives[name].schema: of for name, of in subjects.items()}, at)
    enforcement = Enforcement()
    by_cell: dict[tuple[str, str], list[GrantIssued]] = {}
    for fact in await facts_at(positions):
        enforcement.take(fact)
        if isinstance(fact.event, GrantIssued):
            by_cell.setdefault((fact.event.customer, fact.event.release), []).append(fact.event)
    return _Matrix(reach, enforcement.access, customers, offered, _concerned(offered, rules), by_cell, _classes(orders))


async def _positions(conn: Connection, subjects: Mapping[str, Sequence[str]], at: int) -> list[int]:
    """Where those facts stand, up to a position, that everybody may know whom they concern.

    `subjects`: the ids of streams, by the schema in which their rows are.
    """
    branches, values = [], []
    for schema, ids in subjects.items():
        for part in ("current", "past"):
            query = "SELECT since FROM {} WHERE view = 'applicant' AND id = ANY (%s) AND since <= %s"
            branches.append(sql.SQL(query).format(sql.Identifier(schema, part)))
            values += [list(ids), at]
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(sql.SQL(" UNION ALL ").join(branches), values)
        return sorted(since for (since,) in await cursor.fetchall())


def _concerned(offered: Sequence[Document], rules: Sequence[Document]) -> dict[str, frozenset[str]]:
    """By release: its provider, and the agencies that its gates and its policy name."""
    trees = {rule["id"]: agencies(tree_from(rule["sign_offs"])) for rule in rules}
    found = {}
    for each in offered:
        gates = (agencies(tree_from(phase["gate"])) for phase in each["phases"] if phase["gate"])
        found[each["id"]] = frozenset((each["provider"], *trees.get(each["policy"], ()))).union(*gates)
    return found


def _classes(orders: Sequence[Document]) -> frozenset[str]:
    """The classes of people that directives in force speak of."""
    return frozenset(
        name for each in orders for uses in ("scope", "carve_outs") for name in each[uses]["person_classes"]
    )
