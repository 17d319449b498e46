"""Answers to HTTP requests by the wire contract, also when a view refuses or fails."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, NoReturn, ParamSpec

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.csrf import logger as csrf_logger
from django.utils.cache import add_never_cache_headers
from django.utils.log import log_response
from django.views.decorators.csrf import csrf_exempt

from realtime.core.codes import ErrorCode
from realtime.core.logs import get_logger

from .access.policy import Refused
from .reconciler import reconciler
from .requests import TIME_LIMIT

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


def endpoint(*methods: str, by_token: bool = False) -> Callable[[View[P]], View[P]]:
    """Allow these methods only, and answer a refusal or a failure with an error object.

    With ``by_token`` a request that carries a token needs no CSRF token, and its session is
    ignored: no other page can make a browser send the ``Authorization`` header.
    """
    allowed = ", ".join(methods)

    def wrap(view: View[P]) -> View[P]:
        @functools.wraps(view)
        async def answer(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponse:
            if isinstance(request, ASGIRequest):
                reconciler.start_if_served(request.scope)  # for projects with their own router
            if request.method not in methods:
                refusal = error(ErrorCode.BAD_REQUEST, f"use {allowed}", status=405)
                refusal["Allow"] = allowed
                return refusal
            try:
                safe = request.method in ("GET", "HEAD")
                if not safe and not (by_token and bearer(request) is not None):
                    await sync_to_async(_check_csrf)(request)
                async with asyncio.timeout(TIME_LIMIT):
                    response = await view(request, *args, **kwargs)
            except TimeoutError:
                message = "the store or the result backend does not answer in time, try again"
                response = error(ErrorCode.INTERNAL, message, status=503)
            except Refused as refused:
                response = error(refused.code, str(refused))
            except RequestDataTooBig:
                response = error(ErrorCode.TOO_LARGE, "the body is too large")
            except (BadRequest, MultiPartParserError, SuspiciousOperation):
                response = error(ErrorCode.BAD_REQUEST, "the body cannot be read")
            except Exception:
                ref = secrets.token_hex(4)
                logger.exception("request_failed ref=%s", ref)
                response = error(ErrorCode.INTERNAL, "the service failed, try again", ref=ref)
            add_never_cache_headers(response)
            return response

        exempt: View[P] = _exempt(answer)
        return exempt

    return wrap


def _exempt(view: Any) -> Any:
    """Exempt a view from what Django's middleware and settings do to every view.

    CSRF and access are checked here, and answered by the contract instead of with a page or a
    redirect to sign in. ATOMIC_REQUESTS fails with asynchronous views; these write to no database.
    """
    view.login_required = False  # LoginRequiredMiddleware
    view.realtime_publishes_nothing = True  # OwnerMiddleware
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return csrf_exempt(view)


class _CsrfCheck(CsrfViewMiddleware):
    """Django's CSRF check, with the contract's answer."""

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
    """Raise Refused for a request that another page may have made a browser send."""

    def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    check = _CsrfCheck(view)
    check.process_request(request)
    check.process_view(request, view, (), {})


def error(code: ErrorCode, message: str, *, status: int | None = None, **more: str) -> JsonResponse:
    """Return an error of the wire contract."""
    error = {"code": code, "message": message, **more}
    return JsonResponse({"error": error}, status=status or _STATUS[code])


def bearer(request: HttpRequest) -> str | None:
    """Return the token of ``Authorization: Bearer …`` (RFC 6750, section 2.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
