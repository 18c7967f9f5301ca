"""Is every edit found that somebody with the whole database in their hands makes to a signed log, and named right?

A history of some two thousand events on a Postgres of its own, with its signer and a witness. Edits of every kind take
turns (tests/tampering/edits.py); each is made as superuser past the triggers, looked for by `log verify`, and undone.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import psycopg

from services.assent import MIGRATIONS
from services.log.folder import SignerFolder
from services.log.snapshot import Snapshot
from services.log.streams import Differs
from services.log.verify import verify
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from services.settings import Settings
from tests.benchmarks.report import Report, Unmeasured, progress
from tests.tampering.edits import EDITS, Hand, edited, read_log, undo
from tests.tampering.history import WITNESS, SignedLog, lived, signed

WORLD_STEPS = 2_500
CHECKPOINT_RECORDS = 50
BETWEEN_CONTROLS = 100
"""After so many edits, the log as it was is verified again: what was undone must be found right."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--edits", type=int, default=1_000, help="how many (1000)")
    parser.add_argument("--seed", default="tamper", help="the same seed makes the same edits")


def run(options: argparse.Namespace) -> Report:
    """Raises Unmeasured where the log is not verified before an edit, or after it was undone."""
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name, EmbeddedPostgres(Path(name, "data")) as conninfo:
        migrate(conninfo, MIGRATIONS)
        folder = SignerFolder(Path(name, "signer"), Settings().origin)
        log = signed(conninfo, folder, lived(options.seed, WORLD_STEPS), CHECKPOINT_RECORDS)
        with psycopg.connect(conninfo, autocommit=True) as conn:
            return _tampered(log, Hand(conn, read_log(conn), Random(options.seed)), options.edits)


def _tampered(log: SignedLog, hand: Hand, edits: int) -> Report:
    made, detected, named_right = Counter[str](), Counter[str](), Counter[str]()
    missed = []
    seconds = 0.0
    for nth in range(edits):
        if nth % BETWEEN_CONTROLS == 0:
            progress(f"{nth} of {edits} edits")
            _control(log)
        edit = EDITS[nth % len(EDITS)]
        expected = edited(hand, edit)
        began = time.perf_counter()
        differs = difference(log)
        seconds += time.perf_counter() - began
        undo(hand.conn)
        made[edit.__name__] += 1
        detected[edit.__name__] += differs is not None
        named_right[edit.__name__] += differs is not None and differs.position == expected
        if differs is None or differs.position != expected:
            missed.append(f"edit {nth}, {edit.__name__} at position {expected}: {differs}")
    _control(log)
    kinds = {kind: {"edits": made[kind], "detected": detected[kind], "named_right": named_right[kind]} for kind in made}
    return Report(
        figures={
            "events": hand.log.size,
            "edits": made.total(),
            "detected": detected.total(),
            "named_right": named_right.total(),
            "seconds_a_verification": round(seconds / max(1, edits), 3),
            "kinds": kinds,
        }
        | ({"missed": missed} if missed else {}),
        holds=not missed,
    )


def difference(log: SignedLog) -> Differs | None:
    """What `log verify` finds."""
    try:
        with Snapshot(log.conninfo, log.folder, [WITNESS]) as snapshot:
            verify(snapshot)
    except Differs as differs:
        return differs
    return None


def _control(log: SignedLog) -> None:
    if (differs := difference(log)) is not None:
        raise Unmeasured(f"The log differs although no edit is left in it: {differs}")
