"""How do requests, grants and directives get ids that are unique and sort by the time they were made?"""

import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(now: datetime) -> str:
    """26 lower-case characters: a UUIDv7 (RFC 9562: 48 bits of milliseconds, 74 random ones) in Crockford's base 32.

    Ids of different milliseconds sort by time, ids of the same one at random. `now` is aware; ValueError before 1970.
    """
    return _written(now, secrets.randbits(74))


def seeded_id(instant: datetime, seed: bytes, nth: int) -> str:
    """The nth id that follows from a seed, and always the same: for what may have to be told twice."""
    digest = sha256(seed + nth.to_bytes(4)).digest()
    return _written(instant, int.from_bytes(digest) & (1 << 74) - 1)


def _written(now: datetime, chance: int) -> str:
    milliseconds = (now - _EPOCH) // timedelta(milliseconds=1)
    if milliseconds < 0:
        raise ValueError(f"{now.isoformat()} is before 1970 and has no sortable id.")
    version, variant = 0b0111, 0b10
    number = milliseconds << 80 | version << 76 | chance >> 62 << 64 | variant << 62 | chance & (1 << 62) - 1
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))
