"""What is left of a signer that is killed at a moment? Run as a program: a signer in a process of its own.

`python -m tests.services.log.dying_signer MOMENT CONNINFO FOLDER`. At its moment of the first round it kills itself;
at the moment `never` it signs until it is ended, or refuses the log: then it says why, and exits with 3.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services import durable
from services.log import note, signer
from services.log.folder import SignerFolder
from tests.services.log.grown import ORIGIN

MOMENTS: dict[str, tuple[Any, str]] = {
    "before hashing": (signer, "_hashed"),
    "before signing": (note, "sign"),
    "after signing": (note, "sign"),
    "before the new file": (durable, "write"),
    "after the new file": (durable, "write"),
    "after its renaming": (Path, "replace"),
    "after all is durable": (durable, "sync_folder"),
    "before publishing": (signer, "publish"),
    "after the tiles": (signer, "_complete_tiles"),
    "after publishing": (signer, "publish"),
}
"""In their order: before or after which function's call. The locks are held, and the new head is read."""

UNSIGNED = tuple(MOMENTS)[: tuple(MOMENTS).index("after its renaming")]
"""At these nothing new was signed for all that the folder knows."""


def die(moment: str) -> None:
    owner, name = MOMENTS[moment]
    before = moment.startswith("before")
    real: Callable[..., Any] = getattr(owner, name)
    next_head = signer._next_head
    has_head = False

    def watched(*given: Any) -> Any:
        nonlocal has_head
        found = next_head(*given)
        has_head = has_head or found is not None
        return found

    def deadly(*given: Any, **named: Any) -> Any:
        if has_head and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*given, **named)
        if has_head:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    signer._next_head = watched
    setattr(owner, name, deadly)


def main(moment: str, conninfo: str, folder: str) -> int:
    if moment != "never":
        die(moment)
    running = signer.Signer(conninfo, SignerFolder(Path(folder), ORIGIN))
    running.start()
    while running.failure is None:
        time.sleep(0.02)
    sys.stdout.write(f"{running.failure}\n")
    return 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
