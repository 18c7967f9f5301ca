"""What does a process say of itself on stderr, in which shape, and what does it never say?

Somebody else's words are left out: an exception may quote what a caller sent, or a statement's values. Said are its
type, where it happened, and words that are known to come from ourselves, the operating system or a connection.
"""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO

import msgspec
import psycopg

from domain.errors import Refused

Form = Literal["auto", "json", "text"]
"""`auto`: text on a terminal, else JSON lines."""

FIELDS = ("request_id", "route", "command", "person", "caller", "status", "duration_ms", "others")
"""What a line may tell beside its message."""

SELDOM = frozenset({"uvicorn.error", "services.http.rates", "psycopg.pool", "asyncio"})
"""Whose warnings anybody can cause, as many as they like."""
SELDOM_SECONDS = 1.0

FRAMES_MAX = 40
_OURS = ("domain.", "projections.", "services.")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SECRETS = re.compile(
    r"(?<=://)[^/\s@]*:[^\s@]*(?=@)"  # a login in an address
    r"|(?<=password=)(?:'[^']*'|\S+)"
    r"|\beyJ[\w-]*\.[\w-]*\.[\w-]*"  # a token
    r"|\bassent_[0-9a-z]{26}_[\w-]+"  # a machine's key
    r"|(?<=[Bb]earer )\S+"
)


@dataclass(slots=True)
class About:
    """The request that a task is busy with. `route` finds the template of its address, when that is told."""

    request_id: str
    route: Callable[[], str]
    person: str = ""


_current: ContextVar[About | None] = ContextVar("about", default=None)


@contextmanager
def about(request: About) -> Iterator[None]:
    """Whatever is said within tells of which request."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def note_person(person: str) -> None:
    """Who sends the current request is known from now on."""
    if (request := _current.get()) is not None:
        request.person = person


def words_of(error: BaseException) -> str:
    """An exception's type, and its words where they are none of a caller's."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    match error:
        case Refused():
            return f"{name} ({error.rule})"
        case psycopg.OperationalError():
            return f"{name}: {str(error).partition(chr(10))[0]}"
        case psycopg.Error():
            return f"{name} (SQLSTATE {error.sqlstate})"
        case OSError() if error.strerror:
            return f"{name}: {error.strerror}"
        case _ if kind.__module__.startswith(_OURS):
            return f"{name}: {error}"
        case _:
            return name


def trace_of(error: BaseException, link: str = "") -> list[str]:
    """Where an exception was raised and what it followed from, a line for each step."""
    lines = [link + words_of(error)]
    frame = error.__traceback__
    steps: list[str] = []
    while frame is not None:
        steps.append(f"at {frame.tb_frame.f_globals.get('__name__')}:{frame.tb_lineno} {frame.tb_frame.f_code.co_name}")
        frame = frame.tb_next
    lines += steps[-FRAMES_MAX:]
    for each in getattr(error, "exceptions", ()):
        lines += trace_of(each, "among them ")
    if error.__cause__ is not None:
        lines += trace_of(error.__cause__, "because of ")
    elif error.__context__ is not None and not error.__suppress_context__:
        lines += trace_of(error.__context__, "while handling ")
    return lines


class Shape(logging.Formatter):
    """What all lines have in common: what is said, and of which request."""

    def said(self, record: logging.LogRecord) -> str:
        """The message, without anything that may be a secret."""
        args: Any = record.args
        if isinstance(args, tuple):
            args = tuple(words_of(each) if isinstance(each, BaseException) else each for each in args)
        words = str(record.msg) if not args else str(record.msg) % args
        if record.name == "asyncio":
            words = words.partition("\n")[0]  # behind it stand objects, with all that is in them
        return _SECRETS.sub("…", words)

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if (request := _current.get()) is not None:
            found = {"request_id": request.request_id, "route": request.route(), "person": request.person}
        found |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        return {name: value for name in FIELDS if (value := found.get(name)) not in (None, "")}

    def trace(self, record: logging.LogRecord) -> list[str]:
        error = record.exc_info[1] if record.exc_info else None
        return [] if error is None else [_SECRETS.sub("…", line) for line in trace_of(error)]


class JsonLines(Shape):
    """A line is one JSON object, in UTF-8."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head: dict[str, Any] = {"time": at, "level": record.levelname, "logger": record.name}
        head |= {"process": record.process, "message": self.said(record)}
        trace = self.trace(record)
        return msgspec.json.encode({**head, **self.fields(record), **({"trace": trace} if trace else {})}).decode()


class TextLines(Shape):
    """A line for people; what follows from it stands below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in self.fields(record).items())
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {self.said(record)}"
        lines = [f"{line} [{fields}]" if fields else line, *(f"    {each}" for each in self.trace(record))]
        return "\n".join(_CONTROLS.sub(_escaped, each) for each in lines)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


class Seldom(logging.Filter):
    """Of what anybody can cause, one line a second of each kind, which tells how many `others` were left out."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name not in SELDOM or record.levelno >= logging.ERROR:
            return True
        kind, now = (record.name, str(record.msg)), self._now()
        since, others = self._said.get(kind, (float("-inf"), 0))
        if now - since < SELDOM_SECONDS:
            self._said[kind] = since, others + 1
            return False
        self._said[kind] = now, 0
        if others:
            record.others = others
        return True


class _Ours(logging.StreamHandler[TextIO]):
    """The one handler of the process."""


def begin(form: Form = "auto", stream: TextIO | None = None) -> None:
    """From now on, whatever this process logs, warns of or dies of is told in that form, on stderr unless told else."""
    handler = _Ours(stream)
    is_json = form == "json" or (form == "auto" and not handler.stream.isatty())
    handler.setFormatter(JsonLines() if is_json else TextLines())
    handler.addFilter(Seldom())
    root = logging.getLogger()
    for each in [each for each in root.handlers if isinstance(each, _Ours)]:
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("services").critical("The process ends: nobody expected this", exc_info=error)


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None and not issubclass(given.exc_type, SystemExit):
        logging.getLogger("services").critical("A thread ends: nobody expected this", exc_info=given.exc_value)
