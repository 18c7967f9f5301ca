"""Can somebody log in with a browser, read, act and log out; and does a session end when it should?"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from services.assent import running
from services.http import feed, recorded
from services.http.browsers import Browsers, is_direct
from services.http.identity import Identity
from services.http.sessions import Sessions
from services.known_issuers import KnownIssuer
from services.settings import BadSetting, Settings, read_settings
from tests.services.http.browser import FORM, Browser, refusal
from tests.services.http.conftest import Service
from tests.services.http.identity_provider import AUDIENCE, CLIENT, SECRET, IdentityProvider
from tests.services.http.test_oidc import certified


@pytest.fixture
def browser(guarded: Service) -> Browser:
    return Browser(guarded)


def draft(browser: Browser, **headers: str | None) -> httpx.Response:
    body = {"customer": "northwind", "release": "gpt-5.6", "use": "Fraud analysis", "user_classes": ["us_person"]}
    return browser.post("/api/v1/requests?dry_run=true", body, **headers)


# A visit


def test_somebody_logs_in_reads_acts_and_logs_out(browser: Browser, provider: IdentityProvider) -> None:
    refusal(browser.get("/api/v1/releases"), 401, "authentication")
    assert browser.log_in(provider, "nina", to="/api/v1/releases").headers["location"] == "/api/v1/releases"
    assert [each["id"] for each in browser.get("/api/v1/releases").json()["items"]] == ["gpt-5.6"]
    assert browser.get("/session").json()["person"] == "nina"
    assert draft(browser, x_csrf_token=browser.csrf).status_code == 200

    cookies = dict(browser.client.cookies)
    assert "You are signed out" in browser.post("/logout", f"csrf={browser.csrf}").text
    assert not browser.client.cookies
    browser.client.cookies.update(cookies)
    refusal(browser.get("/api/v1/releases"), 401, "authentication")


def test_a_bearer_token_of_the_provider_is_taken_as_well(guarded: Service, provider: IdentityProvider) -> None:
    token = {"authorization": f"Bearer {provider.token('nina')}"}
    assert guarded.client.get("/session", headers=token).json() == {
        **guarded.client.get("/session", headers=token).json(),
        "person": "nina",
        "csrf": None,
    }
    assert guarded.client.get("/api/v1/releases", headers=token).status_code == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser, provider: IdentityProvider) -> None:
    browser.log_in(provider, "nina")
    cookies = browser.log_in(provider, "nina").headers.get_list("set-cookie")
    (given,) = (each for each in cookies if each.startswith("assent-development="))
    assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= set(given.split("; "))
    assert len(given.partition("=")[2].partition(";")[0]) >= 43


def test_every_login_is_a_new_session_and_ends_the_one_before(browser: Browser, provider: IdentityProvider) -> None:
    browser.log_in(provider, "nina")
    before = dict(browser.client.cookies)
    browser.log_in(provider, "tom")
    assert browser.get("/session").json()["person"] == "tom"
    browser.client.cookies.clear()
    browser.client.cookies.update(before)
    refusal(browser.get("/session"), 401, "authentication")


def test_the_database_holds_nothing_that_lets_anybody_in(
    browser: Browser, provider: IdentityProvider, guarded: Service
) -> None:
    browser.log_in(provider, "nina")
    browser.get(f"/login?with={provider.issuer}")
    with psycopg.connect(guarded.settings.database_url) as conn:
        held = str(conn.execute("SELECT s::text FROM door.session s UNION SELECT l::text FROM door.login l").fetchall())
    assert "nina" in held
    for value in browser.client.cookies.values():
        assert value not in held and value.encode().hex() not in held


@pytest.mark.parametrize("column", ["expires", "last_used"])
def test_a_session_ends_with_its_day_and_when_nobody_uses_it(
    browser: Browser, provider: IdentityProvider, guarded: Service, column: str
) -> None:
    browser.log_in(provider, "nina")
    assert browser.get("/session").status_code == 200
    minutes = {"expires": 12 * 60, "last_used": 30}[column]
    age(guarded, column, minutes - 1)
    assert browser.get("/session").status_code == 200
    age(guarded, column, minutes + 1)
    refusal(browser.get("/session"), 401, "authentication")


def age(service: Service, column: str, minutes: int) -> None:
    """Make every session begin, or be last used, so long ago."""
    since = "created + interval '12 hours'" if column == "expires" else "now()"
    statement = f"UPDATE door.session SET {column} = {since} - make_interval(mins => %s)"  # noqa: S608
    with psycopg.connect(service.settings.database_url) as conn:
        conn.execute(statement.encode(), (minutes,))


def test_what_one_may_do_is_as_it_is_with_a_token(browser: Browser, provider: IdentityProvider) -> None:
    browser.log_in(provider, "tom")
    refusal(draft(browser, x_csrf_token=browser.csrf), 403, "authority")
    refusal(browser.get("/api/v1/events"), 403, "authority")


def test_a_feed_ends_with_the_session_that_reads_it(
    browser: Browser, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_SECONDS", 0.1)
    browser.log_in(provider, "abe")
    csrf = browser.csrf
    end = browser.get("/api/v1/events?limit=1").json()["position"]
    asked = {"accept": "text/event-stream"}
    with browser.client.stream("GET", f"/api/v1/events?after={end}", headers=asked) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(":")
        assert browser.post("/logout", "", x_csrf_token=csrf).status_code == 200
        assert "event: ended" in list(lines)


async def test_a_logout_counts_at_once_in_every_process(database: str) -> None:
    browsers = Browsers("https://assent.test", is_secure=True)
    pools = [AsyncConnectionPool(database, open=False, min_size=1, kwargs={"autocommit": True}) for _ in range(2)]
    async with pools[0], pools[1]:
        here, there = (Sessions(pool, browsers, 3600, 600) for pool in pools)
        id = await here.begin(Identity("nina", frozenset({"backdate"}), 0.0), {})
        sent = {b"cookie": f"__Host-assent={id}".encode()}
        found = await there.visitor(sent)
        assert found is not None and (found.identity.person, found.identity.scopes) == ("nina", {"backdate"})
        await here.end(id)
        assert await there.visitor(sent) is None


# Commands that nobody meant


@pytest.mark.parametrize(
    "headers",
    [
        {"x_csrf_token": None},
        {"x_csrf_token": "0" * 64},
        {"x_csrf_token": ""},
        {"origin": None, "sec_fetch_site": None},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"host": "evil.example"},
    ],
    ids=str,
)
def test_a_command_by_cookie_that_is_not_shown_to_be_meant_is_refused(
    browser: Browser, provider: IdentityProvider, headers: dict[str, str | None]
) -> None:
    browser.log_in(provider, "nina")
    response = draft(browser, **{"x_csrf_token": browser.csrf, **headers})
    refusal(response, *((421, "host") if "host" in headers else (403, "csrf")))
    assert draft(browser, x_csrf_token=browser.csrf).status_code == 200


def test_the_token_of_another_session_shows_nothing(browser: Browser, provider: IdentityProvider) -> None:
    browser.log_in(provider, "nina")
    other = browser.csrf
    browser.log_in(provider, "nina")
    refusal(draft(browser, x_csrf_token=other), 403, "csrf")


def test_nobody_is_logged_out_by_another_page(browser: Browser, provider: IdentityProvider) -> None:
    browser.log_in(provider, "nina")
    refusal(browser.post("/logout", "csrf=no"), 403, "csrf")
    refusal(browser.post("/logout", f"csrf={browser.csrf}", origin="https://evil.example"), 403, "csrf")
    refusal(browser.post("/logout", {}), 415, "form")
    assert browser.get("/session").status_code == 200
    assert browser.post("/logout", "", x_csrf_token=browser.csrf).status_code == 200


def test_a_command_with_a_token_needs_no_page(guarded: Service, provider: IdentityProvider) -> None:
    token = {"authorization": f"Bearer {provider.token('nina')}"}
    body = {"customer": "northwind", "release": "gpt-5.6", "use": "x", "user_classes": ["us_person"]}
    assert guarded.client.post("/api/v1/requests?dry_run=true", json=body, headers=token).status_code == 200


def test_logins_and_commands_that_are_refused_stand_in_the_trail(
    browser: Browser, provider: IdentityProvider, guarded: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "SIGN_INS_EVERY_SECONDS", 0.0)
    browser.log_in(provider, "nina")
    before = guarded.get("abe", "/trail?limit=1000").json()
    refusal(browser.get("/login/callback?state=A&code=B"), 400, "login")
    refusal(draft(browser), 403, "csrf")
    refusal(browser.post("/logout", "csrf=no"), 403, "csrf")
    items = guarded.get("abe", f"/trail?cursor={before['items'][-1]['position']}&limit=1000").json()["items"]
    addresses = [each["data"]["address"] for each in items if each["type"] == "SignInRefused"]
    assert addresses == ["/login/callback", "/api/v1/requests", "/logout"]


# The way there and back


def test_one_is_sent_away_with_all_that_protects_the_code(browser: Browser, provider: IdentityProvider) -> None:
    away = urlsplit(browser.get(f"/login?with={provider.issuer}").headers["location"])
    asked = {name: value for name, (value,) in parse_qs(away.query).items()}
    assert asked["redirect_uri"] == f"{browser.origin}/login/callback"
    assert (asked["response_type"], asked["code_challenge_method"], asked["scope"]) == ("code", "S256", "openid")
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "docs", "/a\nb", "", "/%09/x y"],
)
def test_a_login_leads_nowhere_but_into_this_service(browser: Browser, to: str) -> None:
    refusal(browser.client.get("/login", params={"to": to}), 400, "parameters")


def test_the_login_page_offers_the_providers(browser: Browser, provider: IdentityProvider) -> None:
    page = browser.get("/login?to=/api/v1/releases")
    assert "With The agency" in page.text and "with=http" in page.text
    refusal(browser.get("/login?with=https://evil.example"), 400, "parameters")


def test_while_the_provider_is_away_nobody_logs_in_there(
    browser: Browser, guarded: Service, provider: IdentityProvider
) -> None:
    provider.signed_in = "nina"
    back = httpx.get(browser.get(f"/login?with={provider.issuer}").headers["location"]).headers["location"]
    provider.is_away = True
    try:
        refusal(browser.get(back), 503, "identity_provider")
    finally:
        provider.is_away = False
    assert browser.get("/session").status_code == 401


# Development


def test_in_development_one_click_makes_a_persona_of_anybody(service: Service) -> None:
    browser = Browser(service)
    assert 'value="cora"' in browser.get("/login").text
    arrived = browser.post("/login", "person=cora&to=/session")
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/session")
    assert browser.get("/session").json()["person"] == "cora"


@pytest.mark.parametrize("form", ["person=key.k1", "person=system", "person=", "", "person=a%20b"])
def test_nobody_becomes_a_machine_or_the_system(service: Service, form: str) -> None:
    refusal(Browser(service).post("/login", form), 400, "login")


def test_another_page_makes_nobody_a_persona(service: Service) -> None:
    refusal(Browser(service).post("/login", "person=cora", origin="https://evil.example"), 403, "csrf")


PASSED_ON = [
    {"x_forwarded_for": "192.0.2.1"},
    {"x_forwarded_for": "127.0.0.1"},
    {"x_forwarded_proto": "https"},
    {"x_forwarded_host": "127.0.0.1"},
    {"x_real_ip": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"via": "1.1 proxy"},
    {"host": "assent.example"},
    {"host": "127.0.0.1.evil.example"},
    {"host": "localhost@evil.example"},
]


@pytest.mark.parametrize("headers", PASSED_ON, ids=str)
def test_whoever_comes_through_a_proxy_on_this_machine_is_offered_no_persona(
    service: Service, headers: dict[str, str]
) -> None:
    browser = Browser(service)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    assert 'value="cora"' not in browser.client.get("/login", headers=named).text
    refused = (421, "host") if "host" in headers else (400, "login")
    refusal(browser.post("/login", "person=cora", **headers), *refused)


def test_only_this_machine_is_direct() -> None:
    host = {b"host": b"localhost:8000"}
    assert is_direct(host, "127.0.0.1") and is_direct(host, "::1")
    assert not is_direct({b"host": b"a@localhost"}, "127.0.0.1") and not is_direct({b"host": b"@localhost"}, "::1")
    assert not is_direct(host, "192.0.2.1") and not is_direct(host, None)


# Production


@contextmanager
def in_production(tmp_path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """For as long as there is a provider: who certified it, and the settings of a service that trusts it."""
    tls, authority = certified(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    with IdentityProvider(tls=tls) as provider:
        known = KnownIssuer(
            provider.issuer,
            AUDIENCE,
            client_id=CLIENT,
            client_secret_file=str(tmp_path / "secret"),
            ca_file=str(authority),
        )
        yield authority, {"issuers": (known,), "mode": "production", "url": "https://assent.test"}


async def test_in_production_the_cookie_is_the_hosts_own_and_nobody_vouches_but_the_provider(
    tmp_path: Path, database: str
) -> None:
    with in_production(tmp_path) as (authority, given):
        settings = Settings(data=tmp_path / "data", database_url=database, port=0, **given)
        async with (
            running(settings) as assent,
            httpx.AsyncClient(transport=httpx.ASGITransport(app=assent.app), base_url="https://assent.test") as client,
        ):
            refused = await client.post("/login", content="person=root", headers={**FORM, "origin": settings.url})
            refusal(refused, 400, "login")
            away = await client.get("/login")
            async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=authority)) as elsewhere:
                back = (await elsewhere.get(away.headers["location"])).headers["location"]
            assert back.startswith("https://assent.test/login/callback?")
            arrived = await client.get(back)
            given_cookies = arrived.headers.get_list("set-cookie")
            assert [each.partition("=")[0] for each in given_cookies] == ["__Host-assent", "__Host-assent-login"]
            assert all({"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(e.split("; ")) for e in given_cookies)
            assert not any("domain" in each.lower() for each in given_cookies)
            assert (await client.get("/session")).json()["person"] == "nina"


@pytest.mark.parametrize("url", ["", "http://assent.example"])
def test_production_needs_an_address_that_nobody_on_the_way_reads(url: str) -> None:
    issuers = '[{"issuer": "https://id.example", "audience": "a", "client_id": "b"}]'
    with pytest.raises(BadSetting, match="ASSENT_URL must be an https address"):
        read_settings({"ASSENT_MODE": "production", "ASSENT_ISSUERS": issuers, "ASSENT_URL": url})


@pytest.mark.parametrize(
    "url", ["assent.example", "https://assent.example/", "https://a:b@c", "https://A.example", "ftp://a"]
)
def test_an_address_has_scheme_and_host_alone(url: str) -> None:
    with pytest.raises(BadSetting, match="ASSENT_URL must be scheme and host"):
        read_settings({"ASSENT_URL": url})
