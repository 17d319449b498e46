"""The broker in Redis: two scripts, one synchronous client a process, one client an event loop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import hiredis
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, NoScriptError, ResponseError, TimeoutError  # noqa: A004
from redis.retry import Retry

from realtime.conf import conf
from realtime.core.acceptance import TOKENS_KEPT, Change
from realtime.core.position import Place, Position
from realtime.core.states import rank
from realtime.core.status import FIELDS, INITIAL, Status
from realtime.core.together import Together
from realtime.core.topics import Topic, group_name, topics_of

from .base import PAGE, Broker, Reading, Running, Waiting
from .layer import group_prefix

#: Records that are read in one go.
_CHUNK: Final = 500
#: What the rule remembers of a record, besides the status.
_RULE: Final = ("_rank", "_counter", "_token", "_tokens", "_owner", "_topics")


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _constants(script: str) -> str:
    """Return, as Lua's locals, what a script needs to know and no call changes."""
    settings = conf()
    status = ",".join(f'"{key}":%s' for key in FIELDS)
    kept = (*FIELDS, *_RULE)
    named: dict[str, str | int | Sequence[str] | dict[str, int]] = {
        "FIELDS": FIELDS,
        "INITIAL": [INITIAL[key] for key in FIELDS],
        "STATUS": f"{{{status}}}",
        "KEPT": kept,
        "AT": {key: place for place, key in enumerate(kept, 1)},
        "PREFIX": f"{settings.PREFIX}:",
        "GROUP_PREFIX": group_prefix(),
        "RECORD_TTL": settings.RECORD_TTL,
        "UNFINISHED_TTL": settings.UNFINISHED_TTL,
        "HISTORY_SIZE": settings.HISTORY_SIZE,
        "HISTORY_TTL": settings.HISTORY_TTL,
        "SNAPSHOT_SIZE": settings.SNAPSHOT_SIZE,
        "TOKENS_KEPT": TOKENS_KEPT,
    }
    return "".join(
        f"local {name} = {_in_lua(value)}\n" for name, value in named.items() if name in script
    )


def _in_lua(value: str | int | Sequence[str] | dict[str, int]) -> str:
    if isinstance(value, str | int):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}={place}' for key, place in value.items())}}}"
    return f"{{{','.join(map(_in_lua, value))}}}"


def _epoch() -> str:
    """Return a name that no other count of a topic has."""
    return os.urandom(6).hex()  # not from `random`, which a task may have seeded


def _place(text: str) -> Place:
    epoch, offset, *mark = text.split(" ")
    return Place(Position(epoch, int(offset)), int(*mark))


@lru_cache(maxsize=1024)
def _topics(task_id: str, owner: str) -> str:
    """Return a task's topics as the script reads them."""
    return " ".join(
        f"{topic} {group_name(topic)} {'many' if number else 'one'}"
        for number, topic in enumerate(topics_of(task_id, owner))
    )


class _Script:
    """A Lua file of this folder, called by its hash."""

    def __init__(self, name: str) -> None:
        text = files(__package__).joinpath(name).read_text()
        self.source = _constants(text) + text
        # The commands are spelled out instead of using register_script(): the same script is
        # called through a synchronous and through an asynchronous client.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, client: redis.Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.execute_command("EVAL", self.source, len(keys), *keys, *args)

    async def acall(self, asker: _Asker, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return await asker.ask("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await asker.ask("EVAL", self.source, len(keys), *keys, *args)


class _Asker:
    """What one event loop asks Redis with: what is asked at once leaves together.

    A storm of subscriptions takes one connection, and few pipelines.
    """

    def __init__(self) -> None:
        timeout = conf().CHECK_INTERVAL
        self._patience = 2 * timeout
        self.client = redis.asyncio.Redis.from_url(
            conf().REDIS_URL,
            decode_responses=True,
            socket_timeout=self._patience,
            socket_connect_timeout=timeout,
        )
        self._together = Together(self._send)

    async def ask(self, *command: Any) -> Any:
        """Return a command's answer. Raises TimeoutError too, where those before it took it all."""
        async with asyncio.timeout(self._patience):
            return await self._together.answer(command)

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)


def _send(connection: Any, command: Any, *, again: bool = True) -> None:
    try:
        connection.send_packed_command(command)
    except BaseException as error:
        # Half a command may be in it. It connects again when it is used again.
        connection.disconnect()
        if not again or not _is_cut(error):
            raise
        _send(connection, command, again=False)


def _receive(connection: Any, command: Any, *, again: bool = True) -> Any:
    try:
        return connection.read_response()
    except ResponseError:
        raise
    except BaseException as error:
        # Half a reply may be in it: a task's time limit can strike here too.
        connection.disconnect()
        if not again or not _is_cut(error):
            raise
        _send(connection, command, again=False)
        return _receive(connection, command, again=False)


def _is_cut(error: BaseException) -> bool:
    return isinstance(error, ConnectionError) and not isinstance(error, TimeoutError)


class RedisBroker(Broker):
    """Keeps the truth in Redis, and publishes in the format of the Pub/Sub channel layer."""

    def __init__(self) -> None:
        self._prefix = f"{conf().PREFIX}:"
        self._accepting = _Script("accept.lua")
        self._reading = _Script("read.lua")
        self._client: redis.Redis | None = None
        #: Connections that no thread uses just now.
        self._free: list[Any] = []
        self._pid = 0
        self._askers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Asker] = WeakKeyDictionary()

    def send(self, change: Change) -> Callable[[], int]:
        args: list[Any] = [
            change.task_id,
            change.state,
            rank(change.state),
            "" if change.attempt is None else change.attempt,
            change.token,
            "1" if change.begins else "",
            "" if change.counter is None else change.counter,
            "1" if change.stored else "",
            change.owner,
            _topics(change.task_id, change.owner),
            _epoch(),
        ]
        for field in change.fields.items():
            args += field
        if change.worker:
            args += ["_worker", change.worker, "_patience", change.patience]
        return self._call([self._record(change.task_id)], args)

    def status(self, task_id: str) -> Status | None:
        statuses = self.statuses(Topic("task", task_id))
        return statuses[0] if statuses else None

    def statuses(self, topic: Topic) -> list[Status]:
        reply = self._reading.call(self._sync(), *self._question(topic, None, epoch=""))
        return [Status.from_json(text) for text in reply[4:]]

    def renew_lease(self, worker: str, seconds: float) -> None:
        self._sync().set(self._key("lease", worker), 1, px=int(seconds * 1000))

    def end_lease(self, worker: str) -> None:
        self._sync().delete(self._key("lease", worker))

    def lead(self, candidate: str, seconds: float) -> bool:
        client, key = self._sync(), f"{self._prefix}leader"
        if client.set(key, candidate, nx=True, px=int(seconds * 1000)):
            return True
        # Two leaders at once would do no harm: each word of theirs is judged like any other.
        return client.get(key) == candidate and bool(client.pexpire(key, int(seconds * 1000)))

    async def is_led(self) -> bool:
        return bool(await self._async().ask("EXISTS", f"{self._prefix}leader"))

    def running(self) -> list[Running]:
        client, name = self._sync(), f"{self._prefix}running"
        now = int(client.time()[0])
        members = client.zrange(name, 0, -1, withscores=True)
        keys = ("state", "run", "_token", "_worker", "_patience")
        found = []
        for chunk in _chunks(members):
            pipeline = client.pipeline(transaction=False)
            for task_id, _ in chunk:
                pipeline.hmget(self._record(task_id), keys)
            records = pipeline.execute()
            workers = {worker for *_, worker, _ in records if worker}
            alive = self._alive(workers) | {None, ""}
            for (task_id, since), record in zip(chunk, records, strict=True):
                state, run, token, worker, patience = record
                if state is None:  # the record has expired
                    client.zrem(name, task_id)
                    continue
                found.append(
                    Running(
                        task_id,
                        json.loads(state),
                        int(run),
                        token or "",
                        worker in alive,
                        now - since,
                        int(patience or 0),
                    )
                )
        return found

    def waiting(self, limit: int) -> list[Waiting]:
        client, name = self._sync(), f"{self._prefix}waiting"
        task_ids = cast(list[str], client.zrange(name, 0, limit - 1))
        found = self.unfinished(task_ids)
        if task_ids:
            now = client.time()[0]
            client.zadd(name, dict.fromkeys(task_ids, now), xx=True)
            if gone := set(task_ids) - {task.task_id for task in found}:
                client.zrem(name, *gone)
        return found

    def waiting_ids(self) -> list[str]:
        return cast(list[str], self._sync().zrange(f"{self._prefix}waiting", 0, -1))

    def unfinished(self, task_ids: Sequence[str]) -> list[Waiting]:
        found = []
        for chunk in _chunks(task_ids):
            pipeline = self._sync().pipeline(transaction=False)
            for task_id in chunk:
                pipeline.hmget(self._record(task_id), ("state", "_rank", "published_at"))
            for task_id, (state, rank_, at) in zip(chunk, pipeline.execute(), strict=True):
                if state is not None and rank_ != "9":
                    at = json.loads(at) if at else None
                    found.append(Waiting(task_id, json.loads(state), "", False, at))
        return found

    def _alive(self, workers: set[str]) -> set[str | None]:
        pipeline = self._sync().pipeline(transaction=False)
        for worker in workers:
            pipeline.exists(self._key("lease", worker))
        return {w for w, stands in zip(workers, pipeline.execute(), strict=True) if stands}

    async def owner(self, task_id: str) -> str | None:
        owner = await self._async().ask("HGET", self._record(task_id), "_owner")
        return None if owner is None else str(owner)

    async def read(
        self, topic: Topic, since: Position | None = None, *, limit: int = PAGE
    ) -> Reading:
        return await self._read(self._question(topic, since, epoch=_epoch()))

    async def follow(self, topic: Topic, place: Place) -> Reading:
        return await self._read(
            self._question(topic, place.position, epoch=_epoch(), mark=place.mark)
        )

    async def _read(self, question: tuple[list[str], list[Any]]) -> Reading:
        reply = await self._reading.acall(self._async(), *question)
        epoch, offset, mark, recovered, *texts = reply
        return Reading(Position(epoch, int(offset)), recovered == "1", texts, int(mark))

    async def places(self, topics: Sequence[str]) -> list[Place | None]:
        keys = [self._key("place", topic) for topic in topics]
        asker = self._async()
        found = await asyncio.gather(*(asker.ask("MGET", *chunk) for chunk in _chunks(keys)))
        return [_place(text) if text else None for texts in found for text in texts]

    async def close(self) -> None:
        asker = self._askers.pop(asyncio.get_running_loop(), None)
        if asker is not None:
            await asker.client.aclose()

    def _key(self, kind: str, ident: object) -> str:
        return f"{self._prefix}{kind}:{ident}"

    def _record(self, task_id: str) -> str:
        return self._key("task", task_id)

    def _question(
        self, topic: Topic, since: Position | None, *, epoch: str, mark: int | None = None
    ) -> tuple[list[str], list[Any]]:
        tasks = self._key("tasks", topic) if topic.holds_many else self._record(topic.ident)
        keys = [self._key("place", topic), self._key("log", topic), tasks]
        return keys, [
            self._key("task", ""),
            "1" if topic.holds_many else "",
            since.epoch if since else "",
            since.offset if since else 0,
            epoch,
            "" if mark is None else mark,
        ]

    def _call(self, keys: Sequence[str], args: Sequence[Any]) -> Callable[[], int]:
        """Call the accepting script, past the pool; return what waits for its answer.

        The pool's bookkeeping, and its look at each connection before it is used, cost half as
        much again as the call. A connection that turns out to be dead is replaced here, once: to
        accept a change twice is to find it stale.
        """
        client, free = self._sync(), self._free
        # redis-py's own looks at each argument first, which takes longer than the rest.
        sha = self._accepting.sha
        command = [hiredis.pack_command(("EVALSHA", sha, len(keys), *keys, *args))]
        try:
            connection = free.pop()
        except IndexError:
            connection = client.connection_pool.make_connection()

        def answer() -> int:
            try:
                reply = _receive(connection, command)
            except ResponseError as error:
                free.append(connection)
                if not isinstance(error, NoScriptError):
                    raise
                reply = self._accepting.call(client, keys, args)
            else:
                free.append(connection)
            return int(reply)

        # One that failed, or whose answer nobody took, is given up: what is read from it next
        # could be the answer to something else.
        _send(connection, command)
        return answer

    def _sync(self) -> redis.Redis:
        # Lazily and by process: a prefork child must not share its parent's connection.
        # Without a lock, which a fork could leave held: two threads make two clients at worst.
        if self._client is None or self._pid != os.getpid():
            timeout = conf().PUBLISH_TIMEOUT / 2  # once to connect, once to be answered
            self._client = redis.Redis.from_url(
                conf().REDIS_URL,
                decode_responses=True,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                # As many as there are threads. redis-py 8 would count those that were given up.
                max_connections=2**31,
            )
            self._free = []
            self._pid = os.getpid()
        return self._client

    def _async(self) -> _Asker:
        loop = asyncio.get_running_loop()
        asker = self._askers.get(loop)
        if asker is None:
            asker = self._askers[loop] = _Asker()
        return asker
