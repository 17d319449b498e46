"""The store in Redis: scripts that keep, log and publish in one step."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from realtime.conf import conf
from realtime.core.change import Change
from realtime.core.jsontext import dumps
from realtime.core.position import Head, Position
from realtime.core.states import rank
from realtime.core.status import Status
from realtime.core.topics import TASK, USER, VISITOR, Topic
from realtime.groups.layer import group_of

from .base import LONGEST_PAGE, PAGE, Ownership, Page, Reading, Running, Store, Waiting
from .connection import SCHEMA, Asker, Call, Client, check_schema
from .scripts import FIELD_NUMBERS, Script
from .unfinished import Unfinished, chunks

#: Tasks that are moved or forgotten in one go: Redis serves nobody else meanwhile.
_MOVED: Final = 100
#: Seconds between two writes by which an event loop's connection notices a failover.
_WRITE_EVERY: Final = 1.0
_CURSOR: Final = re.compile(r"[0-9]{1,16}", re.ASCII)


def _name() -> str:
    """Return a name that no other count of a topic has, and no other life of a task."""
    return os.urandom(6).hex()  # not from `random`, which a task may have seeded


def _head(text: str) -> Head:
    epoch, offset, *digest = text.split(" ")
    return Head(Position(epoch, int(offset)), int(*digest))


@lru_cache(maxsize=1024)
def _group(kind: str, ident: str) -> str:
    return group_of(f"{kind}:{ident}")


def _impatience() -> float:
    return conf().PUBLISH_TIMEOUT / 2


def _patience() -> float:
    return max(1.0, conf().CHECK_INTERVAL / 2)


class RedisStore(Store):
    """Keeps the truth in Redis, and publishes in the format of the Pub/Sub channel layer."""

    def __init__(self) -> None:
        self._prefix = f"{conf().PREFIX}:"
        self._accepting = Script("accept.lua")
        self._reading = Script("read.lua")
        self._forgetting = Script("forget.lua")
        self._adopting = Script("adopt.lua")
        self._expiring = Script("expire.lua")
        #: Only a task's own updates must not wait for a slow Redis.
        self._impatient = Client(_impatience)
        self._patient = Client(_patience)
        self._unfinished = Unfinished(self._patient, self._prefix)
        self._askers: WeakKeyDictionary[asyncio.AbstractEventLoop, Asker] = WeakKeyDictionary()
        _group.cache_clear()  # other settings, other groups

    def accept(self, change: Change) -> int:
        (version,) = self._patient.send(self._accepting, [self._call(change)])()
        return version

    def send(self, change: Change) -> Callable[[], int]:
        answers = self._impatient.send(self._accepting, [self._call(change)])
        return lambda: answers()[0]

    def send_all(self, changes: Sequence[Change]) -> Callable[[], Sequence[int]]:
        return self._impatient.send(self._accepting, list(map(self._call, changes)))

    def _call(self, change: Change) -> Call:
        args: list[Any] = [
            change.task_id,
            change.state,
            rank(change.state),
            "" if change.attempt is None else change.attempt,
            change.run_id,
            "1" if change.begins else "",
            "" if change.counter is None else change.counter,
            "1" if change.stored else "",
            change.publication,
            change.sender,
            change.owner,
            _group(TASK, change.task_id),
            change.owner and _group(USER, change.owner),
            _name(),
            change.worker,
        ]
        for key, text in change.fields.items():
            args += (FIELD_NUMBERS.get(key, key), text)
        if change.worker:
            args += ["_redelivery_timeout", change.redelivery_timeout]
        if change.dependents:
            args += ["_dependents", dumps(change.dependents)]
        return self._record(change.task_id), args

    def status(self, task_id: str, *, owner: str | None = None) -> Status | None:
        reply = self._ask(Topic(TASK, task_id))
        texts = reply[_TEXTS:]
        if not texts or owner not in (None, reply[_OWNER]):
            return None
        return Status.from_json(texts[0])

    def statuses(self, topic: Topic) -> list[Status]:
        found: list[Status] = []
        after: str | None = ""
        while after is not None:
            reply = self._ask(topic, limit=LONGEST_PAGE, after=after)
            found += map(Status.from_json, reply[_TEXTS:])
            after = reply[_NEXT]
        return found

    def _ask(self, topic: Topic, **page: Any) -> list[Any]:
        with self._patient.use() as client:
            return cast(list[Any], self._reading.call(client, *self._question(topic, **page)))

    # Looking after what has not ended.

    def renew_lease(self, worker: str, seconds: float) -> None:
        with self._patient.use() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(self._key("lease", worker), 1, px=int(seconds * 1000))
            pipeline.set(f"{self._prefix}schema", SCHEMA, nx=True)
            pipeline.get(f"{self._prefix}schema")
            check_schema(pipeline.execute()[-1])

    def end_lease(self, worker: str) -> None:
        with self._patient.use() as client:
            client.delete(self._key("lease", worker))

    def elect(self, candidate: str, seconds: float) -> bool:
        key = f"{self._prefix}leader"
        with self._patient.use() as client:
            if client.set(key, candidate, nx=True, px=int(seconds * 1000)):
                return True
            # Two leaders at once would do no harm: each change of theirs is judged like any other.
            mine = client.get(key) == candidate
            return mine and bool(client.pexpire(key, int(seconds * 1000)))

    async def has_leader(self) -> bool:
        return bool(await self._async().ask("EXISTS", f"{self._prefix}leader"))

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

    # Moving and removing what is kept.

    def withdraw(self, task_id: str, publication: str) -> bool:
        return bool(self._forget([task_id], "1", publication))

    def forget(self, task_id: str) -> bool:
        return bool(self._forget([task_id]))

    def forget_owner(self, owner: str) -> int:
        topic, count = f"{USER}:{owner}", 0
        while True:
            with self._patient.use() as client:
                # Those that the list has no room for are in the other set only.
                tasks, expiry = self._key("list", topic), self._key("expiry", topic)
                found = client.zrange(tasks, 0, _MOVED - 1) or client.zrange(expiry, 0, _MOVED - 1)
                task_ids = cast(list[str], found)
                if not task_ids:
                    return count
                count += self._forget(self._of(owner, task_ids))
                # Should one of them be somebody else's by now, or have expired.
                client.zrem(tasks, *task_ids)
                client.zrem(expiry, *task_ids)

    def _of(self, owner: str, task_ids: Sequence[str]) -> list[str]:
        owners = self._unfinished.records(task_ids, ("state", "_owner"))
        return [task_id for task_id, (_, whose) in owners.items() if whose == owner]

    def _forget(self, task_ids: Sequence[str], *withdraw: str) -> int:
        args = [_name(), *(withdraw or ("", "")), *task_ids]
        with self._patient.use() as client:
            return int(self._forgetting.call(client, (), args))

    def adopt(self, visitor: str, owner: str) -> int:
        if not visitor.startswith(VISITOR):
            raise ValueError(f"{visitor!r} is no visitor")
        args = [visitor, owner, group_of(f"{USER}:{owner}"), _name(), _MOVED]
        while True:
            with self._patient.use() as client:
                moved, seen = self._adopting.call(client, (), args)
            if moved or not seen:
                return int(moved)

    # For the web process.

    async def ownership(self, task_id: str) -> Ownership | None:
        command = ("HMGET", self._record(task_id), "_owner", "_owner_since")
        owner, since = await self._async().ask(*command)
        return None if owner is None else Ownership(owner, float(since or 0))

    async def moved_to(self, visitor: str) -> str | None:
        owner = await self._async().ask("HGET", self._key("moved", visitor), "owner")
        return None if owner is None else str(owner)

    async def page(self, topic: Topic, after: str, limit: int) -> Page:
        if not _CURSOR.fullmatch(after):
            raise ValueError("after must be what the last page gave as next")
        question = self._question(topic, limit=limit, after=after)
        reply = await self._async().call(self._reading, *question, cost=limit)
        return Page(reply[_TEXTS:], int(reply[_TOTAL] or 0), reply[_NEXT])

    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        cost = limit if topic.holds_many else 1
        question = self._question(topic, since, epoch=_name(), limit=limit)
        return await self._read(question, cost)

    async def read_since(self, topic: Topic, head: Head) -> Reading:
        cost = PAGE if topic.holds_many else 1
        question = self._question(topic, head.position, epoch=_name(), digest=head.digest)
        return await self._read(question, cost)

    async def _read(self, question: tuple[list[str], list[Any]], cost: int) -> Reading:
        reply = await self._async().call(self._reading, *question, cost=cost)
        epoch, offset, digest, recovered, owner, total, after, moved, *texts = reply
        return Reading(
            Position(epoch, int(offset)),
            recovered == "1",
            texts,
            int(digest),
            owner=owner,
            total=None if total is None else int(total),
            next=after,
            moved_to=moved,
        )

    async def heads(self, topics: Sequence[str]) -> list[Head | None]:
        keys = [self._key("head", topic) for topic in topics]
        asker = self._async()
        asked = [asker.ask("MGET", *chunk) for chunk in chunks(keys)]
        # A replica answers whoever only reads, for ever: a write tells.
        if write := time.monotonic() - asker.wrote >= _WRITE_EVERY:
            name = f"{self._prefix}schema"
            asked += [asker.ask("SET", name, SCHEMA, "NX"), asker.ask("GET", name)]
        found = await asyncio.gather(*asked)
        if write:
            check_schema(found.pop())
            found.pop()
            asker.wrote = time.monotonic()
        return [_head(text) if text else None for texts in found for text in texts]

    async def expire(self, topics: Sequence[str]) -> None:
        for some in chunks(topics):
            await self._async().call(self._expiring, (), (_name(), *some))

    async def close(self) -> None:
        asker = self._askers.pop(asyncio.get_running_loop(), None)
        if asker is not None:
            await asker.close()

    def disconnect(self) -> None:
        for client in (self._impatient, self._patient):
            client.disconnect()

    def _key(self, kind: str, ident: object) -> str:
        return f"{self._prefix}{kind}:{ident}"

    def _record(self, task_id: str) -> str:
        return self._key("task", task_id)

    def _question(
        self,
        topic: Topic,
        since: Position | None = None,
        *,
        epoch: str = "",
        digest: int | None = None,
        limit: int = PAGE,
        after: str = "",
    ) -> tuple[list[str], list[Any]]:
        tasks = self._key("list", topic) if topic.holds_many else self._record(topic.ident)
        keys = [self._key("head", topic), self._key("log", topic), tasks]
        return keys, [
            str(topic),
            "1" if topic.holds_many else "",
            since.epoch if since else "",
            since.offset if since else 0,
            epoch,
            "" if digest is None else digest,
            min(max(limit, 1), LONGEST_PAGE),
            after,
            topic.ident if topic.kind == USER and topic.ident.startswith(VISITOR) else "",
        ]

    def _async(self) -> Asker:
        loop = asyncio.get_running_loop()
        asker = self._askers.get(loop)
        if asker is None:
            asker = self._askers[loop] = Asker()
        return asker


#: Places in what `read.lua` returns.
_OWNER: Final = 4
_TOTAL: Final = 5
_NEXT: Final = 6
_TEXTS: Final = 8
