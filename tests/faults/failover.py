"""A Redis behind one host name: the name leads to another server, and connections stay."""

from __future__ import annotations

import time

import redis

from tests.client.watcher import LoopThread
from tests.until import until

from .away import under_load
from .batch import batch
from .family import Family, Outcome, fault
from .proxy import Proxy
from .stage import require

#: Seconds in which updates arrive at the new primary.
ARRIVES = 5.0


class Failover(Family):
    """A primary and its replica; one address, which is a proxy, leads to the primary."""

    name = "failover"
    lane = "redis"

    def begin(self) -> None:
        stage = self.stage
        self.old, self.new = stage.redis("old"), stage.redis("new")
        loop = LoopThread()
        stage.stack.callback(loop.close)
        self.name_of_both = Proxy(loop, self.old.url, stage.rng)
        with redis.Redis.from_url(self.old.url) as old, redis.Redis.from_url(self.new.url) as new:
            old.config_set("repl-diskless-sync-delay", 0)  # else a replica waits for 5 s
            new.replicaof("127.0.0.1", old.connection_pool.connection_kwargs["port"])
            synced = until(lambda: new.info("replication")["master_link_status"] == "up", 60)
            require(synced, "the replica did not connect to its primary")
        stage.use(self.name_of_both.url, stage.redis("celery").url)
        self.worker = stage.worker(concurrency=4)
        self.web, self.url = stage.web()

    def _fail_over(self) -> None:
        """Promote the replica once it has all data of the primary, as a planned failover does."""
        with redis.Redis.from_url(self.old.url) as old, redis.Redis.from_url(self.new.url) as new:
            host, port = "127.0.0.1", new.connection_pool.connection_kwargs["port"]
            old.execute_command("FAILOVER", "TO", host, port)
            over = until(lambda: new.info("replication")["role"] == "master", 60)
            require(over, "the replica did not take over")
            until(lambda: old.info("replication")["role"] == "slave", 60)
        self.name_of_both.switch(self.new.url)

    @fault("29", "failover behind one host name; old connections stay open", short=120, long=1000)
    def failover(self, size: int) -> Outcome:
        switched, arrived = 0.0, 0.0

        def switch() -> None:
            nonlocal switched
            self._fail_over()
            switched = time.monotonic()

        with batch(self.stage, size, self.url) as made, redis.Redis.from_url(self.new.url) as new:

            def check() -> None:
                """Wait until the new primary has the ending of a task of after the switch."""
                nonlocal arrived
                later = [made.send(self.stage.tasks.noop, number) for number in range(5)]
                there = made.until(lambda: any(_state(new, one) == "SUCCESS" for one in later), 60)
                require(there, "nothing arrives at the new primary")
                arrived = time.monotonic()

            under_load(made, 8.0 if self.stage.long else 4.0, [(1.0, switch), (1.1, check)])
            outcome = Outcome(made.judge(deliver=60))
            outcome.recovered = made.recovery(switched)
            kept = sum(_state(new, one) == "SUCCESS" for one in made.sent)
        took = arrived - switched
        bound = ARRIVES * self.stage.slack
        outcome.require(took <= bound, f"an update arrived after {took:.1f} s")
        outcome.require(kept == size, f"the new primary has the endings of {kept} of {size} tasks")
        outcome.note = f"the first update arrived after {took:.1f} s"
        return outcome


def _state(client: redis.Redis, task_id: str) -> str:
    """The state in a task's record; empty where there is none."""
    text = client.hget(f"realtime:task:{task_id}", "state")
    return text.decode().strip('"') if isinstance(text, bytes) else ""
