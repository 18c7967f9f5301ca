"""Does a witness cosign a log that only grew, and nothing else, whatever happens to it in between?"""

import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.log import note
from services.log.merkle import EMPTY_ROOT
from services.log.note import Checkpoint, Verifier
from services.log.submission import Submission
from services.witness import NotCosigned, Witness, WitnessFolder, WitnessUnable
from tests.services.dying_witness import MOMENTS
from tests.services.witnessing import NAME, ORIGIN, ROOT, PaperLog, witness_process

NOW = 1_700_000_000


@pytest.fixture
def log() -> PaperLog:
    return PaperLog(keys=2)


@pytest.fixture
def folder(tmp_path: Path) -> WitnessFolder:
    return WitnessFolder(tmp_path / "witness")


@pytest.fixture
def witness(folder: WitnessFolder, log: PaperLog) -> Witness:
    return Witness(folder, NAME, log.verifiers, lambda: NOW)


def verified(witness: Verifier, text: str, line: str) -> bool:
    (signature,) = note.signatures_of(line)
    return note.Note(text, (signature,)).verified_by(witness)


def refused(witness: Witness, body: bytes) -> tuple[int, str]:
    with pytest.raises(NotCosigned) as refusal:
        witness.add_checkpoint(body)
    return refusal.value.status, refusal.value.body


# What it signs


def test_a_log_that_only_grew_is_cosigned(witness: Witness, log: PaperLog) -> None:
    for old, size in ((0, 3), (3, 3), (3, 8), (8, 21), (21, 64)):
        line = witness.add_checkpoint(log.submission(old, size))
        assert verified(witness.verifier, log.note(size).text, line)
        assert not verified(witness.verifier, log.note(size - 1).text, line)


def test_a_cosignature_is_the_signature_that_the_specification_describes(witness: Witness, log: PaperLog) -> None:
    line = witness.add_checkpoint(log.submission(0, 3))
    (signature,) = note.signatures_of(line)
    assert line == f"— {NAME} {b64encode(signature.key_id + signature.signature).decode()}\n"
    assert len(signature.signature) == 72 and signature.signature[:8] == NOW.to_bytes(8, "big")
    message = f"cosignature/v1\ntime {NOW}\n{ORIGIN}\n3\n{b64encode(log.root(3)).decode()}\n"
    Ed25519PublicKey.from_public_bytes(witness.verifier.public).verify(signature.signature[8:], message.encode())


def test_a_log_may_change_its_key(witness: Witness, log: PaperLog) -> None:
    witness.add_checkpoint(log.submission(0, 3, key=0))
    witness.add_checkpoint(log.submission(3, 5, key=1))
    both = note.Note(log.note(6).text, log.note(6, 0).signatures + log.note(6, 1).signatures)
    witness.add_checkpoint(str(Submission(5, log.proof(5, 6), both)).encode())


def test_of_each_log_it_knows_the_last_head(folder: WitnessFolder, log: PaperLog) -> None:
    other = PaperLog("other.localhost/log")
    witness = Witness(folder, NAME, (*log.verifiers, *other.verifiers), lambda: NOW)
    witness.add_checkpoint(log.submission(0, 3))
    witness.add_checkpoint(other.submission(0, 9))
    assert refused(witness, log.submission(0, 5)) == (409, "3\n")
    assert refused(witness, other.submission(0, 10)) == (409, "9\n")


def test_time_never_goes_back_in_what_it_signs(folder: WitnessFolder, log: PaperLog) -> None:
    for now, size, signed in ((NOW, 3, NOW), (NOW - 100, 5, NOW), (NOW + 1, 6, NOW + 1)):
        witness = Witness(folder, NAME, log.verifiers, lambda now=now: now)  # type: ignore[misc]
        old = int(refused(witness, log.submission(1, size))[1])
        (line,) = note.signatures_of(witness.add_checkpoint(log.submission(old, size)))
        assert int.from_bytes(line.signature[:8], "big") == signed


# What it refuses


def test_a_log_that_it_does_not_know_is_not_found(witness: Witness) -> None:
    assert refused(witness, PaperLog("other.localhost/log").submission(0, 3))[0] == 404


def test_what_the_log_did_not_sign_is_forbidden(witness: Witness, log: PaperLog) -> None:
    stranger = PaperLog()
    assert refused(witness, stranger.submission(0, 3))[0] == 403
    assert refused(witness, log.submission(0, 3).replace(b"\n3\n", b"\n4\n"))[0] == 403


def test_a_wrong_signature_is_not_mended_by_a_right_one(witness: Witness, log: PaperLog) -> None:
    mixed = note.Note(log.note(3).text, log.note(3, 0).signatures + log.note(4, 1).signatures)
    assert refused(witness, str(Submission(0, [], mixed)).encode())[0] == 403


def test_signatures_of_strangers_are_ignored(witness: Witness, log: PaperLog) -> None:
    mixed = note.Note(log.note(3).text, log.note(3).signatures + PaperLog("x").note(3).signatures)
    witness.add_checkpoint(str(Submission(0, [], mixed)).encode())


def test_another_old_size_is_answered_with_the_size_it_knows(witness: Witness, log: PaperLog) -> None:
    assert refused(witness, log.submission(2, 3)) == (409, "0\n")
    witness.add_checkpoint(log.submission(0, 5))
    for old, size in ((0, 8), (3, 8), (6, 8), (4, 5), (0, 4), (4, 4)):
        assert refused(witness, log.submission(old, size)) == (409, "5\n")


def test_an_old_size_above_the_checkpoint_is_malformed(witness: Witness, log: PaperLog) -> None:
    witness.add_checkpoint(log.submission(0, 5))
    assert refused(witness, log.submission(5, 4))[0] == 400


def test_a_log_that_forked_gets_no_cosignature(witness: Witness, log: PaperLog) -> None:
    witness.add_checkpoint(log.submission(0, 5))
    fork = log.forked(4)
    assert refused(witness, fork.submission(5, 5))[0] == 409
    assert refused(witness, fork.submission(5, 8))[0] == 422
    witness.add_checkpoint(log.submission(5, 8))


def test_a_wrong_proof_gets_no_cosignature(witness: Witness, log: PaperLog) -> None:
    witness.add_checkpoint(log.submission(0, 5))
    good = log.proof(5, 8)
    for proof in ([], good[1:], good[:-1], [*good, EMPTY_ROOT], [EMPTY_ROOT, *good], good[::-1]):
        assert refused(witness, str(Submission(5, proof, log.note(8))).encode())[0] == 422
    assert refused(witness, str(Submission(5, good[:1], log.note(5))).encode())[0] == 422
    witness.add_checkpoint(log.submission(5, 8))


def test_from_nothing_nothing_is_proved(witness: Witness, log: PaperLog) -> None:
    assert refused(witness, str(Submission(0, [EMPTY_ROOT], log.note(3))).encode())[0] == 422


def test_the_empty_log_has_one_root(witness: Witness, log: PaperLog) -> None:
    forged = note.sign(str(Checkpoint(ORIGIN, 0, bytes(32))), ORIGIN, log.keys[0])
    assert refused(witness, str(Submission(0, [], forged)).encode())[0] == 409
    witness.add_checkpoint(log.submission(0, 0))


LINE = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("old 0\n", ""), ("old 0\n", "old 00\n"), ("old 0\n", "old -1\n"), ("old 0\n", "old  0\n"), ("old 0\n", "new 0\n"),
     ("old 0\n", "old 0 \n"), ("old 0\n", "old 0\r\n"), ("old 0\n", "old ٠\n"), ("old 0\n", "old 1e3\n"),
     ("old 0\n", f"old {'9' * 30}\n"), ("old 0\n", "old 0\nAAAA\n"), ("old 0\n", "old 0\n!\n"),
     ("old 0\n", f"old 0\n{LINE[:-2]}B=\n"), ("old 0\n", f"old 0\n{LINE} \n"), ("old 0\n", "old 0\né\n"),
     ("old 0\n", "old 0\n" + f"{LINE}\n" * 64), ("old 0\n\n", "old 0\n"), ("\n3\n", "\n03\n"), ("\n3\n", "\n\n"),
     ("\n3\n", f"\n{'9' * 5000}\n"), ("—", "-"), (ORIGIN, ""), (ORIGIN, "a\x00b"), ("\n\n—", "\n—")],
)  # fmt: skip
def test_what_is_malformed_is_said_to_be(witness: Witness, log: PaperLog, right: str, wrong: str) -> None:
    body = log.submission(0, 3).decode()
    assert right in body
    assert refused(witness, body.replace(right, wrong, 1).encode())[0] == 400
    witness.add_checkpoint(body.encode())


def test_bytes_that_are_no_text_are_malformed(witness: Witness, log: PaperLog) -> None:
    assert refused(witness, b"\xff" + log.submission(0, 3))[0] == 400
    assert refused(witness, b"")[0] == 400


def test_a_submission_of_the_specification_is_read_as_it_is_written() -> None:
    example = (
        "old 20852014\n"
        "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
        "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
        "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
        "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
        "\n"
        "example.com/behind-the-sofa\n"
        "20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        "\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE"
        "+xeMcTOAYQ8=\n"
    )
    read = Submission.parse(example.encode())
    assert (read.old, len(read.proof), read.checkpoint.size) == (20852014, 4, 20852163)
    assert str(read) == example


# What it remembers


def test_a_witness_that_starts_again_remembers(folder: WitnessFolder, log: PaperLog) -> None:
    first = Witness(folder, NAME, log.verifiers)
    first.add_checkpoint(log.submission(0, 5))
    again = Witness(folder, NAME, log.verifiers)
    assert again.verifier == first.verifier
    assert refused(again, log.forked(4).submission(5, 6))[0] == 422
    again.add_checkpoint(log.submission(5, 6))


def test_key_and_file_are_for_the_owner_only(witness: Witness, log: PaperLog, tmp_path: Path) -> None:
    witness.add_checkpoint(log.submission(0, 5))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "witness").iterdir()}
    assert modes == {"witness.key": "0o600", "seen.json": "0o600"}


def test_a_witness_without_its_memory_does_not_start(witness: Witness, log: PaperLog, tmp_path: Path) -> None:
    (tmp_path / "witness" / "seen.json").write_text("{")
    with pytest.raises(WitnessUnable, match="not as it was written"):
        Witness(WitnessFolder(tmp_path / "witness"), NAME, log.verifiers)
    (tmp_path / "witness" / "seen.json").unlink()
    with pytest.raises(WitnessUnable, match="could cosign a log that was taken back"):
        Witness(WitnessFolder(tmp_path / "witness"), NAME, log.verifiers)


def test_a_folder_is_one_witness(folder: WitnessFolder, tmp_path: Path) -> None:
    with (
        folder.held(),
        pytest.raises(WitnessUnable, match="Another witness"),
        WitnessFolder(tmp_path / "witness").held(),
    ):
        pass


def test_what_cannot_be_kept_is_not_cosigned(witness: Witness, log: PaperLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("services.durable.write", full)
        with pytest.raises(OSError, match="No space"):
            witness.add_checkpoint(log.submission(0, 5))
    assert refused(witness, log.submission(3, 6)) == (409, "0\n")
    witness.add_checkpoint(log.submission(0, 5))


# Over HTTP, in a process of its own


@pytest.fixture
def process(tmp_path: Path, log: PaperLog) -> Iterator[tuple[subprocess.Popen[str], str, Verifier]]:
    with witness_process(tmp_path, log.verifiers) as found:
        yield found


def post(address: str, body: bytes) -> httpx.Response:
    return httpx.post(f"{address}/add-checkpoint", content=body, timeout=20)


def test_it_answers_as_the_specification_says(process: Any, log: PaperLog) -> None:
    _, address, verifier = process
    good = post(address, log.submission(0, 5))
    assert good.status_code == 200 and verified(verifier, log.note(5).text, good.text)
    stale = post(address, log.submission(3, 6))
    assert (stale.status_code, stale.headers["content-type"], stale.text) == (409, "text/x.tlog.size", "5\n")
    assert post(address, PaperLog("x.localhost/log").submission(0, 5)).status_code == 404
    assert post(address, PaperLog().submission(0, 5)).status_code == 403
    assert post(address, b"old").status_code == 400
    assert post(address, log.forked(2).submission(5, 6)).status_code == 422
    forked = post(address, log.forked(2).submission(5, 5))
    assert forked.status_code == 409 and forked.headers["content-type"] != "text/x.tlog.size"
    assert post(address, b"x" * 20_000).status_code == 413
    assert httpx.get(f"{address}/add-checkpoint").status_code == 404
    assert httpx.get(f"{address}/healthz").text == "ok\n"


def test_of_two_that_race_from_one_size_one_is_cosigned(process: Any, log: PaperLog) -> None:
    _, address, _ = process
    size = 0
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(1, 13):
            forks = [log, log.forked(size), log.forked(size + 1), log]
            rivals = [fork.submission(size, size + 2 + nth % 2) for nth, fork in enumerate(forks)]
            answers = list(pool.map(post, [address] * 4, rivals))
            assert [answer.status_code for answer in answers].count(200) == 1, round_
            if 200 not in (answers[0].status_code, answers[3].status_code):
                break
            size = int(post(address, log.submission(1, 60)).text)


def test_a_witness_of_no_log_does_not_start_and_its_key_is_printed_beforehand(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASSENT_")}
    command = [sys.executable, "-m", "services.cli", "witness"]
    own = {**kept, "ASSENT_DATA": str(tmp_path)}
    printed = subprocess.run([*command, "--key"], cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout
    key = WitnessFolder(tmp_path / "witness").key()
    assert Verifier.parse(printed.strip()) == note.verifier_of(NAME, key, note.COSIGNATURE)
    idle = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert idle.returncode == 2 and "names no log to witness" in idle.stderr


def test_only_one_process_is_a_witness_from_a_folder(process: Any, log: PaperLog, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it did not start"), witness_process(tmp_path, log.verifiers):
        pass


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_witness_killed_at_any_moment_never_takes_back_what_it_answered(
    tmp_path: Path, log: PaperLog, moment: str
) -> None:
    with witness_process(tmp_path, log.verifiers, dies=moment) as (process, address, verifier):
        assert post(address, log.submission(0, 3)).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            post(address, log.submission(3, 5))
        assert process.wait(10) == -signal.SIGKILL
    with witness_process(tmp_path, log.verifiers) as (_, address, again):
        assert again == verifier
        known = int(post(address, log.submission(1, 6)).text)
        assert known == (3 if "new file" in moment else 5)
        assert post(address, log.forked(2).submission(known, 6)).status_code == 422
        kept = post(address, log.submission(known, 5))
        assert kept.status_code == 200 and verified(verifier, log.note(5).text, kept.text)
        assert post(address, log.forked(4).submission(5, 6)).status_code == 422
