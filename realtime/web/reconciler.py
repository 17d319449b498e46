"""Ending what nobody ended: endings that nobody announced, and tasks whose worker is gone.

A thread in each web process; of all the processes on one store, one leads. Every change that it
makes is judged as any other, so a wrong guess is overruled by the run. docs/guarantees.md says what
can keep a task in each state, and after how long the reconciler ends it.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from realtime.conf import conf
from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.logs import get_logger
from realtime.core.states import LOST, STALLED, STARTED
from realtime.core.status import ending
from realtime.store import get_store
from realtime.store.base import Running

from .endings import Endings, end_dependents

logger = get_logger("realtime.reconciler")

#: Intervals without a sign of the leader after which another process leads.
_LEADS: Final = 3
#: Seconds after which a lease that was missing is looked for again, before it is believed: after
#: Redis was away every lease is missing for a moment.
_SECOND_LOOK: Final = 3.0
#: Seconds that a look waits for the search of the result backend. A longer one goes on beside it.
_SEARCH: Final = 2.0
_LOST_ERROR: Final = '{"type":"WorkerLostError","message":"the worker that ran it is gone"}'
_DEPENDENT_ERROR: Final = (
    '{"type":"WorkerLostError","message":"the worker that ran what it waits for is gone"}'
)
#: Programs that serve ASGI applications, and those that have commands which do.
_SERVERS: Final = frozenset({"daphne", "uvicorn", "hypercorn", "granian"})
_MANAGERS: Final = frozenset({"manage", "django-admin", "django"})
_COMMANDS: Final = frozenset({"runserver", "serve"})


class Reconciler:
    """One process's candidate for ending what nobody ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()
        # A fork has neither its parent's threads nor a use for its locks.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._name = secrets.token_urlsafe(9)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._endings = Endings(self._stopped)
        self._searching = _Background("realtime-endings")
        #: The runs that were stalled when a search began that is complete.
        self._searched: frozenset[tuple[str, str]] = frozenset()
        self._leads = False

    def start(self) -> None:
        """Begin, in a thread of this process; doing it again changes nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="realtime-reconciler")
                self._thread.daemon = True
                self._thread.start()

    def start_if_served(self, scope: Mapping[str, Any]) -> None:
        """Begin where a server, and no test's client, made the scope of a connection."""
        if self._thread is None:
            _, port = scope.get("server") or ("", "")  # none from Channels' communicators
            # A number, or None for a Unix socket (ASGI). Django's test client has a text.
            if scope["type"] == "lifespan" or not isinstance(port, str):
                self.start()

    def start_in_server(self) -> None:
        """Begin where this process is a server of ASGI applications.

        In ``manage.py`` commands, workers and tests nothing begins unless they ask for it.
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
                leads = get_store().elect(self._name, _LEADS * conf().RECONCILE_INTERVAL)
                if leads and not self._leads:
                    logger.info("leads pid=%d", os.getpid())
                self._leads = leads
                if leads:
                    self.look()
            except Exception as error:  # noqa: BLE001 - the thread outlives what it asks
                logger.warning("look_failed error=%r", error)

    def _wait(self) -> bool:
        try:
            interval = conf().RECONCILE_INTERVAL
        except Exception:  # noqa: BLE001 - settings that are wrong are another's to report
            interval = 5.0
        return self._stopped.wait(interval)

    def look(self) -> None:
        """Look once at everything that has not ended.

        Raises what the store raises.
        """
        self._searching.call(self._search, min(conf().RECONCILE_INTERVAL, _SEARCH))
        self._judge(get_store().running(received=False))

    def _search(self) -> None:
        running = get_store().running(received=False)
        self._endings.search(running)
        self._searched = frozenset(_key(run) for run in running if run.state == STALLED)

    def _judge(self, running: Sequence[Running]) -> None:
        """Compare what runs with the leases of its workers."""
        missing = set()
        for run in running:
            if run.alive and run.state == STALLED:
                self._accept(run, STARTED)  # or RECEIVED, where no run has begun
            elif not run.alive and run.state != STALLED:
                missing.add(_key(run))
            elif not run.alive and run.seconds >= self._patience(run):
                fields = ending()
                if self._accept(run, LOST, fields | {"error": _LOST_ERROR}):
                    end_dependents(run, LOST, fields | {"error": _DEPENDENT_ERROR})
        if missing and not self._stopped.wait(_SECOND_LOOK):
            for run in get_store().running(received=False):
                if _key(run) in missing and not run.alive and run.state != STALLED:
                    self._accept(run, STALLED)

    def _patience(self, run: Running) -> float:
        """Return the seconds that a stalled run has until it is lost.

        Its result may be stored, so the result backend answers first. One that does not answer
        puts the end off, and not for ever.
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
            logger.info("found task=%s state=%s run=%d", run.task_id, state, run.run)
        return accepted


def _key(run: Running) -> tuple[str, str]:
    return run.task_id, run.run_id


class _Background:
    """Calls functions in a thread of its own, one at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle = threading.Event()
        self._idle.set()
        self._called = threading.Event()
        self._function: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._failed = self._late = False

    def call(self, function: Callable[[], None], seconds: float) -> None:
        """Call a function, and wait for it for so long; leave it out while one still runs."""
        if not self._idle.is_set():
            if not self._late:  # once for each search
                logger.warning("search_runs_long name=%s", self._name)
            self._late = True
            return
        self._late = False
        self._idle.clear()
        self._function = function
        self._called.set()
        if self._thread is None:  # once: a thread has its own connections to a backend
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
                if not self._failed:  # and again only after a search that did not
                    logger.warning("search_failed error=%r", error)
                self._failed = True
            finally:
                self._idle.set()


#: The process's own.
reconciler: Final = Reconciler()
