"""The tasks that the canvases of test_shapes.py are made of; imported by their worker."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import chain, chord, group, shared_task
from celery.exceptions import Ignore


@shared_task
def ok(*_values: Any) -> int:
    return 1


@shared_task
def mul(x: int, y: int) -> int:
    return x * y


@shared_task
def fail(*_values: Any) -> None:
    raise ValueError("no luck")


@shared_task(bind=True, max_retries=1)
def flaky(self: Any) -> int:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return 1


@shared_task
def ign() -> None:
    raise Ignore


@shared_task
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def slow(s: float) -> None:
    time.sleep(s)


@shared_task(bind=True)
def repl(self: Any, kind: str) -> Any:
    new = {
        "task": lambda: ok.si(),
        "chain": lambda: chain(ok.si(), ok.si()),
        "group": lambda: group(ok.si(), ok.si()),
        "chord": lambda: chord([ok.si(), ok.si()], ok.si()),
        "chaingroup": lambda: chain(ok.si(), group(ok.si(), ok.si())),
    }[kind]()
    return self.replace(new)


@shared_task
def spawn(*_values: Any) -> None:
    ok.delay()
    group(ok.si(), ok.si()).delay()
    chain(ok.si(), ok.si()).delay()


@shared_task
def direct() -> None:
    spawn()


@shared_task
def apply_in() -> None:
    spawn.apply()


@shared_task
def cb(*_values: Any) -> None:
    pass


@shared_task
def eb1(task_id: str) -> None:
    pass


@shared_task
def eb3(request: Any, exception: Any, traceback: Any) -> None:
    pass


@shared_task
def publish(shape: str) -> None:
    """Publish one of the canvases from inside a task."""
    from tests.field.test_shapes import SHAPES

    SHAPES[shape][0]()
