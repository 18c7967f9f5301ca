"""Do witnesses, as processes of their own, cosign what a running service serves, and does it go on without them?"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.log import note
from services.log.cosign import KnownWitness
from services.log.folder import SignerFolder
from services.log.note import Checkpoint, Verifier
from services.witness import Witness, WitnessFolder
from tests.conftest import fresh_database
from tests.crash.processes import free_port
from tests.services.http.conftest import Service, served, settings_for
from tests.services.witnessing import witness_process

NAMES = ("one.localhost/witness", "two.localhost/witness")


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def act(service: Service, name: str) -> int:
    """Something happens; its position."""
    body = {"id": name, "kind": "customer", "name": name, "country": "US", "size_class": "small"}
    position: int = service.done("root", "/organizations", body)["position"]
    return position


def shown(service: Service, query: str = "") -> tuple[note.Note, Checkpoint]:
    response = service.get("root", f"/log/checkpoint{query}")
    assert response.status_code == 200, response.text
    signed = note.parse(response.text)
    return signed, Checkpoint.parse(signed.text)


def cosigned(service: Service, position: int, *keys: Verifier) -> Callable[[], bool]:
    """Whether the checkpoint served covers the position and bears exactly these signatures."""

    def so() -> bool:
        signed, head = shown(service)
        return head.size > position and signed.verified_by(*keys) and len(signed.signatures) == len(keys)

    return so


def test_two_witnesses_cosign_one_goes_away_and_comes_back(postgres: str, template: str, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    keys = [Witness(WitnessFolder(tmp_path / name[:3] / "witness"), name, ()).verifier for name in NAMES]
    for conninfo in fresh_database(postgres, template):
        settings = settings_for(conninfo, tmp_path / "assent")
        log = SignerFolder(settings.data / "signer", settings.origin).verifier()
        known = [KnownWitness(key, f"http://127.0.0.1:{port}") for key, port in zip(keys, ports, strict=True)]
        first, second = (
            partial(witness_process, tmp_path / NAMES[nth][:3], (log,), ports[nth], NAMES[nth]) for nth in (0, 1)
        )
        with first(), served(replace(settings, witnesses=tuple(known))) as service:
            with second() as (_, _, key):
                assert key == keys[1]
                eventually(cosigned(service, act(service, "first"), log, *keys))
            position = act(service, "second")
            eventually(cosigned(service, position, log, keys[0]))
            assert shown(service, f"?cosigned_by={NAMES[1]}")[1].size <= position
            assert service.get("root", f"/log/proof/{position}").status_code == 200
            assert service.get("root", f"/log/proof/{position}?cosigned_by={NAMES[1]}").status_code == 425
            assert service.get("root", "/log/checkpoint?cosigned_by=nobody").status_code == 425
            with second():
                eventually(cosigned(service, position, log, *keys), 60)
                proof = service.get("root", f"/log/proof/{position}?cosigned_by={NAMES[1]}").json()
                assert note.parse(proof["checkpoint"]).verified_by(log, *keys)
