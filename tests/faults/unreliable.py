"""Faults of the channel layer between the store and the web process."""

from __future__ import annotations

import json
import re
import time

from django.conf import settings as django_settings

from .batch import PROMISE, batch
from .family import Family, Outcome, fault


class Unreliable(Family):
    """A web process for each rate, with a layer that is as bad as that."""

    name = "unreliable"
    lane = "overtaken"

    def begin(self) -> None:
        redis = self.stage.redis("redis")
        self.stage.use(redis.url, redis.url)
        self.stage.worker(concurrency=4)

    @fault("18a", "1 % of messages lost, 1 % doubled, 1 % late", short=200, long=1500)
    def slightly_unreliable(self, size: int) -> Outcome:
        return self._unreliable(size, 0.01)

    @fault("18b", "10 % of messages lost, 10 % doubled, 10 % late", short=200, long=1500)
    def unreliable(self, size: int) -> Outcome:
        return self._unreliable(size, 0.1)

    @fault("18c", "every message lost", short=200, long=1000)
    def losing_all(self, size: int) -> Outcome:
        outcome = self._unreliable(size, 1.0)
        passed = re.search(r"passed (\d+) of (\d+)", self.web.log())
        loses_all = passed is not None and int(passed[1]) == 0 < int(passed[2])
        outcome.require(loses_all, f"the link should lose each message: {passed and passed[0]}")
        return outcome

    @fault("18d", "as 18b, with another class of channel layer", short=100, long=500)
    def other_layer(self, size: int) -> Outcome:
        return self._unreliable(size, 0.1, by_layer=True)

    def _unreliable(self, size: int, rate: float, *, by_layer: bool = False) -> Outcome:
        stage = self.stage
        rates = dict.fromkeys(("lose", "double", "late"), rate) | {"seed": stage.seed}
        layer = django_settings.CHANNEL_LAYERS["default"] | {
            "BACKEND": "tests.faults.layer.UnreliableLayer"
        }
        text = json.dumps(rates)
        if by_layer or stage.is_contrast:
            settings = {"CHANNEL_LAYERS": {"default": layer}}
            self.web, url = stage.web(settings=settings, FAULTS_RATES=text)
        else:
            self.web, url = stage.web(module="tests.faults.badlink", FAULTS_RATES=text)
        with batch(stage, size, url) as made:
            for number in range(size):
                made.send(stage.tasks.noop, number)
                time.sleep(0.005)
            outcome = Outcome(made.judge())
        self.web.stop(timeout=60)
        p99 = outcome.verdict.percentile(0.99)
        # Half a second for a machine that is busy with all of this.
        outcome.require(p99 <= (PROMISE + 0.5) * stage.slack, f"p99 is {p99:.1f} s")
        return outcome
