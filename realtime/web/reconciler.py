"""Publish what nobody published: stored endings, and the loss of tasks whose worker is gone.

Each web process has a thread for this; of all processes on one store, the leader does the work.
The store treats its changes like all others, so a run that is alive after all overrules a wrong
guess. docs/guarantees.md explains what can keep a task in each state, and for how long.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.logs import get_logger
from realtime.core.states import LOST, STALLED, STARTED
from realtime.core.status import ending
from realtime.store import get_store
from realtime.store.reading import Running

from .ending_search import EndingSearch, end_dependents

logger = get_logger("realtime.reconciler")

#: Intervals without a renewal after which another process becomes the leader.
_LEADER_INTERVALS: Final = 3
#: Seconds after which a missing lease is checked once more: all leases are missing for a moment
#: after Redis was away.
_CONFIRM_AFTER: Final = 3.0
#: Seconds that a round waits for the search of the result backend, which then continues.
_SEARCH_TIMEOUT: Final = 2.0
_LOST_ERROR: Final = '{"type":"WorkerLostError","message":"the worker that ran it is gone"}'
_DEPENDENT_ERROR: Final = (
    '{"type":"WorkerLostError","message":"the worker that ran what it waits for is gone"}'
)
#: Programs that serve ASGI applications, programs with commands, and their commands that serve.
_SERVERS: Final = frozenset({"daphne", "uvicorn", "hypercorn", "granian"})
_MANAGERS: Final = frozenset({"manage", "django-admin", "django"})
_COMMANDS: Final = frozenset({"runserver", "serve"})


class Reconciler:
    """The reconciler of one process; it works while the process is the leader."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()
        # A fork has none of its parent's threads, and the parent's locks may be locked for ever.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._name = secrets.token_urlsafe(9)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._endings = EndingSearch(self._stopped)
        self._searching = _Background("realtime-endings")
        #: The runs that were stalled when the last complete search began.
        self._searched: frozenset[tuple[str, str]] = frozenset()
        self._leads = False

    def start(self) -> None:
        """Start the thread, if it does not run."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="realtime-reconciler")
                self._thread.daemon = True
                self._thread.start()

    def start_if_served(self, scope: Mapping[str, Any]) -> None:
        """Start if the scope of a connection was made by a server, not by a test client."""
        if self._thread is None:
            _, port = scope.get("server") or ("", "")  # Channels' communicators set none
            # A number, or None for a Unix socket (ASGI). Django's test client sets a text.
            if scope["type"] == "lifespan" or not isinstance(port, str):
                self.start()

    def start_in_server(self) -> None:
        """Start if this process is a server of ASGI applications.

        Other processes, such as ``manage.py`` commands, workers and tests, call :meth:`start`.
        """
        program = Path(sys.argv[0])
        name = program.parent.name if program.stem == "__main__" else program.stem
        command = sys.argv[1] if len(sys.argv) > 1 and name in _MANAGERS else ""
        if name in _SERVERS or command in _COMMANDS:
            self.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._wait():
            try:
                leads = get_store().elect(self._name, _LEADER_INTERVALS * conf().RECONCILE_INTERVAL)
                if leads and not self._leads:
                    logger.info("leads pid=%d", os.getpid())
                self._leads = leads
                if leads:
                    self.reconcile()
            except Exception as error:  # noqa: BLE001 - the thread must outlive any failure
                logger.warning("reconcile_failed error=%r", error)

    def _wait(self) -> bool:
        try:
            interval = conf().RECONCILE_INTERVAL
        except Exception:  # noqa: BLE001 - the system checks report wrong settings
            interval = 5.0
        return self._stopped.wait(interval)

    def reconcile(self) -> None:
        """Check once every task that has not ended. Raises what the store raises."""
        running = get_store().running(received=False)
        search = partial(self._search, running)
        self._searching.call(search, min(conf().RECONCILE_INTERVAL, _SEARCH_TIMEOUT))
        if any(run.state == STALLED for run in running):
            # The search may have taken seconds: a worker may be back.
            running = get_store().running(received=False)
        self._check_leases(running)

    def _search(self, running: Sequence[Running]) -> None:
        self._endings.run(running)
        self._searched = frozenset(_key(run) for run in running if run.state == STALLED)

    def _check_leases(self, running: Sequence[Running]) -> None:
        """Compare the runs with the leases of their workers."""
        missing = set()
        for run in running:
            if run.alive and run.state == STALLED:
                self._accept(run, STARTED)  # or RECEIVED, where no run has begun
            elif not run.alive and run.state != STALLED:
                missing.add(_key(run))
            elif not run.alive and run.seconds >= self._lost_after(run):
                fields = ending()
                if self._accept(run, LOST, fields | {"error": _LOST_ERROR}):
                    end_dependents(run, LOST, fields | {"error": _DEPENDENT_ERROR})
        if missing and not self._stopped.wait(_CONFIRM_AFTER):
            for run in get_store().running(received=False):
                if _key(run) in missing and not run.alive and run.state != STALLED:
                    self._accept(run, STALLED)

    def _lost_after(self, run: Running) -> float:
        """Return after how many seconds a stalled run is lost.

        Its result may be stored, so a search of the result backend comes first. A backend that
        does not answer delays the loss by LOST_TIMEOUT.
        """
        return run.redelivery_timeout + (0 if _key(run) in self._searched else conf().LOST_TIMEOUT)

    def _accept(self, run: Running, state: str, fields: Mapping[str, str] | None = None) -> bool:
        change = Change(
            task_id=run.task_id,
            state=state,
            run_id=run.run_id,
            publication=run.publication,
            fields=fields or {"updated_at": jsontext.timestamp()},
        )
        accepted = bool(get_store().accept(change))
        if accepted:
            logger.info("state_found task=%s state=%s run=%d", run.task_id, state, run.run)
        return accepted


def _key(run: Running) -> tuple[str, str]:
    return run.task_id, run.run_id


class _Background:
    """Calls functions in one thread, one at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle = threading.Event()
        self._idle.set()
        self._called = threading.Event()
        self._function: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._failed = self._late = False

    def call(self, function: Callable[[], None], seconds: float) -> None:
        """Call a function and wait for it so many seconds. Skip the call while one still runs."""
        if not self._idle.is_set():
            if not self._late:  # log it once per search
                logger.warning("search_late name=%s", self._name)
            self._late = True
            return
        self._late = False
        self._idle.clear()
        self._function = function
        self._called.set()
        if self._thread is None:  # kept: each thread opens connections to a backend
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._idle.wait(seconds)

    def _serve(self) -> None:
        while self._called.wait():
            self._called.clear()
            try:
                assert self._function is not None
                self._function()
                self._failed = False
            except Exception as error:  # noqa: BLE001 - each backend fails in its own way
                if not self._failed:  # log it again only after a search that succeeded
                    logger.warning("search_failed error=%r", error)
                self._failed = True
            finally:
                self._idle.set()


#: The process's reconciler.
reconciler: Final = Reconciler()
