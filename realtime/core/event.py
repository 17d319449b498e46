"""One event of a topic."""

from __future__ import annotations

from dataclasses import dataclass

from .position import Position


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One accepted status at a position in a topic. ``text`` is the status's JSON.

    Events are compared by identity, which makes a cache of their frames cheap.
    """

    topic: str
    position: Position
    task_id: str
    state: str
    text: str
