"""Can an administrator have the log signed with another key, and everybody follow it from the first to the last?"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.log import note
from services.log.folder import SignerFolder
from services.log.note import Checkpoint, KeyChain, Verifier
from tests.services.http.conftest import Service, served, settings_for

ROTATION = "/log/keys/rotation"
REASON = {"reason": "A year is over"}


@pytest.fixture
def alone(database: str, tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own: whose key it is, concerns nobody else."""
    with served(settings_for(database, tmp_path)) as running_service:
        yield running_service


def folder_of(service: Service) -> SignerFolder:
    return SignerFolder(service.settings.data / "signer", service.settings.origin)


def signed_up_to(service: Service, position: int) -> str:
    """The newest checkpoint, once it covers the position."""
    deadline = time.monotonic() + 20
    while True:
        response = service.get("root", "/log/checkpoint")
        if response.status_code == 200 and Checkpoint.parse(note.parse(response.text).text).size > position:
            return response.text
        assert time.monotonic() < deadline, "it was not signed in time"
        time.sleep(0.02)


def acts(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get("nobody", "/log/keys").json()["items"]
    return found


def test_the_log_says_from_its_beginning_with_which_key_it_is_signed(alone: Service) -> None:
    (first,) = acts(alone)
    assert (first["type"], first["data"]["previous"]) == ("LogKeyRotated", None)
    text = signed_up_to(alone, first["position"])
    assert note.parse(text).verified_by(Verifier.parse(first["data"]["key"]))


def test_an_administrator_has_the_key_rotated_and_the_old_key_hands_over(alone: Service) -> None:
    first = folder_of(alone).verifier()
    signed_up_to(alone, acts(alone)[0]["position"])
    answer = alone.done("root", ROTATION, REASON)
    assert (answer["id"], answer["stream"], answer["version"]) == ("assent", "log-assent", 2)
    handed_over = signed_up_to(alone, answer["position"])
    later = signed_up_to(alone, alone.done("root", ROTATION, REASON)["position"])
    chain = KeyChain(first)
    for act in acts(alone):
        chain.rotated(act["position"], act["data"]["key"], act["data"]["previous"])
    assert note.parse(handed_over).verified_by(*chain.signers(answer["position"] + 1, answer["position"]))
    assert note.parse(later).verified_by(chain.at(answer["position"] + 2))
    assert not note.parse(later).verified_by(first)


def test_a_dry_run_names_the_key_but_nothing_rotates(alone: Service) -> None:
    before = folder_of(alone).verifier()
    response = alone.post("root", f"{ROTATION}?dry_run=true", REASON)
    assert (response.status_code, response.json()["events"][0]["type"]) == (200, "LogKeyRotated")
    assert len(acts(alone)) == 1
    assert folder_of(alone).verifier() == before


def test_a_repeated_rotation_rotates_once(alone: Service) -> None:
    answers = [alone.done("root", ROTATION, REASON, idempotency_key="yearly") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(acts(alone)) == 2


def test_a_rotation_that_follows_too_soon_waits_for_the_hand_over(database: str, tmp_path: Path) -> None:
    """Nobody signs here, so the next key is still the one that the records name already."""
    with served(replace(settings_for(database, tmp_path), roles=frozenset())) as service:
        service.done("root", ROTATION, REASON)
        response = service.post("root", ROTATION, REASON)
        assert (response.status_code, response.json()["rule"]) == (409, "log_key")
        assert response.json()["missing"] == ["a checkpoint that covers the rotation to it"]


@pytest.mark.parametrize(
    ("person", "body", "status", "rule"),
    [
        ("nobody", REASON, 403, "authority"),
        ("root", {}, 422, "well_formed"),
        ("root", {**REASON, "key": "assent.test/log+00000000+AAAA"}, 422, "well_formed"),
    ],
)
def test_a_rotation_is_an_administrators_and_the_service_chooses_the_key(
    service: Service, person: str, body: Any, status: int, rule: str
) -> None:
    response = service.post(person, ROTATION, body)
    assert (response.status_code, response.json()["rule"]) == (status, rule)
