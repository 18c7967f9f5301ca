"""What is left of a witness that is killed at a moment? Run as a program: `assent witness` that kills itself then.

It dies at the first checkpoint that continues one it cosigned before, so that there is something to take back.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services import cli, durable, witness
from services.log import note

MOMENTS: dict[str, tuple[Any, str]] = {
    "before the new file": (durable, "write"),
    "after the new file": (durable, "write"),
    "after its renaming": (Path, "replace"),
    "after all is durable": (durable, "sync_folder"),
    "after cosigning": (note, "cosign"),
    "after all, but unanswered": (witness.Witness, "add_checkpoint"),
}
"""In their order: before or after which function's call."""


def die(moment: str) -> None:
    owner, name = MOMENTS[moment]
    before = moment.startswith("before")
    real: Callable[..., Any] = getattr(owner, name)
    continued = False
    checks = witness._check_continues

    def watched(submission: Any, head: Any, seen: Any) -> None:
        nonlocal continued
        checks(submission, head, seen)
        continued = seen.size > 0

    def deadly(*given: Any, **named: Any) -> Any:
        if continued and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*given, **named)
        if continued and not before:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    witness._check_continues = watched
    setattr(owner, name, deadly)


if __name__ == "__main__":
    die(sys.argv[1])
    sys.exit(cli.main(["witness"]))
