"""The frames of the protocol: parses those of clients, and writes those of the server.

A status is sent as the JSON text of its event, which was encoded once: frames only enclose it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeGuard

from realtime.exceptions import FrameError

from .codes import CloseCode, ErrorCode
from .jsontext import DEPTH, depth_of, dumps
from .position import Position
from .topics import TASK, Topic

PROTOCOL: Final = 1

#: The most characters of a token: it fits into a frame, and into an HTTP header.
TOKEN_LENGTH: Final = 12 * 1024
_EPOCH_LENGTH: Final = 64
#: The most characters of a page's ``after``.
_AFTER_LENGTH: Final = 512
#: Statuses in a page, by default and at most.
PAGE: Final = 50
LONGEST_PAGE: Final = 200
#: The largest whole number that JavaScript has exactly.
_MAX_NUMBER: Final = 2**53 - 1
#: A ping as clients write it: its keys in this order, with the blanks of Python or JavaScript.
_PING: Final = re.compile(r'\{"type": ?"ping", ?"id": ?(0|-?[1-9][0-9]{0,14})\}')


# Frames of a client.


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribes to a topic, from the position ``since`` if the client has one.

    ``limit`` is the most statuses in a snapshot of a topic of many tasks. ``detail`` has no effect
    on the present kinds of topics.
    """

    id: int
    topic: Topic
    since: Position | None = None
    token: str | None = None
    limit: int = PAGE
    detail: str = "tasks"


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Ends a subscription."""

    id: int
    topic: Topic


@dataclass(frozen=True, slots=True)
class Page:
    """Requests the page after another one, of a topic of many tasks."""

    id: int
    topic: Topic
    after: str
    limit: int = PAGE


@dataclass(frozen=True, slots=True)
class Cancel:
    """Requests the cancellation of a task."""

    id: int
    task_id: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Checks that the connection is alive."""

    id: int


ClientFrame = Subscribe | Unsubscribe | Page | Cancel | Ping


def parse(text: str) -> ClientFrame:
    """Parse a client's frame.

    Raises FrameError, with a message for the client, if it is not a valid frame.
    """
    try:
        frame = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except FrameError:
        raise
    except (ValueError, RecursionError):
        # Deep nesting is a RecursionError, a number of thousands of digits a ValueError.
        raise FrameError("a frame is one JSON object") from None
    # Without this limit the deepest nesting would depend on Python's version.
    if not isinstance(frame, dict) or depth_of(text) > DEPTH:
        raise FrameError("a frame is one JSON object")
    frame_id = frame.get("id")
    if not _is_whole(frame_id, -_MAX_NUMBER):
        raise FrameError("id must be a whole number")
    try:
        return _read(frame, frame_id)
    except ValueError as error:
        raise FrameError(str(error), frame_id=frame_id) from None


def _read(frame: dict[str, Any], frame_id: int) -> ClientFrame:
    match frame.get("type"):
        case "subscribe":
            return Subscribe(
                frame_id,
                Topic.parse(frame.get("topic")),
                _since(frame.get("since")),
                _text(frame.get("token"), "token", TOKEN_LENGTH),
                _limit(frame.get("limit")),
                _detail(frame.get("detail")),
            )
        case "unsubscribe":
            return Unsubscribe(frame_id, Topic.parse(frame.get("topic")))
        case "page":
            topic = Topic.parse(frame.get("topic"))
            if not topic.has_list:
                raise ValueError("a topic of one task has no pages")
            after = _text(frame.get("after"), "after", _AFTER_LENGTH)
            if not after:
                raise ValueError("after must be the next of a snapshot or page")
            return Page(frame_id, topic, after, _limit(frame.get("limit")))
        case "cancel":
            return Cancel(frame_id, _task_id(frame.get("task_id")))
        case "ping":
            return Ping(frame_id)
        case _:
            raise ValueError("type must be subscribe, unsubscribe, page, cancel or ping")


def _since(value: Any) -> Position | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("since must be an object with epoch and offset")
    epoch = _text(value.get("epoch"), "since.epoch", _EPOCH_LENGTH)
    offset = value.get("offset")
    if not epoch or not _is_whole(offset, 0):
        raise ValueError("since must have an epoch and an offset, a whole number from 0")
    return Position(epoch, offset)


def _limit(value: Any) -> int:
    if value is None:
        return PAGE
    if not _is_whole(value, 1) or value > LONGEST_PAGE:
        raise ValueError(f"limit must be a whole number from 1 to {LONGEST_PAGE}")
    return value


def _detail(value: Any) -> str:
    if value is None:
        return "tasks"
    if value not in ("tasks", "summary"):
        raise ValueError("detail must be tasks or summary")
    return str(value)


def _task_id(value: Any) -> str:
    try:
        return Topic.parse(f"{TASK}:{value}" if isinstance(value, str) else value).ident
    except ValueError:
        raise ValueError("task_id must be the id of a task") from None


def _text(value: Any, name: str, length: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > length:
        raise ValueError(f"{name} must be a string of at most {length} characters")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can contain half a surrogate pair, which UTF-8 cannot encode
        raise ValueError(f"{name} is not Unicode text") from None
    return value


def _is_whole(value: Any, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_NUMBER


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FrameError("a key is there twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise FrameError(f"{name} is not JSON")


# Frames of the server. A topic's name is any text, so it is written as JSON.


def welcome(*, now: str, ping: int, limits: dict[str, float]) -> str:
    """Return the first frame of every connection; ``now`` is the server's time, as JSON text."""
    text = dumps(limits)
    return f'{{"type":"welcome","protocol":{PROTOCOL},"ping":{ping},"now":{now},"limits":{text}}}'


def store(*, available: bool) -> str:
    """Return the frame that the store is unavailable, or available again."""
    return dumps({"type": "store", "available": available})


@dataclass(frozen=True, slots=True)
class Listed:
    """The keys of the snapshot of a topic of many tasks.

    ``total`` is the number of its tasks; ``next`` is the ``after`` of the next page, or None.
    """

    total: int
    next: str | None

    @property
    def json(self) -> str:
        """The keys as JSON, each with a comma before it."""
        return f',"total":{self.total},"next":{dumps(self.next)}'


def subscribed(
    frame_id: int,
    topic: str,
    position: Position,
    texts: Sequence[str],
    *,
    recovered: bool,
    listed: Listed | None = None,
    expires_in: int | None = None,
) -> str:
    """Return the answer to a subscribe: all events since the position, or a snapshot."""
    if recovered:
        first = position.offset - len(texts) + 1
        events = ",".join(
            f'{{"offset":{offset},"status":{text}}}' for offset, text in enumerate(texts, first)
        )
        rest = f'"recovered":true,"events":[{events}]'
    else:
        rest = f'"recovered":false,"snapshot":[{",".join(texts)}]{listed.json if listed else ""}'
    ends = f'"expires_in":{dumps(expires_in)}'
    return f'{{"type":"subscribed","id":{frame_id},{_keys_of(topic, position)},{rest},{ends}}}'


def event(topic: str, position: Position, text: str, *, merged: int = 0) -> str:
    """Return the frame of an event; ``merged`` events before it were left out."""
    count = f'"merged":{merged},' if merged else ""
    return f'{{"type":"event",{_keys_of(topic, position)},{count}"status":{text}}}'


def snapshot(
    topic: str, position: Position, texts: Sequence[str], listed: Listed | None = None
) -> str:
    """Return the frame that replaces all that the client knew of the topic."""
    statuses = ",".join(texts)
    more = listed.json if listed else ""
    return f'{{"type":"snapshot",{_keys_of(topic, position)},"snapshot":[{statuses}]{more}}}'


def page(frame_id: int, topic: str, texts: Sequence[str], following: str | None) -> str:
    """Return the answer to a page; ``following`` is the next ``after``, or None."""
    head = f'"type":"page","id":{frame_id},"topic":{dumps(topic)}'
    return f'{{{head},"snapshot":[{",".join(texts)}],"next":{dumps(following)}}}'


def topic_page(position: Position, texts: Sequence[str], listed: Listed | None) -> str:
    """Return a topic's first page and its position, for HTTP."""
    keys = f'"epoch":{dumps(position.epoch)},"offset":{position.offset}'
    return f'{{{keys},"snapshot":[{",".join(texts)}]{listed.json if listed else ""}}}'


def unsubscribed(frame_id: int, topic: str) -> str:
    """Return the answer to an unsubscribe."""
    return dumps({"type": "unsubscribed", "id": frame_id, "topic": topic})


def withdrawn(topic: str, code: ErrorCode, message: str) -> str:
    """Return the frame that the server has ended a subscription."""
    return dumps({"type": "unsubscribed", "topic": topic, "code": code, "message": message})


def cancelled(frame_id: int, task_id: str) -> str:
    """Return the answer to a cancel, which was passed on; the new state arrives as an event."""
    return dumps({"type": "cancelled", "id": frame_id, "task_id": task_id})


def pong(frame_id: int) -> str:
    """Return the answer to a ping."""
    return f'{{"type":"pong","id":{frame_id}}}'


def pong_for(text: str) -> str | None:
    """Return the answer to a ping that is written as usual; None for any other frame.

    Every other frame, also a ping that is written in another way, is read by :func:`parse`.
    """
    ping = _PING.fullmatch(text)
    return None if ping is None else pong(int(ping[1]))


def error(code: ErrorCode, message: str, *, frame_id: int | None = None, **more: Any) -> str:
    """Return the frame of an error; without ``frame_id`` if the client's frame had none."""
    given = {} if frame_id is None else {"id": frame_id}
    return dumps({"type": "error", **given, "code": code, "message": message, **more})


def closing(code: CloseCode, message: str, *, retry_after: int | None = None) -> str:
    """Return the frame before a close, whose own reason does not reach every client."""
    frame = {"type": "closing", "code": code, "message": message, "reconnect": code.reconnect}
    return dumps(frame if retry_after is None else {**frame, "retry_after": retry_after})


def _keys_of(topic: str, position: Position) -> str:
    # The epoch is encoded, since it may come from a forged group message.
    keys = f'"epoch":{dumps(position.epoch)},"offset":{position.offset}'
    return f'"topic":{dumps(topic)},{keys}'
