"""What changed lately for enforcement, and who waits to hear of it?

A window of the latest changes, shared by all who follow: each remembers how far they came and takes the rest, so a
follower costs nothing while nothing happens, and whoever falls behind the window must begin anew.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from domain.access import to_json
from domain.enforcement import Change, Providers, is_for

KEPT = 65_536
"""How many changes are kept at least, for whoever comes back."""

FRAMES_MAX = 4096
"""How many of them are kept encoded: all who follow closely take the same few."""

_encode = msgspec.json.Encoder().encode


class Changes:
    """The latest changes, in order of position. `floor`: everything after this position is here."""

    def __init__(self, kept: int = KEPT) -> None:
        self.floor = -1
        self._kept = kept
        self._positions: list[int] = []
        self._changes: list[Change] = []
        self._frames: dict[int, bytes] = {}
        self._news = asyncio.Event()
        self._untold = False

    def put(self, position: int, change: Change) -> None:
        """The change that the fact at that position made."""
        self._positions.append(position)
        self._changes.append(change)
        self._untold = True
        if len(self._positions) >= 2 * self._kept:
            over = len(self._positions) - self._kept
            self.floor = self._positions[over - 1]
            del self._positions[:over], self._changes[:over]

    def tell(self) -> None:
        """Wake all who wait, if something changed."""
        if self._untold:
            self._untold = False
            self.wake()

    def wake(self) -> None:
        """Wake all who wait."""
        self._news.set()
        self._news.clear()

    async def news(self) -> None:
        """Wait until there may be something to tell."""
        await self._news.wait()

    def after(self, position: int, readers: Providers) -> Iterator[bytes]:
        """The changes after a position that those readers need, each as the feed's event, encoded once for all."""
        for nth in range(bisect_right(self._positions, position), len(self._positions)):
            if is_for(self._changes[nth].to, readers):
                yield self._frame(nth)

    def has_any(self, after: int, until: int, readers: Providers) -> bool:
        """Whether something changed for those readers after a position, up to another; yes where that is not known."""
        if after < self.floor:
            return True
        first, end = bisect_right(self._positions, after), bisect_right(self._positions, until)
        return any(is_for(self._changes[nth].to, readers) for nth in range(first, end))

    def _frame(self, nth: int) -> bytes:
        position = self._positions[nth]
        frame = self._frames.get(position)
        if frame is None:
            if len(self._frames) >= FRAMES_MAX:
                self._frames.clear()
            record = _encode([to_json(self._changes[nth].record)])
            frame = self._frames[position] = b"id: %d\nevent: change\ndata: %b\n\n" % (position, record)
        return frame
