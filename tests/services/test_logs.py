"""Does a line say what happened, to which request and where in the code, in one shape, and nobody's secret?"""

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from domain.errors import NamesUnknown
from services import logs
from services.logs import SELDOM_SECONDS, About, Form, Seldom, about, note_person, trace_of, words_of

CANARY = "s3cret-canary"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `begin` changes for the whole process is as before when a test ends."""
    import threading

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root = logging.getLogger()
    handlers, level, shown = list(root.handlers), root.level, warnings.showwarning
    yield
    logging.captureWarnings(False)
    root.handlers[:], warnings.showwarning = handlers, shown
    root.setLevel(level)


def said(form: Form = "json", stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    logs.begin(form, stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failing(words: str) -> ValueError:
    """An error with a place, and another behind it."""
    try:
        try:
            raise LookupError(words)
        except LookupError as first:
            raise ValueError(words) from first
    except ValueError as error:
        return error


def test_a_line_is_one_object_with_all_that_is_known() -> None:
    stream = said()
    with about(About("request-1", lambda: "/api/v1/requests/{id}")):
        note_person("nina")
        logging.getLogger("services.x").warning("It took\n%d steps", 3, extra={"status": 200, "duration_ms": 1.5})
    logging.getLogger("services.x").info("not said")
    (line,) = lines(stream)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line.pop("process") == os.getpid()
    assert line == {
        "level": "WARNING",
        "logger": "services.x",
        "message": "It took\n3 steps",
        "request_id": "request-1",
        "route": "/api/v1/requests/{id}",
        "person": "nina",
        "status": 200,
        "duration_ms": 1.5,
    }


def test_on_a_terminal_it_is_text_in_which_nobody_fakes_a_line() -> None:
    for form, stream in (("auto", Terminal()), ("text", io.StringIO())):
        logged = said(form, stream)  # type: ignore[arg-type]
        logging.getLogger("services.x").warning("of %s", "nina\n2026-01-01 00:00:00 ERROR \x1b[2J", extra={"status": 4})
        (line,) = logged.getvalue().splitlines()
        assert r"services.x: of nina\n2026-01-01 00:00:00 ERROR \x1b[2J [status=4]" in line


def test_away_from_a_terminal_it_is_json() -> None:
    stream = said("auto")
    logging.getLogger("services.x").error("x")
    assert lines(stream)[0]["level"] == "ERROR"


def test_of_an_error_its_kind_its_place_and_its_cause_are_told_but_not_its_words() -> None:
    for form in ("json", "text"):
        stream = said(form)  # type: ignore[arg-type]
        logging.getLogger("services.x").error("failed: %s, %r", *[failing(CANARY)] * 2, exc_info=failing(CANARY))
        text = stream.getvalue()
        assert CANARY not in text
        assert "failed: ValueError" in text and "because of LookupError" in text
        assert f"at {__name__}:" in text and "failing" in text


def test_a_group_tells_of_each_error_in_it() -> None:
    told = trace_of(ExceptionGroup("x", [ValueError(CANARY), OSError(2, "No such file")]))
    assert told[1:] == ["among them ValueError", "among them FileNotFoundError: No such file"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError(CANARY), "KeyError"),
        (UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY), "UnicodeDecodeError"),
        (NamesUnknown(f"There is no {CANARY}"), "domain.errors.NamesUnknown (names_known_things)"),
        (psycopg.errors.UniqueViolation(CANARY), "psycopg.errors.UniqueViolation (SQLSTATE 23505)"),
        (psycopg.OperationalError("gone\nDETAIL: " + CANARY), "psycopg.OperationalError: gone"),
        (ConnectionRefusedError(111, "Connection refused"), "ConnectionRefusedError: Connection refused"),
    ],
)
def test_words_are_told_where_they_are_nobody_elses(error: BaseException, words: str) -> None:
    assert words_of(error) == words


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://assent:{CANARY}@db/assent",
        f"host=db password={CANARY} user=assent",
        f"host=db password='{CANARY} x' user=assent",
        f"Authorization: Bearer {CANARY}",
        f"eyJhbGciOiJub25lIn0.{CANARY}.{CANARY}",
        f"assent_01k0000000000000000000000z_{CANARY}",
    ],
)
def test_what_looks_like_a_secret_is_left_out_wherever_it_comes_from(text: str) -> None:
    stream = said()
    logging.getLogger("services.x").warning("seen: %s", text)
    logging.getLogger("services.x").error("seen", exc_info=psycopg.OperationalError(text))
    assert CANARY not in stream.getvalue() and "seen: " in stream.getvalue()


def test_what_anybody_can_cause_is_said_once_a_second_with_a_count_of_the_others() -> None:
    now = [10.0]
    seldom = Seldom(lambda: now[0])

    def passes(name: str = "uvicorn.error", level: int = logging.WARNING, words: str = "Invalid") -> Any:
        record = logging.LogRecord(name, level, "", 0, words, (), None)
        return seldom.filter(record) and getattr(record, "others", 0)

    assert [passes() for _ in range(5)] == [0, False, False, False, False]
    assert passes(words="another") == 0 and passes(level=logging.ERROR) == 0 and passes("services.x") == 0
    now[0] += SELDOM_SECONDS
    assert passes() == 4
    now[0] += SELDOM_SECONDS
    assert passes() == 0


def test_what_a_process_dies_or_warns_of_is_a_line_too() -> None:
    stream = said()
    error = failing(CANARY)
    sys.excepthook(ValueError, error, error.__traceback__)
    warnings.warn("it gets old", DeprecationWarning, stacklevel=1)
    first, second = lines(stream)
    assert (first["level"], first["trace"][0]) == ("CRITICAL", "ValueError")
    assert "it gets old" in second["message"] and CANARY not in stream.getvalue()


def test_beginning_again_says_nothing_twice() -> None:
    first, second = said(), said()
    logging.getLogger("services.x").error("once")
    assert (first.getvalue(), len(lines(second))) == ("", 1)
