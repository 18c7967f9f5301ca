"""How far has long work come? A bar, for whoever watches at a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text


class Report(Protocol):
    """Takes how much is done, and of how much in all where that was not known before."""

    def __call__(self, done: int, total: int | None = None) -> None: ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def shown(title: str, total: int | None = None) -> Iterator[Report]:
    """The bar, with rate and time left; nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total=None: None
        return
    columns = (*Progress.get_default_columns(), _Rate())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)

        def report(done: int, total: int | None = None) -> None:
            progress.update(task, completed=done, total=total)

        yield report
