"""Faults of the service's Redis, under load. Celery's own is another, and stays well."""

from __future__ import annotations

import re
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis

from realtime.core.states import SUCCESS
from tests.until import until

from .batch import PROMISE, Batch, batch
from .family import Family, Outcome, fault
from .stage import children_of, end_run, require

#: Seconds that a task may wait for a Redis that does not answer.
COST = 0.3

Step = tuple[float, Callable[[], None]]


def under_load(made: Batch, seconds: float, steps: Sequence[Step]) -> None:
    """Send short tasks at an even pace, a few long ones first, and run each step at its time."""
    tasks = made.stage.tasks
    # The long ones run during the whole fault, and must not be shown as STALLED.
    end = Path(made.stage.folder(), "end")
    for _ in range(2):
        made.send(tasks.report_until, str(end), seconds / 40)
    began = time.monotonic()
    rest = list(steps)
    size = len(made.ids)
    while len(made.sent) < size or rest:
        now = time.monotonic() - began
        if rest and now >= rest[0][0]:
            rest.pop(0)[1]()
        elif len(made.sent) < size and now >= seconds * len(made.sent) / size:
            made.send(tasks.work, 0.01, len(made.sent))
        else:
            time.sleep(0.002)
    end.touch()


class Away(Family):
    """The service on a Redis of its own, with an append-only file."""

    name = "away"
    lane = "redis"

    def begin(self) -> None:
        stage = self.stage
        self.redis = stage.redis("service", keep=True)
        stage.use(self.redis.url, stage.redis("celery").url)
        self.worker = stage.worker(concurrency=4)
        self.web, self.url = stage.web()
        self.back = 0.0

    def _hurt(
        self, size: int, seconds: float, hurt: Callable[[], None], heal: Callable[[], None]
    ) -> Outcome:
        """Disturb Redis under load for so long, and require what is required of every fault."""

        def heal_and_note() -> None:
            heal()
            self.back = time.monotonic()

        with batch(self.stage, size, self.url) as made:
            steps = [(1.0, hurt), (1.0 + seconds, heal_and_note)]
            under_load(made, seconds + 3, steps)
            outcome = Outcome(made.judge(deliver=30))
            outcome.recovered = made.recovery(self.back)
            cost = max([0.0, *(self.stage.oracle.costs.get(one, 0.0) for one in made.sent)])
        outcome.note = f"a task waited {1000 * cost:.0f} ms at most"
        outcome.require(
            cost <= COST * self.stage.slack, f"a task was delayed by {1000 * cost:.0f} ms"
        )
        return outcome

    @fault("15", "Redis out of memory for 8 s, noeviction", short=150, long=1000)
    def full(self, size: int) -> Outcome:
        with redis.Redis.from_url(self.redis.url) as client:
            outcome = self._hurt(
                size,
                8.0,
                lambda: client.config_set("maxmemory", 1),
                lambda: client.config_set("maxmemory", 0),
            )
        # At most once a minute, so this row is the first one.
        outcome.require("publish_failed" in self.worker.log(), "nothing was logged")
        return outcome

    @fault(
        "11",
        "Redis killed, restarted after 5 s with its append-only file",
        short=200,
        long=1500,
    )
    def killed(self, size: int) -> Outcome:
        return self._hurt(size, 5.0, self.redis.kill, self.redis.start)

    @fault("12", "Redis emptied", short=80, long=400)
    def emptied(self, size: int) -> Outcome:
        tasks, stage = self.stage.tasks, self.stage
        # Every other task runs after the fault: until then another one occupies their worker.
        folder, first = stage.folder(), str(uuid.uuid4())
        settings = {"CELERY_WORKER_PREFETCH_MULTIPLIER": 0}
        worker = stage.worker(concurrency=1, queue="later", settings=settings)
        tasks.work_until_ended.apply_async((folder,), task_id=first, queue="later")
        require(until(lambda: self._has_begun(first)), "the first task did not begin")
        with batch(stage, size, self.url) as made:
            for number in range(size // 2):
                made.send(tasks.noop, number)
                made.send(tasks.noop, number, queue="later")
            later = set(made.sent[1::2])
            ready = made.until(lambda: all(is_ready(one, later) for one in made.watchers), 15)
            require(ready, "the clients were not ready")
            traveller = made.watchers[0]
            self.stage.fleet.call(traveller.leave())
            self.redis.kill()
            shutil.rmtree(self.stage.directory / "service" / "appendonlydir")
            self.redis.start()
            back = time.monotonic()
            end_run(folder, first, 1)
            self.stage.fleet.loop.call_soon_threadsafe(traveller.wanted.set)
            outcome = Outcome(made.judge(deliver=20))
            alive = []
            for watcher in made.watchers:
                for topic in watcher.feeds:
                    changes = topic.startswith("user:") or topic.removeprefix("task:") in later
                    if watcher is traveller or not changes:
                        continue
                    came = [at for at, name in watcher.snapshots if name == topic and at >= back]
                    outcome.require(bool(came), f"{watcher.name} {topic}: no new epoch")
                    alive += [at - back for at in came[:1]]
            answers: dict[str, bool] = {}
            for at, topic, recovered in traveller.subscribed:
                if at >= back:
                    answers.setdefault(topic, recovered)
        worker.kill()
        outcome.require(len(answers) == len(traveller.feeds), "a client did not come back")
        outcome.require(not any(answers.values()), "an emptied log was called recovered")
        outcome.recovered = slowest = max(alive, default=999.0)
        outcome.require(slowest <= 10 * self.stage.slack, f"alive after {slowest:.1f} s")
        return outcome

    def _has_begun(self, task_id: str) -> bool:
        self.stage.oracle.read_log()
        return task_id in self.stage.oracle.begun

    def _stopped(self, size: int, seconds: float) -> Outcome:
        outcome = self._hurt(
            size,
            seconds,
            lambda: self.redis.signal(signal.SIGSTOP),
            lambda: self.redis.signal(signal.SIGCONT),
        )
        late = outcome.recovered or 0.0
        outcome.require(late <= PROMISE * self.stage.slack, f"current after {late:.1f} s")
        return outcome

    @fault("14a", "Redis stopped for 1 s", short=100, long=500)
    def stopped_shortly(self, size: int) -> Outcome:
        return self._stopped(size, 1.0)

    @fault("14b", "Redis stopped for 10 s", short=150, long=1000)
    def stopped(self, size: int) -> Outcome:
        return self._stopped(size, 10.0)

    @fault("14c", "Redis stopped for 70 s", short=0, long=2000)
    def stopped_for_long(self, size: int) -> Outcome:
        return self._stopped(size, 70.0)

    @fault("14d", "Redis down for 5 minutes, at 200 tasks a second", short=0, long=60_000)
    def gone_for_minutes(self, size: int) -> Outcome:
        with batch(self.stage, size) as made:
            # The newest ones: what a full queue gives up is older.
            watched = made.ids[-400:]
            made.watch(self.url, tasks=watched)
            before = memory_of(self.worker.pid)
            self.redis.kill()
            began = time.monotonic()
            for number in range(size):
                made.send(self.stage.tasks.noop, number)
                time.sleep(max(0.0, began + number * 300 / size - time.monotonic()))
            require(made.until(made.ended, 60), "the tasks did not end")
            after = memory_of(self.worker.pid)
            self.redis.start()
            back = time.monotonic()
            made.sent = watched
            outcome = Outcome(made.judge(deliver=120))
            outcome.recovered = made.recovery(back)
            grown = max(after[pid] - before[pid] for pid in before.keys() & after.keys())
        outcome.note = f"{size:,} tasks; a process of the worker grew by at most {grown:.0f} MiB"
        outcome.require(grown <= 64, f"grew by {grown:.0f} MiB")
        return outcome


def is_ready(client: Any, later: set[str]) -> bool:
    """Whether a client knows of every task, and of the endings of all but those."""
    return all(
        task_id in client.states and (task_id in later or client.states[task_id] == SUCCESS)
        for task_id in client.watches
    )


def memory_of(pid: int) -> dict[int, float]:
    """MiB of memory of a process and of its children, by process."""
    found = {}
    for each in [pid, *children_of(pid)]:
        status = Path(f"/proc/{each}/status").read_text()
        found[each] = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    return found
