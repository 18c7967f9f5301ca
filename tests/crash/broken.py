"""Which mistakes of a writer must the checker find? `python -m tests.crash.broken MISTAKE serve` makes one of them.

Each puts the smallest part of the service in place of its own, in a process of its own; production code has no switch.
"""

import sys
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from domain.facts import Fact
from services import cli
from services.handle import Handler
from services.log import reader
from services.log.append import Found
from services.log.schema import LOG_LOCK
from services.log.writer import Writer

_append = Writer._append
_fold = Handler.fold


def answers_before_the_commit(self: Writer, conn: Any, attempt: Any) -> Any:
    attempt.answer()
    return _append(self, conn, attempt)


def keeps_no_command_keys(self: Writer, conn: Any, attempt: Any) -> Any:
    attempt.keys, attempt.other_keys = [None] * len(attempt.keys), []
    return _append(self, conn, attempt)


async def appends_whatever_the_size(self: Writer, conn: Any, attempt: Any) -> Found:
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,))
        moved = copy(attempt)
        moved.base = (await reader.end(conn)).size
        found = await _append(self, conn, moved)
    return Found(attempt.base, found.used_keys)


def overlooks_the_admissions_of_others(self: Handler, facts: Sequence[Fact]) -> None:
    """Of what others wrote to a release it notes the versions, so that its appends fit, but not who was admitted."""
    own = bool(self._drafts)
    before = {name: stream for name, stream in self._states.items() if name.startswith("release-")}
    _fold(self, facts)
    for name in {fact.stream for fact in facts} & set(before) if not own else ():
        self._states[name] = replace(self._states[name], state=before[name].state)


MISTAKES: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "answers_before_the_commit": (Writer, "_append", answers_before_the_commit),
    "keeps_no_command_keys": (Writer, "_append", keeps_no_command_keys),
    "appends_whatever_the_size": (Writer, "_append", appends_whatever_the_size),
    "overlooks_the_admissions_of_others": (Handler, "fold", overlooks_the_admissions_of_others),
}

if __name__ == "__main__":
    owner, part, mistake = MISTAKES[sys.argv[1]]
    setattr(owner, part, mistake)
    sys.exit(cli.main(sys.argv[2:]))
