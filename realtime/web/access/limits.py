"""How many requests, refusals and connections are allowed: a client, a user, an address, all."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Final

from realtime.conf import conf


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
        """How many more refusals are allowed before requests are refused unread."""
        since = time.monotonic() - self.SECONDS
        return self._limit - sum(moment > since for moment in self._times)

    @property
    def retry_after(self) -> int:
        """Seconds until the next request is read; 0 for now."""
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


class Connections:
    """Counts what is open in this process. It holds no more entries than connections."""

    def __init__(self) -> None:
        self._open = 0
        self._by_owner: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._open

    @property
    def full(self) -> bool:
        """Whether there is no room for anybody."""
        return self._open >= conf().MAX_CONNECTIONS

    def enter(self, address: str, owner: str) -> str:
        """Count a connection in and return ""; or return why there is no room for it."""
        settings = conf()
        if self.full:
            return "no room for more connections"
        if owner and self._by_owner[owner] >= settings.MAX_CONNECTIONS_PER_USER:
            return f"at most {settings.MAX_CONNECTIONS_PER_USER} connections a user"
        if address and self._by_address[address] >= settings.MAX_CONNECTIONS_PER_ADDRESS:
            return f"at most {settings.MAX_CONNECTIONS_PER_ADDRESS} connections an address"
        self._open += 1
        self._by_owner[owner] += 1
        self._by_address[address] += 1
        return ""

    def leave(self, address: str, owner: str) -> None:
        """Count out a connection that was counted in."""
        self._open -= 1
        for counter, key in ((self._by_owner, owner), (self._by_address, address)):
            counter[key] -= 1
            if counter[key] <= 0:
                del counter[key]


#: Of this process.
connections: Final = Connections()
