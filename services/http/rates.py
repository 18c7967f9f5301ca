"""How often may one caller ask, and when does one who asks more often have to wait?"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from domain.errors import Refused
from services.settings import Settings

_log = logging.getLogger(__name__)

CALLERS_MAX = 20_000
"""Of one limit; about 3 MB."""
SHELVES = 4096
"""Where the forgotten are kept together, by the hash of their name: who shares a shelf, nobody outside can know."""


class TooManyRequests(Refused):
    """Whoever waits for `retry_after` seconds may ask once more."""

    status, rule, title = 429, "rate_limit", "You ask more often than one caller may"

    def __init__(self, limit: str, wait_seconds: float) -> None:
        self.retry_after = max(1, ceil(wait_seconds))
        super().__init__(f"One caller may send {limit}, and as many at once.", f"a pause of {self.retry_after} s")


class Rate:
    """A limit upon each caller: `most` at once, and `most` in so many seconds in the long run.

    A token bucket, of which nothing is kept but when it would be full again (the generic cell rate algorithm). Where
    there are too many callers, whoever asked longest ago is forgotten. But nobody unknown starts with a fuller bucket
    than the emptiest on their shelf of the forgotten, so no caller ever gets more than the limit and one burst, and
    many who only pass by cost the others next to nothing. The time is real.
    """

    def __init__(
        self,
        what: str,
        most: int,
        seconds: int = 1,
        callers_max: int = CALLERS_MAX,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = f"{most} {what} {_PERIODS[seconds]}"
        self._seconds_each = seconds / most
        self._ahead_max = seconds - self._seconds_each * 0.999  # a thousandth for what a sum of fractions loses
        self._callers_max = callers_max
        self._now = now
        self._full_at: dict[str, float] = {}
        self._forgotten_full_at = [float("-inf")] * SHELVES

    def take(self, caller: str) -> None:
        """Count a request of theirs. Raises TooManyRequests, of which the caller pays nothing."""
        now = self._now()
        full_at = self._full_at.pop(caller, None) or self._forgotten_full_at[hash(caller) % SHELVES]
        full_at = max(now, full_at)
        excess = full_at - now - self._ahead_max
        self._full_at[caller] = full_at if excess > 0 else full_at + self._seconds_each
        if len(self._full_at) > self._callers_max:
            self._forget(next(iter(self._full_at)))
        if excess > 0:
            _log.warning("A caller is told to wait: at most %s", self._limit, extra={"caller": caller})
            raise TooManyRequests(self._limit, excess)

    def _forget(self, caller: str) -> None:
        shelf = hash(caller) % SHELVES
        self._forgotten_full_at[shelf] = max(self._forgotten_full_at[shelf], self._full_at.pop(caller))

    def give_back(self, caller: str) -> None:
        """What was taken last shall not count."""
        if caller in self._full_at:
            self._full_at[caller] -= self._seconds_each

    @contextmanager
    def of_failures(self, caller: str) -> Iterator[None]:
        """What happens within counts unless it succeeds. Raises TooManyRequests before it begins."""
        self.take(caller)
        yield
        self.give_back(caller)

    def __len__(self) -> int:
        """How many callers are remembered."""
        return len(self._full_at)


_PERIODS = {1: "a second", 60: "a minute"}


@dataclass(frozen=True, slots=True)
class Rates:
    """The limits of this process; None is no limit.

    Commands, evaluations and reads count for each person or machine's key, the others for each network address.
    """

    commands: Rate | None = None
    evaluations: Rate | None = None
    reads: Rate | None = None
    failed_sign_ins: Rate | None = None
    logins: Rate | None = None


def rates_of(settings: Settings) -> Rates:
    return Rates(
        _rate("commands", settings.commands_per_second),
        _rate("evaluations", settings.evaluations_per_second),
        _rate("reads", settings.reads_per_second),
        _rate("sign-ins that fail", settings.failed_sign_ins_per_second),
        _rate("logins", settings.logins_per_minute, 60),
    )


def _rate(what: str, most: int, seconds: int = 1) -> Rate | None:
    return Rate(what, most, seconds) if most else None
