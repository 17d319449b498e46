"""A soft time limit in a method of a user's object, whose exceptions the service handles."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from billiard import pool
from billiard.exceptions import SoftTimeLimitExceeded
from celery.utils.dispatch import Signal

from realtime import ownership
from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.interruption import interrupts_task
from realtime.core.logs import get_logger
from realtime.results import redaction
from realtime.worker import time_limits
from realtime.worker.publisher import Publisher
from realtime.worker.runs import Run


class Interrupted:
    """An object whose methods all raise the soft time limit."""

    def _raise(self, *_: Any) -> Any:
        raise SoftTimeLimitExceeded

    __str__ = __repr__ = __float__ = __iter__ = __len__ = __hash__ = __eq__ = _raise

    def __getattr__(self, name: str) -> Any:
        raise SoftTimeLimitExceeded


def raise_time_limit(*_: Any) -> Any:
    raise SoftTimeLimitExceeded


class InterruptedMapping(dict[str, int]):
    """A mapping that raises the soft time limit when it is encoded."""

    def items(self) -> Any:
        raise SoftTimeLimitExceeded


def log() -> None:
    """Describe an object for a log line."""
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", (Interrupted(),), None)
    get_logger("realtime.worker").filter(record)


def find_owner() -> None:
    with ownership.owner_from(raise_time_limit):
        ownership.current_owner()


@pytest.mark.parametrize(
    "call",
    [
        lambda: jsontext.encode_result(InterruptedMapping(a=1)),
        lambda: jsontext.plain_text(Interrupted()),
        lambda: jsontext.encode_progress(Interrupted(), None, None, jsontext.NULL),
        lambda: redaction.encode_progress(1, 2, Interrupted()),
        lambda: redaction.encode_result(InterruptedMapping(a=1)),
        lambda: redaction.encode_error(Interrupted()),
        lambda: Publisher().publish(Change(task_id=Interrupted(), state="PENDING")),  # type: ignore[arg-type]
        log,
        find_owner,
    ],
)
def test_the_soft_time_limit_reaches_the_task(call: Callable[[], Any]) -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        call()


def test_a_limit_is_raised_again_only_outside_of_the_receiver_that_missed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Celery logs each exception of a receiver and continues: a limit raised there is lost."""
    monkeypatch.setattr(time_limits, "is_active", lambda run: True)
    before = signal.signal(pool.SIG_SOFT_TIMEOUT, pool.soft_timeout_sighandler)
    steps = []

    def receiver(**_: Any) -> None:
        time_limits.repeat_soft_timeout(cast(Run, object()))
        time.sleep(0.1)  # many times the delay
        steps.append("end of the receiver")

    published = Signal()
    published.connect(receiver, weak=False)

    def run_task() -> None:
        published.send(None)
        steps.append("published")
        time.sleep(60)  # the limit ends it

    try:
        with pytest.raises(SoftTimeLimitExceeded):
            run_task()
    finally:
        signal.signal(pool.SIG_SOFT_TIMEOUT, before)
    assert steps == ["end of the receiver", "published"]


def test_another_error_of_an_object_does_not_reach_the_task() -> None:
    assert not interrupts_task(ValueError())
    assert interrupts_task(SystemExit())
