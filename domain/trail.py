"""Trail: who read what, was shown an export, or was refused what they asked for?

Nothing is decided on it, so its events are no part of the rule book, and it is kept in a log of its own: a stream for
each person. It names people by their ids alone, and holds no text that anybody wrote, no body and no token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.facts import Fact
from domain.fields import AuditorOnly

KIND = "trail"


def stream(person: str) -> str:
    return f"{KIND}-{person}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Beside who it was: which offices they held (`organization/role`), the request's id, and whence it came."""

    offices: tuple[str, ...]
    request: str
    source: str


# Events: these names and fields are the storage format; they are forever. `subjects` are streams of the log; `address`
# is that of the description, without what the caller put into it; `asked` holds the parameters.


@dataclass(frozen=True, slots=True)
class DocumentRead:
    """Somebody was shown one document, or what happened to it."""

    caller: AuditorOnly[Caller]
    address: AuditorOnly[str]
    asked: AuditorOnly[Mapping[str, str]]
    subjects: AuditorOnly[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ListRead:
    """Somebody was shown a page of a list, with `count` items."""

    caller: AuditorOnly[Caller]
    address: AuditorOnly[str]
    asked: AuditorOnly[Mapping[str, str]]
    subjects: AuditorOnly[tuple[str, ...]]
    count: AuditorOnly[int]


@dataclass(frozen=True, slots=True)
class ListExported:
    """Somebody was sent `count` items of a list for a file, as of a position. A long list leaves several records."""

    caller: AuditorOnly[Caller]
    address: AuditorOnly[str]
    asked: AuditorOnly[Mapping[str, str]]
    subjects: AuditorOnly[tuple[str, ...]]
    count: AuditorOnly[int]
    position: AuditorOnly[int]


@dataclass(frozen=True, slots=True)
class EventsRead:
    """Somebody was shown `count` events of a log, the first and last at these positions (-1 where there were none)."""

    caller: AuditorOnly[Caller]
    address: AuditorOnly[str]
    asked: AuditorOnly[Mapping[str, str]]
    subjects: AuditorOnly[tuple[str, ...]]
    count: AuditorOnly[int]
    first: AuditorOnly[int]
    last: AuditorOnly[int]


@dataclass(frozen=True, slots=True)
class ReadRefused:
    """Somebody was not shown what they asked for."""

    caller: AuditorOnly[Caller]
    address: AuditorOnly[str]
    subjects: AuditorOnly[tuple[str, ...]]
    status: AuditorOnly[int]
    rule: AuditorOnly[str]


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """Somebody's command was refused by a rule, or would have been: `dry_run`."""

    caller: AuditorOnly[Caller]
    address: AuditorOnly[str]
    subjects: AuditorOnly[tuple[str, ...]]
    command: AuditorOnly[str]
    status: AuditorOnly[int]
    rule: AuditorOnly[str]
    dry_run: AuditorOnly[bool]


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """Somebody, nobody knows who, showed nothing that lets them in; and so many `others` since the record before.

    Nothing: no token, session or login that is accepted; or a session, but not that they mean what their browser sends.
    """

    caller: AuditorOnly[Caller]
    address: AuditorOnly[str]
    others: AuditorOnly[int]


@dataclass(frozen=True, slots=True)
class ExportRun:
    """An operator at a terminal has the log of this `origin`, of so many records, written to a file."""

    caller: AuditorOnly[Caller]
    operator: AuditorOnly[str]
    origin: AuditorOnly[str]
    size: AuditorOnly[int]


Event = DocumentRead | ListRead | ListExported | EventsRead | ReadRefused | CommandRefused | SignInRefused | ExportRun
_EVENTS: tuple[type, ...] = (
    DocumentRead,
    ListRead,
    ListExported,
    EventsRead,
    ReadRefused,
    CommandRefused,
    SignInRefused,
    ExportRun,
)
EVENTS = {event.__name__: event for event in _EVENTS}
"""Every event of the trail by its stable name."""

RECORDED: Mapping[str, str] = {
    "/api/v1/requests": "request",
    "/api/v1/requests/{id}": "request",
    "/api/v1/requests/{id}/history": "request",
    "/api/v1/requests/{id}/required-sign-offs": "request",
    "/api/v1/requests/{id}/dossier": "request",
    "/access/v1/requests/{id}": "request",
    "/api/v1/grants": "grant",
    "/api/v1/grants/{id}": "grant",
    "/api/v1/grants/{id}/history": "grant",
    "/api/v1/grants/{id}/enforcement": "grant",
    "/api/v1/releases/{id}/history": "release",
    "/api/v1/keys": "key",
    "/api/v1/keys/{id}": "key",
    "/api/v1/legal-holds": "hold",
    "/api/v1/legal-holds/{id}": "hold",
    "/api/v1/subjects": "subject",
    "/api/v1/subjects/{id}": "subject",
    "/api/v1/dashboards/pending_sign_offs": "",
    "/api/v1/dashboards/conditions": "grant",
    "/api/v1/dashboards/rollout": "release",
    "/api/v1/dashboards/clearance": "organization",
    "/api/v1/dashboards/activity": "",
    "/api/v1/dashboards/activity_counts": "subject",
    "/api/v1/dashboards/turnaround": "",
    "/api/v1/dashboards/turnaround/requests": "",
    "/api/v1/diff": "",
    "/api/v1/events": "",
    "/api/v1/log/tile/entries/{place}": "",
    "/api/v1/trail": "",
    "/api/v1/trail/tile/entries/{place}": "",
}
"""Reads that name a customer or a person, tell of deliberations, or show records as they are; and the kind of stream
that they are about, where it is one; else an item names its stream."""


def evolve(state: None, fact: Fact) -> Any:
    """Nothing is decided on what somebody read, so nothing follows from it."""
    return state
