"""A worker's lease: while it is renewed, the worker and what it runs are taken to be alive.

The process that consumes (MAIN) renews it from a thread, since its own loop may be busy; the
children, forked after it was made, name it when they say STARTED. A worker that starts again is
another one.
"""

from __future__ import annotations

import secrets
import threading
from typing import Any, Final

from redis.exceptions import RedisError

from realtime.broker import get_broker
from realtime.core.logs import get_logger

logger = get_logger("realtime.leases")

#: Seconds that a lease lasts, and between two renewals.
LEASE: Final = 6.0
RENEWAL: Final = 1.5


class Lease:
    """The lease of this process's worker; without a worker it has no name."""

    def __init__(self) -> None:
        self.name = ""
        self._ended = threading.Event()

    def begin(self, hostname: str) -> None:
        """Take the lease, and renew it until it is ended."""
        self.name = f"{hostname}/{secrets.token_urlsafe(6)}"
        self._ended.clear()
        self._renew()  # before the first child is forked, and so before the first task
        threading.Thread(target=self._keep, name="realtime-lease", daemon=True).start()

    def end(self) -> None:
        """Give the lease up: what still runs here will not be finished."""
        self._ended.set()
        try:
            get_broker().end_lease(self.name)
        except (RedisError, OSError):
            logger.info("lease_not_ended name=%s", self.name)  # it runs out by itself

    def _keep(self) -> None:
        while not self._ended.wait(RENEWAL):
            self._renew()

    def _renew(self) -> None:
        try:
            get_broker().renew_lease(self.name, LEASE)
        except (RedisError, OSError) as error:
            logger.debug("lease_not_renewed name=%s error=%r", self.name, error)


#: The process's own.
lease: Final = Lease()


def on_worker_init(sender: Any = None, **_kwargs: Any) -> None:
    """Take the lease, in MAIN."""
    lease.begin(getattr(sender, "hostname", None) or "worker")


def on_worker_shutdown(**_kwargs: Any) -> None:
    """Give the lease up, in MAIN."""
    lease.end()
