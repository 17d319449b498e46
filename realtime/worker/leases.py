"""A worker's lease: while it is renewed, the worker counts as alive, and so do its tasks.

The process that consumes (MAIN) renews the lease from a thread, since its own loop may be busy.
The children are forked after the lease was made, and name it when a run starts. A pool without
children (solo, threads, gevent, eventlet) renews it from the process that runs the tasks. A worker
that starts again has another lease, under the same name too.
"""

from __future__ import annotations

import secrets
import threading
from typing import Any, Final

from realtime.core.logs import get_logger
from realtime.store import get_store

logger = get_logger("realtime.leases")

#: Seconds that a lease lasts, and between two renewals.
LEASE: Final = 6.0
RENEWAL: Final = 1.5


class Lease:
    """The lease of this process's worker; without a worker it has no name."""

    def __init__(self) -> None:
        self.name = ""
        self._ended = threading.Event()
        self._renewed = True

    def begin(self, hostname: str) -> None:
        """Make a lease, and renew it until it is ended."""
        self._ended.set()  # a worker that was embedded here before
        ended = self._ended = threading.Event()
        name = self.name = f"{hostname}/{secrets.token_urlsafe(6)}"
        self._renew(name)  # before the first child is forked, and so before the first task
        keep = threading.Thread(
            target=self._keep, args=(name, ended), name="realtime-lease", daemon=True
        )
        keep.start()

    def end(self) -> None:
        """End the lease: what still runs here will not be finished."""
        self._ended.set()
        self._delete(self.name)

    def _keep(self, name: str, ended: threading.Event) -> None:
        while not ended.wait(RENEWAL):
            self._renew(name)
        # It may have been renewed while it was ended.
        self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            get_store().end_lease(name)
        except Exception:  # noqa: BLE001 - the worker ends in any case, and so does the lease
            logger.info("lease_not_ended name=%s", name)

    def _renew(self, name: str) -> None:
        try:
            get_store().renew_lease(name, LEASE)
        except Exception as error:  # noqa: BLE001 - a thread that ends would let every task stall
            if self._renewed:
                logger.warning("lease_not_renewed name=%s error=%r", name, error)
            self._renewed = False
        else:
            self._renewed = True


#: The process's own.
lease: Final = Lease()


def on_worker_init(sender: Any = None, **_kwargs: Any) -> None:
    """Make the lease, in MAIN."""
    lease.begin(getattr(sender, "hostname", None) or "worker")


def on_worker_shutdown(**_kwargs: Any) -> None:
    """End the lease, in MAIN."""
    lease.end()
