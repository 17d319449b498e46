"""A worker's lease: while a worker renews it, the worker and its tasks count as alive.

The worker's own process (MAIN) renews the lease in a thread, since its loop may be busy. The
children are forked after the lease is made, and name it when a run starts. In a pool without
children (solo, threads, gevent, eventlet) the process that runs the tasks renews it. A worker that
restarts has another lease, even under the same node name.
"""

from __future__ import annotations

import secrets
import threading
from typing import Any, Final

from realtime.core.logs import get_logger
from realtime.store import get_store

logger = get_logger("realtime.leases")

#: Seconds until a lease expires, and seconds between two renewals.
LEASE: Final = 6.0
RENEWAL: Final = 1.5


class Lease:
    """The lease of this process' worker. Without a worker its name is empty."""

    def __init__(self) -> None:
        self.name = ""
        self._ended = threading.Event()
        self._renewed = True

    def begin(self, hostname: str) -> None:
        """Make a lease, and renew it until it is ended."""
        self._ended.set()  # of a worker that was embedded in this process before
        ended = self._ended = threading.Event()
        name = self.name = f"{hostname}/{secrets.token_urlsafe(6)}"
        self._renew(name)  # before the first child is forked, so before the first task
        keep = threading.Thread(
            target=self._keep, args=(name, ended), name="realtime-lease", daemon=True
        )
        keep.start()

    def end(self) -> None:
        """End the lease: tasks that still run here will not be finished."""
        self._ended.set()
        self._delete(self.name)

    def _keep(self, name: str, ended: threading.Event) -> None:
        while not ended.wait(RENEWAL):
            self._renew(name)
        # A renewal may have come after the deletion in end().
        self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            get_store().end_lease(name)
        except Exception:  # noqa: BLE001 - the lease expires anyway
            logger.info("lease_not_ended name=%s", name)

    def _renew(self, name: str) -> None:
        try:
            get_store().renew_lease(name, LEASE)
        except Exception as error:  # noqa: BLE001 - without this thread every task would be STALLED
            if self._renewed:
                logger.warning("lease_not_renewed name=%s error=%r", name, error)
            self._renewed = False
        else:
            self._renewed = True


#: The lease of this process.
lease: Final = Lease()


def on_worker_init(sender: Any = None, **_kwargs: Any) -> None:
    """Make the lease. Called in MAIN."""
    lease.begin(getattr(sender, "hostname", None) or "worker")


def on_worker_shutdown(**_kwargs: Any) -> None:
    """End the lease. Called in MAIN."""
    lease.end()
