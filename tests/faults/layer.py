"""A link from Redis that loses, doubles and delays what arrives, each at a rate of its own.

Where messages are taken off the connection, `tests.faults.badlink` puts it; a layer of another
class has it inside:

CHANNEL_LAYERS = {"default": {"BACKEND": "tests.faults.layer.UnreliableLayer", …}}
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from typing import Any, ClassVar

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer

#: Its rates, as JSON: ``{"lose": 0.1, "double": 0.1, "late": 0.1, "seed": 1}``.
RATES_VARIABLE = "FAULTS_RATES"
#: Seconds by which a message is late, at most.
LATE = 0.3


class UnreliableLayer(RedisPubSubChannelLayer):
    """The Pub/Sub layer with a bad link before it."""

    def _get_layer(self) -> RedisPubSubLoopLayer:
        layer = super()._get_layer()
        for shard in layer._shards:
            if not isinstance(shard._receive_message, BadLink):
                shard._receive_message = BadLink(shard._receive_message)
        return layer


class BadLink:
    """Passes a message on: never, once or twice, now or later."""

    #: How many messages arrived at all links of the process, and how many it passed on.
    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._rates = json.loads(os.environ[RATES_VARIABLE])
        self._rng = random.Random(self._rates["seed"])

    def __call__(self, message: Any) -> None:
        if message is None:
            return
        self.counts["arrived"] += 1
        if self._is_now("lose"):
            return
        self.counts["passed"] += 1
        for _ in range(2 if self._is_now("double") else 1):
            if self._is_now("late"):
                late = self._rng.uniform(0, LATE)
                asyncio.get_running_loop().call_later(late, self._receive, message)
            else:
                self._receive(message)

    def _is_now(self, what: str) -> bool:
        return bool(self._rng.random() < self._rates[what])
