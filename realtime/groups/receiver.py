"""Receive messages as the connection to Redis reads them, past the layer's and redis-py's queues.

redis-py makes a timeout, a retry and a text for a log line of every message, and the layer a turn
of the event loop: three quarters of what an event costs until the hub has it. Here the parser of
the layer's connections passes each message on at once. Connecting, subscribing and reconnecting
stay redis-py's and the layer's.

Relied on, of redis-py 7 and 8: a connection accepts a ``parser_class``; this one's parser makes a
``hiredis.Reader`` named ``_reader`` when it has connected, and reads each reply by its ``gets``.
Where that is not so, the layer delivers the messages: each costs four times as much.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import hiredis
import redis.asyncio.connection as redis_connection

from realtime.core.logs import get_logger
from realtime.core.relied_on import Part, are_known

logger = get_logger("realtime.hub")

#: Gets a message as it was published.
Receive = Callable[[bytes], None]

_ABSTRACT: Any = getattr(redis_connection, "AbstractConnection", object)


def _default_parser() -> Any:
    """Return the default parser of connections; None if they accept no parser."""
    option = inspect.signature(_ABSTRACT).parameters.get("parser_class")
    return option and option.default


_DEFAULT_PARSER: Any = _default_parser()

_RELIED_ON: Final = (
    Part(_ABSTRACT, "__init__", "parser_class"),
    Part(_DEFAULT_PARSER or object, "on_connect", "_reader Reader"),
    Part(_DEFAULT_PARSER or object, "read_response", "_reader gets"),
)

#: The classes of connection that redis-py chooses by an address.
_CONNECTIONS: Final = (
    redis_connection.Connection,
    redis_connection.SSLConnection,
    redis_connection.UnixDomainSocketConnection,
)


class _Reader:
    """A reader of replies that passes messages on."""

    def __init__(self, reader: hiredis.Reader, receive: Receive) -> None:
        self._reader = reader
        self._receive = receive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def gets(self, *options: Any) -> Any:
        """Return the next reply that is not a message."""
        while True:
            reply = self._reader.gets(*options)
            # A push of RESP3 has a class of its own, which is a list.
            if not isinstance(reply, list) or len(reply) != 3 or reply[0] != b"message":
                return reply
            try:
                self._receive(reply[2])
            except Exception:
                # redis-py would treat it as an error of the connection.
                logger.exception("message_failed")


class _Parser(_DEFAULT_PARSER or object):  # type: ignore[misc]
    """redis-py's parser, with that reader."""

    def __init__(self, *, receive: Receive, **options: Any) -> None:
        super().__init__(**options)
        self._receive = receive

    def on_connect(self, connection: Any) -> None:
        """Begin to read from a connection."""
        super().on_connect(connection)
        reader = getattr(self, "_reader", None)
        if isinstance(reader, hiredis.Reader):
            self._reader = _Reader(reader, self._receive)


@cache
def _is_known() -> bool:
    instead = "the channel layer delivers the messages, more slowly"
    return are_known("receiver", "redis", _RELIED_ON, instead=instead)


def with_receiver(host: dict[str, Any], receive: Receive) -> dict[str, Any]:
    """Return a layer's host whose connections pass their messages to ``receive``.

    Unchanged where the host has a parser or a connection class of the project, or where redis-py is
    not as this module relies on.
    """
    ours = host.get("connection_class", redis_connection.Connection) in _CONNECTIONS
    if "parser_class" in host or not ours or not _is_known():
        return host
    return {**host, "parser_class": partial(_Parser, receive=receive)}
