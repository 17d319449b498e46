"""The path of the WebSocket, and task ids in the paths of HTTP."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

#: The path of the WebSocket, below the prefix of the site.
SOCKET_PATH: Final = "realtime/ws/"

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ENCODED: Final = "~"


def to_path(task_id: str) -> str:
    """Return an id as one segment of a path.

    An id with other characters than ``[A-Za-z0-9_-]`` becomes ``~`` and the base64url of its
    UTF-8, without padding: otherwise a slash or ``..`` in it would change the route.
    """
    return task_id if _PLAIN.fullmatch(task_id) else _encode(task_id)


def _encode(task_id: str) -> str:
    return _ENCODED + base64.urlsafe_b64encode(task_id.encode()).decode().rstrip("=")


def from_path(segment: str) -> str:
    """Return the id of a segment of a path. Raises ValueError for a malformed segment."""
    if not segment.startswith(_ENCODED):
        return segment
    encoded = segment.removeprefix(_ENCODED)
    if not _PLAIN.fullmatch(encoded):
        raise ValueError("not base64url")
    try:
        task_id = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("not the base64url of UTF-8") from None
    if _encode(task_id) != segment:
        raise ValueError("not the one encoding of this id")
    return task_id
