"""Publishing a whole group or chord: its messages share one publication, and few calls to Redis.

Celery has no hook for "everything is published", so ``group.apply_async`` and
``chord.apply_async`` are wrapped, each once. The signatures are left as they are: freezing a
caller's canvas would give the same ids to its next call.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final

from celery.canvas import chord, group

from realtime.core.acceptance import Change, Follower

from .publisher import publisher

#: Changes that are sent in one go, and seconds that the first of them may wait for the others.
_BATCH: Final = 50
_WAIT: Final = 0.1

_MARK: Final = "realtime_wrapped"


class _Canvas:
    """What is known while the outermost ``apply_async`` publishes."""

    def __init__(self) -> None:
        self.publication = secrets.token_urlsafe(9)
        self.owner: str | None = None
        self.announced: set[str] = set()
        #: By the last message.
        self.carried: tuple[Follower, ...] = ()
        self._changes: list[Change] = []
        self._since = 0.0

    def announce(self, changes: Sequence[Change]) -> None:
        now = time.monotonic()
        if not self._changes:
            self._since = now
        self._changes += changes
        if len(self._changes) >= _BATCH or now - self._since > _WAIT:
            self.send()

    def send(self) -> None:
        changes, self._changes = self._changes, []
        if changes:
            publisher.send_all(changes)


_current: Final[ContextVar[_Canvas | None]] = ContextVar("realtime_canvas", default=None)


def connect() -> None:
    """Wrap what publishes a canvas. Doing it again changes nothing."""
    for kind in (group, chord):
        original = kind.apply_async
        if not hasattr(original, _MARK):
            wrapper = _wrapped(original)
            setattr(wrapper, _MARK, True)
            kind.apply_async = wrapper  # type: ignore[method-assign]


def _wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def apply_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _current.get() is not None:
            return original(self, *args, **kwargs)
        canvas = _Canvas()
        token = _current.set(canvas)
        try:
            return original(self, *args, **kwargs)
        finally:
            _current.reset(token)
            canvas.send()
            publisher.settle()

    return apply_async


def publication() -> str:
    """Return the publication that the messages of the current canvas share; "" without one."""
    canvas = _current.get()
    return canvas.publication if canvas is not None else ""


def owner(resolve: Callable[[], str]) -> str:
    """Return the owner of the current canvas, which is resolved once."""
    canvas = _current.get()
    if canvas is None:
        return resolve()
    if canvas.owner is None:
        canvas.owner = resolve()
    return canvas.owner


def not_yet_announced(followers: tuple[Follower, ...]) -> tuple[Follower, ...]:
    """Return the tasks that no earlier message of the current canvas carried."""
    canvas = _current.get()
    if canvas is None:
        return followers
    if followers is canvas.carried:
        return ()
    canvas.carried = followers
    new = tuple(each for each in followers if each.task_id not in canvas.announced)
    canvas.announced.update(each.task_id for each in new)
    return new


def announce(changes: Sequence[Change]) -> None:
    """Publish that tasks wait: at once, or with others of the current canvas."""
    canvas = _current.get()
    if canvas is not None:
        canvas.announce(changes)
    elif len(changes) == 1:
        publisher.publish(changes[0])
    elif changes:
        publisher.send_all(changes)
        publisher.settle()
