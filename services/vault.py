"""Where is the free text of applicants, so that it can be forgotten although the log forgets nothing?

In the log, as ciphertext: `sealed.<person>.<base64url(nonce ‖ ciphertext)>`, AES-256-GCM under a key per person. The
keys are kept outside the log, wrapped by a master key outside the database (`master_keys.py`). Destroying a person's
key erases every text of theirs; the records stay as they are, and so does every proof.
"""

import os
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from domain.fields import hints, sealed_fields
from services.master_keys import KEY_BYTES, NONCE_BYTES, MasterKeyMissing, MasterKeys
from services.migrations import Migration

ERASED = "[erased]"
"""What a sealed text reads as once its person's key is destroyed."""

RESIDENT_SECONDS = 60.0
"""How long a process may still open texts of a destroyed key that nobody told it of."""

LOCK = 0x41535356
"""The advisory lock under which keys are made (shared) and wrapped anew (alone)."""

_TOKEN = re.compile(r"sealed\.(?P<person>[^\s]{1,128})\.(?P<sealed>[A-Za-z0-9_-]{39,})")

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        100,
        "vault",
        """
        CREATE SCHEMA vault;
        CREATE TABLE vault.subject_key (
            person text COLLATE "C" PRIMARY KEY,
            wrapped bytea NOT NULL
        );
        COMMENT ON TABLE vault.subject_key IS 'A key per person, wrapped by the master key; deleting it erases.';
        """,
    ),
    Migration(
        101,
        "erasures",
        """
        CREATE TABLE vault.master (
            one boolean PRIMARY KEY DEFAULT true CHECK (one),
            generation integer NOT NULL
        );
        INSERT INTO vault.master (generation) VALUES (0);
        COMMENT ON TABLE vault.master IS 'The generation of the master key that wraps every key.';
        CREATE TABLE vault.erasure (
            position bigint PRIMARY KEY,
            person text COLLATE "C" NOT NULL
        );
        COMMENT ON TABLE vault.erasure IS 'The erasures of the log (SubjectErased) that were carried out.';
        """,
    ),
)

D = TypeVar("D")


class Vault:
    """Seals and opens texts; keeps keys in memory for a short while."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]], masters: MasterKeys) -> None:
        self._pool = pool
        self._masters = masters
        self._resident: dict[str, tuple[float, AESGCM]] = {}
        self._erasures = 0

    async def seal(self, value: D, person: str) -> D:
        """The same dataclass with its sealed texts as tokens; itself where it has none."""
        schema: type = type(value)
        if not _may_hold_sealed(schema):
            return value
        key = (await self._keys({person}, make=True))[person]
        sealed: D = _sealed(value, person, key)
        return sealed

    def seal_at_once(self, value: D, person: str) -> D | None:
        """As `seal`; None where the person's key has to be fetched first."""
        schema: type = type(value)
        if not _may_hold_sealed(schema):
            return value
        key = self._resident_key(person)
        if key is None:
            return None
        sealed: D = _sealed(value, person, key)
        return sealed

    async def open(self, document: Any) -> Any:
        """A JSON document (or a text) with every token opened; `[erased]` where the key is gone."""
        people = {match["person"] for match in _tokens(document)}
        if not people:
            return document
        return _opened(document, await self._keys(people))

    async def erase(self, person: str, position: int) -> bool:
        """Carry out the erasure that stands at that position of the log; whether nobody had done so before.

        The person's key goes, and what is left is wrapped by a new master key: what a backup holds, nothing opens.
        """
        async with self._pool.connection() as conn:
            async with conn.transaction():
                await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                done = await conn.execute(
                    "INSERT INTO vault.erasure (position, person) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    (position, person),
                )
                if done.rowcount:
                    await conn.execute("DELETE FROM vault.subject_key WHERE person = %s", (person,))
                    await self._wrap_anew(conn)
            self._masters.discard_before(await _generation(conn))
        self._resident.pop(person, None)
        self._erasures += 1
        return bool(done.rowcount)

    async def _wrap_anew(self, conn: AsyncConnection[Any]) -> None:
        """With a generation that no file is of: one may be left by a process that died here, or be the newer truth."""
        before = await _generation(conn)
        rows = await (await conn.execute("SELECT person, wrapped FROM vault.subject_key")).fetchall()
        keys = [(person, self._masters.unwrap(before, wrapped, person)) for person, wrapped in rows]
        fresh = max(before, self._masters.newest()) + 1
        self._masters.make(fresh)
        anew = [(self._masters.wrap(fresh, key, person), person) for person, key in keys]
        async with conn.cursor() as cursor:
            await cursor.executemany("UPDATE vault.subject_key SET wrapped = %s WHERE person = %s", anew)
        await conn.execute("UPDATE vault.master SET generation = %s", (fresh,))

    async def _keys(self, people: set[str], make: bool = False) -> dict[str, AESGCM]:
        now = time.monotonic()
        found = {person: key for person in people if (key := self._resident_key(person)) is not None}
        missing = people - found.keys()
        if missing:
            if make:
                await self._make(missing)
            erasures = self._erasures
            loaded = await self._load(missing)
            if erasures == self._erasures:  # else one of these may be gone since they were read
                self._resident |= {person: (now, key) for person, key in loaded.items()}
            found |= loaded
        return found

    def _resident_key(self, person: str) -> AESGCM | None:
        since, key = self._resident.get(person, (0.0, None))
        return key if time.monotonic() - since < RESIDENT_SECONDS else None

    async def _make(self, people: set[str]) -> None:
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))
            generation = await _generation(conn)
            if generation == 0:
                self._masters.make(generation)
            for person in people:
                wrapped = self._masters.wrap(generation, os.urandom(KEY_BYTES), person)
                await conn.execute(
                    "INSERT INTO vault.subject_key (person, wrapped) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    (person, wrapped),
                )

    async def _load(self, people: set[str]) -> dict[str, AESGCM]:
        """Raises MasterKeyMissing."""
        try:
            return await self._unwrapped(people)
        except MasterKeyMissing:  # replaced between the query and the file: the next query sees the new one
            return await self._unwrapped(people)

    async def _unwrapped(self, people: set[str]) -> dict[str, AESGCM]:
        async with self._pool.connection() as conn:
            cursor = await conn.execute(
                "SELECT person, wrapped, generation FROM vault.subject_key, vault.master WHERE person = ANY (%s)",
                (list(people),),
            )
            rows = await cursor.fetchall()
        return {
            person: AESGCM(self._masters.unwrap(generation, wrapped, person)) for person, wrapped, generation in rows
        }


async def _generation(conn: AsyncConnection[Any]) -> int:
    """Of the master key that wraps the keys now."""
    row = await (await conn.execute("SELECT generation FROM vault.master")).fetchone()
    assert row is not None, "the migration put it there"
    generation: int = row[0]
    return generation


@cache
def _may_hold_sealed(schema: type) -> bool:
    """Whether a dataclass has sealed texts, itself or in the dataclasses it holds."""
    return bool(sealed_fields(schema)) or any(_may_hold_sealed(inner) for inner in _inner_schemas(schema))


def _inner_schemas(schema: type) -> Iterator[type]:
    waiting = list(hints(schema).values())
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, type) and is_dataclass(hint) and hint is not schema:
            yield hint
        waiting += get_args(hint)


def _sealed(value: Any, person: str, key: AESGCM) -> Any:
    if isinstance(value, tuple):
        return tuple(_sealed(each, person, key) for each in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    texts = sealed_fields(type(value))
    changes = {}
    for field in fields(value):
        before = getattr(value, field.name)
        if field.name in texts and isinstance(before, str):
            if before:  # there is nothing to hide in an empty text
                changes[field.name] = _token(before, person, key)
        elif (after := _sealed(before, person, key)) != before:
            changes[field.name] = after
    return replace(value, **changes) if changes else value


def _token(text: str, person: str, key: AESGCM) -> str:
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + key.encrypt(nonce, text.encode(), person.encode())
    return f"sealed.{person}.{urlsafe_b64encode(sealed).decode().rstrip('=')}"


def _tokens(document: Any) -> Iterator[re.Match[str]]:
    if isinstance(document, str):
        match = _TOKEN.fullmatch(document) if document.startswith("sealed.") else None
        if match is not None:
            yield match
    elif isinstance(document, dict):
        for each in document.values():
            yield from _tokens(each)
    elif isinstance(document, list | tuple):
        for each in document:
            yield from _tokens(each)


def _opened(document: Any, keys: dict[str, AESGCM]) -> Any:
    if isinstance(document, str):
        return next((_text(match, keys) for match in _tokens(document)), document)
    if isinstance(document, dict):
        return {name: _opened(each, keys) for name, each in document.items()}
    if isinstance(document, list | tuple):
        return [_opened(each, keys) for each in document]
    return document


def _text(token: re.Match[str], keys: dict[str, AESGCM]) -> str:
    key = keys.get(token["person"])
    if key is None:
        return ERASED
    sealed = urlsafe_b64decode(token["sealed"] + "=" * (-len(token["sealed"]) % 4))
    try:
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], token["person"].encode()).decode()
    except InvalidTag:
        return ERASED  # sealed under a key that was destroyed before the person got a new one
