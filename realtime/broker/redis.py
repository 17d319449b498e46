"""The broker in Redis: scripts that keep, log and publish in one step."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from realtime.conf import conf
from realtime.core.acceptance import Change, Follower
from realtime.core.jsontext import dumps
from realtime.core.position import Place, Position
from realtime.core.states import RECEIVED, TERMINAL_RANK, rank
from realtime.core.status import Status
from realtime.core.topics import TASK, USER, VISITOR, Topic

from .base import LONGEST_PAGE, PAGE, Broker, Owned, Page, Reading, Running, Waiting
from .connection import SCHEMA, Asker, Call, Client, check_schema
from .layer import group_of
from .scripts import PLACES, Script

#: Records that are read in one go.
_CHUNK: Final = 500
#: Ids of tasks that have not ended which are read in one go.
_IDS: Final = 10_000
#: Tasks that are moved or forgotten in one go: Redis serves nobody else meanwhile.
_MOVED: Final = 100
#: Seconds between two writes by which an event loop's connection notices a failover.
_WRITE_EVERY: Final = 1.0
_CURSOR: Final = re.compile(r"[0-9]{1,16}", re.ASCII)


def _chunks(items: Sequence[Any], size: int = _CHUNK) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _name() -> str:
    """Return a name that no other count of a topic has, and no other life of a task."""
    return os.urandom(6).hex()  # not from `random`, which a task may have seeded


def _place(text: str) -> Place:
    epoch, offset, *mark = text.split(" ")
    return Place(Position(epoch, int(offset)), int(*mark))


@lru_cache(maxsize=1024)
def _group(kind: str, ident: str) -> str:
    return group_of(f"{kind}:{ident}")


def _impatience() -> float:
    return conf().PUBLISH_TIMEOUT / 2


def _patience() -> float:
    return max(1.0, conf().CHECK_INTERVAL / 2)


class RedisBroker(Broker):
    """Keeps the truth in Redis, and publishes in the format of the Pub/Sub channel layer."""

    def __init__(self) -> None:
        self._prefix = f"{conf().PREFIX}:"
        self._accepting = Script("accept.lua")
        self._reading = Script("read.lua")
        self._forgetting = Script("forget.lua")
        self._adopting = Script("adopt.lua")
        #: Only a task's own updates must not wait for a slow Redis.
        self._impatient = Client(_impatience)
        self._patient = Client(_patience)
        #: The workers of tasks that they have received and not begun, by id and time.
        self._held: dict[tuple[str, float], str] = {}
        self._turn = 0
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
            change.token,
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
            args += (PLACES.get(key, key), text)
        if change.worker:
            args += ["_patience", change.patience]
        if change.followers:
            args += ["_followers", dumps(change.followers)]
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

    def lead(self, candidate: str, seconds: float) -> bool:
        key = f"{self._prefix}leader"
        with self._patient.use() as client:
            if client.set(key, candidate, nx=True, px=int(seconds * 1000)):
                return True
            # Two leaders at once would do no harm: each change of theirs is judged like any other.
            mine = client.get(key) == candidate
            return mine and bool(client.pexpire(key, int(seconds * 1000)))

    async def is_led(self) -> bool:
        return bool(await self._async().ask("EXISTS", f"{self._prefix}leader"))

    def running(self, *, held: bool = True) -> list[Running]:
        found, members = [], self._members("running")
        with self._patient.use() as client:
            seconds, microseconds = client.time()
        now = seconds + microseconds / 1e6
        # A task is given another time as soon as it is more than held, so what is remembered of
        # one with the same time is true. (Read again in turn all the same: records expire.)
        known, self._turn = self._held, (self._turn + 1) % _TURNS
        alive = set() if held else self._alive(set(known.values()))
        self._held = {
            member: known[member]
            for member in members
            if known.get(member, "") in alive and hash(member) % _TURNS != self._turn
        }
        unread = [member for member in members if member not in self._held]
        for chunk in _chunks(unread):
            records = self._records([task_id for task_id, _ in chunk], _RUNNING, "running")
            alive = self._alive({worker for *_, worker in records.values() if worker})
            for task_id, since in chunk:
                if task_id not in records:
                    continue
                state, publication, lives, published, run, token, patience, followers, worker = (
                    records[task_id]
                )
                if state == _HELD and worker in alive:
                    self._held[task_id, since] = worker
                    if not held:
                        continue
                found.append(
                    Running(
                        task_id,
                        json.loads(state),
                        int(run),
                        token or "",
                        not worker or worker in alive,
                        now - since,
                        int(patience or 0),
                        publication or "",
                        _again(lives),
                        json.loads(published or "null"),
                        tuple(Follower(*each) for each in json.loads(followers or "[]")),
                    )
                )
        return found

    def running_ids(self) -> list[str]:
        return [task_id for task_id, _ in self._members("running")]

    def waiting(self, limit: int) -> list[Waiting]:
        name = f"{self._prefix}waiting"
        with self._patient.use() as client:
            task_ids = cast(list[str], client.zrange(name, 0, limit - 1))
            if task_ids:
                now = int(client.time()[0])
                client.zadd(name, dict.fromkeys(task_ids, now), xx=True)
        return self._unfinished(task_ids, name="waiting")

    def waiting_ids(self) -> list[str]:
        return [task_id for task_id, _ in self._members("waiting")]

    def _members(self, name: str) -> list[tuple[str, float]]:
        """Return a list's members with their times, oldest first."""
        key, found = f"{self._prefix}{name}", list[tuple[str, float]]()
        with self._patient.use() as client:
            # In pages: Redis serves nobody else meanwhile. As the list changes, an id may come
            # twice, or be missing until the next time.
            while page := client.zrange(key, len(found), len(found) + _IDS - 1, withscores=True):
                found += cast(list[tuple[str, float]], page)
        return found

    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        return self._unfinished(task_ids)

    def _unfinished(self, task_ids: Sequence[str], name: str = "") -> list[Waiting]:
        found = []
        for chunk in _chunks(task_ids):
            for task_id, record in self._records(chunk, (*_WAITS, "_rank"), name).items():
                state, publication, lives, published, ranked = record
                if int(ranked) != TERMINAL_RANK:
                    again, published_at = _again(lives), json.loads(published or "null")
                    found.append(
                        Waiting(task_id, json.loads(state), publication or "", again, published_at)
                    )
        return found

    def _records(
        self, task_ids: Sequence[str], keys: Sequence[str], name: str = ""
    ) -> dict[str, list[Any]]:
        """Return some keys of each record, `state` first; take those that expired off a list."""
        with self._patient.use() as client:
            pipeline = client.pipeline(transaction=False)
            for task_id in task_ids:
                pipeline.hmget(self._record(task_id), keys)
            records = dict(zip(task_ids, pipeline.execute(), strict=True))
            gone = [task_id for task_id, (state, *_) in records.items() if state is None]
            if gone and name:
                client.zrem(f"{self._prefix}{name}", *gone)
        for task_id in gone:
            del records[task_id]
        return records

    def _alive(self, workers: set[str]) -> set[str]:
        with self._patient.use() as client:
            pipeline = client.pipeline(transaction=False)
            for worker in workers:
                pipeline.exists(self._key("lease", worker))
            return {w for w, stands in zip(workers, pipeline.execute(), strict=True) if stands}

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
                tasks, expiry = self._key("tasks", topic), self._key("expiry", topic)
                found = client.zrange(tasks, 0, _MOVED - 1) or client.zrange(expiry, 0, _MOVED - 1)
                task_ids = cast(list[str], found)
                if not task_ids:
                    return count
                count += self._forget(self._of(owner, task_ids))
                # Should one of them be somebody else's by now, or have expired.
                client.zrem(tasks, *task_ids)
                client.zrem(expiry, *task_ids)

    def _of(self, owner: str, task_ids: Sequence[str]) -> list[str]:
        owners = self._records(task_ids, ("state", "_owner"))
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

    async def owned(self, task_id: str) -> Owned | None:
        command = ("HMGET", self._record(task_id), "_owner", "_owner_since")
        owner, since = await self._async().ask(*command)
        return None if owner is None else Owned(owner, float(since or 0))

    async def moved_to(self, visitor: str) -> str | None:
        owner = await self._async().ask("HGET", self._key("moved", visitor), "owner")
        return None if owner is None else str(owner)

    async def page(self, topic: Topic, after: str, limit: int) -> Page:
        if not _CURSOR.fullmatch(after):
            raise ValueError("after must be what the last page gave as next")
        question = self._question(topic, limit=limit, after=after)
        reply = await self._async().call(self._reading, *question)
        return Page(reply[_TEXTS:], int(reply[_TOTAL] or 0), reply[_NEXT])

    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        return await self._read(self._question(topic, since, epoch=_name(), limit=limit))

    async def follow(self, topic: Topic, place: Place) -> Reading:
        return await self._read(
            self._question(topic, place.position, epoch=_name(), mark=place.mark)
        )

    async def _read(self, question: tuple[list[str], list[Any]]) -> Reading:
        reply = await self._async().call(self._reading, *question)
        epoch, offset, mark, recovered, owner, total, after, moved, *texts = reply
        return Reading(
            Position(epoch, int(offset)),
            recovered == "1",
            texts,
            int(mark),
            owner=owner,
            total=None if total is None else int(total),
            next=after,
            moved_to=moved,
        )

    async def places(self, topics: Sequence[str]) -> list[Place | None]:
        keys = [self._key("place", topic) for topic in topics]
        asker = self._async()
        asked = [asker.ask("MGET", *chunk) for chunk in _chunks(keys)]
        # A replica answers whoever only reads, for ever: a write tells.
        if write := time.monotonic() - asker.wrote >= _WRITE_EVERY:
            name = f"{self._prefix}schema"
            asked += [asker.ask("SET", name, SCHEMA, "NX"), asker.ask("GET", name)]
        found = await asyncio.gather(*asked)
        if write:
            check_schema(found.pop())
            found.pop()
            asker.wrote = time.monotonic()
        return [_place(text) if text else None for texts in found for text in texts]

    async def close(self) -> None:
        asker = self._askers.pop(asyncio.get_running_loop(), None)
        if asker is not None:
            await asker.close()

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
        mark: int | None = None,
        limit: int = PAGE,
        after: str = "",
    ) -> tuple[list[str], list[Any]]:
        tasks = self._key("tasks", topic) if topic.holds_many else self._record(topic.ident)
        keys = [self._key("place", topic), self._key("log", topic), tasks]
        return keys, [
            str(topic),
            "1" if topic.holds_many else "",
            since.epoch if since else "",
            since.offset if since else 0,
            epoch,
            "" if mark is None else mark,
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

#: What is asked of the record of a task that waits, and of one that runs.
_WAITS: Final = ("state", "_publication", "_lives", "published_at")
_RUNNING: Final = (*_WAITS, "run", "_token", "_patience", "_followers", "_worker")
#: The state of a task that a worker has received and not begun.
_HELD: Final = f'"{RECEIVED}"'
#: Each of those is read at least once in so many turns.
_TURNS: Final = 60


def _again(lives: str | None) -> bool:
    return int(lives or 0) > 0
