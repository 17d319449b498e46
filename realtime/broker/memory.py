"""The broker in memory, for unit tests that run in one process. It promises the same."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from asgiref.sync import async_to_sync

from realtime.conf import conf
from realtime.core.acceptance import Change, Kept, accept
from realtime.core.jsontext import dumps
from realtime.core.position import Place, Position, next_mark
from realtime.core.states import CUSTOM_RANK, STALLED, STARTED, TERMINAL_RANK, rank
from realtime.core.status import Status, compose
from realtime.core.topics import Topic, group_name, topics_of

from .base import PAGE, Broker, Event, Reading, Running, Waiting
from .layer import get_layer, to_message


@dataclass(slots=True)
class _Record:
    kept: Kept
    owner: str = ""
    worker: str = ""
    patience: int = 0
    #: When it began to run, or stalled.
    since: float = 0.0
    version: int = 0
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Log:
    epoch: str
    offset: int = 0
    mark: int = 0
    texts: deque[str] = field(default_factory=lambda: deque(maxlen=conf().HISTORY_SIZE))
    #: The topic's tasks, oldest first.
    tasks: dict[str, None] = field(default_factory=dict)


class MemoryBroker(Broker):
    """Keeps everything in this process, and publishes through the channel layer's group_send."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._logs: dict[str, _Log] = {}
        self._lock = threading.Lock()
        self._leases: dict[str, float] = {}
        self._leader = ("", 0.0)

    def send(self, change: Change) -> Callable[[], int]:
        version = self._accept(change)
        return lambda: version

    def _accept(self, change: Change) -> int:
        with self._lock:
            record = self._records.get(change.task_id)
            kept = accept(record.kept if record else None, change)
            if kept is None:
                return 0
            if record is None:
                texts = {"task_id": dumps(change.task_id)}
                record = self._records[change.task_id] = _Record(kept, texts=texts)
            if not _runs(record.kept) or kept.state == STALLED:
                record.since = time.monotonic()
            if change.worker:
                record.worker, record.patience = change.worker, change.patience
            record.kept = kept
            record.owner = record.owner or change.owner
            record.version += 1
            record.texts |= change.fields
            record.texts |= {
                "state": dumps(kept.state),
                "version": str(record.version),
                "run": str(kept.run),
                "attempt": str(kept.attempt),
            }
            text = compose(record.texts)
            events = [
                self._log_event(topic, change.task_id, kept.state, text)
                for topic in topics_of(change.task_id, record.owner)
            ]
            version = record.version
        for event in events:
            _send(event)
        return version

    def status(self, task_id: str) -> Status | None:
        record = self._records.get(task_id)
        return Status.from_json(compose(record.texts)) if record else None

    def statuses(self, topic: Topic) -> list[Status]:
        return [Status.from_json(text) for text in self._texts(topic)]

    def renew_lease(self, worker: str, seconds: float) -> None:
        self._leases[worker] = time.monotonic() + seconds

    def end_lease(self, worker: str) -> None:
        self._leases.pop(worker, None)

    def lead(self, candidate: str, seconds: float) -> bool:
        leader, until = self._leader
        if candidate != leader and time.monotonic() < until:
            return False
        self._leader = candidate, time.monotonic() + seconds
        return True

    async def is_led(self) -> bool:
        return time.monotonic() < self._leader[1]

    def running(self) -> list[Running]:
        now = time.monotonic()
        return [
            Running(
                task_id,
                record.kept.state,
                record.kept.run,
                record.kept.token,
                not record.worker or self._leases.get(record.worker, 0) > now,
                now - record.since,
                record.patience,
            )
            for task_id, record in list(self._records.items())
            if _runs(record.kept)
        ]

    def waiting(self, limit: int) -> list[Waiting]:
        return self.unfinished(self.waiting_ids()[:limit])

    def waiting_ids(self) -> list[str]:
        return [
            task_id
            for task_id, record in list(self._records.items())
            if not _runs(record.kept) and record.kept.rank != TERMINAL_RANK
        ]

    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        records = [(task_id, self._records.get(task_id)) for task_id in task_ids]
        return [
            Waiting(task_id, record.kept.state, "", False, None)
            for task_id, record in records
            if record is not None and record.kept.rank != TERMINAL_RANK
        ]

    async def owner(self, task_id: str) -> str | None:
        record = self._records.get(task_id)
        return record.owner if record else None

    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        with self._lock:
            return self._read(topic, since)

    async def follow(self, topic: Topic, place: Place) -> Reading:
        with self._lock:
            log, ((epoch, offset), mark) = self._log(str(topic)), place
            reading = self._read(topic, place.position)
            if reading.recovered:
                for text in reading.texts:
                    mark = next_mark(mark, text)
            else:
                mark = log.mark  # what led here is not kept
            if epoch == log.epoch and (offset > log.offset or mark != log.mark):
                log.epoch = _epoch()
                log.texts.clear()
                return self._read(topic, None)
            return reading

    def _read(self, topic: Topic, since: Position | None) -> Reading:
        log = self._log(str(topic))
        position = Position(log.epoch, log.offset)
        if since is not None and since.epoch == log.epoch:
            missed = log.offset - since.offset
            if 0 <= missed <= len(log.texts):
                texts = list(log.texts)[len(log.texts) - missed :]
                return Reading(position, True, texts, log.mark)
        return Reading(position, False, self._texts(topic), log.mark)

    async def places(self, topics: Sequence[str]) -> list[Place | None]:
        logs = [self._logs.get(topic) for topic in topics]
        return [Place(Position(log.epoch, log.offset), log.mark) if log else None for log in logs]

    async def close(self) -> None:
        pass

    def _log(self, topic: str) -> _Log:
        return self._logs.setdefault(topic, _Log(_epoch()))

    def _log_event(self, topic: str, task_id: str, state: str, text: str) -> Event:
        log = self._log(topic)
        log.offset += 1
        log.mark = next_mark(log.mark, text)
        log.texts.append(text)
        log.tasks.setdefault(task_id)
        while len(log.tasks) > conf().SNAPSHOT_SIZE:
            del log.tasks[next(iter(log.tasks))]
        return Event(topic, Position(log.epoch, log.offset), task_id, state, text)

    def _texts(self, topic: Topic) -> list[str]:
        log = self._logs.get(str(topic))
        return [compose(self._records[task].texts) for task in reversed(log.tasks)] if log else []


def _epoch() -> str:
    return secrets.token_urlsafe(6)


def _runs(kept: Kept) -> bool:
    return rank(STARTED) <= kept.rank <= CUSTOM_RANK


#: Sending from within an event loop cannot be waited for; the loop holds tasks only weakly.
_sending: set[asyncio.Task[None]] = set()


def _send(event: Event) -> None:
    layer, group = get_layer(), group_name(event.topic)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(layer.group_send)(group, to_message(event))
    else:
        task = loop.create_task(layer.group_send(group, to_message(event)))
        _sending.add(task)
        task.add_done_callback(_sending.discard)
