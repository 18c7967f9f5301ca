"""Does verification name the first position that somebody with the whole database in their hands has touched?"""

from collections.abc import Iterator
from random import Random

import psycopg
import pytest

from services.log.snapshot import Snapshot
from services.log.streams import Differs
from services.log.verify import verify
from tests.tampering.edits import EDITS, Edit, Hand, edited, read_log, undo
from tests.tampering.history import WITNESS, SignedLog


@pytest.fixture(scope="module")
def hand(signed_log: SignedLog) -> Iterator[Hand]:
    with psycopg.connect(signed_log.conninfo, autocommit=True) as conn:
        yield Hand(conn, read_log(conn), Random("tampering"))


def look(log: SignedLog) -> Snapshot:
    return Snapshot(log.conninfo, log.folder, [WITNESS])


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_is_found_and_its_position_is_named(edit: Edit, signed_log: SignedLog, hand: Hand) -> None:
    for _ in range(5):
        expected = edited(hand, edit)
        try:
            with (
                Snapshot(signed_log.conninfo, signed_log.folder, [WITNESS]) as snapshot,
                pytest.raises(Differs) as found,
            ):
                verify(snapshot)
        finally:
            undo(hand.conn)
        assert found.value.position == expected, found.value
    with look(signed_log) as snapshot:
        assert verify(snapshot).size == hand.log.size
