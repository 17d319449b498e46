"""A small site for the field tests: its views do what ordinary projects do with sessions and tasks.

A web process serves it with `DJANGO={"ROOT_URLCONF": "tests.field.site"}`.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth import get_user_model, login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from realtime import tasks_of
from tests.sample_tasks import add, hold


def home(request: HttpRequest) -> HttpResponse:
    """A page that everybody may read, with the tag in it."""
    page = engines["django"].from_string("{% load realtime %}[{% realtime_token %}]")
    return HttpResponse(page.render({}, request))


@csrf_exempt
def start(request: HttpRequest) -> HttpResponse:
    """Start a task and show the page: `?hold=<path>` runs until that file is there."""
    until = request.GET.get("hold")
    task = hold.delay(until) if until else add.delay(1, 2)
    page = home(request).content.decode()
    return JsonResponse({"id": task.id, "page": page})


@csrf_exempt
def fire(request: HttpRequest) -> HttpResponse:
    """Start a task, as a view does that sends a mail."""
    return JsonResponse({"id": add.delay(1, 2).id})


@csrf_exempt
def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    """Sign somebody in."""
    user, _ = get_user_model()._default_manager.get_or_create(username=name)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({"key": user.pk})


@csrf_exempt
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out."""
    logout(request)
    return HttpResponse("out")


@csrf_exempt
def flush_and_sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out thoroughly."""
    user = request.user
    assert user.is_authenticated  # loaded, before the session is gone
    request.session.flush()
    logout(request)
    return HttpResponse("out")


def change(request: HttpRequest) -> HttpResponse:
    """Change the session, as a basket does."""
    request.session["basket"] = secrets.token_hex(4)
    return HttpResponse("changed")


def cycle(request: HttpRequest) -> HttpResponse:
    """Give the session another key."""
    request.session.cycle_key()
    return HttpResponse("cycled")


@csrf_exempt
def change_password(request: HttpRequest) -> HttpResponse:
    """Change the password, and keep this session, as Django's own view does."""
    user: Any = request.user
    user.set_password(secrets.token_hex(8))
    user.save()
    update_session_auth_hash(request, user)
    return HttpResponse("changed")


def tasks(request: HttpRequest) -> HttpResponse:
    """List the caller's tasks."""
    return JsonResponse({"ids": [status.task_id for status in tasks_of(request)]})


urlpatterns: list[Any] = [
    path("", home),
    path("start/", start),
    path("fire/", fire),
    path("sign-in/<str:name>/", sign_in),
    path("sign-out/", sign_out),
    path("flush-and-sign-out/", flush_and_sign_out),
    path("change/", change),
    path("cycle/", cycle),
    path("change-password/", change_password),
    path("tasks/", tasks),
    path("realtime/", include("realtime.urls")),
]
