"""The exceptions of the service: one tree, with data in attributes and a remedy in the text."""

from __future__ import annotations


class RealtimeError(Exception):
    """The base class of all exceptions of the service."""


class SettingsError(RealtimeError):
    """A mistake in the setting ``REALTIME``; ``key`` names the entry."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class TaskNotFound(RealtimeError):
    """Nobody published this ``task_id``, or its record has expired."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {task_id!r} is known: a wrong id, or one whose record expired")
        self.task_id = task_id


class WaitTimeout(RealtimeError, TimeoutError):
    """The task did not end in time; ``status`` is its newest status, or None."""

    def __init__(self, task_id: str, timeout: float, status: object) -> None:
        state = getattr(status, "state", "unknown")
        super().__init__(f"task {task_id!r} did not end within {timeout:g} s: it is {state}")
        self.task_id = task_id
        self.timeout = timeout
        self.status = status


class FrameError(RealtimeError):
    """A client's frame violates the protocol; ``frame_id`` is its id, None where it had none."""

    def __init__(self, message: str, *, frame_id: int | None = None) -> None:
        super().__init__(message)
        self.frame_id = frame_id


class TokenError(RealtimeError):
    """A token is forged, expired or for another topic."""
