"""How does a small file that matters survive a crash: whole, for us alone, and as it was or as it should become?"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds; where there is none, first what `make` gives, durably. Whoever comes first makes it."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
        write(fresh, make())
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
        sync_folder(path.parent)
    return path.read_bytes()


def replace(path: Path, content: bytes) -> None:
    """Durable when it returns; a crash leaves the old content or the new. For one writer at a time."""
    fresh = path.with_name(f"{path.name}.new")
    write(fresh, content)
    fresh.replace(path)
    sync_folder(path.parent)


def append(path: Path, line: bytes) -> None:
    """Durable when it returns; a crash may leave half a line, on which the next one does not go on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        file.write((b"\n" if file.tell() else b"") + line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def write(path: Path, content: bytes) -> None:
    """The content is durable when it returns; the file's name is once its folder is."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make durable which files are in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
