"""What does a machine's key open, and when does it open nothing any more?"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from services.http import key_uses
from services.http.key_uses import KeyUses
from tests.services.http.conftest import Ask, Service, served, settings_for
from tests.services.http.test_commands import problem

GATEWAY = {"organization": "openai", "name": "Gateway in Virginia", "scopes": ["access"]}
READER = {"organization": "oncd", "name": "Case system", "scopes": ["read"]}
QUESTION = {
    "subject": {"type": "organization", "id": "northwind"},
    "action": {"name": "use"},
    "resource": {"type": "release", "id": "gpt-5.6"},
}


def issue(service: Service, body: dict[str, Any], **headers: str) -> Any:
    return service.done("root", "/keys", body, **headers)


def get(service: Service, token: str, path: str) -> httpx.Response:
    return service.client.get(path, headers={"authorization": f"Bearer {token}"})


def evaluate(service: Service, token: str) -> httpx.Response:
    return service.client.post("/access/v1/evaluation", json=QUESTION, headers={"authorization": f"Bearer {token}"})


def test_a_gateways_key_evaluates_and_does_nothing_else(service: Service) -> None:
    token = issue(service, GATEWAY)["secret"]
    answer = evaluate(service, token)
    assert answer.status_code == 200 and answer.json()["context"]["reason"] != "unknown_release"
    problem(get(service, token, "/api/v1/releases"), 403, "scope")
    headers = {"authorization": f"Bearer {token}", "idempotency-key": "k"}
    problem(service.client.post("/api/v1/releases/gpt-5.6/hold", json={"reason": "x"}, headers=headers), 403, "scope")


def test_a_readers_key_reads_for_its_organization(service: Service, request_of: Ask) -> None:
    id = request_of()
    token = issue(service, READER)["secret"]
    seen = get(service, token, f"/api/v1/requests/{id}")
    assert seen.status_code == 200
    assert seen.json() == service.get("olga", f"/requests/{id}").json()
    problem(evaluate(service, token), 403, "scope")
    problem(get(service, token, "/api/v1/events"), 403, "authority")


def test_a_customers_key_sees_what_its_applicants_see(service: Service, request_of: Ask) -> None:
    mine, others = request_of(), request_of("tinker", "tom")
    token = issue(service, {"organization": "northwind", "name": "ERP", "scopes": ["read"]})["secret"]
    assert get(service, token, f"/api/v1/requests/{mine}").json() == service.get("nina", f"/requests/{mine}").json()
    problem(get(service, token, f"/api/v1/requests/{others}"), 404, "need_to_know")


def test_the_same_command_again_tells_the_secret_again_and_another_one_another(service: Service) -> None:
    first = issue(service, GATEWAY, idempotency_key="machine-1")
    assert issue(service, GATEWAY, idempotency_key="machine-1") == first
    assert issue(service, GATEWAY, idempotency_key="machine-2")["secret"] != first["secret"]


def test_a_dry_run_makes_no_secret(service: Service) -> None:
    answer = service.client.post("/api/v1/keys?dry_run=true", json=GATEWAY, headers=service.headers("root"))
    assert answer.status_code == 200 and "secret" not in answer.json()


def test_nobody_reads_a_secret_or_its_hash_but_auditors_the_hash(service: Service) -> None:
    issued = issue(service, GATEWAY)
    shown = service.read("root", f"/keys/{issued['id']}", issued["position"])
    assert (shown["organization"], shown["role"], shown["scopes"]) == ("openai", "gateway", ["access"])
    secret = issued["secret"].rpartition("_")[2]
    for text in (str(shown), service.get("root", "/keys?organization=openai").text, service.get("abe", "/events").text):
        assert secret not in text
    assert "digest" not in shown


def test_whoever_does_not_keep_keys_learns_nothing_of_them(service: Service) -> None:
    id = issue(service, GATEWAY)["id"]
    for person in ("rae", "olga", "nina"):
        problem(service.get(person, "/keys"), 403, "authority")
        problem(service.post(person, f"/keys/{id}/revocation", {}), 404, "need_to_know")
        problem(service.post(person, "/keys", GATEWAY), 403, "authority")


@pytest.mark.parametrize("given", ["digest", "secret", "role"])
def test_a_caller_does_not_choose_what_the_service_makes(service: Service, given: str) -> None:
    problem(service.post("root", "/keys", {**GATEWAY, given: "0" * 64}), 422, "well_formed")


def test_a_revoked_key_opens_nothing_from_that_answer_on(service: Service) -> None:
    issued = issue(service, GATEWAY)
    assert evaluate(service, issued["secret"]).status_code == 200
    service.done("root", f"/keys/{issued['id']}/revocation", {"reason": "Leaked"})
    assert evaluate(service, issued["secret"]).status_code == 401


def test_after_a_rotation_the_old_secret_is_good_only_for_the_overlap(service: Service) -> None:
    issued = issue(service, GATEWAY)
    rotated = service.done("root", f"/keys/{issued['id']}/rotation", {"overlap_hours": 1})["secret"]
    assert [evaluate(service, token).status_code for token in (issued["secret"], rotated)] == [200, 200]
    again = service.done("root", f"/keys/{issued['id']}/rotation", {"overlap_hours": 0})["secret"]
    assert [evaluate(service, token).status_code for token in (issued["secret"], rotated, again)] == [401, 401, 200]


def test_a_key_opens_nothing_when_its_time_is_over(database: str, tmp_path: Any) -> None:
    with served(settings_for(database, tmp_path)) as service:
        provider = {"id": "openai", "kind": "provider", "name": "OpenAI", "country": "US"}
        service.done("root", "/organizations", provider)
        token = issue(service, GATEWAY)["secret"]
        assert evaluate(service, token).status_code == 200
        service.let_time_pass(service.settings.clock_start + timedelta(days=91))  # type: ignore[operator]
        assert evaluate(service, token).status_code == 401


@pytest.mark.parametrize("spoil", ["assent_", "assent__", "assent_{id}_", "assent_{id}_{other}", "assent_0_{secret}"])
def test_a_token_that_is_not_quite_a_keys_opens_nothing(service: Service, spoil: str) -> None:
    issued, other = issue(service, GATEWAY), issue(service, GATEWAY)
    secrets = {name: key["secret"].rpartition("_")[2] for name, key in (("secret", issued), ("other", other))}
    assert evaluate(service, spoil.format(id=issued["id"], **secrets)).status_code == 401


def test_nobody_is_named_like_a_machine(service: Service) -> None:
    with pytest.raises(ValueError, match="no token"):
        service.issuer.issue("key.1")


# Its last use


def last_used(service: Service, id: str, **more: str) -> Any:
    return service.get("root", f"/keys/{id}", **more).json()["last_used"]


def used(service: Service, id: str) -> Any:
    """What is told of its last use, once it is."""
    for _ in range(100):
        if (found := last_used(service, id)) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("its use was never written down")


def test_whoever_keeps_keys_sees_when_each_was_last_used(service: Service) -> None:
    issued, unused = issue(service, GATEWAY), issue(service, GATEWAY)
    service.read("root", f"/keys/{unused['id']}", unused["position"])
    assert last_used(service, issued["id"]) is None
    assert evaluate(service, issued["secret"]).status_code == 200
    assert used(service, issued["id"]).startswith("2026-06-2")
    known = service.get("root", f"/keys/{issued['id']}").headers["etag"]
    assert last_used(service, issued["id"], if_none_match=known) is not None
    listed = {each["id"]: each["last_used"] for each in service.get("root", "/keys?limit=200").json()["items"]}
    assert listed[issued["id"]] == last_used(service, issued["id"])
    assert listed[unused["id"]] is None


def test_what_somebody_else_tries_with_a_key_is_no_use_of_it(service: Service) -> None:
    issued = issue(service, GATEWAY)
    service.read("root", f"/keys/{issued['id']}", issued["position"])
    assert evaluate(service, issued["secret"][:-1] + "!").status_code == 401
    other = issue(service, GATEWAY)
    assert evaluate(service, other["secret"]).status_code == 200
    used(service, other["id"])
    assert last_used(service, issued["id"]) is None


def test_the_past_does_not_tell_what_the_log_does_not_know(service: Service) -> None:
    issued = issue(service, GATEWAY)
    position = issued["position"]
    service.read("root", f"/keys/{issued['id']}", position)
    assert "last_used" not in service.get("root", f"/keys/{issued['id']}?at={position}").json()


async def test_many_uses_in_a_minute_are_written_once(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(datetime(2026, 6, 20, 13, minute, tzinfo=UTC) for minute in range(60))
    async with AsyncConnectionPool(database, min_size=1, open=False, kwargs={"autocommit": True}) as pool:
        uses = KeyUses(pool, lambda: next(moments))

        async def written(*keys: str) -> Any:
            for key in keys:
                uses.note(key)
            assert uses._writing is not None
            await uses._writing
            return {key: moment.minute for key, moment in (await uses.of(["one", "two"])).items()}

        assert await written("one", "one") == {"one": 0}
        assert await written("one", "two") == {"one": 0, "two": 1}
        monkeypatch.setattr(key_uses, "AGAIN_SECONDS", 0.0)
        uses._noted.clear()
        assert await written("one") == {"one": 2, "two": 1}
        await asyncio.sleep(0.01)
        assert await written("one") == {"one": 3, "two": 1}


async def test_a_use_that_cannot_be_written_hinders_nobody(caplog: pytest.LogCaptureFixture) -> None:
    pool: Any = AsyncConnectionPool("host=127.0.0.1 port=1 connect_timeout=1", open=False, timeout=0.05, min_size=1)
    await pool.open()
    uses = KeyUses(pool, lambda: datetime.now(UTC))
    uses.note("one")
    assert uses._writing is not None
    await uses._writing
    await pool.close()
    assert "The use of 1 keys was not written down" in caplog.text
