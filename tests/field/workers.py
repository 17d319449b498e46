"""A worker for the tests of tasks and canvases: prefork, with a Redis of its own, and no server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from project.processes import Process
from project.redis_server import embedded_redis
from project.run import worker_answers, worker_command
from realtime.core.topics import Topic
from realtime.store import get_store
from tests.conftest import READY, using_redis


@dataclass
class Workers:
    """A Redis for which workers can be started."""

    redis_url: str
    env: dict[str, str]
    stack: ExitStack
    started: list[Process] = field(default_factory=list)

    def start(
        self,
        concurrency: int = 2,
        *,
        loglevel: str = "INFO",
        pool: str = "prefork",
        options: Sequence[str] = (),
        **env: str,
    ) -> Process:
        node = f"worker{len(self.started)}@field"
        command = [*worker_command(node, concurrency), *options]
        command[command.index("--pool") + 1] = pool
        command[command.index("--loglevel") + 1] = loglevel
        worker = Process(node, command, env=self.env | env)
        self.stack.callback(worker.kill)
        worker.start()
        worker.wait_ready(lambda: worker_answers(node, self.redis_url), timeout=READY)
        self.started.append(worker)
        return worker


@contextmanager
def workers(folders: pytest.TempPathFactory, **settings: Any) -> Iterator[Workers]:
    """A Redis of its own, which Django's settings and the Celery app here use too."""
    with ExitStack() as stack:
        server, url = embedded_redis(folders.mktemp("redis"), keep=False)
        stack.callback(server.stop)
        stack.enter_context(using_redis(url))
        env = {
            **os.environ,
            "DATA_DIR": str(folders.mktemp("service")),
            "REDIS_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "CELERY_IMPORTS": "tests.sample_tasks,tests.field.pushed_tasks,tests.field.odd_tasks",
            "REALTIME": json.dumps(settings),
        }
        yield Workers(url, env, stack)


def owner_of(task_id: str) -> str | None:
    """Whose task it is."""

    async def ask() -> str | None:
        store = get_store()
        try:
            owned = await store.ownership(task_id)
            return None if owned is None else owned.owner
        finally:
            await store.close()

    found: str | None = async_to_sync(ask)()
    return found


def is_in(task_id: str, state: str) -> Callable[[], bool]:
    """A condition for `until`: the task is in this state."""

    def there() -> bool:
        status = get_store().status(task_id)
        return status is not None and status.state == state

    return there


def tasks_of(owner: str) -> set[str]:
    """The ids of an owner's tasks."""
    return {status.task_id for status in get_store().statuses(Topic("user", owner))}
