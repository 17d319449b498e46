"""Print what the service adds to publishing a large canvas: `python -m tests.field.canvas_figures`.

Both ways take turns in one process, on one embedded Redis that is Celery's broker and result
backend too. "Without" is Celery as it is: signals without receivers, and methods without wrappers.
On a busy machine compare the processor's time, which does not count how long others had it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROUNDS = 5


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    from project.redis_server import embedded_redis

    with tempfile.TemporaryDirectory() as folder:
        server, url = embedded_redis(Path(folder), keep=False)
        try:
            os.environ["REDIS_URL"] = url
            os.environ["DATA_DIR"] = folder
            import django

            django.setup()
            _measure()
        finally:
            server.stop()


def _measure() -> None:
    from celery import chord, group

    from realtime.ownership import owner_from
    from tests import sample_tasks

    shapes: dict[str, Callable[[], Any]] = {
        "a group of 1,000": lambda: group(sample_tasks.add.s(n, n) for n in range(1000)),
        "a chord of 2,000, its body a group of 50": lambda: chord(
            [sample_tasks.add.s(n, n) for n in range(2000)],
            group(sample_tasks.echo.s() for _ in range(50)),
        ),
    }
    for name, shape in shapes.items():
        taken: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for _ in range(ROUNDS):
            for bare, pairs in taken.items():
                canvas = shape()
                with _bare(bare), owner_from(lambda: "1"):
                    began = time.perf_counter(), time.process_time()
                    canvas.apply_async()
                    ended = time.perf_counter(), time.process_time()
                pairs.append((ended[0] - began[0], ended[1] - began[1]))
        for which, clock in enumerate(("by the clock", "of the processor")):
            without, with_ = ([pair[which] for pair in pairs] for pairs in taken.values())
            ratio = statistics.median(b / a for a, b in zip(without, with_, strict=True))
            print(
                f"{name}, {clock}: {statistics.median(without):.2f} s without, "
                f"{statistics.median(with_):.2f} s with, {ratio:.2f} times"
            )


@contextmanager
def _bare(applies: bool) -> Iterator[None]:
    """Leave Celery alone for a while."""
    from celery import chord, group, signals

    from realtime.worker import publishing
    from realtime.worker import signals as ours

    if not applies:
        yield
        return
    both = (
        (signals.before_task_publish, publishing.on_before_publish),
        (signals.after_task_publish, publishing.on_after_publish),
    )
    for each, receiver in both:
        each.disconnect(dispatch_uid=f"realtime.{receiver.__name__}")
    wrapped = {kind: kind.apply_async for kind in (group, chord)}
    for kind, method in wrapped.items():
        kind.apply_async = method.__wrapped__
    try:
        yield
    finally:
        for kind, method in wrapped.items():
            kind.apply_async = method
        ours.connect()


if __name__ == "__main__":
    main()
