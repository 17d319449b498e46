"""Where one family of faults happens: real processes, an oracle, and clients."""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project.processes import Process, free_port
from project.redis_server import answers, embedded_redis
from project.run import page_answers, worker_answers, worker_command
from tests.until import until

from .oracle import LOG_VARIABLE, Oracle, Verdict, judge

HOST = "127.0.0.1"
#: Seconds in which every ending is to be told, whatever is lost between processes.
PROMISE = 6.0
#: Seconds for which the clients are listened to after the last ending, for what must not come.
SETTLE = 1.0


@dataclass
class Row:
    """What one fault did."""

    fault: str  #: its number, with a letter where it was done in more than one way
    title: str
    seed: int
    verdict: Verdict
    #: Seconds from the end of the fault until all that ended before it was told; None: no end.
    recovered: float | None = None
    #: What had to hold beside the counts, and did not.
    broken: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.verdict.holds and not self.broken

    def require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            self.broken.append(otherwise)


@dataclass
class Redis:
    """A server that can be killed and come back on its port."""

    process: Process
    url: str

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process.start()
        self.process.wait_ready(lambda: answers(self.url))

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)


class Stage:
    """The processes of one family. Everything is ended by `close`."""

    def __init__(self, directory: Path, *, seed: int, long: bool) -> None:
        self.directory = directory
        self.seed = seed
        self.long = long
        self.rng = random.Random(seed)
        self.stack = ExitStack()
        self.oracle = Oracle(directory / "outcomes.jsonl")
        self.env: dict[str, str] = {
            **os.environ,
            "DATA_DIR": str(directory),
            "HOST": HOST,
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "CELERY_IMPORTS": "tests.faults.tasks",
            "NO_COLOR": "1",
            LOG_VARIABLE: str(self.oracle.path),
        }
        self.processes: list[Process] = []

    def close(self) -> None:
        self.stack.close()

    # Processes

    def redis(self, name: str, *, keep: bool = False) -> Redis:
        process, url = embedded_redis(self.directory / name, keep=keep)
        self.stack.callback(process.kill)
        return Redis(process, url)

    def use(self, service: str, celery: str) -> None:
        """Set the addresses of the service's Redis and of Celery's, also for this process."""
        addresses = {
            "REDIS_URL": service,
            "CELERY_BROKER_URL": celery,
            "CELERY_RESULT_BACKEND": celery,
        }
        self.env |= addresses
        os.environ.update(self.env)
        import django

        django.setup()
        # Only now: they read the settings.
        from project.celery import app

        from . import tasks
        from .clients import Fleet

        app.set_default()
        self.app: Any = app
        self.tasks: Any = tasks
        self.fleet = Fleet()
        self.stack.callback(self.fleet.close)

    def worker(
        self,
        *,
        concurrency: int = 2,
        queue: str = "celery",
        settings: dict[str, Any] | None = None,
        **env: str,
    ) -> Process:
        """Start a prefork worker of a queue, with settings of its own; return it ready."""
        node = f"worker-{queue}-{uuid.uuid4().hex[:6]}@faults"
        command = [*self.worker_command(node, concurrency), "--queues", queue]
        full = self.env | env | {"FAULTS_SETTINGS": json.dumps(settings or {})}
        process = Process(f"worker of {queue}", command, env=full)
        self.stack.callback(process.kill)
        process.start()
        broker = full["CELERY_BROKER_URL"]
        process.wait_ready(lambda: worker_answers(node, broker))
        return process

    def worker_command(self, node: str, concurrency: int) -> list[str]:
        return worker_command(node, concurrency)

    def web(self, *, settings: dict[str, Any] | None = None, **env: str) -> tuple[Process, str]:
        """Start a web process; return it, ready, and the address of its WebSocket."""
        port = free_port()
        full = self.env | env | {"PORT": str(port), "FAULTS_SETTINGS": json.dumps(settings or {})}
        process = Process("web", [sys.executable, "-m", "project.web"], env=full)
        self.stack.callback(process.kill)
        process.start()
        process.wait_ready(lambda: page_answers(HOST, port))
        return process, f"ws://{HOST}:{port}/realtime/ws/"

    # Rows

    def batch(self, size: int, url: str, **options: Any) -> Any:
        """Tasks to come, and the clients that watch them."""
        return batch(self, size, url, **options)

    def stored(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the result backend says of these tasks."""
        backend = self.app.backend
        found = backend.mget([backend.get_key_for_task(task_id) for task_id in ids])
        return {
            task_id: json.loads(text)
            for task_id, text in zip(ids, found, strict=True)
            if text is not None
        }


class Batch:
    """Some tasks, with their ids known before, and the clients that watch them."""

    def __init__(self, stage: Stage, size: int, watchers: list[Any], owner: str) -> None:
        self.stage = stage
        self.ids: list[str] = []
        self.size = size
        self.watchers = watchers
        self.owner = owner
        self.queue = "celery"
        self.verdict = Verdict()

    def send(self, task: Any, *args: Any, **options: Any) -> str:
        """Publish the next task."""
        from realtime.ownership import owner_from

        task_id = self.all_ids[len(self.ids)]
        self.ids.append(task_id)
        options.setdefault("queue", self.queue)
        with owner_from(lambda: self.owner):
            if isinstance(task, str):
                self.stage.app.send_task(task, args, task_id=task_id, **options)
            else:
                task.apply_async(args, task_id=task_id, **options)
        return task_id

    all_ids: list[str]

    def wait(self, condition: Callable[[], bool], within: float, what: str = "") -> bool:
        """Wait, reading the log; return whether it came true."""

        def look() -> bool:
            self.stage.oracle.look()
            return condition()

        return until(look, within)

    def ended(self) -> bool:
        """Whether every task that was sent has ended, as far as the oracle knows."""
        truths = self.stage.oracle.truths
        return all(task_id in truths for task_id in self.ids)

    def told(self) -> bool:
        """Whether every client stands at the true ending of each of its tasks."""
        truths = self.stage.oracle.truths
        return all(
            watcher.latest.get(task_id, {}).get("state") == truths[task_id].state
            for watcher in self.watchers
            for task_id in watcher.watches
            if task_id in self.sent
        )

    @property
    def sent(self) -> set[str]:
        return set(self.ids)

    def settle(
        self,
        *,
        run: float = 60.0,
        tell: float = 2 * PROMISE,
        may_stall: Sequence[str] = (),
        unlike_backend: Sequence[str] = (),
    ) -> Verdict:
        """Wait for the endings and for their callbacks, listen on for a moment, and judge.

        What is in `unlike_backend` is known to be told otherwise than the result backend says.
        """
        self.wait(self.ended, run)
        self.wait(self.told, tell)
        time.sleep(SETTLE)  # for what must not come
        truths = {k: v for k, v in self.stage.oracle.truths.items() if k in self.sent}
        clients = {
            watcher.name: (
                [task_id for task_id in watcher.watches if task_id in self.sent],
                list(watcher.callbacks),
            )
            for watcher in self.watchers
        }
        verdict = judge(truths, clients, may_stall=may_stall)
        verdict.tasks = len(self.ids)
        for watcher in self.watchers:
            for violation in watcher.violations:
                verdict.wrong += 1
                verdict.findings.append(f"contract {violation}")
        stored = self.stage.stored([one for one in self.ids if one not in set(unlike_backend)])
        for task_id, meta in stored.items():
            if task_id in truths and meta["status"] != truths[task_id].state:
                verdict.wrong += 1
                verdict.findings.append(
                    f"backend task={task_id} says {meta['status']}, {truths[task_id]}"
                )
        self.verdict = verdict
        return verdict

    def recovered_after(self, moment: float) -> float:
        """Seconds from `moment` until all that had ended by then was told to everybody."""
        truths = self.stage.oracle.truths
        callbacks = [
            callback.at
            for watcher in self.watchers
            for callback in watcher.callbacks
            if callback.task in truths
            and truths[callback.task].at <= moment
            and callback.state == truths[callback.task].state
        ]
        return max(0.0, max(callbacks, default=moment) - moment)

    def callbacks(self, task_id: str) -> Iterator[Any]:
        """What the clients were told of a task."""
        for watcher in self.watchers:
            yield from (callback for callback in watcher.callbacks if callback.task == task_id)


@contextmanager
def batch(stage: Stage, size: int, url: str, *, owner_too: bool = True) -> Iterator[Batch]:
    """Let clients subscribe to tasks that nobody has published yet.

    There is a connection for each 40 tasks and, with `owner_too`, one for all tasks of their owner.
    """
    from .clients import TOPICS, Watcher

    ids = [str(uuid.UUID(int=stage.rng.getrandbits(128), version=4)) for _ in range(size)]
    owner = f"visitor-{stage.rng.getrandbits(64):x}"
    watchers: list[Any] = []
    for number, start in enumerate(range(0, size, TOPICS)):
        mine = ids[start : start + TOPICS]
        watcher = Watcher(f"client-{number}", url, [f"task:{i}" for i in mine], stage.rng)
        watcher.watches = mine
        watchers.append(watcher)
    # A topic of many tasks holds the newest 1,000.
    if owner_too and size <= 1000:
        watcher = Watcher("owner", url, [f"user:{owner}"], stage.rng)
        watcher.watches = ids
        watchers.append(watcher)
    end = stage.fleet.start(watchers)
    try:
        if not until(lambda: all(w.standing == len(w.feeds) for w in watchers), 30):
            raise RuntimeError("the clients could not subscribe")
        made = Batch(stage, size, watchers, owner)
        made.all_ids = ids
        yield made
    finally:
        end()
