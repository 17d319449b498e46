"""Settings and addresses of the project with one more page, whose view waits for a task."""

from typing import Any

from project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.integration.asyncresult_site"


def ended(request: Any, task_id: str) -> Any:
    """Wait by `realtime.wait` in place of `AsyncResult(task_id).get()`."""
    from asgiref.sync import async_to_sync
    from django.http import JsonResponse

    import realtime

    status = async_to_sync(realtime.wait)(task_id, timeout=60)
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
    # Only now: while Django reads this module as settings, it has no settings yet.
    if name == "urlpatterns":
        return addresses()
    raise AttributeError(name)
