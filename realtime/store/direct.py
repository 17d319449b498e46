"""Pipelines of commands to Redis without redis-py's pool, for the calls of every task.

The pool's bookkeeping, and its check of each connection before use, cost half as much again as a
call. And a pipeline waits for its replies, where a task's own update is to be sent now and its
reply read later.

Relied on, of redis-py 7 and 8: ``ConnectionPool.make_connection`` returns a connection that need
not go back to the pool; ``send_packed_command`` takes a list of packed commands and
connects first where there is no connection; ``read_response`` returns one reply, or raises it where
it is an error; ``disconnect`` closes. Of hiredis 3: ``pack_command`` packs a tuple. Where that is
not so, :class:`PooledConnections` does the same by pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, Protocol

import hiredis
import redis
import redis.connection
from redis.exceptions import ConnectionError, ResponseError, TimeoutError  # noqa: A004

from realtime.core.relied_on import Part, are_known

_RELIED_ON: Final = (
    Part(redis.ConnectionPool, "make_connection", "connection_class connection_kwargs"),
    Part(redis.connection.AbstractConnection, "send_packed_command", "command sendall"),
    Part(redis.connection.AbstractConnection, "read_response", "read_response"),
    Part(redis.connection.AbstractConnection, "disconnect"),
    Part(hiredis, "pack_command"),
)

#: One command: its name and arguments.
Command = tuple[Any, ...]
#: Returns the reply to each command, or the error that it is.
Receive = Callable[[], list[Any]]


class Connections(Protocol):
    """Sends pipelines from any thread."""

    def send(self, commands: Sequence[Command]) -> Receive:
        """Send commands; return what waits for their replies. Both raise what the network does."""
        ...

    def close(self) -> None:
        """Close all connections that no thread uses."""
        ...


def connections_of(client: redis.Redis) -> Connections:
    """Return the fastest way to send pipelines that the installed redis-py allows."""
    return DirectConnections(client) if _is_known() else PooledConnections(client)


@cache
def _is_known() -> bool:
    instead = "redis-py's pipelines send in place of this module, and each update takes longer"
    return are_known("direct", "redis", _RELIED_ON, instead=instead)


class DirectConnections:
    """Connections outside the pool, each used by one pipeline at a time.

    A connection that turns out to be dead is replaced once, and its commands are sent again: the
    caller's commands must be such that a second execution is harmless.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        #: Connections that no thread uses.
        self.idle: list[Any] = []

    def send(self, commands: Sequence[Command]) -> Receive:
        """Send commands; return what waits for their replies."""
        # redis-py's own packing checks each argument first, which takes longer than the rest.
        packed = list(map(hiredis.pack_command, commands))
        idle = self.idle
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._pool.make_connection()

        def receive() -> list[Any]:
            replies = _receive(connection, packed)
            idle.append(connection)
            return replies

        # A connection that failed, or whose replies were not read, is dropped: what is read from
        # it next could be the reply to another command.
        _send(connection, packed)
        return receive

    def close(self) -> None:
        """Close all connections that no thread uses."""
        with suppress(IndexError):  # other threads use the list too
            while True:
                self.idle.pop().disconnect()


class PooledConnections:
    """The same by redis-py's documented means: :meth:`send` returns after the replies."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def send(self, commands: Sequence[Command]) -> Receive:
        """Send commands and wait; return what gives their replies."""
        try:
            replies = self._execute(commands)
        except ConnectionError as error:
            if not _is_cut(error):
                raise
            replies = self._execute(commands)
        return lambda: replies

    def close(self) -> None:
        """Do nothing: the pool closes its connections."""

    def _execute(self, commands: Sequence[Command]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return list(pipeline.execute(raise_on_error=False))


def _send(connection: Any, packed: Sequence[bytes], *, again: bool = True) -> None:
    try:
        connection.send_packed_command(packed)
    except BaseException as error:
        # Half a command may be in it. The next use connects anew.
        connection.disconnect()
        if not again or not _is_cut(error):
            raise
        _send(connection, packed, again=False)


def _receive(connection: Any, packed: Sequence[bytes], *, again: bool = True) -> list[Any]:
    try:
        return [_reply(connection) for _ in packed]
    except BaseException as error:
        # Half a reply may be in it: a task's time limit can strike here too.
        connection.disconnect()
        if not again or not _is_cut(error):
            raise
        _send(connection, packed, again=False)
        return _receive(connection, packed, again=False)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _is_cut(error: BaseException) -> bool:
    return isinstance(error, ConnectionError) and not isinstance(error, TimeoutError)
