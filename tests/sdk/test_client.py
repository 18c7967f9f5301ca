"""Does the client know the whole API, repeat what may be repeated, and nothing twice, and name what was refused?"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from assent_client import AsyncClient, Client, Problem, ReceiptRefused, Unreachable, verify_receipt
from assent_client.problems import Forbidden, Malformed, NotFound, NotYours, Outdated, Unauthenticated, Unavailable
from assent_client.surface import (
    ChangeOrganization,
    DraftRequest,
    Evaluate,
    GetEvents,
    GetGrants,
    GetHealthz,
    GetLogProofPosition,
    GetLogTileEntriesPlace,
    GetOrganizations,
    GetOrganizationsId,
    RegisterOrganization,
    RegisterRequest,
    SignOff,
)

from tests.documents.client import surface
from tests.sdk.relay import Relay
from tests.sdk.test_gate import ANOTHERS_KEY, log_key
from tests.services.http.conftest import Service
from tests.services.http.test_access_feed import evaluation

SURFACE = Path(__file__).parents[2] / "sdk" / "python" / "assent_client" / "surface.py"


def test_the_client_knows_every_address_and_what_it_takes(service: Service) -> None:
    """`./run docs` writes the file anew."""
    written = surface(service.client.get("/openapi.json").json())
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["format"], ["check", "--fix", "--quiet"]):
        formatted = subprocess.run(
            [ruff, *command, "--stdin-filename", SURFACE, "-"],
            input=written,
            capture_output=True,
            text=True,
            check=True,
        )
        written = formatted.stdout
    if os.environ.get("WRITE_PAGES"):
        SURFACE.write_text(written)
    assert SURFACE.read_text() == written, "./run docs"


@contextmanager
def client(service: Service, person: str, url: str = "", **more: Any) -> Iterator[Client]:
    with Client(url or str(service.client.base_url), service.token(person), **more) as here:
        yield here


@pytest.fixture
def relay(service: Service) -> Iterator[Relay]:
    address = service.client.base_url
    assert address.port is not None
    with Relay(address.host, address.port) as between:
        yield between


def request_for(model: str = "gpt-5.6") -> DraftRequest:
    return DraftRequest(customer="northwind", release=model, use="Fraud analysis", user_classes=["us_person"])


def test_commands_and_queries_are_typed_and_answered(service: Service) -> None:
    with client(service, "nina") as nina, client(service, "root") as root:
        asked = nina.do(request_for())
        done = root.do(RegisterRequest(request=asked["id"]))
        assert done["receipt"]["position"] == done["position"]
        kept = root.ask(GetOrganizationsId(id="northwind", after=done["position"]))
        assert kept["name"] == "Northwind Bank"
        assert root.ask(GetHealthz())


def test_a_command_whose_answer_was_lost_is_repeated_and_done_once(service: Service, relay: Relay) -> None:
    with client(service, "nina", relay.url) as nina, client(service, "abe") as abe:
        relay.answers_to_lose = 2
        asked = nina.do(request_for())
        relay.cut()
        assert relay.answers_to_lose == 0
        first = asked["events"][0]
        found = abe.ask(GetEvents(after=first["position"] - 1, type=first["type"]))
        assert [each["position"] for each in found["items"]] == [first["position"]], "the first was the only one"


def test_who_gives_up_is_told_under_which_key_to_go_on(service: Service, relay: Relay) -> None:
    with client(service, "nina", relay.url, patience_seconds=0.5) as nina:
        relay.answers_to_lose = 1000
        with pytest.raises(Unreachable) as lost:
            nina.do(request_for())
        relay.answers_to_lose = 0
        key = lost.value.idempotency_key
        assert key is not None
        assert nina.do(request_for(), key=key) == nina.do(request_for(), key=key)


def test_a_dry_run_writes_nothing(service: Service) -> None:
    with client(service, "nina") as nina:
        assert [each["type"] for each in nina.do(request_for(), dry_run=True)["events"]][:1] == ["RequestSubmitted"]


@pytest.mark.parametrize(
    ("person", "act", "kind", "rule"),
    [
        ("nina", lambda who: who.do(RegisterRequest(request="nothing")), NotFound, "need_to_know"),
        ("nina", lambda who: who.do(request_for("nothing")), Malformed, ""),
        ("cora", lambda who: who.do(request_for()), NotYours, "authority"),
        ("root", lambda who: who.do(ChangeOrganization(organization="oncd", name="N"), version=99), Outdated, ""),
        (
            "root",
            lambda who: who.do(RegisterOrganization(id="oncd", kind="agency", name="N", country="US")),
            Forbidden,
            "",
        ),
    ],
)
def test_a_refusal_is_an_exception_that_names_the_rule(
    service: Service, person: str, act: Callable[[Client], Any], kind: type[Problem], rule: str
) -> None:
    with client(service, person) as who, pytest.raises(kind) as refused:
        act(who)
    assert refused.value.rule.startswith(rule) and refused.value.rule and refused.value.request_id


def test_whoever_is_nobody_is_told_so(service: Service) -> None:
    with Client(str(service.client.base_url), lambda: "nonsense") as nobody, pytest.raises(Unauthenticated):
        nobody.ask(GetGrants())


def test_every_page_is_asked_for(service: Service) -> None:
    with client(service, "root") as root:
        after = root.ask(GetEvents(limit=1))["position"]
        one_by_one = [each["id"] for each in root.each(GetOrganizations(limit=1, after=after))]
        assert one_by_one == [each["id"] for each in root.ask(GetOrganizations(after=after))["items"]]
        assert len(one_by_one) >= 6


def test_events_come_as_they_happen_and_none_is_lost_or_told_twice(service: Service, relay: Relay) -> None:
    with client(service, "root") as root, client(service, "abe", relay.url) as abe:
        first = root.do(ChangeOrganization(organization="oncd", name="Told at first"))["position"]
        heard = abe.events(after=first - 1)
        assert next(heard)["position"] == first
        relay.cut()
        second = root.do(ChangeOrganization(organization="oncd", name="Told meanwhile"))["position"]
        relay.mend()
        assert next(heard)["position"] == second
        third = root.do(ChangeOrganization(organization="oncd", name="Told after that"))["position"]
        assert next(heard)["position"] == third
        heard.close()  # type: ignore[attr-defined]


def test_a_receipt_is_verified_offline(service: Service) -> None:
    with client(service, "root") as root, client(service, "abe") as abe:
        done = root.do(ChangeOrganization(organization="commerce", name="Commerce and Trade"))
        proof = abe.ask(GetLogProofPosition(position=done["position"]))
        key = log_key(service)
        verify_receipt(done["receipt"], proof, key)
        with pytest.raises(ReceiptRefused, match="does not hash"):
            verify_receipt(done["receipt"], proof, key, b"{}")
        with pytest.raises(ReceiptRefused, match="None of the known keys"):
            verify_receipt(done["receipt"], proof, ANOTHERS_KEY)
        other = {**done["receipt"], "position": done["position"] - 1}
        with pytest.raises(ReceiptRefused, match="another position"):
            verify_receipt(other, proof, key)
        for hashes in (proof["hashes"][:-1], [*proof["hashes"], proof["root"]], proof["hashes"][::-1]):
            if hashes != proof["hashes"]:
                with pytest.raises(ReceiptRefused):
                    verify_receipt(done["receipt"], {**proof, "hashes": hashes}, key)


async def test_the_asynchronous_client_does_the_same(service: Service, relay: Relay) -> None:
    async with AsyncClient(relay.url, service.token("nina")) as nina:
        relay.answers_to_lose = 1
        asked = await nina.do(request_for())
        assert asked["events"]
    async with AsyncClient(str(service.client.base_url), service.token("gus")) as gus:
        question = evaluation()
        decided = await gus.ask(Evaluate(**question, context={"min_position": asked["position"]}))
        assert decided["context"]["position"] >= asked["position"]
    async with AsyncClient(str(service.client.base_url), service.token("abe")) as abe:
        assert [each async for each in abe.each(GetOrganizations(limit=2))]
        async for event in abe.events(after=asked["position"] - 1):
            assert event["position"] == asked["position"]
            break
        with pytest.raises(NotYours):
            await abe.do(SignOff(request=asked["id"], agency="oncd", position="approve"))


def test_what_stands_in_a_path_is_quoted() -> None:
    assert GetOrganizationsId(id="a/b?c").as_request().path == "/api/v1/organizations/a%2Fb%3Fc"
    assert GetLogTileEntriesPlace(place="x001/234.p/7").as_request().path == "/api/v1/log/tile/entries/x001/234.p/7"


class Busy(BaseHTTPRequestHandler):
    """A service that is not there yet, for a while."""

    left, keys, pauses = 2, [""][:0], "0"

    def do_POST(self) -> None:
        type(self).keys.append(self.headers["idempotency-key"])
        type(self).left -= 1
        self.send_response(503 if self.left >= 0 else 201)
        self.send_header("retry-after", self.pauses)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"rule": "storage", "detail": "Later"}' if self.left >= 0 else b'{"id": "x"}')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(("attempts", "pauses"), [(2, "0"), (1, "3600")])
def test_a_service_that_is_busy_is_asked_again_with_the_same_key_unless_that_takes_too_long(
    attempts: int, pauses: str
) -> None:
    kind = type("BusyFor", (Busy,), {"left": attempts, "keys": [], "pauses": pauses})
    server = HTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Client(f"http://127.0.0.1:{server.server_address[1]}", "token", patience_seconds=5) as here:
        if pauses == "0":
            assert here.do(request_for()) == {"id": "x"}  # type: ignore[comparison-overlap]
            assert len(kind.keys) == 3 and len(set(kind.keys)) == 1
        else:
            with pytest.raises(Unavailable, match="storage"):
                here.do(request_for())
            assert len(kind.keys) == 1
    server.shutdown()
    server.server_close()
