"""Positions in a topic, and the rule for every subscriber: deliver, drop or recover.

The browser has the same rule (``static/realtime/src/position.mjs``); ``tests/cases/position.json``
tests both.
"""

from __future__ import annotations

import enum
from hashlib import sha1
from typing import NamedTuple


class Position(NamedTuple):
    """A position in a topic's log.

    A new ``epoch`` means that the log, or a part of it, was lost, and that offsets began again.
    """

    epoch: str
    offset: int


class Head(NamedTuple):
    """A position, and the digest of all events up to it.

    A store that goes back to an older copy of its data gives the same offsets again in the same
    epoch: one position then has two histories, and only their digests differ.
    """

    position: Position
    #: A whole number below 2**32.
    digest: int


def next_digest(digest: int, text: str) -> int:
    """Return the digest after one more event; ``apply.lua`` computes the same."""
    text_hash = sha1(text.encode(), usedforsecurity=False).hexdigest()
    return (31 * digest + int(text_hash[:8], 16)) % 2**32


class Step(enum.StrEnum):
    """What a subscriber does with an event."""

    DELIVER = "deliver"  #: it is the next one
    DROP = "drop"  #: the subscriber has it
    GAP = "gap"  #: events are missing, recover first


def step(last: Position | None, incoming: Position) -> Step:
    """Decide what a subscriber at ``last`` does with the event at ``incoming``."""
    if last is None or incoming.epoch != last.epoch:
        return Step.GAP
    if incoming.offset <= last.offset:
        return Step.DROP
    return Step.DELIVER if incoming.offset == last.offset + 1 else Step.GAP
