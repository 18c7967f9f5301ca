"""How do requests, grants and directives get ids that are unique and sort by the time they were made?"""

import secrets
from datetime import UTC, datetime, timedelta

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(now: datetime) -> str:
    """26 lower-case characters: a UUIDv7 (RFC 9562: 48 bits of milliseconds, 74 random ones) in Crockford's base 32.

    Ids of different milliseconds sort by time, ids of the same one at random. `now` is aware; ValueError before 1970.
    """
    milliseconds = (now - _EPOCH) // timedelta(milliseconds=1)
    if milliseconds < 0:
        raise ValueError(f"{now.isoformat()} is before 1970 and has no sortable id.")
    version, variant = 0b0111, 0b10
    number = milliseconds << 80 | version << 76 | secrets.randbits(12) << 64 | variant << 62 | secrets.randbits(62)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))
