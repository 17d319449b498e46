"""Publishing without hurting the task.

A change is sent at once. What a task says of itself does not wait for the answer: that is taken
when the process has its next word to send, and soon by a thread if there is none. Where Redis does
not answer, the change waits in a bounded queue in memory, and so does every later one, until
another thread has sent them all in order: a task pays for an absent Redis once, and never more than
``PUBLISH_TIMEOUT``.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
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
_ANSWER_WITHIN: Final = 0.25  # seconds until an answer is taken that no later word asked for
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


@dataclass(slots=True)
class Sent:
    """A change that was handed to the publisher."""

    change: Change
    #: Whether the broker has seen it, as far as anybody asked.
    seen: bool = False


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
        self._unanswered: deque[tuple[Sent, Callable[[], int]]] = deque()
        # Held while an answer is taken. Reentrant, as what interrupts that may publish too.
        self._answering = threading.RLock()
        self._asked = threading.Event()
        self._asking: threading.Thread | None = None
        self._sender: threading.Thread | None = None
        self._empty = threading.Event()
        self._empty.set()
        self._logged = float("-inf")

    def publish(self, change: Change) -> bool:
        """Send a change, or keep it for later; return whether the broker has seen it.

        Raises nothing but what the task's own time limit raises.
        """
        sent = self._send(change)
        self.settle()
        return sent.seen

    def send(self, change: Change) -> Sent:
        """Do the same, but wait for no answer except to what was sent before."""
        sent = self._send(change)
        if not self._asked.is_set():
            self._ask_later()
        return sent

    def settle(self) -> None:
        """Take the answers that were not waited for; what failed is kept for later.

        Raises as :meth:`publish` does.
        """
        failures: list[tuple[Change, BaseException]] = []
        with self._answering:
            while self._unanswered:
                sent, answer = self._unanswered.popleft()
                try:
                    self._count(answer())
                    sent.seen = True
                except BaseException as error:
                    self._put_aside(sent.change, error)
                    if _is_the_tasks(error):
                        raise
                    failures.append((sent.change, error))
                    if _is_unreachable(error):
                        # The others' answers are not waited for: nobody knows, and twice is as
                        # good as once.
                        while self._unanswered:
                            self._put_aside(self._unanswered.popleft()[0].change, error)
        for failure in failures:  # only now: a handler of logs has locks of its own
            self._complain(*failure)

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is waiting any more, at most ``timeout`` seconds."""
        self.settle()
        return self._empty.wait(timeout)

    def waiting(self) -> int:
        """Return how many changes wait for Redis to come back."""
        with self._lock:
            return len(self._queue)

    def _send(self, change: Change) -> Sent:
        sent = Sent(change)
        if not is_task_id(change.task_id):
            error = ValueError(f"no topic can name the id {change.task_id[:100]!r}")
            self._put_aside(change, error)
            self._complain(change, error)
            return sent
        try:
            self.settle()
            with self._lock:
                if self._queue:
                    self._keep(change)
                    return sent
            self._unanswered.append((sent, get_broker().send(change)))
        except BaseException as error:
            self._put_aside(change, error)
            if _is_the_tasks(error):
                raise
            self._complain(change, error)
        return sent

    def _ask_later(self) -> None:
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._asking = _started(self._ask, "realtime-answers")
        if self._asking is None:
            self.settle()
        else:
            self._asked.set()

    def _ask(self) -> None:
        while True:
            self._asked.wait()
            time.sleep(_ANSWER_WITHIN)
            self._asked.clear()  # before: who sends from now on asks again
            self.settle()

    def _put_aside(self, change: Change, error: BaseException) -> None:
        if _is_passing(error) or _is_the_tasks(error):
            with self._lock:
                self._keep(change)
        else:
            self.counters.failed += 1

    def _count(self, version: int) -> None:
        if version:
            self.counters.accepted += 1
        else:
            self.counters.stale += 1

    def _keep(self, change: Change) -> None:
        self.counters.queued += 1
        if not self._queue.put(change, room=conf().QUEUE_SIZE):
            self.counters.dropped += 1
        self._empty.clear()
        if self._sender is None:
            self._sender = _started(self._send_waiting, "realtime-sender")

    def _send_waiting(self) -> None:
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
                self._count(get_broker().accept(change))
                failures = 0
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever happens
                self._complain(change, error)
                if _is_passing(error):
                    time.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                    failures += 1
                    continue
                self.counters.failed += 1
            # It kept its place until now, so that nothing overtook it.
            with self._lock:
                self._queue.remove(number)

    def _complain(self, change: Change, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._logged < _LOG_INTERVAL:
            return
        self._logged = now
        if _is_passing(error):
            what = "Redis does not answer, changes wait in memory"
        else:
            what = f"a change to {change.state} could not be published"
        logger.warning("publish_failed what=%r error=%r waiting=%d", what, error, len(self._queue))


def _started(run: Callable[[], None], name: str) -> threading.Thread | None:
    """Return a thread that runs; None where there can be no more, as when the interpreter ends."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def _is_the_tasks(error: BaseException) -> bool:
    """Return whether it is meant for the task: its time limit, or the end of its process."""
    return isinstance(error, SoftTimeLimitExceeded) or not isinstance(error, Exception)


def _is_unreachable(error: BaseException) -> bool:
    """Return whether Redis did not answer at all."""
    return isinstance(error, RedisError | OSError) and not isinstance(error, ResponseError)


def _is_passing(error: BaseException) -> bool:
    """Return whether the same change may be accepted later."""
    if isinstance(error, OutOfMemoryError | ReadOnlyError):
        return True  # redis-py has taken the code out of the text
    if isinstance(error, ResponseError):
        return str(error).startswith(_PASSING)
    return _is_unreachable(error)


#: The process's own.
publisher: Final = Publisher()
