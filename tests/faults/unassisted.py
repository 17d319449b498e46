"""Events and endings that nothing but their own signal announces.

The long form bounds their seconds, as its machine does nothing else. On a busy machine an event may
take as long as a check of the store. Here there are no checks: an event that is missing is lost.
"""

from __future__ import annotations

import time

from realtime.core.states import FAILURE

from .batch import JOINED, batch
from .family import Family, Outcome, fault
from .plain import ENDLESS, kill_children

#: Intervals that are longer than any run.
NEVER = {"CHECK_INTERVAL": 3600.0, "RECONCILE_INTERVAL": 3600.0}


class Unassisted(Family):
    """A web process that does not check the store, and does not search the result backend."""

    name = "unassisted"
    lane = "links"

    def begin(self) -> None:
        redis = self.stage.redis("redis")
        self.stage.use(redis.url, redis.url)
        self.stage.worker(concurrency=4)
        _, self.url = self.stage.web(settings={"REALTIME": NEVER})

    @fault("1b", "child killed: the worker itself publishes the ending", short=20, long=0)
    def child_killed(self, size: int) -> Outcome:
        with batch(self.stage, size, self.url) as made:
            kill_children(made, self.stage.tasks.work, ENDLESS, killed=FAILURE)
            return Outcome(made.judge())

    @fault("9b", "every ending comes as an event", short=120, long=0)
    def every_event(self, size: int) -> Outcome:
        with batch(self.stage, size, self.url) as made:
            time.sleep(JOINED)
            for number in range(size):
                made.send(self.stage.tasks.noop, number)
            return Outcome(made.judge())
