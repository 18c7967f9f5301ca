"""How do orders, and what became of them, look on their way between two processes of one installation?

Frames of MessagePack: each is its length (four bytes, big-endian) and an array of items, so that whatever a turn of the
loop brings together costs one write. Both ends are the same program: `SCHEMA` tells whether they are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from struct import pack
from typing import Any, NamedTuple, get_args

import msgspec

from domain.authority import COMMANDS
from domain.errors import Refused
from domain.facts import Fact
from domain.fields import hints
from domain.sign_offs import Tree, tree_from
from services.handle import Answer, Order
from services.log import record
from services.log.receipt import Receipt

FRAME_BYTES_MAX = 4 << 20
"""A longer frame is none of ours."""

ITEM_BYTES_MAX = 1 << 20
"""An order that needs more is decided where it arrived."""

_LENGTH = 4
_HEADER = 5
"""Bytes that the beginning of an array of more than a handful takes."""

# Greetings


class Greeting(msgspec.Struct, array_like=True, frozen=True):
    """What each end says first: which program it is, and which log it works on."""

    schema: str
    log: str


# From who took an order to who decides it


class _OnItsWay(msgspec.Struct, array_like=True):
    ticket: int
    kind: int
    command: msgspec.Raw
    person: str
    acting_as: tuple[str, str] | None
    occurred: datetime | None
    key: bytes | None
    fingerprint: bytes | None
    if_match: int | None
    dry_run: bool


_KINDS: tuple[type, ...] = tuple(COMMANDS)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}

_encode = msgspec.msgpack.Encoder().encode
_decode_orders = msgspec.msgpack.Decoder(list[_OnItsWay]).decode


def order_item(ticket: int, order: Order) -> bytes:
    """An order that a person gave. What an importer tells, with its seed and its row, does not travel."""
    assert order.seed is None and order.after is None and not order.via, "an import decides its orders itself"
    command = order.command
    return _encode(
        _OnItsWay(
            ticket,
            _NUMBERS[command.__class__],
            msgspec.Raw(_encode(command)),
            order.person,
            order.acting_as,
            order.occurred,
            order.key,
            order.fingerprint,
            order.if_match,
            order.dry_run,
        )
    )


def orders(frame: bytes) -> list[tuple[int, Order]]:
    """The orders of a frame and their tickets. Raises msgspec.DecodeError."""
    return [(each.ticket, _order(each)) for each in _decode_orders(frame)]


def _order(each: _OnItsWay) -> Order:
    if not 0 <= each.kind < len(_KINDS):
        raise msgspec.ValidationError(f"There is no command of number {each.kind}.")
    command = _command_decoder(each.kind)(each.command)
    return Order(
        command,
        each.person,
        each.acting_as,
        each.occurred,
        each.key,
        each.fingerprint,
        each.if_match,
        each.dry_run,
    )


@cache
def _command_decoder(number: int) -> Callable[[msgspec.Raw], Any]:
    return msgspec.msgpack.Decoder(_KINDS[number], dec_hook=_tree).decode


def _tree(type_: type, value: Any) -> Any:
    if type_ is Tree:
        return tree_from(value)
    raise NotImplementedError(f"No reader for {type_}.")


# From who decided to who took the order


class _Done(msgspec.Struct, array_like=True, tag=0):
    """An Answer, field by field."""

    ticket: int
    id: str
    stream: str
    version: int
    position: int
    number: int | None
    events: tuple[tuple[str, int], ...]
    receipt: Receipt | None
    dry_run: bool


class _Refused(msgspec.Struct, array_like=True, tag=1):
    ticket: int
    kind: str
    detail: str
    missing: tuple[str, ...]


class _Failed(msgspec.Struct, array_like=True, tag=2):
    """It was our mistake, and is logged where it was made."""

    ticket: int


class _News(msgspec.Struct, array_like=True, tag=3):
    """The log went on from one size to another; `records` are those of its facts that a replica holds."""

    before: int
    size: int
    backend: int
    records: tuple[bytes, ...]


class News(NamedTuple):
    """The log went on from a size (`before`) to another, by what that backend of the database was told to append.

    `facts` are those that a replica holds.
    """

    before: int
    size: int
    backend: int
    facts: Sequence[Fact]


class Failed(Exception):
    """The process that decides could not; it says why in its own log."""


Outcome = tuple[int, Answer | Exception]
"""What became of the order with that ticket."""

_decode_outcomes = msgspec.msgpack.Decoder(list[_Done | _Refused | _Failed | _News]).decode


def outcome_item(ticket: int, outcome: Answer | Exception) -> bytes:
    match outcome:
        case Answer():
            return _encode(
                _Done(
                    ticket,
                    outcome.id,
                    outcome.stream,
                    outcome.version,
                    outcome.position,
                    outcome.number,
                    outcome.events,
                    outcome.receipt,
                    outcome.dry_run,
                )
            )
        case Refused():
            return _encode(_Refused(ticket, type(outcome).__name__, outcome.detail, tuple(outcome.missing)))
        case _:
            return _encode(_Failed(ticket))


def news_item(before: int, size: int, backend: int, facts: Iterable[Fact]) -> bytes:
    """Their salts may be others than in the log: whoever hears the news keeps none."""
    return _encode(_News(before, size, backend, tuple(record.seal_fact(fact) for fact in facts)))


def outcomes(frame: bytes) -> list[Outcome | News]:
    """What a frame tells, in order. Raises msgspec.DecodeError."""
    return [_told(each) for each in _decode_outcomes(frame)]


def _told(each: _Done | _Refused | _Failed | _News) -> Outcome | News:
    match each:
        case _Done():
            answer = Answer(
                each.id,
                each.stream,
                each.version,
                each.position,
                each.number,
                each.events,
                each.receipt,
                each.dry_run,
            )
            return each.ticket, answer
        case _News():
            return News(each.before, each.size, each.backend, [record.read(found) for found in each.records])
        case _Refused():
            return each.ticket, _refusal(each)
        case _Failed():
            return each.ticket, Failed()


def _refusal(told: _Refused) -> Refused:
    """The refusal as it was raised. One that this program does not know is a mistake of ours."""
    kind = _refusals().get(told.kind)
    if kind is None:
        raise msgspec.ValidationError(f"There is no refusal {told.kind}.")
    refusal = kind.__new__(kind)
    Refused.__init__(refusal, told.detail, *told.missing)
    return refusal


@cache
def _refusals() -> dict[str, type[Refused]]:
    found: dict[str, type[Refused]] = {}
    waiting: list[type[Refused]] = [Refused]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found


# Frames


def framed(items: Sequence[bytes]) -> bytes:
    """The items as one frame, or as several where one would be too long."""
    if sum(map(len, items)) > FRAME_BYTES_MAX - _HEADER:
        middle = len(items) // 2
        return framed(items[:middle]) + framed(items[middle:])
    array = b"".join((pack("!BI", 0xDD, len(items)), *items))
    return pack("!I", len(array)) + array


def alone(item: Any) -> bytes:
    """A frame that holds one thing and no array."""
    packed = _encode(item)
    return pack("!I", len(packed)) + packed


greeting_of = msgspec.msgpack.Decoder(Greeting).decode
"""Raises msgspec.DecodeError."""


class Malformed(Exception):
    """What arrived is nothing that this program sends."""


class Frames:
    """Finds the frames in what arrives, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> list[bytes]:
        """The frames that are whole by now. Raises Malformed."""
        data = self._rest + data if self._rest else data
        found, at = [], 0
        while len(data) - at >= _LENGTH:
            length = int.from_bytes(data[at : at + _LENGTH])
            if length > FRAME_BYTES_MAX:
                raise Malformed(f"a frame of {length} bytes")
            end = at + _LENGTH + length
            if end > len(data):
                break
            found.append(data[at + _LENGTH : end])
            at = end
        self._rest = data[at:]
        return found


def _described(*waiting: Any) -> str:
    """Those dataclasses, and those within them, field by field."""
    found: dict[str, list[tuple[str, str]]] = {}
    left = list(waiting)
    while left:
        hint = left.pop()
        left += get_args(hint)
        if (
            isinstance(hint, type)
            and is_dataclass(hint)
            and (name := f"{hint.__module__}.{hint.__name__}") not in found
        ):
            found[name] = [(field, str(inner)) for field, inner in hints(hint).items()]
            left += hints(hint).values()
    return repr(sorted(found.items()))


SCHEMA = sha256(_described(*_KINDS, Order, Answer).encode()).hexdigest()
"""Which commands, orders and answers this program knows."""
