"""The store in Redis: scripts that keep, log and publish in one step."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from redis.exceptions import RedisError, WatchError

from realtime.conf import conf
from realtime.core.change import Change
from realtime.core.chunks import chunks
from realtime.core.frames import PAGE
from realtime.core.position import Head, Position
from realtime.core.status import Status
from realtime.core.topics import TASK, USER, VISITOR, Topic
from realtime.groups.layer import group_of

from .base import Store
from .connection import SCHEMA, AsyncClient, Call, Client, check_schema
from .keys import Keys, random_name
from .reader import Reader
from .reading import Ownership, Page, Reading, Running, Waiting
from .recent import Place, Recent
from .recent_in_redis import RecentInRedis, head_in
from .scripts import load
from .unfinished import CHUNK, Unfinished

#: Tasks that one call moves or forgets: Redis serves no other client meanwhile.
_MOVED: Final = 100
#: Seconds between two writes by which an event loop's connection notices a failover.
_WRITE_EVERY: Final = 1.0
#: Heads that take Redis as long as one status.
_HEADS: Final = 25
#: Tasks whose owner a process remembers, where their changes do not name it.
_OWNERS: Final = 1000
#: Repeats of a call for a task whose owner was unknown. The first one suffices, unless the task
#: has another owner each time.
_MAX_REPEATS: Final = 5
_CURSOR: Final = re.compile(r"[0-9]{1,16}", re.ASCII)


def _impatience() -> float:
    return conf().PUBLISH_TIMEOUT / 2


def _patience() -> float:
    return max(1.0, conf().CHECK_INTERVAL / 2)


def _changes_hands(task_id: str) -> RedisError:
    return WatchError(f"task {task_id!r:.100} had another owner at each of {_MAX_REPEATS} repeats")


def _parts(changes: Sequence[Change]) -> list[list[Change]]:
    """Split changes, in their order, into parts that have one change of each task at most.

    The call of a change may be repeated. The task's next change must be sent after that.
    """
    parts: list[list[Change]] = [[]]
    task_ids: set[str] = set()
    for change in changes:
        if change.task_id in task_ids:
            parts.append([])
            task_ids.clear()
        parts[-1].append(change)
        task_ids.add(change.task_id)
    return parts


class RedisStore(Store):
    """Keeps the truth in Redis, and publishes in the format of the Pub/Sub channel layer."""

    def __init__(self) -> None:
        self._keys = Keys(f"{conf().PREFIX}:")
        self._accepting = load("accept.lua")
        self._forgetting = load("forget.lua")
        self._adopting = load("adopt.lua")
        self._finding_due = load("due.lua")
        self._expiring = load("expire.lua")
        self._recent = RecentInRedis(self._keys)
        #: Only a task's own updates must not wait for a slow Redis.
        self._impatient = Client(_impatience)
        self._patient = Client(_patience)
        self._unfinished = Unfinished(self._patient, self._keys)
        self._reader = Reader(self._patient, self._keys)
        #: Owners that the script answered with, by task.
        self._owners: dict[str, Sequence[str]] = {}
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = (
            WeakKeyDictionary()
        )

    def accept(self, change: Change) -> int:
        return self._send_all(self._patient, [change])()[0]

    def send(self, change: Change) -> Callable[[], int]:
        answers = self._send_all(self._impatient, [change])
        return lambda: answers()[0]

    def send_all(self, changes: Sequence[Change]) -> Callable[[], Sequence[int]]:
        return self._send_all(self._impatient, changes)

    def _send_all(self, client: Client, changes: Sequence[Change]) -> Callable[[], Sequence[int]]:
        first, *later = _parts(changes)
        answers = self._call_accept(client, first)

        def versions() -> Sequence[int]:
            found = self._with_owners(client, first, answers())
            for part in later:
                refused = {
                    change.task_id: each
                    for change, each in zip(changes, found, strict=False)
                    if isinstance(each, Exception)
                }
                # A refused change may be accepted later: the task's next one must not be before it.
                sent = [change for change in part if change.task_id not in refused]
                more = iter(self._with_owners(client, sent, self._call_accept(client, sent)()))
                found += [refused.get(change.task_id) or next(more) for change in part]
            for each in found:
                if isinstance(each, Exception):
                    raise each
            return found

        return versions

    def _call_accept(self, client: Client, changes: Sequence[Change]) -> Callable[[], list[Any]]:
        return client.send(self._accepting, list(map(self._accept_call, changes)))

    def _with_owners(
        self, client: Client, changes: Sequence[Change], found: list[Any]
    ) -> list[Any]:
        """Repeat the calls that need the keys of owners' topics; return the versions and errors.

        The change names no owner, or the task has another owner by now.
        """
        repeats = 0
        while unknown := [n for n, answer in enumerate(found) if isinstance(answer, list)]:
            if repeats == _MAX_REPEATS:
                raise _changes_hands(changes[unknown[0]].task_id)
            repeats += 1
            for number in unknown:
                self._remember(changes[number].task_id, found[number])
            # Not with what is remembered: it may be less than a batch needs.
            calls = [self._keys.accept(changes[n], found[n]) for n in unknown]
            for number, answer in zip(unknown, client.send(self._accepting, calls)(), strict=True):
                found[number] = answer
        return found

    def _accept_call(self, change: Change) -> Call:
        return self._keys.accept(change, self._owners.get(change.task_id, ()))

    def _remember(self, task_id: str, owners: Sequence[str]) -> None:
        if len(self._owners) >= _OWNERS:
            self._owners.clear()
        self._owners[task_id] = owners

    def status(self, task_id: str, *, owner: str | None = None) -> Status | None:
        found = self._reader.read_now(Topic(TASK, task_id))
        if not found.texts or owner not in (None, found.owner):
            return None
        return Status.from_json(found.texts[0])

    def statuses(self, topic: Topic) -> list[Status]:
        found: list[Status] = []
        after: str | None = ""
        while after is not None:
            page = self._reader.read_now(topic, after)
            found += map(Status.from_json, page.texts)
            after = page.next
        return found

    # Tasks that have not ended.

    def renew_lease(self, worker: str, seconds: float) -> None:
        with self._patient.use() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(self._keys.lease(worker), 1, px=int(seconds * 1000))
            pipeline.set(self._keys.schema, SCHEMA, nx=True)
            pipeline.get(self._keys.schema)
            check_schema(pipeline.execute()[-1])

    def end_lease(self, worker: str) -> None:
        with self._patient.use() as client:
            client.delete(self._keys.lease(worker))

    def elect(self, candidate: str, seconds: float) -> bool:
        key, milliseconds = self._keys.leader, int(seconds * 1000)
        with self._patient.use() as client:
            if client.set(key, candidate, nx=True, px=milliseconds):
                return True
            # Two leaders at once do no harm: each of their changes is judged like any other.
            return client.get(key) == candidate and bool(client.pexpire(key, milliseconds))

    async def has_leader(self) -> bool:
        return bool(await self._async().execute("EXISTS", self._keys.leader))

    def running(self, *, received: bool = True) -> list[Running]:
        return self._unfinished.running(received=received)

    def running_ids(self) -> list[str]:
        return self._unfinished.running_ids()

    def waiting(self, limit: int) -> list[Waiting]:
        return self._unfinished.waiting(limit)

    def waiting_ids(self) -> list[str]:
        return self._unfinished.waiting_ids()

    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        return self._unfinished.of(task_ids)

    # Moving and removing records.

    def withdraw(self, task_id: str, publication: str) -> bool:
        return self._forget_one(task_id, "1", publication)

    def forget(self, task_id: str) -> bool:
        return self._forget_one(task_id)

    def forget_owner(self, owner: str) -> int:
        _, _, tasks, expiry = self._keys.of_topic(Topic(USER, owner))
        count = 0
        while True:
            with self._patient.use() as client:
                # Tasks that the list has no room for are in the other set only.
                found = client.zrange(tasks, 0, _MOVED - 1) or client.zrange(expiry, 0, _MOVED - 1)
                task_ids = cast(list[str], found)
                if not task_ids:
                    return count
                count += self._forget(task_ids, owner)[0]
                # One of them may have another owner by now, or have expired.
                client.zrem(tasks, *task_ids)
                client.zrem(expiry, *task_ids)

    def _forget_one(self, task_id: str, *withdraw: str) -> bool:
        owner = ""
        for _ in range(1 + _MAX_REPEATS):
            count, other = self._forget([task_id], owner, *withdraw)
            if other is None:
                return bool(count)
            owner = other
        raise _changes_hands(task_id)

    def _forget(
        self, task_ids: Sequence[str], owner: str, *withdraw: str
    ) -> tuple[int, str | None]:
        """Forget the tasks of one owner, or of nobody.

        Return how many there were, and the owner of one that is another owner's.
        """
        keys = [*self._keys.of_topic(Topic(USER, owner)), self._keys.running, self._keys.waiting]
        for task_id in task_ids:
            head, log, record = self._keys.of_topic(Topic(TASK, task_id))
            keys += (record, head, log)
        keys.append(self._keys.recent)
        args = [owner, random_name(), *(withdraw or ("", "")), *task_ids]
        with self._patient.use() as client:
            count, other = self._forgetting.call(client, keys, args)
            return int(count), other

    def adopt(self, visitor: str, owner: str) -> int:
        if not visitor.startswith(VISITOR):
            raise ValueError(f"{visitor!r} is no visitor")
        topic = Topic(USER, owner)
        keys = [
            self._keys.moved(visitor),
            *(self._keys.running, self._keys.waiting),
            *self._keys.of_topic(Topic(USER, visitor)),
            *self._keys.of_topic(topic),
        ]
        args = [visitor, owner, str(topic), group_of(str(topic)), random_name(), _MOVED]
        while True:
            with self._patient.use() as client:
                _, *task_ids = self._adopting.call(client, [*keys, self._keys.recent], args)
                if not task_ids:
                    return 0
                records = [*map(self._keys.record, task_ids), self._keys.recent]
                moved, *_ = self._adopting.call(client, [*keys, *records], [*args, *task_ids])
            if moved:
                return int(moved)

    # For the web process.

    async def ownership(self, task_id: str) -> Ownership | None:
        command = ("HMGET", self._keys.record(task_id), "_owner", "_owner_since")
        owner, since = await self._async().execute(*command)
        return None if owner is None else Ownership(owner, float(since or 0))

    async def moved_to(self, visitor: str) -> str | None:
        owner = await self._async().execute("HGET", self._keys.moved(visitor), "owner")
        return None if owner is None else str(owner)

    async def page(self, topic: Topic, after: str, limit: int) -> Page:
        if not _CURSOR.fullmatch(after):
            raise ValueError("after must be what the last page gave as next")
        found = await self._reader.read(self._async(), topic, None, limit, after)
        return Page(found.texts, found.total or 0, found.next)

    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        return await self._reader.read(self._async(), topic, since, limit)

    async def read_since(self, topic: Topic, head: Head) -> Reading:
        return await self._reader.read(self._async(), topic, head, PAGE)

    async def heads(self, topics: Sequence[str]) -> list[Head | None]:
        client, schema = self._async(), self._keys.schema
        calls = [
            client.execute("MGET", *chunk, cost=max(1, len(chunk) // _HEADS))
            for chunk in chunks([*map(self._keys.head, topics)], CHUNK)
        ]
        # A replica answers reads for ever: only a write shows that it is no longer a primary.
        if write := time.monotonic() - client.wrote >= _WRITE_EVERY:
            calls += [client.execute("SET", schema, SCHEMA, "NX"), client.execute("GET", schema)]
        found = await asyncio.gather(*calls)
        if write:
            check_schema(found.pop())
            found.pop()
            client.wrote = time.monotonic()
        return [head_in(text) if text else None for texts in found for text in texts]

    async def heads_since(self, since: Place | None, most: int) -> Recent:
        return await self._recent.since(self._async(), since, most)

    async def expire(self, topics: Sequence[str]) -> None:
        for some in chunks([*map(Topic.parse, topics)], CHUNK):
            expiry = [self._keys.of_topic(topic)[-1] for topic in some]
            for number in await self._async().call(self._finding_due, expiry, ()):
                await self._expire(some[int(number) - 1])

    async def _expire(self, topic: Topic) -> None:
        task_ids: list[str] = []
        while True:
            records = map(self._keys.record, task_ids)
            keys = [*self._keys.of_topic(topic), *records, self._keys.recent]
            args = [topic.ident, random_name(), *task_ids]
            task_ids = await self._async().call(self._expiring, keys, args)
            if not task_ids:
                return

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def disconnect(self) -> None:
        for client in (self._impatient, self._patient):
            client.disconnect()

    def _async(self) -> AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = AsyncClient()
        return client
