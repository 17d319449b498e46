"""The Lua files of this folder, as Redis is given them: with what no call changes as locals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError

from realtime.conf import conf
from realtime.core.acceptance import PUBLICATIONS_KEPT, SENDERS_KEPT, TOKENS_KEPT
from realtime.core.status import FIELDS, INITIAL

from .base import PAGE_BYTES
from .layer import group_prefix

#: What the rule asks of a record with every change, besides the status.
_RULE: Final = (
    "_rank",
    "_counter",
    "_token",
    "_worker",
    "_owner",
    "_group",
    "_publication",
    "_extra",
)


class Script:
    """Some Lua files, one after the other, called by their hash."""

    def __init__(self, *names: str) -> None:
        text = "\n".join(files(__package__).joinpath(name).read_text() for name in names)
        self.source = _constants(text) + text
        # The commands are spelled out instead of using register_script(): the same script is
        # called through a synchronous and through an asynchronous client.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, client: redis.Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Return the script's answer."""
        try:
            return client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.execute_command("EVAL", self.source, len(keys), *keys, *args)


def _constants(script: str) -> str:
    """Return, as Lua's locals, what a script needs to know and no call changes."""
    settings = conf()
    status = ",".join(f'"{key}":%s' for key in FIELDS)
    kept = (*FIELDS, *_RULE)
    named: dict[str, str | int | Sequence[str] | dict[str, int]] = {
        "INITIAL": [INITIAL[key] for key in FIELDS],
        "STATUS": f"{{{status}}}",
        "KEPT": kept,
        "AT": {key: place for place, key in enumerate(kept, 1)},
        "READ": (*FIELDS, "_extra"),
        "PREFIX": f"{settings.PREFIX}:",
        "GROUP_PREFIX": group_prefix(),
        "RECORD_TTL": settings.RECORD_TTL,
        "UNFINISHED_TTL": settings.UNFINISHED_TTL,
        "HISTORY_SIZE": settings.HISTORY_SIZE,
        "HISTORY_TTL": settings.HISTORY_TTL,
        "SNAPSHOT_SIZE": settings.SNAPSHOT_SIZE,
        "PAGE_BYTES": PAGE_BYTES,
        "TOKENS_KEPT": TOKENS_KEPT,
        "PUBLICATIONS_KEPT": PUBLICATIONS_KEPT,
        "SENDERS_KEPT": SENDERS_KEPT,
    }
    return "".join(
        f"local {name} = {_in_lua(value)}\n" for name, value in named.items() if name in script
    )


def _in_lua(value: str | int | Sequence[str] | dict[str, int]) -> str:
    if isinstance(value, str | int):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}={place}' for key, place in value.items())}}}"
    return f"{{{','.join(map(_in_lua, value))}}}"
