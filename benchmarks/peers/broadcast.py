"""A floor: `websockets`' own `broadcast`, fed by Redis."""

from __future__ import annotations

from .bare import Bare


class Broadcast(Bare):
    """As in the library's documentation on broadcasting."""

    needs = ("websockets",)
    server = "broadcast_server"
