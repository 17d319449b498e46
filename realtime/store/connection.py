"""Connections to Redis: one synchronous client a process and patience, one client an event loop.

A connection that answers READONLY leads to what was the primary before a failover: it is closed, so
that the next one resolves the host anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import hiredis
import redis
import redis.asyncio
import redis.asyncio.connection
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,  # noqa: A004
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004
)
from redis.retry import Retry

from realtime.conf import conf, redis_address
from realtime.core.logs import get_logger
from realtime.store.batching import Batcher

if TYPE_CHECKING:
    from .scripts import Script

logger = get_logger("realtime.store")

#: Of what is kept in Redis. A release that keeps something that this one can't read raises it.
SCHEMA: Final = 1


#: A script's keys, and its other arguments.
Call = tuple[Sequence[str], Sequence[Any]]


class Client:
    """One process's synchronous connections, each of whose answers may take ``timeout`` seconds."""

    def __init__(self, timeout: Callable[[], float]) -> None:
        self._timeout = timeout
        self._client: redis.Redis | None = None
        self._pid = 0
        #: Connections that no thread uses just now, for :meth:`send`.
        self.free: list[Any] = []

    @contextmanager
    def use(self) -> Iterator[redis.Redis]:
        """Give the client; close its connections if they lead to a server that is read-only."""
        client = self._get()
        try:
            yield client
        except ResponseError as error:
            if is_read_only(error):
                self._close_idle(client)
            raise

    def disconnect(self) -> None:
        """Close all connections that no thread uses. A forked process leaves its parent's alone."""
        if self._client is not None and self._pid == os.getpid():
            self._close_idle(self._client)

    def _close_idle(self, client: redis.Redis) -> None:
        """Close all connections that no thread uses: they lead where the others lead."""
        client.connection_pool.disconnect(inuse_connections=False)
        with suppress(IndexError):  # other threads use them too
            while True:
                self.free.pop().disconnect()

    def send(self, script: Script, calls: Sequence[Call]) -> Callable[[], list[Any]]:
        """Call a script some times, past the pool; return what waits for the answers.

        The pool's bookkeeping, and its look at each connection before it is used, cost half as
        much again as a call. A connection that turns out to be dead is replaced here, once: to
        accept a change twice is to find it stale.
        """
        client, free = self._get(), self.free
        # redis-py's own looks at each argument first, which takes longer than the rest.
        command = [
            hiredis.pack_command(("EVALSHA", script.sha, len(keys), *keys, *args))
            for keys, args in calls
        ]
        try:
            connection = free.pop()
        except IndexError:
            connection = client.connection_pool.make_connection()

        def answer() -> list[Any]:
            replies = _receive(connection, command)
            free.append(connection)
            for number, reply in enumerate(replies):
                if isinstance(reply, NoScriptError):
                    with self.use():
                        replies[number] = script.call(client, *calls[number])
                elif isinstance(reply, Exception):
                    if is_read_only(reply):
                        self._close_idle(client)
                    raise reply
            return replies

        # One that failed, or whose answer nobody took, is given up: what is read from it next
        # could be the answer to something else.
        _send(connection, command)
        return answer

    def _get(self) -> redis.Redis:
        # Lazily and by process: a prefork child must not share its parent's connection.
        # Without a lock, which a fork could leave held: two threads make two clients at worst.
        if self._client is None or self._pid != os.getpid():
            timeout = self._timeout()  # once to connect, once to be answered
            options = {
                **redis_address(redis.connection.parse_url),
                "decode_responses": True,
                "socket_timeout": timeout,
                "socket_connect_timeout": timeout,
                "retry": Retry(NoBackoff(), 0),
                # As many as there are threads. redis-py 8 would count those that were given up.
                "max_connections": 2**31,
            }
            self._client = redis.Redis.from_pool(redis.ConnectionPool(**options))
            self.free = []
            self._pid = os.getpid()
        return self._client


class Asker:
    """What one event loop asks Redis with: what is asked at once leaves together.

    A storm of subscriptions takes one connection, and few pipelines.
    """

    def __init__(self) -> None:
        timeout = conf().CHECK_INTERVAL
        self._patience = 2 * timeout
        #: When a write was answered last, by the monotonic clock.
        self.wrote = float("-inf")
        options = {
            **redis_address(redis.asyncio.connection.parse_url),
            "decode_responses": True,
            "socket_timeout": self._patience,
            "socket_connect_timeout": timeout,
        }
        pool = redis.asyncio.ConnectionPool(**options)
        self.client = redis.asyncio.Redis.from_pool(pool)
        self._batcher = Batcher(self._send)

    async def ask(self, *command: Any, cost: int = 1) -> Any:
        """Return a command's answer. Raises TimeoutError too, where those before it took it all."""
        async with asyncio.timeout(self._patience):
            return await self._batcher.request(command, cost=cost)

    async def close(self) -> None:
        """Close the connection. Those who wait for an answer get a ConnectionError."""
        # First: a call that lost its connection would connect again.
        await self._batcher.close()
        await self.client.aclose()

    async def call(
        self, script: Script, keys: Sequence[str], args: Sequence[Any], *, cost: int = 1
    ) -> Any:
        """Return a script's answer; ``cost`` is the number of statuses that it reads."""
        try:
            return await self.ask("EVALSHA", script.sha, len(keys), *keys, *args, cost=cost)
        except NoScriptError:
            return await self.ask("EVAL", script.source, len(keys), *keys, *args, cost=cost)

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers = await pipeline.execute(raise_on_error=False)
        if any(map(is_read_only, answers)):
            await self.client.connection_pool.disconnect()
        return answers


def is_read_only(answer: Any) -> bool:
    """Return whether an answer is the refusal of a replica to write."""
    # Redis before 7 puts a script's error behind words of its own.
    refused = isinstance(answer, ResponseError) and "READONLY" in str(answer)
    return refused or isinstance(answer, ReadOnlyError)


_complained = False


def check_schema(found: object) -> None:
    """Log, once a process, that a later release keeps something here that this one can't read."""
    global _complained
    if found is None or int(str(found)) <= SCHEMA or _complained:
        return
    _complained = True
    logger.warning(
        "store_is_newer schema=%s known=%d what=%r",
        found,
        SCHEMA,
        "a later release of realtime uses this Redis: update this process to it soon",
    )


def _send(connection: Any, command: Any, *, again: bool = True) -> None:
    try:
        connection.send_packed_command(command)
    except BaseException as error:
        # Half a command may be in it. It connects again when it is used again.
        connection.disconnect()
        if not again or not _is_cut(error):
            raise
        _send(connection, command, again=False)


def _receive(connection: Any, command: Any, *, again: bool = True) -> list[Any]:
    """Return the reply to each part of a command, or the error that it is."""
    try:
        return [_reply(connection) for _ in command]
    except BaseException as error:
        # Half a reply may be in it: a task's time limit can strike here too.
        connection.disconnect()
        if not again or not _is_cut(error):
            raise
        _send(connection, command, again=False)
        return _receive(connection, command, again=False)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _is_cut(error: BaseException) -> bool:
    return isinstance(error, ConnectionError) and not isinstance(error, TimeoutError)
