"""A site for the field tests of pages: templates with this package's tags, as projects write them.

A web process serves it with `DJANGO={"ROOT_URLCONF": "tests.field.pages_site"}`.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import include, path
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from realtime import make_token
from tests.sample_tasks import hold

PAGE = """{% load realtime %}<!doctype html>
<html lang="en"><head><title>a page</title>{% realtime_script %}</head>
<body>{% for id in ids %}{% task_progress id label=label %}{% endfor %}</body></html>"""


def page(request: HttpRequest) -> HttpResponse:
    """A page with an element for each of `?id=`, in `?language=`."""
    template = engines["django"].from_string(PAGE)
    context = {"ids": request.GET.getlist("id"), "label": request.GET.get("label", "")}
    with translation.override(request.GET.get("language", "en")):
        return HttpResponse(template.render(context, request))


@csrf_exempt
def start(request: HttpRequest) -> HttpResponse:
    """Start a task that runs until the file `?hold=` is there."""
    task = hold.delay(request.GET["hold"])
    return JsonResponse({"id": task.id, "token": make_token([f"task:{task.id}"])[0]})


def token(request: HttpRequest) -> HttpResponse:
    """A view of the project's own that makes tokens."""
    return JsonResponse({"token": make_token([f"task:{request.GET['id']}"])[0]})


def wall(request: HttpRequest, rest: str) -> HttpResponse:
    """What a sign-in proxy answers instead of the service."""
    return redirect("/page/")


urlpatterns: list[Any] = [
    path("", page),
    path("page/", page, name="page"),
    path("start/", start),
    path("token/", token),
    path("wall/<path:rest>", wall),
    path("realtime/", include("realtime.urls")),
]
