"""The status: the complete state of one task at one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

from . import jsontext
from .states import PENDING, SUCCESS, TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One task at one moment, with the keys of the protocol. Never a difference.

    Times are ISO 8601 text in UTC; ``progress`` is ``{"current", "total", "message", "meta"}`` or
    None; ``error`` is ``{"type", "message"}`` or None. ``run`` counts deliveries to a worker,
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
    #: The keys of later releases, which pass through.
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the JSON text that :func:`compose` wrote, here or in another release."""
        given = json.loads(text)
        known = {key: given.pop(key, default) for key, default in _DEFAULTS.items()}
        return cls(**known, extra=given)

    def as_dict(self) -> dict[str, Any]:
        """Return the status as the object of the protocol."""
        return {**{key: getattr(self, key) for key in FIELDS}, **self.extra}

    @property
    def terminal(self) -> bool:
        """Whether the task has ended."""
        return self.state in TERMINAL

    @property
    def successful(self) -> bool:
        """Whether the task has succeeded."""
        return self.state == SUCCESS

    @property
    def failed(self) -> bool:
        """Whether the task has ended without success."""
        return self.terminal and not self.successful


#: The keys of a status, in the order of the wire.
FIELDS: Final = tuple(each.name for each in fields(Status) if each.name != "extra")

#: The first value of each key, as JSON text.
INITIAL: Final = dict.fromkeys(FIELDS, "null") | {"truncated": "false", "cancelling": "false"}


#: The values of missing keys in :meth:`Status.from_json`: only other releases leave keys out.
_DEFAULTS: Final = {key: json.loads(text) for key, text in INITIAL.items()} | {
    "state": PENDING,
    **dict.fromkeys(("version", "run", "attempt"), 0),
}


def compose(texts: Mapping[str, str]) -> str:
    """Return a status's JSON from that of its keys. ``status.lua`` does the same.

    Keys that this release does not know follow those that it knows.
    """
    keys = (*FIELDS, *(key for key in texts if key not in INITIAL))
    return "{" + ",".join(f'"{key}":{texts.get(key, INITIAL.get(key))}' for key in keys) + "}"


def ending(finished_at: str = "") -> dict[str, str]:
    """Return the keys that every ending sets, as JSON text; the outcome is added to them."""
    now = jsontext.timestamp()
    return {**_OVER, "finished_at": finished_at or now, "updated_at": now}


_OVER: Final = {key: INITIAL[key] for key in ("error", "eta", "retry_at", "cancelling")}
