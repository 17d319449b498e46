"""A circuit breaker for requests that call Redis but must not depend on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.core.signals import setting_changed

from realtime.core.logs import get_logger

T = TypeVar("T")
logger = get_logger("realtime.access")

#: Seconds without calls after one that failed.
PAUSE: Final = 10.0


class Breaker:
    """Skips calls for ``PAUSE`` seconds after one that failed. Only the failure is logged."""

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are skipped now."""
        return time.monotonic() < self._until

    def trip(self, call: str, error: BaseException | str) -> None:
        """Skip calls for ``PAUSE`` seconds from now."""
        if not self.is_open:
            logger.warning("%s_failed error=%r skipped_for=%g", call, error, PAUSE)
        self._until = time.monotonic() + PAUSE

    def reset(self) -> None:
        """Allow calls again."""
        self._until = 0.0

    def run(self, call: str, function: Callable[[], T], seconds: float) -> T | None:
        """Return what the function returns; None if it was skipped, failed, or took too long.

        A call that takes longer than ``seconds`` continues in its thread.
        """
        if self.is_open:
            return None
        results: list[T] = []

        def work() -> None:
            try:
                results.append(function())
            except Exception as error:  # noqa: BLE001 - each store fails in its own way
                self.trip(call, error)

        # No pool: its threads do not survive a fork, and would delay the exit of the process.
        thread = threading.Thread(target=work, name=f"realtime-{call}", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            self.trip(call, f"no answer within {seconds:g} s")
            return None
        return results[0] if results else None


#: The breakers of this process: for messages that a request sends, and for tasks that it moves or
#: removes. They are separate, so that a slow removal does not suppress the message of a sign-out.
layer_breaker: Final = Breaker()
store_breaker: Final = Breaker()


def _reset(*, setting: str, **_kwargs: object) -> None:
    if setting in ("REALTIME", "CHANNEL_LAYERS"):
        layer_breaker.reset()
        store_breaker.reset()


setting_changed.connect(_reset)
