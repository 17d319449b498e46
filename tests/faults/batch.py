"""Some tasks of one fault, and the clients that watch them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from realtime.core.states import RETRY
from realtime.ownership import owner_from
from tests.client.watcher import TOPICS, Callback
from tests.until import until

from .oracle import Verdict, judge
from .stage import Stage, require

#: Seconds in which every ending is delivered, whatever is lost between processes.
PROMISE = 6.0
#: Seconds after the last ending in which nothing more may arrive.
SETTLE = 1.0
#: Seconds after which a topic that was joined is read no more often than others.
JOINED = 2.0


class Batch:
    """Tasks whose ids are known before they are published, and their clients."""

    def __init__(self, stage: Stage, size: int) -> None:
        self.stage = stage
        self.ids = [str(uuid.UUID(int=stage.rng.getrandbits(128), version=4)) for _ in range(size)]
        self.owner = f"visitor-{stage.rng.getrandbits(64):x}"
        self.sent: list[str] = []
        self.watchers: list[Any] = []
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    # Clients

    def watch(
        self, url: str, *, tasks: Sequence[str] | None = None, owner: bool = False
    ) -> list[Any]:
        """Let clients subscribe, each to some of the tasks, with `owner` one to all of them."""
        rng, made = self.stage.rng, []
        tasks = self.ids if tasks is None else tasks
        for start in range(0, len(tasks), TOPICS):
            mine = tasks[start : start + TOPICS]
            topics = {f"task:{task_id}": [task_id] for task_id in mine}
            made.append(self.stage.client(f"client-{start // TOPICS}", url, topics, rng))
        if owner and not self.stage.is_contrast:
            made.append(self.stage.client("owner", url, {f"user:{self.owner}": self.ids}, rng))
        self.admit(made)
        subscribed = self.until(lambda: all(watcher.stands for watcher in made), 30)
        require(subscribed, "the clients could not subscribe")
        return made

    def admit(self, watchers: list[Any]) -> None:
        """Let these clients run."""
        self.watchers += watchers
        self._stack.callback(self.stage.fleet.start(watchers))

    # Tasks

    def send(self, task: Any, *args: Any, **options: Any) -> str:
        """Publish the next task, by itself or by its name, and return its id."""
        task_id = self.ids[len(self.sent)]
        self.sent.append(task_id)
        with owner_from(lambda: self.owner):
            if isinstance(task, str):
                self.stage.app.send_task(task, args, task_id=task_id, **options)
            else:
                task.apply_async(args, task_id=task_id, **options)
        return task_id

    def until(self, condition: Callable[[], Any], within: float) -> bool:
        """Read the log until a condition is true; return whether it was in time.

        The short form waits longer, as its machine may be busy.
        """

        def check() -> Any:
            self.stage.oracle.read_log()
            return condition()

        return bool(until(check, within * self.stage.slack))

    def ended_count(self) -> int:
        """How many of the tasks that were sent have ended, as far as the oracle knows."""
        return len(self.stage.oracle.truths.keys() & set(self.sent))

    def ended(self) -> bool:
        """Whether every task that was sent has ended, as far as the oracle knows."""
        return self.ended_count() == len(self.sent)

    def undelivered(self) -> set[str]:
        """The tasks of whose true ending some client has nothing yet."""
        truths = self.stage.oracle.truths
        return {
            task_id
            for watcher in self.watchers
            for task_id in set(self.sent).intersection(watcher.watches)
            if task_id not in truths or watcher.states.get(task_id) != truths[task_id].state
        }

    def delivered(self) -> bool:
        """Whether every client has the true ending of each of its tasks."""
        return not self.undelivered()

    def judge(
        self,
        *,
        run: float = 60.0,
        deliver: float = 2 * PROMISE,
        not_before: float = 0.0,
        may_stall: Collection[str] = (),
        unlike_backend: Iterable[str] = (),
    ) -> Verdict:
        """Wait for the endings and their callbacks, a moment longer, and compare them.

        Of the tasks in `unlike_backend` the result backend is known to have another ending.
        No latency is counted from before `not_before`.
        """
        self.until(self.ended, run)
        # An ending that the tutorial has lost never arrives, and nothing is required of it.
        self.until(self.delivered, 1.5 / self.stage.slack if self.stage.is_contrast else deliver)
        time.sleep(SETTLE)  # for what must not come
        sent = set(self.sent)
        truths = {key: truth for key, truth in self.stage.oracle.truths.items() if key in sent}
        verdict = judge(
            truths,
            {one.name: (sent.intersection(one.watches), one.callbacks) for one in self.watchers},
            may_stall=may_stall,
            not_before=not_before,
        )
        verdict.tasks = len(sent)
        for watcher in self.watchers:
            for violation in watcher.violations:
                verdict.find("wrong", f"{watcher.name}: {violation}")
            for code in filter(is_wrong, watcher.codes):
                verdict.find("wrong", f"{watcher.name}: closed with {code}")
        for task_id, meta in self.stage.stored(sent.difference(unlike_backend)).items():
            # Celery stores a RETRY by the process that ran the attempt, perhaps after another one
            # has stored how the next attempt ended.
            if meta["status"] == RETRY:
                continue
            if task_id in truths and meta["status"] != truths[task_id].state:
                verdict.find("wrong", f"task={task_id} {truths[task_id]} stored={meta['status']}")
        return verdict

    def callbacks(self, task_id: str) -> Iterator[tuple[str, Callback]]:
        """The callbacks of each client for a task."""
        for watcher in self.watchers:
            for callback in watcher.callbacks:
                if callback.task == task_id:
                    yield watcher.name, callback

    def shown(self, state: str) -> set[str]:
        """The tasks that some client was shown in a state.

        A client that falls behind may be shown less: a newer status then replaces an older one.
        """
        found = (one for watcher in self.watchers for one in watcher.callbacks)
        return {callback.task for callback in found if callback.state == state}

    def stories(self) -> list[list[Callback]]:
        """The callbacks by client and task, where there were any."""
        found: dict[tuple[str, str], list[Callback]] = {}
        for watcher in self.watchers:
            for callback in watcher.callbacks:
                found.setdefault((watcher.name, callback.task), []).append(callback)
        return list(found.values())

    def recovery(self, moment: float) -> float:
        """Seconds from `moment` until every client had all endings from before it."""
        truths = self.stage.oracle.truths
        delivered_at = [
            callback.at
            for watcher in self.watchers
            for callback in watcher.callbacks
            if (truth := truths.get(callback.task)) is not None
            and truth.at <= moment
            and callback.state == truth.state
        ]
        return max(0.0, max(delivered_at, default=moment) - moment)


def is_wrong(code: int) -> bool:
    """Whether a close code means a broken protocol, a failure, or that reconnecting is refused."""
    return code in (1002, 1007, 1011) or code >= 4500


@contextmanager
def batch(stage: Stage, size: int, url: str = "", *, owner: bool = True) -> Iterator[Batch]:
    """Tasks to come; with a `url` clients subscribe to them before anybody publishes them."""
    made = Batch(stage, size)
    try:
        if url:
            # A topic of many tasks holds the newest 1,000.
            made.watch(url, owner=owner and size <= 1000)
        yield made
    finally:
        made.close()
