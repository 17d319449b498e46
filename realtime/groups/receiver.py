"""Take messages off the connection to Redis, past what the layer and redis-py do for each.

redis-py makes a timeout, a retry and a text for a log line of every message, and the layer a turn
of the event loop: three quarters of what an event costs until it is known. Here the parser of the
layer's connections keeps the messages, and hands them on at once. Connecting, subscribing and
coming back stay redis-py's and the layer's.

What redis-py does not promise, and is relied on: a connection takes a ``parser_class``, and the
``_reader`` of this one, once it is connected, is hiredis' own and asked by ``gets``. Where that is
not so, messages come as the layer brings them. A contract test holds it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import hiredis
import redis.asyncio.connection as redis_connection

from realtime.core.logs import get_logger

logger = get_logger("realtime.hub")

#: Takes a message as it was published.
Take = Callable[[bytes], None]


def _shipped_parser() -> Any:
    """Return the parser that connections have where they are given none; None if they take none."""
    connection = getattr(redis_connection, "AbstractConnection", object)
    option = inspect.signature(connection).parameters.get("parser_class")
    return option and option.default


_SHIPPED: Any = _shipped_parser()


#: What redis-py makes of an address.
_CONNECTIONS = (
    redis_connection.Connection,
    redis_connection.SSLConnection,
    redis_connection.UnixDomainSocketConnection,
)


class _Reader:
    """A reader of replies that keeps the messages."""

    def __init__(self, reader: hiredis.Reader, take: Take) -> None:
        self._reader = reader
        self._take = take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def gets(self, *options: Any) -> Any:
        """Return the next reply that is no message."""
        while True:
            reply = self._reader.gets(*options)
            # RESP3's are of a class of its own, which is a list.
            if not isinstance(reply, list) or len(reply) != 3 or reply[0] != b"message":
                return reply
            try:
                self._take(reply[2])
            except Exception:
                # redis-py would take it for an error of the connection.
                logger.exception("message_failed")


class _Parser(_SHIPPED or object):  # type: ignore[misc]
    """redis-py's parser, with that reader."""

    def __init__(self, *, take: Take, **options: Any) -> None:
        super().__init__(**options)
        self._take = take

    def on_connect(self, connection: Any) -> None:
        """Begin to read from a connection."""
        super().on_connect(connection)
        reader = getattr(self, "_reader", None)
        if isinstance(reader, hiredis.Reader):
            self._reader = _Reader(reader, self._take)


def taking(host: dict[str, Any], take: Take) -> dict[str, Any]:
    """Return a layer's host whose connections give their messages to ``take``, if they can."""
    ours = host.get("connection_class", redis_connection.Connection) in _CONNECTIONS
    if _SHIPPED is None or "parser_class" in host or not ours:
        return host
    return {**host, "parser_class": partial(_Parser, take=take)}
