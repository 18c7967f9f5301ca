"""Does every command end up in the log once, decided on exactly what precedes it, whatever happens meanwhile?"""

import asyncio
import itertools
import random
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from domain.facts import Fact
from domain.organization import OrganizationChanged
from services.log import reader, schema
from services.log.merkle import Frontier, leaf_hash
from services.log.reader import LogEnd
from services.log.receipt import Receipt
from services.log.record import RecordTooLarge, read, seal_fact
from services.log.schema import LOG_LOCK
from services.log.writer import AHEAD_MAX, Decision, QueueFull, Settled, StorageUnavailable, Writer
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from tests.services.log.registry import ADA, Registry, Rename, RenamedEnough


@asynccontextmanager
async def writing(conninfo: str, registry: Registry | None = None, **options: Any) -> AsyncIterator[Writer]:
    writer = Writer(conninfo, registry or Registry(), **options)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


def rows(conninfo: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        return conn.execute(query, values).fetchall()


def records(conninfo: str) -> list[bytes]:
    return [record for (record,) in rows(conninfo, "SELECT record FROM event ORDER BY position")]


def assert_sound(conninfo: str) -> list[Fact]:
    """Positions and versions without gaps, one time for each append, which never goes back; every head is a root."""
    stored = records(conninfo)
    facts = [read(record) for record in stored]
    assert [fact.position for fact in facts] == list(range(len(facts)))
    versions: Counter[str] = Counter()
    last: datetime | None = None
    ends = {size for (size,) in rows(conninfo, "SELECT size FROM tree_head")}
    for fact in facts:
        versions[fact.stream] += 1
        assert fact.version == versions[fact.stream]
        assert last is None or fact.recorded >= last
        assert fact.position in {0, *ends} or fact.recorded == last
        last = fact.recorded
    assert_heads(conninfo, stored)
    return facts


def assert_heads(conninfo: str, stored: Sequence[bytes]) -> None:
    heads = {size: (root, edge) for size, root, edge in rows(conninfo, "SELECT size, root, frontier FROM tree_head")}
    tree = Frontier()
    for record in stored:
        tree.extend([leaf_hash(record)])
        if tree.size in heads:
            assert heads.pop(tree.size) == (tree.root(), bytes(tree))
    assert not heads
    assert rows(conninfo, "SELECT coalesce(max(size), 0) FROM tree_head") == [(len(stored),)]


async def test_a_command_is_recorded_with_a_receipt(database: str) -> None:
    async with writing(database) as writer:
        settled = await writer.submit(Rename("oncd", "ONCD", "c1"), key=b"k1", fingerprint=b"f1")
    (fact,) = assert_sound(database)
    assert (fact.stream, fact.command, fact.event.name) == ("organization-oncd", "c1", "ONCD")
    assert settled.receipt() == Receipt(0, b64encode(leaf_hash(records(database)[0])).decode(), 1)
    assert rows(database, "SELECT command_key, fingerprint FROM event") == [(b"k1", b"f1")]


async def test_commands_that_wait_together_are_decided_one_upon_the_other_in_one_append(database: str) -> None:
    async with writing(database) as writer:
        settled = await asyncio.gather(*(writer.submit(Rename("oncd", command=f"c{nth}")) for nth in range(50)))
    assert [each.answer for each in settled] == list(range(1, 51))
    assert rows(database, "SELECT size FROM tree_head") == [(50,)]
    assert_sound(database)


async def test_a_cap_holds_within_a_batch(database: str) -> None:
    async with writing(database) as writer:
        outcomes = await asyncio.gather(
            *(writer.submit(Rename("oncd", most=3)) for _ in range(20)), return_exceptions=True
        )
    assert sum(isinstance(each, Settled) for each in outcomes) == 3
    assert sum(isinstance(each, RenamedEnough) for each in outcomes) == 17
    assert len(assert_sound(database)) == 3


async def test_a_refused_command_leaves_no_trace(database: str) -> None:
    async with writing(database) as writer:
        with pytest.raises(RenamedEnough):
            await writer.submit(Rename("oncd", most=0), key=b"k1")
        settled = await writer.submit(Rename("oncd"), key=b"k1")
    assert not settled.repeated
    assert len(assert_sound(database)) == 1


async def test_a_dry_run_writes_nothing(database: str) -> None:
    async with writing(database) as writer:
        settled = await writer.submit(Rename("oncd", dry=True))
    assert (settled.answer, list(settled.facts)) == ("would be version 1", [])
    assert records(database) == []


async def test_a_repeated_command_gets_the_first_answer_and_writes_nothing(database: str) -> None:
    async with writing(database) as writer:
        first = await writer.submit(Rename("oncd", command="c1", times=3), key=b"k1", fingerprint=b"f1")
        await writer.submit(Rename("oncd", command="c2"), key=b"k2")
        again = await writer.submit(Rename("oncd", command="c3", times=3), key=b"k1", fingerprint=b"other")
    assert again.repeated and not first.repeated
    assert again.fingerprint == b"f1"
    assert [replace(fact, salt="") for fact in again.facts] == list(first.facts)
    assert (again.leaves, again.size) == (first.leaves, first.size)
    assert len(assert_sound(database)) == 4


async def test_a_repeated_command_that_would_be_refused_now_still_gets_its_first_answer(database: str) -> None:
    async with writing(database) as writer:
        await writer.submit(Rename("oncd", most=1), key=b"k1")
        assert (await writer.submit(Rename("oncd", most=1), key=b"k1")).repeated


async def test_one_key_twice_at_the_same_moment_is_one_command(database: str) -> None:
    async with writing(database) as writer:
        settled = await asyncio.gather(*(writer.submit(Rename("oncd"), key=b"k1") for _ in range(10)))
    assert Counter(each.repeated for each in settled) == {False: 1, True: 9}
    assert {each.facts[0].position for each in settled} == {0}
    assert len(assert_sound(database)) == 1


async def test_others_in_the_batch_of_a_repeated_command_are_decided_again(database: str) -> None:
    async with writing(database) as writer:
        await writer.submit(Rename("oncd"), key=b"k1")
        repeated, fresh = await asyncio.gather(
            writer.submit(Rename("oncd"), key=b"k1"), writer.submit(Rename("oncd"), key=b"k2")
        )
    assert (repeated.repeated, fresh.repeated, fresh.answer) == (True, False, 2)
    assert len(assert_sound(database)) == 2


async def test_what_is_not_in_memory_is_loaded_in_one_go(database: str) -> None:
    async with writing(database) as writer:
        await asyncio.gather(*(writer.submit(Rename(f"org-{nth}")) for nth in range(20)))
    registry = Registry()
    async with writing(database, registry) as writer:
        settled = await asyncio.gather(*(writer.submit(Rename(f"org-{nth}")) for nth in range(20)))
    assert {each.answer for each in settled} == {2}
    assert len(registry.loads) == 1
    assert_sound(database)


async def test_a_command_too_large_for_a_record_fails_alone(database: str) -> None:
    async with writing(database) as writer:
        small, large, after = await asyncio.gather(
            writer.submit(Rename("oncd")),
            writer.submit(Rename("oncd", name="x" * 70_000)),
            writer.submit(Rename("oncd")),
            return_exceptions=True,
        )
    assert isinstance(large, RecordTooLarge)
    assert (large.status, large.rule) == (422, "record_size")
    assert isinstance(small, Settled) and isinstance(after, Settled)
    assert (small.answer, after.answer) == (1, 2)
    assert len(assert_sound(database)) == 2


async def test_the_queue_is_bounded(database: str) -> None:
    async with writing(database, queue_max=5) as writer:
        outcomes = await asyncio.gather(*(writer.submit(Rename("oncd")) for _ in range(9)), return_exceptions=True)
    full = [each for each in outcomes if isinstance(each, QueueFull)]
    assert len(full) == 4
    assert (full[0].status, full[0].retry_after) == (503, 1)


async def test_a_caller_that_gave_up_does_not_disturb_its_batch(database: str) -> None:
    async with writing(database) as writer:
        async with lock_held(database):
            gone = asyncio.create_task(writer.submit(Rename("oncd", command="gone")))
            stays = asyncio.create_task(writer.submit(Rename("oncd", command="stays")))
            await appending(database)
            gone.cancel()
            await asyncio.sleep(0)
        assert (await stays).answer == 2
    assert {fact.command for fact in assert_sound(database)} == {"gone", "stays"}


async def test_a_broken_rule_fails_its_batch_and_no_other(database: str) -> None:
    class Broken(Registry):
        def decide(self, works: Sequence[Any], end: LogEnd) -> Sequence[Decision]:
            if works[0].name == "broken":
                raise ZeroDivisionError
            return super().decide(works, end)

    async with writing(database, Broken()) as writer:
        with pytest.raises(ZeroDivisionError):
            await writer.submit(Rename("oncd", name="broken"))
        assert (await writer.submit(Rename("oncd"))).answer == 1
    assert len(assert_sound(database)) == 1


async def test_a_writer_that_stopped_by_a_fault_leaves_nobody_waiting(database: str) -> None:
    class Forgetless(Registry):
        def decide(self, works: Sequence[Any], end: LogEnd) -> Sequence[Decision]:
            raise ZeroDivisionError

        def forget(self) -> None:
            raise ZeroDivisionError

    async with writing(database, Forgetless()) as writer, asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await writer.submit(Rename("oncd"))
        with pytest.raises(StorageUnavailable, match="stop"):
            await writer.submit(Rename("oncd"))


async def test_what_cannot_be_sent_fails_its_batch_and_no_other(database: str) -> None:
    class Unsendable(Writer):
        broken = 2  # the second is what is drafted while the first is under way

        def _append(self, *arguments: Any) -> Any:
            self.broken -= 1
            if not self.broken:
                raise UnicodeError("no such bytes")
            return super()._append(*arguments)

    registry = Registry(renamed={"organization-oncd": 0})
    writer = Unsendable(database, registry)
    await writer.start()
    async with lock_held(database):
        first = asyncio.create_task(writer.submit(Rename("oncd")))
        await appending(database)
        second = asyncio.create_task(writer.submit(Rename("oncd")))
        await drafted(registry, 2)
    assert (await first).answer == 1
    with pytest.raises(UnicodeError):
        await second
    assert (await writer.submit(Rename("oncd"))).answer == 2
    await writer.stop()
    assert len(assert_sound(database)) == 2


async def test_two_writers_racing_leave_no_gap_no_loss_and_no_cap_exceeded(database: str) -> None:
    first, second = Registry(), Registry()
    chance = random.Random(7)

    async def client(writer: Writer, nth: int) -> int:
        done = 0
        for turn in range(20):
            organization = f"org-{chance.randrange(4)}"
            work = Rename(organization, command=f"c{nth}-{turn}", most=120, times=chance.choice((1, 1, 2)))
            try:
                settled = await writer.submit(work, key=f"{nth}-{turn}".encode())
            except RenamedEnough:
                continue
            assert not settled.repeated
            done += len(settled.facts)
        return done

    async with writing(database, first) as one, writing(database, second) as two:
        done = await asyncio.gather(*(client((one, two)[nth % 2], nth) for nth in range(32)))
        await asyncio.gather(one.submit(Rename("last")), two.submit(Rename("last")))
    facts = assert_sound(database)
    assert len(facts) == sum(done) + 2
    assert max(Counter(fact.stream for fact in facts).values()) <= 120
    for registry in (first, second):
        folded = [fact.position for fact in registry.folded]
        assert folded == list(range(len(folded)))
        assert len(folded) >= len(facts) - 1


async def test_a_refusal_is_answered_only_on_the_log_as_it_is(database: str) -> None:
    async with writing(database) as one, writing(database) as two:
        await one.submit(Rename("oncd"))
        await two.submit(Rename("oncd"))
        with pytest.raises(RenamedEnough):
            await one.submit(Rename("oncd", most=2))


@asynccontextmanager
async def lock_held(conninfo: str) -> AsyncIterator[AsyncConnection[Any]]:
    """The lock that every append needs, so that whatever is appended waits."""
    async with await AsyncConnection.connect(conninfo) as conn:
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,))
        yield conn


async def appending(conninfo: str) -> int:
    """The backend that waits within `append`, once there is one."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    while True:
        found = await asyncio.to_thread(rows, conninfo, query)
        if found:
            return int(found[0][0])
        await asyncio.sleep(0.01)


async def drafted(registry: Registry, facts: int) -> None:
    """Until so many facts are decided and not in the log."""
    while len(registry.drafted) < facts:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_while_a_batch_is_appended_the_next_is_decided_upon_it_and_not_answered(database: str) -> None:
    registry = Registry()
    async with writing(database, registry) as writer:
        await writer.submit(Rename("oncd"))
        async with lock_held(database):
            first = asyncio.create_task(writer.submit(Rename("oncd", command="first")))
            await appending(database)
            later = [asyncio.create_task(writer.submit(Rename("oncd", command=f"c{nth}"))) for nth in range(3)]
            await drafted(registry, 4)
            assert not first.done() and not any(each.done() for each in later)
        assert [(await each).answer for each in (first, *later)] == [2, 3, 4, 5]
    assert [size for (size,) in rows(database, "SELECT size FROM tree_head ORDER BY size")] == [1, 2, 5]
    assert [fact.position for fact in registry.folded] == [0, 1, 2, 3, 4]
    assert_sound(database)


async def test_what_was_decided_upon_a_batch_that_another_overtook_is_decided_again_in_its_order(database: str) -> None:
    registry = Registry()
    async with writing(database, registry) as writer:
        await writer.submit(Rename("oncd"))
        async with lock_held(database) as rival:
            waiting = [asyncio.create_task(writer.submit(Rename("oncd", command="c0", most=4)))]
            await appending(database)
            waiting += [asyncio.create_task(writer.submit(Rename("oncd", command=f"c{nth}", most=4))) for nth in (1, 2)]
            await drafted(registry, 3)
            await append_as(rival, Rename("oncd", command="rival"), size=1, version=2)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [each.answer for each in outcomes if isinstance(each, Settled)] == [3, 4]
    assert isinstance(outcomes[2], RenamedEnough)
    assert [fact.command for fact in assert_sound(database)] == ["command", "rival", "c0", "c1"]


async def append_as(conn: AsyncConnection[Any], work: Rename, size: int, version: int) -> None:
    """Append a renaming by hand, under the lock that the connection holds, and give the lock back."""
    event = OrganizationChanged(name=work.name)
    now = datetime.now(UTC)
    fact = Fact(size, f"organization-{work.organization}", version, now, now, ADA, work.command, None, event)
    record = seal_fact(fact)
    tree = Frontier()
    tree.extend([leaf for (leaf,) in await reader.rows(conn, "SELECT leaf FROM event ORDER BY position")])
    tree.extend([leaf_hash(record)])
    row = ([fact.stream], [version], [fact.type], [None], [None], [record], [leaf_hash(record)])
    values = (size, *row, tree.root(), bytes(tree), [])
    await conn.execute("SELECT append(%s, %s, %s, %s, %s::bytea[], %s::bytea[], %s, %s, %s, %s, %s::bytea[])", values)
    await conn.commit()


async def test_a_repetition_of_what_is_being_appended_waits_for_its_answer(database: str) -> None:
    registry = Registry()
    async with writing(database, registry) as writer:
        await writer.submit(Rename("oncd"))
        async with lock_held(database):
            first = asyncio.create_task(writer.submit(Rename("oncd"), key=b"k1"))
            await appending(database)
            again = asyncio.create_task(writer.submit(Rename("oncd"), key=b"k1"))
            other = asyncio.create_task(writer.submit(Rename("oncd"), key=b"k2"))
            await drafted(registry, 2)
        assert [(await each).repeated for each in (first, again, other)] == [False, True, False]
    assert len(assert_sound(database)) == 3


async def test_nothing_is_decided_upon_what_a_repetition_would_have_written(database: str) -> None:
    async with writing(database) as before:
        await before.submit(Rename("oncd"), b"key")
    async with writing(database) as writer:  # which has no stream in memory, so that the repetition is decided first
        assert (await writer.submit(Rename("oncd"), b"key")).repeated
        settled = await writer.submit(Rename("oncd"))
    assert settled.facts[0].version == 2
    assert_sound(database)


async def test_what_cannot_be_decided_ahead_waits_until_nothing_is_under_way(database: str) -> None:
    registry = Registry()
    async with writing(database, registry) as writer:
        await writer.submit(Rename("oncd"))
        async with lock_held(database):
            first = asyncio.create_task(writer.submit(Rename("oncd")))
            await appending(database)
            ahead = asyncio.create_task(writer.submit(Rename("oncd")))
            await drafted(registry, 2)
            unknown = asyncio.create_task(writer.submit(Rename("ostp")))
            large = asyncio.create_task(writer.submit(Rename("oncd", name="x" * 70_000)))
            last = asyncio.create_task(writer.submit(Rename("oncd")))
            await asyncio.sleep(0.05)
        outcomes = await asyncio.gather(first, ahead, unknown, large, last, return_exceptions=True)
    assert isinstance(outcomes.pop(3), RecordTooLarge)
    assert [each.answer for each in outcomes if isinstance(each, Settled)] == [2, 3, 1, 4]
    assert len(assert_sound(database)) == 5


async def test_what_is_too_large_for_a_record_does_not_spoil_what_was_decided_with_it(database: str) -> None:
    registry = Registry()
    async with writing(database, registry) as writer:
        await writer.submit(Rename("oncd"))
        async with lock_held(database):
            waiting = [asyncio.create_task(writer.submit(Rename("oncd", command="c0")))]
            await appending(database)
            waiting.append(asyncio.create_task(writer.submit(Rename("oncd", command="c1"))))
            await drafted(registry, 2)
            waiting += [
                asyncio.create_task(writer.submit(Rename("oncd", command="large", name="x" * 70_000))),
                asyncio.create_task(writer.submit(Rename("oncd", command="c2"))),
            ]
            await asyncio.sleep(0.05)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[2], RecordTooLarge)
    assert [fact.command for fact in assert_sound(database)] == ["command", "c0", "c1", "c2"]


async def test_what_waits_behind_an_append_counts_towards_the_queue(database: str) -> None:
    registry = Registry()
    async with writing(database, registry, queue_max=3) as writer:
        await writer.submit(Rename("oncd"))
        async with lock_held(database):
            waiting = [asyncio.create_task(writer.submit(Rename("oncd")))]
            await appending(database)
            waiting += [asyncio.create_task(writer.submit(Rename("oncd"))) for _ in range(3)]
            await drafted(registry, 4)
            with pytest.raises(QueueFull):
                await writer.submit(Rename("oncd"))
        await asyncio.gather(*waiting)
    assert len(assert_sound(database)) == 5


async def test_a_row_is_decided_in_one_append_however_many_wait(database: str) -> None:
    async with writing(database) as writer:
        await writer.submit(Rename("oncd"))
        alone = [writer.promise(Rename("oncd")) for _ in range(20)]
        row = [writer.promise(Rename("oncd"), in_row=nth > 0) for nth in range(2 * AHEAD_MAX)]
        await asyncio.gather(*alone, *row)
    heads = [size for (size,) in rows(database, "SELECT size FROM tree_head ORDER BY size")]
    assert not [size for size in heads if 21 < size < 21 + 2 * AHEAD_MAX]


async def test_a_connection_killed_before_the_append_is_decided_again(database: str) -> None:
    async with writing(database) as writer:
        await writer.submit(Rename("oncd"))
        async with lock_held(database):
            waiting = [asyncio.create_task(writer.submit(Rename("oncd"), key=b"k%d" % nth)) for nth in range(5)]
            victim = await appending(database)
            rows(database, "SELECT pg_terminate_backend(%s)", victim)
            await asyncio.sleep(0.05)
        settled = await asyncio.gather(*waiting)
    assert [each.answer for each in settled] == [2, 3, 4, 5, 6]
    assert len(assert_sound(database)) == 6


class LosesTheAnswer(Writer):
    """The append is committed, but its answer never arrives: what a crash of the network or the server looks like."""

    losses = 1

    async def _append(self, *arguments: Any) -> Any:
        found = await super()._append(*arguments)
        if self.losses:
            self.losses -= 1
            raise psycopg.OperationalError("the connection is lost")
        return found


@pytest.mark.parametrize("key", [None, b"k1"])
async def test_an_append_whose_answer_was_lost_is_found_in_the_log(database: str, key: bytes | None) -> None:
    registry = Registry()
    writer = LosesTheAnswer(database, registry)
    await writer.start()
    settled = await writer.submit(Rename("oncd", times=2), key=key)
    after = await writer.submit(Rename("oncd"))
    await writer.stop()
    assert (settled.repeated, settled.answer, after.answer) == (False, 2, 3)
    facts = assert_sound(database)
    assert [fact.position for fact in registry.folded] == [fact.position for fact in facts] == [0, 1, 2]


async def test_a_lost_append_that_another_writer_overtook_is_decided_again(database: str) -> None:
    class Overtaken(Writer):
        losses = 1

        async def _append(self, *arguments: Any) -> Any:
            if self.losses:
                self.losses -= 1
                async with writing(database) as other:
                    await other.submit(Rename("oncd"))
                raise psycopg.OperationalError("the connection is lost")
            return await super()._append(*arguments)

    writer = Overtaken(database, Registry())
    await writer.start()
    settled = await writer.submit(Rename("oncd", most=2))
    await writer.stop()
    assert settled.answer == 2
    assert len(assert_sound(database)) == 2


async def test_connections_killed_at_random_under_two_writers_lose_and_double_nothing(database: str) -> None:
    stopping = asyncio.Event()
    leaves: list[bytes] = []
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query ~ 'append|pg_advisory|FROM event' AND pid <> pg_backend_pid()"
    )

    async def killer() -> None:
        killed, chance = 0, random.Random(11)
        while killed < 12:
            killed += len(await asyncio.to_thread(rows, database, kill))
            await asyncio.sleep(chance.random() / 20)
        stopping.set()

    async def client(writer: Writer, nth: int) -> None:
        for turn in itertools.count():
            if stopping.is_set():
                return
            work = Rename(f"org-{nth % 3}", command=f"c{nth}-{turn}", times=1 + turn % 2)
            while True:
                try:
                    settled = await writer.submit(work, key=f"{nth}-{turn}".encode())
                except StorageUnavailable:
                    continue
                break
            assert {fact.command for fact in settled.facts} == {f"c{nth}-{turn}"}
            assert len(settled.facts) == 1 + turn % 2
            leaves.extend(settled.leaves)

    async with writing(database) as one, writing(database) as two:
        await asyncio.gather(killer(), *(client((one, two)[nth % 2], nth) for nth in range(16)))
    assert_sound(database)
    assert Counter(leaf_hash(record) for record in records(database)) == Counter(leaves)


async def test_a_storage_that_stays_away_is_said_in_time_and_may_come_back(database: str) -> None:
    async with writing(database, patience_seconds=0.3) as writer:
        async with lock_held(database):
            with pytest.raises(StorageUnavailable) as refusal:
                await writer.submit(Rename("oncd"), key=b"k1")
            assert (refusal.value.status, refusal.value.retry_after) == (503, 1)
        settled = await writer.submit(Rename("oncd"), key=b"k1")
    assert settled.facts[0].version == 1
    assert len(assert_sound(database)) == 1


async def test_a_stopped_writer_takes_nothing_more(database: str) -> None:
    async with writing(database) as writer:
        waiting = asyncio.create_task(writer.submit(Rename("oncd")))
        await asyncio.sleep(0)
    assert (await waiting).facts, "what waited was settled first"
    with pytest.raises(StorageUnavailable):
        await writer.submit(Rename("oncd"))


@pytest.fixture
def standby_awaited(tmp_path: Path) -> Any:
    """A server of its own that waits for a synchronous standby which never comes."""
    with EmbeddedPostgres(tmp_path / "data", {"fsync": "off"}) as conninfo:
        migrate(conninfo, schema.MIGRATIONS)
        await_standby(conninfo, "nobody")
        yield conninfo


def await_standby(conninfo: str, names: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = local")
        conn.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        conn.execute("SELECT pg_reload_conf()")


async def cancel_commits(conninfo: str, times: int) -> None:
    """End the wait for the standby of the next commits: Postgres then warns that it committed locally only."""
    query = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while times:
        times -= len(await asyncio.to_thread(rows, conninfo, query))
        await asyncio.sleep(0.05)


async def test_a_commit_that_is_not_replicated_is_not_answered_as_done(standby_awaited: str) -> None:
    async with writing(standby_awaited, patience_seconds=2.0) as writer:
        waiting = asyncio.create_task(writer.submit(Rename("oncd"), key=b"k1"))
        await cancel_commits(standby_awaited, 2)
        with pytest.raises(StorageUnavailable):
            await waiting
        await asyncio.to_thread(await_standby, standby_awaited, "")
        again = await writer.submit(Rename("oncd"), key=b"k1")
    assert again.repeated
    assert len(assert_sound(standby_awaited)) == 1


async def test_a_lost_answer_says_nothing_about_replication(standby_awaited: str) -> None:
    class Unconfirmed(LosesTheAnswer):
        async def _append(self, conn: Any, *arguments: Any) -> Any:
            await conn.execute("SET synchronous_commit = local")
            return await super()._append(conn, *arguments)

    writer = Unconfirmed(standby_awaited, Registry(), patience_seconds=1.0)
    await writer.start()
    with pytest.raises(StorageUnavailable):
        await writer.submit(Rename("oncd"), key=b"k1")
    await asyncio.to_thread(await_standby, standby_awaited, "")
    assert (await writer.submit(Rename("oncd"), key=b"k1")).repeated
    await writer.stop()
    assert len(assert_sound(standby_awaited)) == 1


async def test_a_commit_confirmed_by_a_later_one_is_answered(standby_awaited: str) -> None:
    async with writing(standby_awaited, patience_seconds=20.0) as writer:
        waiting = asyncio.create_task(writer.submit(Rename("oncd"), key=b"k1"))
        await cancel_commits(standby_awaited, 1)
        await asyncio.to_thread(await_standby, standby_awaited, "")
        assert not (await waiting).repeated
    assert len(assert_sound(standby_awaited)) == 1


async def test_a_key_names_only_the_events_of_its_own_command(database: str) -> None:
    async with writing(database) as writer:
        await asyncio.gather(
            writer.submit(Rename("oncd", command="c1", times=2), key=b"k1"),
            writer.submit(Rename("oncd", command="c2", times=3), key=b"k2"),
            writer.submit(Rename("oncd", command="c3")),
        )
    async with await AsyncConnection.connect(database) as conn:
        found = await reader.kept(conn, [b"k1", b"k2", b"k3"])
    assert {key: [fact.position for fact in kept.facts] for key, kept in found.items()} == {
        b"k1": [0, 1],
        b"k2": [2, 3, 4],
    }
    assert {kept.size for kept in found.values()} == {6}
