"""Is turnaround told over HTTP to whoever may know it, and does every figure lead to what it counts?"""

from collections.abc import Iterator
from typing import Any

import pytest

from domain.request import DecideAppeal, FileAppeal, ProvideInformation, RequestInformation, SignOff
from domain.sign_offs import ProposedCondition
from projections.turnaround import DEFINITIONS
from services.settings import Settings
from tests.conftest import fresh_database
from tests.projections.shelf import append
from tests.services.http.conftest import Service, served
from tests.spec import Story, approve, in_review, second_request

BOARD, BEHIND = "/dashboards/turnaround", "/dashboards/turnaround/requests"


def story() -> Story:
    """Reviews that ended in several ways, one under way, and a customer's first grant."""
    here = approve(in_review().at("2026-06-30T15:00:00Z"), "nw", "g")
    second_request(here)
    here.at("2026-07-02T15:00:00Z").given(RequestInformation("tk", "oncd", "Who?"), by="olga")
    here.at("2026-07-04T15:00:00Z").given(ProvideInformation("tk", 1, "We."), by="tom")
    here.given(SignOff("tk", "ostp", "refuse"), by="sam").given(FileAppeal("tk", "Unfair"), by="tom")
    here.at("2026-07-08T15:00:00Z").given(DecideAppeal("tk", 1, "uphold", "It is fair."), by="dean")
    second_request(here, "northwind", "nina", "nw2")
    condition = ProposedCondition("Report misuse")
    return here.given(SignOff("nw2", "oncd", "approve_with_conditions", (condition,)), by="olga")


@pytest.fixture(scope="module")
def turnaround(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    written = story()
    for conninfo in fresh_database(postgres, template):
        append(conninfo, written.facts)
        folder = tmp_path_factory.mktemp("turnaround")
        with served(
            Settings(data=folder, database_url=conninfo, port=0, clock="manual", clock_start=written.now)
        ) as here:
            here.read("ada", BOARD, len(written.facts) - 1)
            yield here


def behind(service: Service, address: str, **of: Any) -> list[dict[str, Any]]:
    """All that is behind a figure, a few at a time."""
    asked = "".join(f"&{name}={value}" for name, value in of.items())
    found, cursor = [], ""
    while True:
        page = service.get("ada", f"{address.removeprefix('/api/v1')}{asked}&limit=1{cursor}").json()
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.mark.parametrize("by", ["agency", "provider", "size_class", "release"])
@pytest.mark.parametrize("period", ["", "&from=2026-07-01", "&from=2026-06-29&to=2026-07-04T15:00:00Z"])
def test_every_figure_is_the_number_of_what_is_listed_behind_it(turnaround: Service, by: str, period: str) -> None:
    board = turnaround.get("ada", f"{BOARD}?by={by}{period}").json()
    assert board["items"]
    for item in board["items"]:
        address = item["requests"]
        assert len(behind(turnaround, address)) == item["reviews"] == sum(item["outcomes"].values())
        for outcome, count in item["outcomes"].items():
            assert len(behind(turnaround, address, outcome=outcome)) == count
        for measure in ("deadlines_missed", "silence", "information_requests"):
            assert len(behind(turnaround, address, measure=measure)) == item[measure]
        for measure, days in item["days"].items():
            found = sorted(each[f"{measure}_days"] for each in behind(turnaround, address, measure=measure))
            assert len(found) == days["count"]
            assert days["small"] is True
            assert not found or days["p90"] == found[-1]
        for size, days in (item["authorised"] or {}).items():
            measure = "authorised" if size == "all" else f"authorised_{size}"
            assert len(behind(turnaround, address, measure=measure)) == days["count"]


def test_the_answer_says_what_its_figures_mean_and_of_which_days_they_are(turnaround: Service) -> None:
    board = turnaround.get("ada", f"{BOARD}?by=provider&from=2026-07-01T03:00:00Z&to=2026-07-31").json()
    assert (board["by"], board["from"], board["to"]) == ("provider", "2026-06-30", "2026-07-31"), "days in Washington"
    assert board["definitions"] == DEFINITIONS
    (item,) = board["items"]
    assert {outcome: count for outcome, count in item["outcomes"].items() if count} == {
        "approved": 1,
        "denied": 2,
        "pending": 1,
    }
    assert item["small"] is True


def test_as_of_an_earlier_point_the_figures_are_those_of_then(turnaround: Service) -> None:
    then = turnaround.get("ada", f"{BOARD}?by=provider&at=2026-06-29T00:00:00Z").json()
    assert [item["outcomes"]["pending"] for item in then["items"]] == [1]
    assert f"at={then['position']}" in then["items"][0]["requests"]
    assert turnaround.get("ada", f"{BOARD}?at=0").json()["items"] == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("from=2026-08-01&to=2026-07-01", "before it"),
        ("from=yesterday", "a day, or a time"),
        ("to=2026-02-30", "a day from"),
        ("from=0001-01-01", "a day from"),
        ("by=customer", "by"),
        ("limit=0", "limit"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(turnaround: Service, asked: str, said: str) -> None:
    for path in (BOARD, BEHIND):
        response = turnaround.get("ada", f"{path}?{asked}")
        assert response.status_code == 400
        assert said in response.json()["detail"]


def test_pages_of_figures_follow_each_other(turnaround: Service) -> None:
    whole = turnaround.get("ada", f"{BOARD}?by=agency").json()
    first = turnaround.get("ada", f"{BOARD}?by=agency&limit=2").json()
    second = turnaround.get("ada", f"{BOARD}?by=agency&limit=2&cursor={first['next']}").json()
    assert [item["value"] for item in whole["items"]] == ["commerce", "oncd", "ostp"]
    assert [*first["items"], *second["items"]] == whole["items"]
    assert second["next"] is None


def test_figures_leave_as_a_file_too(turnaround: Service) -> None:
    header, *lines = turnaround.get("ada", f"{BOARD}?by=agency&format=csv").text.splitlines()
    assert header.startswith("value,reviews,outcomes,")
    assert [line.split(",")[0] for line in lines] == ["commerce", "oncd", "ostp"]
    response = turnaround.get("ada", f"{BEHIND}?by=provider&format=csv")
    assert "turnaround-requests-at-" in response.headers["content-disposition"]
    assert len(response.text.splitlines()) == 1 + 4


def test_an_applicant_learns_nothing_of_turnaround(turnaround: Service) -> None:
    for person in ("nina", "tom"):
        for path in (BOARD, f"{BOARD}?by=provider", BEHIND, f"{BEHIND}?by=release&measure=authorised"):
            assert turnaround.get(person, path).json()["items"] == []
