"""The HTTP side of the wire contract. Asynchronous views: nothing here holds a thread."""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, NoReturn, ParamSpec

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.csrf import logger as csrf_logger
from django.utils.cache import add_never_cache_headers
from django.utils.log import log_response
from django.views.decorators.csrf import csrf_exempt

from realtime.broker import get_broker
from realtime.core.codes import ErrorCode
from realtime.core.jsontext import dumps, timestamp
from realtime.core.logs import get_logger
from realtime.core.topics import ME, TASK, USER, Topic
from realtime.exceptions import TokenError
from realtime.ownership import owner_of_request
from realtime.redaction import encode_result
from realtime.results import stored_result

from .auth import Refused, authorise, authorise_cancel, not_found
from .cancel import request_cancel
from .drain import is_draining
from .hub import get_hub
from .recall import arecall
from .tokens import make_token, read_token

logger = get_logger("realtime.http")
P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponse]]

_STATUS: Final = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.LIMIT: 429,
    ErrorCode.INTERNAL: 500,
}
_TOPICS_OF_A_TOKEN: Final = 128
#: Seconds in which the store must answer a readiness check.
_READY_TIMEOUT: Final = 2.0


def _answers(*methods: str) -> Callable[[View[P]], View[P]]:
    """Answer these methods only; turn what a view refuses, and what fails, into an error object."""
    allowed = ", ".join(methods)

    def wrap(view: View[P]) -> View[P]:
        @functools.wraps(view)
        async def answer(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponse:
            if request.method not in methods:
                refusal = _error(ErrorCode.BAD_REQUEST, f"use {allowed}", status=405)
                refusal["Allow"] = allowed
                return refusal
            try:
                if request.method not in ("GET", "HEAD"):
                    await sync_to_async(_check_csrf)(request)
                response = await view(request, *args, **kwargs)
            except Refused as refused:
                response = _error(refused.code, str(refused))
            except RequestDataTooBig:
                response = _error(ErrorCode.TOO_LARGE, "the body is too large")
            except (BadRequest, MultiPartParserError, SuspiciousOperation):
                response = _error(ErrorCode.BAD_REQUEST, "the body cannot be read")
            except Exception:
                ref = secrets.token_hex(4)
                logger.exception("request_failed ref=%s", ref)
                response = _error(ErrorCode.INTERNAL, "the service failed, try again", ref=ref)
            add_never_cache_headers(response)
            return response

        # Django's middleware would answer with a page, before any view is asked.
        return csrf_exempt(answer)

    return wrap


class _CsrfCheck(CsrfViewMiddleware):
    """Django's own check of where a request comes from, with the contract's answer."""

    def _reject(self, request: HttpRequest, reason: str) -> NoReturn:
        log_response(
            "Forbidden (%s): %s",
            reason,
            request.path,
            response=HttpResponse(status=403),
            request=request,
            logger=csrf_logger,
        )
        raise Refused(ErrorCode.FORBIDDEN, "the CSRF token is missing or wrong")


def _check_csrf(request: HttpRequest) -> None:
    """Raise Refused for what another page may have made a browser ask for."""

    def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    check = _CsrfCheck(view)
    check.process_request(request)
    check.process_view(request, view, (), {})


def _error(
    code: ErrorCode, message: str, *, status: int | None = None, **more: str
) -> JsonResponse:
    error = {"code": code, "message": message, **more}
    return JsonResponse({"error": error}, status=status or _STATUS[code])


@_answers("GET", "HEAD")
async def task(request: HttpRequest, task_id: str) -> HttpResponse:
    """Answer with a task's status and its position."""
    topic = await _authorise_task(request, task_id)
    reading = await get_broker().read(topic)
    if not reading.texts and await arecall(topic.ident):
        reading = await get_broker().read(topic)
    if not reading.texts:
        raise not_found()
    epoch, offset = reading.position
    text = f'{{"epoch":"{epoch}","offset":{offset},"status":{reading.texts[0]}}}'
    return HttpResponse(text, content_type="application/json")


@_answers("GET", "HEAD")
async def result(request: HttpRequest, task_id: str) -> HttpResponse:
    """Answer with a task's whole result, as JSON."""
    topic = await _authorise_task(request, task_id)
    text = await sync_to_async(_whole_result, thread_sensitive=False)(topic.ident)
    if text is None:
        raise Refused(ErrorCode.NOT_FOUND, "this task has no result, or it is not kept any more")
    return HttpResponse(text, content_type="application/json")


@_answers("POST")
async def cancel(request: HttpRequest, task_id: str) -> HttpResponse:
    """Pass on the wish to cancel a task."""
    topic = _task_topic(task_id)
    await authorise_cancel(topic.ident, await request.auser(), _granted(request))
    await request_cancel(topic.ident)
    return JsonResponse({"task_id": topic.ident}, status=202)


@_answers("POST")
async def tokens(request: HttpRequest) -> HttpResponse:
    """Answer with a token for topics that the caller may see."""
    if request.content_type != "application/json":
        raise Refused(ErrorCode.BAD_REQUEST, "the content type must be application/json")
    granted = [await _grantable(request, topic) for topic in _asked_topics(request)]
    token, ends = make_token(granted)
    return JsonResponse({"token": token, "expires_at": json.loads(timestamp(ends))}, status=201)


@_answers("GET", "HEAD")
async def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process is alive."""
    return HttpResponse("ok\n", content_type="text/plain")


@_answers("GET", "HEAD")
async def readyz(request: HttpRequest) -> HttpResponse:
    """Answer whether new work is welcome: not while nothing is heard, nor at the end."""
    if is_draining():
        return _error(ErrorCode.INTERNAL, "this process is about to end", status=503)
    if not get_hub().hearing:
        return _error(ErrorCode.INTERNAL, "the channel layer does not answer", status=503)
    try:
        async with asyncio.timeout(_READY_TIMEOUT):
            await get_broker().places(["ready"])
    except Exception:  # noqa: BLE001 - whatever it is, this process cannot serve now
        return _error(ErrorCode.INTERNAL, "the store does not answer", status=503)
    return HttpResponse("ready\n", content_type="text/plain")


def _task_topic(task_id: str) -> Topic:
    try:
        return Topic.parse(f"{TASK}:{task_id}")
    except ValueError:
        raise not_found() from None  # an id that no topic can name is the id of no task


async def _authorise_task(request: HttpRequest, task_id: str) -> Topic:
    return await authorise(_task_topic(task_id), await request.auser(), _bearer(request))


def _bearer(request: HttpRequest) -> str | None:
    """Return the token of ``Authorization: Bearer …`` (RFC 6750, section 2.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _granted(request: HttpRequest) -> frozenset[Topic]:
    token = _bearer(request)
    if token is None:
        return frozenset()
    try:
        return read_token(token)
    except TokenError as error:
        raise Refused(ErrorCode.UNAUTHORIZED, str(error)) from None


def _whole_result(task_id: str) -> str | None:
    found, value = stored_result(task_id)
    if found:
        return encode_result(value)[0]
    status = get_broker().status(task_id)
    if status is None or not status.successful or status.truncated:
        return None
    return dumps(status.result)


def _asked_topics(request: HttpRequest) -> list[Topic]:
    try:
        topics = json.loads(request.body)["topics"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Refused(ErrorCode.BAD_REQUEST, 'the body must be {"topics": [...]}') from None
    if not isinstance(topics, list) or not 1 <= len(topics) <= _TOPICS_OF_A_TOKEN:
        limits = f"topics must be a list of 1 to {_TOPICS_OF_A_TOKEN} topics"
        raise Refused(ErrorCode.BAD_REQUEST, limits)
    try:
        return [Topic.parse(topic) for topic in topics]
    except ValueError as error:
        raise Refused(ErrorCode.BAD_REQUEST, str(error)) from None


async def _grantable(request: HttpRequest, topic: Topic) -> Topic:
    owner = await sync_to_async(owner_of_request)(request, create=True)
    own = Topic(USER, owner)
    if owner and topic in (own, Topic(USER, ME)):
        return own
    return await authorise(topic, await request.auser(), _bearer(request))
