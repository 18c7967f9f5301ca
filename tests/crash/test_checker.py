"""Does the checker find each fault that a crash could leave? A log that is right, and the same with one thing wrong."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.crash import checker
from tests.crash.checker import (
    Log,
    Row,
    Told,
    a_repeated_key_gives_the_first_answer,
    faults,
    history_stays,
    receipts_are_proven,
    roots_of,
)

KEY = Ed25519PrivateKey.generate()
WITNESS = KEY.public_key().public_bytes_raw()
"""Whose key it is does not matter here."""
PHASES = [{"name": "preview", "access": "granted", "customer_cap": 1}]
Write = tuple[str, str, dict[str, Any]]


def cosigned(text: str, seconds: int = 1_800_000_000) -> str:
    """A witness's line under a checkpoint, as C2SP tlog-cosignature has it."""
    signature = seconds.to_bytes(8) + KEY.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
    return f"\N{EM DASH} assent.test/witness {b64encode(bytes(4) + signature).decode()}\n"


class Story:
    """A log as it is being written, one command a second, and what each caller was told."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.heads: list[tuple[int, bytes]] = []
        self.told: list[Told] = []

    def accepted(self, person: str, path: str, *writes: Write, body: dict[str, Any] | None = None) -> None:
        now, start, key = len(self.told), len(self.rows), f"key-{len(self.told)}"
        command_key = sha256(f"{person}\0{key}".encode()).digest()
        for stream, type_, data in writes:
            self._append(stream, type_, data, person, now, command_key if len(self.rows) == start else None)
        own, last = self.rows[start:], self.rows[-1]
        self.heads.append((len(self.rows), roots_of(row.leaf for row in self.rows)[-1]))
        answer = {
            "stream": own[0].stream,
            "version": [row.version for row in own if row.stream == own[0].stream][-1],
            "position": last.position,
            "events": [{"type": row.type, "position": row.position} for row in own],
            "receipt": {"position": last.position, "leaf": b64encode(last.leaf).decode(), "size": len(self.rows)},
        }
        self.told.append(Told(person, key, path, body or {}, now, now + 0.5, 201, answer))

    def refused(self, person: str, path: str, type_: str, body: dict[str, Any]) -> None:
        now = len(self.told)
        answer = {"type": f"urn:assent:problem:{type_}", "rule": type_}
        self.told.append(Told(person, f"key-{now}", path, body, now, now + 0.5, 409, answer))

    def _append(self, stream: str, type_: str, data: Any, person: str, now: int, command_key: bytes | None) -> None:
        version = sum(row.stream == stream for row in self.rows) + 1
        when = f"2026-06-26T16:00:{now:02}Z"
        said = {"position": len(self.rows), "stream": stream, "version": version, "type": type_, "recorded": when}
        said |= {"occurred": when, "by": {"person": person, "role": "reviewer"}, "command": f"c{now}", "data": data}
        record = json.dumps(said).encode()
        leaf = sha256(b"\0" + record).digest()
        self.rows.append(Row(len(self.rows), stream, version, type_, command_key, record, leaf, said))

    def log(self) -> Log:
        size, root = self.heads[-1]
        text = f"assent.test/log\n{size}\n{b64encode(root).decode()}\n"
        note = f"{text}\n\N{EM DASH} assent.test/log {b64encode(bytes(4) + KEY.sign(text.encode())).decode()}\n"
        return Log(self.rows, self.heads, [(size, note)], KEY.public_key().public_bytes_raw())


def sign_off(story: Story, person: str, request: str, position: str, *more: Write) -> None:
    event = (f"request-{request}", "AgencySignedOff", {"agency": "oncd", "position": position})
    story.accepted(person, f"/requests/{request}/sign-offs", event, *more, body={"position": position})


def admission(request: str, customer: str) -> list[Write]:
    return [
        (f"request-{request}", "RequestApproved", {"grant": f"g-{request}"}),
        (f"grant-g-{request}", "GrantIssued", {"request": request}),
        ("release-atlas", "CustomerAdmitted", {"customer": customer, "grant": f"g-{request}"}),
    ]


def a_story() -> Story:
    """Two customers and one place: one is admitted, the other refused until the first has left."""
    story = Story()
    story.accepted("rae", "/releases", ("release-atlas", "ReleaseAnnounced", {"phases": PHASES}))
    for request in ("one", "two"):
        story.accepted("tom", "/requests", (f"request-{request}", "RequestSubmitted", {"release": "atlas"}))
    sign_off(story, "olga", "one", "refuse")
    story.refused("olga", "/requests/one/sign-offs", "already-signed", {"position": "refuse"})
    question = ("request-two", "InformationRequested", {"number": 1})
    story.accepted("olga", "/requests/two/information-requests", question)
    story.accepted(
        "tom", "/requests/two/information-requests/1/response", ("request-two", "InformationProvided", {"number": 1})
    )
    sign_off(story, "olga", "one", "approve", *admission("one", "northgate"))
    story.refused("sam", "/requests/two/sign-offs", "customer-cap-reached", {"position": "approve"})
    left = [("grant-g-one", "GrantSurrendered", {}), ("release-atlas", "CustomerLeft", {"customer": "northgate"})]
    story.accepted("nina", "/grants/g-one/surrender", *left)
    sign_off(story, "sam", "two", "approve", *admission("two", "tinker"))
    return story


Plant = Callable[[Story], tuple[Log, list[Told]]]
PLANTS: list[tuple[str, Plant]] = []


def plant(expected: str) -> Callable[[Plant], Plant]:
    """A fault, and the words by which the checker must name it."""

    def keep(planted: Plant) -> Plant:
        PLANTS.append((expected, planted))
        return planted

    return keep


def sealed_again(story: Story, rows: list[Row]) -> Log:
    """As the writer would have left these rows: positions, versions, leaves, heads and checkpoint fit them."""
    other, versions = Story(), dict[str, int]()
    for row in rows:
        versions[row.stream] = versions.get(row.stream, 0) + 1
        place: dict[str, Any] = {"position": len(other.rows), "version": versions[row.stream]}
        said = {**row.said, **place}
        record = json.dumps(said).encode()
        leaf = sha256(b"\0" + record).digest()
        other.rows.append(replace(row, **place, record=record, leaf=leaf, said=said))
    other.heads = [(size, root) for size, root in enumerate(roots_of(row.leaf for row in other.rows)) if size]
    return other.log()


@plant("is not in the log")
def a_whole_acknowledged_command_is_lost(story: Story) -> tuple[Log, list[Told]]:
    return sealed_again(story, story.rows[:-4]), story.told


@plant("is missing or there twice")
def a_row_is_lost(story: Story) -> tuple[Log, list[Told]]:
    return replace(story.log(), rows=story.rows[:4] + story.rows[5:]), story.told


@plant("is there twice")
def a_command_is_written_twice(story: Story) -> tuple[Log, list[Told]]:
    return sealed_again(story, [*story.rows, story.rows[5]]), story.told


@plant("Nobody was told")
def a_command_is_written_twice_under_two_keys(story: Story) -> tuple[Log, list[Told]]:
    again = replace(story.rows[0], command_key=b"another", said={**story.rows[0].said, "command": "another"})
    return sealed_again(story, [*story.rows, again]), story.told


@plant("Nobody was told")
def a_command_is_written_twice_without_its_key(story: Story) -> tuple[Log, list[Told]]:
    again = replace(story.rows[5], command_key=None, said={**story.rows[5].said, "command": "another"})
    return sealed_again(story, [*story.rows, again]), story.told


@plant("although they hold it already")
def a_sign_off_is_taken_twice(story: Story) -> tuple[Log, list[Told]]:
    sign_off(story, "olga", "one", "approve")
    return story.log(), story.told


@plant("and its phase takes 1")
def a_cap_is_overrun(story: Story) -> tuple[Log, list[Told]]:
    story.accepted("ole", "/requests", ("request-three", "RequestSubmitted", {"release": "atlas"}))
    sign_off(story, "sam", "three", "approve", *admission("three", "openfield"))
    return story.log(), story.told


@plant("is not the hash of its record")
def a_leaf_is_forged(story: Story) -> tuple[Log, list[Told]]:
    rows = [*story.rows[:3], replace(story.rows[3], leaf=bytes(32)), *story.rows[4:]]
    return replace(story.log(), rows=rows), story.told


@plant("is not the root of that many records")
def a_head_is_forged(story: Story) -> tuple[Log, list[Told]]:
    return replace(story.log(), heads=[*story.heads[:3], (4, bytes(32)), *story.heads[4:]]), story.told


@plant("is not the root of that many records")
def a_record_is_rewritten_with_its_leaf(story: Story) -> tuple[Log, list[Told]]:
    row = story.rows[2]
    record = row.record.replace(b"atlas", b"other")
    rewritten_row = replace(row, record=record, leaf=sha256(b"\0" + record).digest(), said=json.loads(record))
    return replace(story.log(), rows=[*story.rows[:2], rewritten_row, *story.rows[3:]]), story.told


@plant("does not have the root")
def a_checkpoint_is_of_another_log(story: Story) -> tuple[Log, list[Told]]:
    return replace(story.log(), checkpoints=a_story().log().checkpoints, rows=story.rows[:5], heads=story.heads[:5]), []


@plant("does not have the root")
def a_checkpoint_that_somebody_holds_is_of_another_log(story: Story) -> tuple[Log, list[Told]]:
    shown = story.log().checkpoints[0][1]
    sign_off(other := a_story(), "olga", "two", "approve")
    return replace(sealed_again(other, other.rows[1:]), shown=[shown]), []


@plant("The witness has seen another head")
def the_witness_remembers_another_log(story: Story) -> tuple[Log, list[Told]]:
    return replace(story.log(), seen=[(len(story.rows), bytes(32))]), story.told


@plant("The witness has seen another head")
def the_witness_remembers_a_longer_log(story: Story) -> tuple[Log, list[Told]]:
    return replace(story.log(), seen=[(len(story.rows) + 1, bytes(32))]), story.told


@plant("is not its witness's")
def a_cosignature_is_of_another_checkpoint(story: Story) -> tuple[Log, list[Told]]:
    size = len(story.rows)
    return replace(story.log(), witness=WITNESS, cosignatures=[(size, cosigned(f"another\n{size}\n"))]), story.told


@plant("is not signed by the log's key")
def a_checkpoint_is_forged(story: Story) -> tuple[Log, list[Told]]:
    return replace(story.log(), signer=Ed25519PrivateKey.generate().public_key().public_bytes_raw()), story.told


@plant("instead of")
def a_version_is_skipped(story: Story) -> tuple[Log, list[Told]]:
    return replace(story.log(), rows=[replace(row, version=row.version + (row.position > 3)) for row in story.rows]), []


@plant("is not the record's")
def a_column_differs_from_its_record(story: Story) -> tuple[Log, list[Told]]:
    return replace(
        story.log(), rows=[*story.rows[:1], replace(story.rows[1], type="Other"), *story.rows[2:]]
    ), story.told


@plant("was recorded before the one it follows")
def time_goes_back(story: Story) -> tuple[Log, list[Told]]:
    late = replace(story.rows[2], said={**story.rows[2].said, "recorded": "2026-06-26T17:00:00Z"})
    return replace(story.log(), rows=[*story.rows[:2], late, *story.rows[3:]]), story.told


@plant("had been acknowledged")
def what_was_sent_later_stands_earlier(story: Story) -> tuple[Log, list[Told]]:
    return story.log(), [replace(story.told[1], sent=3.0, heard=3.4), *story.told[:1], *story.told[2:]]


@plant("has the receipt")
def a_receipt_names_another_leaf(story: Story) -> tuple[Log, list[Told]]:
    told = story.told[3]
    receipt = {**told.answer["receipt"], "leaf": b64encode(bytes(32)).decode()}
    return story.log(), [*story.told[:3], replace(told, answer={**told.answer, "receipt": receipt}), *story.told[4:]]


@plant("was acknowledged with")
def an_answer_leaves_an_event_out(story: Story) -> tuple[Log, list[Told]]:
    told = story.told[7]
    short = replace(told, answer={**told.answer, "events": told.answer["events"][1:]})
    return story.log(), [*story.told[:7], short, *story.told[8:]]


@plant("was told version")
def an_answer_names_another_version(story: Story) -> tuple[Log, list[Told]]:
    told = story.told[3]
    return story.log(), [*story.told[:3], replace(told, answer={**told.answer, "version": 9}), *story.told[4:]]


@plant("was answered 409 and is at position")
def a_refused_command_left_an_event(story: Story) -> tuple[Log, list[Told]]:
    return story.log(), [*story.told[:3], replace(story.told[3], status=409, answer={"type": ""}), *story.told[4:]]


@plant("ended in 500")
def a_caller_was_told_of_a_failure(story: Story) -> tuple[Log, list[Told]]:
    failed = Told("olga", "another", "/requests/one/sign-offs", {}, 1.0, 2.0, 500, {})
    return story.log(), [*story.told, failed]


@plant("was answered 404")
def what_was_acknowledged_is_unknown_at_another_door(story: Story) -> tuple[Log, list[Told]]:
    return story.log(), [*story.told, Told("olga", "another", "/requests/one/sign-offs", {}, 20, 21, 404, {})]


@plant("no prefix from")
def a_place_was_refused_that_was_free(story: Story) -> tuple[Log, list[Told]]:
    early = replace(story.told[8], sent=3.0, heard=3.5)
    return story.log(), [*story.told[:8], early, *story.told[9:]]


@plant("no prefix from")
def a_sign_off_was_refused_that_nobody_had_given(story: Story) -> tuple[Log, list[Told]]:
    story.refused("olga", "/requests/two/sign-offs", "already-signed", {"position": "approve"})
    return story.log(), story.told


@plant("is out of turn")
def a_question_is_answered_twice(story: Story) -> tuple[Log, list[Told]]:
    path = "/requests/two/information-requests/1/response"
    story.accepted("tom", path, ("request-two", "InformationProvided", {"number": 1}))
    return story.log(), story.told


@plant("is decided a second time")
def a_request_is_decided_twice(story: Story) -> tuple[Log, list[Told]]:
    story.accepted("dora", "/requests/two/decision", ("request-two", "RequestDenied", {}))
    return story.log(), story.told


@plant("its grant was never issued")
def an_approval_lacks_its_grant(story: Story) -> tuple[Log, list[Told]]:
    sign_off(story, "olga", "three", "approve", ("request-three", "RequestApproved", {"grant": "g-three"}))
    return story.log(), story.told


def test_a_log_that_is_right_has_no_fault() -> None:
    story = a_story()
    log = story.log()
    size, note = log.checkpoints[0]
    line = cosigned(note.rsplit("\n\n", 1)[0] + "\n")
    seen = [(size, log.roots[size]), (0, log.roots[0])]

    assert faults(log, story.told) == []
    assert (
        faults(
            replace(log, witness=WITNESS, cosignatures=[(size, line)], shown=[note, note + line], seen=seen), story.told
        )
        == []
    )


@pytest.mark.parametrize(("expected", "planted"), PLANTS, ids=[planted.__name__ for _, planted in PLANTS])
def test_a_planted_fault_is_found(expected: str, planted: Plant) -> None:
    found = faults(*planted(a_story()))

    assert any(expected in fault.words for fault in found), found


def test_every_check_is_shown_to_find_something() -> None:
    """A check that no planted fault wakes could be asleep."""
    planted_logs = [planted(a_story()) for _, planted in PLANTS]

    asleep = [check.__name__ for check in checker.CHECKS if not any(any_of(check(*each)) for each in planted_logs)]

    assert asleep == []


def any_of(found: Iterator[str]) -> bool:
    return next(found, None) is not None


def test_history_that_changed_between_two_looks_is_found() -> None:
    before, story = a_story().log(), a_story()
    changed = replace(story.rows[3], leaf=bytes(32))

    assert list(history_stays(before, replace(before, rows=[*story.rows[:3], changed, *story.rows[4:]])))
    assert list(history_stays(before, replace(before, rows=before.rows[:-1])))
    assert list(history_stays(before, replace(before, checkpoints=[(1, "another")])))
    assert list(history_stays(replace(before, cosignatures=[(1, "line")]), before))
    assert not list(history_stays(before, replace(before, rows=[*before.rows, changed])))


def test_a_repeated_key_that_gives_another_answer_is_found() -> None:
    told = a_story().told

    assert not list(a_repeated_key_gives_the_first_answer(told, told))
    assert list(
        a_repeated_key_gives_the_first_answer(told[:1], [replace(told[0], answer={**told[0].answer, "version": 2})])
    )
    assert list(a_repeated_key_gives_the_first_answer(told[:1], [replace(told[0], status=409)]))


def test_a_receipt_without_its_proof_is_found() -> None:
    story = a_story()
    log, told = story.log(), story.told[0]
    leaves, note = [row.leaf for row in story.rows], story.log().checkpoints[0][1]
    root, size = b64encode(roots_of(leaves)[-1]).decode(), len(leaves)
    right = {
        "size": size,
        "root": root,
        "hashes": [b64encode(node).decode() for node in path_of(0, leaves)],
        "checkpoint": note,
    }

    assert not list(receipts_are_proven(log, [(told, right)]))
    for wrong in (
        {"hashes": right["hashes"][:-1]},
        {"hashes": [*right["hashes"], right["hashes"][0]]},
        {"size": size - 1},
        {"size": 0},
        {"root": b64encode(bytes(32)).decode()},
        {"checkpoint": note.replace(f"\n{size}\n", f"\n{size + 1}\n")},
        {"checkpoint": f"{note[:-9]}AAAAAAA=\n"},
    ):
        assert list(receipts_are_proven(log, [(told, right | wrong)])), wrong


def test_inclusion_paths_of_every_place_lead_to_the_root() -> None:
    for size in range(1, 20):
        leaves = [bytes([nth]) * 32 for nth in range(size)]
        for place in range(size):
            path = path_of(place, leaves)
            assert checker.root_by_path(leaves[place], place, size, path) == roots_of(leaves)[-1]
            assert checker.root_by_path(leaves[place], place, size, [*path, bytes(32)]) != roots_of(leaves)[-1]


def path_of(place: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1, as it is written there."""
    if len(leaves) == 1:
        return []
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    if place < half:
        return [*path_of(place, leaves[:half]), roots_of(leaves[half:])[-1]]
    return [*path_of(place - half, leaves[half:]), roots_of(leaves[:half])[-1]]
