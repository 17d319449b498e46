"""Faults of whole workers: killed with all their children, overtaken, or with a wrong clock."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

from realtime.core.states import FAILURE, LOST, STALLED, STARTED, SUCCESS, TERMINAL
from tests.until import until

from .batch import Batch, batch
from .family import Family, Outcome, fault
from .oracle import Truth, Verdict
from .stage import children_of, end_run, require

#: Celery redelivers messages that were not acknowledged for 6 s, and searches every 5 s.
QUICK = {
    "CELERY_BROKER_TRANSPORT_OPTIONS": {
        "visibility_timeout": 6,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    }
}
#: How a worker is shut down cold: the signal, its settings and its environment. The last one is the
#: end of the time that a soft shutdown gives to running tasks.
COLD: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "SIGQUIT": (signal.SIGQUIT, {}, {}),
    "SIGTERM remapped": (signal.SIGTERM, {}, {"REMAP_SIGTERM": "SIGQUIT"}),
    "soft": (signal.SIGQUIT, {"CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT": 2.0}, {}),
}
#: Seconds in which clients receive that a worker is gone.
STALLED_WITHIN = 20.0
#: Tasks that a worker runs at once.
CHILDREN = 4
#: Seconds by which a worker's clock is wrong.
OFFSETS = (0.5, -0.5, 61.0, -61.0, 86_400.0, -86_400.0)


class Killed(Family):
    """Workers come and go; Redis and the web process stay."""

    name = "killed"
    lane = "killed"

    def begin(self) -> None:
        stage = self.stage
        redis = stage.redis("redis")
        stage.use(redis.url, redis.url)
        self.web, self.url = stage.web()

    def _kill_worker(self, made: Batch, task: Any, queue: str, **settings: Any) -> list[str]:
        """Let a new worker begin some tasks, kill it as a whole, and return their ids."""
        worker = self.stage.worker(concurrency=CHILDREN, queue=queue, **settings)
        mine = [made.send(*task, queue=queue) for _ in range(CHILDREN)]
        if not made.until(lambda: all(one in self.stage.oracle.begun for one in mine), 60):
            raise RuntimeError("the tasks did not begin")
        # Anywhere in a renewal of its lease.
        time.sleep(self.stage.rng.uniform(0, 2))
        os.killpg(worker.pid, signal.SIGKILL)
        return mine

    def _require_stalled(self, outcome: Outcome, made: Batch, killed: dict[str, float]) -> None:
        slowest, bound = 0.0, STALLED_WITHIN * self.stage.slack
        for task_id, at in killed.items():
            delays = {
                client: callback.at - at
                for client, callback in made.callbacks(task_id)
                if callback.state == STALLED and callback.at > at
            }
            outcome.require(len(delays) == 2, f"{task_id}: {len(delays)} of 2 received STALLED")
            slowest = max([slowest, *delays.values()])
        outcome.require(slowest <= bound, f"STALLED after {slowest:.1f} s")
        if slowest:
            outcome.note = f"STALLED at most {slowest:.1f} s after the kill"

    def _require_another_run(self, outcome: Outcome, made: Batch) -> None:
        """Require that no task ended in its first run: a slow machine may make it a third one."""
        for task_id in made.sent:
            runs = {one.run for _, one in made.callbacks(task_id) if one.state == SUCCESS}
            outcome.require(len(runs) == 1 and min(runs) > 1, f"{task_id} ended in run {runs}")

    @fault("3", "whole worker killed, early ack", short=4, long=40)
    def killed(self, size: int) -> Outcome:
        killed: dict[str, float] = {}
        with batch(self.stage, size, self.url) as made:
            for _ in range(size // CHILDREN):
                task = (self.stage.tasks.work, 300.0)
                for task_id in self._kill_worker(made, task, "early"):
                    killed[task_id] = time.monotonic()
                    self.stage.oracle.note(task_id, LOST)
            verdict = made.judge(deliver=100, may_stall=made.sent, unlike_backend=made.sent)
            outcome = Outcome(verdict)
            self._require_stalled(outcome, made, killed)
        outcome.within(80.0 * self.stage.slack)
        return outcome

    @fault("4", "whole worker killed, acks_late", short=4, long=40)
    def killed_late(self, size: int) -> Outcome:
        killed: dict[str, float] = {}
        with batch(self.stage, size, self.url) as made:
            # A queue for each, so that the next worker does not run what the last one left.
            queues = [f"late-{number}" for number in range(size // CHILDREN)]
            for queue in queues:
                task = (self.stage.tasks.work_less_and_less, self.stage.folder(), 300.0, 0.1)
                for task_id in self._kill_worker(made, task, queue, settings=QUICK):
                    killed[task_id] = time.monotonic()
            stalled = lambda: all(  # noqa: E731
                any(story.state == STALLED and story.at > at for _, story in made.callbacks(one))
                for one, at in killed.items()
            )
            # The tutorial publishes nothing then; `_require_stalled` counts that.
            made.until(stalled, 0 if self.contrast else STALLED_WITHIN + 5)
            worker = self.stage.worker(concurrency=CHILDREN, queue=",".join(queues), settings=QUICK)
            outcome = Outcome(made.judge(may_stall=made.sent))
            self._require_stalled(outcome, made, killed)
            self._require_another_run(outcome, made)
        worker.kill()
        return outcome

    def _shut_down_cold(self, made: Batch, task: Any, queue: str, way: str) -> list[str]:
        """Let a new worker begin some tasks, shut it down cold, and return their ids."""
        number, settings, env = COLD[way]
        worker = self.stage.worker(
            concurrency=CHILDREN, queue=queue, settings={**QUICK, **settings}, **env
        )
        mine = [made.send(*task, queue=queue) for _ in range(CHILDREN)]
        begun = made.until(lambda: all(one in self.stage.oracle.begun for one in mine), 60)
        require(begun, "the tasks did not begin")
        os.kill(worker.pid, number)
        require(until(lambda: worker.returncode is not None, 60), f"{way}: it did not end")
        worker.kill()  # what is left of it
        return mine

    def _ways(self, size: int) -> list[str]:
        """The ways to shut down, as often as there are tasks for them."""
        ways = itertools.cycle(COLD)
        return [next(ways) for _ in range(size // CHILDREN)]

    @fault("28a", "worker shut down cold, early ack", short=4, long=24)
    def cold(self, size: int) -> Outcome:
        with batch(self.stage, size, self.url) as made:
            for number, way in enumerate(self._ways(size)):
                queue = f"cold-{number}"
                mine = self._shut_down_cold(made, (self.stage.tasks.work, 300.0), queue, way)
                for task_id in mine:
                    # No run is left that could write its outcome: any single ending is right.
                    self.stage.oracle.note(task_id, FAILURE)
            another = self.stage.worker(
                concurrency=CHILDREN,
                queue=",".join(f"cold-{number}" for number in range(size // CHILDREN)),
                settings=QUICK,
            )
            ended = lambda: all(  # noqa: E731
                {one.state for _, one in made.callbacks(task)} & (TERMINAL - {SUCCESS})
                for task in made.sent
            )
            made.until(ended, 100)
            for task in made.sent:
                ends = [one.state for _, one in made.callbacks(task) if one.state in TERMINAL]
                at = self.stage.oracle.truths[task].at
                self.stage.oracle.note(task, ends[0] if ends else LOST, at=at)
            verdict = made.judge(deliver=5, may_stall=made.sent, unlike_backend=made.sent)
            outcome = Outcome(verdict)
        another.kill()
        outcome.within(80.0 * self.stage.slack)
        return outcome

    @fault("28b", "worker shut down cold, acks_late", short=4, long=24)
    def cold_late(self, size: int) -> Outcome:
        with batch(self.stage, size, self.url) as made:
            queues = [f"cold-late-{number}" for number in range(size // CHILDREN)]
            for queue, way in zip(queues, self._ways(size), strict=True):
                task = (self.stage.tasks.work_less_and_less, self.stage.folder(), 300.0, 0.1)
                self._shut_down_cold(made, task, queue, way)
            another = self.stage.worker(
                concurrency=CHILDREN, queue=",".join(queues), settings=QUICK
            )
            outcome = Outcome(made.judge(run=100, may_stall=made.sent))
            self._require_another_run(outcome, made)
        another.kill()
        return outcome


class Overtaken(Killed):
    """Runs that are not alone, and clocks that differ."""

    name = "overtaken"
    lane = "overtaken"
    picks = ("5", "10")

    @fault("5", "task delivered again while it still runs", short=8, long=64)
    def overtaken(self, size: int) -> Outcome:
        outcome, again, oracle = Outcome(Verdict()), 0, self.stage.oracle
        workers = [
            self.stage.worker(concurrency=2 * CHILDREN, queue="again", settings=QUICK)
            for _ in range(2)
        ]
        # All of them run at once, twice.
        for _ in range(size // CHILDREN // 2):
            with batch(self.stage, 2 * CHILDREN, self.url) as made:
                folder = self.stage.folder()
                for _ in made.ids:
                    made.send(self.stage.tasks.work_until_ended, folder, queue="again")
                shown = made.until(lambda made=made, folder=folder: end_both(made, folder), 100)
                outcome.require(shown, "no run 2 was shown of some")
                for one in made.ids:
                    end_run(folder, one, 1)
                    end_run(folder, one, 2)
                over = lambda made=made: all(  # noqa: E731
                    0 < len(oracle.begun.get(one, ())) == len(oracle.outcomes.get(one, ()))
                    for one in made.sent
                )
                require(made.until(over, 100), "a run did not end")

                def result_delivered(task_id: str, made: Batch = made) -> Any:
                    ends = (one for _, one in made.callbacks(task_id) if one.state == SUCCESS)
                    return next((one.result for one in ends), None)

                made.until(
                    lambda made=made: all(map(result_delivered, made.sent)), 30
                )  # settle judges
                for one in made.sent:
                    oracle.truths[one] = outcome_delivered(
                        oracle.outcomes[one], result_delivered(one)
                    )
                outcome.verdict.add(made.judge(run=0))
                for one in made.sent:
                    runs = {each.run for _, each in made.callbacks(one) if each.state == STARTED}
                    twice = len(oracle.begun[one]) > 1
                    again += twice
                    outcome.require(not twice or 2 in runs, f"{one}: no run 2 was shown")
        for worker in workers:
            worker.kill()
        outcome.note = f"{again} tasks were delivered again"
        outcome.require(again >= size / 2, f"only {again} were delivered again")
        return outcome

    @fault("10", "the clock of one of two workers is wrong by 0.5 s to a day", short=90, long=1200)
    def wrong_clock(self, size: int) -> Outcome:
        outcome = Outcome(Verdict())
        offsets = OFFSETS if self.stage.long else self.stage.rng.sample(OFFSETS, 2)
        tasks = self.stage.tasks
        right = self.stage.worker(queue="clock")
        for offset in offsets:
            clock = str(Path(__file__).parent / "clock")
            # It shares one queue, and has another to itself: it runs some in any case.
            wrong = self.stage.worker(
                queue="clock,wrong", PYTHONPATH=clock, CLOCK_OFFSET=str(offset)
            )
            children = children_of(wrong.pid)
            with batch(self.stage, size // len(offsets), self.url) as made:
                for number in range(len(made.ids)):
                    kind, queue = number % 3, "wrong" if number % 4 == 0 else "clock"
                    if kind == 0:
                        made.send(tasks.noop, number, queue=queue)
                    elif kind == 1:
                        made.send(tasks.retry, 3, queue=queue)
                    else:
                        made.send(tasks.report, 0.05, 5, queue=queue)
                outcome.verdict.add(made.judge())
                begun = self.stage.oracle.begun
                there = sum(pid in children for one in made.sent for _, pid in begun.get(one, ()))
                outcome.require(there > 0, f"nothing ran where the clock is wrong by {offset:+g} s")
            wrong.kill()
        right.kill()
        outcome.note = f"the clock was wrong by {', '.join(f'{one:+g}' for one in offsets)} s"
        if self.stage.long:
            outcome.prompt()
        return outcome


def end_both(made: Batch, folder: str) -> bool:
    """End the runs of each task of which a second one was shown; return whether all are ended.

    Every other task's second run ends before its first one, which it has overtaken.
    """
    outcomes = made.stage.oracle.outcomes
    for number, one in enumerate(made.sent):
        if any(each.run == 2 and each.state == STARTED for _, each in made.callbacks(one)):
            first = 1 + number % 2
            end_run(folder, one, first)
            if outcomes.get(one):
                end_run(folder, one, 3 - first)
    return all(len(outcomes.get(one, ())) > 1 for one in made.sent)


def outcome_delivered(outcomes: list[Truth], result: object) -> Truth:
    """Return the outcome of the run whose result was delivered, or the first outcome.

    The result of a run is its process. That of a run that was overtaken is right too: it may
    be what the result backend holds, and then the task has ended.
    """
    return next((truth for truth in outcomes if truth.result == result), outcomes[0])
