"""The HTTP side of the wire contract. The views are asynchronous: none occupies a thread."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse

from realtime.core import frames
from realtime.core.codes import ErrorCode
from realtime.core.frames import LONGEST_PAGE, PAGE
from realtime.core.jsontext import dumps, timestamp
from realtime.core.logs import get_logger
from realtime.core.topics import ME, TASK, USER, Topic
from realtime.ownership import NOBODY, is_signed_in, owner_of_request, visitor_of
from realtime.store import get_store
from realtime.store.reading import Reading

from .access.identity import anonymous
from .access.origins import is_allowed_origin
from .access.policy import Refused, authorise, authorise_cancel, grant, grants_of, not_found
from .access.tokens import make_token
from .cancel import request_cancel
from .drain import is_draining
from .endpoint import bearer, endpoint, error
from .hub import get_hub
from .paths import from_path
from .recall import arecall, whole_result
from .registry import is_full
from .subscriptions import ATTEMPTS, has_other_owner, listed

logger = get_logger("realtime.http")

_TOPICS_OF_A_TOKEN: Final = 128
_NO_LEADER: Final = "no process reconciles: endings that nobody published are not found"
#: Seconds after which a client may try to open a WebSocket again.
_RETRY_AFTER: Final = 5
#: Seconds in which the store must answer a readiness check.
_READY_TIMEOUT: Final = 2.0


@endpoint("GET", "HEAD")
async def task(request: HttpRequest, task_id: str) -> HttpResponse:
    """Answer with a task's status and its position."""
    topic = _task_topic(task_id)
    reading = await _read(request, topic)
    if not reading.texts and await arecall(topic.ident):
        reading = await _read(request, topic)
    if not reading.texts:
        raise not_found()
    epoch, offset = reading.position
    text = f'{{"epoch":"{epoch}","offset":{offset},"status":{reading.texts[0]}}}'
    return HttpResponse(text, content_type="application/json")


@endpoint("GET", "HEAD")
async def topic(request: HttpRequest, topic: str) -> HttpResponse:
    """Answer with a page of a topic's tasks: the first page, or the one after another."""
    named = _named_topic(topic)
    limit, after = _limit(request), request.GET.get("after", "")
    if not after:
        reading = await _read(request, named, limit)
        text = frames.topic_page(reading.position, reading.texts, listed(reading))
        return HttpResponse(text, content_type="application/json")
    if not named.has_list:
        raise Refused(ErrorCode.BAD_REQUEST, "a topic of one task has no pages")
    granted = await authorise(named, await _user(request), bearer(request))
    try:
        page = await get_store().page(granted, after, limit)
    except ValueError:
        message = "after must be the next of another page"
        raise Refused(ErrorCode.BAD_REQUEST, message) from None
    return HttpResponse(
        f'{{"snapshot":[{",".join(page.texts)}],"next":{dumps(page.next)}}}',
        content_type="application/json",
    )


@endpoint("GET", "HEAD")
async def result(request: HttpRequest, task_id: str) -> HttpResponse:
    """Answer with a task's whole result, as JSON."""
    granted = await grant(_task_topic(task_id), await _user(request), bearer(request))
    text = await whole_result(granted.topic.ident)
    owned = await get_store().ownership(granted.topic.ident)
    if (owned.owner if owned else NOBODY) != (granted.owner or NOBODY):
        raise not_found()  # the result may be of another owner's life
    if text is None:
        raise Refused(ErrorCode.NOT_FOUND, "this task has no result, or it is not kept any more")
    return HttpResponse(text, content_type="application/json")


@endpoint("POST", by_token=True)
async def cancel(request: HttpRequest, task_id: str) -> HttpResponse:
    """Request that a task is cancelled."""
    topic, token = _task_topic(task_id), bearer(request)
    if token is None:
        await authorise_cancel(topic.ident, await _user(request))
    else:
        await authorise_cancel(topic.ident, None, grants_of(token))
    await request_cancel(topic.ident)
    return JsonResponse({"task_id": topic.ident}, status=202)


@endpoint("GET", "HEAD", "POST")
async def no_task(request: HttpRequest, path: str) -> HttpResponse:
    """Answer for a path that names no task as for a missing task."""
    await _authorise_task(request, "~")
    raise not_found()


@endpoint("POST")
async def tokens(request: HttpRequest) -> HttpResponse:
    """Answer with a token for those topics that the caller's session or CAN_SUBSCRIBE allows.

    A token in the request is ignored: it could renew itself for ever. Topics that are refused are
    listed; if all are refused, the answer is the first refusal.
    """
    if request.content_type != "application/json":
        raise Refused(ErrorCode.BAD_REQUEST, "the content type must be application/json")
    requested = list(dict.fromkeys(_requested_topics(request)))
    user = await _user(request)
    if Topic(USER, ME) in requested and not is_signed_in(user):
        # The page is about to subscribe to what this visitor starts.
        await sync_to_async(owner_of_request)(request, create=True)
    visitor = await sync_to_async(visitor_of)(request)
    if visitor and await get_store().moved_to(visitor) is not None:
        visitor = NOBODY  # the tasks have become a user's, who must sign in
    granted, refused = [], []
    for topic in requested:
        try:
            granted.append((topic, (await grant(topic, user, visitor=visitor)).topic))
        except Refused as refusal:
            refused.append((topic, refusal))
    if not granted:
        if (given := bearer(request)) is not None:
            grants_of(given)  # an invalid token is the better answer
        raise refused[0][1]
    try:
        token, ends = make_token(named for _, named in granted)
    except ValueError as mistake:
        raise Refused(ErrorCode.TOO_LARGE, str(mistake)) from None
    answer = {
        "token": token,
        "expires_at": json.loads(timestamp(ends)),
        "expires_in": round(ends.timestamp() - time.time()),
        "topics": [str(topic) for topic, _ in granted],
        "refused": [str(topic) for topic, _ in refused],
    }
    return JsonResponse(answer, status=201)


@endpoint("GET", "HEAD")
async def handshake(request: HttpRequest) -> HttpResponse:
    """Answer why a WebSocket would be refused: a browser does not report it to the page.

    A browser sends the Origin in a handshake, but not in a GET from the same site. There the
    client sends it in a header of its own.
    """
    if is_draining():
        return _retry_later(ErrorCode.INTERNAL, "the server restarts")
    if is_full():
        return _retry_later(ErrorCode.LIMIT, "no room for more connections")
    named = request.headers.get("X-Realtime-Origin") or request.headers.get("Origin")
    if named is not None and isinstance(request, ASGIRequest):
        kept = [pair for pair in request.scope["headers"] if pair[0] != b"origin"]
        headers = [*kept, (b"origin", named.encode(errors="replace"))]
        if not is_allowed_origin({**request.scope, "headers": headers}):
            message = "this page's origin is not allowed; the server's log names the setting"
            return error(ErrorCode.FORBIDDEN, message)
    refusal = error(ErrorCode.BAD_REQUEST, "this is the address of a WebSocket", status=426)
    refusal["Upgrade"] = "websocket"
    return refusal


def _retry_later(code: ErrorCode, message: str) -> HttpResponse:
    refusal = error(code, message, status=503)
    refusal["Retry-After"] = str(_RETRY_AFTER)
    return refusal


@endpoint("GET", "HEAD")
async def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process is alive."""
    return HttpResponse("ok\n", content_type="text/plain")


@endpoint("GET", "HEAD")
async def readyz(request: HttpRequest) -> HttpResponse:
    """Answer whether the process accepts new clients: not without Redis, nor while it drains."""
    if is_draining():
        return error(ErrorCode.INTERNAL, "this process is about to end", status=503)
    if not get_hub().is_receiving:
        return error(ErrorCode.INTERNAL, "the channel layer does not answer", status=503)
    try:
        async with asyncio.timeout(_READY_TIMEOUT):
            await get_store().heads(["ready"])
            has_leader = await get_store().has_leader()
    except Exception:  # noqa: BLE001 - whatever failed, this process cannot serve now
        return error(ErrorCode.INTERNAL, "the store does not answer", status=503)
    if not has_leader:
        # No reason to refuse clients: another process would serve them no better.
        logger.warning("not_reconciled reason=%r", _NO_LEADER)
    text = "ready\n" if has_leader else f"ready, but {_NO_LEADER}\n"
    return HttpResponse(text, content_type="text/plain")


def _task_topic(segment: str) -> Topic:
    try:
        return Topic.parse(f"{TASK}:{from_path(segment)}")
    except ValueError:
        # No topic can name it. Continue with an id that does not exist, so that the answer takes
        # as long as for any other missing task.
        return Topic(TASK, secrets.token_hex(16))


def _named_topic(text: str) -> Topic:
    kind, _, segment = text.partition(":")
    if kind == TASK:
        return _task_topic(segment)
    try:
        return Topic.parse(f"{kind}:{from_path(segment)}")
    except ValueError as mistake:
        raise Refused(ErrorCode.BAD_REQUEST, str(mistake)) from None


def _limit(request: HttpRequest) -> int:
    given = request.GET.get("limit", str(PAGE))
    if not re.fullmatch(r"[0-9]{1,3}", given, re.ASCII) or not 1 <= int(given) <= LONGEST_PAGE:
        message = f"limit must be a whole number from 1 to {LONGEST_PAGE}"
        raise Refused(ErrorCode.BAD_REQUEST, message)
    return int(given)


async def _read(request: HttpRequest, topic: Topic, limit: int = PAGE) -> Reading:
    """Return a reading of a topic that the caller may see; decide again if the owner changes."""
    user, token = await _user(request), bearer(request)
    for _ in range(ATTEMPTS):
        granted = await grant(topic, user, token)
        reading = await get_store().read(granted.topic, limit=limit)
        if not has_other_owner(granted, reading):
            return reading
    raise not_found()


async def _authorise_task(request: HttpRequest, segment: str) -> Topic:
    return await authorise(_task_topic(segment), await _user(request), bearer(request))


async def _user(request: HttpRequest) -> Any:
    """Return the request's user; an anonymous one, or None, without authentication middleware.

    Not ``request.auser()``: a project's own backend may have no ``aget_user``, and its middleware
    may have replaced ``request.user`` alone, which decides who owns tasks.
    """
    return await sync_to_async(_loaded_user)(request)


def _loaded_user(request: HttpRequest) -> Any:
    user = getattr(request, "user", None)
    if user is None:
        return anonymous()
    is_signed_in(user)  # loads the lazy object here, in a thread
    return user


def _requested_topics(request: HttpRequest) -> list[Topic]:
    try:
        topics = json.loads(request.body)["topics"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Refused(ErrorCode.BAD_REQUEST, 'the body must be {"topics": [...]}') from None
    if not isinstance(topics, list) or not 1 <= len(topics) <= _TOPICS_OF_A_TOKEN:
        limits = f"topics must be a list of 1 to {_TOPICS_OF_A_TOKEN} topics"
        raise Refused(ErrorCode.BAD_REQUEST, limits)
    try:
        return [Topic.parse(topic) for topic in topics]
    except ValueError as mistake:
        raise Refused(ErrorCode.BAD_REQUEST, str(mistake)) from None
