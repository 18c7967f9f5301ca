"""Does nobody get more than their share, does everybody else get theirs, and is whoever must wait told for how long?"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.http.identity import DevelopmentIssuer, Identities
from services.http.problems import Unauthenticated
from services.http.rates import Rate, TooManyRequests
from services.known_issuers import KnownIssuer
from services.settings import Settings
from tests.conftest import fresh_database
from tests.services.http.conftest import ORGANIZATIONS, Service, served, settings_for
from tests.services.http.identity_provider import AUDIENCE, CLIENT, SECRET, IdentityProvider
from tests.services.http.test_commands import problem
from tests.services.http.test_machines import QUESTION, READER, get

MOST = 2
_nth = count()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def granted(rate: Rate, caller: str, times: int) -> int:
    """How many of so many requests at once are granted."""
    found = 0
    for _ in range(times):
        try:
            rate.take(caller)
            found += 1
        except TooManyRequests:
            pass
    return found


# One limit


def test_a_burst_is_granted_and_then_as_many_in_each_second() -> None:
    clock = Clock()
    rate = Rate("reads", 10, now=clock)
    assert granted(rate, "nina", 30) == 10
    for _ in range(5):
        clock.now += 0.5
        assert granted(rate, "nina", 30) == 5
    clock.now += 60
    assert granted(rate, "nina", 30) == 10


def test_whoever_must_wait_is_told_how_long_and_pays_nothing_for_asking() -> None:
    clock = Clock()
    rate = Rate("logins", 2, 60, now=clock)
    assert granted(rate, "10.0.0.1", 100) == 2
    with pytest.raises(TooManyRequests, match="2 logins a minute") as refused:
        rate.take("10.0.0.1")
    assert 1 <= refused.value.retry_after <= 30
    clock.now += refused.value.retry_after
    rate.take("10.0.0.1")


def test_everybody_has_a_share_of_their_own() -> None:
    rate = Rate("reads", 3, now=Clock())
    assert (granted(rate, "nina", 9), granted(rate, "tom", 9)) == (3, 3)


def test_what_succeeds_does_not_count_as_a_failure() -> None:
    rate = Rate("sign-ins that fail", 2, now=Clock())
    for _ in range(10):
        with rate.of_failures("10.0.0.1"):
            pass
    for _ in range(2):
        with pytest.raises(LookupError), rate.of_failures("10.0.0.1"):
            raise LookupError
    with pytest.raises(TooManyRequests), rate.of_failures("10.0.0.1"):
        raise AssertionError("it must not begin")


def test_no_more_callers_are_remembered_than_fit() -> None:
    rate = Rate("reads", 1000, callers_max=100, now=Clock())
    for nth in range(1000):
        rate.take(f"10.0.{nth}.1")
    assert len(rate) == 100


def test_who_only_passes_by_takes_nobodys_share_though_many_are_forgotten() -> None:
    clock = Clock()
    rate = Rate("sign-ins that fail", 100, callers_max=10, now=clock)
    for nth in range(1000):
        rate.take(f"10.0.{nth}.1")
    assert granted(rate, "nina", 200) >= 80


ARRIVALS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.01, 0.1, 0.4, 1.0, 3.0])), max_size=200)


@given(ARRIVALS, st.integers(1, 4), st.integers(1, 5))
def test_forgetting_gives_nobody_more_than_the_limit_and_one_burst(
    arrivals: list[tuple[int, float]], callers_max: int, most: int
) -> None:
    clock, at = Clock(), dict[str, list[float]]()
    rate = Rate("reads", most, callers_max=callers_max, now=clock)
    for caller, pause in arrivals:
        clock.now += pause
        if granted(rate, str(caller), 1):
            at.setdefault(str(caller), []).append(clock.now)
    for times in at.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= most + most * (times[last] - times[first]) + 0.002


async def test_where_too_much_failed_only_a_token_that_is_known_lets_in(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer(Settings(data=tmp_path))
    identities = Identities([issuer], failures=Rate("sign-ins that fail", 2, now=Clock()))
    known, new = (b"Bearer " + issuer.issue(person).encode() for person in ("nina", "tom"))
    await identities.of(known, "10.0.0.1")
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await identities.of(b"Bearer forged", "10.0.0.1")
    with pytest.raises(TooManyRequests):
        await identities.of(new, "10.0.0.1")
    assert (await identities.of(known, "10.0.0.1")).person == "nina"
    assert (await identities.of(new, "10.0.0.2")).person == "tom"


# Over HTTP


@pytest.fixture(scope="module")
def strict(
    postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory, provider: IdentityProvider
) -> Iterator[tuple[Service, Settings]]:
    """A service with small limits behind a proxy, for which each test speaks."""
    folder = tmp_path_factory.mktemp("strict")
    (folder / "secret").write_text(SECRET + "\n")
    known = KnownIssuer(provider.issuer, AUDIENCE, client_id=CLIENT, client_secret_file=str(folder / "secret"))
    for conninfo in fresh_database(postgres, template):
        settings = replace(
            settings_for(conninfo, folder),
            issuers=(known,),
            proxies=(ip_network("127.0.0.1"),),
            commands_per_second=MOST,
            evaluations_per_second=MOST,
            reads_per_second=MOST,
            failed_sign_ins_per_second=MOST,
            logins_per_minute=MOST,
        )
        with served(settings) as service:
            yield service, settings


def asked(ask: Callable[[], httpx.Response], times: int = 6 * MOST) -> tuple[list[httpx.Response], float]:
    """The answers to so many requests in a row, and in how many seconds they came."""
    began = time.monotonic()
    return [ask() for _ in range(times)], time.monotonic() - began


def limited(answers: list[httpx.Response], seconds: float, status: int, period: int = 1) -> None:
    """The first are answered, then no more than the limit lets through, and the others are told to wait."""
    statuses = [each.status_code for each in answers]
    assert statuses[:MOST] == [status] * MOST, statuses
    assert statuses.count(status) <= MOST + MOST * seconds / period + 1 < len(statuses), (statuses, seconds)
    for each in answers:
        if each.status_code != status:
            problem(each, 429, "rate_limit")
            assert 1 <= int(each.headers["retry-after"]) <= period
            assert each.headers["content-security-policy"] and each.headers["x-request-id"]


def organization(service: Service, **headers: str) -> httpx.Response:
    body: dict[str, Any] = {**ORGANIZATIONS[2], "id": f"agency-{next(_nth)}"}
    return service.post("root", "/organizations", body, **headers)


def test_commands_beyond_the_limit_are_refused_and_may_be_repeated(strict: tuple[Service, Settings]) -> None:
    service, _ = strict
    answers, seconds = asked(lambda: organization(service))
    limited(answers, seconds, 201)
    refused = next(each for each in answers if each.status_code == 429)
    time.sleep(int(refused.headers["retry-after"]))
    again = service.client.send(refused.request)
    assert again.status_code == 201, again.text


def test_reads_beyond_the_limit_are_refused_for_that_reader_alone(strict: tuple[Service, Settings]) -> None:
    service, _ = strict
    time.sleep(1.2)
    service.done("root", "/organizations", {**ORGANIZATIONS[2], "id": "oncd"})
    token = service.done("root", "/keys", READER)["secret"]
    limited(*asked(lambda: service.get("root", "/organizations")), 200)
    limited(*asked(lambda: get(service, token, "/api/v1/organizations")), 200)
    assert service.get("nina", "/organizations").status_code == 200


def test_a_file_is_one_request_however_many_parts_it_is_read_in(
    strict: tuple[Service, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = strict
    monkeypatch.setattr("services.http.exports.LIMIT_MAX", 1)
    time.sleep(1.2)
    for _ in range(2 * MOST):
        organization(service)
        time.sleep(1.2 / MOST)
    whole = service.get("root", "/organizations?format=jsonl")
    assert len(whole.text.splitlines()) > 2 * MOST and '"complete"' in whole.text.splitlines()[-1]


def test_evaluations_beyond_the_limit_are_refused(strict: tuple[Service, Settings]) -> None:
    service, _ = strict
    limited(*asked(lambda: service.evaluate("root", QUESTION)), 200)


def test_an_address_that_shows_what_lets_nobody_in_is_heard_no_longer(strict: tuple[Service, Settings]) -> None:
    service, _ = strict

    def shown(source: str, **headers: str) -> httpx.Response:
        return service.client.get("/session", headers={"x-forwarded-for": source, **headers})

    for nth, attack in enumerate(
        [{"authorization": "Bearer forged"}, {"authorization": "Basic cm9vdDo="}, {"cookie": "assent-development=x"}]
    ):
        source, known = f"10.0.1.{nth}", f"known-{nth}"
        assert shown("10.0.0.2", **service.headers(known)).status_code == 200
        limited(*asked(lambda: shown(source, **attack)), 401)  # noqa: B023 - it is called at once
        assert shown(source, **service.headers(known)).status_code == 200
        problem(shown(source), 401, "authentication")  # showing nothing is no attempt
    assert shown("10.0.0.2", **service.headers("carl")).status_code == 200


def test_the_trail_has_the_address_that_a_proxy_passed_on(strict: tuple[Service, Settings]) -> None:
    service, _ = strict
    time.sleep(1.2)
    passed_on = {"x_forwarded_for": "10.0.3.1"}
    problem(service.post("root", "/releases/none/hold", {"reason": "x"}, **passed_on), 404, "need_to_know")
    problem(service.get("root", "/requests/none", **passed_on), 404, "need_to_know")
    records = service.get("root", "/trail?limit=1000").json()["items"]
    sources = {record["type"]: record["data"]["caller"]["source"] for record in records if "caller" in record["data"]}
    assert (sources["CommandRefused"], sources["ReadRefused"]) == ("10.0.3.1", "10.0.3.1")


def test_a_logout_or_a_callback_of_nobody_counts_too(strict: tuple[Service, Settings]) -> None:
    service, _ = strict
    cookie = {"x-forwarded-for": "10.0.2.0", "cookie": "assent-development=x"}
    limited(*asked(lambda: service.client.post("/logout", headers=cookie)), 200)
    headers = {"x-forwarded-for": "10.0.2.1", "cookie": "assent-development-login=x"}
    limited(*asked(lambda: service.client.get("/login/callback?state=x&code=y", headers=headers)), 400)


def test_an_address_begins_no_more_logins_than_may_be(
    strict: tuple[Service, Settings], provider: IdentityProvider
) -> None:
    service, settings = strict

    def begun(source: str) -> httpx.Response:
        return service.client.get(f"/login?with={provider.issuer}", headers={"x-forwarded-for": source})

    limited(*asked(lambda: begun("2001:db8::1")), 303, 60)
    problem(begun("2001:db8::2"), 429, "rate_limit")
    assert begun("2001:db8:0:1::1").status_code == 303
    with psycopg.connect(settings.database_url) as conn:
        assert conn.execute("SELECT count(*) <= %s FROM door.login", (MOST + 3,)).fetchone() == (True,)
