"""Is it known which gateways enforce a revocation, since when, and who is behind?"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from services.changes import Changes
from services.enforcement_points import EnforcementPoints
from services.log import reader
from tests.services.http.conftest import START, Ask, Service
from tests.services.http.test_access_feed import grant_of
from tests.services.http.test_commands import problem
from tests.services.http.test_queries import approved


def acknowledged(service: Service, position: Any, point: Any = "eu-1", person: str = "gus") -> httpx.Response:
    body = {"point": point, "position": position}
    return service.client.post("/access/v1/enforcement", json=body, headers=service.headers(person))


def reached(service: Service, grant: str, person: str = "olga") -> Any:
    response = service.get(person, f"/grants/{grant}/enforcement")
    assert response.status_code == 200, response.text
    return response.json()


def points(found: Any) -> dict[str, Any]:
    return {each["point"]: each for each in found["points"]}


@pytest.fixture
def granted(service: Service, request_of: Ask) -> str:
    request = request_of()
    return grant_of(service, request, approved(service, request))


def revoked(service: Service, grant: str) -> int:
    """The position of the revocation; what follows from it comes after."""
    done = service.done("hana", f"/grants/{grant}/revocation", {"reason": "Misuse", "finding": "Breach"})
    return next(int(event["position"]) for event in done["events"] if event["type"] == "GrantRevoked")


def test_whoever_enforced_it_is_told_apart_from_who_is_behind(service: Service, granted: str) -> None:
    issued = reached(service, granted)["change"]
    assert issued["type"] == "GrantIssued"
    for point in ("eu-1", "us-1"):
        assert acknowledged(service, issued["position"], point).status_code == 200
    position = revoked(service, granted)
    found = reached(service, granted)
    assert (found["change"]["position"], found["change"]["type"]) == (position, "GrantRevoked")
    assert not any(each["applied"] for each in points(found).values())
    assert acknowledged(service, position, "us-1").json()["position"] >= position
    found = reached(service, granted)
    assert points(found)["us-1"]["applied"] and points(found)["us-1"]["applied_at"] >= found["change"]["recorded"]
    behind = points(found)["eu-1"]
    assert not behind["applied"] and behind["applied_at"] is None and behind["position"] == issued["position"]
    assert found["points"][0]["applied"] is False, "who is behind comes first"
    assert found["applied"] + found["behind"] == len(found["points"])


def test_what_does_not_change_access_does_not_put_a_point_behind(service: Service, granted: str) -> None:
    before = reached(service, granted)["change"]
    acknowledged(service, before["position"], "still")
    service.done("nina", f"/grants/{granted}/compliance-reports", {"text": "All is well"})
    after = reached(service, granted)
    assert after["change"] == before
    assert points(after)["still"]["applied"]


def test_a_point_that_starts_anew_from_an_older_snapshot_is_behind_again(service: Service, granted: str) -> None:
    issued = reached(service, granted)["change"]["position"]
    position = revoked(service, granted)
    acknowledged(service, position, "cold")
    assert points(reached(service, granted))["cold"]["applied"]
    acknowledged(service, issued, "cold")
    assert not points(reached(service, granted))["cold"]["applied"]


def test_other_providers_points_do_not_count(service: Service, granted: str) -> None:
    at = reached(service, granted)["change"]["position"]
    assert acknowledged(service, at, "claude-1", "ann").status_code == 200
    assert "claude-1" not in points(reached(service, granted))


def test_a_customer_is_not_told_of_gateways(service: Service, granted: str) -> None:
    assert problem(service.get("nina", f"/grants/{granted}/enforcement"), 403, "authority")
    assert problem(service.get("tom", f"/grants/{granted}/enforcement"), 404, "need_to_know")
    assert problem(service.get("olga", "/grants/unknown/enforcement"), 404, "need_to_know")


@pytest.mark.parametrize(
    ("point", "position"), [("", 1), ("a b", 1), ("x" * 200, 1), ("eu-1", -1), ("eu-1", "1"), ("eu-1", None), (7, 1)]
)
def test_what_is_no_acknowledgement_is_refused(service: Service, point: Any, position: Any) -> None:
    assert problem(acknowledged(service, position, point), 400, "authzen")


def test_nobody_enforces_what_has_not_happened(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.http.access.WAIT_SECONDS_MAX", 0.05)
    assert "retry-after" in acknowledged(service, 10**9).headers
    assert problem(acknowledged(service, 10**9), 503, "position")


def test_only_gateways_and_release_managers_acknowledge(service: Service) -> None:
    assert problem(acknowledged(service, 0, person="nina"), 403, "authority")
    assert problem(service.client.post("/access/v1/enforcement", json={}), 401, "authentication")
    assert problem(service.client.get("/access/v1/enforcement", headers=service.headers("gus")), 405, "methods")


# What is kept


@pytest.fixture
async def pool(database: str) -> AsyncIterator[reader.Pool]:
    async with AsyncConnectionPool(database, min_size=1, max_size=4, kwargs={"autocommit": True}, open=False) as found:
        yield found


async def kept(pool: reader.Pool) -> int:
    async with pool.connection() as conn:
        return int((await reader.rows(conn, "SELECT count(*) FROM door.enforcement"))[0][0])


async def test_many_words_at_once_are_all_kept_and_the_last_of_each_stands(pool: reader.Pool) -> None:
    points = EnforcementPoints(pool, lambda: START, Changes())
    words = [points.hear("gus", f"p{nth % 50}", frozenset({"openai"}), nth) for nth in range(500)]
    await asyncio.gather(*words)
    found = await points.reached(450, "openai")
    assert sorted(each.position for each in found) == list(range(450, 500))
    assert all(each.applied and each.applied_at == START for each in found)


async def test_a_word_between_which_nothing_changed_is_not_kept_but_moves_the_point_on(pool: reader.Pool) -> None:
    points = EnforcementPoints(pool, lambda: START, Changes())
    for position in range(10):
        await points.hear("gus", "eu-1", None, position)
    assert await kept(pool) == 1
    (found,) = await points.reached(9, "openai")
    assert found.position == 9 and found.applied


async def test_what_is_old_is_forgotten(pool: reader.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.enforcement_points.SWEEP_SECONDS", 0.0)
    now = START
    points = EnforcementPoints(pool, lambda: now, Changes())
    await points.hear("gus", "eu-1", None, 1)
    now = START + timedelta(days=31)
    await points.hear("gus", "us-1", None, 2)
    assert [each.point for each in await points.reached(0, "openai")] == ["us-1"]
    assert await kept(pool) == 1
