"""Which rules must a log keep, whoever signed it, and what is known of it once it was verified?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from services.log.bundle import Bundle
from services.log.export import export
from services.log.folder import LogRefused, SignerFolder
from services.log.merkle import leaf_hash
from services.log.signer import sign_once
from services.log.snapshot import Snapshot
from services.log.streams import Differs
from services.log.verify import Verified, verify
from services.log.vouched import Brought, Known
from tests.services.log.grown import ORIGIN
from tests.tampering.history import Row, SignedLog, appointments, lived, parts_of, told, written

Change = Callable[[Row], Row]


def verified(log: SignedLog, *known: Known) -> Verified:
    with Snapshot(log.conninfo, log.folder) as snapshot:
        return verify(snapshot, Brought(checkpoints=known))


def test_a_log_that_nobody_touched_is_verified(signed_log: SignedLog) -> None:
    found, rows = verified(signed_log), signed_log.rows
    assert (found.size, found.signed_size, found.heads) == (len(rows), len(rows), len(signed_log.appends))
    assert sum(found.streams.values()) == len({row.stream for row in rows})
    assert found.tiles == len(rows) // 256 and found.checkpoints > 5
    assert found.keys == (str(signed_log.folder.verifier()),)


def test_an_export_is_verified_without_database_and_in_several_processes(signed_log: SignedLog, tmp_path: Path) -> None:
    with Snapshot(signed_log.conninfo, signed_log.folder) as snapshot:
        export(snapshot, tmp_path / "log.zip")
        live = verify(snapshot)
    for processes in (0, 2):
        with Bundle(tmp_path / "log.zip") as bundle:
            assert verify(bundle, Brought(signed_log.folder.verifier()), processes=processes) == replace(
                live, tiles=live.tiles + 2
            )  # the edges of two levels


def test_who_has_the_key_from_elsewhere_is_not_told_another(signed_log: SignedLog, tmp_path: Path) -> None:
    other = SignerFolder(tmp_path / "other", ORIGIN).verifier()
    with Snapshot(signed_log.conninfo, signed_log.folder) as snapshot:
        export(snapshot, tmp_path / "log.zip")
    with Bundle(tmp_path / "log.zip") as bundle, pytest.raises(Differs, match="no checkpoint is signed by"):
        verify(bundle, Brought(other))


def test_a_head_known_from_elsewhere_must_be_that_of_the_log(signed_log: SignedLog) -> None:
    rows = signed_log.rows
    with psycopg.connect(signed_log.conninfo) as conn:
        roots = dict(conn.execute("SELECT size, root FROM tree_head").fetchall())
    size = signed_log.appends[-1][0].position
    verified(signed_log, Known(size, roots[size], "the auditor"))
    with pytest.raises(Differs, match="not those that the auditor speaks of"):
        verified(signed_log, Known(size, roots[len(rows)], "the auditor"))
    with pytest.raises(Differs, match=f"the auditor speaks of {len(rows) + 1} records") as found:
        verified(signed_log, Known(len(rows) + 1, roots[size], "the auditor"))
    assert found.value.position == len(rows)


def test_a_signers_folder_that_was_put_back_is_refused(signed_log: SignedLog, tmp_path: Path) -> None:
    with (
        pytest.raises(LogRefused, match="the folder was put back"),
        Snapshot(signed_log.conninfo, SignerFolder(tmp_path / "empty", ORIGIN)),
    ):
        pass


def test_what_is_not_signed_yet_is_told(database: str, tmp_path: Path) -> None:
    appends, folder = lived("unsigned", 60), SignerFolder(tmp_path / "signer", ORIGIN)
    with psycopg.connect(database, autocommit=True) as conn:
        written(conn, appends[:20])
        sign_once(conn, folder)
        written(conn, appends[20:])
    with Snapshot(database, folder) as snapshot:
        found = verify(snapshot)
    assert found.signed_size == sum(map(len, appends[:20])) < found.size == sum(map(len, appends))


# What the writer would never write, and an insider may have had signed


def text(old: bytes, new: bytes) -> Change:
    """The record with other words, and the leaf that fits it."""

    def change(row: Row) -> Row:
        record = row.record.replace(old, new, 1)
        assert record != row.record
        return replace(row, record=record, leaf=leaf_hash(record))

    return change


NOON, BEFORE, AFTER = b"2028-04-19T12:00:00Z", b"2028-04-19T11:59:59Z", b"2028-04-19T12:00:01Z"
OCCURRED, RECORDED = b'"occurred":"%s"', b'"recorded":"%s"'
BROKEN: dict[str, tuple[Change, str]] = {
    "versions have no gaps": (
        lambda row: replace(text(b'"version":10', b'"version":66')(row), version=66),
        "version 9 of organization-assent is followed by 66",
    ),
    "a record knows its position": (text(b'"position":9', b'"position":10'), "stands at position 10"),
    "recorded never goes back": (
        lambda row: text(RECORDED % NOON, RECORDED % BEFORE)(text(OCCURRED % NOON, OCCURRED % BEFORE)(row)),
        "before the record in front of it",
    ),
    "nothing occurs after it was recorded": (text(OCCURRED % NOON, OCCURRED % AFTER), "after it was recorded"),
    "occurred never goes back": (text(OCCURRED % NOON, OCCURRED % BEFORE), "before the last event of organization-a"),
    "times have a zone": (text(OCCURRED % NOON, OCCURRED % NOON[:-1]), "a time of the record cannot be read"),
    "a cause comes first": (text(b'"cause":null', b'"cause":9'), "its cause is at position 9, which is not before it"),
    "an event has a name": (
        lambda row: replace(text(b"PersonAppointed", b"PersonKnighted")(row), type="PersonKnighted"),
        "No event is called 'PersonKnighted'",
    ),
    "a field has its type": (text(b'"role":"registrar"', b'"role":7'), "the record cannot be read: Expected `str`"),
    "no name comes twice": (text(b'"until"', b'"until":null,"until"'), "its data has a name twice"),
    "no field is passed over": (text(b'"until":null', b'"until":null,"pay":1'), "a field 'pay', which this program"),
    "nothing comes behind the data": (text(b'"until":null}', b'"until":null},"more":{}'), "cannot be read: Extra data"),
    "there is no space": (text(b'{"position"', b'{ "position"'), "its JSON is not as it is written"),
    "keys have their order": (
        text(b'"version":10,"type":"PersonAppointed"', b'"type":"PersonAppointed","version":10'),
        "its JSON is not as it is written",
    ),
    "a stream is of a kind": (
        lambda row: replace(
            text(b'"organization-assent","version":10', b'"planet-earth","version":1')(row),
            stream="planet-earth",
            version=1,
        ),
        "no kind of stream like that of planet-earth",
    ),
    "an event is of its stream": (
        lambda row: replace(
            text(b'"organization-assent","version":10', b'"request-assent","version":1')(row),
            stream="request-assent",
            version=1,
        ),
        "PersonAppointed is an event of organization, not of request",
    ),
    "a command bears its key": (
        lambda row: replace(row, command_key=None, fingerprint=None),
        "the command key is missing from which 01n",
    ),
    "a command has one key": (lambda row: replace(row, command_key=b"another"), "does not follow from its command key"),
    "a command has one fingerprint": (lambda row: replace(row, fingerprint=None), "does not follow from its command k"),
}


@pytest.mark.parametrize(("change", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_rule_that_is_broken_in_a_signed_log_is_named(
    change: Change, sentence: str, database: str, tmp_path: Path
) -> None:
    broken(database, tmp_path, sentence, lambda appends: change(appends[9][0]))


def test_a_command_counts_once(database: str, tmp_path: Path) -> None:
    """Told again under the key of an earlier one, with an id that follows from it."""

    def again(appends: list[list[Row]]) -> Row:
        row, earlier = appends[9][0], appends[3][0]
        old, new = parts_of(row.record).command, parts_of(earlier.record).command
        return replace(text(old, new)(row), command_key=earlier.command_key, fingerprint=earlier.fingerprint)

    broken(database, tmp_path, "its command key was used before", again)


def broken(database: str, folder: Path, sentence: str, change: Callable[[list[list[Row]]], Row]) -> None:
    """A log whose tenth record was changed before it was signed is refused there, in the database as in a file."""
    appends, signer = told(appointments(9)), SignerFolder(folder / "signer", ORIGIN)
    row = change(appends)
    appends[9] = [replace(row, command_key=None, fingerprint=None)]
    with psycopg.connect(database, autocommit=True) as conn:
        written(conn, appends)
        conn.execute("ALTER TABLE event DROP CONSTRAINT event_command_key_key")
        conn.execute("ALTER TABLE event DISABLE TRIGGER USER")
        conn.execute(
            "UPDATE event SET command_key = %s, fingerprint = %s WHERE position = 9", (row.command_key, row.fingerprint)
        )
        sign_once(conn, signer)
    with Snapshot(database, signer) as snapshot:
        export(snapshot, folder / "log.zip")
        with pytest.raises(Differs, match=sentence) as live:
            verify(snapshot)
    with Bundle(folder / "log.zip") as bundle, pytest.raises(Differs) as offline:
        verify(bundle)
    assert live.value.args == offline.value.args and live.value.position == 9
