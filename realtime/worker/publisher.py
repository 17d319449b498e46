"""Publishing without hurting the task.

A change is sent at once, by one synchronous call. Where Redis does not answer, the change waits
in a bounded queue in memory, and so does every later one, until a thread has sent them all in
order: a task pays for an absent Redis once, and never more than ``PUBLISH_TIMEOUT``.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from itertools import count
from typing import Final

from billiard.exceptions import SoftTimeLimitExceeded
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from realtime.broker import get_broker
from realtime.conf import conf
from realtime.core.acceptance import Change
from realtime.core.logs import get_logger
from realtime.core.states import CUSTOM_RANK, TERMINAL_RANK, rank
from realtime.core.topics import is_task_id

logger = get_logger("realtime.publisher")

_LOG_INTERVAL: Final = 60.0  # seconds
_PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.0)  # seconds between two attempts to reach Redis
#: What Redis answers while it can't write now but may later: such a change is kept.
_PASSING: Final = ("LOADING", "BUSY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "OOM", "READONLY")


@dataclass(slots=True)
class Counters:
    """What happened to this process's changes since it started."""

    accepted: int = 0
    stale: int = 0
    queued: int = 0
    dropped: int = 0
    failed: int = 0


class _Queue:
    """Changes in the order they came; when it is full, progress goes first and endings last."""

    def __init__(self) -> None:
        self._numbers = count()
        self._by_worth: tuple[dict[int, Change], ...] = ({}, {}, {})

    def __len__(self) -> int:
        return sum(map(len, self._by_worth))

    def put(self, change: Change, *, room: int) -> bool:
        """Append a change; return False if that cost an older one its place."""
        worth = {CUSTOM_RANK: 0, TERMINAL_RANK: 2}.get(rank(change.state), 1)
        self._by_worth[worth][next(self._numbers)] = change
        if len(self) <= room:
            return True
        least = next(changes for changes in self._by_worth if changes)
        del least[next(iter(least))]
        return False

    def first(self) -> tuple[int, Change] | None:
        heads = [next(iter(changes.items())) for changes in self._by_worth if changes]
        return min(heads, key=lambda head: head[0], default=None)

    def remove(self, number: int) -> None:
        for changes in self._by_worth:
            changes.pop(number, None)


class Publisher:
    """Sends one process's changes to the broker."""

    def __init__(self) -> None:
        self._reset()
        # A prefork child starts with nothing of its parent's: neither its waiting changes, which
        # the parent sends, nor its thread, which is not there, nor a lock that somebody held.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self.counters = Counters()
        self._queue = _Queue()
        self._lock = threading.Lock()
        self._sender: threading.Thread | None = None
        self._empty = threading.Event()
        self._empty.set()
        self._logged = float("-inf")

    def publish(self, change: Change) -> bool:
        """Send a change, or keep it for later; return whether the broker has seen it.

        Raises nothing but what the task's own time limit raises.
        """
        if not is_task_id(change.task_id):
            self._discard(change, ValueError(f"no topic can name the id {change.task_id[:100]!r}"))
            return False
        with self._lock:
            if self._queue:
                self._keep(change)
                return False
        try:
            self._accept(change)
        except (RedisError, OSError) as error:
            if not _is_passing(error):
                self._discard(change, error)
                return False
            self._complain("Redis does not answer, changes wait in memory", error)
            with self._lock:
                self._keep(change)
            return False
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of the service must not be the task's
            self._discard(change, error)
            return False
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is waiting any more, at most ``timeout`` seconds."""
        return self._empty.wait(timeout)

    def waiting(self) -> int:
        """Return how many changes wait for Redis to come back."""
        with self._lock:
            return len(self._queue)

    def _accept(self, change: Change) -> None:
        if get_broker().accept(change):
            self.counters.accepted += 1
        else:
            self.counters.stale += 1

    def _keep(self, change: Change) -> None:
        self.counters.queued += 1
        if not self._queue.put(change, room=conf().QUEUE_SIZE):
            self.counters.dropped += 1
        self._empty.clear()
        if self._sender is None:
            self._sender = threading.Thread(target=self._send, name="realtime-sender", daemon=True)
            self._sender.start()

    def _send(self) -> None:
        failures = 0
        while True:
            with self._lock:
                head = self._queue.first()
                if head is None:
                    self._sender = None
                    self._empty.set()
                    return
            number, change = head
            try:
                self._accept(change)
                failures = 0
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever happens
                if _is_passing(error):
                    self._complain("Redis does not answer, changes wait in memory", error)
                    time.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                    failures += 1
                    continue
                self._discard(change, error)
            # It kept its place until now, so that nothing overtook it.
            with self._lock:
                self._queue.remove(number)

    def _discard(self, change: Change, error: BaseException) -> None:
        self.counters.failed += 1
        self._complain(f"a change to {change.state} could not be published", error)

    def _complain(self, what: str, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._logged < _LOG_INTERVAL:
            return
        self._logged = now
        logger.warning("publish_failed what=%r error=%r waiting=%d", what, error, len(self._queue))


def _is_passing(error: BaseException) -> bool:
    """Return whether the same change may be accepted later."""
    if isinstance(error, OutOfMemoryError | ReadOnlyError):
        return True  # redis-py has taken the code out of the text
    if isinstance(error, ResponseError):
        return str(error).startswith(_PASSING)
    return isinstance(error, RedisError | OSError)


#: The process's own.
publisher: Final = Publisher()
