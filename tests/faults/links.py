"""Faults of the network between the processes, and before the clients."""

from __future__ import annotations

import time

from .away import COST, under_load
from .batch import batch
from .clients import LoopThread
from .family import Family, Outcome, fault
from .proxy import Proxy
from .stage import require

#: Seconds after which a dead link is noticed.
NOTICED = 15.0
#: Seconds that a partition lasts.
PARTITION = 12.0


class Links(Family):
    """The service's Redis and the web process are reached over links that can be hurt."""

    name = "links"
    lane = "links"

    def begin(self) -> None:
        stage = self.stage
        redis = stage.redis("service")
        stage.use(redis.url, stage.redis("celery").url)
        loop = LoopThread()
        stage.stack.callback(loop.close)
        self.to_worker = Proxy(loop, redis.url, stage.rng)
        self.to_web = Proxy(loop, redis.url, stage.rng)
        stage.worker(concurrency=4, REDIS_URL=self.to_worker.url)
        self.web, self.url = stage.web(REDIS_URL=self.to_web.url)
        self.to_clients = Proxy(loop, self.url, stage.rng)

    def _partition(self, size: int, link: Proxy) -> Outcome:
        back = 0.0

        def swallow() -> None:
            link.swallows = True

        def heal() -> None:
            nonlocal back
            link.swallows, back = False, time.monotonic()

        link.hurt.clear()
        with batch(self.stage, size, self.url) as made:
            under_load(made, PARTITION + 3, [(1.0, swallow), (1.0 + PARTITION, heal)])
            stalls = made.sent[:2] if link is self.to_worker else ()
            outcome = Outcome(made.settle(tell=40, may_stall=stalls))
            outcome.recovered = made.recovery(back)
            cost = max([0.0, *(self.stage.oracle.costs.get(one, 0.0) for one in made.sent)])
        slack = self.stage.slack
        outcome.require(link.hurt["swallowed"] > 0, "nothing was swallowed")
        outcome.require(cost <= COST * slack, f"a task lost {1000 * cost:.0f} ms")
        late = outcome.recovered
        outcome.require(late <= NOTICED * slack, f"noticed after {late:.1f} s")
        # Whether anybody is left deaf by a connection that died without a word.
        with batch(self.stage, 20, self.url) as made:
            time.sleep(2.0)  # a topic is looked at again after it was joined, and that would help
            for number in range(20):
                made.send(self.stage.tasks.noop, number)
            after = made.settle()
        outcome.verdict.add(after)
        deaf = max(after.latencies, default=0.0)
        outcome.require(deaf <= 0.5 * slack, f"deaf afterwards: told after {deaf:.2f} s")
        outcome.note = f"afterwards told within {deaf:.2f} s"
        return outcome

    @fault("16a", "partition between worker and Redis, half-open after", short=150, long=500)
    def worker_cut_off(self, size: int) -> Outcome:
        return self._partition(size, self.to_worker)

    @fault("16b", "partition between web and Redis, half-open after", short=150, long=500)
    def web_cut_off(self, size: int) -> Outcome:
        return self._partition(size, self.to_web)

    def _bad(self, size: int, cuts: float, *links: Proxy) -> Outcome:
        url = self.to_clients.url if self.to_clients in links else self.url
        with batch(self.stage, size, url) as made:
            for link in links:
                link.hurt.clear()
                link.takes_apart, link.delay, link.cuts = True, 0.005, cuts
            for number in range(size):
                made.send(self.stage.tasks.noop, number)
                time.sleep(0.01)
            require(made.until(made.ended, 60), "the tasks did not end")
            for link in links:
                link.takes_apart, link.delay, link.cuts = False, 0.0, 0.0
            back = time.monotonic()
            outcome = Outcome(made.settle(tell=30))
            outcome.recovered = made.recovery(back)
        outcome.require(all(link.hurt["slowed"] for link in links), "a link was not slow")
        resets = sum(link.hurt["cut"] for link in links)
        outcome.require(resets > 0, "no link was reset")
        outcome.note = f"{resets} resets"
        return outcome

    @fault("17a", "Redis links slow, one-byte segments, resets", short=100, long=400)
    def bad_links(self, size: int) -> Outcome:
        return self._bad(size, 0.01, self.to_worker, self.to_web)

    @fault("17b", "clients' links slow, one-byte segments, resets", short=100, long=400)
    def bad_clients(self, size: int) -> Outcome:
        return self._bad(size, 0.05, self.to_clients)
