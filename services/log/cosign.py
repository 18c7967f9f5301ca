"""How do others vouch for the log beside us? Each witness is shown the newest checkpoint; what it signs is published.

A task per witness, apart from signing: one that is away, slow or refuses delays nothing but its own cosignature.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import httpx
import psycopg
from psycopg import AsyncConnection

from services.log import note, reader, tiles
from services.log.note import Checkpoint, NoteRefused, Verifier
from services.log.reader import Connection
from services.log.submission import BODY_BYTES_MAX, PATH, SIZE_TYPE, Submission

COSIGN_LOCK = 0x434F5349
"""The session advisory lock of whoever asks a witness, with the witness's number."""

POLL_SECONDS = 0.1
ANSWER_SECONDS_MAX = 5.0
RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 30.0
TRIES_MAX = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownWitness:
    """A witness that the log asks: its key, and the address before `/add-checkpoint`."""

    key: Verifier
    url: str


class NoCosignature(Exception):
    """A witness did not cosign; the message says why."""


async def cosigning(conninfo: str, witnesses: Sequence[KnownWitness]) -> None:
    """Show every newest checkpoint to each witness, for ever."""
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX) as client:
        await asyncio.gather(*(_cosigning(conninfo, client, witness) for witness in witnesses))


async def _cosigning(conninfo: str, client: httpx.AsyncClient, witness: KnownWitness) -> None:
    """The same for one witness; where another process asks it, wait to take its place."""
    while True:
        try:
            async with await AsyncConnection.connect(conninfo, autocommit=True) as conn:
                number = crc32(witness.key.name.encode()) - 2**31
                ((leads,),) = await reader.rows(conn, "SELECT pg_try_advisory_lock(%s, %s)", COSIGN_LOCK, number)
                if leads:
                    await _ask_for_ever(conn, client, witness)
        except psycopg.OperationalError as error:
            _log.warning("No checkpoint is shown to %s for now: %s", witness.key.name, error)
        except Exception:
            _log.exception("No checkpoint is shown to %s for now", witness.key.name)
        await asyncio.sleep(RETRY_SECONDS)


async def _ask_for_ever(conn: Connection, client: httpx.AsyncClient, witness: KnownWitness) -> None:
    last = await last_cosigned(conn, witness)
    retry_seconds = RETRY_SECONDS
    while True:
        try:
            last = await ask(conn, client, witness, last)
            retry_seconds = RETRY_SECONDS
        except (NoCosignature, httpx.HTTPError) as error:
            _log.warning("%s did not cosign: %s", witness.key.name, error or type(error).__name__)
            await asyncio.sleep(retry_seconds)
            retry_seconds = min(2 * retry_seconds, RETRY_SECONDS_MAX)
        await asyncio.sleep(POLL_SECONDS)


async def last_cosigned(conn: Connection, witness: KnownWitness) -> int:
    """The size of the newest checkpoint that bears this witness's cosignature, or 0."""
    ((size,),) = await reader.rows(
        conn, "SELECT coalesce(max(size), 0) FROM cosignature WHERE witness = %s", witness.key.name
    )
    found: int = size
    return found


async def ask(conn: Connection, client: httpx.AsyncClient, witness: KnownWitness, last: int) -> int:
    """Have the newest checkpoint cosigned, where it is not of the size cosigned last; the size that is now.

    Raises NoCosignature, httpx.HTTPError.
    """
    found = await reader.rows(conn, "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")
    if not found or found[0][0] == last:
        return last
    size, text = found[0]
    line = await _cosignature(conn, client, witness, last, note.parse(text))
    await conn.execute(
        "INSERT INTO cosignature (size, witness, line) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (size, witness.key.name, line),
    )
    newest: int = size
    return newest


async def _cosignature(
    conn: Connection, client: httpx.AsyncClient, witness: KnownWitness, old: int, signed: note.Note
) -> str:
    """The witness's line. It says what size it knows where that is another than we thought."""
    size = Checkpoint.parse(signed.text).size
    for _ in range(TRIES_MAX):
        if old > size:
            raise NoCosignature(
                f"it has seen a log of {old} records, and ours has {size}: ours was put back. Restore the database and "
                "the signer's folder as they were last."
            )
        proof = await tiles.consistency(conn, old, size) if 0 < old < size else []
        status, media_type, body = await _posted(client, witness, Submission(old, proof, signed))
        if status == httpx.codes.OK:
            return _line_of(witness, signed, body)
        if status != httpx.codes.CONFLICT or media_type != SIZE_TYPE:
            raise NoCosignature(f"it answered {status}: {body.strip()[:256]}")
        try:
            old = note.number(body.removesuffix("\n"))
        except NoteRefused as refused:
            raise NoCosignature(str(refused)) from None
    raise NoCosignature(f"it changed its mind {TRIES_MAX} times about the size it knows; does somebody else ask it?")


async def _posted(client: httpx.AsyncClient, witness: KnownWitness, submission: Submission) -> tuple[int, str, str]:
    """Status, media type and body of the answer, of which no more is read than a witness has to say."""
    async with client.stream("POST", witness.url + PATH, content=str(submission).encode()) as response:
        body = b""
        async for part in response.aiter_bytes():
            body += part
            if len(body) > BODY_BYTES_MAX:
                raise NoCosignature(f"its answer is longer than {BODY_BYTES_MAX} bytes")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    return response.status_code, media_type, body.decode(errors="replace")


def _line_of(witness: KnownWitness, signed: note.Note, answer: str) -> str:
    """Its own line of the answer, once verified; lines of others are ignored."""
    try:
        lines = note.signatures_of(answer)
    except NoteRefused as refused:
        raise NoCosignature(f"its answer is no cosignature: {refused}") from None
    for line in lines:
        if note.Note(signed.text, (line,)).verified_by(witness.key):
            return str(line)
    raise NoCosignature("its answer bears no cosignature that its key verifies")


def known_witness(text: str) -> KnownWitness:
    """From `KEY URL`. Raises ValueError."""
    key, url = text.split()
    verifier = Verifier.parse(key)
    if verifier.kind != note.COSIGNATURE or not url.startswith(("http://", "https://")):
        raise ValueError(text)
    return KnownWitness(verifier, url.rstrip("/"))
