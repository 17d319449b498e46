"""The states of a task, and their order within one attempt."""

from __future__ import annotations

from typing import Final

PENDING: Final = "PENDING"  #: published, waiting for a worker
RECEIVED: Final = "RECEIVED"  #: a worker holds it in memory
STARTED: Final = "STARTED"  #: running
PROGRESS: Final = "PROGRESS"  #: running, and says how far
RETRY: Final = "RETRY"  #: failed, will run again
STALLED: Final = "STALLED"  #: the worker that ran it has stopped answering
SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
REVOKED: Final = "REVOKED"  #: cancelled or expired
LOST: Final = "LOST"  #: the worker is gone and nothing will run the task again

TERMINAL: Final = frozenset({SUCCESS, FAILURE, REVOKED, LOST})

#: Which word may follow which within one attempt. Celery's own precedence
#: (celery/states.py) ranks by how final a state is; here a rank is a moment in an attempt's life.
#: STALLED has none: it is said of a run from outside, and the run's next word lifts it.
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
    """Return the state's place in an attempt's life; any name Celery does not know is running."""
    return _RANKS.get(state, CUSTOM_RANK)


def is_mergeable(state: str) -> bool:
    """Return whether a slow reader may be spared this state once a newer one is known."""
    return state not in TERMINAL and state not in (STARTED, RETRY)
