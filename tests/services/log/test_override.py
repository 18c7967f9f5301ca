"""Can an operator have the service go on from another log than was signed, and never without leaving a trace?"""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from domain.log import LogKeyRotated, RollbackAccepted
from services.log import note, override
from services.log.folder import LogRefused, SignerFolder
from services.log.merkle import Frontier, leaf_hash
from services.log.note import Checkpoint
from services.log.override import Found, NotWhole, accept, survey
from services.log.schema import MAIN
from services.log.signer import check, recover, sign_once
from tests.services.log.grown import ORIGIN, append, as_superuser, grow, published, tell, tree


def cut(conn: Connection[Any], size: int) -> None:
    """As a backup of that size would be, made when everything up to there was signed."""
    tables = {"checkpoint": "size", "tree_head": "size", "event": "position + 1"}
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        for table, end in tables.items():
            conn.execute(f"DELETE FROM {table} WHERE {end} > %s", (size,))  # noqa: S608
        conn.execute("DELETE FROM tile WHERE (index + 1) << (8 * (level + 1)) > %s", (size,))


def signed_up_to(conn: Connection[Any], folder: SignerFolder, *sizes: int) -> None:
    for size in sizes:
        grow(conn, size - tree(conn).size)
        sign_once(conn, folder)


def surveyed(conn: Connection[Any], folder: SignerFolder) -> Found:
    found = survey(conn, folder)
    assert found is not None
    return found


def accepted(conn: Connection[Any], folder: SignerFolder) -> RollbackAccepted:
    return accept(folder, surveyed(conn, folder), "rosa", "The disk was lost")


def test_a_log_that_goes_on_from_what_was_signed_leaves_nothing_to_accept(
    conn: Connection[Any], folder: SignerFolder
) -> None:
    assert survey(conn, folder) is None
    signed_up_to(conn, folder, 3, 7)
    grow(conn, 2)
    assert survey(conn, folder) is None


def test_what_a_backup_lacks_is_said_by_position(conn: Connection[Any], folder: SignerFolder) -> None:
    signed_up_to(conn, folder, 5, 9)
    root = tree(conn).root()
    cut(conn, 5)
    found = surveyed(conn, folder)
    assert (found.size, found.agreed_size, found.differs_by) == (5, 5, 5), "its own checkpoint tells that all five are"
    assert found.signed is not None and (found.signed.size, found.signed.root) == (9, root)
    assert "holds 5 records, but 9 were signed" in found.why


@pytest.mark.parametrize(
    ("changed", "agreed_size", "differs_by"),
    [(0, 0, 7), (7, 0, 7), (8, 8, 11), (11, 8, 11), (12, 12, 12)],
)
def test_where_another_log_begins_to_differ_is_told_by_the_edge_of_the_signed_tree(
    conn: Connection[Any], folder: SignerFolder, changed: int, agreed_size: int, differs_by: int
) -> None:
    """13 records are subtrees of 8, 4 and 1."""
    signed_up_to(conn, folder, 13)
    cut(conn, 0)
    records = [f"record {position}".encode() for position in range(13)]
    records[changed] = b"other"
    append(conn, records)
    found = surveyed(conn, folder)
    assert (found.size, found.agreed_size, found.differs_by) == (13, agreed_size, differs_by)


def test_a_backup_that_grew_another_way_agrees_up_to_its_last_checkpoint_of_ours(
    conn: Connection[Any], folder: SignerFolder
) -> None:
    signed_up_to(conn, folder, 5, 6, 11)
    cut(conn, 6)
    grow(conn, 20, "other")
    found = surveyed(conn, folder)
    assert (found.size, found.agreed_size, found.differs_by) == (26, 6, 7)


def test_a_checkpoint_of_a_stranger_tells_nothing(conn: Connection[Any], folder: SignerFolder, tmp_path: Path) -> None:
    signed_up_to(conn, folder, 13)
    cut(conn, 0)
    grow(conn, 5, "other")
    sign_once(conn, SignerFolder(tmp_path / "other", ORIGIN))
    found = surveyed(conn, folder)
    assert (found.size, found.agreed_size, found.differs_by) == (5, 0, 5)


def test_what_was_given_up_once_tells_nothing_of_what_was_signed_since(
    conn: Connection[Any], folder: SignerFolder
) -> None:
    """The lost database is found after all: its checkpoints are ours, but not of the log that we went on from."""
    signed_up_to(conn, folder, 3, 5, 6)
    cut(conn, 3)
    tell(conn, accepted(conn, folder))
    sign_once(conn, folder)
    grow(conn, 9, "since")
    sign_once(conn, folder)
    cut(conn, 0)
    grow(conn, 3)
    grow(conn, 2)
    text = folder.evidence()[0].gave_up
    assert text is not None
    conn.execute("INSERT INTO checkpoint VALUES (5, %s)", (str(_signed(folder, conn)),))
    assert surveyed(conn, folder).agreed_size <= 3


def _signed(folder: SignerFolder, conn: Connection[Any]) -> note.Note:
    """A checkpoint of ours, as it was published before the rollback."""
    edge = tree(conn)
    text = str(Checkpoint(ORIGIN, edge.size, edge.root()))
    return note.sign(text, ORIGIN, folder.key(str(folder.verifier())))


# What is accepted


def test_what_was_given_up_stays_as_evidence_and_the_next_record_tells_of_it(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    signed_up_to(conn, folder, 5, 9)
    given_up = folder.signed()
    assert given_up is not None
    cut(conn, 5)
    edge = tree(conn)
    event = accepted(conn, folder)
    assert event == RollbackAccepted(
        9, b64encode(given_up.root).decode(), given_up.note, 5, b64encode(edge.root()).decode(), 5,
        str(folder.verifier()), "rosa", "The disk was lost",
    )  # fmt: skip
    (evidence,) = folder.evidence()
    assert (evidence.gave_up, evidence.accepted) == (given_up, event)
    assert oct((tmp_path / "signer" / "overrides.jsonl").stat().st_mode & 0o777) == "0o600"
    check(conn, folder)
    recover(conn, folder)
    assert not sign_once(conn, folder), "nothing is new"
    tell(conn, event)
    assert sign_once(conn, folder)
    grow(conn, 1)
    assert sign_once(conn, folder)
    assert published(conn) == [5, 6, 7]
    check(conn, folder)
    signed = folder.signed()
    assert signed is not None and signed.accepted is None


def test_every_override_stays_in_the_file(conn: Connection[Any], folder: SignerFolder) -> None:
    events = []
    for size in (4, 3, 2):
        signed_up_to(conn, folder, 2, 3, 4, 9)
        cut(conn, size)
        events.append(accepted(conn, folder))
        tell(conn, events[-1])
        sign_once(conn, folder)
    assert [each.accepted for each in folder.evidence()] == events
    assert [each.gave_up.size for each in folder.evidence() if each.gave_up] == [9, 9, 9]


def test_an_empty_database_may_be_gone_on_from(conn: Connection[Any], folder: SignerFolder) -> None:
    signed_up_to(conn, folder, 3)
    cut(conn, 0)
    event = accepted(conn, folder)
    check(conn, folder)
    assert not sign_once(conn, folder)
    tell(conn, event)
    assert sign_once(conn, folder)
    assert published(conn) == [1]


def test_a_folder_that_was_put_back_may_be_gone_on_from(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    signed_up_to(conn, folder, 3)
    old = (tmp_path / "signer" / "signed.json").read_bytes()
    signed_up_to(conn, folder, 5)
    (tmp_path / "signer" / "signed.json").write_bytes(old)
    found = surveyed(conn, folder)
    assert (found.agreed_size, found.differs_by) == (3, None), "nothing is known to be given up"
    tell(conn, accept(folder, found, "rosa", "The folder was lost"))
    assert sign_once(conn, folder)
    assert published(conn) == [3, 5, 6]


def test_a_folder_that_lost_its_key_goes_on_with_a_new_one(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    signed_up_to(conn, folder, 3)
    lost = folder.verifier()
    (tmp_path / "signer" / "log.key").unlink()
    grow(conn, 1)
    found = survey(conn, folder)
    assert found is not None
    event = accept(folder, found, "rosa", "The key was lost")
    assert event.key != str(lost)
    tell(conn, event)
    assert sign_once(conn, folder)
    row = conn.execute("SELECT note FROM checkpoint ORDER BY size DESC").fetchone()
    assert row is not None and note.parse(row[0]).verified_by(folder.verifier())
    assert str(folder.verifier()) == event.key


def test_a_lost_folder_may_be_gone_on_from_with_a_key_of_its_own(
    conn: Connection[Any], folder: SignerFolder, tmp_path: Path
) -> None:
    signed_up_to(conn, folder, 3)
    other = SignerFolder(tmp_path / "other", ORIGIN)
    found = surveyed(conn, other)
    assert (found.signed, found.agreed_size) == (None, 0)
    tell(conn, accept(other, found, "rosa", "The folder was lost"))
    assert sign_once(conn, other)
    check(conn, other)
    with pytest.raises(LogRefused, match="another key"):
        check(conn, folder)


def test_a_rollback_past_a_rotation_goes_on_with_the_new_key(conn: Connection[Any], folder: SignerFolder) -> None:
    signed_up_to(conn, folder, 3)
    old, new = folder.verifier(), folder.next()
    tell(conn, LogKeyRotated(str(new), str(old), "It is time"))
    sign_once(conn, folder)
    cut(conn, 3)
    event = accepted(conn, folder)
    assert event.key == str(new)
    tell(conn, event)
    sign_once(conn, folder)
    row = conn.execute("SELECT note FROM checkpoint WHERE size = 4").fetchone()
    assert row is not None and note.parse(row[0]).verified_by(new) and not note.parse(row[0]).verified_by(old)


# A database that contradicts itself has no log to go on from


def forge_record(conn: Connection[Any]) -> None:
    as_superuser(conn, "UPDATE event SET record = 'forged' WHERE position = 2")


def forge_record_and_leaf(conn: Connection[Any]) -> None:
    as_superuser(conn, "UPDATE event SET record = 'forged', leaf = %s WHERE position = 2", leaf_hash(b"forged"))


def forge_head(conn: Connection[Any]) -> None:
    as_superuser(conn, "UPDATE tree_head SET root = %s WHERE size = 600", b"\1" * 32)


def forge_tile(conn: Connection[Any]) -> None:
    as_superuser(conn, "UPDATE tile SET hashes = %s WHERE index = 1", b"\1" * 510 * 32)


def lose_a_record(conn: Connection[Any]) -> None:
    as_superuser(conn, "DELETE FROM event WHERE position = 300")


def lose_the_end(conn: Connection[Any]) -> None:
    as_superuser(conn, "DELETE FROM event WHERE position = 599")


def lose_records_and_heads(conn: Connection[Any]) -> None:
    as_superuser(conn, "DELETE FROM event WHERE position >= 2")
    as_superuser(conn, "DELETE FROM tree_head WHERE size > 2")


@pytest.mark.parametrize(
    ("forge", "what"),
    [(forge_record, "record at position 2 was edited"), (forge_record_and_leaf, "tile 0 of level 0 differs"),
     (forge_head, "not those of its head"), (forge_tile, "tile 1 of level 0 differs"),
     (lose_a_record, "position 300 is missing"), (lose_the_end, "not those of its head"),
     (lose_records_and_heads, "checkpoints or tiles of more")],
)  # fmt: skip
def test_a_database_that_contradicts_itself_is_not_accepted(
    conn: Connection[Any], folder: SignerFolder, forge: Callable[[Connection[Any]], None], what: str
) -> None:
    signed_up_to(conn, folder, 2, 600)
    forge(conn)
    signed = folder.signed()
    assert signed is not None
    folder.keep(replace(signed, size=1000))  # so that there is something to accept
    with pytest.raises(NotWhole, match=what):
        survey(conn, folder)


def folder_path(folder: SignerFolder) -> Path:
    return folder._folder


# What the signer makes of it


def test_a_rollback_that_no_operator_accepted_is_not_signed(conn: Connection[Any], folder: SignerFolder) -> None:
    signed_up_to(conn, folder, 3)
    tell(conn, RollbackAccepted(9, "r", "n", 3, "r", 3, str(folder.verifier()), "mallory", "Trust me"))
    with pytest.raises(LogRefused, match="no operator has accepted"):
        sign_once(conn, folder)


def test_an_accepted_log_to_which_something_else_was_appended_first_is_not_signed(
    conn: Connection[Any], folder: SignerFolder
) -> None:
    signed_up_to(conn, folder, 3, 5)
    cut(conn, 3)
    event = accepted(conn, folder)
    grow(conn, 1)
    tell(conn, event)
    with pytest.raises(LogRefused, match="something else was appended first"):
        sign_once(conn, folder)
    assert accept(folder, surveyed(conn, folder), "rosa", "Again").found_size == 5


def test_an_accepted_log_must_go_on_from_there_too(conn: Connection[Any], folder: SignerFolder) -> None:
    signed_up_to(conn, folder, 2, 3, 5)
    cut(conn, 3)
    accepted(conn, folder)
    cut(conn, 2)
    append(conn, [b"other"])
    grow(conn, 1)
    with pytest.raises(LogRefused, match="not those that were signed"):
        check(conn, folder)


class Crash(Exception):
    pass


def crash(*_: Any, **__: Any) -> None:
    raise Crash


@pytest.mark.parametrize("step", ["os.fsync", "services.log.folder.SignerFolder.keep", "pathlib.Path.replace"])
def test_an_override_that_was_cut_short_is_given_again(
    conn: Connection[Any], folder: SignerFolder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    signed_up_to(conn, folder, 3, 5)
    before = folder.signed()
    cut(conn, 3)
    with monkeypatch.context() as broken, pytest.raises(Crash):
        broken.setattr(step, crash)
        accepted(conn, folder)
    assert folder.signed() == before
    event = accepted(conn, folder)
    assert folder.evidence()[-1].accepted == event
    tell(conn, event)
    assert sign_once(conn, folder)


def test_a_file_of_what_was_signed_that_cannot_be_read_is_refused_and_may_be_moved_away(
    conn: Connection[Any], folder: SignerFolder
) -> None:
    signed_up_to(conn, folder, 3)
    file = folder_path(folder) / "signed.json"
    file.write_text('{"size":')
    for act in (check, survey, sign_once):
        with pytest.raises(LogRefused, match="move it away"):
            act(conn, folder)
    file.unlink()
    with pytest.raises(LogRefused, match="knows only of none"):
        check(conn, folder)
    tell(conn, accepted(conn, folder))
    assert sign_once(conn, folder)


def test_half_a_line_of_evidence_is_passed_over(folder: SignerFolder, conn: Connection[Any]) -> None:
    signed_up_to(conn, folder, 3, 5)
    cut(conn, 3)
    (folder_path(folder) / "overrides.jsonl").write_text('{"at":"2026-07-0')
    event = accepted(conn, folder)
    assert [each.accepted for each in folder.evidence()] == [event]


# At a terminal


def told(capsys: pytest.CaptureFixture[str], database: str, folder: SignerFolder, **given: Any) -> tuple[int, str]:
    asked = {"operator": "rosa", "reason": "The disk was lost", "accepted": None, "as_json": False, **given}
    code = override.command(database, MAIN, folder, **asked)
    return code, capsys.readouterr().out


@pytest.fixture
def restored(database: str, folder: SignerFolder) -> str:
    """A database from a backup of 5 records, where 9 were signed; nobody is connected."""
    with psycopg.connect(database, autocommit=True) as conn:
        signed_up_to(conn, folder, 5, 9)
        cut(conn, 5)
    return database


def test_an_operator_sees_what_would_be_given_up_and_names_the_log_to_go_on_from(
    restored: str, folder: SignerFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = told(capsys, restored, folder)
    assert code == 1
    assert "9 records, root " in text and "5 records, root " in text and "position 5" in text
    name = text.split("--accept ")[1].split()[0]
    assert folder.evidence() == []
    assert told(capsys, restored, folder, accepted=f"4/{name.partition('/')[2]}")[0] == 1, "another size"
    assert told(capsys, restored, folder, accepted="5/" + b64encode(bytes(32)).decode())[0] == 1, "another root"
    assert folder.evidence() == []
    code, text = told(capsys, restored, folder, accepted=name)
    assert code == 0 and "goes on from 5 records" in text
    code, text = told(capsys, restored, folder, accepted=name)
    assert code == 1 and "nothing to accept" in text
    assert len(folder.evidence()) == 1


def test_the_same_as_json(restored: str, folder: SignerFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(capsys, restored, folder, as_json=True)
    found = json.loads(text)
    assert (code, found["accepted"], found["signed"]["size"], found["found"]["size"]) == (1, None, 9, 5)
    assert found["signed"]["note"] == folder.signed().note  # type: ignore[union-attr]
    code, text = told(capsys, restored, folder, as_json=True, accepted=found["accept"])
    assert (code, json.loads(text)["accepted"]) == (0, found["accept"])


def test_nothing_is_accepted_while_somebody_is_connected_or_signs(
    restored: str, folder: SignerFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(restored), pytest.raises(LogRefused, match="Stop the service"):
        told(capsys, restored, folder)
    with folder.held(), pytest.raises(LogRefused, match="Stop the service"):
        told(capsys, restored, folder)
    assert told(capsys, restored, folder)[0] == 1


@pytest.mark.parametrize("reason", [None, "", "x" * 10_001])
def test_nothing_is_accepted_without_a_reason(
    restored: str, folder: SignerFolder, capsys: pytest.CaptureFixture[str], reason: str | None
) -> None:
    name = told(capsys, restored, folder)[1].split("--accept ")[1].split()[0]
    with pytest.raises(LogRefused, match="reason"):
        told(capsys, restored, folder, accepted=name, reason=reason)
    assert folder.evidence() == []


def test_a_name_holds_the_root_of_what_there_is(restored: str, folder: SignerFolder) -> None:
    edge = Frontier()
    edge.extend(leaf_hash(f"record {position}".encode()) for position in range(5))
    with psycopg.connect(restored, autocommit=True) as conn:
        assert surveyed(conn, folder).name == f"5/{b64encode(edge.root()).decode()}"
