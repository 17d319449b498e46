"""Finding, in the result backend, how tasks ended whose ending nobody announced.

A key-value store is asked by id about every task that waits or runs, in pages. A database is asked
by id about what runs, and for all that it stored since the last search: to name 100,000 tasks that
wait would cost it more. See docs/guarantees.md for what that costs, and for its limits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.logs import get_logger
from realtime.core.states import FAILURE, PENDING, RECEIVED, RETRY, REVOKED, SUCCESS
from realtime.results import PAGE, Ending, ended_since, is_searchable, stored_endings
from realtime.store import get_store
from realtime.store.base import Running, Waiting

logger = get_logger("realtime.endings")

#: How far back beyond the last search a database is searched: what was committed late, and what a
#: worker stored whose clock is behind the web process's.
OVERLAP: Final = timedelta(minutes=5)
#: Waiting tasks whose records are read in one search, those not read for longest first. Of a
#: database they are asked for by id, in case that OVERLAP was too short.
_ROTATION: Final = PAGE
#: Endings of a database that are remembered as judged; beyond, they are judged again.
_JUDGED: Final = 200_000


class Endings:
    """What one process has searched so far."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        #: When the last search of a database began; None before the first one.
        self._since: datetime | None = None
        #: When the endings were stored that were judged within OVERLAP, by task id.
        self._judged: dict[str, datetime | None] = {}

    def search(self, running: Sequence[Running]) -> None:
        """Accept the endings that are stored of tasks that wait or run.

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
        for start in range(0, len(task_ids), PAGE):
            began = time.monotonic()
            self._judge(stored_endings(task_ids[start : start + PAGE]), runs)
            # A web process has other things to do: leave it half of the time.
            time.sleep(time.monotonic() - began)
            if self._stopped.is_set():
                return

    def _search_since(self, since: datetime, runs: Mapping[str, Running]) -> None:
        self._judged = {
            task_id: at for task_id, at in self._judged.items() if at is not None and at >= since
        }
        for page in ended_since(since):
            new = {at.task_id: at.stored_at for at in page if not self._is_judged(*at)}
            unfinished = [task.task_id for task in get_store().unfinished(list(new))]
            self._search_ids(unfinished, runs)
            if len(self._judged) < _JUDGED:
                self._judged |= new
            if self._stopped.is_set():
                return

    def _is_judged(self, task_id: str, stored_at: datetime | None) -> bool:
        return task_id in self._judged and self._judged[task_id] == stored_at

    def _judge(self, endings: Mapping[str, Ending], runs: Mapping[str, Running]) -> None:
        """Accept those of the endings that are the tasks' own."""
        if not endings:
            return
        for task in get_store().unfinished(list(endings)):
            ending, run = endings[task.task_id], runs.get(task.task_id)
            if not ending.is_of(task.task_id, again=task.again, published_at=task.published_at):
                continue
            begun = task.state not in (PENDING, RECEIVED, RETRY)
            # A failure that is stored may be an earlier run's, unless there was none.
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
            logger.info("found task=%s state=%s", task.task_id, ending.state)
            if run is not None and ending.state in (FAILURE, REVOKED):
                end_dependents(run, ending.state, ending.fields)


def end_dependents(run: Running, state: str, fields: Mapping[str, str]) -> None:
    """Accept that what waits for a run never runs."""
    for task_id, name in run.dependents:
        named = {"name": jsontext.encode_text(name)} if name else {}
        change = Change(
            task_id=task_id, state=state, publication=run.publication, fields={**fields, **named}
        )
        if get_store().accept(change):
            logger.info("found task=%s state=%s waits_for=%s", task_id, state, run.task_id)
