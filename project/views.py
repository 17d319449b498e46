"""The page: forms that start tasks, and the tasks of this user or visitor."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, cast

from asgiref.sync import async_to_sync
from celery.result import GroupResult
from django import forms
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt, csrf_protect, ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe
from kombu.exceptions import OperationalError

from project.cards import SHOWN, card, texts
from project.forms import ImportForm, RatesForm, ReportForm, ThumbnailsForm
from project.uploads import MAX_BYTES, MAX_FILES, TOO_LARGE, is_too_large
from realtime import tasks_of
from realtime.web.cancel import request_cancel
from tasks.images import make_thumbnails
from tasks.imports import CsvError, import_csv, inspect
from tasks.reports import start_report
from tasks.upstream import fetch_rates


@require_safe
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    """Render the page, with the tasks of this user or visitor."""
    return _page(request)


def _page(
    request: HttpRequest, *, errors: dict[str, str] | None = None, code: int = 200
) -> HttpResponse:
    context = {
        "cards": [card(status) for status in islice(tasks_of(request), SHOWN)],
        "texts": texts(),
        "errors": errors or {},
        "max_bytes": MAX_BYTES,
        "max_files": MAX_FILES,
        "too_large": TOO_LARGE,
    }
    return render(request, "demo/page.html", context, status=code)


@csrf_exempt
@require_POST
def start(request: HttpRequest, kind: str) -> HttpResponse:
    """Start a task; answer 303 to a browser, or 201 with the task ids to a script.

    The length of the request is checked before its body is read. The CSRF check reads the body, so
    the inner view makes it.
    """
    if kind not in STARTERS:
        raise Http404
    if is_too_large(request):
        return _refuse(request, kind, TOO_LARGE, 413)
    try:
        response: HttpResponse = _start(request, kind)
    except (TooManyFilesSent, TooManyFieldsSent, RequestDataTooBig):
        return _refuse(request, kind, f"Choose at most {MAX_FILES} files at once.", 400)
    return response


@csrf_protect
def _start(request: HttpRequest, kind: str) -> HttpResponse:
    form_class, starter = STARTERS[kind]
    form = form_class(request.POST, request.FILES)
    if not form.is_valid():
        code = 413 if form.has_error("uploads", "too_large") else 400
        return _refuse(request, kind, _first_error(form), code)
    try:
        started = starter(form)
    except CsvError as error:
        return _refuse(request, kind, str(error), 400)
    except OperationalError:
        return _refuse(request, kind, "The queue cannot be reached. Nothing was started.", 503)
    if request.accepts("text/html"):
        return _back()
    return JsonResponse({"tasks": started}, status=201)


def _start_import(form: ImportForm) -> list[str]:
    with form.sources() as [(path, name)]:
        pace = form.pace(_lines(path))
        return [import_csv.delay(str(path), name=name, pace=pace).id]


def _start_thumbnails(form: ThumbnailsForm) -> list[str]:
    with form.sources() as sources:
        paths, names = [str(path) for path, _ in sources], [name for _, name in sources]
        pace = form.pace(len(sources))
        return [make_thumbnails.delay(paths, names=names, into=_results(), pace=pace).id]


def _start_report(form: ReportForm) -> list[str]:
    with form.sources() as [(path, name)]:
        pace = form.pace(_lines(path))
        body = start_report(str(path), name=name, into=_results(), pace=pace)
    # The parent of a chord's body is its group.
    parts = cast(GroupResult, body.parent)
    return [*(part.id for part in parts.results or []), body.id]


def _start_rates(form: RatesForm) -> list[str]:
    # With this seed and 0.6, the first two calls fail and the third succeeds.
    probability = 1.0 if form.cleaned_data["outcome"] == "fails" else 0.6
    return [fetch_rates.delay(seed=23, failure_probability=probability).id]


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return inspect(file).lines


def _results() -> str:
    return str(settings.DATA_DIR / "results")


STARTERS: dict[str, tuple[type[forms.Form], Callable[[Any], list[str]]]] = {
    "import": (ImportForm, _start_import),
    "thumbnails": (ThumbnailsForm, _start_thumbnails),
    "report": (ReportForm, _start_report),
    "rates": (RatesForm, _start_rates),
}


@require_POST
def cancel(request: HttpRequest) -> HttpResponse:
    """Request the cancellation of a task of this user or visitor; any other task is not found.

    The id is a field of the form: an id can be any text, and a path cannot contain every text.
    """
    task_id = request.POST.get("task", "")
    if not any(status.task_id == task_id for status in tasks_of(request)):
        raise Http404
    async_to_sync(request_cancel)(task_id)
    return _back() if request.accepts("text/html") else HttpResponse(status=202)


def _refuse(request: HttpRequest, kind: str, message: str, code: int) -> HttpResponse:
    if request.accepts("text/html"):
        return _page(request, errors={kind: message}, code=code)
    return JsonResponse({"error": {"code": "refused", "message": message}}, status=code)


def _first_error(form: forms.Form) -> str:
    return next(str(errors[0]) for errors in form.errors.values())


def _back() -> HttpResponseRedirect:
    # 303: the browser requests the page with GET, after any method.
    return HttpResponseRedirect(reverse("page"), status=303)
