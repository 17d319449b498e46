"""Who may see what. Private by default: what nothing here allows is ``not_found``."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from channels.db import database_sync_to_async

from realtime.core.codes import ErrorCode
from realtime.core.topics import ME, TASK, USER, Topic
from realtime.exceptions import RealtimeError, TokenError
from realtime.ownership import NOBODY, is_visitor, owner_of_user
from realtime.store import get_store
from realtime.store.base import Ownership
from realtime.web.recall import arecall

from .can_subscribe import Asked, can_subscribe
from .tokens import Token, open_token

#: Staff with this permission see every task.
VIEW_PERMISSION: Final = "realtime.view_task"
#: Staff with this permission may cancel every task that they see.
CANCEL_PERMISSION: Final = "realtime.cancel_task"

#: Said of a missing task and of somebody else's alike.
NOT_FOUND_MESSAGE: Final = "no such task, or not for you"


class Refused(RealtimeError):
    """The caller may not have what was asked for; ``code`` says how to answer."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def not_found() -> Refused:
    """Return the one answer for what is not there and for what is not the caller's."""
    return Refused(ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE)


class Reason(enum.Enum):
    """Why somebody may see a topic."""

    OWNER = "owner"  #: it is theirs; that never changes
    RIGHT = "right"  #: a permission, or what CAN_SUBSCRIBE said; either may be withdrawn
    TOKEN = "token"  # noqa: S105 #: a token, until it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to see a topic, and why. ``topic`` is named as the store knows it.

    ``owner`` is whose it was when the right was granted ("" for nobody's, None for a task that
    nobody had published): if that changes, the right is void.
    """

    topic: Topic
    reason: Reason
    owner: str | None = None
    #: When a token was made and when it ends, in seconds since 1970.
    made: float = 0.0
    ends: float = 0.0


async def authorise(topic: Topic, user: Any, token: str | None = None) -> Topic:
    """Return the topic as the store knows it (``user:me`` has become ``user:<id>``).

    Raises Refused. A token, where one is given, decides alone.
    """
    return (await grant(topic, user, token)).topic


async def grant(
    topic: Topic, user: Any, token: str | None = None, *, visitor: str = NOBODY
) -> Grant:
    """Return why the caller may see a topic. Raises Refused.

    ``visitor`` is the visitor id that the caller's session keeps, where that counts.
    """
    if token is not None:
        return await _by_token(topic, token)
    me = owner_of_user(user)
    mine = {me, visitor} - {NOBODY}
    if topic.kind == USER and mine and topic.ident in (ME, *mine):
        named = (me or visitor) if topic.ident == ME else topic.ident
        return Grant(topic=Topic(USER, named), reason=Reason.OWNER, owner=named)
    # What follows does the same for what is there and what is not, so that the time of the answer
    # does not tell them apart.
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


async def still_stands(granted: Grant, user: Any) -> bool:
    """Return whether a user who may have lost rights may still see what they were granted."""
    if granted.reason is Reason.TOKEN:
        return True  # it ends by its own clock
    if granted.reason is Reason.OWNER:
        return bool(granted.owner) and granted.owner == owner_of_user(user)
    return await _has_right(user, granted.topic, granted.owner)


async def authorise_cancel(task_id: str, user: Any, granted: Iterable[Grant] = ()) -> None:
    """Return if the caller may cancel the task: its owner, a token's holder, or staff.

    ``granted`` holds what tokens that have not ended granted. Raises Refused.
    """
    owned = await get_store().ownership(task_id)
    owner = owned.owner if owned else NOBODY
    mine = bool(owner) and owner == owner_of_user(user)
    task, whole = Topic(TASK, task_id), Topic(USER, owner)
    named = any(
        (each.topic == task and _is_newer(each.made, owned)) or (owner and each.topic == whole)
        for each in granted
    )
    # Also asked about what is not there: else the time of the answer would tell.
    allowed = mine or named or await _is_allowed(user, CANCEL_PERMISSION)
    if owned is None or not allowed:
        raise not_found()


def grants_of(token: str) -> list[Grant]:
    """Return what a token grants, topic by topic, for :func:`authorise_cancel`. Raises Refused."""
    opened = _opened(token)
    return [
        Grant(topic=topic, reason=Reason.TOKEN, made=opened.made, ends=opened.ends)
        for topic in opened.topics
    ]


def _opened(token: str) -> Token:
    try:
        return open_token(token)
    except TokenError as error:
        raise Refused(ErrorCode.UNAUTHORIZED, str(error)) from None


def _is_newer(made: float, owned: Ownership | None) -> bool:
    """Return whether a token was made after the task came to its present owner."""
    return owned is None or owned.since <= made


async def _by_token(topic: Topic, token: str) -> Grant:
    opened = _opened(token)
    users = [each for each in opened.topics if each.kind == USER]
    if topic == (USER, ME) and topic not in opened.topics and len(users) == 1:
        topic = users[0]
    owned = await get_store().ownership(topic.ident) if topic.kind == TASK else None
    owner = owned.owner if owned else None
    by = topic
    if topic not in opened.topics and owner:
        by = Topic(USER, owner)  # who may see all that somebody started may see each of it
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


async def _has_right(user: Any, topic: Topic, owner: str | None) -> bool:
    if await _is_allowed(user, VIEW_PERMISSION):
        return True
    return await can_subscribe(user, Asked(kind=topic.kind, ident=topic.ident, owner=owner))


async def _is_allowed(user: Any, permission: str) -> bool:
    if not getattr(user, "is_staff", False):
        return False
    return bool(await database_sync_to_async(user.has_perm)(permission))
