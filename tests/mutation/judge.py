"""Which mutants does a spec notice? A plugin of pytest that collects the specs once, and forks for each mutant."""

import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, Literal

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.mutants import Mutant, function_at

Verdict = Literal["killed", "survived", "timeout", "unreached"]
CPU_SECONDS = 20
BYTES_MAX = 1 << 30
KILLED, SURVIVED = 1, 0


class Judge:
    """Runs each spec once to learn what it reaches; then, for each mutant, those that reach it until one fails."""

    def __init__(self, mutants: Iterable[Mutant], workers: int, seconds: float, tell: Callable[[str], None]) -> None:
        self.mutants = list(mutants)
        self.workers = workers
        self.seconds = seconds
        self.tell = tell
        self.verdicts: dict[Mutant, Verdict] = {}
        self._reaching: dict[str, list[pytest.Item]] = {}

    @pytest.hookimpl
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return False
        self._learn(session.items)
        if session.testsfailed:
            return True
        _, status = os.waitpid(in_a_fork(lambda: trial(None, session.items)), 0)
        assert os.waitstatus_to_exitcode(status) == SURVIVED, "the specs fail when they are run again"
        self._judge_all()
        return True

    def _learn(self, items: list[pytest.Item]) -> None:
        """Note for each function the specs that reach it: the quick ones, which reach little else, come first."""
        places = {function_at(m.module, m.path).__code__: m.place for m in self.mutants}
        found: dict[str, list[tuple[float, pytest.Item]]] = defaultdict(list)
        for item, following in zip(items, [*items[1:], None], strict=True):
            forget()
            with reached(places) as those:
                began = time.perf_counter()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                took = time.perf_counter() - began
            for place in those:
                found[place].append((took * len(those), item))
        self._reaching = {place: [item for _, item in sorted(those, key=_cost)] for place, those in found.items()}

    def _judge_all(self) -> None:
        running: dict[int, Mutant] = {}
        ends = time.monotonic() + self.seconds
        waiting = iter(self.mutants)
        for mutant in waiting:
            if mutant.place not in self._reaching:
                self.verdicts[mutant] = "unreached"
                continue
            if len(running) == self.workers:
                self._hear_of_one(running)
            if time.monotonic() > ends:
                break
            running[self._begin(mutant)] = mutant
        while running:
            self._hear_of_one(running)

    def _begin(self, mutant: Mutant) -> int:
        return in_a_fork(lambda: trial(mutant, self._reaching[mutant.place]))

    def _hear_of_one(self, running: dict[int, Mutant]) -> None:
        pid, status = os.wait()
        mutant = running.pop(pid)
        if os.WIFSIGNALED(status):
            self.verdicts[mutant] = "timeout"
        else:
            self.verdicts[mutant] = "survived" if os.WEXITSTATUS(status) == SURVIVED else "killed"
        self.tell(f"{len(self.verdicts)} of {len(self.mutants)}")


def _cost(pair: tuple[float, Any]) -> float:
    return pair[0]


def in_a_fork(act: Callable[[], int]) -> int:
    """Begins to do it in a process of its own, which ends with that exit code; the process's id."""
    pid = os.fork()
    if pid == 0:
        code = KILLED
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            code = act()
        finally:
            os._exit(code)
    return pid


def trial(mutant: Mutant | None, items: list[pytest.Item]) -> int:
    """Runs the specs on the mutant: KILLED at the first that fails, SURVIVED if none does. None: on the rules as is."""
    forget()
    if mutant is not None:
        mutant.install()
    for item in items:
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=None)):
            return KILLED
    return SURVIVED


def forget() -> None:
    """Empties the caches of the rule book: what a function said before must not speak for its mutant."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "domain":
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


@contextmanager
def reached(places: dict[CodeType, str]) -> Iterator[set[str]]:
    """The places whose code runs meanwhile."""
    those: set[str] = set()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and (place := places.get(frame.f_code)) is not None:
            those.add(place)

    sys.setprofile(note)
    try:
        yield those
    finally:
        sys.setprofile(None)
