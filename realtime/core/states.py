"""The states of a task, and their order within one attempt."""

from __future__ import annotations

from typing import Final

PENDING: Final = "PENDING"  #: published, waiting for a worker
RECEIVED: Final = "RECEIVED"  #: received by a worker
STARTED: Final = "STARTED"  #: running
PROGRESS: Final = "PROGRESS"  #: running, with progress
RETRY: Final = "RETRY"  #: failed, will run again
STALLED: Final = "STALLED"  #: the worker that ran it does not answer
SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
REVOKED: Final = "REVOKED"  #: cancelled or expired
LOST: Final = "LOST"  #: the worker is gone and no worker will run the task again

TERMINAL: Final = frozenset({SUCCESS, FAILURE, REVOKED, LOST})

#: The order of the states within one attempt. Celery's own precedence (celery/states.py) ranks by
#: how final a state is; here a rank is a stage of an attempt. STALLED has no rank: the reconciler
#: publishes it, and the run's next change ends it.
CUSTOM_RANK: Final = 3
TERMINAL_RANK: Final = 9
_RANKS: Final = {
    PENDING: 0,
    RECEIVED: 1,
    STARTED: 2,
    RETRY: 5,
    SUCCESS: TERMINAL_RANK,
    FAILURE: TERMINAL_RANK,
    REVOKED: TERMINAL_RANK,
    LOST: TERMINAL_RANK,
}


def rank(state: str) -> int:
    """Return the state's order within an attempt. Unknown names are states of a running task."""
    return _RANKS.get(state, CUSTOM_RANK)


def is_mergeable(state: str) -> bool:
    """Return whether a newer status may replace this one for a slow client."""
    return state not in TERMINAL and state not in (STARTED, RETRY)
