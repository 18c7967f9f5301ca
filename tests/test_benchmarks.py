"""Do the benchmarks run, and do they refuse to give a number where something went wrong?"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks import BENCHMARKS, command, commands
from tests.benchmarks.report import Report, Unmeasured, as_text
from tests.benchmarks.samples import Sample, medians, sample_of


def test_the_help_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert all(f"\n    {name} " in told for name in BENCHMARKS)


@pytest.mark.parametrize(
    "arguments", [["unheard-of"], [], ["commands", "--clients", "0"], ["commands", "--clients", "65"]]
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
    sizes = ["--seconds", "1", "--rounds", "1", "--clients", "2"]
    assert command(["commands", "--json", "--client", client, *sizes]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"figures", "ratios", "missing"}
    figures = found["figures"]["clients"]["2"]
    assert figures["assent"]["p99_ms"] >= figures["assent"]["p50_ms"] > 0
    for peer in ("eventsourcing", "pgbench"):
        ours, theirs = figures["assent"]["per_second"], figures[peer]["per_second"]
        assert found["ratios"][f"vs_{peer}"] == pytest.approx(ours / theirs, abs=0.001)
    assert len(found["missing"]) == (client == "python")


@pytest.mark.parametrize(("answers", "refused", "broken"), [(9, 0, 0), (11, 0, 0), (10, 1, 0), (10, 0, 1)])
def test_there_is_no_number_unless_the_log_grew_by_just_the_commands_answered_201(
    answers: int, refused: int, broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([100, 110])
    service: Any = SimpleNamespace(log_size=lambda: next(sizes), address="")
    monkeypatch.setattr(commands, "with_wrk", lambda *_: (answers, refused, broken, Sample(1.0)))
    with pytest.raises(Unmeasured, match="the log grew by 10"):
        commands.load("wrk", service, Path("targets"), 1, 1, "tag")


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
