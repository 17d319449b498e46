"""Whether a user may see a topic or cancel a task.

Private by default: whatever no rule here allows is ``not_found``.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from channels.db import DatabaseSyncToAsync, database_sync_to_async
from django.utils.module_loading import import_string

from realtime.conf import conf
from realtime.core.codes import ErrorCode
from realtime.core.logs import get_logger
from realtime.core.topics import ME, TASK, USER, Topic
from realtime.exceptions import RealtimeError, TokenError
from realtime.ownership import NOBODY, is_visitor, owner_of_user
from realtime.store import get_store
from realtime.store.reading import Ownership
from realtime.web.recall import arecall

from .rows import note_asked
from .tokens import Token, open_token

logger = get_logger("realtime.access")

#: Staff with this permission may see every task.
VIEW_PERMISSION: Final = "realtime.view_task"
#: Staff with this permission may cancel every task that they may see.
CANCEL_PERMISSION: Final = "realtime.cancel_task"

#: The one message for a missing task and for somebody else's task.
NOT_FOUND_MESSAGE: Final = "no such task, or not for you"

#: Threads for a synchronous ``CAN_SUBSCRIBE``; each may keep a connection to the database.
THREADS: Final = 4


class Refused(RealtimeError):
    """A request is refused; ``code`` is the code of the answer."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooMany(Refused):
    """A limit was reached; the client may repeat the request after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: int, *, is_refusal: bool = False) -> None:
        super().__init__(ErrorCode.LIMIT, message)
        self.retry_after = retry_after
        #: Whether it counts as a refused request.
        self.is_refusal = is_refusal


def not_found() -> Refused:
    """Return the one refusal for a missing task and for somebody else's task."""
    return Refused(ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE)


class Reason(enum.Enum):
    """Why somebody may see a topic."""

    OWNER = "owner"  #: the topic is theirs; that never changes
    RIGHT = "right"  #: a permission, or CAN_SUBSCRIBE; either may be withdrawn
    TOKEN = "token"  # noqa: S105 #: a token, until it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A permission for one topic, and the reason. ``topic`` is named as the store names it.

    ``owner`` is the topic's owner when the grant was made ("" for nobody, None for a task that
    nobody had published). The grant is void when the owner changes.
    """

    topic: Topic
    reason: Reason
    owner: str | None = None
    #: When a token was made and when it ends, in seconds since 1970.
    made: float = 0.0
    ends: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedTopic:
    """What ``REALTIME["CAN_SUBSCRIBE"]`` is called with, beside the user.

    ``owner`` is the ident of the owner's ``user:`` topic, "" for nobody, and None for a task that
    nobody published.
    """

    kind: str
    ident: str
    owner: str | None


# Seeing


async def authorise(topic: Topic, user: Any, token: str | None = None) -> Topic:
    """Return the topic as the store names it: ``user:me`` becomes ``user:<id>``.

    Raises Refused. If a token is given, the token alone decides.
    """
    return (await grant(topic, user, token)).topic


async def grant(
    topic: Topic, user: Any, token: str | None = None, *, visitor: str = NOBODY
) -> Grant:
    """Return the caller's grant for a topic. Raises Refused.

    ``visitor`` is the visitor id of the caller's session, where it counts.
    """
    if token is not None:
        return await _by_token(topic, token)
    me = owner_of_user(user)
    mine = {me, visitor} - {NOBODY}
    if topic.kind == USER and mine and topic.ident in (ME, *mine):
        ident = (me or visitor) if topic.ident == ME else topic.ident
        return Grant(topic=Topic(USER, ident), reason=Reason.OWNER, owner=ident)
    # The rest does the same work whether the task exists or not, so that the time of the answer
    # does not reveal it.
    if topic.kind == USER:
        owner = None if topic.ident == ME else topic.ident
    else:
        owned = await get_store().ownership(topic.ident)
        owner = owned.owner if owned else None
        if owner in mine:
            return Grant(topic=topic, reason=Reason.OWNER, owner=owner)
    if topic != (USER, ME) and await _has_right(user, topic, owner):
        if owner is None and not await arecall(topic.ident):
            raise not_found()
        return Grant(topic=topic, reason=Reason.RIGHT, owner=owner)
    if topic.kind == USER and not mine:
        raise Refused(ErrorCode.UNAUTHORIZED, "sign in, or give a token for this topic")
    raise not_found()


async def is_still_granted(granted: Grant, user: Any) -> bool:
    """Return whether a user, whose rights may have changed, may still see a granted topic."""
    if granted.reason is Reason.TOKEN:
        return True  # a timer ends it
    if granted.reason is Reason.OWNER:
        return bool(granted.owner) and granted.owner == owner_of_user(user)
    return await _has_right(user, granted.topic, granted.owner)


# Cancelling


async def authorise_cancel(task_id: str, user: Any, granted: Iterable[Grant] = ()) -> None:
    """Return if the caller may cancel a task: its owner, the holder of a token for it, or staff.

    ``granted`` has the grants by tokens that have not ended. Raises Refused.
    """
    owned = await get_store().ownership(task_id)
    owner = owned.owner if owned else NOBODY
    mine = bool(owner) and owner == owner_of_user(user)
    task, all_of_owner = Topic(TASK, task_id), Topic(USER, owner)
    by_token = any(
        (each.topic == task and _is_newer(each.made, owned))
        or (owner and each.topic == all_of_owner)
        for each in granted
    )
    # Checked for a missing task too: else the time of the answer would reveal it.
    allowed = mine or by_token or await _has_permission(user, CANCEL_PERMISSION)
    if owned is None or not allowed:
        raise not_found()


def grants_of(token: str) -> list[Grant]:
    """Return the grants of a token, for :func:`authorise_cancel`. Raises Refused."""
    opened = _open(token)
    return [
        Grant(topic=topic, reason=Reason.TOKEN, made=opened.made, ends=opened.ends)
        for topic in opened.topics
    ]


# By a token


async def _by_token(topic: Topic, token: str) -> Grant:
    opened = _open(token)
    users = [each for each in opened.topics if each.kind == USER]
    if topic == (USER, ME) and topic not in opened.topics and len(users) == 1:
        topic = users[0]
    owned = await get_store().ownership(topic.ident) if topic.kind == TASK else None
    owner = owned.owner if owned else None
    by = topic
    if topic not in opened.topics and owner:
        by = Topic(USER, owner)  # a token for all tasks of an owner is good for each of them
    if by not in opened.topics:
        raise Refused(ErrorCode.UNAUTHORIZED, "the token is for another topic")
    if by.kind == TASK:
        ended = not _is_newer(opened.made, owned)
    else:
        ended = is_visitor(by.ident) and await get_store().moved_to(by.ident) is not None
    if ended:
        raise Refused(ErrorCode.UNAUTHORIZED, "the token is not valid any more")
    return Grant(
        topic=topic,
        reason=Reason.TOKEN,
        owner=topic.ident if topic.kind == USER else owner,
        made=opened.made,
        ends=opened.ends,
    )


def _open(token: str) -> Token:
    try:
        return open_token(token)
    except TokenError as error:
        raise Refused(ErrorCode.UNAUTHORIZED, str(error)) from None


def _is_newer(made: float, owned: Ownership | None) -> bool:
    """Return whether a token was made after the task came to its present owner."""
    return owned is None or owned.since <= made


# By a right


async def _has_right(user: Any, topic: Topic, owner: str | None) -> bool:
    if await _has_permission(user, VIEW_PERMISSION):
        return True
    return await _can_subscribe(
        user, RequestedTopic(kind=topic.kind, ident=topic.ident, owner=owner)
    )


async def _has_permission(user: Any, permission: str) -> bool:
    if not getattr(user, "is_staff", False):
        return False
    note_asked(user)
    return bool(await database_sync_to_async(user.has_perm)(permission))


async def _can_subscribe(user: Any, requested: RequestedTopic) -> bool:
    """Return what ``CAN_SUBSCRIBE`` answers; False without one, and where it raises (logged)."""
    path = conf().CAN_SUBSCRIBE
    if not path:
        return False
    note_asked(user)
    try:
        decide = import_string(path)
        if inspect.iscoroutinefunction(decide):
            answer = await decide(user, requested)
        else:
            # Not the one thread of the database: a slow function would delay every handshake and
            # every access check of the process.
            in_thread = DatabaseSyncToAsync(decide, thread_sensitive=False, executor=_threads())
            answer = await in_thread(user, requested)
    except Exception:
        logger.exception("can_subscribe_failed topic=%s:%s", requested.kind, requested.ident)
        return False
    return answer is True  # a value that is merely truthy allows nothing


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="realtime-policy")
