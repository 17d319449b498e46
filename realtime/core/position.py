"""The one rule that every reader follows.

The same rule runs in the browser (``static/realtime/src/position.mjs``), and
``tests/cases/position.json`` holds both to one table of cases.
"""

from __future__ import annotations

import enum
from hashlib import sha1
from typing import NamedTuple


class Position(NamedTuple):
    """A position in a topic's log.

    A new ``epoch`` means that the log was lost, or some of it, and that counting began again.
    """

    epoch: str
    offset: int


class Head(NamedTuple):
    """A position, and the digest of all events up to it.

    A store that goes back to an older copy of its data counts on from there in the same epoch: then
    one position stands for two histories, and only their digests differ.
    """

    position: Position
    #: A whole number below 2**32.
    digest: int


def next_digest(digest: int, text: str) -> int:
    """Return the digest after one more event; the Redis store's scripts compute the same."""
    text_hash = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return (31 * digest + int(text_hash[:8], 16)) % 2**32


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
