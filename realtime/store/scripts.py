"""The Lua files of this folder, as Redis gets them.

A line ``-- include <file>`` stands for that file. Names in capitals are constants: each is replaced
by its value, since Lua would make a table of them with every call. ``AT.<key>`` is the number of a
record's key in what the scripts read, ``RANK.<state>`` the rank of a state.
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
from realtime.core.decide import PUBLICATIONS_KEPT, RUN_IDS_KEPT, SENDERS_KEPT
from realtime.core.states import CUSTOM_RANK, RECEIVED, STARTED, TERMINAL_RANK, rank
from realtime.core.status import FIELDS
from realtime.groups.layer import group_prefix

from .reading import PAGE_BYTES
from .recent import KEPT_RECENT, MAX_RECENT

#: The beginnings of the keys of a topic of many tasks, in the order that ``lists.lua`` describes.
LIST_KEYS: Final = ("head", "log", "list", "expiry")

#: The expiry of a task's keys is renewed once this part of the shortest one has passed. Renewals
#: are three commands of a change.
RENEWAL_PART: Final = 0.05

#: The keys of a record that are read to show it, and those that are read with every change.
_SHOWN: Final = (*FIELDS, "_extra", "_owner")
_OF_RULES: Final = "_rank _counter _run_id _publication _life _worker _renewed"
_KEPT: Final = (*_SHOWN, *_OF_RULES.split())
#: The number of each key of a record: a table by name, made with each call, would cost more than
#: all that it is for.
FIELD_NUMBERS: Final = {key: number for number, key in enumerate(_KEPT, 1)}

_RANKS: Final = {
    "RECEIVED": rank(RECEIVED),
    "STARTED": rank(STARTED),
    "CUSTOM": CUSTOM_RANK,
    "TERMINAL": TERMINAL_RANK,
}


class Script:
    """A Lua script, called by its hash."""

    def __init__(self, text: str) -> None:
        self.source = _with_constants(_with_includes(text))
        # The commands are spelled out instead of using register_script(): the same script is
        # called through a synchronous and through an asynchronous client.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, client: redis.Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Return the script's answer."""
        try:
            return client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.execute_command("EVAL", self.source, len(keys), *keys, *args)


def load(name: str) -> Script:
    """Return the script of a Lua file."""
    return Script(f"-- include {name}")


def _with_includes(text: str) -> str:
    """Return a text with the files in it that it includes."""
    lua = files(__package__).joinpath("lua")
    return re.sub(
        r"^ *-- include (\S+)$",
        lambda match: _with_includes(lua.joinpath(match[1]).read_text()),
        text,
        flags=re.MULTILINE,
    )


def _with_constants(script: str) -> str:
    """Return a script with its constants: tables as its first locals, all others in place."""
    constants = _constants()
    script = re.sub(
        r"\b[A-Z_]+(\.\w+)?\b",
        lambda match: _in_lua(constants[match[0]]) if match[0] in constants else match[0],
        script,
    )
    tables = {"KEPT": _KEPT, "READ": _SHOWN}
    used = (name for name in tables if re.search(rf"\b{name}\b", script))
    locals_ = (f"local {name} = {{{','.join(map(_in_lua, tables[name]))}}}\n" for name in used)
    return "".join(locals_) + script


def _constants() -> dict[str, str | int]:
    settings = conf()
    ttls = (settings.HISTORY_TTL, settings.RECORD_TTL, settings.UNFINISHED_TTL)
    # A report changes the keys between these parts: the state and the version, then the progress,
    # then the time of the update.
    before, middle = _format("task_id", "name"), _format("run", "attempt")
    after = _format(*FIELDS[FIELDS.index("result") : FIELDS.index("updated_at")])
    return {
        "FIELDS": len(FIELDS),
        "STATUS": f"{{{_format(*FIELDS)}}}",
        "STATUS_BEFORE": f'{{{before},"state":',
        "STATUS_MIDDLE": f',{middle},"progress":',
        "STATUS_AFTER": f',{after},"updated_at":',
        "GROUP_PREFIX": group_prefix(),
        "RECORD_TTL": settings.RECORD_TTL,
        "UNFINISHED_TTL": settings.UNFINISHED_TTL,
        "MAX_HISTORY_EVENTS": settings.MAX_HISTORY_EVENTS,
        "HISTORY_TTL": settings.HISTORY_TTL,
        "RENEWAL": int(RENEWAL_PART * min(ttls)),
        "MAX_LIST_TASKS": settings.MAX_LIST_TASKS,
        "PAGE_BYTES": PAGE_BYTES,
        "MAX_RECENT": MAX_RECENT,
        "KEPT_RECENT": KEPT_RECENT,
        "RUN_IDS_KEPT": RUN_IDS_KEPT,
        "PUBLICATIONS_KEPT": PUBLICATIONS_KEPT,
        "SENDERS_KEPT": SENDERS_KEPT,
        **{kind.upper(): number for number, kind in enumerate(LIST_KEYS)},
        **{f"AT.{key}": number for key, number in FIELD_NUMBERS.items()},
        **{f"RANK.{name}": number for name, number in _RANKS.items()},
    }


def _format(*keys: str) -> str:
    return ",".join(f'"{key}":%s' for key in keys)


def _in_lua(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)
