"""When does the garbage collector look at what a long-running process holds?"""

import gc


def rarely_collect() -> None:
    """What was loaded stays, so the collector need not walk through it; and it need not look so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
