"""How do requests, grants and directives get ids that are unique and sort by the time they were made?"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from services.chance import CHUNK_BYTES, chunk

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
INSTANT_LENGTH = 10
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]
_FIVE_BITS = "".join([ALPHABET[byte & 31] for byte in range(256)]).encode()
"""What a random byte becomes: 16 of them are the 80 bits behind the milliseconds, five to a character."""
_VERSION = {drawn: ALPHABET[0b01110 | bits & 0b00001] for bits, drawn in enumerate(ALPHABET)}
_VARIANT = {drawn: ALPHABET[0b01000 | bits & 0b10011] for bits, drawn in enumerate(ALPHABET)}
"""The first and the fourth of those characters with the bits that RFC 9562 fixes."""
_OF_KEY = {drawn: ALPHABET[0b10000 | bits & 0b00001] for bits, drawn in enumerate(ALPHABET)}
"""The first one of what is not random: version 8."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(now: datetime) -> str:
    """26 lower-case characters: a UUIDv7 (RFC 9562: 48 bits of milliseconds, 74 random ones) in Crockford's base 32.

    Ids of different milliseconds sort by time, ids of the same one at random. `now` is aware; ValueError before 1970.
    """
    drawn = chunk().translate(_FIVE_BITS).decode()
    return f"{_instant(now)}{_VERSION[drawn[0]]}{drawn[1:3]}{_VARIANT[drawn[3]]}{drawn[4:]}"


def seeded_id(instant: datetime, seed: bytes, nth: int) -> str:
    """The nth id that follows from a seed, and always the same: for what may have to be told twice."""
    digest = sha256(seed + nth.to_bytes(4)).digest()
    chance = int.from_bytes(digest) & (1 << 74) - 1
    version, variant = 0b0111, 0b10
    number = version << 76 | chance >> 62 << 64 | variant << 62 | chance & (1 << 62) - 1
    return _instant(instant) + _text(number, LENGTH - INSTANT_LENGTH)


def keyed_id(now: datetime, key: bytes, fingerprint: bytes | None) -> str:
    """The id of a command that came under a key: a UUIDv8 that follows from key and fingerprint, and so proves them."""
    return _instant(now) + _of_key(key, fingerprint)


def is_keyed(id: str) -> bool:
    """Whether the id follows from a command key."""
    return len(id) == LENGTH and id[INSTANT_LENGTH] in _OF_KEY.values()


def is_keyed_by(id: str, key: bytes, fingerprint: bytes | None) -> bool:
    """Whether the id follows from that command key and fingerprint."""
    return id[INSTANT_LENGTH:] == _of_key(key, fingerprint)


def _of_key(key: bytes, fingerprint: bytes | None) -> str:
    drawn = sha256(key + (fingerprint or b"")).digest()[:CHUNK_BYTES].translate(_FIVE_BITS).decode()
    return f"{_OF_KEY[drawn[0]]}{drawn[1:3]}{_VARIANT[drawn[3]]}{drawn[4:]}"


@lru_cache(maxsize=16)
def _instant(now: datetime) -> str:
    """The first characters; the commands of a batch have them in common."""
    milliseconds = (now - _EPOCH) // timedelta(milliseconds=1)
    if milliseconds < 0:
        raise ValueError(f"{now.isoformat()} is before 1970 and has no sortable id.")
    return _text(milliseconds, INSTANT_LENGTH)


def _text(number: int, length: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * (length - 2), -1, -10)])
