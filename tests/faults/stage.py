"""Where one family of faults happens: real processes, an oracle, and clients."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import traceback
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from project.processes import Process, free_port
from project.redis_server import answers, embedded_redis
from project.run import page_answers, web_command, worker_answers, worker_command
from tests.client.watcher import LoopThread, Watcher

from .oracle import LOG_VARIABLE, Oracle

HOST = "127.0.0.1"


def require(condition: object, otherwise: str) -> None:
    """Stop where the measurement itself went wrong."""
    if not condition:
        raise RuntimeError(otherwise)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def end_run(folder: str, task_id: str, run: int) -> None:
    """Let a run of the task `work_until_ended` end."""
    Path(folder, f"{task_id}.{run}").touch()


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
        #: What promised seconds and waits are multiplied by. The short form has many processes at
        #: once on a machine that may be small and busy. It requires nothing faster than a promise.
        self.slack = 1.0 if long else 3.0
        self.rng = random.Random(seed)
        self.stack = ExitStack()
        self.processes: list[Process] = []
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

        #: What is tested; the contrast has its own.
        self.celery_app = "project.celery:app"
        self.asgi_application = ""
        self.client: Any = Watcher
        self.is_contrast = False

    def close(self) -> None:
        self.stack.close()

    def print_failure(self) -> None:
        """Print the exception that is handled, after the logs that explain it."""
        for process in self.processes:
            print(f"--- {process.name}\n{process.log()[-800:]}", file=sys.stderr)
        traceback.print_exc()

    def folder(self) -> str:
        """A new folder, for the files by which tasks and the code of a fault communicate."""
        return tempfile.mkdtemp(dir=self.directory)

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
        # Only now: they read the settings.
        import django

        django.setup()
        module, name = self.celery_app.split(":")
        self.app: Any = getattr(import_module(module), name)
        self.app.set_default()

        from . import tasks

        self.tasks: Any = tasks
        self.fleet = LoopThread()
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
        node = f"worker-{uuid.uuid4().hex[:6]}@faults"
        command = [*worker_command(node, concurrency), "--queues", queue]
        command[command.index("project.celery:app")] = self.celery_app
        full = self.env | env | {"FAULTS_SETTINGS": json.dumps(settings or {})}
        process = Process(f"worker of {queue}", command, env=full)
        self.stack.callback(process.kill)
        self.processes.append(process)
        process.start()
        broker = full["CELERY_BROKER_URL"]
        process.wait_ready(lambda: worker_answers(node, broker))
        return process

    def web(
        self, *, settings: dict[str, Any] | None = None, module: str = "", **env: str
    ) -> tuple[Process, str]:
        """Start a web process, of a module of its own or the project's; return it, ready, and
        the address of its WebSocket.
        """
        port = free_port()
        full = self.env | env | {"PORT": str(port), "FAULTS_SETTINGS": json.dumps(settings or {})}
        command = [sys.executable, "-m", module] if module else web_command()
        if self.asgi_application:
            command = [sys.executable, "-m", "daphne", "-b", HOST, "-p", str(port)]
            command.append(self.asgi_application)
        process = Process("web", command, env=full)
        self.stack.callback(process.kill)
        self.processes.append(process)
        process.start()
        process.wait_ready(lambda: page_answers(HOST, port))
        path = "ws/" if self.asgi_application else "realtime/ws/"
        return process, f"ws://{HOST}:{port}/{path}"

    def stored(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The results of these tasks in the result backend."""
        ids, backend = list(ids), self.app.backend
        found = backend.mget([backend.get_key_for_task(task_id) for task_id in ids])
        return {
            task_id: json.loads(text)
            for task_id, text in zip(ids, found, strict=True)
            if text is not None
        }
