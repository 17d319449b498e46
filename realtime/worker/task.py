"""The service's ``Task`` class: existing code that reports the Celery way is pushed unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import celery

from realtime import redaction
from realtime.core import jsontext
from realtime.core.acceptance import Change
from realtime.core.states import CUSTOM_RANK, FAILURE, PROGRESS, SUCCESS, TERMINAL, rank
from realtime.core.status import ending

from .publisher import publisher
from .runs import run_of

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Task(celery.Task):  # type: ignore[type-arg]
    """``Celery("name", task_cls="realtime.worker.task:Task")`` makes every task one of these."""

    abstract = True

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **kwargs: Any,
    ) -> None:
        """Store the state in the result backend, as Celery does, and push it.

        A mapping's ``current``, ``total`` and ``message`` (or ``status``, ``description``) become
        the progress.
        """
        super().update_state(task_id=task_id, state=state, meta=meta, **kwargs)
        if state:
            self._push(task_id, state, meta if isinstance(meta, Mapping) else {})

    def retry(
        self, args: Any = None, kwargs: Any = None, exc: Any = None, *rest: Any, **options: Any
    ) -> Any:
        """Retry the task, and remember why: the signals come too late to say it in order."""
        run = run_of(self.request)
        if run is not None:
            run.retry_reason = exc
        return super().retry(args, kwargs, exc, *rest, **options)

    def _push(self, task_id: str | None, state: str, meta: Mapping[str, Any]) -> None:
        if not _NAME.fullmatch(state):
            state = PROGRESS
        run = run_of(self.request) if task_id in (None, self.request.id) else None
        if rank(state) == CUSTOM_RANK:
            message = meta.get("message") or meta.get("status") or meta.get("description")
            progress = redaction.encode_progress(meta.get("current"), meta.get("total"), message)
            if run is not None and not run.finished:
                final = meta.get("total") is not None and meta.get("current") == meta["total"]
                run.report(state, progress, final=final)
                return
            fields = {"progress": progress}
        else:
            fields = _outcome(state, meta)
        fields["updated_at"] = jsontext.timestamp()
        if run is not None:
            if not run.finished:
                run.say(state, fields)
        elif named := task_id or self.request.id:
            publisher.publish(Change(task_id=named, state=state, fields=fields))


def _outcome(state: str, meta: Mapping[str, Any]) -> dict[str, str]:
    fields = ending() if state in TERMINAL else {}
    if state == SUCCESS:
        fields |= redaction.result_fields(dict(meta))
    elif state == FAILURE:
        name, message = meta.get("exc_type", FAILURE), meta.get("exc_message", "")
        fields["error"] = redaction.encode_told_error(name, message)
    return fields
