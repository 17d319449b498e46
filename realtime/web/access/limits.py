"""How many requests and refusals one client is allowed."""

from __future__ import annotations

import math
import time
from typing import Final

from realtime.conf import Settings


class Window:
    """Detects that something happened ``count`` times within ``seconds``."""

    __slots__ = ("_count", "_seconds", "_times")

    def __init__(self, count: int, seconds: float) -> None:
        self._count, self._seconds = count, seconds
        # No deque: an empty deque has 700 bytes, and most connections never count anything.
        self._times: list[float] = []

    def add(self) -> bool:
        """Count one; return whether the limit is reached."""
        now = time.monotonic()
        self._times = [*self._times, now][-self._count :]
        return len(self._times) == self._count and now - self._times[0] < self._seconds


class Refusals:
    """Counts the refused requests of one client over a minute."""

    __slots__ = ("_limit", "_times")

    #: Seconds over which refusals are counted.
    SECONDS: Final = 60.0
    #: The multiple of the limit at which the connection ends.
    FACTOR: Final = 5

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: list[float] = []

    @property
    def left(self) -> int:
        """How many more refusals are allowed before requests are refused without a check."""
        since = time.monotonic() - self.SECONDS
        return self._limit - sum(moment > since for moment in self._times)

    @property
    def retry_after(self) -> int:
        """Seconds until the next request is checked; 0 for now."""
        if self.left > 0:
            return 0
        return max(1, math.ceil(self._times[-self._limit] + self.SECONDS - time.monotonic()))

    def add(self) -> bool:
        """Count one; return whether the connection must end."""
        most = self._limit * self.FACTOR
        now = time.monotonic()
        self._times = [*self._times, now][-most:]
        return len(self._times) == most and now - self._times[0] < self.SECONDS


class Bucket:
    """A token bucket: allows ``burst`` at once, and ``rate`` a second in the long run."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens = float(burst)
        self._filled_at = time.monotonic()

    def allow(self) -> bool:
        """Count one; return whether it is allowed."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def limits(settings: Settings) -> dict[str, float]:
    """Return the limits that the client must obey, for ``welcome``."""
    return {
        "subscriptions": settings.MAX_SUBSCRIPTIONS,
        "frame_bytes": settings.MAX_FRAME_BYTES,
        "frames_per_second": settings.MAX_FRAMES_PER_SECOND,
        "frame_burst": settings.MAX_FRAME_BURST,
        "refusals_per_minute": settings.MAX_REFUSALS_PER_MINUTE,
    }
