"""Tasks that report in every way that ordinary projects do; imported by the field workers."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import celery
from celery import group, shared_task

from realtime import set_progress, this_task, track
from tests.sample_tasks import add
from tests.until import until


def wait_for(path: str) -> None:
    """Wait for a file without calling anything of the service."""
    for _ in range(6000):
        if Path(path).exists():
            return
        time.sleep(0.01)
    raise TimeoutError("nobody released it")


class PlainTask(celery.Task):  # type: ignore[type-arg]
    """A project's own class, without code of the service."""

    abstract = True


# Progress


@shared_task
def train(path: str) -> None:
    set_progress(1, 3, message="reading")
    set_progress(2, 3, message="training")
    wait_for(path)


@shared_task
def compute(path: str) -> None:
    """Report, then compute in Python until the file is there."""
    set_progress(1, 3, message="reading")
    set_progress(2, 3, message="computing")
    number = 0
    while number % 1_000_000 or not Path(path).exists():
        number += 1


@shared_task
def slow_last_row(path: str) -> None:
    for row in track(range(50)):
        if row == 49:
            wait_for(path)


@shared_task(bind=True)
def train_the_old_way(self: Any, task_id: str, path: str) -> None:
    for step in range(1, 4):
        self.update_state(task_id=task_id, state="PROGRESS", meta={"current": step, "total": 3})
    wait_for(path)


@shared_task(soft_time_limit=1)
def over_the_limit() -> str:
    try:
        while True:
            set_progress(time.monotonic(), message="on")
    except celery.exceptions.SoftTimeLimitExceeded:
        set_progress(1, 1, message="stopped")
        return "stopped"


@shared_task
def count_often(rows: int) -> None:
    for _ in range(rows):
        set_progress(7, 7)


@shared_task(bind=True)
def alternate(self: Any, rows: int) -> None:
    for row in range(rows):
        self.update_state(state=("READING", "WRITING")[row % 2], meta={"current": row})


@shared_task(bind=True, base=PlainTask)
def update_with_own_class(self: Any) -> None:
    self.update_state(state="PACKING", meta={"current": 1, "total": 2})


@shared_task(bind=True)
def say_only(self: Any, meta: Any) -> None:
    self.update_state(state="PROGRESS", meta=meta)


class Step(enum.StrEnum):
    UPLOADING = "UPLOADING"


@shared_task(bind=True)
def name_states_oddly(self: Any) -> None:
    self.update_state(state=Step.UPLOADING, meta={"current": 1})
    self.update_state(state="with spaces", meta={"current": 2})
    self.update_state(state=b"bytes".decode() + "\n", meta={"current": 3})


class Hostile:
    """Raises in every operation."""

    def __init__(self, rows: int) -> None:
        self.rows = iter(range(rows))

    def __len__(self) -> int:
        raise TypeError("object of type 'generator' has no len()")

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __iter__(self) -> Any:
        return self.rows

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


class Endless(Hostile):
    def __len__(self) -> int:
        return 2**80


class Negative(Hostile):
    def __len__(self) -> int:
        return -1


@shared_task
def touch_hostile_objects() -> int:
    done = sum(1 for kind in (Hostile, Endless, Negative) for _ in track(kind(3)))
    set_progress(Hostile(1), Hostile(1), message=Hostile(1))  # type: ignore[arg-type]
    return done


# Foreign updates


@shared_task(bind=True)
def update_parent(self: Any, parent: str, number: int) -> None:
    self.update_state(task_id=parent, state="PROGRESS", meta={"current": number, "total": 100})


@shared_task
def continue_after_children(path: str) -> None:
    set_progress(1, 100, message="before")
    wait_for(path)
    set_progress(50, 100, message="after")
    wait_for(f"{path}-end")


# Threads


@shared_task
def report_from_threads(way: str) -> str:
    """Report progress and start a task in another thread; return the started task's id."""
    task = this_task()

    def work() -> str:
        set_progress(5, 10, message=way)
        return str(add.delay(1, 1).id)

    def work_with_handle() -> str:
        task.set_progress(5, 10, message=way)
        with task:
            return str(add.delay(1, 1).id)

    if way == "to_thread":
        return asyncio.run(asyncio.to_thread(work))  # type: ignore[no-any-return]
    with ThreadPoolExecutor(1) as pool:
        if way == "context":
            return pool.submit(contextvars.copy_context().run, work).result()
        return pool.submit(work if way == "plain" else work_with_handle).result()


# Tasks inside of tasks


@shared_task
def report_and_start(message: str) -> str:
    set_progress(5, 10, message=message)
    return str(add.delay(1, 1).id)


@shared_task(bind=True, base=PlainTask)
def update_and_start(self: Any, message: str) -> str:
    self.update_state(state="PROGRESS", meta={"current": 5, "total": 10, "message": message})
    return str(add.delay(1, 1).id)


@shared_task
def call_another(way: str) -> str:
    if way == "function":
        child = report_and_start(way)
    elif way == "apply":
        child = report_and_start.apply((way,)).result
    else:
        child = update_and_start.apply((way,)).result
    set_progress(10, 10, message="own")
    return str(child)


# Shutdowns


@shared_task(acks_late=True)
def hold_late(path: str) -> None:
    """Run until the file is there; acknowledged at the end."""
    wait_for(path)


# Failures


class TwoArgumentsError(Exception):
    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} failed with {code}")


class UnpickleableError(Exception):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lock = threading.Lock()


class DerivedError(ValueError):
    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} failed with {code}")


class Outer:
    class InnerError(Exception):
        pass


def _local() -> Exception:
    class LocalError(Exception):
        pass

    return LocalError("of a function")


def failures() -> dict[str, Exception]:
    noted = ValueError("with a note")
    noted.add_note("the note")
    return {
        "two arguments": TwoArgumentsError("copy", 3),
        "unpickleable": UnpickleableError("held", 5),
        "unpickleable, one argument": UnpickleableError("held"),
        "derived": DerivedError("copy", 3),
        "nested": Outer.InnerError("inside"),
        "local": _local(),
        "key": KeyError("missing"),
        "system": FileNotFoundError(2, "No such file or directory", "f.csv"),
        "many lines": ValueError("first\nsecond"),
        "no text": ValueError(),
        "noted": noted,
    }


def _note_retry(self: Any, _exc: Any, task_id: str, *_rest: Any) -> None:
    self.backend.client.set(f"retried-{task_id}", 1, ex=600)


@shared_task(bind=True, max_retries=1, on_retry=_note_retry)
def fail_in_a_way(self: Any, way: str) -> None:
    """Retry once for the failure, then fail with it."""
    if self.request.retries == 0:
        raise self.retry(exc=failures()[way], countdown=0)
    # Celery stores RETRY after it has published the next attempt, which must not end before.
    assert until(lambda: self.backend.client.get(f"retried-{self.request.id}"))
    try:
        raise OSError("the cause")
    except OSError as error:
        raise failures()[way] from error


# Owners, publications and tasks that are left out


@shared_task(realtime=False)
def quiet(value: Any = None) -> Any:
    return value


@shared_task(realtime=False)
def quiet_parent() -> str:
    return str(add.delay(1, 1).id)


@shared_task(bind=True)
def run_under_own_id(self: Any, path: str = "") -> str:
    if path:
        wait_for(path)
    return str(self.request.id)


@shared_task(bind=True)
def become(self: Any, way: str) -> Any:
    """Be replaced by another task, or by a canvas."""
    new = {
        "task": lambda: add.si(20, 22),
        "chain": lambda: add.si(20, 20) | add.s(2),
        "group": lambda: group(add.si(20, 1), add.si(20, 2)),
        "chord": lambda: group(add.si(20, 1), add.si(20, 1)) | total.s(),
    }[way]()
    return self.replace(new)


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def note_error(task_id: str) -> str:
    """An error callback that is a task of its own."""
    return task_id


@shared_task(time_limit=1)
def killed_by_its_limit() -> None:
    time.sleep(60)
