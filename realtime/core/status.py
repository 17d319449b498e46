"""The status: the whole picture of one task at one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from . import jsontext
from .states import SUCCESS, TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One task at one moment, as the wire contract describes it. Never a delta.

    Times are ISO 8601 text in UTC; ``progress`` is ``{"current", "total", "message"}`` or None;
    ``error`` is ``{"type", "message"}`` or None. ``run`` counts deliveries to a worker,
    ``attempt`` counts retries, ``version`` rises by one with each accepted change.
    """

    task_id: str
    name: str | None
    state: str
    version: int
    run: int
    attempt: int
    progress: dict[str, Any] | None
    result: Any
    truncated: bool
    error: dict[str, str] | None
    eta: str | None
    retry_at: str | None
    cancelling: bool
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    published_at: str | None
    started_at: str | None
    finished_at: str | None
    updated_at: str | None

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the JSON text that :func:`compose` wrote."""
        return cls(**json.loads(text))

    def as_dict(self) -> dict[str, Any]:
        """Return the status object of the wire contract."""
        return {key: getattr(self, key) for key in FIELDS}

    @property
    def terminal(self) -> bool:
        """Whether the task has ended."""
        return self.state in TERMINAL

    @property
    def successful(self) -> bool:
        """Whether the task has ended well."""
        return self.state == SUCCESS

    @property
    def failed(self) -> bool:
        """Whether the task has ended, and not well."""
        return self.terminal and not self.successful


#: The keys of a status, in the order of the wire.
FIELDS: Final = tuple(field.name for field in fields(Status))

#: What a key says before anybody said it. As JSON text.
INITIAL: Final = dict.fromkeys(FIELDS, "null") | {"truncated": "false", "cancelling": "false"}


def compose(texts: Mapping[str, str]) -> str:
    """Put a status together from the JSON text of its keys. ``accept.lua`` does the same."""
    return "{" + ",".join(f'"{key}":{texts.get(key, INITIAL[key])}' for key in FIELDS) + "}"


def ending(finished_at: str = "") -> dict[str, str]:
    """Return what every ending says, as JSON text by key; its outcome is laid over it."""
    now = jsontext.timestamp()
    keys = ("error", "eta", "retry_at", "cancelling")
    return {key: INITIAL[key] for key in keys} | {
        "finished_at": finished_at or now,
        "updated_at": now,
    }
