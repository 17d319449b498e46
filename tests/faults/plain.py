"""Faults of tasks, children and clients, on one Redis, one prefork worker and one web process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from realtime.conf import conf
from realtime.core.change import Change
from realtime.core.states import FAILURE, RETRY, REVOKED, STARTED, SUCCESS
from realtime.store import get_store

from .batch import PROMISE, Batch, batch
from .canvases import REVOKED_WITHIN, Canvases
from .family import Family, Outcome, fault
from .oracle import Verdict
from .stage import require

#: Children of the worker.
CHILDREN = 4
#: Seconds of a run that is always killed.
ENDLESS = 600.0


def kill_children(made: Batch, task: Any, *arguments: Any, killed: str | None) -> None:
    """Send tasks whose first run is endless, and kill each within 500 ms of its begin.

    With `killed` that is how the task ends.
    """
    stage = made.stage
    for _ in made.ids:
        made.send(task, *arguments)
    due: dict[str, float] = {}
    waiting = set(made.sent)

    def kill_what_is_due() -> bool:
        for task_id in sorted(waiting & stage.oracle.begun.keys()):
            at, pid = stage.oracle.begun[task_id][0]
            moment = due.setdefault(task_id, at + stage.rng.uniform(0, 0.5))
            if moment <= time.monotonic():
                if killed is not None:
                    stage.oracle.note(task_id, killed)
                os.kill(pid, signal.SIGKILL)
                waiting.remove(task_id)
        return not waiting

    require(made.until(kill_what_is_due, 30 + 2 * len(made.ids)), "the tasks did not begin")


class Plain(Canvases, Family):
    """Everything as `make run` starts it."""

    name = "plain"

    def begin(self) -> None:
        stage = self.stage
        redis = stage.redis("redis")
        stage.use(redis.url, redis.url)
        self.worker = stage.worker(concurrency=CHILDREN)
        self.web, self.url = stage.web()

    @fault("6", "child killed between storing its result and its signal", short=16, long=1000)
    def killed_unannounced(self, size: int) -> Outcome:
        with batch(self.stage, size, self.url) as made:
            for number in range(size):
                made.send(self.stage.tasks.die_unannounced, number)
            outcome = Outcome(made.judge(run=30 + size, deliver=50))
            began = self.stage.oracle.begun
            processes = {began[task_id][0][1] for task_id in made.sent if task_id in began}
        outcome.require(len(processes) == size, f"{len(processes)} processes for {size} tasks")
        outcome.within(15.0 * self.stage.slack)
        return outcome

    @fault("7", "every kind of ending", short=26, long=390)
    def every_ending(self, size: int) -> Outcome:
        total = Verdict()
        for _ in range(size // 26):
            with batch(self.stage, 26, self.url) as made:
                unlike = [*self._end_in_every_way(made), *self._end_in_every_way(made)]
                total.add(made.judge(unlike_backend=unlike, deliver=20))
        return Outcome(total)

    def _end_in_every_way(self, made: Batch) -> list[str]:
        """Send 13 tasks; return those of which the result backend knows no ending."""
        tasks, oracle, control = self.stage.tasks, self.stage.oracle, self.stage.app.control
        made.send(tasks.fail)
        made.send(tasks.exceed_softly)
        made.send(tasks.exceed_hard)
        made.send(tasks.leave)
        made.send(tasks.vanish)
        made.send(tasks.return_what_no_json_can_say)
        made.send(tasks.reject)
        made.send(tasks.replace, "replaced")
        ignored = made.send(tasks.ignore)
        oracle.note(made.send(tasks.noop, 1, expires=-1), REVOKED)
        oracle.note(made.send("nobody.wrote.this"), FAILURE)
        later = REVOKED_WITHIN * self.stage.slack
        waiting = made.send(tasks.noop, 1, countdown=later)
        control.revoke(waiting)
        oracle.note(waiting, REVOKED, at=time.monotonic() + later)
        running = made.send(tasks.work, ENDLESS)
        require(made.until(lambda: running in oracle.begun, 20), "a task did not begin")
        control.revoke(running, terminate=True)
        oracle.note(running, REVOKED)
        return [ignored]

    @fault("1", "child killed, early ack", short=20, long=300)
    def child_killed(self, size: int) -> Outcome:
        with batch(self.stage, size, self.url) as made:
            kill_children(made, self.stage.tasks.work, ENDLESS, killed=FAILURE)
            outcome = Outcome(made.judge())
        if self.stage.long:  # the short form has row 1b
            outcome.within(2.0)
        return outcome

    @fault("2", "child killed, acks_late + reject_on_worker_lost", short=20, long=300)
    def child_killed_late(self, size: int) -> Outcome:
        with batch(self.stage, size, self.url) as made:
            task, folder = self.stage.tasks.work_less_and_less, self.stage.folder()
            kill_children(made, task, folder, ENDLESS, 1.0, killed=None)
            # The second runs wait behind the first ones.
            outcome = Outcome(made.judge(run=60 + size))
            for task_id in made.sent:
                runs = len(self.stage.oracle.begun[task_id])
                for client, callback in made.callbacks(task_id):
                    if callback.state == SUCCESS and callback.run != runs:
                        outcome.require(False, f"{client} {task_id}: run {callback.run} of {runs}")
                outcome.require(runs == 2, f"{task_id}: killed, and run {runs} times")
                outcome.require(
                    any(
                        one.run == 2 and one.state == STARTED for _, one in made.callbacks(task_id)
                    ),
                    f"{task_id}: nobody was shown run 2",
                )
        return outcome

    @fault("8", "5 retries of each task, explicit and automatic", short=60, long=2000)
    def retries(self, size: int) -> Outcome:
        tasks, outcome, shown = self.stage.tasks, Outcome(Verdict()), 0
        for part in parts(size, 500):
            with batch(self.stage, part, self.url) as made:
                for number in range(part):
                    made.send(tasks.retry if number % 2 else tasks.retry_by_itself, 5)
                # Celery may store an attempt's RETRY after the next one's ending.
                outcome.verdict.add(made.judge(run=60 + part, unlike_backend=made.sent))
                shown += len(made.shown(RETRY))
                for story in made.stories():
                    last = story[-1].attempt
                    outcome.require(last == 5, f"{story[-1].task} ended in attempt {last} of 5")
        outcome.require(shown >= 0.9 * size, f"RETRY was shown of {shown} of {size} tasks")
        if self.stage.long:
            outcome.prompt()
        return outcome

    @fault("9", "PENDING, RECEIVED and STARTED race", short=500, long=10_000)
    def race(self, size: int) -> Outcome:
        outcome, shown = Outcome(Verdict()), 0
        for part in parts(size, 1000):
            with batch(self.stage, part, self.url) as made:
                for number in range(part):
                    made.send(self.stage.tasks.noop, number)
                outcome.verdict.add(made.judge())
                shown += len(made.shown(STARTED))
        outcome.note = f"STARTED was shown of {shown:,} of {size:,} tasks"
        outcome.require(shown >= 0.5 * size, outcome.note)
        if self.stage.long:
            outcome.prompt()
        return outcome

    @fault("19", "web process stopped for 2 s, while events arrive", short=300, long=1500)
    def stalled_loop(self, size: int) -> Outcome:
        total, recovered, meanwhile = Verdict(), 0.0, 0
        for part in parts(size, 300):
            with batch(self.stage, part, self.url) as made:
                os.kill(self.web.pid, signal.SIGSTOP)
                since = time.monotonic()
                for number in range(part):
                    made.send(self.stage.tasks.noop, number)
                time.sleep(max(0.0, since + 2 - time.monotonic()))
                # However slow the worker is, the web process misses half of the endings.
                half = made.until(lambda made=made: 2 * made.ended_count() >= len(made.ids), 60)
                os.kill(self.web.pid, signal.SIGCONT)
                require(half, "the tasks did not end")
                back = time.monotonic()
                total.add(made.judge())
                recovered = max(recovered, made.recovery(back))
                truths = self.stage.oracle.truths
                meanwhile += sum(since < truths[one].at < back for one in made.sent)
        return Outcome(total, recovered, note=f"{meanwhile:,} tasks ended meanwhile")

    @fault(
        "22",
        "client away for fewer or more events than the log has",
        short=40,
        long=400,
    )
    def away(self, size: int) -> Outcome:
        total, broken, kept = Verdict(), [], conf().MAX_HISTORY_EVENTS
        for part in parts(size, 40):
            with batch(self.stage, part) as made:
                # One client for each task, so that each is away for its own time.
                for task_id in made.ids:
                    made.admit([self._client(task_id)])
                stand = made.until(lambda made=made: all(one.stands for one in made.watchers), 30)
                require(stand, "the clients could not subscribe")
                for task_id in made.ids:
                    self._publish(task_id, "STARTED", 1)
                received = made.until(
                    lambda made=made: all(one.states for one in made.watchers), 30
                )
                require(received, "the clients received nothing")
                for client in made.watchers:
                    self.stage.fleet.call(client.leave())
                missed = {}
                for number, task_id in enumerate(made.ids):
                    # Around the edge, and anywhere.
                    edge = kept + self.stage.rng.randint(-2, 2)
                    missed[task_id] = edge if number % 2 else self.stage.rng.randint(0, 2 * kept)
                    self._publish(task_id, "PROGRESS", missed[task_id])
                for client in made.watchers:
                    self.stage.fleet.loop.call_soon_threadsafe(client.wanted.set)
                back = made.until(
                    lambda made=made: all(len(x.subscribed) == 2 for x in made.watchers), 30
                )
                require(back, "the clients did not come back")
                made.sent = list(made.ids)
                for task_id in made.ids:
                    self._publish(task_id, SUCCESS, 1)
                    self.stage.oracle.note(task_id, SUCCESS)
                total.add(made.judge())
                for client in made.watchers:
                    [task_id] = client.watches
                    recovered = client.subscribed[-1][2]
                    events = sum(one.state == "PROGRESS" for one in client.callbacks)
                    expected = missed[task_id] <= kept
                    if recovered != expected or events != (missed[task_id] if expected else 1):
                        broken.append(f"missed {missed[task_id]}, {recovered=}, {events=}")
        return Outcome(total, broken=broken)

    def _client(self, task_id: str) -> Any:
        topics = {f"task:{task_id}": [task_id]}
        return self.stage.client(f"client-{task_id}", self.url, topics, self.stage.rng)

    def _publish(self, task_id: str, state: str, times: int) -> None:
        """Publish changes as a worker would."""
        for number in range(times):
            fields = {"progress": json.dumps({"current": number, "total": None, "message": None})}
            get_store().accept(Change(task_id=task_id, state=state, fields=fields))

    @fault("24", "subscribing within ±5 ms of the ending", short=160, long=4000)
    def subscribing(self, size: int) -> Outcome:
        outcome, near = Outcome(Verdict()), 0
        fleet, rng = self.stage.fleet, self.stage.rng
        for part in parts(size, 40):
            with batch(self.stage, part) as made:
                client = self.stage.client("client", self.url, {}, rng)
                made.admit([client])
                require(made.until(lambda client=client: client.is_open, 30), "no welcome arrived")
                joined: dict[str, float] = {}
                for _ in range(part):
                    moment = time.monotonic() + 0.06
                    task_id = made.send(self.stage.tasks.end_at, moment)
                    at = moment + rng.uniform(-0.005, 0.005)
                    joining = join_at(at, client, task_id, joined)
                    asyncio.run_coroutine_threadsafe(joining, fleet.loop)
                    time.sleep(0.025)
                outcome.verdict.add(made.judge())
                outcome.require(len(joined) == part, f"{len(joined)} of {part} joined")
                outcome.require(client.stands, "a subscription was not answered")
                truths = self.stage.oracle.truths
                near += sum(abs(truths[one].at - at) <= 0.01 for one, at in joined.items())
        outcome.note = f"{near} of {size} subscriptions were within 10 ms"
        if self.stage.long:
            outcome.prompt()
        return outcome

    @fault("26", "result expired, ignored, or not stored", short=60, long=300)
    def no_result(self, size: int) -> Outcome:
        stage = self.stage
        nowhere = stage.worker(
            concurrency=1, queue="nowhere", settings={"CELERY_RESULT_BACKEND": "disabled://"}
        )
        with batch(stage, size) as made:
            for number in range(size // 3):
                made.send(stage.tasks.noop, number)
                made.send(stage.tasks.keep_no_result)
                made.send(stage.tasks.noop, number, queue="nowhere")
            require(made.until(made.ended, 30), "the tasks did not end")
            if not stage.is_contrast:
                kept = made.until(
                    lambda: all(get_store().status(x).terminal for x in made.sent), 30
                )
                require(kept, "the service does not know the endings")
            backend = stage.app.backend
            for task_id in made.sent:
                backend.delete(backend.get_key_for_task(task_id))
            came = time.monotonic()
            made.watch(self.url, owner=True)
            outcome = Outcome(made.judge(not_before=came))
        nowhere.kill()
        outcome.within(PROMISE * self.stage.slack)
        return outcome


async def join_at(at: float, client: Any, task_id: str, joined: dict[str, float]) -> None:
    """Subscribe to a task at this moment, and note when it really was."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    joined[task_id] = time.monotonic()
    await client.join(f"task:{task_id}", [task_id])


def parts(size: int, at_most: int) -> list[int]:
    """Split a number into near-equal ones."""
    count = -(-size // at_most)
    return [size // count + (number < size % count) for number in range(count)]
