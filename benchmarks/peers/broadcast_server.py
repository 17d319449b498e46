"""A server of `websockets`, as its documentation recommends for sending to many clients."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict

import redis.asyncio
from websockets.asyncio.server import ServerConnection, broadcast, serve

watchers: dict[str, set[ServerConnection]] = defaultdict(set)
subscriber = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None).pubsub()


async def watch(connection: ServerConnection) -> None:
    """Subscribe a client to its task until it disconnects."""
    assert connection.request is not None
    topic = connection.request.path.lstrip("/")
    if not watchers[topic]:
        await subscriber.subscribe(topic)
    watchers[topic].add(connection)
    try:
        await connection.wait_closed()
    finally:
        watchers[topic].discard(connection)


async def main(port: int) -> None:
    """Serve, and pass on what Redis publishes, until the process ends."""
    await subscriber.subscribe("ready")
    async with serve(watch, "127.0.0.1", port):
        async for message in subscriber.listen():
            if message["type"] == "message":
                broadcast(watchers[message["channel"].decode()], message["data"].decode())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
