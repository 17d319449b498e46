"""The store in memory, for tests that run in one process. It behaves as the one in Redis."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from asgiref.sync import async_to_sync

from realtime.core.change import Change
from realtime.core.decide import Accepted, decide, forget
from realtime.core.event import Event
from realtime.core.frames import LONGEST_PAGE, PAGE
from realtime.core.jsontext import dumps
from realtime.core.position import Head, Position, next_digest
from realtime.core.states import PENDING, RECEIVED, STALLED, TERMINAL_RANK, rank
from realtime.core.status import Status
from realtime.core.topics import TASK, USER, VISITOR, Topic
from realtime.groups.layer import get_layer, group_of, to_message

from .base import Store
from .reading import PAGE_BYTES, Ownership, Page, Reading, Running, Waiting
from .recent import Place, Recent, RecentInMemory, read_recent
from .record import Log, Record, new_name


class MemoryStore(Store):
    """Keeps everything in this process, and publishes through the channel layer's group_send."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._logs: dict[str, Log] = {}
        self._moved: dict[str, str] = {}
        self._recent = RecentInMemory()
        self._lock = threading.Lock()
        self._leases: dict[str, float] = {}
        self._leader = ("", 0.0)

    def send(self, change: Change) -> Callable[[], int]:
        version = self._accept(change)
        return lambda: version

    # A change in three parts, as in accept.lua: decide, record, apply.

    def _accept(self, change: Change) -> int:
        with self._lock:
            record = self._records.get(change.task_id)
            kept = decide(record.kept if record else None, change)
            if kept is None:
                return 0
            record = self._keep(record, kept, change)
            version, events = record.version, list(self._apply_all(change.task_id, record))
        _send(events)
        return version

    def _keep(self, record: Record | None, kept: Accepted, change: Change) -> Record:
        """Keep the task's record: its owner, life, version and fields."""
        before = record.kept if record else None
        ran = record is not None and record.runs
        if record is None:
            record = self._records[change.task_id] = Record(kept)
        new_life = before is None or kept.lives != before.lives
        if new_life:
            if before is not None:
                self._logs.pop(f"{TASK}:{change.task_id}", None)
            record.texts = {"task_id": dumps(change.task_id)}
            record.dependents, record.redelivery_timeout = (), 0
        # Another owner begins another life too: subscribers of the topic must be authorised anew.
        if self._set_owner(record, change, before, new_life) or new_life:
            record.life = new_name()
        record.keep(kept, change)
        if new_life or record.runs != ran or kept.state == STALLED or change.begins:
            record.since = time.monotonic()
        return record

    def _set_owner(
        self, record: Record, change: Change, before: Accepted | None, new_life: bool
    ) -> bool:
        """Set the owner whom the publication names; without one, the first that a change names.

        Return whether that begins another life.
        """
        known = before.publication if before else ""
        named = change.publication not in ("", known)
        had = record.owner
        if not (named or had is None or (had == "" and change.owner and not known)):
            return False
        record.owner = self._moved.get(change.owner, change.owner)
        if had == record.owner or before is None:
            return False
        if new_life or had:
            record.owner_since = time.time()
        if had:
            self._remove_tasks(had, [change.task_id])
        return True

    def _apply_all(self, task_id: str, record: Record) -> Iterator[Event]:
        yield from self._apply(Topic(TASK, task_id), task_id, record)
        if record.owner:
            yield from self._apply(Topic(USER, record.owner), task_id, record)

    def _apply(self, topic: Topic, task_id: str, record: Record) -> Iterator[Event]:
        """Apply a record's status to one topic, unless the topic has it."""
        log = self._log(topic)
        if log.has(task_id, record):
            return
        if not topic.has_list and log.is_of_another_life(task_id, record):
            log = self._logs[str(topic)] = Log()
        event = log.append(str(topic), task_id, record)
        self._recent.add(event.topic, log.head)
        yield event

    def status(self, task_id: str, *, owner: str | None = None) -> Status | None:
        record = self._known().get(task_id)
        if record is None or owner not in (None, record.owner or ""):
            return None
        return Status.from_json(record.text)

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
                Status.from_json(record.text).published_at,
                record.dependents,
            )
            for task_id, record in self._known().items()
            if record.runs
        ]
        return [run for run in found if received or run.state != RECEIVED or not run.alive]

    def running_ids(self) -> list[str]:
        return [task_id for task_id, record in self._known().items() if record.runs]

    def waiting(self, limit: int) -> list[Waiting]:
        return self.unfinished(self.waiting_ids()[:limit])

    def waiting_ids(self) -> list[str]:
        return [
            task_id
            for task_id, record in self._known().items()
            if not record.runs and record.kept.rank != TERMINAL_RANK
        ]

    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        records = self._known()
        return [
            Waiting(
                task_id,
                records[task_id].kept.state,
                records[task_id].kept.publication,
                records[task_id].kept.lives > 0,
                Status.from_json(records[task_id].text).published_at,
            )
            for task_id in task_ids
            if task_id in records and records[task_id].kept.rank != TERMINAL_RANK
        ]

    def _known(self) -> Mapping[str, Record]:
        return {task_id: record for task_id, record in list(self._records.items()) if record.known}

    # Moving and removing records.

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
        topic = f"{TASK}:{task_id}"
        self._logs.pop(topic, None)
        self._recent.add(topic, None)
        if owner := self._records[task_id].owner:
            self._remove_tasks(owner, [task_id])

    def _remove_tasks(self, owner: str, task_ids: Sequence[str]) -> None:
        topic = Topic(USER, owner)
        log = self._log(topic)
        log.remove_tasks(task_ids)
        self._recent.add(str(topic), log.head)

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
            log = self._log(Topic(USER, visitor))
            mine.sort(key=lambda task_id: log.tasks.get(task_id, 0))
            if self._moved.get(visitor) != owner or mine:
                self._remove_tasks(visitor, mine)
            self._moved[visitor] = owner
            for task_id in mine:
                record = self._records[task_id]
                record.owner = owner
                events += self._apply(Topic(USER, owner), task_id, record)
        _send(events)
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
            log, ((epoch, offset), digest) = self._logs.get(str(topic)), head
            if log is None:
                return self._read(topic, None, PAGE)
            texts = log.missed(head.position)
            for text in texts or ():
                digest = next_digest(digest, text)
            other = texts is not None and digest != log.digest
            if epoch != log.epoch or not (offset > log.offset or other):
                return self._read(topic, head.position, PAGE)
            log.restart()
            self._recent.add(str(topic), log.head)
            record = None if topic.has_list else self._known().get(topic.ident)
            if record is not None:
                record.life = new_name()
                log.entries[topic.ident] = record.entry
            return self._read(topic, None, PAGE)

    def _read(self, topic: Topic, since: Position | None, limit: int) -> Reading:
        is_new = str(topic) not in self._logs
        log, record = self._log(topic), self._known().get(topic.ident)
        if is_new and record is not None and not topic.has_list:
            log.entries[topic.ident] = record.entry  # what this reading shows
        texts = log.missed(since)
        recovered = texts is not None
        if topic.has_list:
            page = self._page(topic, None, limit)
            return Reading(
                log.position,
                recovered,
                page.texts if texts is None else texts,
                log.digest,
                total=page.total,
                next=None if recovered else page.next,
                moved_to=self._moved.get(topic.ident),
            )
        if texts is None:
            texts = [record.text] if record else []
        claimed = record and (record.owner or record.kept.publication)
        return Reading(
            log.position,
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
        return [log.head if log else None for log in logs]

    async def heads_since(self, since: Place | None, most: int) -> Recent:
        return await read_recent(self._recent.find, since, most)

    async def expire(self, topics: Sequence[str]) -> None:
        pass  # memory keeps everything

    async def close(self) -> None:
        pass

    def disconnect(self) -> None:
        pass

    def _log(self, topic: Topic) -> Log:
        return self._logs.setdefault(str(topic), Log())

    def _texts(self, topic: Topic) -> list[tuple[int, str]]:
        """Return the statuses of a topic's tasks, newest first, and the offsets they came at."""
        log = self._logs.get(str(topic))
        return [
            (offset, self._records[task_id].text)
            for task_id, offset in reversed(list(log.tasks.items()) if log else [])
        ]


#: A send inside an event loop cannot be awaited here; the loop has only weak references to tasks.
_sending: set[asyncio.Task[None]] = set()


def _send(events: Iterable[Event]) -> None:
    layer = get_layer()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        for event in events:
            async_to_sync(layer.group_send)(group_of(event.topic), to_message(event))
        return
    for event in events:
        task = loop.create_task(layer.group_send(group_of(event.topic), to_message(event)))
        _sending.add(task)
        task.add_done_callback(_sending.discard)
