"""Which streams are held in memory, folded once for all tables that have come equally far?

What is not in memory is folded again from the log when something happens in it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from domain.facts import Fact
from projections.tables import Known, Rows
from projections.views import Views, folded, views_of

Load = Callable[[Collection[str], int], Awaitable[Mapping[str, Sequence[Fact]]]]
"""All facts of these streams below a position, each stream's in order of version."""

STREAMS_MAX = 10_000

FACTS_AT_A_STRETCH = 50
"""After so many facts, others in the same process get their turn."""


class Streams:
    """The streams that something happened in last, and the rows that they make in each of the tables."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._known: OrderedDict[str, Known] = OrderedDict()

    def forget(self) -> None:
        self._known.clear()

    async def take(self, facts: Sequence[Fact], tables: Sequence[Rows]) -> None:
        """Fold the next facts, and have the tables, always the same ones, note what they change.

        A table that keeps no past need not know of what held for less than a batch.
        """
        concerned = _by_kind(tables)
        lasting, fleeting = _by_kind(tables, keeps_past=True), _by_kind(tables, keeps_past=False)
        mine = [fact for fact in facts if kind_of(fact) in concerned]
        await self._recall(mine, concerned)
        changed: dict[str, tuple[Views, Fact]] = {}
        for nth, fact in enumerate(mine):
            if nth % FACTS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
            known = self._known[fact.stream]
            before = known.views
            known.views, known.version = folded(before, fact), fact.version
            for rows in lasting.get(kind_of(fact), ()):
                rows.note(fact, before, known)
            changed[fact.stream] = changed[fact.stream][0] if fact.stream in changed else before, fact
        for name, (before, fact) in changed.items():
            for rows in fleeting.get(kind_of(fact), ()):
                rows.note(fact, before, self._known[name])
        while len(self._known) > STREAMS_MAX:
            self._known.popitem(last=False)

    async def _recall(self, facts: Sequence[Fact], concerned: Mapping[str, Sequence[Rows]]) -> None:
        """Fold, from the log, the streams that are not in memory."""
        first: dict[str, Fact] = {}
        for fact in facts:
            first.setdefault(fact.stream, fact)
        missing = {name for name, fact in first.items() if name not in self._known and fact.version > 1}
        found = await self._load(missing, facts[0].position) if missing else {}
        for name, fact in first.items():
            if name in found:
                known = self._known[name] = Known(views_of(found[name]), found[name][-1].version)
                for rows in concerned[kind_of(fact)]:
                    rows.hold(name, known, found[name])
            else:
                known = self._known.setdefault(name, Known())
            self._known.move_to_end(name)
            assert known.version == fact.version - 1, f"{name} misses facts before version {fact.version}"


def kind_of(fact: Fact) -> str:
    return fact.stream.partition("-")[0]


def _by_kind(tables: Sequence[Rows], keeps_past: bool | None = None) -> dict[str, list[Rows]]:
    """The tables by the kinds of streams that concern them."""
    found: dict[str, list[Rows]] = {}
    for rows in tables:
        if keeps_past is None or rows.table.keeps_past == keeps_past:
            for kind in rows.table.kinds:
                found.setdefault(kind, []).append(rows)
    return found
