"""Does a replica that was only told records answer as the log itself does, at every position of random worlds?"""

import json
from datetime import datetime, timedelta
from random import Random

import pytest

from domain.access import Access, Grant, Record, Use, from_json, microseconds, to_json
from domain.enforcement import Change, Enforcement, Providers, concerned, is_for
from domain.facts import Fact
from services.log import record
from tests.simulation import acts
from tests.simulation.workload import Workload

CHECKS_AT_A_POSITION = 25
SKEW = timedelta(hours=2)
"""How wrong a gateway's clock may be in these worlds, at most."""


class Gateway:
    """A replica for gateways of some providers: a snapshot at some position, and the changes after it."""

    def __init__(self, readers: Providers, of: Access, chance: Random) -> None:
        self.readers = readers
        self.access = Access(answers_max=chance.choice((2, 50, 1_000_000)))
        for each in of.records():
            if is_for(concerned(each, of), readers):
                self.access.put(sent(each))

    def hear(self, change: Change) -> None:
        if is_for(change.to, self.readers):
            self.access.put(sent(change.record))


def sent(known: Record) -> Record:
    """The record after its way through JSON."""
    found = from_json(json.loads(json.dumps(to_json(known))))
    assert found == known
    return found


def history(seed: str, steps: int) -> list[Fact]:
    """The log of a random world, as its bytes say."""
    world = Workload(seed, keep=True)
    world.run(steps)
    assert world.appends is not None
    return [record.read(line) for append in world.appends for line in append]


def drawn(access: Access, chance: Random) -> Use:
    """A question that has something to do with what there is, mostly."""
    held = [grant for grants in access.grants.values() for grant in grants]
    grant = chance.choice(held) if held and chance.random() < 0.8 else None
    customers, releases = [*access.customers, "nobody"], [*access.releases, "nothing"]
    return Use(
        grant.customer if grant else chance.choice(customers),
        grant.release if grant else chance.choice(releases),
        chance.choice((None, *(grant.tiers if grant else ()), *acts.TIERS)),
        chance.choice((None, *acts.CLASSES)),
        chance.choice((None, None, None, *(grant.affiliates if grant else ()), "customer-0-lab-1")),
    )


def moments(access: Access, now: datetime, chance: Random) -> list[int]:
    """Now, and around the ends of grants: what expires between two facts has expired."""
    ends = [grant.until for grants in access.grants.values() for grant in grants if grant.until is not None]
    around = [end + wide for end in chance.sample(ends, min(2, len(ends))) for wide in (-1, 0)]
    return [microseconds(now), *around]


@pytest.mark.parametrize("seed", ["a", "b", "c", "d"])
def test_a_replica_answers_as_the_log_does_at_every_position(seed: str) -> None:
    facts, chance = history(seed, 3_000), Random(seed)
    enforcement = Enforcement()
    gateways: list[Gateway] = []
    asked, answered, told = 0, set(), 0
    for fact in facts:
        change = enforcement.take(fact)
        if change is not None:
            told += 1
            for gateway in gateways:
                gateway.hear(change)
        if chance.random() < 0.01:
            providers = sorted({release.provider for release in enforcement.access.releases.values()})
            readers = chance.choice([None, *(frozenset({each}) for each in providers)])
            gateways = [*gateways[-2:], Gateway(readers, enforcement.access, chance)]
        for _ in range(CHECKS_AT_A_POSITION if change else 4):
            use = drawn(enforcement.access, chance)
            now = chance.choice(moments(enforcement.access, fact.recorded, chance))
            expected, _ = enforcement.access.decide(use, now)
            assert enforcement.access.check(use, now) == expected, "what is remembered is what would be found anew"
            for gateway in gateways:
                asked += 1
                answered.add(expected.reason)
                theirs = gateway.access.check(use, now)
                release = enforcement.access.releases.get(use.release)
                if release is None or not is_for(frozenset({release.provider}), gateway.readers):
                    assert theirs.reason == "unknown_release", "of others' releases a gateway knows nothing"
                else:
                    assert theirs == expected
                    assert theirs.because == expected.because
                    assert all(position <= fact.position for position in theirs.because)
    assert asked > 10_000 and told > 50 and len(answered) > 7


def test_a_gateway_whose_clock_is_wrong_never_allows_too_late() -> None:
    """It asks with the time that it may be at the latest: time alone only takes access away."""
    chance = Random(7)
    enforcement, allowed, stopped = Enforcement(), 0, 0
    for fact in history("skew", 3_000):
        change = enforcement.take(fact)
        if change is None or not isinstance(change.record, Grant):
            continue
        access, grant = enforcement.access, change.record
        for _ in range(40):
            use = Use(grant.customer, grant.release, chance.choice(grant.tiers or (None,)), "us_person")
            moment = chance.choice(moments(access, fact.recorded, chance))
            wrong = moment + round(chance.uniform(-1, 1) * microseconds_of(SKEW))
            ours, _ = access.decide(use, moment)
            theirs, _ = access.decide(use, wrong + microseconds_of(SKEW))
            assert ours.allowed or not theirs.allowed
            allowed += theirs.allowed
            stopped += ours.allowed and not theirs.allowed
    assert allowed > 100 and stopped > 0


def microseconds_of(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
