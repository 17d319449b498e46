"""The web process of python-socketio."""

from __future__ import annotations

import os

import socketio

manager = socketio.AsyncRedisManager(os.environ["REDIS_URL"])
sio = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
application = socketio.ASGIApp(sio)


@sio.event  # type: ignore[untyped-decorator]
async def watch(sid: str, room: str) -> bool:
    """Add a client to the room of a task."""
    await sio.enter_room(sid, room)
    return True
