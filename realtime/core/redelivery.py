"""When Celery's broker delivers a message again that no worker acknowledged.

A broker on Redis does not notice that a worker is gone. Kombu puts a message back once it is
overdue, and workers search for overdue messages at intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Redelivery(NamedTuple):
    """Celery's ``broker_transport_options``, with Kombu's defaults.

    The defaults are those of the class ``Channel`` in kombu/transport/redis.py.
    """

    visibility_timeout: int = 3600  #: seconds until an unacknowledged message is overdue
    unacked_restore_interval: int = 10  #: seconds between two rounds of a worker's timer
    unacked_restore_throttle: int = 10  #: rounds from one search to the next

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Redelivery:
        """Read the setting; what it does not set has Kombu's default."""
        given = {key: options[key] for key in cls._fields if options.get(key) is not None}
        return cls(**{key: int(value) for key, value in given.items()})

    @property
    def search_interval(self) -> int:
        """Seconds between two searches for overdue messages."""
        return self.unacked_restore_interval * self.unacked_restore_throttle

    @property
    def timeout(self) -> int:
        """Seconds after which an unacknowledged message has been delivered again."""
        return self.visibility_timeout + self.search_interval
