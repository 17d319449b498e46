"""Who may see what. Private by default: what nothing here allows is ``not_found``."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain
from django.utils.module_loading import import_string

from realtime.broker import get_broker
from realtime.conf import conf
from realtime.core.codes import ErrorCode
from realtime.core.logs import get_logger
from realtime.core.topics import ME, TASK, USER, Topic
from realtime.exceptions import RealtimeError, TokenError
from realtime.ownership import owner_of_user

from .recall import arecall
from .tokens import open_token

logger = get_logger("realtime.access")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What ``REALTIME["CAN_SUBSCRIBE"]`` is asked about.

    ``owner`` is whose it is: the ident of a ``user:`` topic, "" for nobody's, and None for a task
    that nobody published.
    """

    kind: str
    ident: str
    owner: str | None


class Reason(enum.Enum):
    """Why somebody may see a topic."""

    OWNER = "owner"  #: it is theirs; that never changes
    RIGHT = "right"  #: a permission, or what CAN_SUBSCRIBE said; either may be withdrawn
    TOKEN = "token"  # noqa: S105 #: a token, until it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to see a topic, and why. ``topic`` is named as the store knows it."""

    topic: Topic
    reason: Reason
    owner: str | None = None
    #: When a token ends, in seconds since 1970.
    ends: float = 0.0


async def authorise(topic: Topic, user: Any, token: str | None = None) -> Topic:
    """Return the topic as the store knows it (``user:me`` has become ``user:<id>``).

    Raises Refused. A token, where one is given, decides alone.
    """
    return (await grant(topic, user, token)).topic


async def grant(topic: Topic, user: Any, token: str | None = None) -> Grant:
    """Return why the caller may see a topic. Raises Refused."""
    if token is not None:
        return await _by_token(topic, token)
    me = owner_of_user(user)
    if topic.kind == USER and topic.ident in (ME, me) and me:
        return Grant(topic=Topic(USER, me), reason=Reason.OWNER, owner=me)
    # What follows does the same for what is there and what is not, so that the time of the answer
    # does not tell them apart.
    if topic.kind == USER:
        owner = None if topic.ident == ME else topic.ident
    else:
        owner = await get_broker().owner(topic.ident)
        if me and owner == me:
            return Grant(topic=topic, reason=Reason.OWNER, owner=owner)
    if topic != (USER, ME) and await _has_right(user, topic, owner):
        if owner is None and not await arecall(topic.ident):
            raise not_found()
        return Grant(topic=topic, reason=Reason.RIGHT, owner=owner)
    if topic.kind == USER and not me:
        raise Refused(ErrorCode.UNAUTHORIZED, "sign in, or give a token for this topic")
    raise not_found()


async def still_stands(granted: Grant, user: Any) -> bool:
    """Return whether a user who may have lost rights may still see what they were granted."""
    if granted.reason is Reason.TOKEN:
        return True  # it ends by its own clock
    if granted.reason is Reason.OWNER:
        return granted.owner == owner_of_user(user)
    return await _has_right(user, granted.topic, granted.owner)


async def authorise_cancel(task_id: str, user: Any, granted: Iterable[Topic] = ()) -> None:
    """Return if the caller may cancel the task: its owner, a token's holder, or staff.

    ``granted`` holds the topics that tokens have granted. Raises Refused.
    """
    owner = await get_broker().owner(task_id)
    mine = bool(owner) and owner == owner_of_user(user)
    named = bool({Topic(TASK, task_id), Topic(USER, owner or "")} & set(granted))
    # Also asked about what is not there: else the time of the answer would tell.
    allowed = mine or named or await _is_allowed(user, CANCEL_PERMISSION)
    if owner is None or not allowed:
        raise not_found()


async def _by_token(topic: Topic, token: str) -> Grant:
    try:
        named, ends = open_token(token)
    except TokenError as error:
        raise Refused(ErrorCode.UNAUTHORIZED, str(error)) from None
    users = [each for each in named if each.kind == USER]
    if topic == (USER, ME) and topic not in named and len(users) == 1:
        topic = users[0]
    owner = None
    if topic not in named and topic.kind == TASK and users:
        # Who may see all that somebody started may see each of it.
        owner = await get_broker().owner(topic.ident)
    if topic in named or (owner and Topic(USER, owner) in users):
        return Grant(topic=topic, reason=Reason.TOKEN, ends=ends)
    raise Refused(ErrorCode.UNAUTHORIZED, "the token is for another topic")


async def _has_right(user: Any, topic: Topic, owner: str | None) -> bool:
    if await _is_allowed(user, VIEW_PERMISSION):
        return True
    path = conf().CAN_SUBSCRIBE
    if not path:
        return False
    asked = Asked(kind=topic.kind, ident=topic.ident, owner=owner)
    try:
        decide = import_string(path)
        if inspect.iscoroutinefunction(decide):
            answer = await decide(user, asked)
        else:
            answer = await database_sync_to_async(decide)(user, asked)
    except Exception:
        logger.exception("can_subscribe_failed topic=%s", topic)
        return False
    return answer is True  # nothing that merely looks true


async def _is_allowed(user: Any, permission: str) -> bool:
    if not getattr(user, "is_staff", False):
        return False
    return bool(await database_sync_to_async(user.has_perm)(permission))


def is_allowed_origin(scope: Mapping[str, Any]) -> bool:
    """Return whether a handshake comes from a page that may connect (RFC 6455, section 10.2).

    Allowed are the page's own origin, if its host is in ALLOWED_HOSTS, what
    CSRF_TRUSTED_ORIGINS lists, and what ``REALTIME["ALLOWED_ORIGINS"]`` lists.
    """
    origins = [value for name, value in scope["headers"] if name == b"origin"]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(origins) != 1 or len(hosts) != 1:
        return False
    origin, host = origins[0].decode("latin-1"), hosts[0].decode("latin-1").lower()
    if _is_listed(origin):
        return True
    try:
        parts = urlsplit(origin)
        own_port, port = urlsplit(f"//{host}").port, parts.port
    except ValueError:
        return False
    secure = _is_secure(scope)
    default = 443 if secure else 80
    return (
        origin == f"{parts.scheme}://{parts.netloc}"
        and "@" not in parts.netloc
        and parts.scheme == ("https" if secure else "http")
        and parts.hostname == urlsplit(f"//{host}").hostname
        and (port or default) == (own_port or default)
        and validate_host(split_domain_port(host)[0], _allowed_hosts())
    )


def _is_listed(origin: str) -> bool:
    """Read the lists as Django reads its own: ``https://*.example.com`` means every subdomain."""
    scheme, _, host = origin.partition("://")
    for allowed in (*conf().ALLOWED_ORIGINS, *django_settings.CSRF_TRUSTED_ORIGINS):
        wanted, _, pattern = allowed.partition("://")
        if scheme == wanted and is_same_domain(host, pattern.removeprefix("*")):
            return True
    return False


def _is_secure(scope: Mapping[str, Any]) -> bool:
    if scope.get("scheme") == "wss":
        return True
    # The proxy that ends TLS says so in the header that the operator told Django to believe.
    header = django_settings.SECURE_PROXY_SSL_HEADER
    if not header:
        return False
    name, value = header
    wanted = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
    return (wanted, value.encode()) in scope["headers"]


def _allowed_hosts() -> list[str]:
    hosts = list(django_settings.ALLOWED_HOSTS)
    return hosts or ([".localhost", "127.0.0.1", "[::1]"] if django_settings.DEBUG else [])
