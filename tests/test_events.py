"""Is every event described, written by a command that has an address, and readable under any name it ever had?"""

import json
import re
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from fastapi import FastAPI

from domain import rulebook
from domain.authority import COMMANDS as MAY
from domain.facts import By, Fact
from domain.grant import GrantSuspended
from domain.release import Phase, ReleaseAnnounced, RolloutHeld
from domain.rulebook import ALIASES, EVENTS, evolve_of
from domain.world import EMPTY, fold
from services.http.bodies import name_of
from services.http.commands import COMMANDS, PREFIX, UNROUTED
from services.http.description import describe
from services.log import record
from tests.documents import events
from tests.spec import instant

GOLDEN = Path(__file__).parent / "domain" / "golden"
NOW = instant("2026-07-01T15:00:00Z")
BY = By("olga", "oncd", "reviewer")


def table() -> dict[str, tuple[str, str]]:
    """The page's table of commands: each with its address and the events that it writes."""
    rows = re.findall(r"^\| (\w+\.\w+) \| (.+) \| (.*) \|$", events.BOOK.read_text(), re.MULTILINE)
    return {name: (address, written) for name, address, written in rows}


# The page


def test_the_page_says_what_the_domain_and_its_specs_say() -> None:
    assert events.BOOK.read_text() == events.book(events.witnessed()), "./run docs writes it anew"


def test_the_page_knows_every_command_and_every_event() -> None:
    assert set(table()) == {name for name, _ in events.commands()}
    headings = set(re.findall(r"^### (\w+)$", events.BOOK.read_text(), re.MULTILINE))
    assert set(EVENTS) - set(ALIASES) <= headings


def test_every_command_writes_something_and_every_event_is_written() -> None:
    assert [name for name, (_, written) in table().items() if not written] == []
    written = set(re.findall(r"\[(\w+)\]", " ".join(told for _, told in table().values())))
    assert written == set(EVENTS) - set(ALIASES)


@pytest.mark.parametrize("name", sorted(set(EVENTS) - set(ALIASES)))
def test_an_event_says_what_it_means(name: str) -> None:
    assert events.meaning(EVENTS[name]), f"{name} has no docstring"


# Commands and their addresses


def test_every_command_has_an_address_or_belongs_to_time_alone() -> None:
    commands = {command for _, command in events.commands()}
    assert set(COMMANDS.values()) | set(UNROUTED) == set(MAY), "who has an address has a rule of who may use it"
    timers = {name for name, (address, _) in table().items() if address == "time alone"}
    assert timers == {name for name, c in events.commands() if c not in MAY and c not in events.OF_THE_SERVICE}
    assert set(MAY) <= commands


def test_the_openapi_document_and_the_page_name_the_same_commands() -> None:
    described = describe(FastAPI(title="Assent", version="1"))["paths"]
    posts = {f"POST {path}" for path, item in described.items() if "post" in item and path.startswith(PREFIX)}
    on_the_page = {address.strip("`") for address, _ in table().values() if address.startswith("`")}
    assert on_the_page == posts
    assert len(COMMANDS) == len(on_the_page), "an address takes one command"


def test_the_openapi_document_says_which_command_an_address_takes() -> None:
    described = describe(FastAPI(title="Assent", version="1"))["paths"]
    for command in MAY.keys() - UNROUTED.keys():
        operation = described[events.address_of(command).strip("`").removeprefix("POST ")]["post"]
        assert f"Command `{name_of(command)}`" in operation["description"]


# Events are for ever


@pytest.mark.parametrize("name", sorted(set(EVENTS) - set(ALIASES)))
def test_a_field_that_came_later_says_since_when_and_has_a_default(name: str) -> None:
    first = set(json.loads((GOLDEN / f"{name}.json").read_bytes()))
    for field in fields(EVENTS[name]):
        came_later = field.name not in first
        assert came_later == (events.since(f"{name}.{field.name}") > events.since(name))


def test_every_edition_that_is_named_is_of_an_event_or_a_field() -> None:
    known = set(EVENTS) | {f"{name}.{field.name}" for name, event in EVENTS.items() for field in fields(event)}
    assert set(events.SINCE) <= known


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> str:
    """As if RolloutHeld had once been called ReleasePaused."""
    monkeypatch.setitem(rulebook.EVENTS, "ReleasePaused", RolloutHeld)
    return "ReleasePaused"


def stored(name: str, event: object, version: int) -> bytes:
    """A record as it was written when the event had that name."""
    fact = Fact(version - 1, "release-gpt-5.6", version, NOW, NOW, BY, "", None, event)
    return record.seal(fact.position, fact.stream, version, name, NOW, record.tail(fact))


def test_a_record_under_an_old_name_folds_as_the_event_of_today(renamed: str) -> None:
    announced = ReleaseAnnounced("openai", "GPT-5.6", ("standard",), "p", "high", (Phase("preview", "granted"),))
    streams = []
    for name in ("RolloutHeld", renamed):
        stream = EMPTY
        for bytes_ in (stored("ReleaseAnnounced", announced, 1), stored(name, RolloutHeld("Wait"), 2)):
            stream = fold(stream, record.read(bytes_), evolve_of("release-gpt-5.6"))
        streams.append(stream)
    assert streams[0] == streams[1]
    assert streams[1].state.holds == {"oncd"}
    assert record.read(stored(renamed, RolloutHeld("Wait"), 2)).type == "RolloutHeld"


def test_a_name_that_no_event_ever_had_stops_the_reader() -> None:
    with pytest.raises(msgspec.ValidationError, match="older than the log"):
        record.read(stored("GrantPaused", GrantSuspended("Misuse"), 1))
