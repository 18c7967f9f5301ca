"""Can anybody signed in check the log by themselves: tiles, proofs, and a receipt without asking us again?"""

import re
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from services.log import note
from services.log.folder import SignerFolder
from services.log.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from services.log.note import Checkpoint, Verifier
from services.log.receipt import first_wrong
from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import APPROVE, problem

DOCS = Path(__file__).parents[3] / "docs" / "log.md"


def covered(service: Service, path: str) -> httpx.Response:
    """The answer once a checkpoint covers what is asked: until then it is too early."""
    for _ in range(100):
        response = service.get("nina", path)
        if response.status_code != 425:
            break
        assert response.headers["retry-after"] == "1"
        time.sleep(0.05)
    assert response.status_code == 200, response.text
    return response


def key_of(service: Service) -> Verifier:
    return SignerFolder(service.settings.data / "signer", service.settings.origin).verifier()


def checkpoint_of(service: Service, text: str) -> Checkpoint:
    """What a signed note says, once its signature was verified."""
    signed = note.parse(text)
    assert signed.verified_by(key_of(service))
    return Checkpoint.parse(signed.text)


def decoded(hashes: list[str]) -> list[bytes]:
    return [b64decode(each) for each in hashes]


def test_a_receipt_is_proven_by_the_checkpoint_that_covers_it(service: Service, request_of: Ask) -> None:
    receipt: Any = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["receipt"]
    proof = covered(service, f"/log/proof/{receipt['position']}").json()
    signed = checkpoint_of(service, proof["checkpoint"])
    assert proof["leaf"] == receipt["leaf"] and proof["size"] == signed.size > receipt["position"]
    verify_inclusion(b64decode(proof["leaf"]), receipt["position"], signed.size, signed.root, decoded(proof["hashes"]))


def test_the_leaf_is_the_hash_of_the_record(service: Service, request_of: Ask, stored: Any) -> None:
    receipt = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["receipt"]
    assert leaf_hash(stored(receipt["position"])) == b64decode(receipt["leaf"])


@pytest.fixture
def stored(service: Service) -> Any:
    """The bytes of a record by its position."""

    def record(position: int) -> bytes:
        with psycopg.connect(service.settings.database_url) as conn:
            found = conn.execute("SELECT record FROM event WHERE position = %s", (position,)).fetchone()
        assert found is not None
        return bytes(found[0])

    return record


def test_the_checkpoint_is_a_signed_note(service: Service, request_of: Ask) -> None:
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    covered(service, f"/log/proof/{position}")
    response = service.get("nina", "/log/checkpoint")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint_of(service, response.text).size > position


def test_the_log_is_proven_to_have_only_grown(service: Service, request_of: Ask) -> None:
    first = checkpoint_of(service, covered(service, "/log/checkpoint").text)
    position = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["position"]
    covered(service, f"/log/proof/{position}")
    second = checkpoint_of(service, service.get("nina", "/log/checkpoint").text)
    proof = service.get("nina", f"/log/consistency?from={first.size}&to={second.size}").json()
    verify_consistency(first.size, second.size, first.root, second.root, decoded(proof["hashes"]))


@pytest.mark.parametrize("position", ["10000000", "-1", "x", "1.5", "9" * 40])
def test_what_is_not_in_the_log_has_no_proof(service: Service, position: str) -> None:
    problem(service.get("nina", f"/log/proof/{position}"), 404, "need_to_know")


@pytest.mark.parametrize("query", ["", "from=1", "from=0&to=1", "from=2&to=1", "from=x&to=1", "from=1&to=1&x=1"])
def test_a_consistency_proof_needs_two_sizes(service: Service, query: str) -> None:
    problem(service.get("nina", f"/log/consistency?{query}"), 400, "parameters")


def test_what_is_not_signed_yet_has_no_consistency_proof(service: Service) -> None:
    problem(service.get("nina", "/log/consistency?from=1&to=10000000"), 425, "checkpoint")


def test_proofs_are_for_everyone_signed_in(service: Service) -> None:
    assert covered(service, "/log/proof/0").status_code == 200
    problem(service.client.get("/api/v1/log/proof/0"), 401, "authentication")


# Tiles


def newest(service: Service) -> Checkpoint:
    return checkpoint_of(service, covered(service, "/log/checkpoint").text)


def place(index: int, width: int) -> str:
    """A tile's place, for an index below a million."""
    group = f"x{index // 1000:03}/{index % 1000:03}" if index >= 1000 else f"{index:03}"
    return group if width == 256 else f"{group}.p/{width}"


def test_the_tree_of_the_checkpoint_is_built_from_its_tiles(service: Service, request_of: Ask) -> None:
    request_of()
    signed = newest(service)
    tree = Frontier()
    for index in range(-(-signed.size // 256)):
        width = min(256, signed.size - 256 * index)
        tile = service.get("nina", f"/log/tile/0/{place(index, width)}")
        assert (tile.status_code, tile.headers["content-type"]) == (200, "application/octet-stream")
        tree.extend(tile.content[at : at + 32] for at in range(0, 32 * width, 32))
    assert (tree.size, tree.root()) == (signed.size, signed.root)


def test_an_entry_bundle_holds_the_records_that_hash_to_its_tile(service: Service, request_of: Ask) -> None:
    request_of()
    width = min(256, newest(service).size)
    rest = service.get("abe", f"/log/tile/entries/{place(0, width)}").content
    hashes = service.get("abe", f"/log/tile/0/{place(0, width)}").content
    for nth in range(width):
        length = int.from_bytes(rest[:2], "big")
        record, rest = rest[2 : 2 + length], rest[2 + length :]
        assert leaf_hash(record) == hashes[32 * nth : 32 * nth + 32]
    assert rest == b""


def test_a_bundle_is_compressed_for_those_who_take_it_so(service: Service) -> None:
    newest(service)
    packed = service.get("abe", "/log/tile/entries/000.p/5", accept_encoding="gzip")
    plain = service.get("abe", "/log/tile/entries/000.p/5", accept_encoding="identity, gzip;q=0")
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert packed.headers["vary"] == plain.headers["vary"] == "Authorization, Cookie, Accept-Encoding"


def test_what_a_checkpoint_covers_may_be_kept_for_ever_and_the_checkpoint_for_a_second(service: Service) -> None:
    newest(service)
    for path in ("/log/tile/0/000.p/5", "/log/tile/entries/000.p/5"):
        assert service.get("abe", path).headers["cache-control"] == "private, max-age=31536000, immutable"
    assert service.get("abe", "/log/checkpoint").headers["cache-control"] == "private, max-age=1"


@pytest.mark.parametrize(
    "path",
    ["0/000.p/0", "0/000.p/05", "0/000.p/256", "0/000.p/x", "0/000.p/", "0/000.p/1/2", "0/0", "0/0000", "0/x000/000",
     "0/000/000", "0/x1/000", "0/X001/000", "0/x001/x000", "0/-01", "0/%D9%A0%D9%A0%D9%A0", "00/000", "64/000",
     "-1/000", "x/000", "0/x999/999", "0/x999/999.p/1", "63/000.p/1", "1/000", "0/" + "x001/" * 6 + "000", "0/",
     "entries/0", "entries/x999/999", "entries/000.p/256", "entries/000.p/0", "entries/"],
)  # fmt: skip
def test_there_is_no_other_tile(service: Service, path: str) -> None:
    problem(service.get("abe", f"/log/tile/{path}"), 404, "tiles")


def test_a_tile_wider_than_the_checkpoint_is_not_served(service: Service) -> None:
    size = newest(service).size
    index, width = divmod(size, 256)
    for wider in range(width + 1, 256, 17):
        if newest(service).size == size:
            problem(service.get("abe", f"/log/tile/0/{place(index, wider)}"), 404, "tiles")
            problem(service.get("abe", f"/log/tile/entries/{place(index, wider)}"), 404, "tiles")


@pytest.mark.parametrize("person", ["nina", "cora", "hana", "rae", "nobody"])
def test_entry_bundles_are_for_auditors(service: Service, person: str) -> None:
    problem(service.get(person, "/log/tile/entries/000.p/1"), 403, "authority")


def test_nothing_of_the_log_is_for_strangers(service: Service) -> None:
    for path in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "consistency?from=1&to=1"):
        problem(service.client.get(f"/api/v1/log/{path}"), 401, "authentication")


# Offline


def test_a_receipt_verifies_with_what_was_fetched_and_nothing_else(
    service: Service, request_of: Ask, stored: Any
) -> None:
    receipt = service.done("olga", f"/requests/{request_of()}/sign-offs", APPROVE)["receipt"]
    proof = covered(service, f"/log/proof/{receipt['position']}").json()
    record = stored(receipt["position"])
    assert first_wrong(record, receipt, proof, proof["checkpoint"], key_of(service)) is None
    wrong = first_wrong(record + b" ", receipt, proof, proof["checkpoint"], key_of(service))
    assert wrong == "The record does not hash to the receipt's leaf."


def test_the_example_of_the_documentation_runs(
    service: Service,
    request_of: Ask,
    stored: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = service.post("olga", f"/requests/{request_of()}/sign-offs", APPROVE)
    position = answer.json()["position"]
    proof = covered(service, f"/log/proof/{position}")
    files = {"answer.json": answer.content, "proof.json": proof.content, "record": stored(position)}
    for name, content in {**files, "log.key": f"{key_of(service)}\n".encode()}.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    exec(compile(example, str(DOCS), "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == "It is in the log.\n"
