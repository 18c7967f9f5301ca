"""How do requests, grants and directives get ids that are unique and sort by the time they were made?"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from services.chance import CHUNK_BYTES, chunk

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
INSTANT_LENGTH = 10
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(now: datetime) -> str:
    """26 lower-case characters: a UUIDv7 (RFC 9562: 48 bits of milliseconds, 74 random ones) in Crockford's base 32.

    Ids of different milliseconds sort by time, ids of the same one at random. `now` is aware; ValueError before 1970.
    """
    return _written(now, int.from_bytes(chunk()) >> 8 * CHUNK_BYTES - 74)


def seeded_id(instant: datetime, seed: bytes, nth: int) -> str:
    """The nth id that follows from a seed, and always the same: for what may have to be told twice."""
    digest = sha256(seed + nth.to_bytes(4)).digest()
    return _written(instant, int.from_bytes(digest) & (1 << 74) - 1)


def _written(now: datetime, chance: int) -> str:
    version, variant = 0b0111, 0b10
    number = version << 76 | chance >> 62 << 64 | variant << 62 | chance & (1 << 62) - 1
    return _instant(now) + _text(number, LENGTH - INSTANT_LENGTH)


@lru_cache(maxsize=16)
def _instant(now: datetime) -> str:
    """The first characters; the commands of a batch have them in common."""
    milliseconds = (now - _EPOCH) // timedelta(milliseconds=1)
    if milliseconds < 0:
        raise ValueError(f"{now.isoformat()} is before 1970 and has no sortable id.")
    return _text(milliseconds, INSTANT_LENGTH)


def _text(number: int, length: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * (length - 2), -1, -10)])
