"""Finding the endings that nobody announced, and the runs whose worker is gone.

A thread in the web process; of all the processes on one store, one leads. It changes nothing by
itself: what it finds is judged like every other word, so a wrong guess is overruled by the run.
"""

from __future__ import annotations

import secrets
import threading
from typing import Final

from realtime.broker import get_broker
from realtime.broker.base import Running
from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.acceptance import Change
from realtime.core.logs import get_logger
from realtime.core.states import LOST, STALLED, STARTED, SUCCESS
from realtime.results import stored_endings

logger = get_logger("realtime.reconciler")

#: Waiting tasks that are asked for in one look.
_WAITING: Final = 1000
#: Seconds after which a lease that was missing is looked for again, before it is believed: after
#: Redis was away every lease is missing for a moment.
_SECOND_LOOK: Final = 3.0
_LOST_ERROR: Final = '{"type":"WorkerLostError","message":"the worker that ran it is gone"}'


class Reconciler:
    """One process's candidate for looking after what has not ended."""

    def __init__(self) -> None:
        self._name = secrets.token_urlsafe(9)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, in a thread; doing it again changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="realtime-reconciler")
            self._thread.daemon = True
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(conf().RECONCILE_INTERVAL):
            try:
                if get_broker().lead(self._name, 3 * conf().RECONCILE_INTERVAL):
                    self.look()
            except Exception as error:  # noqa: BLE001 - the thread outlives what it asks
                logger.warning("look_failed error=%r", error)

    def look(self) -> None:
        """Look once at everything that has not ended.

        Raises what the store and the result backend raise.
        """
        broker = get_broker()
        running, waiting = broker.running(), broker.waiting(_WAITING)
        endings = stored_endings([*(run.task_id for run in running), *waiting])
        for task_id in waiting:
            if task_id in endings:
                state, fields, _ = endings[task_id]
                broker.accept(Change(task_id=task_id, state=state, stored=True, fields=fields))
        rest = []
        for run in running:
            state, fields, _ = endings.get(run.task_id) or ("", {}, None)
            # A failure that is stored may be an earlier run's, unless there was none.
            if state == SUCCESS or (state and (run.run == 1 or not run.alive)):
                self._say(run, state, fields, stored=True)
            else:
                rest.append(run)
        self._judge(rest)

    def _judge(self, running: list[Running]) -> None:
        """Compare running tasks with the leases of their workers."""
        missing = set()
        for run in running:
            if run.alive and run.state == STALLED:
                self._say(run, STARTED, {"updated_at": jsontext.timestamp()})
            elif not run.alive and run.state != STALLED:
                missing.add(run.token)
            elif not run.alive and run.seconds >= run.patience:
                now = jsontext.timestamp()
                ended = {"error": _LOST_ERROR, "finished_at": now, "updated_at": now}
                self._say(run, LOST, ended | {"cancelling": "false"})
        if missing and not self._stopped.wait(_SECOND_LOOK):
            for run in get_broker().running():
                if run.token in missing and not run.alive:
                    self._say(run, STALLED, {"updated_at": jsontext.timestamp()})

    def _say(
        self, run: Running, state: str, fields: dict[str, str], *, stored: bool = False
    ) -> None:
        change = Change(
            task_id=run.task_id, state=state, token=run.token, stored=stored, fields=fields
        )
        if get_broker().accept(change):
            logger.info("found task=%s state=%s run=%d", run.task_id, state, run.run)


#: The process's own.
reconciler: Final = Reconciler()
