"""How does a process serve that shares with no other who decides, as on a machine of its own?

`python -m tests.crash.apart serve`; production code has no switch for it, for there the machine makes the difference.
"""

import sys
from contextlib import nullcontext
from typing import Any

from services import cli


def keep_apart() -> None:
    shared: Any = lambda assent, settings, may_lead=True: nullcontext()  # noqa: E731
    cli.sharing = shared


if __name__ == "__main__":
    keep_apart()
    sys.exit(cli.main(sys.argv[1:]))
