"""Where do ids and salts take their randomness from, without asking the system for each of them?"""

import os
from collections import deque

CHUNK_BYTES = 16
_CHUNKS = 512
_fresh: deque[bytes] = deque()


def chunk() -> bytes:
    """16 bytes of the system's generator, which nobody else was given. From any thread."""
    try:
        return _fresh.pop()
    except IndexError:
        drawn = os.urandom(_CHUNKS * CHUNK_BYTES)
        _fresh.extend(drawn[at : at + CHUNK_BYTES] for at in range(CHUNK_BYTES, len(drawn), CHUNK_BYTES))
        return drawn[:CHUNK_BYTES]
