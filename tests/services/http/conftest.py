"""How do the tests reach a service over real HTTP, on a real Postgres, with people who hold office?"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.assent import running
from services.cli import serving
from services.http.identity import DevelopmentIssuer
from services.known_issuers import KnownIssuer
from services.settings import Settings
from tests.conftest import fresh_database
from tests.services.http.identity_provider import AUDIENCE, CLIENT, SECRET, IdentityProvider

START = datetime(2026, 6, 20, 13, tzinfo=UTC)
_keys = itertools.count()


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: as whom one talks to it, and what it says."""

    client: httpx.Client
    issuer: DevelopmentIssuer
    settings: Settings
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self, person: str) -> str:
        return self.tokens.setdefault(person, self.issuer.issue(person))

    def headers(self, person: str, **more: str) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"authorization": f"Bearer {self.token(person)}", **named}

    def get(self, person: str, path: str, **headers: str) -> httpx.Response:
        return self.client.get(f"/api/v1{path}", headers=self.headers(person, **headers))

    def post(self, person: str, path: str, body: Any, **headers: str) -> httpx.Response:
        given = {"idempotency_key": f"key-{next(_keys)}", **headers}
        return self.client.post(f"/api/v1{path}", json=body, headers=self.headers(person, **given))

    def done(self, person: str, path: str, body: Any, **headers: str) -> Any:
        """The answer of a command that must succeed."""
        response = self.post(person, path, body, **headers)
        assert response.status_code == 201, response.text
        return response.json()

    def read(self, person: str, path: str, after: int) -> Any:
        """What a read that must succeed says, once it includes that position."""
        response = self.get(person, f"{path}{'&' if '?' in path else '?'}after={after}")
        assert response.status_code == 200, response.text
        return response.json()

    def let_time_pass(self, to: datetime) -> None:
        response = self.client.post("/api/v1/development/clock", json={"to": to.isoformat()})
        assert response.status_code == 200, response.text

    def evaluate(self, person: str, body: Any) -> httpx.Response:
        return self.client.post("/access/v1/evaluation", json=body, headers=self.headers(person))


@pytest.fixture(scope="session")
def service(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of a worker; its cast has been in office for a day, and its clock stands still."""
    for conninfo in fresh_database(postgres, template):
        with served(settings_for(conninfo, tmp_path_factory.mktemp("assent"))) as running_service:
            appoint_everybody(running_service)
            yield running_service


def settings_for(conninfo: str, folder: Path) -> Settings:
    return Settings(data=folder, database_url=conninfo, port=0, clock="manual", clock_start=START)


class served:
    """A service in a thread of its own, for as long as the block lasts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready: Any = None
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._ready = error
            self._began.set()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with running(self._settings) as assent, serving(assent.app, self._settings) as (_, address):
            self._ready = address
            self._began.set()
            await self._stop.wait()

    def __enter__(self) -> Service:
        self._thread.start()
        assert self._began.wait(60)
        if isinstance(self._ready, BaseException):
            raise self._ready
        self._client = httpx.Client(base_url=self._ready, timeout=30)
        return Service(self._client, DevelopmentIssuer(self._settings), self._settings)

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


ORGANIZATIONS: tuple[dict[str, Any], ...] = (
    {"id": "openai", "kind": "provider", "name": "OpenAI", "country": "US"},
    {"id": "anthropic", "kind": "provider", "name": "Anthropic", "country": "US"},
    {"id": "oncd", "kind": "agency", "name": "National Cyber Director", "country": "US", "government": True},
    {"id": "commerce", "kind": "agency", "name": "Commerce", "country": "US", "government": True},
    {"id": "northwind", "kind": "customer", "name": "Northwind Bank", "country": "US", "size_class": "large"},
    {"id": "tinker", "kind": "customer", "name": "Tinker Labs", "country": "US", "size_class": "startup"},
)
CAST = {
    "rae": ("openai", "release_manager"),
    "gus": ("openai", "gateway"),
    "ann": ("anthropic", "release_manager"),
    "olga": ("oncd", "reviewer"),
    "hana": ("oncd", "head"),
    "cora": ("commerce", "reviewer"),
    "carl": ("commerce", "countersigner"),
    "nina": ("northwind", "applicant"),
    "tom": ("tinker", "applicant"),
    "abe": ("assent", "auditor"),
}
"""Everybody's one office; `root` holds all of `assent`."""

POLICY = {
    "authority_basis": "Executive Order 14409",
    "sign_offs": {"all_of": [{"agency": "oncd"}, {"agency": "commerce", "countersign": True}]},
    "clocks": {"review_days": 30, "information_days": 10},
    "grant": {"days": 180},
}
RELEASE = {
    "provider": "openai",
    "model": "GPT-5.6",
    "tiers": ["standard"],
    "policy": "preview",
    "incident_threshold": "high",
    "phases": [{"name": "preview", "access": "granted", "customer_cap": 20}, {"name": "general", "access": "open"}],
}


def appoint_everybody(service: Service) -> None:
    for organization in ORGANIZATIONS:
        service.done("root", "/organizations", organization)
    for person, (organization, role) in CAST.items():
        service.done("root", f"/organizations/{organization}/appointments", {"person": person, "role": role})
    service.let_time_pass(START + timedelta(days=1))
    service.done("root", "/policies/preview/versions", POLICY)
    service.done("rae", "/releases", {"id": "gpt-5.6", **RELEASE})


Ask = Callable[..., str]


@pytest.fixture
def request_of(service: Service) -> Ask:
    """A new request of northwind, in review, which lists know of; its id."""

    def ask(customer: str = "northwind", person: str = "nina") -> str:
        body = {"customer": customer, "release": "gpt-5.6", "use": "Fraud analysis", "user_classes": ["us_person"]}
        id: str = service.done(person, "/requests", body)["id"]
        registered = service.done("root", f"/requests/{id}/registration", {})
        service.read("root", f"/requests/{id}", registered["position"])
        return id

    return ask


# People of an identity provider


@pytest.fixture(scope="session")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running_provider:
        yield running_provider


@pytest.fixture(scope="session")
def guarded(
    postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory, provider: IdentityProvider
) -> Iterator[Service]:
    """A service whose people come from a provider."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "secret").write_text(SECRET + "\n")
    known = KnownIssuer(
        provider.issuer, AUDIENCE, client_id=CLIENT, client_secret_file=str(folder / "secret"), name="The agency"
    )
    for conninfo in fresh_database(postgres, template):
        with served(replace(settings_for(conninfo, folder), issuers=(known,))) as running_service:
            appoint_everybody(running_service)
            yield running_service
