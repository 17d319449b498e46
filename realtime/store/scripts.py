"""The Lua files of this folder, as Redis is given them.

A line ``-- include <file>`` stands for that file. Names in capitals stand for what no call changes:
``AT.<key>`` for the number of a key in what accept.lua reads, ``RANK.<state>`` for a state's rank.
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
from realtime.core.change import PUBLICATIONS_KEPT, RUN_IDS_KEPT, SENDERS_KEPT
from realtime.core.states import CUSTOM_RANK, RECEIVED, STARTED, TERMINAL_RANK, rank
from realtime.core.status import FIELDS
from realtime.groups.layer import group_prefix

from .base import PAGE_BYTES

#: What the rule asks of a record with every change, besides the status.
_RULE: Final = ("_rank", "_counter", "_run_id", "_owner", "_publication", "_extra")
_KEPT: Final = (*FIELDS, *_RULE)
#: Where Lua finds each key of a record that it read: it names them by these numbers, as to make a
#: table of names with each call costs more than all that the table is for.
FIELD_NUMBERS: Final = {key: number for number, key in enumerate(_KEPT, 1)}

_RANKS: Final = {
    "RECEIVED": rank(RECEIVED),
    "STARTED": rank(STARTED),
    "CUSTOM": CUSTOM_RANK,
    "TERMINAL": TERMINAL_RANK,
}


class Script:
    """A Lua file, called by its hash."""

    def __init__(self, name: str) -> None:
        self.source = _with_constants(_read(name))
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
    text = files(__package__).joinpath("lua", name).read_text()
    return re.sub(r"^ *-- include (\S+)$", lambda match: _read(match[1]), text, flags=re.MULTILINE)


def _with_constants(script: str) -> str:
    """Return a script with what no call changes: tables as its first locals, the rest in place."""
    settings, status = conf(), ",".join(f'"{key}":%s' for key in FIELDS)
    tables: dict[str, Sequence[str]] = {"KEPT": _KEPT, "READ": (*FIELDS, "_extra", "_owner")}
    values: dict[str, str | int] = {
        "FIELDS": len(FIELDS),
        "STATUS": f"{{{status}}}",
        "PREFIX": f"{settings.PREFIX}:",
        "GROUP_PREFIX": group_prefix(),
        "RECORD_TTL": settings.RECORD_TTL,
        "UNFINISHED_TTL": settings.UNFINISHED_TTL,
        "MAX_HISTORY_EVENTS": settings.MAX_HISTORY_EVENTS,
        "HISTORY_TTL": settings.HISTORY_TTL,
        "MAX_LIST_TASKS": settings.MAX_LIST_TASKS,
        "PAGE_BYTES": PAGE_BYTES,
        "RUN_IDS_KEPT": RUN_IDS_KEPT,
        "PUBLICATIONS_KEPT": PUBLICATIONS_KEPT,
        "SENDERS_KEPT": SENDERS_KEPT,
    }
    values |= {f"AT.{key}": number for key, number in FIELD_NUMBERS.items()}
    values |= {f"RANK.{name}": number for name, number in _RANKS.items()}
    script = re.sub(
        r"\b[A-Z_]+(\.\w+)?\b",
        lambda match: _in_lua(values[match[0]]) if match[0] in values else match[0],
        script,
    )
    locals_ = (
        f"local {name} = {{{','.join(map(_in_lua, table))}}}\n"
        for name, table in tables.items()
        if name in script
    )
    return "".join(locals_) + script


def _in_lua(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)
