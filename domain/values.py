"""How are states made, and made anew with a difference, so fast that nobody has to think of it?

Building a frozen dataclass asks its guard against assignment once for every field, which took more of a command's time
than all its rules. See docs/decisions/states-are-guarded-by-the-type-checker.md.
"""

from dataclasses import field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")


def unguarded(cls: type[T]) -> type[T]:
    """Let a frozen dataclass with slots be built and copied as fast as if it were not frozen.

    It still is to the type checker, which finds every assignment; at run time nobody stands guard.
    """
    given: Any = cls
    plain = [(f.name, f.type, field(default=f.default, default_factory=f.default_factory)) for f in fields(given)]
    built: Any = make_dataclass(given.__name__, plain)
    given.__init__, given.__copy__ = built.__init__, _copier(given)
    del given.__setattr__, given.__delattr__
    return cls


def _copier(cls: Any) -> Any:
    """A function that copies an instance of the class, field by field, written out as dataclasses write theirs."""
    lines = ["new = make(cls)", *(f"new.{f.name} = self.{f.name}" for f in fields(cls)), "return new"]
    within: dict[str, Any] = {"make": object.__new__, "cls": cls}
    exec("\n ".join(["def copied(self):", *lines]), within)  # noqa: S102 - our own field names
    return within["copied"]


if TYPE_CHECKING:
    from dataclasses import replace as replace
else:

    def replace(value: T, /, **changes: Any) -> T:
        """A copy of something unguarded in which these fields differ, as `dataclasses.replace` makes it."""
        new = value.__copy__()
        for name, change in changes.items():
            setattr(new, name, change)
        return new
