"""How does a body become a command? The reader is derived from the command's dataclass: that is the only schema."""

import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from domain.authority import COMMANDS
from domain.errors import Malformed
from domain.fields import Bounds, MintMark, Pattern, hints, marks
from domain.sign_offs import Tree, tree_from
from services.http.answers import Receive, Scope
from services.http.problems import BodyTooLarge, MalformedBody, NotJson, UnfitBody

YEARS = range(2000, 2201)
"""Times outside of these years are slips of the pen."""

Given = tuple[Any, ...]
"""What the path gives a command: the values of its first fields."""

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Body:
    """The fields of a command that its path does not give: as a msgspec type, and their reader.

    `read(given, body)` makes the command. Raises MalformedBody, UnfitBody, Malformed.
    """

    schema: type[msgspec.Struct]
    read: Callable[[Given, bytes], Any]


def body_of(command: type, given: tuple[str, ...]) -> Body:
    """The body of a command whose first fields, named in `given`, come from its path."""
    names = tuple(f.name for f in fields(command))
    assert names[: len(given)] == given, f"the path of {command.__name__} gives {names[: len(given)]}, not {given}"
    schema = struct_of(command, given)
    decode = msgspec.json.Decoder(schema, dec_hook=_tree).decode
    build = _builder(command, len(given))

    def read(path: Given, body: bytes) -> Any:
        try:
            found = decode(body)
            if b"\\u0000" in body and _holds_nul(msgspec.json.decode(body)):
                raise UnfitBody("The body holds the character NUL, which no text may.", "a text without NUL")
            return build(path, found)
        except msgspec.ValidationError as error:
            raise unfit(str(error)) from error
        except RecursionError as error:
            raise MalformedBody("The body is nested too deeply.") from error
        except ValueError as error:  # msgspec.DecodeError, UnicodeDecodeError, and what a dataclass refuses
            if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
                raise MalformedBody(f"The body cannot be read: {error}.", "JSON in UTF-8") from error
            raise Malformed(f"The body does not fit: {error}.") from error

    return Body(schema, read)


_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?", re.DOTALL)
_REQUIRED = re.compile(r"Object missing required field `(?P<name>.*)`")


def unfit(message: str) -> UnfitBody:
    """What msgspec found wrong, as a sentence and as what is missing."""
    found = _WHERE.fullmatch(message)
    assert found is not None
    what, where = found["what"], found["where"] or ""
    required = _REQUIRED.fullmatch(what)
    if required:
        name = f"{where}.{required['name']}" if where else required["name"]
        return UnfitBody(f"The field {name} is missing.", name)
    return UnfitBody(f"{where or 'The body'}: {what}.", *([where] if where else []))


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case list():
            return any(map(_holds_nul, value))
        case dict():
            return any(map(_holds_nul, value)) or any(map(_holds_nul, value.values()))
        case _:
            return False


# The type that msgspec reads


@cache
def minted_field(schema: type) -> str | None:
    """The field whose value the service makes, where there is one: a command's last."""
    return next((name for name, hint in hints(schema).items() if marks(hint, MintMark) is not None), None)


@cache
def struct_of(schema: type, given: tuple[str, ...] = ()) -> type[msgspec.Struct]:
    """A strict msgspec type with the fields, bounds and defaults of a dataclass, except those given elsewhere."""
    found: list[Any] = []
    for each in fields(schema):
        if each.name in given or each.name == minted_field(schema):
            continue
        wire = _wire(hints(schema)[each.name])
        if each.default is not MISSING:
            found.append((each.name, wire, each.default))
        elif each.default_factory is not MISSING:
            found.append((each.name, wire, msgspec.field(default_factory=each.default_factory)))
        else:
            found.append((each.name, wire))
    return msgspec.defstruct(
        name_of(schema), found, kw_only=True, frozen=True, forbid_unknown_fields=True, rename=wire_name
    )


def name_of(schema: type) -> str:
    """The name of a body or operation; commands of two kinds of streams with one name are told apart by the kind."""
    same = sum(command.__name__ == schema.__name__ for command in COMMANDS)
    return f"{schema.__name__}Of{schema.__module__.rpartition('.')[2].title()}" if same > 1 else schema.__name__


def wire_name(name: str) -> str:
    """A field's name in JSON: `from_` is `from`."""
    return name.rstrip("_")


def _wire(hint: Any) -> Any:
    """The type of a field as msgspec reads it: the domain's marks become constraints, dataclasses strict structs."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner = get_args(hint)[0]
        return Annotated[_wire(inner), _constraints(inner, marks(hint, Bounds), marks(hint, Pattern))]
    if origin in (Union, UnionType):
        return Union[tuple(_wire(part) for part in get_args(hint))]  # noqa: UP007
    if origin is tuple:
        return tuple[_wire(get_args(hint)[0]), ...]  # type: ignore[misc]
    if hint is datetime:
        return Annotated[datetime, msgspec.Meta(tz=True)]
    if is_dataclass(hint) and isinstance(hint, type):
        return struct_of(hint)
    return hint


def _constraints(inner: Any, bounds: Bounds | None, pattern: Pattern | None) -> msgspec.Meta:
    found: dict[str, Any] = {}
    if pattern is not None:
        found["pattern"] = rf"^(?:{pattern.regex})\Z"
    if bounds is not None and inner is int:
        found |= {"ge": bounds.least, "le": bounds.most}
    elif bounds is not None:
        found |= {"min_length": bounds.least, "max_length": bounds.most}
    return msgspec.Meta(**{name: value for name, value in found.items() if value is not None})


def _tree(type_: type, value: Any) -> Any:
    if type_ is Tree:
        return tree_from(value)
    raise NotImplementedError(f"no reader for {type_}")


# From what msgspec read to the dataclass


def _builder(schema: type, given: int = 0) -> Callable[[Given, Any], Any]:
    names = [f.name for f in fields(schema) if f.name != minted_field(schema)][given:]
    converts = [(nth, convert) for nth, name in enumerate(names) if (convert := _convert(hints(schema)[name]))]
    if not names:
        return lambda path, found: schema(*path)
    if len(names) == 1:
        single = attrgetter(names[0])
        only = converts[0][1] if converts else None
        return lambda path, found: schema(*path, single(found) if only is None else only(single(found)))
    values = attrgetter(*names)
    if not converts:
        return lambda path, found: schema(*path, *values(found))

    def build(path: Given, found: Any) -> Any:
        read = list(values(found))
        for nth, convert in converts:
            read[nth] = convert(read[nth])
        return schema(*path, *read)

    return build


def _convert(hint: Any) -> Convert | None:
    """What turns a read value into the field's; None where it is the field's already."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _convert(get_args(hint)[0])
    if origin in (Union, UnionType):
        inner = next((c for part in get_args(hint) if part is not NoneType and (c := _convert(part))), None)
        return inner and (lambda value: None if value is None else inner(value))
    if origin is tuple:
        each = _convert(get_args(hint)[0])
        return each and (lambda value: tuple(map(each, value)))
    if hint is datetime:
        return instant
    if hint is date:
        return _day
    if is_dataclass(hint) and isinstance(hint, type):
        build = _builder(hint)
        return lambda value: value if type(value) is hint else build((), value)
    return None


def instant(value: datetime) -> datetime:
    """A time in UTC, in a year that makes sense. Raises Malformed."""
    _day(value)
    return value.astimezone(UTC)


def _day(value: date) -> date:
    if value.year not in YEARS:
        raise Malformed(f"A time lies in the years {YEARS[0]} to {YEARS[-1]}.", "a time in these years")
    return value


# The bytes


async def read_body(scope: Scope, headers: dict[bytes, bytes], receive: Receive, bytes_max: int) -> bytes:
    """The whole body, declared as JSON. Raises NotJson, BodyTooLarge; ConnectionError where the caller went away."""
    check_declared(headers, bytes_max)
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ConnectionError("the caller went away before the body was complete")
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return body


def check_declared(headers: dict[bytes, bytes], bytes_max: int) -> None:
    """Whether the headers promise JSON that is not too long. Raises NotJson, BodyTooLarge."""
    declared = headers.get(b"content-type", b"")
    if declared != b"application/json" and declared.partition(b";")[0].strip().lower() != b"application/json":
        raise NotJson
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > 18 or int(length) > bytes_max):
        raise _too_large(bytes_max)


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"A body has at most {bytes_max} bytes.", f"at most {bytes_max} bytes")
