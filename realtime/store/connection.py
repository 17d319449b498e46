"""Clients of Redis: a synchronous one for each process and timeout, one for each event loop.

A connection that answers READONLY leads to the primary of before a failover: it is closed, and the
next one resolves the host again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError
from redis.retry import Retry

from realtime.conf import conf, redis_address
from realtime.core.logs import get_logger
from realtime.core.process import process

from .batching import Batcher
from .direct import Command, Connections, connections_of
from .sharing import Sharing

if TYPE_CHECKING:
    from .scripts import Script

logger = get_logger("realtime.store")

#: The schema of what is kept in Redis. A release whose data this one cannot read raises it.
SCHEMA: Final = 1

#: A script's keys, and its other arguments.
Call = tuple[Sequence[str], Sequence[Any]]


class Client:
    """A process' synchronous client, each of whose replies may take ``timeout`` seconds."""

    def __init__(self, timeout: Callable[[], float]) -> None:
        self._timeout = timeout
        self._client: redis.Redis | None = None
        self._pid = 0
        #: For :meth:`send`.
        self.connections: Connections

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
        if self._client is not None and self._pid == process.pid:
            self._close_idle(self._client)

    def _close_idle(self, client: redis.Redis) -> None:
        client.connection_pool.disconnect(inuse_connections=False)
        self.connections.close()

    def send(self, script: Script, calls: Sequence[Call]) -> Callable[[], list[Any]]:
        """Call a script several times in a pipeline; return what waits for the results.

        An error of the server is a result too: the other calls have theirs.
        If the connection is lost in between, the calls are repeated: a change that the store has
        accepted before is stale.
        """
        client = self._get()
        receive = self.connections.send(
            [("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls]
        )

        def results() -> list[Any]:
            replies = receive()
            for number, reply in enumerate(replies):
                if isinstance(reply, NoScriptError):
                    try:
                        replies[number] = script.call(client, *calls[number])
                    except ResponseError as error:
                        replies[number] = error
            if any(map(is_read_only, replies)):
                self._close_idle(client)
            return replies

        return results

    def read(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that change nothing; raise the first error among them."""
        self._get()
        replies = self.connections.send(commands)()
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _get(self) -> redis.Redis:
        # Lazily and by process: a prefork child must not share its parent's connection.
        # Without a lock, which a fork could leave held: two threads make two clients at worst.
        if self._client is None or self._pid != process.pid:
            timeout = self._timeout()  # once to connect, once for a reply
            options = {
                **redis_address(redis.connection.parse_url),
                "decode_responses": True,
                "socket_timeout": timeout,
                "socket_connect_timeout": timeout,
                "retry": Retry(NoBackoff(), 0),
                # As many as there are threads. redis-py 8 would count those that were dropped.
                "max_connections": 2**31,
            }
            client = redis.Redis.from_pool(redis.ConnectionPool(**options))
            self.connections = connections_of(client)
            self._client = client
            self._pid = process.pid
        return self._client


#: Pipelines of an event loop that are sent before a reply comes, each on a connection of its own.
_IN_FLIGHT: Final = 2


class AsyncClient:
    """An event loop's client: commands sent at once share a pipeline."""

    def __init__(self) -> None:
        timeout = conf().CHECK_INTERVAL
        #: When Redis last replied to a write, by the monotonic clock.
        self.wrote = float("-inf")
        options = {
            **redis_address(redis.asyncio.connection.parse_url),
            "decode_responses": True,
            "socket_timeout": 2 * timeout,
            "socket_connect_timeout": timeout,
        }
        pool = redis.asyncio.ConnectionPool(**options)
        self.client = redis.asyncio.Redis.from_pool(pool)
        self._batcher = Batcher(self._send, in_flight=_IN_FLIGHT, timeout=2 * timeout)
        #: The readings of lists.
        self.readings = Sharing()

    async def execute(
        self, *command: Any, cost: int = 1, on_send: Callable[[], None] | None = None
    ) -> Any:
        """Return a command's reply. Raises TimeoutError too, where earlier ones took too long."""
        return await self._batcher.request(command, cost=cost, on_send=on_send)

    async def close(self) -> None:
        """Close the connections. Callers that wait for a reply get a ConnectionError."""
        # First: a command that lost its connection would connect again.
        await self._batcher.close()
        await self.client.aclose()

    async def call(
        self, script: Script, keys: Sequence[str], args: Sequence[Any], **options: Any
    ) -> Any:
        """Return a script's result; ``options`` are those of :meth:`execute`.

        The cost is the number of statuses that the script reads.
        """
        try:
            return await self.execute("EVALSHA", script.sha, len(keys), *keys, *args, **options)
        except NoScriptError:
            return await self.execute("EVAL", script.source, len(keys), *keys, *args, **options)

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies = await pipeline.execute(raise_on_error=False)
        if any(map(is_read_only, replies)):
            await self.client.connection_pool.disconnect()
        return replies


def is_read_only(reply: Any) -> bool:
    """Return whether a reply is the refusal of a replica to write."""
    # Redis before 7 puts text of its own before a script's error.
    refused = isinstance(reply, ResponseError) and "READONLY" in str(reply)
    return refused or isinstance(reply, ReadOnlyError)


_warned = False


def check_schema(found: object) -> None:
    """Log, once a process, that a later release keeps data here that this one cannot read."""
    global _warned
    if found is None or int(str(found)) <= SCHEMA or _warned:
        return
    _warned = True
    logger.warning(
        "store_is_newer schema=%s known=%d remedy=%r",
        found,
        SCHEMA,
        "a later release of realtime uses this Redis: update this process to it soon",
    )
