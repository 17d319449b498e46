"""A floor: `broadcast` of the library `websockets`, with messages from Redis."""

from __future__ import annotations

from .bare import Bare


class Broadcast(Bare):
    """The server that the library's documentation recommends for many clients."""

    needs = ("websockets",)
    server = "broadcast_server"
