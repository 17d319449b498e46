"""The HTTP views of the web processes of the other ways."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from celery.result import AsyncResult
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from benchmarks.celery import app


def result(request: HttpRequest, ident: str) -> JsonResponse:
    """Answer with a task's progress."""
    found: Any = AsyncResult(ident, app=app)
    return JsonResponse({"state": found.state, "info": found.info})


urlpatterns: list[Any] = [path("result/<ident>/", result)]
if find_spec("celery_progress"):
    urlpatterns += [path("celery-progress/", include("celery_progress.urls"))]
if find_spec("django_eventstream"):
    channels = {"format-channels": ["task-{ident}"]}
    urlpatterns += [path("events/<ident>/", include("django_eventstream.urls"), channels)]
