"""The receivers of Celery's signals, by the signal that each is connected to.

They are in three modules, by the process that they run in: publishing.py has those of any process
that publishes a task, consuming.py those of the worker's own process (MAIN), and running.py those
of the process that runs the task (the child). In a pool without children MAIN is also the child.

Celery refers to receivers weakly, so they are module-level functions. Each accepts ``**kwargs``,
since signals gain arguments. Which signal is sent when, and by which process, is in
celery/app/trace.py, celery/worker/request.py and celery/worker/consumer/consumer.py.
"""

from __future__ import annotations

from typing import Any, Final

from celery import signals

from . import canvas, task
from .consuming import on_received, on_revoked, on_unknown
from .leases import on_worker_init, on_worker_shutdown
from .publisher import publisher
from .publishing import on_after_publish, on_before_publish
from .running import on_failure, on_postrun, on_retry, on_started, on_success
from .runs import release_reports

#: Seconds that an ending process waits until its last changes are sent.
_FLUSH_TIMEOUT: Final = 1.0


def connect() -> None:
    """Connect every receiver and wrapper. Calling it again changes nothing."""
    for each, receiver in _RECEIVERS:
        each.connect(receiver, weak=False, dispatch_uid=f"realtime.{receiver.__name__}")
    canvas.connect()
    task.connect()


def flush(**_kwargs: Any) -> None:
    """Send the last changes of an ending process, for a limited time."""
    release_reports()
    publisher.flush(_FLUSH_TIMEOUT)


_RECEIVERS: Final = (
    (signals.before_task_publish, on_before_publish),
    (signals.after_task_publish, on_after_publish),
    (signals.task_received, on_received),
    (signals.task_unknown, on_unknown),
    (signals.task_revoked, on_revoked),
    (signals.task_prerun, on_started),
    (signals.task_success, on_success),
    (signals.task_failure, on_failure),
    (signals.task_retry, on_retry),
    (signals.task_postrun, on_postrun),
    (signals.worker_init, on_worker_init),
    (signals.worker_shutdown, on_worker_shutdown),
    (signals.worker_process_shutdown, flush),
    (signals.worker_shutdown, flush),
)
