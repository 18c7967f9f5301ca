"""Does paging give every row once, whatever is written meanwhile, and is every bad cursor refused?"""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import Malformed
from projections import pages, pending_sign_offs, requests
from projections.pages import Asked
from projections.tracking import NotReady
from tests.projections.shelf import Connection, as_, many_requests, tell
from tests.spec import instant, preview

AUDITOR = as_("ada")
NOW = instant("2026-07-01T00:00:00Z")


async def test_pages_hold_every_row_once_in_order(log: str, conn: Connection) -> None:
    await tell(log, many_requests(preview(), 23))
    found, cursor = [], None
    for _ in range(5):
        page = await requests.page(conn, AUDITOR, Asked(cursor=cursor, limit=5))
        found += [item["id"] for item in page.items]
        cursor = page.next
    assert cursor is None
    assert found == [f"r{nth:03}" for nth in range(23)]


async def test_a_page_that_is_just_full_is_the_last_one(log: str, conn: Connection) -> None:
    await tell(log, many_requests(preview(), 5))
    page = await requests.page(conn, AUDITOR, Asked(limit=5))
    assert (len(page.items), page.next) == (5, None)


async def test_what_is_written_meanwhile_moves_no_row_to_another_page(log: str, conn: Connection) -> None:
    story = many_requests(preview(), 6, first=10)
    await tell(log, story)
    first = await requests.page(conn, AUDITOR, Asked(limit=4))
    await tell(log, many_requests(many_requests(story, 3, first=0), 2, first=20))
    second = await requests.page(conn, AUDITOR, Asked(cursor=first.next, limit=200))
    assert [item["id"] for item in first.items + second.items] == [f"r{n:03}" for n in (*range(10, 16), 20, 21)]


async def test_a_list_of_the_past_is_paged_as_it_was(log: str, conn: Connection) -> None:
    story = many_requests(preview(), 6)
    then = len(story.facts) - 1
    await tell(log, many_requests(story, 6, first=6))
    first = await requests.page(conn, AUDITOR, Asked(at=then, limit=4))
    second = await requests.page(conn, AUDITOR, Asked(at=then, cursor=first.next, limit=4))
    assert [item["id"] for item in first.items + second.items] == [f"r{n:03}" for n in range(6)]
    assert (first.position, second.next) == (then, None)


async def test_a_page_says_as_of_which_position_it_is(log: str, conn: Connection) -> None:
    story = many_requests(preview(), 1)
    await tell(log, story)
    end = len(story.facts) - 1
    assert (await requests.page(conn, AUDITOR)).position == end
    assert (await requests.page(conn, AUDITOR, Asked(at=3))).position == 3
    assert (await requests.page(conn, AUDITOR, Asked(at=10**12))).position == end
    assert (await requests.page(conn, AUDITOR, Asked(at=-1))).items == []


async def test_lists_by_several_columns_are_paged_by_all_of_them(log: str, conn: Connection) -> None:
    await tell(log, many_requests(preview(), 4))
    found, cursor = [], None
    while True:
        page = await pending_sign_offs.page(conn, AUDITOR, Asked(cursor=cursor, limit=5), now=NOW)
        found += [(item["due"] or "never", item["stream"], item["agency"]) for item in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 14
    assert found == sorted(found)


async def test_before_the_rows_exist_a_list_is_not_ready(conn: Connection) -> None:
    with pytest.raises(NotReady):
        await requests.page(conn, AUDITOR)


@pytest.mark.parametrize("limit", [0, -1, 201, 10**9])
async def test_a_limit_out_of_bounds_is_refused(conn: Connection, limit: int) -> None:
    with pytest.raises(Malformed):
        await requests.page(conn, AUDITOR, Asked(limit=limit))


def encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "=",
        "nonsense",
        "é",
        "WyJhIl0 ",
        encoded("{}"),
        encoded("[]"),
        encoded("null"),
        encoded("[1]"),
        encoded('["a","b"]'),
        encoded('[ "a"]'),
        encoded('["a\\u0000"]'),
        encoded('["\ud800"]'),
        encoded("[" * 500),
        "W" * 5000,
    ],
)
async def test_a_cursor_that_was_never_given_out_is_refused(log: str, conn: Connection, cursor: str) -> None:
    with pytest.raises(Malformed):
        await requests.page(conn, AUDITOR, Asked(cursor=cursor))


@pytest.mark.parametrize("due", ["soon", "2026-07-01", "2026-07-01T00:00:00", ""])
async def test_a_cursor_without_a_time_where_one_belongs_is_refused(log: str, conn: Connection, due: str) -> None:
    with pytest.raises(Malformed):
        await pending_sign_offs.page(conn, AUDITOR, Asked(cursor=encoded(f'["{due}","r000","oncd"]')), now=NOW)


@given(st.text())
@example("WyJhIl0")
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_cursor_or_malformed(cursor: str) -> None:
    try:
        key = pages._key_of(cursor, ["text"])
    except Malformed:
        return
    assert pages._cursor(tuple(key)) == cursor


@pytest.mark.parametrize("value", ["\0", "a\0b", "\ud800"])
async def test_a_filter_that_no_row_can_have_is_refused(log: str, conn: Connection, value: str) -> None:
    with pytest.raises(Malformed):
        await requests.page(conn, AUDITOR, customer=value)
    with pytest.raises(Malformed):
        await requests.page(conn, AUDITOR, waiting_on=value)
    with pytest.raises(Malformed):
        await requests.detail(conn, AUDITOR, value)
