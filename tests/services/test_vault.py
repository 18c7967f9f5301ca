"""Is an applicant's free text readable while its key stands, and by nothing once it is destroyed?"""

import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from domain.fields import OptionalSealedText, SealedText, Text
from services import vault
from services.vault import ERASED, Vault, master_key


@dataclass(frozen=True, slots=True)
class Changes:
    use: OptionalSealedText | None = None
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    customer: Text
    use: SealedText
    changes: Changes = Changes()
    more: tuple[Changes, ...] = ()
    remark: Annotated[OptionalSealedText, "marked twice"] = ""


@dataclass(frozen=True, slots=True)
class Plain:
    reason: Text


@pytest.fixture
async def pool(database: str) -> AsyncIterator[AsyncConnectionPool[AsyncConnection[Any]]]:
    async with AsyncConnectionPool(database, min_size=1, max_size=2, open=False) as opened:
        yield opened


@pytest.fixture
def keys(pool: AsyncConnectionPool[AsyncConnection[Any]]) -> Vault:
    return Vault(pool, bytes(32))


async def test_sealed_texts_become_tokens_and_the_rest_stays(keys: Vault) -> None:
    sealed = await keys.seal(Ask("acme", "protein folding", Changes("less", 3), (Changes("more"),)), "ada")
    assert sealed.customer == "acme"
    assert sealed.changes.days == 3
    for token in (sealed.use, sealed.changes.use, sealed.more[0].use):
        assert token is not None and token.startswith("sealed.ada.")
    assert "folding" not in repr(sealed)


async def test_a_token_reads_as_its_text_wherever_it_stands_in_a_document(keys: Vault) -> None:
    sealed = await keys.seal(Ask("acme", "protein folding", Changes("é\N{SNOWMAN}")), "ada@example.org")
    document = {"use": sealed.use, "parts": [{"use": sealed.changes.use}, 7, None, "sealed.not a token"]}
    assert await keys.open(document) == {
        "use": "protein folding",
        "parts": [{"use": "é\N{SNOWMAN}"}, 7, None, "sealed.not a token"],
    }
    assert await keys.open(sealed.use) == "protein folding"


async def test_the_same_text_never_gives_the_same_token(keys: Vault) -> None:
    assert (await keys.seal(Ask("acme", "x"), "ada")).use != (await keys.seal(Ask("acme", "x"), "ada")).use


async def test_what_has_no_sealed_text_passes_untouched(keys: Vault) -> None:
    plain = Plain("because")
    assert await keys.seal(plain, "ada") is plain
    assert (await keys.seal(Ask("acme", "x"), "ada")).remark == ""


async def test_a_destroyed_key_erases_every_text_of_that_person_and_no_other(keys: Vault) -> None:
    hers = await keys.seal(Ask("acme", "hers"), "ada")
    his = await keys.seal(Ask("acme", "his"), "bob")
    assert await keys.destroy("ada")
    assert not await keys.destroy("ada")
    assert await keys.open([hers.use, his.use]) == [ERASED, "his"]


async def test_an_erased_text_stays_erased_when_the_person_writes_again(keys: Vault) -> None:
    before = await keys.seal(Ask("acme", "before"), "ada")
    await keys.destroy("ada")
    after = await keys.seal(Ask("acme", "after"), "ada")
    assert await keys.open([before.use, after.use]) == [ERASED, "after"]


async def test_another_process_forgets_a_destroyed_key_soon(
    keys: Vault, pool: AsyncConnectionPool[AsyncConnection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Vault(pool, bytes(32))
    sealed = await keys.seal(Ask("acme", "hers"), "ada")
    assert await other.open(sealed.use) == "hers"
    await keys.destroy("ada")
    monkeypatch.setattr(vault, "RESIDENT_SECONDS", 0.0)
    assert await other.open(sealed.use) == ERASED


async def test_a_token_under_another_name_is_not_opened(keys: Vault) -> None:
    sealed = await keys.seal(Ask("acme", "hers"), "ada")
    await keys.seal(Ask("acme", "his"), "bob")
    assert await keys.open(sealed.use.replace(".ada.", ".bob.")) == ERASED


async def test_the_database_alone_opens_nothing(keys: Vault, database: str) -> None:
    await keys.seal(Ask("acme", "hers"), "ada")
    with psycopg.connect(database) as conn:
        ((wrapped,),) = conn.execute("SELECT wrapped FROM vault.subject_key").fetchall()
    assert len(wrapped) == 12 + 32 + 16, "nonce, encrypted key, tag"


def test_the_master_key_is_made_once_and_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    first = master_key(path)
    assert len(first) == 32
    assert master_key(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["master.key"]
