"""The project with one more page, whose ordinary view waits for a task: settings and addresses."""

from typing import Any

from project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.integration.asyncresult_site"


def ended(request: Any, task_id: str) -> Any:
    """What `AsyncResult(task_id).get(timeout=20)` was in this view before."""
    from asgiref.sync import async_to_sync
    from django.http import JsonResponse

    import realtime

    status = async_to_sync(realtime.wait)(task_id, timeout=20)
    return JsonResponse({"state": status.state, "result": status.result})


def addresses() -> list[Any]:
    from django.http import HttpResponse
    from django.urls import include, path

    return [
        path("", lambda request: HttpResponse("ready")),
        path("ended/<str:task_id>/", ended),
        path("realtime/", include("realtime.urls")),
    ]


def __getattr__(name: str) -> Any:
    # Late: while this module is read as settings, Django has none yet.
    if name == "urlpatterns":
        return addresses()
    raise AttributeError(name)
