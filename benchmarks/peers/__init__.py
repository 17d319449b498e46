"""The ways to push a task's changes to a browser: this service, other solutions, and floors."""

from __future__ import annotations

from functools import cache

from .bare import Bare
from .base import Missing, Peer, Server
from .broadcast import Broadcast
from .celery_progress import CeleryProgress, Polling
from .eventstream import EventStream
from .nchan import Nchan
from .realtime import Realtime
from .result import Result
from .socket_io import SocketIO
from .tutorial import Tutorial

__all__ = ["Missing", "Peer", "Server", "peer_named", "peers"]

REALTIME = "realtime"
TUTORIAL = "tutorial, Pub/Sub layer"
CORE = "tutorial, core layer"
UVICORN = "tutorial, Pub/Sub layer, uvicorn"
PROGRESS = "celery-progress, WebSocket"
POLLED = "celery-progress, polling"
SOCKET_IO = "python-socketio, uvicorn"
EVENTSTREAM = "django-eventstream, Daphne"
RESULT = "AsyncResult, polling"
BARE = "floor: PUBLISH, bare asyncio"
BROADCAST = "floor: websockets broadcast"
NCHAN = "floor: nginx with Nchan"


@cache
def peers() -> dict[str, Peer]:
    """Return the peer of every way, by name."""
    made: list[Peer] = [
        Realtime(REALTIME),
        Tutorial(TUTORIAL),
        Tutorial(CORE, layer="default"),
        Tutorial(UVICORN, uvicorn=True),
        CeleryProgress(PROGRESS),
        Polling(POLLED),
        SocketIO(SOCKET_IO),
        EventStream(EVENTSTREAM),
        Result(RESULT),
        Bare(BARE),
        Broadcast(BROADCAST),
        Nchan(NCHAN),
    ]
    return {peer.name: peer for peer in made}


def peer_named(name: str) -> Peer:
    """Return the peer of one way."""
    return peers()[name]
