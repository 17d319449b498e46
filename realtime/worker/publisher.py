"""Publish a process' changes without hurting its tasks.

A change is sent at once. A task's own updates are pipelined: the reply is read when the process
sends its next change, or by the timer within 0.25 s. While Redis does not answer, changes wait in a
bounded queue in memory, and one thread sends them in order. So a task pays for an absent Redis
once, and never more than ``PUBLISH_TIMEOUT``.

No thread waits for another one here (see serialized_calls.py). A change that is published while
another thread waits for Redis is sent by that thread; so is one from a signal handler that
interrupted this module.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from django.core.signals import setting_changed
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from realtime.conf import conf
from realtime.core.change import Change
from realtime.core.interruption import interrupts_task
from realtime.core.logs import get_logger
from realtime.core.states import CUSTOM_RANK, TERMINAL_RANK, rank
from realtime.core.topics import is_task_id
from realtime.store import get_store
from realtime.store.base import Store

from .serialized_calls import SerializedCalls
from .timer import start_thread, timer

logger = get_logger("realtime.publisher")

_LOG_INTERVAL: Final = 60.0  # seconds
_REPLY_WITHIN: Final = 0.25  # seconds until the timer reads a reply, if no later change did
_POLL: Final = 0.005  # seconds between two checks of :meth:`Publisher.flush`
_PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.0)  # seconds between two attempts to reach Redis
#: Errors of a Redis that cannot write now but may later. Such a change is queued.
_TEMPORARY: Final = ("LOADING", "BUSY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "OOM", "READONLY")


@dataclass(slots=True)
class Counters:
    """How many changes of this process had which outcome."""

    accepted: int = 0
    stale: int = 0
    queued: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(slots=True)
class SentChange:
    """A change that was passed to the publisher."""

    change: Change
    #: Whether the store has replied that it accepted or refused the change.
    acknowledged: bool = False


class _Queue:
    """Changes in their order. If it is full, progress is dropped first and endings last."""

    def __init__(self) -> None:
        self._numbers = count()
        self._by_priority: tuple[dict[int, Change], ...] = ({}, {}, {})

    def __len__(self) -> int:
        return sum(map(len, self._by_priority))

    def __bool__(self) -> bool:
        progress, other, endings = self._by_priority
        return bool(other or endings or progress)

    def put(self, change: Change, *, room: int) -> bool:
        """Append a change; return False if another one was dropped for it."""
        priority = {CUSTOM_RANK: 0, TERMINAL_RANK: 2}.get(rank(change.state), 1)
        self._by_priority[priority][next(self._numbers)] = change
        if len(self) <= room:
            return True
        least = next(changes for changes in self._by_priority if changes)
        del least[next(iter(least))]
        return False

    def first(self) -> tuple[int, Change] | None:
        heads = [next(iter(changes.items())) for changes in self._by_priority if changes]
        return min(heads, key=lambda head: head[0], default=None)

    def remove(self, number: int) -> None:
        for changes in self._by_priority:
            changes.pop(number, None)


class Publisher:
    """Sends one process's changes to the store."""

    def __init__(self) -> None:
        self.reset()
        # A forked child keeps nothing of its parent: the parent sends its own queue, its thread
        # does not exist in the child, and another thread may have acquired its lock.
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget all changes, replies and counters."""
        self.counters = Counters()
        self._calls = SerializedCalls()
        self._queue = _Queue()
        #: The changes that were sent last, with a function that reads their replies. One at most.
        self._unread: deque[tuple[Sequence[SentChange], Callable[[], Sequence[int]]]] = deque()
        #: When the timer will have read the replies, by the monotonic clock.
        self._timer_due = float("-inf")
        self._queue_thread: threading.Thread | None = None
        self._logged_at = float("-inf")

    def publish(self, change: Change) -> bool:
        """Send a change, or queue it; return whether the store has acknowledged it.

        Raises only what interrupts the task: its time limit, or the end of the process.
        """
        sent = self._send(change)
        self.read_replies()
        return sent.acknowledged

    def send(self, change: Change) -> SentChange:
        """Do the same without waiting for the reply. The reply to the change before is read."""
        sent = self._send(change)
        self._read_replies_soon()
        return sent

    def send_all(self, changes: Sequence[Change]) -> None:
        """Send changes together, in their order, without waiting for the replies."""
        batch = [SentChange(change) for change in changes if self._is_sendable(change)]
        if batch:
            self._calls.call(self._transmit, batch)
            self._read_replies_soon()

    def read_replies(self) -> None:
        """Read the replies that :meth:`send` left; queue the changes that failed.

        Raises as :meth:`publish` does.
        """
        if self._unread:
            self._calls.call(self._read_reply)
        elif self._calls:  # a time limit interrupted one
            self._calls.run()

    def flush(self, timeout: float) -> bool:
        """Wait until all changes are sent, at most ``timeout`` seconds; return whether they are."""
        until = time.monotonic() + timeout
        while True:
            self.read_replies()
            if not (self._calls or self._unread or self._queue):
                return True
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)

    def queue_size(self) -> int:
        """Return how many changes are queued while Redis is away."""
        return len(self._queue)

    def _send(self, change: Change) -> SentChange:
        sent = SentChange(change)
        if self._is_sendable(change):
            self._calls.call(self._transmit, (sent,))
        return sent

    def _is_sendable(self, change: Change) -> bool:
        try:
            if is_task_id(change.task_id):
                return True
        except Exception as error:  # an id that is no text
            if interrupts_task(error):
                raise
        self.counters.failed += 1
        self._log_failure(change, ValueError(f"no topic can name the id {change.task_id!r:.100}"))
        return False

    # Serialized calls: one thread at a time makes them.

    def _transmit(self, batch: Sequence[SentChange]) -> None:
        if self._unread:
            self._read_reply()
        if self._queue:
            self._enqueue(batch)
            return
        try:
            if len(batch) == 1:
                reply = get_store().send(batch[0].change)
                self._unread.append((batch, lambda: (reply(),)))
            else:
                replies = get_store().send_all([sent.change for sent in batch])
                self._unread.append((batch, replies))
        except Exception as error:
            if interrupts_task(error):
                raise
            self._handle_failure(batch, error)
            self._log_failure(batch[0].change, error)

    def _read_reply(self) -> None:
        if self._unread:
            batch, replies = self._unread.popleft()
            try:
                versions = replies()
            except BaseException as error:
                self._handle_failure(batch, error)
                if interrupts_task(error):
                    raise
                self._log_failure(batch[0].change, error)
            else:
                for sent, version in zip(batch, versions, strict=True):
                    self._count(version)
                    sent.acknowledged = True

    def _handle_failure(self, batch: Sequence[SentChange], error: BaseException) -> None:
        if _is_temporary(error) or interrupts_task(error):
            self._enqueue(batch)
        else:
            self.counters.failed += len(batch)

    def _enqueue(self, batch: Sequence[SentChange]) -> None:
        for sent in batch:
            self.counters.queued += 1
            if not self._queue.put(sent.change, room=conf().MAX_QUEUED_CHANGES):
                self.counters.dropped += 1
        if self._queue_thread is None:
            store = get_store()  # once the settings are overridden it is another one
            self._queue_thread = start_thread(lambda: self._send_queued(store), "realtime-sender")

    # The timer, and the thread that sends the queue.

    def _read_replies_soon(self) -> None:
        now = time.monotonic()
        if now >= self._timer_due:
            # Set last: a time limit in between leads to one call too many, not to none.
            if timer.call_later(_REPLY_WITHIN, self.read_replies):
                self._timer_due = now + _REPLY_WITHIN
            else:
                self.read_replies()

    def _send_queued(self, store: Store) -> None:
        queue, failures = self._queue, 0
        while self._queue is queue:
            with self._calls.paused():
                head = queue.first()
                if head is None:
                    self._queue_thread = None
                    return
            number, change = head
            try:
                self._count(store.accept(change))
                failures = 0
            except Exception as error:  # noqa: BLE001 - the thread must go on
                self._log_failure(change, error)
                if _is_temporary(error):
                    time.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                    failures += 1
                    continue
                self.counters.failed += 1
            # Removed only now, so that no later change is sent before it.
            with self._calls.paused():
                queue.remove(number)

    def _count(self, version: int) -> None:
        if version:
            self.counters.accepted += 1
        else:
            self.counters.stale += 1

    def _log_failure(self, change: Change, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._logged_at < _LOG_INTERVAL:
            return
        self._logged_at = now
        if _is_temporary(error):
            what = "Redis does not answer, changes are queued in memory"
        else:
            what = f"a change to {change.state} could not be published"
        logger.warning("publish_failed what=%r error=%r queued=%d", what, error, len(self._queue))


def _is_unreachable(error: BaseException) -> bool:
    """Return whether Redis did not reply at all."""
    return isinstance(error, RedisError | OSError) and not isinstance(error, ResponseError)


def _is_temporary(error: BaseException) -> bool:
    """Return whether the store may accept the same change later."""
    if isinstance(error, OutOfMemoryError | ReadOnlyError):
        return True  # redis-py removes the code from the text
    if isinstance(error, ResponseError):
        return str(error).startswith(_TEMPORARY)
    return _is_unreachable(error)


#: The publisher of this process.
publisher: Final = Publisher()


def _reset(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        publisher.reset()


setting_changed.connect(_reset)
