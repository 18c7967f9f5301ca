"""How far has long work come? A bar, for whoever watches at a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def shown(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Takes how much is done, of `total`; shows nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)
