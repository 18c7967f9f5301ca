"""Which mistakes of a writer must the checker find? `python -m tests.crash.broken MISTAKE serve` makes one of them.

Each puts the smallest part of the service in place of its own, in a process of its own, which decides itself whoever
else does; production code has no switch.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from domain.facts import Fact
from services import cli
from services.handle import Handler
from services.log import reader
from services.log.append import Found
from services.log.merkle import Frontier
from services.log.reader import LogEnd
from services.log.schema import LOG_LOCK
from services.log.writer import Decision, Writer
from tests.crash.apart import keep_apart

_append = Writer._append
_fold = Handler.fold


def answers_before_the_commit(self: Writer, conn: Any, attempt: Any) -> Any:
    attempt.answer()
    return _append(self, conn, attempt)


def keeps_no_command_keys(self: Writer, conn: Any, attempt: Any) -> Any:
    attempt.keys, attempt.other_keys = [None] * len(attempt.keys), []
    return _append(self, conn, attempt)


async def appends_whatever_the_size(self: Writer, conn: Any, attempt: Any) -> Found:
    """What others appended meanwhile moves the facts on, and that is all: nobody reads it, nobody decides again."""
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,))
        end = await reader.end(conn)
        streams = list({fact.stream for fact in attempt.facts})
        latest = await reader.rows(
            conn, "SELECT stream, max(version) FROM event WHERE stream = ANY (%s) GROUP BY stream", streams
        )
        moved = type(attempt)(Frontier(end.size, end.frontier), end.recorded)
        moved.add(attempt.jobs, _moved(attempt.decisions, end, dict(latest)))
        found = await _append(self, conn, moved)
    vars(attempt).update(vars(moved))
    self._decider.forget()
    return found


def _moved(decisions: Sequence[Decision], end: LogEnd, versions: dict[str, int]) -> list[Decision]:
    """The same facts at the next positions, in the next versions of their streams."""
    found, position = [], end.size
    for decision in decisions:
        facts = []
        for fact in decision.facts:
            versions[fact.stream] = versions.get(fact.stream, 0) + 1
            recorded = max(fact.recorded, end.recorded)
            facts.append(replace(fact, position=position, version=versions[fact.stream], recorded=recorded))
            position += 1
        found.append(replace(decision, facts=facts))
    return found


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
    keep_apart()
    sys.exit(cli.main(sys.argv[2:]))
