"""One run of a task, in the process that runs it: what it says, and in which order."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, cast

from celery import current_task

from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.acceptance import Change
from realtime.core.states import CUSTOM_RANK, SUCCESS, rank

from .leases import lease
from .publisher import Sent, publisher

_ATTRIBUTE = "realtime_run"


class Run:
    """What the running process remembers about one run, on the task's request."""

    def __init__(
        self, request: Any, identity: Mapping[str, str], owner: str, patience: int = 0
    ) -> None:
        self.token = secrets.token_urlsafe(9)
        self.request = request
        self.identity = identity
        self.owner = owner
        #: Whether the run's last word is said: its ending, its retry, or its replacement.
        self.finished = False
        #: The exception that ``Task.retry(exc=…)`` was given.
        self.retry_reason: BaseException | None = None
        self._patience = patience
        #: The last word of this run that had to announce it.
        self._said: Sent | None = None
        self._counter = 0
        self._sent_at = float("-inf")
        self._sent_state = ""
        self._held: tuple[str, dict[str, str]] | None = None

    def say(self, state: str, fields: Mapping[str, str]) -> None:
        """Publish that this run is now in ``state``."""
        self._release()
        self._publish(state, fields)

    def finish(self, state: str, fields: Mapping[str, str]) -> None:
        """Publish this run's last word, unless it was said before."""
        if not self.finished:
            self.say(state, fields)
            self.finished = True  # only now: a time limit may strike before it is said

    def report(self, state: str, progress: str, *, final: bool = False) -> None:
        """Publish a custom state with its progress, at most ``PROGRESS_RATE`` times a second.

        What came too early is held: the next one replaces it, and it is sent before the ending.
        """
        fields = {"progress": progress, "updated_at": jsontext.timestamp()}
        now = time.monotonic()
        early = now - self._sent_at < 1 / conf().PROGRESS_RATE
        if early and state == self._sent_state and not final:
            self._held = state, fields
            return
        self._held = None
        self._sent_at, self._sent_state = now, state
        self._publish(state, fields)

    def _release(self) -> None:
        if self._held is not None:
            state, fields = self._held
            self._held = None
            self._publish(state, fields)

    def _publish(self, state: str, fields: Mapping[str, str]) -> None:
        counter = None
        if rank(state) == CUSTOM_RANK:
            self._counter += 1
            counter = self._counter
        # Until the broker has seen a word of this run, each one may be the first that arrives.
        publisher.settle()
        begins = self._said is None or not self._said.seen
        sent = publisher.send(
            Change(
                task_id=self.request.id,
                state=state,
                attempt=self.request.retries,
                token=self.token,
                begins=begins,
                counter=counter,
                stored=state == SUCCESS,  # Celery stores a result before it says so
                owner=self.owner,
                worker=lease.name if begins else "",
                patience=self._patience if begins else 0,
                fields={**self.identity, **fields} if begins else fields,
            )
        )
        if begins:
            self._said = sent


def remember(run: Run) -> None:
    """Attach a run to its request, where every receiver of the same run finds it."""
    setattr(run.request, _ATTRIBUTE, run)


def run_of(request: Any) -> Run | None:
    """Return the run of a request; None in a process that does not run it."""
    return getattr(request, _ATTRIBUTE, None)


def current_run() -> Run | None:
    """Return the run that this code is part of; None outside of a task."""
    # Asked once, where the proxy would ask twice.
    task = cast(Any, current_task)._get_current_object()  # noqa: SLF001
    return run_of(task.request) if task else None
