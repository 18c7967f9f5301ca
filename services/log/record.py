"""How does a fact become the exact bytes that are hashed, and how is it read back?

A record is one line of JSON, its keys in this order (DESIGN §5):
position, stream, version, type, recorded │ occurred, by, command, cause, salt, data
Left of the bar is known only when the log takes the fact in; the tail on the right is made before. What was written is
never serialised again: readers pass the stored bytes on.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec
from eventsourcing.persistence import Mapper, StoredEvent

from domain.errors import Refused
from domain.facts import By, Fact
from services.chance import chunk

RECORD_BYTES_MAX = 65_535
"""What one entry of a C2SP entry bundle can hold."""


class RecordTooLarge(Refused):
    status, rule, title = 422, "record_size", "The command holds too much text for one record"


class Tail(bytes):
    """The part of a record that is known before the log takes the fact in: `{"occurred":…}`."""


class _Head(msgspec.Struct):
    position: int
    stream: str
    version: int
    type: str
    recorded: datetime


class _Tail(msgspec.Struct):
    occurred: datetime
    by: By
    command: str
    cause: int | None
    salt: str
    data: Any


class _Sealed(msgspec.Struct, gc=False):
    """The head and the tail in one: `seal(…, tail(fact))`, without writing it in two."""

    position: int
    stream: str
    version: int
    type: str
    recorded: datetime
    occurred: datetime
    by: By
    command: str
    cause: int | None
    salt: str
    data: Any


class _Foreign(msgspec.Struct):
    """The tail of an event of another application of the library: bytes that only it understands."""

    state: str


class _Record(msgspec.Struct):
    position: int
    stream: str
    version: int
    type: str
    recorded: datetime
    occurred: datetime | None = None
    by: By | None = None
    command: str = ""
    cause: int | None = None
    salt: str = ""
    data: msgspec.Raw = msgspec.Raw()
    state: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Record).decode


def tail(fact: Fact) -> Tail:
    """All of the record that is known before its place is. A fact without a salt gets one here, so keep the result."""
    return Tail(_encode(_Tail(fact.occurred, fact.by, fact.command, fact.cause, _salt(fact), fact.event)))


def _salt(fact: Fact) -> str:
    return fact.salt or chunk().hex()


def seal(position: int, stream: str, version: int, type_: str, recorded: datetime, state: bytes) -> bytes:
    """The record: position, version and time in front of the tail; bytes that are no tail are wrapped in base64.

    Raises RecordTooLarge above 65,535 bytes.
    """
    head = _encode(_Head(position, stream, version, type_, recorded))
    rest = state if isinstance(state, Tail) else _encode(_Foreign(b64encode(state).decode()))
    return _fitting(head[:-1] + b"," + rest[1:])


def _fitting(record: bytes) -> bytes:
    if len(record) > RECORD_BYTES_MAX:
        raise RecordTooLarge(f"One record holds at most {RECORD_BYTES_MAX:,} bytes; this one needs {len(record):,}.")
    return record


def seal_fact(fact: Fact) -> bytes:
    """The record of a fact that knows its place. Raises RecordTooLarge."""
    return _fitting(
        _encode(
            _Sealed(
                fact.position,
                fact.stream,
                fact.version,
                fact.type,
                fact.recorded,
                fact.occurred,
                fact.by,
                fact.command,
                fact.cause,
                _salt(fact),
                fact.event,
            )
        )
    )


def read(record: bytes) -> Fact:
    """The fact that a record holds. Raises msgspec.DecodeError where it is not one of Assent's."""
    found = _decode(record)
    if found.occurred is None or found.by is None:
        raise msgspec.ValidationError(f"The record at position {found.position} is not one of Assent's.")
    return Fact(
        found.position,
        found.stream,
        found.version,
        found.recorded,
        found.occurred,
        found.by,
        found.command,
        found.cause,
        _event_decoder(found.type)(found.data),
        found.salt,
    )


class Outline(NamedTuple):
    """What stands in a record beside who acted, as bytes; `data` is the event itself."""

    position: bytes
    stream: bytes
    version: bytes
    type: bytes
    recorded: bytes
    occurred: bytes
    command: bytes
    cause: bytes
    data: bytes


def outline(record: bytes) -> Outline | None:
    """The parts of a record that has exactly the keys of DESIGN §5, in their order; None where it has not."""
    found = _OUTLINE.fullmatch(record)
    return None if found is None else Outline(*found.groups())


_TEXT = rb'"(?:[^"\\]|\\.)*"'
_OUTLINE = re.compile(
    rb'\{"position":(0|[1-9][0-9]*),"stream":"([a-z]+-[A-Za-z0-9][A-Za-z0-9._@+-]*)","version":([1-9][0-9]*)'
    rb',"type":"([A-Za-z]+)","recorded":"([^"\\]*)","occurred":"([^"\\]*)"'
    rb',"by":\{"person":%(text)s,"organization":%(text)s,"role":%(text)s,"via":\[(?:%(text)s(?:,%(text)s)*)?\]\}'
    rb',"command":"([^"\\]*)","cause":(null|0|[1-9][0-9]*),"salt":"[0-9a-f]+","data":(\{.*\})\}' % {b"text": _TEXT},
    re.DOTALL,
)


def recorded_at(record: bytes) -> datetime:
    """When the log took the record in."""
    return _decode(record).recorded


def state_of(record: bytes) -> bytes:
    """What the library is given as an event's state: the record itself, or the foreign bytes that it wraps."""
    found = _decode(record)
    return record if found.state is None else b64decode(found.state)


@cache
def _event_decoder(type_: str) -> Callable[[msgspec.Raw], Any]:
    """The decoder of an event by its stored name; a renamed event's old name leads to the same dataclass."""
    from domain import rulebook, trail

    event_type = rulebook.EVENTS.get(type_) or trail.EVENTS.get(type_)
    if event_type is None:
        raise msgspec.ValidationError(
            f"No event is called {type_!r}: this program is older than the log, or not its own."
        )
    return msgspec.json.Decoder(event_type, dec_hook=_decode_tree).decode


def _decode_tree(type_: type, value: Any) -> Any:
    from domain.sign_offs import Tree, tree_from

    if type_ is Tree:
        return tree_from(value)
    raise NotImplementedError(f"No reader for {type_}.")


class AssentMapper(Mapper[str]):
    """Facts for the library's EventStore: chosen by MAPPER_TOPIC = services.log.record:AssentMapper.

    Towards the log a stored event's state is the tail; from it, the sealed record: a fact knows its position and times.
    """

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        fact: Fact = domain_event
        return StoredEvent(fact.stream, fact.version, fact.type, tail(fact))

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        return read(stored_event.state)
