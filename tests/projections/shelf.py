"""How do the facts of a story get into a log, and the projections up to it?"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from domain.authority import Office, Reach, reach
from domain.directive import EaseDirective, IssueDirective, ProposeLifting, Uses
from domain.facts import Fact
from domain.grant import RevokeGrant, SatisfyCondition, SuspendGrant
from domain.hold import PlaceLegalHold
from domain.key import IssueKey
from domain.organization import AddAffiliate, Appoint
from domain.release import CloseIncident, OpenIncident, ResumeRollout, SignOffPhase
from domain.request import (
    AmendRequest,
    Changes,
    Countersign,
    DraftRequest,
    Escalate,
    ProvideInformation,
    Recuse,
    RequestInformation,
    SignOff,
)
from domain.sign_offs import ProposedCondition
from projections import PROJECTIONS, tracking
from projections.state_table import StateTable
from services.log.merkle import Frontier, leaf_hash
from services.log.record import seal_fact
from services.project import Projecting
from tests.spec import ORGANIZATIONS, PEOPLE, Story, approve, in_review, second_request

Connection = AsyncConnection[Any]


def append(conninfo: str, facts: Sequence[Fact]) -> None:
    """One append of facts that follow the log's end."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        found = conn.execute("SELECT size, frontier FROM tree_head ORDER BY size DESC LIMIT 1").fetchone()
        tree = Frontier(*found) if found else Frontier()
        base = tree.size
        assert [fact.position for fact in facts] == list(range(base, base + len(facts)))
        records = [seal_fact(fact) for fact in facts]
        leaves = [leaf_hash(record) for record in records]
        tree.extend(leaves)
        none = [None] * len(facts)
        streams, types = [fact.stream for fact in facts], [fact.type for fact in facts]
        conn.execute(
            "SELECT append(%s, %s::text[], %s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s, %s, %s, %s, '{}')",
            (base, streams, [f.version for f in facts], types, none, none, records, leaves, tree.root(), bytes(tree)),
        )


def a_full_story() -> Story:
    """Requests of both customers in many states, a grant under a condition, an incident, a directive."""
    story = approve_with_condition(in_review())
    second_request(story)
    story.at("2026-07-01T15:00:00Z").given(RequestInformation("tk", "oncd", "Who holds the keys?"), by="olga")
    story.given(Recuse("tk", "sam", "A cousin works there"), by="sue")
    story.at("2026-07-06T15:00:00Z").given(ProvideInformation("tk", 1, "Two founders."), by="tom")
    story.given(SignOff("tk", "commerce", "approve"), by="cora")
    story.at("2026-07-07T15:00:00Z").given(OpenIncident("gpt-5.6", "high", "A jailbreak chain"), by="rae")
    story.given(DraftRequest("tinker", "gpt-5.6", "A sketch", draft=True), by="tom", ids=["tk2"])
    second_request(story, "northwind", "nina", "nw2")
    story.given(Escalate("nw2", "They disagree"), by="omar")
    story.given(AddAffiliate("northwind", "northwind-uk", "Northwind UK", "GB"))
    story.at("2026-07-12T15:00:00Z").given(CloseIncident("gpt-5.6", 1, "Mitigated"), ResumeRollout("gpt-5.6"), by="rae")
    story.given(SignOffPhase("gpt-5.6", "general_availability", "oncd", "approve"), by="olga")
    story.given(SuspendGrant("g", "Report is late"), by="cora")
    story.given(SatisfyCondition("g", 1, "Seen"), by="cora")
    story.given(IssueDirective("Directive 7", Uses(releases=("gpt-5.6",)), "A new risk"), by="bea", ids=["d"])
    story.given(EaseDirective("d", Uses(organizations=("northwind",))), by="bea").given(ProposeLifting("d"), by="ben")
    story.given(AmendRequest("tk", Changes(use="Developer tools, in the EU")), by="tom")
    story.given(IssueKey("openai", "Gateway", ("access",)), Appoint("assent", "rex", "records_officer"))
    story.given(PlaceLegalHold("nina", "Inquiry"), by="rex")
    story.at("2026-07-14T09:00:00Z").given(RevokeGrant("g", "Misuse", "Breach of condition 1"), by="carl")
    return approve(second_request(story, "northwind", "nina", "nw3"), "nw3", "g3")


def approve_with_condition(story: Story) -> Story:
    condition = ProposedCondition("Report misuse within 24 hours", "precondition")
    story.at("2026-06-28T14:00:00Z").given(SignOff("nw", "oncd", "approve"), by="olga")
    story.given(SignOff("nw", "ostp", "approve"), by="sam")
    story.given(SignOff("nw", "commerce", "approve_with_conditions", (condition,), note="Weak"), by="cora")
    return story.at("2026-06-30T15:00:00Z").given(Countersign("nw", "commerce"), by="carl", ids=["g"])


def many_requests(story: Story, count: int, first: int = 0) -> Story:
    for nth in range(first, first + count):
        second_request(story, "tinker", "tom", f"r{nth:03}")
    return story


def as_(person: str) -> Reach:
    """What a person of the cast may read."""
    organization, role = PEOPLE[person]
    kind = ORGANIZATIONS[organization].kind if organization in ORGANIZATIONS else "assent"
    return reach(person, (Office(organization, kind, role),))  # type: ignore[arg-type]


@asynccontextmanager
async def projecting(conninfo: str, tables: Sequence[StateTable] = PROJECTIONS) -> AsyncIterator[Projecting]:
    """A process that projects."""
    found = Projecting(conninfo, tables)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def reached(conninfo: str, position: int, tables: Sequence[StateTable] = PROJECTIONS) -> None:
    """Wait until the projections have come that far."""
    async with await connected(conninfo) as conn:
        for table in tables:
            await tracking.wait_until(conn, table.name, position, 20.0)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so, at most some ten seconds."""
    for _ in range(1000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


async def connected(conninfo: str) -> Connection:
    return await AsyncConnection.connect(conninfo, autocommit=True)


async def rows(conn: Connection, schema: str, table: StateTable) -> dict[str, list[str]]:
    """Every row of a projection's tables, as text, in order."""
    found = {}
    for name in table.tables:
        query = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(schema, name))
        found[name] = [row for (row,) in await (await conn.execute(query)).fetchall()]
    return found


async def all_rows(conninfo: str) -> dict[str, dict[str, list[str]]]:
    """The live rows of every projection."""
    async with await connected(conninfo) as conn:
        live = {each.name: each.schema for each in await tracking.standings(conn) if each.role == "live"}
        return {table.name: await rows(conn, live[table.name], table) for table in PROJECTIONS}


async def tell(conninfo: str, story: Story) -> None:
    """Put what the log does not have yet of a story into it, and the projections up to its end."""
    with psycopg.connect(conninfo) as conn:
        (size,) = conn.execute("SELECT count(*) FROM event").fetchone() or (0,)
    append(conninfo, story.facts[size:])
    async with projecting(conninfo):
        await reached(conninfo, len(story.facts) - 1)
