"""Are gateways answered, and their replicas fed, by a process that does nothing else?"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.grant import SuspendGrant
from services import cli
from services.assent import gateways, running
from services.cli import serving
from services.http import access_feed
from services.http.identity import DevelopmentIssuer
from services.settings import Settings
from tests.projections.shelf import a_full_story, append
from tests.spec import granted


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_feed, "HEARTBEAT_SECONDS", 0.1)


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the process, who is a release manager."""
    token = DevelopmentIssuer(settings).issue("rae")
    async with (
        gateways(settings) as app,
        serving(app, settings) as (_, address),
        httpx.AsyncClient(base_url=address, headers={"authorization": f"Bearer {token}"}, timeout=10) as client,
    ):
        yield client


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_what_another_process_appends_reaches_the_followers_of_this_one(database: str, tmp_path: Path) -> None:
    story = granted()
    append(database, story.facts)
    size = len(story.facts)
    async with asking(Settings(data=tmp_path, database_url=database, port=0)) as client:
        async with client.stream("GET", "/access/v1/feed") as stream:
            told = events(stream.aiter_lines())
            assert (await anext(told))[1]["snapshot"] is True
            async for name, data in told:
                if name == "complete":
                    assert data == {"position": size - 1}
                    break
            append(database, story.given(SuspendGrant("g", "Misuse"), by="olga").facts[size:])
            async for name, data in told:
                if name == "change":
                    assert data[0][:3] == ["grant", "g", size]
                    break
        response = await client.post("/access/v1/evaluation", json=question("northwind"))
        assert response.json()["context"]["reason"] == "grant_suspended"


def question(customer: str) -> Any:
    return {
        "subject": {"type": "organization", "id": customer},
        "action": {"name": "use"},
        "resource": {"type": "release", "id": "gpt-5.6"},
    }


async def test_it_answers_gateways_and_nobody_else(database: str, tmp_path: Path) -> None:
    append(database, a_full_story().facts)
    async with asking(Settings(data=tmp_path, database_url=database, port=0)) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/.well-known/authzen-configuration")).status_code == 200
        assert (await client.get("/access/v1/feed", headers={"authorization": "Bearer x"})).status_code == 401
        assert (await client.get("/api/v1/requests")).status_code == 404
        assert (await client.post("/api/v1/releases", json={})).status_code == 404
        search = {**question("northwind"), "resource": {"type": "release"}}
        assert (await client.post("/access/v1/search/resource", json=search)).status_code == 200


async def test_a_service_whose_roles_leave_it_out_has_no_feed(database: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url=database, port=0, roles=frozenset())
    async with running(settings) as assent:
        transport = httpx.ASGITransport(app=assent.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/access/v1/feed")).status_code == 404


def test_the_command_line_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["feed", "--help"])
    assert "feed" in capsys.readouterr().out
    assert replace(Settings()).roles == frozenset({"project", "sign", "timers", "feed"})
