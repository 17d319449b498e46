"""The middleware that makes a request's user the owner of its tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from .ownership import owner_from, owner_of_request
from .web.access.adoption import continue_adoption, is_adoption_due
from .web.access.signals import DeferredMessages, send_messages

_Response = HttpResponseBase | Awaitable[HttpResponseBase]


class OwnerMiddleware:
    """Make a request's user, or its visitor, the owner of the tasks that the request starts.

    Place it after ``AuthenticationMiddleware``. Without ``SessionMiddleware`` the tasks of
    visitors belong to nobody.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], _Response]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> _Response:
        if self.is_async:
            return self._acall(request)
        deferred = DeferredMessages()
        try:
            with owner_from(partial(owner_of_request, request, create=True)):
                response = self.get_response(request)
        finally:
            send_messages(deferred.finish(request))
        if is_adoption_due(request):
            continue_adoption(request)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        deferred = DeferredMessages()
        try:
            with owner_from(partial(owner_of_request, request, create=True)):
                response = self.get_response(request)
                assert isinstance(response, Awaitable)
                answered = await response
        finally:
            if messages := deferred.finish(request):
                await sync_to_async(send_messages)(messages)
        if is_adoption_due(request):
            await sync_to_async(continue_adoption)(request)
        return answered

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Load the user and the session before an async view.

        The view publishes on the event loop, where Django allows no query. Without a cookie there
        is nothing to load. The service's own views publish nothing.
        """
        if (
            iscoroutinefunction(view)
            and settings.SESSION_COOKIE_NAME in request.COOKIES
            and not getattr(view, "realtime_publishes_nothing", False)
        ):
            owner_of_request(request)
