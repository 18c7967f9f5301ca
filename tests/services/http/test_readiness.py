"""Does a service say that it is not ready when nobody brings up what follows from its log?"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from projections import PROJECTIONS
from services.http import operations
from services.http.operations import Pace
from services.settings import Settings
from tests.services.http.conftest import ORGANIZATIONS, Service, served, settings_for
from tests.services.log.grown import as_superuser


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "STILL_SECONDS_MAX", 0.3)


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    return settings_for(database, tmp_path)


@pytest.fixture
def unfollowed(settings: Settings, patience: None) -> Iterator[Service]:
    """A service beside which nobody projects or signs."""
    with served(replace(settings, roles=frozenset())) as service:
        yield service


def unwell(service: Service) -> dict[str, str]:
    """What is not well, by name, and the word about it."""
    response = service.client.get("/readyz")
    found = {check["name"]: check["detail"] for check in response.json()["checks"] if not check["ok"]}
    assert response.status_code == (503 if found else 200)
    return found


def until(service: Service, names: set[str]) -> dict[str, str]:
    deadline = time.monotonic() + 30
    while set(found := unwell(service)) != names:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


EVERYTHING = {"signer", *(f"projection {table.name}" for table in PROJECTIONS)}


def test_a_service_beside_which_nobody_projects_or_signs_is_not_ready(unfollowed: Service, settings: Settings) -> None:
    assert unwell(unfollowed) == {}, "at first nobody can tell"
    found = until(unfollowed, EVERYTHING)
    assert "signed up to size 0 of " in found["signer"] and "nobody does it, or it stopped" in found["signer"]
    with served(replace(settings, roles=frozenset({"project"}))):
        until(unfollowed, {"signer"})
    with served(replace(settings, roles=frozenset({"sign"}))):
        until(unfollowed, set())


def test_a_signer_that_met_a_forgery_makes_the_service_unready(settings: Settings, patience: None) -> None:
    with served(settings) as service:
        until(service, set())
        with psycopg.connect(settings.database_url, autocommit=True) as conn:
            forge_the_next_head(conn)
        service.done("root", "/organizations", ORGANIZATIONS[0])
        assert "and no further for" in until(service, {"signer"})["signer"]


def forge_the_next_head(conn: psycopg.Connection[Any]) -> None:
    """Somebody with the whole database in their hands has every head written with another root."""
    conn.execute(
        "CREATE FUNCTION forge() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.root := decode(repeat('01', 32), 'hex'); RETURN NEW; END $$"
    )
    conn.execute("CREATE TRIGGER forge BEFORE INSERT ON tree_head FOR EACH ROW EXECUTE FUNCTION forge()")


def test_a_log_that_is_not_the_one_that_was_signed_is_said_at_once(settings: Settings) -> None:
    with served(settings) as service:
        until(service, set())
        with psycopg.connect(settings.database_url, autocommit=True) as conn:
            as_superuser(conn, "UPDATE tree_head SET root = %s", b"\1" * 32)
        assert "history was rewritten" in unwell(service)["signer"]


def test_whoever_goes_on_is_well_however_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace()
    assert pace.still_seconds("signer", 0, 9) == 0
    now += 7
    assert pace.still_seconds("signer", 0, 9) == 7
    now += 7
    assert pace.still_seconds("signer", 1, 99) == 0, "it went on"
    now += 7
    assert pace.still_seconds("signer", 1, 99) == 7
    assert pace.still_seconds("signer", 1, 1) == 0, "there is no more to do"
    now += 7
    assert pace.still_seconds("signer", 1, 2) == 0, "the log may have grown a moment ago"
    now += 7
    assert pace.still_seconds("signer", 1, 2) == 7
