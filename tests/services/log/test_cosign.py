"""Are the cosignatures of witnesses in the checkpoint that is shown, and does a log that was taken back get none?"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg import AsyncConnection, Connection

from services.log import cosign, note, proofs
from services.log.cosign import KnownWitness, NoCosignature, ask, last_cosigned
from services.log.folder import SignerFolder
from services.log.merkle import leaf_hash
from services.log.signer import check_at_start, sign_once
from services.settings import read_settings
from services.witness import Witness, WitnessFolder
from tests.services.log.grown import as_superuser, grow


@pytest.fixture
async def reading(database: str) -> AsyncIterator[Any]:
    async with await AsyncConnection.connect(database, autocommit=True) as opened:
        yield opened


class Asked:
    """A witness in this process, and how the log asks it. `before` changes what it answers."""

    def __init__(self, tmp_path: Path, folder: SignerFolder, name: str) -> None:
        self.witness = Witness(WitnessFolder(tmp_path / name), name, (folder.verifier(),))
        self.known = KnownWitness(self.witness.verifier, f"http://{name}")
        self.asked = 0

    def client(self) -> httpx.AsyncClient:
        async def counted(request: httpx.Request) -> None:
            self.asked += 1

        transport = httpx.ASGITransport(app=self.witness)
        return httpx.AsyncClient(transport=transport, event_hooks={"request": [counted]})

    async def cosigns(self, reading: Any, last: int | None = None) -> int:
        async with self.client() as client:
            known = await last_cosigned(reading, self.known) if last is None else last
            return await ask(reading, client, self.known, known)


@pytest.fixture
def one(tmp_path: Path, folder: SignerFolder) -> Asked:
    return Asked(tmp_path, folder, "one.localhost")


@pytest.fixture
def two(tmp_path: Path, folder: SignerFolder) -> Asked:
    return Asked(tmp_path, folder, "two.localhost")


async def shown(reading: Any, *verifiers: note.Verifier) -> bool:
    """Whether the newest checkpoint bears all those signatures."""
    text, _ = await proofs.checkpoint(reading)
    return note.parse(text).verified_by(*verifiers)


async def test_a_checkpoint_is_shown_with_the_cosignatures_of_its_witnesses(
    conn: Connection[Any], database: str, reading: Any, folder: SignerFolder, one: Asked, two: Asked
) -> None:
    for more, size in ((3, 3), (4, 7), (1, 8), (600, 608)):
        grow(conn, more)
        sign_once(conn, folder)
        assert await shown(reading, folder.verifier())
        assert await one.cosigns(reading) == size
        assert await shown(reading, folder.verifier(), one.known.key)
        assert not await shown(reading, two.known.key)
    assert await two.cosigns(reading) == 608
    assert await shown(reading, folder.verifier(), one.known.key, two.known.key)
    check_at_start(database, folder)


async def test_nothing_is_asked_before_the_first_checkpoint_or_twice(
    conn: Connection[Any], reading: Any, folder: SignerFolder, one: Asked
) -> None:
    assert await one.cosigns(reading) == 0
    grow(conn, 3)
    sign_once(conn, folder)
    assert [await one.cosigns(reading) for _ in range(3)] == [3, 3, 3]
    assert one.asked == 1


async def test_a_witness_that_knows_another_size_is_asked_from_there(
    conn: Connection[Any], reading: Any, folder: SignerFolder, one: Asked
) -> None:
    for more in (3, 4):
        grow(conn, more)
        sign_once(conn, folder)
        assert await one.cosigns(reading, last=1) == more + (3 if more == 4 else 0)
    assert one.asked == 4


async def test_a_cosignature_that_was_lost_on_its_way_is_asked_for_again(
    conn: Connection[Any], reading: Any, folder: SignerFolder, one: Asked
) -> None:
    grow(conn, 3)
    sign_once(conn, folder)
    await one.cosigns(reading)
    as_superuser(conn, "DELETE FROM cosignature WHERE size = 3")
    assert await one.cosigns(reading) == 3
    assert await shown(reading, one.known.key)


async def test_whoever_trusts_a_witness_gets_the_newest_checkpoint_that_it_cosigned(
    conn: Connection[Any], reading: Any, folder: SignerFolder, one: Asked
) -> None:
    grow(conn, 3)
    sign_once(conn, folder)
    with pytest.raises(proofs.NotSignedYet, match="No such checkpoint"):
        await proofs.checkpoint(reading, one.known.key.name)
    await one.cosigns(reading)
    grow(conn, 2)
    sign_once(conn, folder)
    assert (await proofs.checkpoint(reading))[1].size == 5
    text, head = await proofs.checkpoint(reading, one.known.key.name)
    assert head.size == 3 and note.parse(text).verified_by(one.known.key)
    assert (await proofs.inclusion(reading, 2, one.known.key.name)).size == 3
    with pytest.raises(proofs.NotSignedYet, match="of size 3"):
        await proofs.inclusion(reading, 4, one.known.key.name)


# A log that was taken back


def take_back(conn: Connection[Any], size: int) -> None:
    """The database as it was at that size."""
    as_superuser(conn, "DELETE FROM cosignature WHERE size > %s", size)
    as_superuser(conn, "DELETE FROM checkpoint WHERE size > %s", size)
    as_superuser(conn, "DELETE FROM tree_head WHERE size > %s", size)
    as_superuser(conn, "DELETE FROM event WHERE position >= %s", size)


@pytest.mark.parametrize(
    ("more", "why"),
    [(1, "ours was put back"), (2, "this log forked"), (4, "it answered 422"), (600, "it answered 422")],
)
async def test_a_log_that_was_put_back_and_grew_another_way_gets_no_cosignature(
    conn: Connection[Any],
    database: str,
    reading: Any,
    folder: SignerFolder,
    one: Asked,
    tmp_path: Path,
    more: int,
    why: str,
) -> None:
    grow(conn, 3)
    sign_once(conn, folder)
    await one.cosigns(reading)
    old = (tmp_path / "signer" / "signed.json").read_bytes()
    grow(conn, 2)
    sign_once(conn, folder)
    await one.cosigns(reading)

    take_back(conn, 3)
    (tmp_path / "signer" / "signed.json").write_bytes(old)
    check_at_start(database, folder)  # all that the log itself could notice is put back
    grow(conn, more, "other")
    sign_once(conn, folder)
    with pytest.raises(NoCosignature, match=why):
        await one.cosigns(reading)
    assert await shown(reading, folder.verifier()) and not await shown(reading, one.known.key)
    assert conn.execute("SELECT max(size) FROM cosignature").fetchone() == (3,)


async def test_a_log_whose_tiles_were_forged_gets_no_cosignature(
    conn: Connection[Any], reading: Any, folder: SignerFolder, one: Asked
) -> None:
    grow(conn, 300)
    sign_once(conn, folder)
    await one.cosigns(reading)
    grow(conn, 300)
    sign_once(conn, folder)
    as_superuser(conn, "UPDATE event SET leaf = %s WHERE position = 301", leaf_hash(b"forged"))
    as_superuser(conn, "UPDATE tile SET hashes = overlay(hashes PLACING '\\x00' FROM 508 * 32 + 1)")
    with pytest.raises(NoCosignature, match="it answered 422"):
        await one.cosigns(reading)


# A witness that does not answer as it should


@pytest.mark.parametrize(
    ("status", "media_type", "body", "why"),
    [
        (200, "text/plain", "", "no cosignature"),
        (200, "text/plain", "— one.localhost AAAAAAAA\n", "no cosignature that its key verifies"),
        (200, "text/plain", "x" * 20_000, "longer than"),
        (200, "text/plain", "\xff", "no cosignature"),
        (404, "text/plain", "No log of that name.\n", "it answered 404: No log of that name."),
        (403, "text/plain", "Not yours.", "it answered 403"),
        (500, "text/plain", "", "it answered 500"),
        (302, "text/plain", "", "it answered 302"),
        (409, "text/plain", "forked", "it answered 409: forked"),
        (409, "text/x.tlog.size", "three\n", "not the size of a log"),
        (409, "text/x.tlog.size", "1\n", "changed its mind"),
        (409, "text/x.tlog.size", "4\n", "ours was put back"),
    ],
)
async def test_what_a_witness_answers_is_not_believed_but_verified(
    conn: Connection[Any],
    reading: Any,
    folder: SignerFolder,
    one: Asked,
    status: int,
    media_type: str,
    body: str,
    why: str,
) -> None:
    grow(conn, 3)
    sign_once(conn, folder)
    answer = httpx.Response(status, headers={"content-type": media_type}, content=body.encode("latin-1", "replace"))
    if body.startswith("—"):
        answer = httpx.Response(status, content=body.encode())
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request: answer)) as client:
        with pytest.raises(NoCosignature, match=why):
            await ask(reading, client, one.known, 0)
    assert await shown(reading, folder.verifier()) and not await shown(reading, one.known.key)


async def test_lines_of_others_are_not_published(
    conn: Connection[Any], reading: Any, folder: SignerFolder, one: Asked, two: Asked
) -> None:
    grow(conn, 3)
    sign_once(conn, folder)

    def both(request: httpx.Request) -> httpx.Response:
        lines = [asked.witness.add_checkpoint(request.content) for asked in (two, one)]
        return httpx.Response(200, content="".join(lines).encode())

    async with httpx.AsyncClient(transport=httpx.MockTransport(both)) as client:
        await ask(reading, client, one.known, 0)
    assert await shown(reading, one.known.key) and not await shown(reading, two.known.key)


def test_witnesses_are_told_by_their_keys_and_addresses(one: Asked, two: Asked) -> None:
    told = f"{one.known.key} {one.known.url}/, {two.known.key} {two.known.url}"
    assert read_settings({"ASSENT_WITNESSES": told}).witnesses == (one.known, two.known)
    assert cosign.known_witness(f" {one.known.key}  http://a/b ") == KnownWitness(one.known.key, "http://a/b")
