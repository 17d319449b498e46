"""Read a task's message (protocol 2): this service's header, and the tasks that wait for it.

A message carries the signatures of its dependents in ``body[2]``: the rest of its chain and the
body of its chord. The request of the running task has the same signatures.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from realtime.core import jsontext
from realtime.core.change import Change, Dependent
from realtime.core.status import ending
from realtime.core.topics import is_ident

from .selection import ACCUMULATE, CHORD_UNLOCK

#: This service's header in a message: ``publication``, ``owner``, ``published_at``, ``excluded``.
#: The last has the ids that the publisher knew not to be pushed and so has not announced: of the
#: task itself, its dependents, and the task that published it.
HEADER: Final = "realtime"

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
#: Signatures that are not tasks, and their arguments that contain tasks (celery/canvas.py).
_CANVASES: Final = {
    "celery.chain": ("tasks",),
    "celery.group": ("tasks",),
    "celery.chord": ("header", "body"),
}
#: Chord bodies whose tasks are cached, since every member's message carries the same body.
_MAX_BODIES: Final = 64


def header_of(source: Any) -> Mapping[str, Any]:
    """Return this service's header of a message or a request; {} if there is none.

    ``source`` is a message's headers or a request. A request that Celery made without a message has
    the header in its ``headers``.
    """
    header = source.get(HEADER)
    if type(header) is dict:
        return header
    if header is None and not isinstance(source, Mapping):
        headers = source.get("headers")
        header = headers.get(HEADER) if isinstance(headers, Mapping) else None
    return header if isinstance(header, Mapping) else {}


def header_text(header: Mapping[str, Any], key: str) -> str:
    """Return a text of the header, "" if it is not valid: any process may have published it.

    An owner that no topic can name is not valid. A publication that is not a short name is hashed.
    """
    text = header.get(key)
    if not isinstance(text, str):
        return ""
    if key == "publication" and not _is_name(text):
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return text if key != "owner" or is_ident(text) else ""


def _is_name(text: str) -> bool:
    """Return whether a text has at most 64 printable characters of ASCII, and no space."""
    return len(text) <= 64 and text.isascii() and text.isprintable() and " " not in text


def is_excluded(task_id: Any, header: Mapping[str, Any]) -> bool:
    """Return whether the publisher of a message knew that this task is not pushed."""
    excluded = header.get("excluded")
    return isinstance(excluded, list | tuple) and task_id in excluded


def embed_of(body: Any) -> Mapping[str, Any]:
    """Return the third part of a message's body: ``chain``, ``chord`` and others; {} if missing."""
    embed = body[2] if isinstance(body, (list, tuple)) and len(body) == 3 else None
    return embed if type(embed) is dict or isinstance(embed, Mapping) else {}


def chord_of(name: object, args: Any, chord: Any) -> Any:
    """Return the body of a task's chord; ``celery.chord_unlock`` has it as an argument."""
    if name == CHORD_UNLOCK and isinstance(args, list | tuple) and len(args) > 1:
        return args[1]
    return chord


def dependents_of(chain: Any, chord: Any, publication: str = "") -> tuple[Dependent, ...]:
    """Return the tasks that wait for one with this rest of a chain (reversed) and this chord body.

    The tasks of a chord body are cached by publication.
    """
    if not chain:
        return _body_of(chord, publication) if chord else ()
    found: dict[str, str] = {}
    _collect(chain, chord, found, publication)
    return _dependents(found)


_bodies: Final[OrderedDict[tuple[str, str], tuple[Dependent, ...]]] = OrderedDict()


def _body_of(chord: Any, publication: str) -> tuple[Dependent, ...]:
    options = chord.get("options") if isinstance(chord, Mapping) else None
    ident = options.get("task_id") if isinstance(options, Mapping) else None
    key = (publication, str(ident)) if publication and ident else None
    if key is not None and (known := _bodies.get(key)) is not None:
        return known
    found: dict[str, str] = {}
    _tasks_in(chord, found, publication)
    dependents = _dependents(found)
    if key is not None:
        _bodies[key] = dependents
        while len(_bodies) > _MAX_BODIES:
            _bodies.popitem(last=False)
    return dependents


def _dependents(found: Mapping[str, str]) -> tuple[Dependent, ...]:
    return tuple(Dependent(task_id, name) for task_id, name in found.items())


def _collect(chain: Any, chord: Any, found: dict[str, str], publication: str) -> None:
    if isinstance(chain, list | tuple):
        for signature in reversed(chain):
            _tasks_in(signature, found, publication)
    if chord:
        for task_id, name in _body_of(chord, publication):
            found.setdefault(task_id, name)


def _tasks_in(signature: Any, found: dict[str, str], publication: str) -> None:
    """Add the tasks of a signature, and the tasks that wait for those."""
    if not isinstance(signature, Mapping):
        return
    name, options = signature.get("task", ""), signature.get("options") or {}
    if name in _CANVASES:
        arguments = signature.get("kwargs") or {}
        for key in _CANVASES[name]:
            given = arguments.get(key)
            members: Iterable[Any] = (given,) if isinstance(given, Mapping) else given or ()
            for member in members:
                _tasks_in(member, found, publication)
    elif task_id := options.get("task_id"):
        found.setdefault(str(task_id), str(name))
    chain, chord = options.get("chain"), options.get("chord")
    if chain or chord:
        _collect(chain, chord, found, publication)


def identity_fields(
    name: object, headers: Mapping[str, Any], header: Mapping[str, Any]
) -> dict[str, str]:
    """Return the constant fields of a status, from a message's headers or request's attributes."""
    found = {}
    if name and name != ACCUMULATE:  # else keep the name of the task that a group replaced
        found["name"] = jsontext.encode_text(name)
    for key, text in (
        ("root_id", headers.get("root_id")),
        ("parent_id", headers.get("parent_id")),
        ("group_id", headers.get("group")),
    ):
        if text:
            found[key] = jsontext.encode_text(text)
    published_at = header.get("published_at")
    if isinstance(published_at, str) and _TIMESTAMP.fullmatch(published_at):
        found["published_at"] = f'"{published_at}"'  # already in this service's format
    return found


def change_of(
    task_id: str,
    state: str,
    fields: Mapping[str, str],
    header: Mapping[str, Any],
    *,
    attempt: int | None = None,
    stored: bool = False,
) -> Change:
    """Return a change that no run publishes, with the publication and the owner of a header."""
    return Change(
        task_id=task_id,
        state=state,
        attempt=attempt,
        publication=header_text(header, "publication"),
        owner=header_text(header, "owner"),
        stored=stored,
        fields=fields,
    )


def never_run(task_id: str, name: str, state: str, error: str, header: Mapping[str, Any]) -> Change:
    """Return the ending of a task that waits for one that did not succeed."""
    fields = ending() | {"error": error, "name": jsontext.encode_text(name)}
    return change_of(task_id, state, fields, header)
