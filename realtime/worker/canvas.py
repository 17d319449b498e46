"""Publish a whole group or chord: its messages share one publication, and few calls to Redis.

Celery has no signal for "everything is published", so ``group.apply_async`` and
``chord.apply_async`` are wrapped, each once. The signatures are not changed: freezing a caller's
canvas would give the same ids to its next call.

If publishing a chord raises midway, its body never runs, since Celery stores a chord's size with
its last message. The FAILURE of the body is published here.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final

from celery.canvas import chord, group

from realtime.core.change import Change, Dependent
from realtime.core.states import FAILURE
from realtime.results import redaction

from .messages import dependents_of, header_text, never_run
from .publisher import publisher
from .selection import is_pushed

#: Changes that are sent together, and seconds that the first of them may wait for the others.
_MAX_BATCH: Final = 50
_MAX_WAIT: Final = 0.1

_MARK: Final = "realtime_wrapped"


class _Canvas:
    """The state of the outermost ``apply_async`` while it publishes."""

    def __init__(self) -> None:
        self.publication = secrets.token_urlsafe(9)
        self.owner: str | None = None
        self.announced: set[str] = set()
        #: The dependents of the last message.
        self.last_dependents: tuple[Dependent, ...] = ()
        self._changes: list[Change] = []
        self._since = 0.0
        #: For each chord that is being published, the outermost first: the bodies in its messages,
        #: by id, with the header of the message.
        self._chords: list[dict[str, tuple[Any, Mapping[str, Any]]]] = []

    def add_body(self, body: Any, header: Mapping[str, Any]) -> None:
        task_id = _options(body).get("task_id") if self._chords else None
        if task_id:
            self._chords[-1].setdefault(str(task_id), (body, header))

    @contextmanager
    def chord(self) -> Iterator[None]:
        """Publish a chord inside; if that raises, publish that its body fails."""
        self._chords.append({})
        try:
            yield
        except BaseException as error:
            self._fail_bodies(error)
            raise
        else:
            # The chord that this one is a member of has a body that waits for this one's body.
            for body, header in self._chords.pop().values():
                self.add_body(_options(body).get("chord"), header)

    def _fail_bodies(self, reason: BaseException) -> None:
        error = redaction.encode_failure(reason)
        for body, header in self._chords.pop().values():
            publication = header_text(header, "publication")
            for task_id, name in dependents_of(None, body, publication):
                if not is_pushed(name):
                    continue
                self._changes.append(never_run(task_id, name, FAILURE, error, header))

    def announce(self, changes: Sequence[Change]) -> None:
        now = time.monotonic()
        if not self._changes:
            self._since = now
        self._changes += changes
        if len(self._changes) >= _MAX_BATCH or now - self._since > _MAX_WAIT:
            self.send()

    def send(self) -> None:
        changes, self._changes = self._changes, []
        if changes:
            publisher.send_all(changes)


def _options(signature: Any) -> Mapping[str, Any]:
    options = signature.get("options") if isinstance(signature, Mapping) else None
    return options if isinstance(options, Mapping) else {}


_current: Final[ContextVar[_Canvas | None]] = ContextVar("realtime_canvas", default=None)


def connect() -> None:
    """Wrap the methods that publish a canvas. Calling it again changes nothing."""
    for kind in (group, chord):
        original = kind.apply_async
        if not hasattr(original, _MARK):
            wrapper = _wrapped(original, is_chord=kind is chord)
            setattr(wrapper, _MARK, True)
            kind.apply_async = wrapper  # type: ignore[method-assign]


def _wrapped(original: Callable[..., Any], *, is_chord: bool) -> Callable[..., Any]:
    @functools.wraps(original)
    def apply_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _outermost() as canvas, canvas.chord() if is_chord else nullcontext():
            return original(self, *args, **kwargs)

    return apply_async


@contextmanager
def _outermost() -> Iterator[_Canvas]:
    """Yield the canvas that is being published; the outermost call sends the remaining changes."""
    canvas = _current.get()
    if canvas is not None:
        yield canvas
        return
    canvas = _Canvas()
    token = _current.set(canvas)
    try:
        yield canvas
    finally:
        _current.reset(token)
        canvas.send()
        publisher.read_replies()


def publication() -> str:
    """Return the publication that the messages of the current canvas share; "" without a canvas."""
    canvas = _current.get()
    return canvas.publication if canvas is not None else ""


def add_body(chain: Any, chord: Any, header: Mapping[str, Any]) -> None:
    """Remember the chord body in a message with this rest of a chain (reversed) and this chord."""
    canvas = _current.get()
    if canvas is not None:
        canvas.add_body(_options(chain[0]).get("chord") if chain else chord, header)


def owner(resolve: Callable[[], str]) -> str:
    """Return the owner of the current canvas, resolved once; without a canvas resolve it now."""
    canvas = _current.get()
    if canvas is None:
        return resolve()
    if canvas.owner is None:
        canvas.owner = resolve()
    return canvas.owner


def unannounced(dependents: tuple[Dependent, ...]) -> tuple[Dependent, ...]:
    """Return the tasks that no earlier message of the current canvas has carried."""
    canvas = _current.get()
    if canvas is None:
        return dependents
    if dependents is canvas.last_dependents:
        return ()
    canvas.last_dependents = dependents
    new = tuple(each for each in dependents if each.task_id not in canvas.announced)
    canvas.announced.update(each.task_id for each in new)
    return new


def announce(changes: Sequence[Change]) -> None:
    """Publish PENDING of tasks: at once, or together with others of the current canvas."""
    canvas = _current.get()
    if canvas is not None:
        canvas.announce(changes)
    elif len(changes) == 1:
        publisher.publish(changes[0])
    elif changes:
        publisher.send_all(changes)
        publisher.read_replies()
