"""Slow a task down, so that a user can watch it."""

import time

MAX_SECONDS = 2.0  #: of one pause


def pause(seconds: float) -> None:
    """Wait for `seconds`, at most `MAX_SECONDS`; 0 does not wait."""
    if seconds > 0:
        time.sleep(min(seconds, MAX_SECONDS))
