"""How much of a command's processor time do the tree of hashes and the receipts take?

What the writer does for them is done again, with its own functions, over the very records and batches of a load.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import msgspec
import psycopg

from domain.facts import Fact
from services.log.merkle import Frontier, leaf_hash
from services.log.record import read
from services.log.writer import Settled

REPETITIONS = 5

Batch = tuple[list[bytes], list[Fact]]
"""The records of one append, as they were hashed and as the writer knew them."""


def us_a_command(conninfo: str, start: int, end: int) -> float:
    """Microseconds of processor time for each record from the size `start` up to `end`, which are sizes of heads."""
    with psycopg.connect(conninfo) as conn:
        heads = conn.execute(
            "SELECT size, frontier FROM tree_head WHERE size BETWEEN %s AND %s ORDER BY size", (start, end)
        )
        sizes, edges = zip(*heads.fetchall(), strict=True)
        rows = conn.execute(
            "SELECT record FROM event WHERE position >= %s AND position < %s ORDER BY position", (start, end)
        )
        records = [record for (record,) in rows]
    facts = [read(record) for record in records]
    batches = [(records[one - start : two - start], facts[one - start : two - start]) for one, two in pairwise(sizes)]
    return median(_seconds(Frontier(start, edges[0]), batches) for _ in range(REPETITIONS)) / (end - start) * 1e6


def _seconds(frontier: Frontier, batches: Sequence[Batch]) -> float:
    encode = msgspec.json.Encoder().encode
    began = time.thread_time()
    for records, facts in batches:
        leaves = [leaf_hash(record) for record in records]
        frontier = frontier.copy()
        frontier.extend(leaves)
        frontier.root(), bytes(frontier)
        for fact, leaf in zip(facts, leaves, strict=True):
            encode(Settled([fact], [leaf], frontier.size).receipt())
    return time.thread_time() - began
