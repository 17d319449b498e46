"""One event of a topic."""

from __future__ import annotations

from dataclasses import dataclass

from .position import Position


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One status as it was accepted, with its place in a topic. ``text`` is the status's JSON.

    Compared by identity, so that what is made of it once is cheaply found again for each reader.
    """

    topic: str
    position: Position
    task_id: str
    state: str
    text: str
