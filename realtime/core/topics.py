"""Topics: what a client subscribes to, and the group that carries each between processes."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple, Self

#: At most this many characters, in all.
TOPIC_LENGTH: Final = 100

TASK: Final = "task"
USER: Final = "user"
#: The user's own topic, by whatever id the service knows them.
ME: Final = "me"

_SHAPE = re.compile(r"(?P<kind>[a-z]+):(?P<ident>[A-Za-z0-9._-]+)", re.ASCII)
_IDENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_KINDS: Final = frozenset({TASK, USER})


class Topic(NamedTuple):
    """A topic's kind and what it is about: ``task:<id>``, ``user:<id>``."""

    kind: str
    ident: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.ident}"

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read a topic's text.

        Raises ValueError, with words for the client, where it is none.
        """
        if not isinstance(text, str):
            raise ValueError("topic must be a string")
        if len(text) > TOPIC_LENGTH:
            raise ValueError(f"topic is longer than {TOPIC_LENGTH} characters")
        match = _SHAPE.fullmatch(text)
        if match is None or match["kind"] not in _KINDS:
            raise ValueError("topic must be task:<id>, user:<id> or user:me")
        return cls(match["kind"], match["ident"])

    @property
    def holds_many(self) -> bool:
        """Whether the topic is about many tasks, so that its newest ones are kept in a list."""
        return self.kind != TASK


def is_task_id(text: str) -> bool:
    """Return whether a topic can name this task: every id that Celery makes is one."""
    return len(text) <= TOPIC_LENGTH - len("task:") and _IDENT.fullmatch(text) is not None


def group_name(topic: str) -> str:
    """Return the Channels group of a topic.

    Channels allows ASCII letters, digits, ``-``, ``_`` and ``.``, under 100 characters
    (channels/layers.py); what does not fit is named by its SHA-256.
    """
    name = f"realtime.{topic.replace(':', '.', 1)}"
    if len(name) < 100 and re.fullmatch(r"[A-Za-z0-9._-]+", name, re.ASCII):
        return name
    return f"realtime.sha256.{hashlib.sha256(topic.encode(errors='replace')).hexdigest()}"


def topics_of(task_id: str, owner: str) -> tuple[str, ...]:
    """Return every topic that a task's events belong to."""
    return (f"{TASK}:{task_id}", f"{USER}:{owner}") if owner else (f"{TASK}:{task_id}",)
