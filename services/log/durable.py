"""How does a small file that matters survive a crash: whole, and either as it was or as it should become?"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Durable when it returns; a crash leaves the old content or the new. For its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    write(fresh, content)
    fresh.replace(path)
    sync_folder(path.parent)


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds; made on first use, whoever comes first."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        write(fresh, make())
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
        sync_folder(path.parent)
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
