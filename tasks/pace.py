"""Slows a task down, so that a user can watch it."""

import time

LONGEST = 2.0  #: seconds a step


def pause(seconds: float) -> None:
    """Wait for `seconds`, at most `LONGEST`; 0 does not wait."""
    if seconds > 0:
        time.sleep(min(seconds, LONGEST))
