"""Is a file exactly the list, of one position, harmless, and recognisable where it was cut off?"""

import asyncio
import csv
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections import requests
from projections.pages import Asked, Page
from services.http import exports
from services.http.exports import cell
from services.http.problems import NotYourRole
from services.http.queries import DASHBOARDS, KINDS, Kind
from services.http.reads import Reads
from services.settings import Settings
from tests.conftest import fresh_database
from tests.projections.shelf import append, as_, connected, many_requests, tell
from tests.services.http.conftest import Service, served
from tests.services.http.test_commands import problem
from tests.services.http.test_past import address, end, story
from tests.spec import approve, preview

LISTS = [*KINDS, *DASHBOARDS]
READERS = ("ada", "olga", "rae", "nina", "tom")


@pytest.fixture(scope="module")
def service(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    written = story()
    for conninfo in fresh_database(postgres, template):
        append(conninfo, written.facts)
        folder = tmp_path_factory.mktemp("exports")
        settings = Settings(data=folder, database_url=conninfo, port=0, clock="manual", clock_start=written.now)
        with served(settings) as running:
            for kind in LISTS:
                running.read("ada", address(kind), end(written))
            yield running


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "LIMIT_MAX", 2)


def table(response: httpx.Response) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert response.text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


def lines(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in response.text.splitlines()]


# What it holds


@pytest.mark.parametrize("kind", LISTS, ids=lambda kind: kind.plural)
@pytest.mark.parametrize("person", READERS)
@pytest.mark.parametrize("at", ["", "&at=2026-07-07T15:00:00Z"])
def test_a_file_is_what_the_list_shows_to_the_same_reader(
    service: Service, small_parts: None, kind: Kind, person: str, at: str
) -> None:
    listed = service.get(person, f"{address(kind)}?limit=200{at}")
    if listed.status_code == 403:
        problem(service.get(person, f"{address(kind)}?format=csv{at}"), 403, "authority")
        return
    items, position = listed.json()["items"], listed.json()["position"]
    found = lines(service.get(person, f"{address(kind)}?format=jsonl{at}"))
    assert found == [*items, {"complete": {"items": len(items), "position": position}}]
    rows = table(service.get(person, f"{address(kind)}?format=csv{at}"))
    assert [{name: each for name, each in row.items() if each} for row in rows] == [
        {name: cell(each) for name, each in item.items() if cell(each)} for item in items
    ]


def test_a_file_has_the_filters_of_the_list(service: Service) -> None:
    found = table(service.get("ada", "/requests?format=csv&state=approved&customer=northwind"))
    assert [row["id"] for row in found] == ["nw", "nw3"]


def test_a_file_without_items_still_says_what_its_columns_are(service: Service) -> None:
    response = service.get("ada", "/requests?format=csv&state=lapsed")
    assert response.text.split(",")[:3] == ["id", "customer", "release"] and table(response) == []
    assert lines(service.get("ada", "/requests?format=jsonl&state=lapsed"))[0]["complete"]["items"] == 0


def test_an_applicant_has_no_column_for_what_is_not_theirs_to_know(service: Service) -> None:
    theirs = table(service.get("nina", "/requests?format=csv"))[0].keys()
    assert table(service.get("olga", "/requests?format=csv"))[0].keys() - theirs == requests.FOR_OFFICERS


def test_its_name_says_of_which_list_and_position_it_is(service: Service) -> None:
    response = service.get("ada", "/requests?format=csv&at=30")
    assert response.headers["content-disposition"] == 'attachment; filename="requests-at-30.csv"'
    assert response.headers["cache-control"] == "no-store"


async def test_what_is_written_meanwhile_is_not_in_it(database: str, small_parts: None) -> None:
    told = many_requests(preview(), 7)
    await tell(database, told)
    async with await connected(database) as conn:

        async def read(asked: Asked) -> Page:
            return await requests.page(conn, as_("ada"), asked)

        then = await requests.page(conn, as_("ada"), Asked(limit=200))
        parts = exports._parts(await read(Asked(None, None, 2)), read)
        found = await anext(parts)
        await tell(database, approve(many_requests(told, 3, first=7), "r003", "g"))
        async for part in parts:
            found += part
        assert found == then.items
        assert (await read(Asked(limit=200))).items != then.items


@pytest.mark.parametrize("asked", ["limit=10", "cursor=WyJhIl0", "limit=10&cursor=WyJhIl0"])
def test_a_file_is_no_page(service: Service, asked: str) -> None:
    for format in ("csv", "jsonl"):
        problem(service.get("ada", f"/requests?format={format}&{asked}"), 400, "parameters")


def test_a_format_that_there_is_not_is_refused(service: Service) -> None:
    problem(service.get("ada", "/requests?format=xml"), 400, "parameters")


# Whether it is whole


def test_a_file_that_was_cut_off_is_no_whole_answer(
    service: Service, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    same = Reads.same_reader

    async def no_more(reads: Reads, *given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise NotYourRole("It is over.")
        await same(reads, *given)

    monkeypatch.setattr(Reads, "same_reader", no_more)
    for format in ("csv", "jsonl"):
        calls, got = 0, b""
        asked = service.client.stream("GET", f"/api/v1/requests?format={format}", headers=service.headers("ada"))
        with pytest.raises(httpx.RemoteProtocolError), asked as whole:
            for chunk in whole.iter_bytes():
                got += chunk
        assert got.count(b"gpt-5.6") >= 4 and b"complete" not in got


def test_a_reader_whose_offices_change_gets_no_more(
    service: Service, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.done("root", "/organizations/oncd/appointments", {"person": "tempora", "role": "reviewer"})
    calls, ended, same = 0, threading.Event(), Reads.same_reader

    async def asked_again(reads: Reads, *given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.to_thread(ended.wait, 10)
        await same(reads, *given)

    monkeypatch.setattr(Reads, "same_reader", asked_again)
    asked = service.client.stream("GET", "/api/v1/requests?format=jsonl", headers=service.headers("tempora"))
    with pytest.raises(httpx.RemoteProtocolError), asked as whole:
        chunks = whole.iter_bytes()
        assert b"gpt-5.6" in next(chunks)
        service.done("root", "/organizations/oncd/appointments/tempora/end", {"role": "reviewer"})
        ended.set()
        assert list(chunks) == []
    assert calls == 2


# Who had it


def test_every_part_of_a_file_is_recorded_as_exported(service: Service, small_parts: None) -> None:
    before = service.get("ada", "/trail?limit=1").json()["position"] + 1
    items = service.get("ada", "/requests?format=csv&at=60", x_request_id="the-file").text.count("gpt-5.6")
    records = service.get("ada", f"/trail?cursor={before}&type=ListExported").json()["items"]
    assert len(records) == 2 and {record["by"]["person"] for record in records} == {"ada"}
    assert {record["data"]["caller"]["request"] for record in records} == {"the-file"}
    assert {record["data"]["position"] for record in records} == {60}
    assert records[0]["data"]["asked"] == {"format": "csv", "at": "60"}
    assert sum(record["data"]["count"] for record in records) == items
    assert {"request-nw", "request-nw2"} <= {each for record in records for each in record["data"]["subjects"]}


# Cells


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "true"),
        (-7, "-7"),
        ("Fraud", "Fraud"),
        (["oncd", "ostp"], "oncd; ostp"),
        ([], ""),
        ({"a": [1]}, '{"a":[1]}'),
        ([{"n": 1}], '[{"n":1}]'),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "'  =1+1"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        (["=1"], "'=1"),
        ("a=1", "a=1"),
    ],
)
def test_a_cell_is_harmless_and_says_what_the_list_says(value: Any, shown: str) -> None:
    assert cell(value) == shown


@given(st.recursive(st.text() | st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_no_text_is_taken_for_a_formula(value: Any) -> None:
    if not isinstance(value, int):
        assert cell(value).lstrip()[:1] not in exports.FORMULAS


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2, max_size=2),
        max_size=4,
    )
)
def test_whatever_a_cell_holds_the_rows_stay_rows(rows: list[list[str]]) -> None:
    written = exports._lines([[cell(each) for each in row] for row in rows]).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [[cell(each) for each in row] for row in rows]
