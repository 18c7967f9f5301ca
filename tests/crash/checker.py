"""Does the log bear out what callers were told, whatever was killed meanwhile?

The auditor of the kill tests. It reads the database, not the service, and shares no code with what it checks: RFC 6962,
the command key and the rules below are written down here a second time. Each check is named as the promise it tests; a
fault is a broken promise and a sentence that names the place.
"""

from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Faults = Iterator[str]


class Fault(NamedTuple):
    """A promise that was not kept, by the name of its check, and where."""

    check: str
    words: str

    def __str__(self) -> str:
        return f"{self.check}: {self.words}"


def named(check: str, found: Iterable[str]) -> list[Fault]:
    return [Fault(check, words) for words in found]


@dataclass(frozen=True, slots=True)
class Told:
    """A command and what its caller was finally told, however often it had to be sent under its one key.

    `sent` is when the first attempt began and `heard` when the answer was there, in seconds of one steady clock.
    """

    person: str
    key: str
    path: str
    body: dict[str, Any]
    sent: float
    heard: float
    status: int
    answer: dict[str, Any]
    attempts: int = 1

    @property
    def command_key(self) -> bytes:
        return sha256(self.person.encode() + b"\x00" + self.key.encode()).digest()

    @property
    def first(self) -> int:
        """The lowest position that the answer names."""
        return min(self._positions())

    @property
    def last(self) -> int:
        return max(self._positions())

    def _positions(self) -> list[int]:
        return [event["position"] for event in self.answer["events"]]

    @property
    def accepted(self) -> bool:
        return self.status == 201

    @property
    def settled(self) -> bool:
        """Whether the caller knows what became of it: not 503, not a broken connection, not an error of ours."""
        return 200 <= self.status < 500

    def __str__(self) -> str:
        return f"{self.person} {self.path} ({self.key})"


@dataclass(frozen=True, slots=True)
class Row:
    """One event as the table has it; `said` is the record as JSON."""

    position: int
    stream: str
    version: int
    type: str
    command_key: bytes | None
    record: bytes
    leaf: bytes
    said: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Log:
    """All that the database holds of the log, in order, and the public key that its checkpoints are signed with.

    `shown` are the notes that anybody was ever shown, wherever they are now: those who saw them keep them. `witness` is
    the public key of the witness, `cosignatures` are its lines under checkpoints, by size, and `seen` the heads that it
    remembers (size and root).
    """

    rows: Sequence[Row]
    heads: Sequence[tuple[int, bytes]]
    checkpoints: Sequence[tuple[int, str]]
    signer: bytes
    witness: bytes = b""
    cosignatures: Sequence[tuple[int, str]] = ()
    shown: Sequence[str] = ()
    seen: Sequence[tuple[int, bytes]] = ()

    @cached_property
    def keys(self) -> dict[bytes, Row]:
        """The first event of each command, by its key."""
        return {row.command_key: row for row in reversed(self.rows) if row.command_key is not None}

    @cached_property
    def roots(self) -> list[bytes]:
        return roots_of(row.leaf for row in self.rows)

    def of_type(self, *types: str) -> Iterator[Row]:
        return (row for row in self.rows if row.type in types)


def read_log(conninfo: str, signer: bytes) -> Log:
    """The log as one snapshot has it."""
    with psycopg.connect(conninfo) as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        events = conn.execute(
            "SELECT position, stream, version, type, command_key, record, leaf, convert_from(record, 'UTF8')::json "
            "FROM event ORDER BY position"
        )
        rows = [Row(*values) for values in events]
        heads = conn.execute("SELECT size, root FROM tree_head ORDER BY size").fetchall()
        checkpoints = conn.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall()
        cosignatures = conn.execute("SELECT size, line FROM cosignature ORDER BY size").fetchall()
    return Log(rows, heads, checkpoints, signer, cosignatures=cosignatures)


def faults(log: Log, told: Sequence[Told]) -> list[Fault]:
    """Everything that is wrong, in the order of the checks below; empty where nothing is.

    Most checks look records up by their position: where one is missing, only what needs no position is checked.
    """
    checks = (
        CHECKS if not any(positions_have_no_gap(log, told)) else (positions_have_no_gap, nothing_acknowledged_is_lost)
    )
    return [fault for check in checks for fault in named(check.__name__, check(log, told))]


# The log by itself


def positions_have_no_gap(log: Log, _: Sequence[Told]) -> Faults:
    for expected, row in enumerate(log.rows):
        if row.position != expected:
            yield f"Position {expected} is missing or there twice: {row.position} stands in its place."
            return


def columns_repeat_the_record(log: Log, _: Sequence[Told]) -> Faults:
    for row in log.rows:
        for name in ("position", "stream", "version", "type"):
            if row.said[name] != getattr(row, name):
                yield f"The {name} at position {row.position} is not the record's."


def versions_are_consecutive(log: Log, _: Sequence[Told]) -> Faults:
    versions: dict[str, int] = {}
    for row in log.rows:
        expected = versions.get(row.stream, 0) + 1
        if row.version != expected:
            yield f"{row.stream} goes on with version {row.version} instead of {expected} at position {row.position}."
        versions[row.stream] = row.version


def time_never_goes_back(log: Log, _: Sequence[Told]) -> Faults:
    """I8: recorded by position, occurred within a stream, and no fact before it happened."""
    recorded_before, occurred_before = None, dict[str, datetime]()
    for row in log.rows:
        recorded, occurred = (datetime.fromisoformat(row.said[name]) for name in ("recorded", "occurred"))
        if recorded_before is not None and recorded < recorded_before:
            yield f"Position {row.position} was recorded before the one it follows."
        if occurred > recorded:
            yield f"Position {row.position} was recorded before it occurred."
        if row.stream in occurred_before and occurred < occurred_before[row.stream]:
            yield f"Position {row.position} occurred before what precedes it in {row.stream}."
        recorded_before, occurred_before[row.stream] = recorded, occurred


def leaves_are_the_records_hashes(log: Log, _: Sequence[Told]) -> Faults:
    for row in log.rows:
        if row.leaf != sha256(b"\x00" + row.record).digest():
            yield f"The leaf at position {row.position} is not the hash of its record."


def heads_are_the_trees_roots(log: Log, _: Sequence[Told]) -> Faults:
    for size, root in log.heads:
        if log.roots[size : size + 1] != [root]:
            yield f"The head of size {size} is not the root of that many records."
    if log.rows and (not log.heads or log.heads[-1][0] != len(log.rows)):
        yield f"No head covers all {len(log.rows)} records."


def checkpoints_are_signed_roots(log: Log, _: Sequence[Told]) -> Faults:
    for size, note in log.checkpoints:
        yield from _faults_of_note(log, note, size)


def checkpoints_never_fork(log: Log, _: Sequence[Told]) -> Faults:
    """Whoever was shown a checkpoint holds a promise: the log goes on from there, and never has another beginning."""
    for note in log.shown:
        yield from _faults_of_note(log, note, int(note.split("\n")[1]))
    for size, root in log.seen:
        if log.roots[size : size + 1] != [root]:
            yield f"The witness has seen another head of size {size}; there are {len(log.rows)} records."


def cosignatures_are_the_witnesses(log: Log, _: Sequence[Told]) -> Faults:
    texts = {size: note.rsplit("\n\n", 1)[0] for size, note in log.checkpoints}
    for size, line in log.cosignatures:
        signature = b64decode(line.split(" ")[-1])[4:]
        seconds = int.from_bytes(signature[:8])
        if not _is_signed(f"cosignature/v1\ntime {seconds}\n{texts.get(size)}", signature[8:], log.witness):
            yield f"The checkpoint of size {size} bears a cosignature that is not its witness's."


def _faults_of_note(log: Log, note: str, size: int) -> Faults:
    text, signatures = note.rsplit("\n\n", 1)
    lines = text.split("\n")
    if size >= len(log.roots) or lines[1:3] != [str(size), _base64(log.roots[size])]:
        yield f"The checkpoint of size {size} does not have the root of that many records; there are {len(log.rows)}."
    own = [line for line in signatures.splitlines() if line.startswith(f"\N{EM DASH} {lines[0]} ")]
    if not own or not all(_is_signed(text, b64decode(line.split(" ")[-1])[4:], log.signer) for line in own):
        yield f"The checkpoint of size {size} is not signed by the log's key."


def _is_signed(text: str, signature: bytes, public: bytes) -> bool:
    """Whether it is that key's Ed25519 signature on a C2SP note's text, given without its last newline."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, f"{text}\n".encode())
    except InvalidSignature:
        return False
    return True


def roots_of(leaves: Iterable[bytes]) -> list[bytes]:
    """The RFC 6962 root of the first 0, 1, 2, … leaves."""
    roots, edge = [sha256().digest()], list[tuple[int, bytes]]()
    for leaf in leaves:
        edge.append((1, leaf))
        while len(edge) > 1 and edge[-2][0] == edge[-1][0]:
            (width, left), (_, right) = edge[-2:]
            edge[-2:] = [(2 * width, _node(left, right))]
        root = edge[-1][1]
        for _, left in reversed(edge[:-1]):
            root = _node(left, root)
        roots.append(root)
    return roots


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


# The rules that the load puts under pressure, at every prefix of the log


def caps_hold(log: Log, _: Sequence[Told]) -> Faults:
    """I17: never more customers on a release than its phase takes, and nobody admitted twice at once."""
    for release, position, admitted, cap in occupancy(log):
        if cap is not None and admitted > cap:
            yield f"{release} has {admitted} customers at position {position}, and its phase takes {cap}."


def occupancy(log: Log) -> Iterator[tuple[str, int, int, int | None]]:
    """(stream of the release, position, customers admitted from there on, cap of the phase then), in order."""
    phases: dict[str, dict[str, Any]] = {}
    caps: dict[str, int | None] = {}
    admitted: dict[str, set[str]] = {}
    changes = ("ReleaseAnnounced", "PhaseAdvanced", "PhaseRolledBack", "CustomerAdmitted", "CustomerLeft")
    for row in log.of_type(*changes):
        data, here = row.said["data"], admitted.setdefault(row.stream, set())
        match row.type:
            case "ReleaseAnnounced":
                phases[row.stream] = {phase["name"]: phase.get("customer_cap") for phase in data["phases"]}
                caps[row.stream] = next(iter(phases[row.stream].values()))
            case "PhaseAdvanced" | "PhaseRolledBack":
                caps[row.stream] = phases[row.stream][data["to"]]
            case "CustomerAdmitted":
                here.add(data["customer"])
            case _:
                here.discard(data["customer"])
        yield row.stream, row.position, len(here), caps.get(row.stream)


def officers_change_their_mind_or_stay_quiet(log: Log, _: Sequence[Told]) -> Faults:
    """The same position twice in a row is refused, so twice in the log means a command was taken twice."""
    latest: dict[tuple[str, str], str] = {}
    for row in log.of_type("AgencySignedOff"):
        officer = (row.stream, row.said["by"]["person"])
        if latest.get(officer) == row.said["data"]["position"]:
            yield f"{officer[1]} takes the position at {row.position} although they hold it already."
        latest[officer] = row.said["data"]["position"]


def questions_take_their_course(log: Log, _: Sequence[Told]) -> Faults:
    """Asked in order, answered once, accepted once, in this order."""
    stages = {"InformationRequested": 0, "InformationProvided": 1, "InformationAccepted": 2}
    questions: dict[str, list[int]] = {}
    for row in log.of_type(*stages):
        here, number, stage = questions.setdefault(row.stream, []), row.said["data"]["number"], stages[row.type]
        if stage == 0:
            here.append(0)
        if (stage == 0 and number != len(here)) or (
            stage > 0 and (number > len(here) or here[number - 1] != stage - 1)
        ):
            yield f"{row.type} {number} at position {row.position} is out of turn in {row.stream}."
        else:
            here[number - 1] = stage


def decided_once(log: Log, _: Sequence[Told]) -> Faults:
    """I1, with its grant in the same append."""
    decided: set[str] = set()
    grants = {row.stream.removeprefix("grant-") for row in log.of_type("GrantIssued")}
    for row in log.of_type("RequestApproved", "RequestDenied"):
        if row.stream in decided:
            yield f"{row.stream} is decided a second time at position {row.position}."
        decided.add(row.stream)
        if row.type == "RequestApproved" and row.said["data"]["grant"] not in grants:
            yield f"{row.stream} is approved at position {row.position}, and its grant was never issued."


# What callers were told


def every_caller_was_told_something_final(_: Log, told: Sequence[Told]) -> Faults:
    for each in told:
        if not each.settled:
            yield f"{each} ended in {each.status} after {each.attempts} attempts."


def only_rules_and_history_refuse(_: Log, told: Sequence[Told]) -> Faults:
    """These callers act on what is there and theirs to act on: any other refusal is that of a service left behind."""
    for each in told:
        if each.settled and each.status not in (201, 409):
            yield f"{each} was answered {each.status}: {each.answer}."


def nothing_acknowledged_is_lost(log: Log, told: Sequence[Told]) -> Faults:
    for each in told:
        if each.accepted and each.command_key not in log.keys:
            yield f"{each} was acknowledged at position {each.answer['position']} and is not in the log."


def answers_are_what_the_log_has(log: Log, told: Sequence[Told]) -> Faults:
    """The very positions, leaf and size; applicants are told only of the events they may see."""
    sizes = [size for size, _ in log.heads]
    for each in told:
        row = log.keys.get(each.command_key)
        if not each.accepted or row is None:
            continue
        size = sizes[bisect_right(sizes, row.position)] if sizes and row.position < sizes[-1] else len(log.rows)
        own = [other for other in log.rows[row.position : size] if other.said["command"] == row.said["command"]]
        written = [{"type": other.type, "position": other.position} for other in own]
        shown = each.answer["events"]
        is_applicant = row.said["by"]["role"] == "applicant"
        if not shown or (shown != written and not (is_applicant and all(event in written for event in shown))):
            yield f"{each} was acknowledged with {shown}; the log has {written}."
            continue
        last = log.rows[each.last]
        receipt = {"position": last.position, "leaf": _base64(last.leaf), "size": size}
        if each.answer["receipt"] != receipt or each.answer["position"] != last.position:
            yield f"{each} has the receipt {each.answer['receipt']}; the log has {receipt}."
        versions = [other.version for other in own if other.stream == each.answer["stream"]]
        if not is_applicant and versions and each.answer["version"] != versions[-1]:
            yield f"{each} was told version {each.answer['version']}; the log has {versions[-1]}."


def each_command_is_there_once(log: Log, told: Sequence[Told]) -> Faults:
    """By its key, and by the answers: each command that a person wrote is the one that some caller was told of.

    So a command that was repeated and taken twice is found also where its key was not kept. Of a command without a
    final answer it is not known whether it was taken.
    """
    answered = {log.rows[each.first].said["command"] for each in told if each.accepted and each.first < len(log.rows)}
    others = {each.command_key for each in told if not each.accepted}
    commands, keys = set[str](), set[bytes]()
    for command, rows in groupby(log.rows, key=lambda row: str(row.said["command"])):
        written = list(rows)
        own = {row.command_key for row in written if row.command_key is not None}
        if command in commands or own & keys:
            yield f"The command at position {written[0].position} is there twice."
        elif command not in answered and not own & others and _is_a_persons(written[0]):
            yield f"Nobody was told of the command at position {written[0].position}."
        commands.add(command)
        keys |= own


def _is_a_persons(row: Row) -> bool:
    """And not of the service itself: timers, and what an empty log begins with."""
    person: str = row.said["by"]["person"]
    return person != "system"


def what_was_refused_left_no_event(log: Log, told: Sequence[Told]) -> Faults:
    """I18."""
    for each in told:
        row = log.keys.get(each.command_key)
        if row is not None and each.settled and not each.accepted:
            yield f"{each} was answered {each.status} and is at position {row.position}."


class RealTime:
    """Between which prefixes of the log must a command have been decided, by what others were told and when?"""

    def __init__(self, told: Sequence[Told]) -> None:
        by_end = sorted((each for each in told if each.accepted), key=lambda each: each.heard)
        by_start = sorted(by_end, key=lambda each: each.sent, reverse=True)
        self._ends = [each.heard for each in by_end]
        self._lasts = list(accumulate((each.last for each in by_end), max))
        self._starts = [-each.sent for each in by_start]
        self._firsts = list(accumulate((each.first for each in by_start), min))

    def after(self, sent: float) -> int:
        """The highest position that someone knew of before `sent`; -1: none."""
        known = bisect_left(self._ends, sent)
        return self._lasts[known - 1] if known else -1

    def before(self, heard: float, size: int) -> int:
        """The lowest position that was only asked for after `heard`; the log's size: none was."""
        later = bisect_left(self._starts, -heard)
        return self._firsts[later - 1] if later else size


def order_is_that_of_real_time(log: Log, told: Sequence[Told]) -> Faults:
    """A command that was sent after another was acknowledged stands behind it."""
    real_time = RealTime(told)
    for each in told:
        if each.accepted and each.first <= (earlier := real_time.after(each.sent)):
            yield f"{each} has position {each.first}, and was sent after {earlier} had been acknowledged."


def refusals_were_right_at_some_moment(log: Log, told: Sequence[Told]) -> Faults:
    """A refusal was decided on a prefix of the log that existed between question and answer."""
    real_time, held = RealTime(told), list(moments(log))
    kept = {kind: list(group) for kind, group in groupby(sorted(held), key=lambda moment: moment[0])}
    releases = {row.stream: row.said["data"]["release"] for row in log.of_type("RequestSubmitted")}
    for each in told:
        kind = reason_of(each, releases)
        if kind is None:
            continue
        earliest, end = real_time.after(each.sent) + 1, real_time.before(each.heard, len(log.rows))
        if not any(start <= end and earliest < upto for _, start, upto in kept.get(kind, ())):
            yield f"{each} was refused ({each.answer['rule']}), which no prefix from {earliest} to {end} bears out."


Moment = tuple[tuple[str, ...], int, int]


def moments(log: Log) -> Iterator[Moment]:
    """(what held, from which size of the log, up to which), for each thing that a refusal may be about."""
    since: dict[tuple[str, ...], int] = {}
    for release, position, admitted, cap in occupancy(log):
        full = ("full", release)
        if cap is not None and admitted >= cap:
            since.setdefault(full, position + 1)
        elif full in since:
            yield full, since.pop(full), position + 1
    for row in log.of_type("AgencySignedOff"):
        officer = ("signed", row.stream, row.said["by"]["person"])
        for answer in ("approve", "refuse"):
            holds = (*officer, answer)
            if answer == row.said["data"]["position"]:
                since.setdefault(holds, row.position + 1)
            elif holds in since:
                yield holds, since.pop(holds), row.position + 1
    for what, start in since.items():
        yield what, start, len(log.rows) + 1


def reason_of(each: Told, releases: dict[str, str]) -> tuple[str, ...] | None:
    """What must have held for the refusal to be right, where this checker knows; None for the others."""
    stream = f"request-{each.path.split('/')[2]}" if each.path.startswith("/requests/") else ""
    match each.answer.get("type"):
        case "urn:assent:problem:already-signed":
            return ("signed", stream, each.person, each.body["position"])
        case "urn:assent:problem:customer-cap-reached":
            return ("full", f"release-{releases.get(stream)}")
        case _:
            return None


CHECKS = (
    positions_have_no_gap,
    columns_repeat_the_record,
    versions_are_consecutive,
    time_never_goes_back,
    leaves_are_the_records_hashes,
    heads_are_the_trees_roots,
    checkpoints_are_signed_roots,
    checkpoints_never_fork,
    cosignatures_are_the_witnesses,
    caps_hold,
    officers_change_their_mind_or_stay_quiet,
    questions_take_their_course,
    decided_once,
    every_caller_was_told_something_final,
    only_rules_and_history_refuse,
    nothing_acknowledged_is_lost,
    answers_are_what_the_log_has,
    each_command_is_there_once,
    what_was_refused_left_no_event,
    order_is_that_of_real_time,
    refusals_were_right_at_some_moment,
)


# Between one look and the next


def history_stays(before: Log, after: Log) -> Faults:
    """What was in the log stays as it was."""
    for old, new in zip(before.rows, after.rows, strict=False):
        if old != new:
            yield f"Position {old.position} has changed."
    if len(after.rows) < len(before.rows):
        yield f"The log had {len(before.rows)} records and has {len(after.rows)}."
    for size, _ in set(before.checkpoints) - set(after.checkpoints):
        yield f"The checkpoint of size {size} has changed."
    for size, _ in set(before.cosignatures) - set(after.cosignatures):
        yield f"The cosignature on the checkpoint of size {size} has changed."


def a_repeated_key_gives_the_first_answer(told: Iterable[Told], again: Iterable[Told]) -> Faults:
    for first, second in zip(told, again, strict=True):
        if (first.status, first.answer) != (second.status, second.answer):
            yield f"{first} was told {first.answer} and, when it was repeated, {second.status} {second.answer}."


def receipts_are_proven(log: Log, proofs: Iterable[tuple[Told, dict[str, Any]]]) -> Faults:
    """The proof that the service shows for a receipt leads from its leaf to a later checkpoint of this very log."""
    for each, proof in proofs:
        receipt, size = each.answer["receipt"], proof["size"]
        path = [b64decode(node) for node in proof["hashes"]]
        root = root_by_path(b64decode(receipt["leaf"]), receipt["position"], size, path)
        if root is None or _base64(root) != proof["root"] or size < receipt["size"]:
            yield f"{each} has a receipt that {proof} does not prove."
        elif proof["checkpoint"].split("\n")[1:3] != [str(size), proof["root"]]:
            yield f"{each} has a receipt whose proof is not of the checkpoint it shows."
        else:
            yield from _faults_of_note(log, proof["checkpoint"], size)


def root_by_path(leaf: bytes, position: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which an inclusion path leads (RFC 9162, 2.1.3.2); None where its length cannot be right."""
    if not 0 <= position < size:
        return None
    root, at, last = leaf, position, size - 1
    for sibling in path:
        if last == 0:
            return None
        if at % 2 or at == last:
            root = _node(sibling, root)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            root = _node(root, sibling)
        at, last = at // 2, last // 2
    return root if last == 0 else None
