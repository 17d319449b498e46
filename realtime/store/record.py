"""What the store in memory keeps."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field

from realtime.conf import conf
from realtime.core.change import Accepted, Dependent


@dataclass(slots=True)
class Record:
    """What is kept of one task."""

    kept: Accepted
    owner: str | None = None
    #: When it changed hands.
    owner_since: float = 0.0
    redelivery_timeout: int = 0
    dependents: tuple[Dependent, ...] = ()
    #: When it began to run, or to wait, or stalled.
    since: float = 0.0
    version: int = 0
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether it is not only what remains of a task that was forgotten."""
        return bool(self.kept.state)


@dataclass(slots=True)
class Log:
    """What is kept of one topic."""

    epoch: str
    offset: int = 0
    digest: int = 0
    texts: deque[str] = field(default_factory=lambda: deque(maxlen=conf().MAX_HISTORY_EVENTS))
    #: The topic's tasks and the offsets at which they came, oldest first.
    tasks: dict[str, int] = field(default_factory=dict)

    def restart(self) -> None:
        """Go on in a new epoch, so that whoever watches the topic reads it again."""
        self.epoch = new_epoch()
        self.texts.clear()


def new_epoch() -> str:
    """Return a name that no other count of a topic has."""
    return secrets.token_urlsafe(6)
