"""Is a state that is built and copied quickly still the dataclass that its file describes?"""

import copy
import inspect
import re
from dataclasses import FrozenInstanceError, dataclass, field, is_dataclass
from typing import Any, get_args

import pytest

from domain import authority, facts, request, rulebook, sign_offs, world
from domain.values import replace, unguarded

UNGUARDED = {
    value
    for module in (*rulebook.STREAMS.values(), rulebook.appeals, sign_offs, world, facts, authority)
    for value in vars(module).values()
    if isinstance(value, type) and is_dataclass(value) and "__copy__" in vars(value)
}


def desk() -> Any:
    """A class with every kind of field, made here and now."""

    @unguarded
    @dataclass(frozen=True, slots=True)
    class Desk:
        id: str
        files: tuple[str, ...] = ()
        notes: dict[str, str] = field(default_factory=dict)

    return Desk


def test_it_is_built_as_its_dataclass_says() -> None:
    Desk = desk()
    assert Desk("a") == Desk("a", (), {}) == Desk(id="a", notes={})
    assert Desk("a") != Desk("b")
    assert Desk("a").notes is not Desk("a").notes
    assert Desk("a", ("one",)).files == ("one",)
    with pytest.raises(TypeError):
        Desk()
    assert hash(facts.By("olga", "oncd", "head")) == hash(facts.By("olga", "oncd", "head"))


def test_replace_leaves_the_one_before_as_it_was() -> None:
    Desk = desk()
    before = Desk("a", ("one",))
    after = replace(before, files=("one", "two"))
    assert (before, after) == (Desk("a", ("one",)), Desk("a", ("one", "two")))
    assert type(after) is Desk
    assert copy.copy(before) == before
    with pytest.raises(AttributeError):
        replace(before, drawers=3)


def test_every_state_is_unguarded_and_no_command_or_event_is() -> None:
    for module in rulebook.STREAMS.values():
        section = inspect.getsource(module).partition("\n# State\n")[2].partition("\n# Commands\n")[0]
        states = {vars(module)[name] for name in re.findall(r"^class (\w+)", section, re.MULTILINE)}
        assert states and states <= UNGUARDED
        assert not UNGUARDED & set(get_args(module.Command) or (module.Command,))
    assert not UNGUARDED & set(rulebook.EVENTS.values())
    event = request.RequestEscalated("Stuck")
    with pytest.raises(FrozenInstanceError):
        event.reason = "Otherwise"  # type: ignore[misc]
