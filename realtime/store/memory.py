"""The store in memory, for unit tests that run in one process. It promises the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from asgiref.sync import async_to_sync

from realtime.conf import conf
from realtime.core.change import Accepted, Change, decide, forget
from realtime.core.event import Event
from realtime.core.jsontext import dumps
from realtime.core.position import Head, Position, next_digest
from realtime.core.states import (
    CUSTOM_RANK,
    PENDING,
    RECEIVED,
    STALLED,
    STARTED,
    TERMINAL_RANK,
    rank,
)
from realtime.core.status import Status, compose
from realtime.core.topics import TASK, USER, VISITOR, Topic, topics_of
from realtime.groups.layer import get_layer, group_of, to_message

from .base import (
    LONGEST_PAGE,
    PAGE,
    PAGE_BYTES,
    Ownership,
    Page,
    Reading,
    Running,
    Store,
    Waiting,
)
from .record import Log, Record, new_epoch


class MemoryStore(Store):
    """Keeps everything in this process, and publishes through the channel layer's group_send."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._logs: dict[str, Log] = {}
        self._moved: dict[str, str] = {}
        self._lock = threading.Lock()
        self._leases: dict[str, float] = {}
        self._leader = ("", 0.0)

    def send(self, change: Change) -> Callable[[], int]:
        version = self._accept(change)
        return lambda: version

    def _accept(self, change: Change) -> int:
        with self._lock:
            record = self._records.get(change.task_id)
            kept = decide(record.kept if record else None, change)
            if kept is None:
                return 0
            before = record.kept if record else None
            fresh = before is not None and kept.lives != before.lives
            if record is None:
                record = self._records[change.task_id] = Record(kept)
            if fresh:
                record.texts, record.dependents, record.redelivery_timeout = {}, (), 0
                self._logs.pop(f"{TASK}:{change.task_id}", None)
            if before is None or fresh or _runs(before) != _runs(kept) or kept.state == STALLED:
                record.since = time.monotonic()
            if change.worker:
                record.redelivery_timeout = change.redelivery_timeout
            if change.dependents:
                record.dependents = change.dependents
            self._set_owner(record, change, before, fresh)
            record.kept = kept
            record.version += 1
            record.texts.setdefault("task_id", dumps(change.task_id))
            record.texts |= change.fields
            record.texts |= {
                "state": dumps(kept.state),
                "version": str(record.version),
                "run": str(kept.run),
                "attempt": str(kept.attempt),
            }
            if fresh and record.owner:
                self._log(f"{USER}:{record.owner}").tasks.pop(change.task_id, None)
            events = [
                self._log_event(topic, change.task_id, record)
                for topic in topics_of(change.task_id, record.owner or "")
            ]
            version = record.version
        for event in events:
            _send(event)
        return version

    def _set_owner(
        self, record: Record, change: Change, before: Accepted | None, fresh: bool
    ) -> None:
        """Give a task to its publication's owner; without one, to the first that is known."""
        known = before.publication if before else ""
        named = change.publication not in ("", known)
        had = record.owner
        if not (named or had is None or (had == "" and change.owner and not known)):
            return
        record.owner = self._moved.get(change.owner, change.owner)
        if had == "" and record.owner:
            self._logs.pop(f"{TASK}:{change.task_id}", None)
        if had == record.owner or not (fresh or had):
            return
        record.owner_since = time.time()
        self._logs.pop(f"{TASK}:{change.task_id}", None)
        if had:
            self._take_off(had, [change.task_id])

    def _take_off(self, owner: str, task_ids: Sequence[str]) -> None:
        log = self._log(f"{USER}:{owner}")
        for task_id in task_ids:
            log.tasks.pop(task_id, None)
        log.restart()

    def status(self, task_id: str, *, owner: str | None = None) -> Status | None:
        record = self._known().get(task_id)
        if record is None or owner not in (None, record.owner or ""):
            return None
        return Status.from_json(compose(record.texts))

    def statuses(self, topic: Topic) -> list[Status]:
        with self._lock:
            return [Status.from_json(text) for _, text in self._texts(topic)]

    def renew_lease(self, worker: str, seconds: float) -> None:
        self._leases[worker] = time.monotonic() + seconds

    def end_lease(self, worker: str) -> None:
        self._leases.pop(worker, None)

    def elect(self, candidate: str, seconds: float) -> bool:
        leader, until = self._leader
        if candidate != leader and time.monotonic() < until:
            return False
        self._leader = candidate, time.monotonic() + seconds
        return True

    async def has_leader(self) -> bool:
        return time.monotonic() < self._leader[1]

    def running(self, *, received: bool = True) -> list[Running]:
        now = time.monotonic()
        found = [
            Running(
                task_id,
                record.kept.state,
                record.kept.run,
                record.kept.run_id,
                not record.kept.worker or self._leases.get(record.kept.worker, 0) > now,
                now - record.since,
                record.redelivery_timeout,
                record.kept.publication,
                record.kept.lives > 0,
                Status.from_json(compose(record.texts)).published_at,
                record.dependents,
            )
            for task_id, record in self._known().items()
            if _runs(record.kept)
        ]
        return [run for run in found if received or run.state != RECEIVED or not run.alive]

    def running_ids(self) -> list[str]:
        return [task_id for task_id, record in self._known().items() if _runs(record.kept)]

    def waiting(self, limit: int) -> list[Waiting]:
        return self.unfinished(self.waiting_ids()[:limit])

    def waiting_ids(self) -> list[str]:
        return [
            task_id
            for task_id, record in self._known().items()
            if not _runs(record.kept) and record.kept.rank != TERMINAL_RANK
        ]

    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        records = self._known()
        return [
            Waiting(
                task_id,
                records[task_id].kept.state,
                records[task_id].kept.publication,
                records[task_id].kept.lives > 0,
                Status.from_json(compose(records[task_id].texts)).published_at,
            )
            for task_id in task_ids
            if task_id in records and records[task_id].kept.rank != TERMINAL_RANK
        ]

    def _known(self) -> Mapping[str, Record]:
        return {task_id: record for task_id, record in list(self._records.items()) if record.known}

    # Moving and removing what is kept.

    def withdraw(self, task_id: str, publication: str) -> bool:
        with self._lock:
            record = self._known().get(task_id)
            if record is None or record.kept.publication != publication:
                return False
            if (record.kept.state, record.kept.rank) != (PENDING, rank(PENDING)):
                return False
            self._remove(task_id)
            del self._records[task_id]
            return True

    def forget(self, task_id: str) -> bool:
        with self._lock:
            return self._forget(task_id)

    def _forget(self, task_id: str) -> bool:
        record = self._known().get(task_id)
        if record is None:
            return False
        self._remove(task_id)
        self._records[task_id] = Record(forget(record.kept))
        return True

    def _remove(self, task_id: str) -> None:
        self._logs.pop(f"{TASK}:{task_id}", None)
        if owner := self._records[task_id].owner:
            self._take_off(owner, [task_id])

    def forget_owner(self, owner: str) -> int:
        with self._lock:
            mine = [task_id for task_id, record in self._known().items() if record.owner == owner]
            return sum(map(self._forget, mine))

    def adopt(self, visitor: str, owner: str) -> int:
        if not visitor.startswith(VISITOR):
            raise ValueError(f"{visitor!r} is no visitor")
        events: list[Event] = []
        with self._lock:
            if self._moved.get(visitor, owner) != owner:
                return 0
            mine = [task_id for task_id, record in self._known().items() if record.owner == visitor]
            listed = self._log(f"{USER}:{visitor}").tasks
            mine.sort(key=lambda task_id: listed.get(task_id, 0))
            if self._moved.get(visitor) != owner or mine:
                self._take_off(visitor, mine)
            self._moved[visitor] = owner
            for task_id in mine:
                record = self._records[task_id]
                record.owner = owner
                events.append(self._log_event(f"{USER}:{owner}", task_id, record))
        for event in events:
            _send(event)
        return len(mine)

    # For the web process.

    async def ownership(self, task_id: str) -> Ownership | None:
        record = self._known().get(task_id)
        return Ownership(record.owner or "", record.owner_since) if record else None

    async def moved_to(self, visitor: str) -> str | None:
        return self._moved.get(visitor)

    async def page(self, topic: Topic, after: str, limit: int) -> Page:
        if not (after.isascii() and after.isdigit() and len(after) <= 16):
            raise ValueError("after must be what the last page gave as next")
        with self._lock:
            return self._page(topic, int(after), limit)

    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        with self._lock:
            return self._read(topic, since, limit)

    async def read_since(self, topic: Topic, head: Head) -> Reading:
        with self._lock:
            log, ((epoch, offset), digest) = self._log(str(topic)), head
            reading = self._read(topic, head.position, PAGE)
            if reading.recovered:
                for text in reading.texts:
                    digest = next_digest(digest, text)
            else:
                digest = log.digest  # what led here is not kept
            if epoch == log.epoch and (offset > log.offset or digest != log.digest):
                log.restart()
                return self._read(topic, None, PAGE)
            return reading

    def _read(self, topic: Topic, since: Position | None, limit: int) -> Reading:
        log = self._log(str(topic))
        position, texts = Position(log.epoch, log.offset), None
        if since is not None and since.epoch == log.epoch:
            missed = log.offset - since.offset
            if 0 <= missed <= len(log.texts):
                texts = list(log.texts)[len(log.texts) - missed :]
        recovered = texts is not None
        if topic.holds_many:
            page = self._page(topic, None, limit)
            return Reading(
                position,
                recovered,
                page.texts if texts is None else texts,
                log.digest,
                total=page.total,
                next=None if recovered else page.next,
                moved_to=self._moved.get(topic.ident),
            )
        record = self._known().get(topic.ident)
        if texts is None:
            texts = [compose(record.texts)] if record else []
        claimed = record and (record.owner or record.kept.publication)
        return Reading(
            position,
            recovered,
            texts,
            log.digest,
            owner=record.owner if record and claimed else None,
        )

    def _page(self, topic: Topic, after: int | None, limit: int) -> Page:
        limit = min(max(limit, 1), LONGEST_PAGE)
        every = self._texts(topic)
        rest = [each for each in every if after is None or each[0] < after]
        texts: list[str] = []
        size, last = 0, 0
        for offset, text in rest:
            size += len(text.encode())
            if len(texts) == limit or (texts and size > PAGE_BYTES):
                return Page(texts, len(every), str(last))
            texts.append(text)
            last = offset
        return Page(texts, len(every), None)

    async def heads(self, topics: Sequence[str]) -> list[Head | None]:
        logs = [self._logs.get(topic) for topic in topics]
        return [Head(Position(log.epoch, log.offset), log.digest) if log else None for log in logs]

    async def expire(self, topics: Sequence[str]) -> None:
        pass  # nothing expires here

    async def close(self) -> None:
        pass

    def disconnect(self) -> None:
        pass

    def _log(self, topic: str) -> Log:
        return self._logs.setdefault(topic, Log(new_epoch()))

    def _log_event(self, topic: str, task_id: str, record: Record) -> Event:
        log, text = self._log(topic), compose(record.texts)
        log.offset += 1
        log.digest = next_digest(log.digest, text)
        log.texts.append(text)
        log.tasks.setdefault(task_id, log.offset)
        while len(log.tasks) > conf().MAX_LIST_TASKS:
            del log.tasks[next(iter(log.tasks))]
        return Event(topic, Position(log.epoch, log.offset), task_id, record.kept.state, text)

    def _texts(self, topic: Topic) -> list[tuple[int, str]]:
        """Return the statuses of a topic's tasks, newest first, and the offsets they came at."""
        log = self._logs.get(str(topic))
        return [
            (offset, compose(self._records[task_id].texts))
            for task_id, offset in reversed(list(log.tasks.items()) if log else [])
        ]


def _runs(kept: Accepted) -> bool:
    """Return whether a worker runs it, or holds it and is known."""
    held = kept.rank == rank(RECEIVED) and bool(kept.worker)
    return held or rank(STARTED) <= kept.rank <= CUSTOM_RANK


#: Sending from within an event loop cannot be waited for; the loop holds tasks only weakly.
_sending: set[asyncio.Task[None]] = set()


def _send(event: Event) -> None:
    layer, group = get_layer(), group_of(event.topic)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(layer.group_send)(group, to_message(event))
    else:
        task = loop.create_task(layer.group_send(group, to_message(event)))
        _sending.add(task)
        task.add_done_callback(_sending.discard)
