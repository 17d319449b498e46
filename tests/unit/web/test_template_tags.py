"""`{% realtime_script %}` and `{% task_progress task %}`, and the text of a status."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.result import AsyncResult
from django.middleware.csrf import get_token
from django.template import Context, RequestContext, Template
from django.test import RequestFactory, override_settings
from django.urls import set_script_prefix
from django.utils import translation

from realtime import Status
from realtime import api as query
from realtime.core.topics import Topic
from realtime.web.access.tokens import read_token
from realtime.web.translation import TEXTS, describe, translated_texts
from tests.statuses import running_status

ROOT = Path(__file__).resolve().parents[3]
ID = "b6e5a2de-3a52-4a36-9d1f-0c4d0d6d6c11"


def render(source: str, request: Any = None, **context: Any) -> str:
    made = RequestContext(request, context) if request else Context(context)
    return str(Template("{% load realtime %}" + source).render(made))


def config(page: str) -> dict[str, Any]:
    match = re.search(r'<script id="realtime-config" type="application/json">(.*?)</script>', page)
    assert match is not None, page
    found: dict[str, Any] = json.loads(match[1])
    return found


def a_request(**attributes: Any) -> Any:
    request = RequestFactory().get("/")
    for name, value in attributes.items():
        setattr(request, name, value)
    return request


def status(**fields: Any) -> Status:
    return running_status(**{"task_id": ID, **fields})


def attributes(page: str) -> dict[str, str]:
    match = re.search(r"<task-progress(.*?)>", page)
    assert match is not None, page
    return {
        name: html.unescape(value) for name, value in re.findall(r' ([\w-]+)="(.*?)"', match[1])
    }


# realtime_script


def test_the_script_and_its_configuration_are_rendered() -> None:
    request = a_request()
    page = render("{% realtime_script %}", request)
    assert '<script type="module" src="/static/realtime/task-progress.js"></script>' in page
    found = config(page)
    token = found.pop("csrf_token")
    assert len(token) == len(get_token(request))
    assert found == {
        "socket": "/realtime/ws/",
        "http": "/realtime/",
        "csrf_header": "X-CSRFTOKEN",
        "csrf_cookie": "csrftoken",
    }


def test_the_client_alone_can_be_loaded() -> None:
    assert "/realtime/client.js" in render("{% realtime_script 'client' %}", a_request())


@override_settings(
    STATIC_URL="static/"
)  # Django caches it with the prefix, until the setting changes
def test_the_addresses_are_under_the_sites_prefix() -> None:
    set_script_prefix("/app/")
    try:
        found = config(render("{% realtime_script %}", a_request()))
    finally:
        set_script_prefix("/")
    assert (found["socket"], found["http"]) == ("/app/realtime/ws/", "/app/realtime/")


def test_the_script_carries_the_nonce_of_the_pages_policy() -> None:
    class LazyNonce:
        """A nonce as Django 6 makes it: false until it is used."""

        def __bool__(self) -> bool:
            return False

        def __str__(self) -> str:
            return "abc123"

    page = render("{% realtime_script %}", a_request(csp_nonce="abc123"))
    assert 'task-progress.js" nonce="abc123"></script>' in page
    page = render("{% realtime_script %}", a_request(), csp_nonce=LazyNonce())
    assert 'task-progress.js" nonce="abc123"></script>' in page


def test_without_a_request_there_is_no_csrf_token_and_no_error() -> None:
    assert "csrf_token" not in config(render("{% realtime_script %}"))


def test_a_public_page_begins_no_session_for_its_csrf_token() -> None:
    class Session(dict[str, Any]):
        def is_empty(self) -> bool:
            return not self

    with override_settings(CSRF_USE_SESSIONS=True):
        session = Session()
        page = render("{% realtime_script %}", a_request(session=session))
        assert "csrf_token" not in config(page)
        assert session == {}
        session["realtime_visitor"] = "visitor-1"
        assert "csrf_token" in config(render("{% realtime_script %}", a_request(session=session)))


def test_the_configuration_has_the_texts_of_the_pages_language() -> None:
    with translation.override("de"):
        texts = config(render("{% realtime_script %}", a_request()))["texts"]
    assert texts["running"] == "läuft"
    assert "texts" not in config(render("{% realtime_script %}", a_request()))


# task_progress


class Store:
    """A store that counts its calls."""

    def __init__(self) -> None:
        self.of_visitor: list[Status] = []
        self.call_count = 0
        self.is_away = False

    def status(self, task_id: str, *, owner: str) -> Status | None:
        self.call_count += 1
        if self.is_away:
            raise ConnectionError
        assert owner == "visitor-1"
        return next((each for each in self.of_visitor if each.task_id == task_id), None)

    def statuses(self, _topic: Topic) -> list[Status]:
        self.call_count += 1
        return list(self.of_visitor)


@pytest.fixture
def own_tasks(monkeypatch: pytest.MonkeyPatch) -> list[Status]:
    """The statuses of the visitor's tasks: a list to which a test adds."""
    store = Store()
    monkeypatch.setattr(query, "get_store", lambda: store)
    return store.of_visitor


@pytest.fixture
def visitor() -> Any:
    return a_request(user=None, session={"realtime_visitor": "visitor-1"})


@pytest.mark.parametrize("given", [ID, AsyncResult(ID), status()])
def test_a_visitors_own_task_comes_with_a_token_and_as_it_is_now(
    own_tasks: list[Status], visitor: Any, given: Any
) -> None:
    progress = {"current": 55, "total": 100, "message": "importing"}
    own_tasks.append(status(state="PROGRESS", progress=progress))
    if isinstance(given, Status):
        given = own_tasks[0]
    page = render("{% task_progress task label='An import' %}", visitor, task=given)
    found = attributes(page)
    assert read_token(found.pop("token")) == {Topic("task", ID)}
    assert found == {"task-id": ID, "label": "An import", "state": "PROGRESS"}
    assert '<progress data-part="bar" aria-label="An import" max="100" value="55">' in page
    assert '<span data-part="text">running: 55 of 100, importing</span>' in page


def test_any_other_task_comes_without_a_token_and_without_its_state(
    own_tasks: list[Status], visitor: Any
) -> None:
    own_tasks.append(status(task_id="another"))
    page = render("{% task_progress task %}", visitor, task=ID)
    assert attributes(page) == {"task-id": ID}
    assert attributes(render("{% task_progress task %}", task=ID)) == {"task-id": ID}
    page = render("{% task_progress task token='given' %}", visitor, task=ID)
    assert attributes(page) == {"task-id": ID, "token": "given"}


def test_each_task_of_a_page_is_read_once_and_none_that_the_view_has_read(
    monkeypatch: pytest.MonkeyPatch, visitor: Any
) -> None:
    store = Store()
    store.of_visitor = [status(task_id=f"t{number}") for number in range(50)]
    monkeypatch.setattr(query, "get_store", lambda: store)
    page = "{% for task in tasks %}{% task_progress task %}{% endfor %}"
    render(page, visitor, tasks=["t1", "t2", "t1", "another", "another"])
    assert store.call_count == 3
    found = render(page, visitor, tasks=query.tasks_of(visitor))
    assert (store.call_count, found.count(' token="')) == (4, 50)


def test_without_the_store_the_page_is_rendered_and_reads_once(
    monkeypatch: pytest.MonkeyPatch, visitor: Any
) -> None:
    store = Store()
    store.is_away = True
    monkeypatch.setattr(query, "get_store", lambda: store)
    page = render("{% task_progress task %}{% task_progress 'another' %}", visitor, task=ID)
    assert attributes(page) == {"task-id": ID}
    assert store.call_count == 1


def test_no_task_at_all_shows_nothing(own_tasks: list[Status], visitor: Any) -> None:
    assert attributes(render("{% task_progress task %}", visitor, task=None)) == {}


@override_settings(ROOT_URLCONF="tests.unit.web.nested_urls")
def test_the_addresses_are_found_inside_of_another_namespace() -> None:
    assert config(render("{% realtime_script %}", a_request()))["http"] == "/api/live/"


def test_text_of_a_task_is_escaped(own_tasks: list[Status], visitor: Any) -> None:
    evil = '"><script>alert(1)</script>'
    progress = {"current": None, "total": None, "message": evil}
    own_tasks.append(status(progress=progress))
    page = render("{% task_progress task label=label %}", visitor, task=ID, label=evil)
    page += render("{% task_progress task %}", visitor, task=evil)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5


@pytest.mark.parametrize(("state", "value"), [("SUCCESS", 1), ("FAILURE", 0)])
def test_an_ending_fills_the_bar_or_empties_it(
    own_tasks: list[Status], visitor: Any, state: str, value: int
) -> None:
    own_tasks.append(status(state=state))
    page = render("{% task_progress task %}", visitor, task=ID)
    assert f'max="1" value="{value}"' in page


def test_numbers_are_not_localised(own_tasks: list[Status], visitor: Any) -> None:
    own_tasks.append(status(progress={"current": 1234.5, "total": 10000, "message": None}))
    with translation.override("de"), override_settings(USE_THOUSAND_SEPARATOR=True):
        page = render("{% task_progress task %}", visitor, task=ID)
    assert 'max="10000" value="1234.5"' in page
    assert "läuft: 1234.5 von 10000" in page
    assert json.loads(attributes(page)["texts"])["SUCCESS"] == "erledigt"


def test_any_object_with_a_task_id_is_a_task(own_tasks: list[Status], visitor: Any) -> None:
    page = render("{% task_progress task %}", visitor, task=SimpleNamespace(task_id=ID, id=7))
    assert attributes(page) == {"task-id": ID}


# Texts


CASES = json.loads((ROOT / "tests/cases/texts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[json.dumps(case["status"]) for case in CASES])
def test_the_text_of_a_status(case: dict[str, Any]) -> None:
    assert describe(status(**case["status"])) == case["text"]


def test_the_element_has_the_same_texts() -> None:
    source = (ROOT / "static/realtime/src/texts.mjs").read_text(encoding="utf-8")
    block = source.partition("export const TEXTS = {")[2].partition("};")[0]
    assert dict(re.findall(r'(\w+): "(.*)",', block)) == TEXTS


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_each_language_has_every_text(language: str) -> None:
    with translation.override(language):
        assert set(translated_texts()) == set(TEXTS)
        assert "{current}" in translated_texts()["count"]
        assert "{total}" in translated_texts()["count"]
