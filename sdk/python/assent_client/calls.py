"""What is one call of the API, and how does it become a request? `surface.py` has them all."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from urllib.parse import quote

A = TypeVar("A", covariant=True)


class Request(NamedTuple):
    """What to send."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[A]):
    """Its fields are in the path, in the query or in the body; None is left out. `A`: what is answered."""

    METHOD: ClassVar[str] = "GET"
    PATH: ClassVar[str]

    def as_request(self) -> Request:
        given = {_name(each.name): getattr(self, each.name) for each in fields(self)}
        named = [part[1:-1] for part in self.PATH.split("/") if part.startswith("{")]
        path = self.PATH
        for name in named:
            path = path.replace(f"{{{name}}}", quote(_text(given[name]), safe="/" if name == "place" else ""))
        rest = {name: value for name, value in given.items() if name not in named and value is not None}
        if self.METHOD == "POST":
            return Request("POST", path, {}, rest)
        return Request("GET", path, {name: _text(value) for name, value in rest.items()}, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Call[A]):
    """It changes something, once: it is sent with an Idempotency-Key, the same whenever it is repeated."""

    METHOD: ClassVar[str] = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Call[A]):
    """A POST that changes nothing."""

    METHOD: ClassVar[str] = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Call[A]):
    """A read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages(Query[A]):
    """A read that answers page by page."""


def _name(field: str) -> str:
    """What a word of Python's own is called outside of it."""
    return field.removesuffix("_")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
