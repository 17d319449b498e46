"""The Lua files of this folder, as Redis is given them.

A line ``-- include <file>`` stands for that file; what no call changes stands before, as locals.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError

from realtime.conf import conf
from realtime.core.acceptance import PUBLICATIONS_KEPT, SENDERS_KEPT, TOKENS_KEPT
from realtime.core.jsontext import NULL
from realtime.core.status import FIELDS, INITIAL

from .base import PAGE_BYTES
from .layer import group_prefix

#: What the rule asks of a record with every change, besides the status.
_RULE: Final = ("_rank", "_counter", "_token", "_owner", "_publication", "_extra")
_KEPT: Final = (*FIELDS, *_RULE)
#: Where Lua finds each key of a record that it read: it names them by these numbers, as to make a
#: table of names with each call costs more than all that the table is for.
PLACES: Final = {key: place for place, key in enumerate(_KEPT, 1)}


class Script:
    """A Lua file, called by its hash."""

    def __init__(self, name: str) -> None:
        text = re.sub(r"\bAT\.(\w+)", lambda match: str(PLACES[match[1]]), _read(name))
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


def _read(name: str) -> str:
    """Return a file's text, with the files in it that it includes."""
    text = files(__package__).joinpath(name).read_text()
    return re.sub(r"^ *-- include (\S+)$", lambda match: _read(match[1]), text, flags=re.MULTILINE)


def _constants(script: str) -> str:
    """Return, as Lua's locals, what a script needs to know and no call changes."""
    settings = conf()
    status = ",".join(f'"{key}":%s' for key in FIELDS)
    named: dict[str, str | int | Sequence[str] | dict[int, str]] = {
        "FIELDS": len(FIELDS),
        "INITIAL": {PLACES[key]: text for key, text in INITIAL.items() if text != NULL},
        "STATUS": f"{{{status}}}",
        "KEPT": _KEPT,
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


def _in_lua(value: str | int | Sequence[str] | dict[int, str]) -> str:
    if isinstance(value, str | int):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return f"{{{','.join(f'[{place}]={_in_lua(text)}' for place, text in value.items())}}}"
    return f"{{{','.join(map(_in_lua, value))}}}"
