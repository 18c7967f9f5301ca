"""Is an applicant's free text readable while its key stands, and by nothing once it is destroyed?"""

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
from services.master_keys import MasterKeyMissing, MasterKeys
from services.vault import ERASED, Vault


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
def keys(pool: AsyncConnectionPool[AsyncConnection[Any]], tmp_path: Path) -> Vault:
    return Vault(pool, MasterKeys(tmp_path))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


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


async def test_an_erasure_takes_every_text_of_that_person_and_no_other(keys: Vault) -> None:
    hers = await keys.seal(Ask("acme", "hers"), "ada")
    his = await keys.seal(Ask("acme", "his"), "bob")
    assert await keys.erase("ada", 7)
    assert await keys.open([hers.use, his.use]) == [ERASED, "his"]


async def test_an_erased_text_stays_erased_when_the_person_writes_again(keys: Vault) -> None:
    before = await keys.seal(Ask("acme", "before"), "ada")
    await keys.erase("ada", 7)
    after = await keys.seal(Ask("acme", "after"), "ada")
    assert await keys.open([before.use, after.use]) == [ERASED, "after"]


async def test_an_erasure_is_carried_out_once_however_many_hear_of_it(
    keys: Vault, pool: AsyncConnectionPool[AsyncConnection[Any]], tmp_path: Path
) -> None:
    other = Vault(pool, MasterKeys(tmp_path))
    await keys.seal(Ask("acme", "before"), "ada")
    assert await keys.erase("ada", 7)
    after = await keys.seal(Ask("acme", "after"), "ada")
    assert not await other.erase("ada", 7)
    assert not await keys.erase("ada", 7)
    assert await other.open(after.use) == "after"


async def test_another_process_forgets_a_destroyed_key_when_it_hears_of_the_erasure_or_soon(
    keys: Vault, pool: AsyncConnectionPool[AsyncConnection[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears, does_not = Vault(pool, MasterKeys(tmp_path)), Vault(pool, MasterKeys(tmp_path))
    sealed = await keys.seal(Ask("acme", "hers"), "ada")
    for other in (hears, does_not):
        assert await other.open(sealed.use) == "hers"
    await keys.erase("ada", 7)
    await hears.erase("ada", 7)
    assert await hears.open(sealed.use) == ERASED
    monkeypatch.setattr(vault, "RESIDENT_SECONDS", 0.0)
    assert await does_not.open(sealed.use) == ERASED


async def test_what_a_backup_holds_of_an_erased_person_nothing_opens(
    keys: Vault, pool: AsyncConnectionPool[AsyncConnection[Any]], database: str, tmp_path: Path
) -> None:
    sealed = await keys.seal(Ask("acme", "hers"), "ada")
    with psycopg.connect(database) as conn:
        backup = conn.execute("SELECT person, wrapped FROM vault.subject_key").fetchall()
    await keys.erase("ada", 7)
    with psycopg.connect(database) as conn:
        conn.execute("INSERT INTO vault.subject_key (person, wrapped) VALUES (%s, %s)", backup[0])
    restored = Vault(pool, MasterKeys(tmp_path))
    with pytest.raises(MasterKeyMissing, match="another master key"):
        await restored.open(sealed.use)


async def test_the_master_that_wrapped_an_erased_key_is_gone_from_the_folder(keys: Vault, tmp_path: Path) -> None:
    await keys.seal(Ask("acme", "hers"), "ada")
    his = await keys.seal(Ask("acme", "his"), "bob")
    first = (tmp_path / "master").read_bytes()
    await keys.erase("ada", 7)
    assert names(tmp_path) == ["master.1"]
    assert (tmp_path / "master.1").read_bytes() != first
    assert await keys.open(his.use) == "his"


async def test_an_erasure_that_died_half_way_is_carried_out_by_the_next_who_hears_of_it(
    keys: Vault, pool: AsyncConnectionPool[AsyncConnection[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hers, his = await keys.seal(Ask("acme", "hers"), "ada"), await keys.seal(Ask("acme", "his"), "bob")

    def dies(*_: object) -> bytes:
        raise OSError("the process died")

    dying = MasterKeys(tmp_path)
    monkeypatch.setattr(dying, "wrap", dies)
    with pytest.raises(OSError, match="died"):
        await Vault(pool, dying).erase("ada", 7)
    assert names(tmp_path) == ["master", "master.1"]
    assert await keys.open(his.use) == "his"
    assert await keys.erase("ada", 7)
    assert names(tmp_path) == ["master.2"]
    assert await keys.open([hers.use, his.use]) == [ERASED, "his"]


async def test_a_database_from_before_an_erasure_harms_no_newer_master(
    keys: Vault, pool: AsyncConnectionPool[AsyncConnection[Any]], database: str, tmp_path: Path
) -> None:
    """Somebody restores an old database: it opens nothing, says why, and does not destroy what opens the right one."""
    await keys.seal(Ask("acme", "his"), "bob")
    with psycopg.connect(database) as conn:
        old = conn.execute("SELECT person, wrapped FROM vault.subject_key").fetchall()
    await keys.erase("ada", 7)
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE vault.master SET generation = 0")
        conn.execute("UPDATE vault.subject_key SET wrapped = %s WHERE person = %s", old[0][::-1])
    restored = Vault(pool, MasterKeys(tmp_path))
    with pytest.raises(MasterKeyMissing, match="generation 0"):
        await restored.erase("eve", 8)
    assert names(tmp_path) == ["master.1"]


async def test_a_token_under_another_name_is_not_opened(keys: Vault) -> None:
    sealed = await keys.seal(Ask("acme", "hers"), "ada")
    await keys.seal(Ask("acme", "his"), "bob")
    assert await keys.open(sealed.use.replace(".ada.", ".bob.")) == ERASED


async def test_the_database_alone_opens_nothing(keys: Vault, database: str) -> None:
    await keys.seal(Ask("acme", "hers"), "ada")
    with psycopg.connect(database) as conn:
        ((wrapped,),) = conn.execute("SELECT wrapped FROM vault.subject_key").fetchall()
    assert len(wrapped) == 12 + 32 + 16, "nonce, encrypted key, tag"
