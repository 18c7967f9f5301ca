"""Does a service whose requests others take look like one process from outside, whichever of them is killed?"""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import Service, ended_after, tokens


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one door."""
    found = Service(tmp_path_factory.mktemp("doors") / "data", {"ASSENT_DOORS": "1", "ASSENT_ROLES": ""})
    with ended_after(found):
        yield found


@pytest.fixture
def service(started: Service) -> Service:
    """It runs again, whatever the test before has done to it."""
    if started.ended:
        started.start()
        wait_until_it_serves(started)
    return started


def wait_until_it_serves(service: Service, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not service.ended:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/healthz", timeout=2):
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(service.said())


def door_of(service: Service) -> int:
    [door] = service.doors()
    return door


def register(service: Service, id: str, key: str | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {tokens(service.data)('root')}", "Content-Type": "application/json"}
    body = {"id": id, "kind": "agency", "name": id, "country": "US", "government": True}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{service.port}/api/v1/organizations",
        json.dumps(body).encode(),
        {**headers, "Idempotency-Key": key or id},
    )
    try:
        with urllib.request.urlopen(asked, timeout=15) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def test_commands_that_come_by_a_door_are_decided_and_refused_as_ever(service: Service) -> None:
    status, answer = register(service, "oncd")
    assert status == 201 and answer["events"][0]["type"] == "OrganizationRegistered"
    assert register(service, "oncd") == (201, answer)
    status, refusal = register(service, "oncd", key="another")
    assert (status, refusal["rule"], refusal["type"]) == (409, "unique_id", "urn:assent:problem:already-exists")


def test_a_door_that_is_killed_is_opened_again(service: Service) -> None:
    os.kill(door_of(service), signal.SIGKILL)
    wait_until_it_serves(service, 20)
    assert register(service, "commerce")[0] == 201


def test_doors_end_with_the_process_that_is_killed_and_its_successor_gets_the_port(service: Service) -> None:
    door = door_of(service)
    service.kill()
    began = time.monotonic()
    while Path(f"/proc/{door}").exists():
        assert time.monotonic() - began < 2, "a door without a service"
        time.sleep(0.01)
    service.start()
    wait_until_it_serves(service)
    assert register(service, "ostp")[0] == 201


def test_ctrl_c_ends_doors_and_service_within_two_seconds(service: Service) -> None:
    door = door_of(service)
    code, seconds = service.interrupt()
    assert code == 0 and seconds < 2
    assert not Path(f"/proc/{door}").exists()


def test_two_services_share_who_decides_and_the_second_goes_on_alone(service: Service) -> None:
    second = Service(service.data, {"ASSENT_DOORS": "1", "ASSENT_ROLES": ""})
    second.start()
    with ended_after(second):
        wait_until_it_serves(second)
        assert register(second, "a-1")[0] == register(service, "a-2")[0] == 201
        service.kill()
        began = time.monotonic()
        assert register(second, "a-3")[0] == 201
        assert register(second, "a-2", key="a-2")[0] == 201
        assert time.monotonic() - began < 5
