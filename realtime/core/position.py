"""The one rule that every reader follows.

The same rule runs in the browser (``static/realtime/client.js``); ``tests/cases/position.json``
holds both to one table of cases.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a topic's log.

    A new ``epoch`` means that the log was lost and that counting began again.
    """

    epoch: str
    offset: int


class Step(enum.StrEnum):
    """What a reader does with an event."""

    DELIVER = "deliver"  #: the next one
    DROP = "drop"  #: already known
    GAP = "gap"  #: something is missing, recover first


def step(last: Position | None, incoming: Position) -> Step:
    """Decide what a reader that stands at ``last`` does with the event at ``incoming``."""
    if last is None or incoming.epoch != last.epoch:
        return Step.GAP
    if incoming.offset <= last.offset:
        return Step.DROP
    return Step.DELIVER if incoming.offset == last.offset + 1 else Step.GAP
