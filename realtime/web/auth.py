"""Who may see what. Private by default: what nothing here allows is ``not_found``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from realtime.broker import get_broker
from realtime.conf import conf
from realtime.core.codes import ErrorCode
from realtime.core.topics import ME, TASK, USER, Topic
from realtime.exceptions import RealtimeError, TokenError
from realtime.ownership import owner_of_user

from .recall import arecall
from .tokens import read_token

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


async def authorise(topic: Topic, user: Any, token: str | None = None) -> Topic:
    """Return the topic as the store knows it (``user:me`` has become ``user:<id>``).

    Raises Refused. A token, where one is given, decides alone.
    """
    if token is not None:
        return await _by_token(topic, token)
    owner = owner_of_user(user)
    if topic.kind == USER:
        if not owner:
            raise Refused(ErrorCode.UNAUTHORIZED, "sign in, or give a token for this topic")
        if topic.ident in (ME, owner):
            return Topic(USER, owner)
        if await _is_allowed(user, VIEW_PERMISSION):
            return topic
        raise not_found()
    found = await get_broker().owner(topic.ident)
    mine = bool(owner) and found == owner
    if not mine and not await _is_allowed(user, VIEW_PERMISSION):
        raise not_found()
    if found is None and not await arecall(topic.ident):
        raise not_found()
    return topic


async def authorise_cancel(task_id: str, user: Any, granted: Iterable[Topic] = ()) -> None:
    """Return if the caller may cancel the task: its owner, a token's holder, or staff.

    ``granted`` holds the topics that tokens have granted. Raises Refused.
    """
    owner = await get_broker().owner(task_id)
    if owner is None:
        raise not_found()
    if owner and owner == owner_of_user(user):
        return
    if {Topic(TASK, task_id), Topic(USER, owner)} & set(granted):
        return
    if not await _is_allowed(user, CANCEL_PERMISSION):
        raise not_found()


async def _by_token(topic: Topic, token: str) -> Topic:
    try:
        granted = read_token(token)
    except TokenError as error:
        raise Refused(ErrorCode.UNAUTHORIZED, str(error)) from None
    if topic in granted:
        return topic
    users = [grant for grant in granted if grant.kind == USER]
    if topic == Topic(USER, ME) and len(users) == 1:
        return users[0]
    # Who may see all that somebody started may see each of it.
    if topic.kind == TASK and users:
        owner = await get_broker().owner(topic.ident)
        if owner and Topic(USER, owner) in users:
            return topic
    raise Refused(ErrorCode.UNAUTHORIZED, "the token is for another topic")


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
