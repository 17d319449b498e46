"""The template tags of ``{% load realtime %}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.templatetags.static import static
from django.urls import (
    NoReverseMatch,
    URLResolver,
    get_resolver,
    get_script_prefix,
    get_urlconf,
    reverse,
)
from django.utils.html import format_html, format_html_join, json_script
from django.utils.safestring import SafeString

from realtime.api import own_task
from realtime.core.logs import get_logger
from realtime.core.status import Status
from realtime.core.topics import TASK
from realtime.ownership import owner_topic
from realtime.web.access.tokens import make_token
from realtime.web.paths import SOCKET_PATH
from realtime.web.translation import describe, translated_texts

logger = get_logger("realtime.http")
register = template.Library()

_APP_NAME: Final = "realtime"
#: The id of the element that contains the page's configuration.
_CONFIG_ID: Final = "realtime-config"


@register.simple_tag(takes_context=True)
def realtime_token(context: Mapping[str, Any], *topics: str) -> str:
    """Return a token for these topics; without topics, for all tasks of the page's user or visitor.

    Without topics it is "" for a visitor who has started no task yet, in this request or an
    earlier one: a public page must not begin a session for every reader. A reader of the page may
    see the topics of its token, so pass only topics that are theirs.
    """
    named = topics or tuple(filter(None, [owner_topic(context["request"], create=False)]))
    return make_token(named)[0] if named else ""


@register.simple_tag(takes_context=True)
def realtime_script(context: Mapping[str, Any], entry: str = "task-progress") -> SafeString:
    """Return the script of ``<task-progress>``, and the configuration of all clients of the page.

    The configuration has the addresses under the site's prefix, what a request that renews tokens
    needs for Django's CSRF check, and the texts of ``<task-progress>`` in the page's language.
    ``{% realtime_script "client" %}`` loads the client without the element, for a page with a
    module of its own that imports the client.
    """
    request = _request(context)
    nonce = getattr(request, "csp_nonce", context.get("csp_nonce"))
    script = format_html(
        '<script type="module" src="{}"{}></script>',
        static(f"realtime/{entry}.js"),
        "" if nonce is None else format_html(' nonce="{}"', nonce),
    )
    # Data is not executed, so it needs no nonce.
    return format_html("{}\n{}", json_script(_config(request), _CONFIG_ID), script)


@register.simple_tag(takes_context=True)
def task_progress(
    context: Mapping[str, Any], task: Any, *, label: str = "", token: str | None = None
) -> SafeString:
    """Return a ``<task-progress>`` element for a task: an id, an AsyncResult or a Status.

    For a task of the page's user or visitor the element shows the present status and has a token.
    For any other task the script shows the status, if the reader may see it. ``token`` replaces
    the token.
    """
    named = getattr(task, "task_id", None) or getattr(task, "id", None) or task
    task_id = "" if named is None else str(named)
    own = _own_task(_request(context), task_id)
    status = task if isinstance(task, Status) else own
    if token is None:
        token = _token_of(own) if own else ""
    texts = translated_texts()
    given = {
        "task-id": task_id,
        "token": token,
        "label": str(label),
        "state": status.state if status else "",
        "texts": json.dumps(texts, ensure_ascii=False) if texts else "",
    }
    attributes = format_html_join("", ' {}="{}"', [pair for pair in given.items() if pair[1]])
    return format_html(
        "<task-progress{}>{}{} {}</task-progress>",
        attributes,
        format_html('<span data-part="label">{}</span> ', label) if label else "",
        _bar(status, str(label) or texts.get("progress", "Progress")),
        format_html('<span data-part="text">{}</span>', describe(status) if status else ""),
    )


def _token_of(own: Status) -> str:
    return make_token([f"{TASK}:{own.task_id}"])[0]


def _bar(status: Status | None, label: str) -> SafeString:
    progress = (status and status.progress) or {}
    current, total = progress.get("current"), progress.get("total")
    how_far: SafeString | str = ""
    if status and status.terminal:
        how_far = format_html(' max="1" value="{}"', int(status.successful))
    elif current is not None and total is not None and total > 0:
        how_far = format_html(' max="{}" value="{}"', json.dumps(total), json.dumps(current))
    return format_html('<progress data-part="bar" aria-label="{}"{}></progress>', label, how_far)


def _request(context: Mapping[str, Any]) -> HttpRequest | None:
    # A RequestContext has the request even without the context processor.
    return getattr(context, "request", None) or context.get("request")


def _config(request: HttpRequest | None) -> dict[str, Any]:
    config: dict[str, Any] = {"socket": f"{get_script_prefix()}{SOCKET_PATH}"}
    try:
        config["http"] = _tokens_address().removesuffix("tokens/")
    except NoReverseMatch:
        logger.warning("urls_missing remedy=%r", 'path("realtime/", include("realtime.urls"))')
    # Even if the page has a CSRF token already, such as that of a form.
    config["csrf_header"] = settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
    config["csrf_cookie"] = settings.CSRF_COOKIE_NAME
    if request is not None and _may_have_csrf_token(request):
        config["csrf_token"] = get_token(request)
    if texts := translated_texts():
        config["texts"] = texts
    return config


def _tokens_address() -> str:
    """Return the path of the view ``tokens``. Raises NoReverseMatch without ``realtime.urls``."""
    try:
        return reverse(f"{_APP_NAME}:tokens")
    except NoReverseMatch:
        namespace = _namespace_in(get_resolver(get_urlconf()))  # inside other namespaces
        return reverse(f"{namespace}:tokens")


@lru_cache(maxsize=16)
def _namespace_in(resolver: URLResolver) -> str:
    for each in resolver.url_patterns:
        if not isinstance(each, URLResolver):
            continue
        if each.app_name == _APP_NAME:
            return str(each.namespace)
        if inner := _namespace_in(each):
            return f"{each.namespace}:{inner}" if each.namespace else inner
    return ""


def _may_have_csrf_token(request: HttpRequest) -> bool:
    """Return whether a CSRF token would not begin a session: a public page must not do that."""
    if not settings.CSRF_USE_SESSIONS:
        return True
    session = getattr(request, "session", None)
    return session is not None and not session.is_empty()


def _own_task(request: HttpRequest | None, task_id: str) -> Status | None:
    """Return a task if the request's user or visitor started it."""
    if request is None or not task_id:
        return None
    try:
        return own_task(request, task_id)
    except Exception as error:  # noqa: BLE001 - the page must not fail with the store
        logger.warning("task_not_read error=%r", error)
        return None
