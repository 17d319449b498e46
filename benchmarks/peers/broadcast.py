"""A floor: `websockets`' own `broadcast`, fed by Redis."""

from __future__ import annotations

from .bare import Bare


class Broadcast(Bare):
    """As the library's documentation on broadcasting has it."""

    needs = ("websockets",)
    server = "broadcast_server"
