"""Topics: what a client subscribes to, and the group that carries each between processes."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final, NamedTuple, Self

#: The most characters of an ident, and so of a task id.
IDENT_LENGTH: Final = 255

TASK: Final = "task"
USER: Final = "user"
#: The ident of the client's own user.
ME: Final = "me"
#: The prefix of owners that are visitors.
VISITOR: Final = "visitor-"


class Kind(NamedTuple):
    """The properties of one kind of topics. Every kind has a log."""

    #: What the ident names.
    names: str
    #: Whether it has many tasks, and so a list of the newest ones.
    has_list: bool


#: Every kind of topic, by the text before the colon.
KINDS: Final = {
    TASK: Kind(names="a task's id", has_list=False),
    USER: Kind(names="an owner", has_list=True),
}

#: Unicode's controls (Cc), half surrogate pairs (Cs), and JavaScript's line separators.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_GROUP: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
#: Channels refuses longer names (channels/layers.py).
_GROUP_LENGTH: Final = 99
_HASHED: Final = "sha256"


class Topic(NamedTuple):
    """A topic's kind and ident: ``task:<id>``, ``user:<id>``."""

    kind: str
    ident: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.ident}"

    @classmethod
    def parse(cls, text: object) -> Self:
        """Parse a topic.

        Raises ValueError, with a message for the client, if the text is not a topic.
        """
        if not isinstance(text, str):
            raise ValueError("topic must be a string")
        kind, _, ident = text.partition(":")
        if kind not in KINDS:
            raise ValueError("topic must be task:<id>, user:<id> or user:me")
        if not is_ident(ident):
            raise ValueError(
                f"topic must have 1 to {IDENT_LENGTH} characters after {kind}:, and no control ones"
            )
        return cls(kind, ident)

    @property
    def has_list(self) -> bool:
        """Whether the topic has many tasks, and so a list of the newest ones."""
        return KINDS[self.kind].has_list


def is_task_id(text: object) -> bool:
    """Return whether a topic can name this task. It can for every id that Celery makes."""
    return isinstance(text, str) and is_ident(text)


def is_ident(text: str) -> bool:
    """Return whether a text can be an ident."""
    if not 0 < len(text) <= IDENT_LENGTH:
        return False
    # The first test is faster, and enough for almost all.
    return (text.isascii() and text.isprintable()) or _CONTROL.search(text) is None


def group_name(topic: str, *, prefix: str, database: int = 0) -> str:
    """Return the Channels group of a topic for the service with this prefix and Redis database.

    Channels has ASCII letters, digits, ``-``, ``_`` and ``.`` in a name, and no databases: all
    projects on one server share its groups. A name that is not allowed, or has an ambiguous prefix
    with a dot, is replaced by its SHA-256.
    """
    parts = [prefix, str(database), *topic.split(":", 1)]
    if not database:
        del parts[1]
    name = ".".join(parts)
    fits = len(name) <= _GROUP_LENGTH and _GROUP.fullmatch(name)
    if fits and prefix and "." not in prefix and prefix != _HASHED:
        return name
    whole = json.dumps([prefix, database, topic])
    return f"{_HASHED}.{hashlib.sha256(whole.encode()).hexdigest()}"
