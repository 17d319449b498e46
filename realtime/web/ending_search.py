"""Search the result backend for the endings of tasks whose ending nobody published.

A key-value store is queried by id for every task that waits or runs, in pages. A database is
queried by id for the tasks that run, and for all rows that it stored since the last search: naming
100,000 waiting tasks would cost it more. docs/guarantees.md has the costs and the limits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.chunks import chunks
from realtime.core.logs import get_logger
from realtime.core.states import FAILURE, PENDING, RECEIVED, RETRY, REVOKED, SUCCESS
from realtime.results import PAGE, Ending, ended_since, is_searchable, stored_endings
from realtime.store import get_store
from realtime.store.reading import Running, Waiting

logger = get_logger("realtime.endings")

#: How far a search of a database reaches back beyond the last one: for rows that were committed
#: late, and for workers whose clock is behind the web process's.
OVERLAP: Final = timedelta(minutes=5)
#: Waiting tasks whose records are read in one search, the longest unread first. A database is
#: queried for them by id too, in case OVERLAP was too short.
_ROTATION: Final = PAGE
#: Endings of a database that are remembered as checked; any more are checked again.
_MAX_CHECKED: Final = 200_000


class EndingSearch:
    """The searches of one process: each continues from the last one."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        #: When the last complete search began; None before the first one.
        self._since: datetime | None = None
        #: When each ending was stored that was checked within OVERLAP, by task id.
        self._checked: dict[str, datetime | None] = {}

    def run(self, running: Sequence[Running]) -> None:
        """Accept the stored endings of tasks that wait or run.

        Raises what the store and the result backend raise.
        """
        store, runs = get_store(), {run.task_id: run for run in running}
        rotation = [task.task_id for task in store.waiting(_ROTATION)]
        began = datetime.now(UTC)
        if self._since is None or not is_searchable():
            self._search_ids([*store.running_ids(), *store.waiting_ids()], runs)
        else:
            self._search_ids([*runs, *rotation], runs)
            self._search_since(self._since - OVERLAP, runs)
        self._since = began

    def _search_ids(self, task_ids: Sequence[str], runs: Mapping[str, Running]) -> None:
        for some in chunks(task_ids, PAGE):
            began = time.monotonic()
            self._check(stored_endings(some), runs)
            # Leave half of the time to the other threads of the web process.
            time.sleep(time.monotonic() - began)
            if self._stopped.is_set():
                return

    def _search_since(self, since: datetime, runs: Mapping[str, Running]) -> None:
        self._checked = {
            task_id: at for task_id, at in self._checked.items() if at is not None and at >= since
        }
        for page in ended_since(since):
            new = {row.task_id: row.stored_at for row in page if not self._is_checked(*row)}
            unfinished = [task.task_id for task in get_store().unfinished(list(new))]
            self._search_ids(unfinished, runs)
            if len(self._checked) < _MAX_CHECKED:
                self._checked |= new
            if self._stopped.is_set():
                return

    def _is_checked(self, task_id: str, stored_at: datetime | None) -> bool:
        return task_id in self._checked and self._checked[task_id] == stored_at

    def _check(self, endings: Mapping[str, Ending], runs: Mapping[str, Running]) -> None:
        """Accept those endings that belong to the tasks' present publications."""
        if not endings:
            return
        for task in get_store().unfinished(list(endings)):
            ending, run = endings[task.task_id], runs.get(task.task_id)
            if not ending.belongs_to(
                task.task_id, again=task.republished, published_at=task.published_at
            ):
                continue
            begun = task.state not in (PENDING, RECEIVED, RETRY)
            # A stored failure may be an earlier run's, unless there was no earlier run.
            if not begun or ending.state == SUCCESS or (run and (run.run == 1 or not run.alive)):
                self._accept(task, ending, run if begun else None)

    def _accept(self, task: Waiting, ending: Ending, run: Running | None = None) -> None:
        run_id = run.run_id if run else ""
        change = Change(
            task_id=task.task_id,
            state=ending.state,
            run_id=run_id,
            publication=task.publication,
            stored=True,
            fields=ending.fields,
        )
        if get_store().accept(change):
            logger.info("ending_found task=%s state=%s", task.task_id, ending.state)
            if run is not None and ending.state in (FAILURE, REVOKED):
                end_dependents(run, ending.state, ending.fields)


def end_dependents(run: Running, state: str, fields: Mapping[str, str]) -> None:
    """Accept that the tasks which wait for a run will never run."""
    for task_id, name in run.dependents:
        named = {"name": jsontext.encode_text(name)} if name else {}
        change = Change(
            task_id=task_id, state=state, publication=run.publication, fields={**fields, **named}
        )
        if get_store().accept(change):
            logger.info("ending_found task=%s state=%s waits_for=%s", task_id, state, run.task_id)
