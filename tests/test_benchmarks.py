"""Do the benchmarks run, and do they refuse to give a number where something went wrong?"""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import psycopg
import pytest

from domain.facts import Fact
from domain.grant import GrantIssued
from projections.turnaround import By
from services.handle import folded
from services.log.folder import SignerFolder
from services.log.merkle import Frontier, leaf_hash
from services.log.record import read
from services.log.snapshot import Snapshot
from services.log.verify import verify
from services.settings import Settings
from tests.benchmarks import BENCHMARKS, checks, command, commands, grown, kill, peers, queries, tamper, years
from tests.benchmarks.report import Report, Unmeasured, as_text
from tests.benchmarks.samples import Sample, medians, sample_of
from tests.crash.checker import Fault
from tests.spec import in_review
from tests.tampering.edits import EDITS


def test_the_help_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert all(re.search(rf"\n    {name}\s", told) for name in BENCHMARKS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["unheard-of"],
        [],
        ["commands", "--clients", "0"],
        ["commands", "--clients", "65"],
        ["commands", "--peers", "me"],
        ["checks", "--peers", "me"],
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command(arguments)
    assert end.value.code == 2
    assert "usage: run bench" in capsys.readouterr().err


@pytest.mark.parametrize("client", ["python", "wrk"])
def test_one_object_tells_figures_ratios_and_what_is_missing(client: str, capsys: pytest.CaptureFixture[str]) -> None:
    if client == "wrk" and shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    sizes = ["--seconds", "1", "--rounds", "1", "--clients", "1,2", "--peers", "eventsourcing,pgbench"]
    assert command(["commands", "--json", "--client", client, *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"figures", "ratios", "missing"}
    figures = found["figures"]["clients"]["2"]
    assert figures["assent"]["p99_ms"] >= figures["assent"]["p50_ms"] > 0
    assert min(figures["assent"]["cpu_us"], figures["assent"]["following_cpu_us"]) > 0
    assert figures["assent"] == figures[found["figures"]["assent"]]
    assert figures["assent_two"]["doors_cpu_us"] > 0 and "doors_cpu_us" not in figures["assent_one"]
    for peer, which, ours in (
        ("eventsourcing", "", "assent"),
        ("pgbench", "", "assent_one"),
        ("pgbench", "_two", "assent_two"),
    ):
        ratio = found["ratios"][f"vs_{peer}{which}"]
        assert ratio == pytest.approx(figures[ours]["per_second"] / figures[peer]["per_second"], abs=0.001)
    alone = {
        name: figure["p50_ms"] for name, figure in found["figures"]["clients"]["1"].items() if type(figure) is dict
    }
    slower = alone["assent"] / (alone["echo"] + alone["pgbench"])
    assert found["ratios"]["vs_echo_and_commit"] == pytest.approx(slower, abs=0.01)
    assert 0 < found["ratios"]["merkle_share"] < 1 < found["ratios"]["p99_over_p50"]
    assert len(found["missing"]) == (client == "python")


def test_how_long_a_command_stays_out_of_sight_is_measured_alone_and_under_load(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(["visible", "--json", "--seconds", "1"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    for waits in (figures["idle"], figures["half_of_the_peak"]):
        assert 0 < waits["p50_ms"] <= waits["p99_ms"] <= waits["most_ms"]
        assert waits["commands"] > 0 < waits["read_alone_p50_ms"]
    assert 0 < figures["load_per_second"] < figures["peak_per_second"]


def test_histories_are_counted_with_the_rows_that_were_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["histories", "--json", "--histories", "4", "--at-a-time", "2"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["rows_that_differ"] == 0 < figures["batches"] < figures["events"] < figures["rows_compared"]


def test_a_rebuild_is_measured_beside_mere_copying_and_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--events", "6000", "--few", "2000", "--rounds", "1", "--processes", "2", "--library", "300"]
    assert command(["rebuild", "--json", *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    figures, ratios = found["figures"], found["ratios"]
    seconds = figures["seconds"]
    parts = [seconds[f"of_which_{part}"] for part in ("log_out", "rows_in", "indexes")]
    assert seconds["copy_floor"] == pytest.approx(sum(parts), abs=0.02)
    assert ratios["vs_copy_floor"] == pytest.approx(seconds["copy_floor"] / seconds["one_process"], abs=0.01)
    assert figures["rows"] > figures["events"] >= 6000
    assert figures["events_per_second"]["eventsourcing_read_and_fold_only"] > 0 < ratios["vs_eventsourcing"]
    assert set(ratios) == {"vs_copy_floor", "vs_copy_floor_parallel", "vs_eventsourcing", "time_per_event_vs_few"}


def test_a_grown_log_is_measured_beside_an_empty_one(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--events", "5000", "--seconds", "1", "--rounds", "1"]
    assert command(["growth", "--json", *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    for what in ("writer", "commands"):
        full, empty = (found["figures"][what][log]["per_second"] for log in ("full", "empty"))
        assert found["ratios"][f"{what}_vs_empty"] == pytest.approx(full / empty, abs=0.001)
    for what in ("inclusion", "consistency"):
        assert list(found["figures"][f"{what}_ms"]) == ["10", "1000"]
        assert found["ratios"][f"{what}_vs_few"] > 0


async def test_a_log_that_grew_by_copies_is_one_that_the_service_could_have_written(database: str) -> None:
    acts = grown.life([fact for fact in in_review().facts if fact.stream == "request-nw" and fact.cause is None])
    for size in (2_500, 2_600):
        grown.grow(database, acts, size)
    with psycopg.connect(database) as conn:
        records = [record for (record,) in conn.execute("SELECT record FROM event ORDER BY position")]
        heads = dict(conn.execute("SELECT size, root FROM tree_head").fetchall())
    tree, streams = Frontier(), {}
    for position, record in enumerate(records):
        fact = read(record)
        tree.extend([leaf_hash(record)])
        assert (fact.position, fact.version) == (position, len(streams.setdefault(fact.stream, [])) + 1)
        streams[fact.stream].append(fact)
        assert heads.pop(tree.size, tree.root()) == tree.root()
    assert (len(records), heads) == (2_600, {})
    assert all(folded(name, facts).state.state for name, facts in streams.items())


def test_a_log_of_years_is_one_that_the_rules_could_have_led_to(database: str) -> None:
    assert years.grow(database, 2 * years.REQUESTS_MIN) == 2 * years.REQUESTS_MIN
    with psycopg.connect(database) as conn:
        facts = [read(record) for (record,) in conn.execute("SELECT record FROM event ORDER BY position")]
    streams: dict[str, list[Fact]] = {}
    for position, fact in enumerate(facts):
        streams.setdefault(fact.stream, []).append(fact)
        assert (fact.position, fact.version) == (position, len(streams[fact.stream]))
        assert fact.occurred <= fact.recorded <= years.end()
        if isinstance(fact.event, GrantIssued):
            assert fact.event.request in streams[f"request-{fact.event.request}"][0].stream
            assert fact.cause is not None and facts[fact.cause].stream == f"request-{fact.event.request}"
    states = Counter(folded(name, found).state.state for name, found in streams.items() if name.startswith("request-"))
    assert {"approved", "denied", "withdrawn", "returned", "in_review", "escalated"} <= states.keys()
    assert states["escalated"] == years.STRETCHES // years.SELDOM < states["in_review"] < states["approved"]


def test_every_list_is_asked_and_by_readers_who_see_few_or_nothing_of_it() -> None:
    asked = [question.name for question in queries.questions()]
    assert len(set(asked)) == len(asked)
    assert set(queries.FILTERS) <= set(queries.lists())
    assert {f"{queries.AUDITOR} {path}" for path in queries.lists()} <= set(asked)
    assert {question.person for question in queries.questions()} >= {queries.SELDOM, queries.OF_BIS}


def test_every_question_is_answered_on_both_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, fewer in (("STRETCHES", 12), ("REQUESTS_MIN", 120), ("SELDOM", 6)):
        monkeypatch.setattr(years, name, fewer)
    monkeypatch.setattr(queries, "PROCESSES", 1)
    assert command(["queries", "--json", "--requests", "240", "--rounds", "1"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)["figures"]["questions"]
    assert {question.name for question in queries.questions()} < set(found)
    for name, asked in found.items():
        assert "diff?" in name or "/ID" in name or set(asked) == {"now", "year_back"}
        assert all(each["many_p99_ms"] >= each["many_p50_ms"] > 0 for each in asked.values())


def test_the_ratio_of_a_question_is_that_of_its_medians() -> None:
    found = queries._told([0.001, 0.002, 0.009], [0.004, 0.005, 0.006])
    assert (found["few_p50_ms"], found["many_p50_ms"], found["ratio"]) == (2.0, 5.0, 2.5)


def test_a_log_that_grew_by_copies_is_verified(database: str, tmp_path: Path) -> None:
    acts = grown.life([fact for fact in in_review().facts if fact.stream == "request-nw" and fact.cause is None])
    grown.grow(database, acts, 2_500)
    grown.sign(database, tmp_path)
    with Snapshot(database, SignerFolder(tmp_path / "signer", Settings().origin)) as snapshot:
        assert verify(snapshot).signed_size == 2_500


@pytest.mark.parametrize(("answers", "refused", "broken"), [(9, 0, 0), (11, 0, 0), (10, 1, 0), (10, 0, 1)])
def test_there_is_no_number_unless_the_log_grew_by_just_the_commands_answered_201(
    answers: int, refused: int, broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([100, 110])
    used = {"cpu_seconds": lambda: 0.0, "doors_cpu_seconds": lambda: None}
    service: Any = SimpleNamespace(log_size=lambda: next(sizes), address="", **used)
    monkeypatch.setitem(commands.SENDERS, "wrk", lambda *_: (answers, refused, broken, Sample(1.0)))
    with pytest.raises(Unmeasured, match="the log grew by 10"):
        commands.load("wrk", service, Path("targets"), 1, 1, "tag")


def test_a_peer_that_cannot_be_had_is_missing_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(arguments: list[str]) -> None:
        raise peers.Unhad(f"{arguments[-1]} could not be installed")

    monkeypatch.setattr(peers, "make_database", lambda _: "")
    monkeypatch.setattr(peers, "_install", refuse)
    monkeypatch.setattr(peers.shutil, "which", lambda _: None)
    missing: list[str] = []
    with peers.at_hand("", tmp_path, b"record", peers.PEERS, missing) as found:
        assert set(found) == {"eventsourcing", "pgbench"}
    assert missing == [
        f"umadb: {peers.UMADB} could not be installed",
        "emmett: node and npm are not installed",
    ]


def test_a_sample_counts_and_ranks_what_each_operation_took() -> None:
    found = sample_of([nth / 1000 for nth in range(100, 0, -1)], seconds=4.0)
    assert found == Sample(per_second=25.0, p50_ms=51.0, p99_ms=100.0)


def test_a_figure_is_the_median_of_its_rounds() -> None:
    rounds = [Sample(10.0, 1.0), Sample(1000.0, 3.0), Sample(20.0, 2.0)]
    assert medians(rounds) == {"per_second": 20.0, "p50_ms": 2.0}


def test_a_person_reads_every_number() -> None:
    report = Report(
        {"clients": {"64": {"assent": {"per_second": 5.0}, "vs_pgbench": 0.5}}}, {"vs_pgbench": 0.5}, ["wrk"]
    )
    assert as_text(report).splitlines() == [
        "clients",
        "  64",
        "    assent: per_second 5.0",
        "    vs_pgbench 0.5",
        "vs_pgbench 0.5",
        "missing: wrk",
    ]


def test_a_round_of_kills_tells_what_was_acknowledged_and_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kill, "CONTROLS", {})
    assert command(["kill", "--rounds", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["acknowledged"] > 0 and figures["rounds"] == 1 and sum(figures["kills"].values()) == 1
    assert (figures["lost"], figures["duplicated"], figures["unresolved"], figures["violations"]) == (0, 0, 0, {})


@pytest.mark.parametrize(("faulty", "caught", "code"), [(False, True, 0), (True, True, 1), (False, False, 1)])
def test_a_kill_that_left_a_fault_and_a_control_that_nothing_found_end_in_a_one(
    faulty: bool, caught: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault("nothing_acknowledged_is_lost", "It is not in the log.")

    async def struck(*_: object) -> kill.Tally:
        return kill.Tally(faults={fault: None} if faulty else {}, seconds=[1.0])

    async def controlled(*_: object) -> dict[str, bool]:
        return {"caught": caught}

    monkeypatch.setattr(kill, "struck", struck)
    monkeypatch.setattr(kill, "controlled", controlled)
    assert command(["kill", "--json"]) == code
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["lost"] == faulty == sum(figures["violations"].values())


def test_edits_of_every_kind_are_found_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["tamper", "--edits", str(len(EDITS)), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["edits"] == figures["detected"] == figures["named_right"] == len(figures["kinds"]) == len(EDITS)
    assert figures["events"] > 1_000 and "missed" not in figures


def test_an_edit_that_is_not_found_ends_in_a_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tamper, "difference", lambda log: None)
    assert command(["tamper", "--edits", "2", "--json"]) == 1
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert (figures["edits"], figures["detected"], figures["named_right"], len(figures["missed"])) == (2, 0, 0, 2)


def test_a_log_is_exported_and_verified_by_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", "--events", "3000", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["events"] >= 3_000 and figures["export_bytes"] > 100_000
    for step in ("export", "verify", "verify_database", "script"):
        assert figures[f"{step}_seconds"] > 0 and figures[f"{step}_rss_mib"] > 0


def test_checks_are_measured_beside_a_dict_that_knows_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "QUESTIONS", 500)
    sizes = ["--grants", "1000", "--growth", "500", "1000", "--peers", ""]
    assert command(["checks", "--json", "--only", "memory", *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["figures"]["grants"] == 1000 and 100 < found["figures"]["bytes_per_grant"] < 1000
    assert {"vs_dict", "us_at_many_vs_few"} == set(found["ratios"])
    ours, plain = checks.gate(1000), checks.looked_up(1000)
    assert all(ours(*key).allowed is plain(*key) is True for key in checks.keys(1000))
    assert not ours("customer-0", "release-0", "pro", "us_person").allowed


def test_turnaround_is_timed_over_many_requests_and_over_few(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--requests", "3000", "--few", "300", "--repetitions", "1"]
    assert command(["turnaround", "--json", *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ratios"]["all_vs_few"] > 0
    assert set(found["figures"]) == {"300_requests", "3000_requests"}
    assert all(found["figures"]["3000_requests"][f"by_{by}_ever_now"]["p50_ms"] > 0 for by in get_args(By))
