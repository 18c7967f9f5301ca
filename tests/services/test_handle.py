"""A command's way from the order to the answer, on the real log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import (
    AlreadyExists,
    BeforeTheLast,
    CustomerCapReached,
    InTheFuture,
    NotAuthorised,
    Refused,
    RequestIsDecided,
    StaleVersion,
)
from domain.organization import Appoint, RegisterOrganization
from domain.policy import Clocks, GrantTerms, PublishPolicy
from domain.release import AnnounceRelease, Phase
from domain.request import (
    AmendRequest,
    Changes,
    DraftRequest,
    ProvideInformation,
    RegisterRequest,
    RequestInformation,
    SignOff,
)
from domain.sign_offs import AllOf, Leaf, Tree
from services.assent import Assent, running
from services.clock import ManualClock
from services.handle import Answer, Handler, KeyReused, Order, folded
from services.log import reader
from services.settings import Settings

ONE_AGENCY = Leaf("oncd")
START = datetime(2026, 6, 22, 13, tzinfo=UTC)


@asynccontextmanager
async def service(database: str, folder: Path) -> AsyncIterator[Assent]:
    async with running(Settings(data=folder, database_url=database, port=0), ManualClock(START)) as assent:
        yield assent


async def order(assent: Assent, person: str, command: Any, key: str | None = None, **more: Any) -> Answer:
    digest = None if key is None else sha256(f"{person} {key}".encode()).digest()
    given = {"fingerprint": digest and sha256(repr(command).encode()).digest(), **more}
    return await assent.handler.handle(Order(command, person, key=digest, **given))


async def cast(assent: Assent, tree: Tree = ONE_AGENCY, cap: int | None = None, silence_days: int = 30) -> None:
    """One provider, two agencies, two customers, and a release in a granted phase."""
    for id, kind, more in (
        ("openai", "provider", {}),
        ("oncd", "agency", {"government": True}),
        ("ostp", "agency", {"government": True}),
        ("northwind", "customer", {"size_class": "large"}),
        ("tinker", "customer", {"size_class": "startup"}),
    ):
        await order(assent, "root", RegisterOrganization(id, kind, id, "US", **more))
    for organization, person, role in (
        ("openai", "rae", "release_manager"),
        ("oncd", "olga", "reviewer"),
        ("ostp", "sam", "reviewer"),
        ("northwind", "nina", "applicant"),
        ("tinker", "tom", "applicant"),
    ):
        await order(assent, "root", Appoint(organization, person, role))
    clocks = Clocks(review_days=silence_days)
    await order(assent, "root", PublishPolicy("preview", "EO", tree, clocks=clocks, grant=GrantTerms(180)))
    phases = (Phase("preview", "granted", customer_cap=cap),)
    await order(assent, "rae", AnnounceRelease("gpt", "openai", "GPT", ("standard",), "preview", "high", phases))


async def in_review(assent: Assent, customer: str, applicant: str) -> str:
    request = await order(assent, applicant, DraftRequest(customer, "gpt", "Fraud analysis"))
    await order(assent, "root", RegisterRequest(request.id))
    return request.id


async def test_the_receipt_names_the_record_that_was_written(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        answer = await order(assent, "root", RegisterOrganization("oncd", "agency", "ONCD", "US"))
    async with await psycopg.AsyncConnection.connect(database) as conn:
        cursor = await conn.execute("SELECT record, leaf FROM event WHERE position = %s", (answer.position,))
        found = await cursor.fetchone()
    assert found is not None and answer.receipt is not None
    assert sha256(b"\x00" + found[0]).digest() == found[1]
    assert answer.events == (("OrganizationRegistered", answer.position),)
    assert (answer.id, answer.stream, answer.version) == ("oncd", "organization-oncd", 1)
    assert answer.receipt.position == answer.position and answer.receipt.size == answer.position + 1


async def test_what_was_decided_is_resident_just_as_the_log_has_it(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        await cast(assent)
        requests = await asyncio.gather(*(in_review(assent, "northwind", "nina") for _ in range(5)))
        await asyncio.gather(*(order(assent, "olga", SignOff(id, "oncd", "approve")) for id in requests))
        resident = dict(assent.handler._states)
        async with await psycopg.AsyncConnection.connect(database) as conn:
            facts = await reader.facts_of(conn, resident)
    assert {f"request-{id}" for id in requests} | {"release-gpt"} <= resident.keys()
    assert resident == {name: folded(name, facts.get(name, ())) for name in resident}


async def test_commands_that_come_while_others_are_appended_are_decided_upon_them(
    database: str, tmp_path: Path
) -> None:
    """One new person after the other is appointed, and delegates at once: by offices that no log has yet."""
    async with service(database, tmp_path) as assent:
        await cast(assent)

        async def head(nth: int) -> None:
            appointed = asyncio.create_task(order(assent, "root", Appoint("oncd", f"head-{nth}", "head")))
            await asyncio.sleep(0)
            while f"head-{nth}" not in str(assent.handler._drafted.states.get("organization-oncd")):
                if appointed.done():
                    break
                await asyncio.sleep(0)
            named = order(assent, f"head-{nth}", Appoint("oncd", f"reviewer-{nth}", "reviewer"))
            await asyncio.gather(appointed, named)

        await asyncio.gather(*map(head, range(12)))
        resident = dict(assent.handler._states)
        assert not assent.handler._drafted.states and not assent.handler._drafts
    async with await psycopg.AsyncConnection.connect(database) as conn:
        facts = await reader.facts_of(conn, resident)
    assert resident == {name: folded(name, facts.get(name, ())) for name in resident}


async def test_a_repeated_command_gets_its_first_answer_although_it_would_be_refused_now(
    database: str, tmp_path: Path
) -> None:
    command = RegisterOrganization("oncd", "agency", "ONCD", "US")
    async with service(database, tmp_path) as assent:
        first = await order(assent, "root", command, "k")
        assert await order(assent, "root", command, "k") == first
        with pytest.raises(AlreadyExists):
            await order(assent, "root", command, "another")
    async with service(database, tmp_path) as assent:
        assert await order(assent, "root", command, "k") == first


async def test_a_key_belongs_to_one_command(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        await order(assent, "root", RegisterOrganization("oncd", "agency", "ONCD", "US"), "k")
        with pytest.raises(KeyReused):
            await order(assent, "root", RegisterOrganization("ostp", "agency", "OSTP", "US"), "k")


async def test_a_refused_command_may_be_tried_again_under_its_key(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        appointment = Appoint("oncd", "olga", "reviewer")
        with pytest.raises(Refused):
            await order(assent, "root", appointment, "k")
        await order(assent, "root", RegisterOrganization("oncd", "agency", "ONCD", "US"))
        assert (await order(assent, "root", appointment, "k")).version == 2


async def test_a_dry_run_tells_what_would_happen_and_writes_nothing(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        await cast(assent)
        id = await in_review(assent, "northwind", "nina")
        size = assent.handler.writer.end.size
        answer = await order(assent, "olga", SignOff(id, "oncd", "approve"), dry_run=True)
        assert [type for type, _ in answer.events] == [
            "AgencySignedOff",
            "RequestApproved",
            "GrantIssued",
            "CustomerAdmitted",
        ]
        assert answer.dry_run and answer.receipt is None
        assert assent.handler.writer.end.size == size
        with pytest.raises(NotAuthorised):
            await order(assent, "nina", SignOff(id, "oncd", "approve"), dry_run=True)


async def test_applicants_get_the_version_and_the_events_of_their_own_view(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        await cast(assent, AllOf((Leaf("oncd"), Leaf("ostp"))))
        id = await in_review(assent, "northwind", "nina")
        signed = await order(assent, "olga", SignOff(id, "oncd", "approve"))
        asked = await order(assent, "sam", RequestInformation(id, "ostp", "Who holds the keys?"))
        answered = await order(assent, "nina", ProvideInformation(id, 1, "Two founders."), "k")
        assert (signed.version, asked.version, answered.version) == (3, 4, 4)
        assert asked.number == 1
        amended = await order(
            assent, "nina", AmendRequest(id, Changes(user_classes=("us_person",))), "amend", if_match=4
        )
        assert [type for type, _ in amended.events] == ["RequestAmended", "DueDateMoved"]
        assert await order(assent, "nina", ProvideInformation(id, 1, "Two founders."), "k") == answered


async def test_an_older_version_than_todays_is_refused(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        await cast(assent)
        id = await in_review(assent, "northwind", "nina")
        with pytest.raises(StaleVersion, match="2"):
            await order(assent, "olga", SignOff(id, "oncd", "approve"), if_match=1)
        assert (await order(assent, "olga", SignOff(id, "oncd", "approve"), if_match=2)).version == 4


async def test_timers_that_are_due_come_first_in_the_same_append_and_do_not_make_a_version_stale(
    database: str, tmp_path: Path
) -> None:
    async with service(database, tmp_path) as assent:
        await cast(assent, AllOf((Leaf("oncd"), Leaf("ostp", silence="no_objection"))), silence_days=5)
        id = await in_review(assent, "northwind", "nina")
        clock = assent.handler.clock
        assert isinstance(clock, ManualClock)
        clock.advance_to(START + timedelta(days=30))
        answer = await order(assent, "olga", SignOff(id, "oncd", "approve"), "k", if_match=2)
        assert [type for type, _ in answer.events][:2] == ["AgencySignedOff", "RequestApproved"]
        facts = (await _facts(assent, f"request-{id}"))[2:]
        assert [fact.type for fact in facts] == [
            "DeadlineMissed",
            "NoObjectionDeemed",
            "AgencySignedOff",
            "RequestApproved",
        ]
        assert facts[0].by.person == "system" and facts[0].occurred < facts[2].occurred == START + timedelta(days=30)
        assert await order(assent, "olga", SignOff(id, "oncd", "approve"), "k", if_match=2) == answer


async def test_what_happened_earlier_may_be_told_later_but_not_before_the_last(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        command = RegisterOrganization("oncd", "agency", "ONCD", "US")
        with pytest.raises(InTheFuture):
            await order(assent, "root", command, occurred=START + timedelta(seconds=1))
        clock = assent.handler.clock
        assert isinstance(clock, ManualClock)
        clock.advance_to(START + timedelta(days=2))
        await order(assent, "root", command, occurred=START + timedelta(days=1))
        with pytest.raises(BeforeTheLast):
            await order(assent, "root", Appoint("oncd", "olga", "reviewer"), occurred=START + timedelta(hours=1))
        (fact,) = await _facts(assent, "organization-oncd")
        assert (fact.occurred, fact.recorded) == (START + timedelta(days=1), START + timedelta(days=2))


async def test_commands_that_arrive_together_are_decided_one_upon_the_other(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as assent:
        await cast(assent, cap=1)
        requests = [await in_review(assent, "northwind", "nina"), await in_review(assent, "tinker", "tom")]
        size = assent.handler.writer.end.size
        orders = [order(assent, "olga", SignOff(id, "oncd", "approve")) for id in [*requests, requests[0]]]
        outcomes = await asyncio.gather(*orders, return_exceptions=True)
        assert isinstance(outcomes[0], Answer)
        assert isinstance(outcomes[1], CustomerCapReached) and outcomes[1].rule == "I17"
        assert isinstance(outcomes[2], RequestIsDecided)
        assert assent.handler.writer.end.size == size + 4


async def test_two_processes_decide_on_one_history(database: str, tmp_path: Path) -> None:
    async with service(database, tmp_path) as one, service(database, tmp_path) as other:
        await cast(one, cap=3)
        requests = [await in_review(one, "northwind", "nina")]
        requests += [await in_review(other, "tinker", "tom") for _ in range(3)]
        orders = [order(side, "olga", SignOff(id, "oncd", "approve")) for id in requests for side in (one, other)]
        outcomes = await asyncio.gather(*orders, return_exceptions=True)
        approved = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
        assert len(approved) == 4
        assert sum(isinstance(outcome, RequestIsDecided) for outcome in outcomes) == 4
        assert len({answer.position for answer in approved}) == 4


async def test_states_that_fell_out_of_memory_are_loaded_again(database: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url=database, port=0, states_max=2)
    async with running(settings, ManualClock(START)) as assent:
        await cast(assent)
        id = await in_review(assent, "northwind", "nina")
        assert (await order(assent, "olga", SignOff(id, "oncd", "approve"))).version == 4


async def _facts(assent: Assent, stream: str) -> list[Any]:
    from services.log import reader

    handler: Handler = assent.handler
    async with handler._pool.connection() as conn:
        return (await reader.facts_of(conn, [stream]))[stream]
