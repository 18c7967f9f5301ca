"""Does a process hold what it needs to answer checks, whichever way it came to know it?"""

import asyncio

from services.replica import Replica
from tests.projections.shelf import a_full_story, append


def known(replica: Replica) -> dict[str, object]:
    people = {person: replica.organizations_of(person) for person in ("cora", "carl", "nina", "tom", "rae", "nobody")}
    return {**{name: repr(value) for name, value in vars(replica.access).items()}, "people": people}


async def loaded(conninfo: str) -> Replica:
    replica = Replica()
    await replica.load(conninfo)
    return replica


async def test_what_is_loaded_from_the_log_is_what_taking_in_every_fact_comes_to(database: str) -> None:
    story = a_full_story()
    append(database, story.facts)
    taken = Replica()
    taken.take(story.facts)
    found = await loaded(database)
    assert found.position == len(story.facts) - 1
    assert known(found) == known(taken)
    assert all(known(found).values())


async def test_a_replica_of_an_empty_log_knows_nothing(database: str) -> None:
    assert known(await loaded(database)) == known(Replica())


async def test_what_the_leader_hands_on_wakes_those_who_follow_enforcement() -> None:
    facts, replica = a_full_story().facts, Replica()
    last = next(fact.position for fact in reversed(facts) if fact.stream.startswith("grant-"))
    replica.take(facts[:last])
    waiting = asyncio.create_task(replica.changes.news())
    await asyncio.sleep(0)
    assert replica.take_news(last, len(facts), [fact for fact in facts[last:] if Replica.holds(fact)])
    await asyncio.wait_for(waiting, 1)
    assert [*replica.changes.after(last - 1, None)] and replica.position == len(facts) - 1
