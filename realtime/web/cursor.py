"""Where one subscriber of one topic is."""

from __future__ import annotations

from typing import Final

from realtime.core.position import Position

_NOWHERE: Final = Position("", 0)


class Cursor:
    """What a subscriber has of a topic: up to where it was delivered, and up to where it was sent.

    The subscription advances ``position`` as it delivers: what is not newer is a duplicate. The
    outbox advances ``sent`` as frames leave: what is missing between two frames was merged. The two
    differ only while frames wait for the client.
    """

    __slots__ = ("position", "sent", "topic")

    def __init__(self, topic: str = "") -> None:
        #: The client's name for the topic, which its frames carry.
        self.topic = topic
        self.position = _NOWHERE
        self.sent = _NOWHERE
