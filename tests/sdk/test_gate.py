"""Does a gate answer from memory as the service would, refuse what it may not rely on, and come back without loss?"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from assent_client import AsyncGate, Gate, Hooks, NoteRefused, Use
from assent_client.access import Access
from assent_client.snapshot import load
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.log.folder import SignerFolder
from services.log.note import verifier_of
from tests.sdk.relay import Relay
from tests.services.http.conftest import Service
from tests.services.http.test_access_feed import evaluation, suspended

SECONDS = 10.0
"""For what comes at once."""

USE = Use("northwind", "gpt-5.6", "standard", "us_person")
ANOTHERS_KEY = str(verifier_of("assent.localhost/log", Ed25519PrivateKey.generate()))


class Heard(Hooks):
    """What a gate told its owner."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.snapshots: list[bool] = []
        self.unread: list[Exception] = []

    def connected(self, snapshot: bool) -> None:
        self.snapshots.append(snapshot)

    def disconnected(self, error: Exception) -> None:
        self.errors.append(error)

    def unwritten(self, error: Exception) -> None:
        self.unread.append(error)


def until(holds: Callable[[], bool], seconds: float = SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def gate(service: Service, url: str = "", **more: Any) -> Gate:
    """A gate of openai; the service's clock stands still, so that one alone counts."""
    return Gate(url or str(service.client.base_url), service.token("gus"), **{"clock_skew_seconds_max": None, **more})


@pytest.fixture
def relay(service: Service) -> Iterator[Relay]:
    address = service.client.base_url
    assert address.port is not None
    with Relay(address.host, address.port) as between:
        yield between


def log_key(service: Service) -> str:
    return str(SignerFolder(service.settings.data / "signer", service.settings.origin).verifier())


def test_a_gate_allows_and_from_a_suspension_on_refuses(service: Service, granted: tuple[str, int]) -> None:
    grant, position = granted
    with gate(service) as gateway:
        assert gateway.wait_until_ready(SECONDS), gateway.status()
        before = gateway.check_after(position, *USE)
        assert before.allowed and before.reason == "granted"
        stopped = suspended(service, grant)
        after = gateway.check_after(stopped, *USE)
        assert after.allowed == service.evaluate("gus", evaluation()).json()["decision"]
        assert gateway.position >= stopped


def test_whoever_hears_nothing_refuses_once_the_bound_has_passed_and_not_before(
    service: Service, granted: tuple[str, int], relay: Relay
) -> None:
    _, position = granted
    with gate(service, relay.url, max_staleness_seconds=1.0) as gateway:
        assert gateway.wait_until_ready(SECONDS)
        assert gateway.check_after(position, *USE).allowed
        relay.cut()
        cut = time.monotonic()
        assert gateway.check(*USE).allowed, "the service is away; the gate goes on"
        assert until(lambda: not gateway.check(*USE).allowed)
        assert 0.7 < time.monotonic() - cut < 1.2
        assert gateway.check(*USE).reason == "stale"  # type: ignore[comparison-overlap]
        assert gateway.check(*USE).missing == ("a heartbeat of the feed within the bound",)
        assert gateway.alternatives(USE) == []
        relay.mend()
        assert until(lambda: gateway.check(*USE).allowed), "and it comes back by itself"


def test_whoever_comes_back_missed_nothing_and_needs_no_snapshot(
    service: Service, granted: tuple[str, int], relay: Relay
) -> None:
    grant, position = granted
    heard = Heard()
    with gate(service, relay.url, hooks=heard) as gateway:
        assert gateway.wait_until_ready(SECONDS)
        assert gateway.check_after(position, *USE).allowed
        relay.cut()
        stopped = suspended(service, grant)
        assert until(lambda: bool(heard.errors))
        assert gateway.check(*USE).allowed, "within the bound, as of the position it knows"
        assert gateway.check_after(stopped, *USE, seconds=0.1).reason == "not_caught_up"  # type: ignore[comparison-overlap]
        relay.mend()
        assert gateway.check_after(stopped, *USE, seconds=SECONDS).allowed == now_allowed(service)
        assert heard.snapshots == [True, False]


def now_allowed(service: Service) -> bool:
    allowed: bool = service.evaluate("gus", evaluation()).json()["decision"]
    return allowed


def test_a_cold_start_answers_from_the_snapshot_until_the_bound(
    service: Service, granted: tuple[str, int], tmp_path: Path
) -> None:
    kept = tmp_path / "gate" / "snapshot"
    with gate(service, snapshot_file=kept) as gateway:
        assert gateway.wait_until_ready(SECONDS)
        assert gateway.check_after(granted[1], *USE).allowed
    assert kept.stat().st_mode & 0o077 == 0
    with gate(service, "http://127.0.0.1:9", snapshot_file=kept, max_staleness_seconds=2.0) as cold:
        assert cold.check(*USE).allowed, "nobody is there, and it is young enough"
        assert cold.position >= granted[1]
        assert until(lambda: cold.check(*USE).reason == "stale")  # type: ignore[comparison-overlap]
    heard = Heard()
    with gate(service, snapshot_file=kept, hooks=heard, max_staleness_seconds=1.5) as warm:
        assert until(lambda: warm.check(*USE).allowed)
        assert heard.snapshots == [False], "it goes on from where the snapshot was"


@pytest.mark.parametrize("spoil", [lambda text: text.replace(b"northwind", b"southwind", 1), lambda text: text[:-20]])
def test_a_snapshot_that_is_not_as_it_was_written_is_refused(
    service: Service, granted: tuple[str, int], tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    kept, heard = tmp_path / "snapshot", Heard()
    with gate(service, snapshot_file=kept) as gateway:
        assert gateway.wait_until_ready(SECONDS)
    kept.write_bytes(spoil(kept.read_bytes()))
    with gate(service, "http://127.0.0.1:9", snapshot_file=kept, hooks=heard) as cold:
        assert cold.check(*USE).reason == "not_ready"  # type: ignore[comparison-overlap]
        assert "not as it was written" in str(heard.unread[0])


def test_nothing_is_allowed_before_a_known_key_has_signed_a_checkpoint(
    service: Service, granted: tuple[str, int], tmp_path: Path
) -> None:
    heard = Heard()
    with gate(service, log_key=ANOTHERS_KEY, hooks=heard, snapshot_file=tmp_path / "snapshot") as deceived:
        assert until(lambda: deceived.status().state == "untrusted")
        assert deceived.check(*USE).reason == "untrusted"  # type: ignore[comparison-overlap]
        assert "None of the known keys" in str(heard.errors[0])
    assert load(tmp_path / "snapshot") is None, "and nothing of it is kept"
    with gate(service, log_key=log_key(service)) as gateway:
        assert gateway.wait_until_ready(SECONDS), gateway.status()
        assert gateway.check_after(granted[1], *USE).allowed
        size = gateway.status().checkpoint_size
        assert size is not None and size <= gateway.position + 1


def test_a_key_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(NoteRefused):
        Gate("http://localhost", "token", log_key="no key")


def test_a_gate_with_a_clock_of_its_own_does_not_count_heartbeats_that_are_too_old(service: Service) -> None:
    """The service's clock stands in June: to a gate that compares, its heartbeats are months old."""
    with gate(service, clock_skew_seconds_max=5.0) as gateway:
        assert until(lambda: gateway.status().skew_seconds is not None)
        assert (gateway.status().skew_seconds or 0) > 5.0
        assert gateway.check(*USE).reason == "not_ready"  # type: ignore[comparison-overlap]


async def test_an_asynchronous_gate_answers_alike(service: Service, granted: tuple[str, int], tmp_path: Path) -> None:
    grant, position = granted
    async with AsyncGate(
        str(service.client.base_url),
        lambda: service.token("gus"),
        clock_skew_seconds_max=None,
        snapshot_file=tmp_path / "snapshot",
    ) as gateway:
        assert await gateway.wait_until_ready(SECONDS)
        assert (await gateway.check_after(position, *USE)).allowed
        stopped = suspended(service, grant)
        assert (await gateway.check_after(stopped, *USE)).allowed == now_allowed(service)
        late = await gateway.check_after(10**9, *USE, seconds=0.05)
        assert late.reason == "not_caught_up"  # type: ignore[comparison-overlap]
    kept = load(tmp_path / "snapshot")
    assert kept is not None and kept.place.position >= stopped


def test_checks_that_race_suspensions_are_never_answered_from_before(
    service: Service, granted: tuple[str, int]
) -> None:
    """Threads ask all the time: an allowance rests on what was so at the position that was asked for, or later."""
    grant, _ = granted
    changed, stale, done = [0], [], threading.Event()
    answers: list[bool] = []

    def ask(gateway: Gate) -> None:
        while not done.is_set():
            since = changed[-1]
            answer = gateway.check_after(since, *USE)
            answers.append(answer.allowed)
            if answer.allowed and (answer.grant is None or answer.grant.changed < since):
                stale.append((since, answer))

    with gate(service) as gateway:
        assert gateway.wait_until_ready(SECONDS)
        for each in standing(gateway):
            if each.id != grant and not each.suspended_by:
                suspended(service, each.id)
        threads = [threading.Thread(target=ask, args=(gateway,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(15):
            changed.append(suspended(service, grant))
            reinstated = service.done("olga", f"/grants/{grant}/reinstatement", {"reason": "Answered"})
            changed.append(reinstated["position"])
        done.set()
        for thread in threads:
            thread.join(SECONDS)
    assert stale == [] and len(answers) > 1000 and len(set(answers)) == 2


def standing(gateway: Gate) -> Any:
    access: Access | None = gateway._replica._access
    assert access is not None
    return access.grants.get("northwind", ())
