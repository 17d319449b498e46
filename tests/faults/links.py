"""Faults of the network between the processes, and before the clients."""

from __future__ import annotations

import time

import redis

from tests.client.watcher import LoopThread

from .away import COST, under_load
from .batch import JOINED, batch
from .family import Family, Outcome, fault
from .oracle import Verdict
from .proxy import Proxy
from .stage import require

#: Seconds after which a dead link is noticed.
NOTICED = 15.0
#: How many times longer than before the fault an event may take, and seconds beside. A published
#: event takes some milliseconds. Where all are found by checks, every 4 to 6 s, half of those of
#: `LIVE` seconds take 2 s or longer.
AS_BEFORE, BESIDE = 10.0, 1.0
#: Seconds over which tasks are sent to find out which of both it is.
LIVE = 6.0
#: Seconds that a partition lasts.
PARTITION = 12.0


class Links(Family):
    """The service's Redis and the web process are reached over links with faults."""

    name = "links"
    lane = "links"

    def begin(self) -> None:
        stage = self.stage
        server = stage.redis("service")
        self.store = server.url
        stage.use(server.url, stage.redis("celery").url)
        loop = LoopThread()
        stage.stack.callback(loop.close)
        self.to_worker = Proxy(loop, server.url, stage.rng)
        self.to_web = Proxy(loop, server.url, stage.rng)
        stage.worker(concurrency=4, REDIS_URL=self.to_worker.url)
        self.web, self.url = stage.web(REDIS_URL=self.to_web.url)
        self.to_clients = Proxy(loop, self.url, stage.rng)

    def _partition(self, size: int, link: Proxy) -> Outcome:
        back = 0.0
        may_stall: set[str] = set()

        def swallow() -> None:
            link.swallows = True
            if link is self.to_worker:
                # The service knows nothing else of them until the link is back.
                made.stage.oracle.read_log()
                may_stall.update(made.undelivered())

        def heal() -> None:
            nonlocal back
            link.swallows, back = False, time.monotonic()

        link.hurt.clear()
        before = self._live(20)
        with batch(self.stage, size, self.url) as made:
            under_load(made, PARTITION + 3, [(1.0, swallow), (1.0 + PARTITION, heal)])
            outcome = Outcome(made.judge(deliver=40, may_stall=may_stall))
            outcome.recovered = made.recovery(back)
            cost = max([0.0, *(self.stage.oracle.costs.get(one, 0.0) for one in made.sent)])
        slack = self.stage.slack
        outcome.require(link.hurt["swallowed"] > 0, "nothing was swallowed")
        outcome.require(cost <= COST * slack, f"a task waited {1000 * cost:.0f} ms")
        late = outcome.recovered
        outcome.require(late <= NOTICED * slack, f"noticed after {late:.1f} s")
        # Whether the service received nothing after a connection died without a reset.
        after = self._live(20)
        outcome.verdict.add(before)
        outcome.verdict.add(after)
        then, now = before.percentile(0.5), after.percentile(0.5)
        by_checks_only = now > AS_BEFORE * then + BESIDE
        outcome.require(not by_checks_only, f"p50 is {now:.2f} s, and was {then:.2f} s before")
        outcome.note = f"p50 is {now:.3f} s afterwards, and was {then:.3f} s before"
        return outcome

    def _live(self, size: int) -> Verdict:
        """Send tasks to clients whose topics Redis sends on, for `LIVE` seconds, and judge."""
        with redis.Redis.from_url(self.store) as client:
            others = set(client.pubsub_channels())
            with batch(self.stage, size, self.url) as made:
                # Redis lists the subscriptions of live connections alone.
                live = made.until(
                    lambda: len(set(client.pubsub_channels()) - others) >= size, 2 * NOTICED
                )
                require(live or self.contrast, "the web process did not subscribe")
                # A topic is read again soon after it was joined, and then more and more seldom.
                time.sleep(JOINED)
                for number in range(size):
                    made.send(self.stage.tasks.noop, number)
                    time.sleep(LIVE / size)
                return made.judge()

    @fault("16a", "worker cut off from Redis; connections stay half-open", short=150, long=500)
    def worker_cut_off(self, size: int) -> Outcome:
        return self._partition(size, self.to_worker)

    @fault("16b", "web process cut off from Redis; connections stay half-open", short=150, long=500)
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
                if number == size // 2:  # few tasks are few parts, and chance may spare them all
                    for link in links:
                        link.cut_next = True
            require(made.until(made.ended, 60), "the tasks did not end")
            for link in links:
                link.takes_apart, link.delay, link.cuts = False, 0.0, 0.0
            back = time.monotonic()
            outcome = Outcome(made.judge(deliver=30))
            outcome.recovered = made.recovery(back)
        outcome.require(all(link.hurt["slowed"] for link in links), "a link was not slow")
        resets = sum(link.hurt["cut"] for link in links)
        outcome.require(resets > 0, "no link was reset")
        outcome.note = f"{resets} resets"
        return outcome

    @fault("17a", "connections to Redis slow, in one-byte segments, and reset", short=100, long=400)
    def bad_links(self, size: int) -> Outcome:
        return self._bad(size, 0.01, self.to_worker, self.to_web)

    @fault("17b", "clients' connections slow, in one-byte segments, and reset", short=100, long=400)
    def bad_clients(self, size: int) -> Outcome:
        return self._bad(size, 0.05, self.to_clients)
