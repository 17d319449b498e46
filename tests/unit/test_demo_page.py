"""The demo's page, forms and cards, without any service behind them."""

import io
import json
import re
from pathlib import Path

import hypothesis
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import override_script_prefix
from django.utils.html import escape
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError
from PIL import Image

from project import views
from project.cards import STATES, card
from project.uploads import MAX_BYTES, MAX_FILES
from realtime import Status
from realtime.core import jsontext
from realtime.core.status import compose
from tests.statuses import running_status

pytestmark = pytest.mark.django_db

JSON = {"headers": {"accept": "application/json"}}
ID = "b6e5a2de-3a52-4a36-9d1f-0c4d0d6d6c11"


def status(**fields):
    given = {
        "task_id": ID,
        "name": "tasks.imports.import_csv",
        "published_at": "2026-11-22T08:00:00.000Z",
    }
    return running_status(**(given | fields))


@pytest.fixture
def own_tasks(monkeypatch):
    """The statuses of the visitor's tasks: a list to which a test adds."""
    statuses = []
    monkeypatch.setattr(views, "tasks_of", lambda request: list(statuses))
    return statuses


@pytest.fixture
def started(monkeypatch, own_tasks, settings, tmp_path):
    """The tasks that would start, as (arguments, keywords)."""
    settings.MEDIA_ROOT = tmp_path / "uploads"
    calls = []

    class Fake:
        def delay(self, *args, **kwargs):
            calls.append((args, kwargs))
            return type("Result", (), {"id": ID})

    for name in ("import_csv", "make_thumbnails", "fetch_rates"):
        monkeypatch.setattr(views, name, Fake())
    return calls


def csv(content=b"a,b\n1,2\n", name="own.csv"):
    return SimpleUploadedFile(name, content, "text/csv")


def test_every_page_has_a_strict_policy(client, own_tasks):
    for path in ("/", "/sign-in/", "/no-such-page/"):
        response = client.get(path)
        policy = response["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Referrer-Policy"] == "same-origin"


def test_page_has_no_inline_code_or_style_and_no_foreign_address(client, own_tasks):
    own_tasks.append(status())
    page = client.get("/").content.decode()
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick" not in page
    assert page.count("<script") == 4  # two modules; the configuration and the texts are JSON
    assert page.count('<script type="module" src="') == 2
    assert "//" not in page.replace("</", "")


def test_upload_is_stored_under_a_random_name_and_started(client, started):
    response = client.post("/start/import/", {"uploads": csv(name="../<b>own.csv")})
    assert (response.status_code, response["Location"]) == (303, "/")
    [((path,), keywords)] = started
    assert Path(path).read_bytes() == b"a,b\n1,2\n"
    assert "own" not in Path(path).name
    assert keywords == {"name": "<b>own.csv", "pace": 0.0}


def test_script_gets_the_ids_of_the_started_tasks(client, started):
    response = client.post("/start/rates/", {"outcome": "fails"}, **JSON)
    assert (response.status_code, response.json()) == (201, {"tasks": [ID]})


def test_sample_needs_no_upload_and_its_pace_is_limited(client, started):
    client.post("/start/thumbnails/", {"sample": "1", "slow": "1", "uploads": ""})
    [((paths,), keywords)] = started
    assert [Path(path).name for path in paths] == keywords["names"]
    assert len(paths) == 3
    assert 0 < keywords["pace"] <= 1


@pytest.mark.parametrize(
    ("kind", "uploads", "problem"),
    [
        ("import", [], "Choose a file first, or use the sample."),
        ("import", [csv(b"")], "The file is empty."),
        ("import", [csv(b"\x89PNG\0")], "This is not a CSV file: it contains binary data"),
        ("report", [csv(b"\n\n")], "The file is empty."),
        ("thumbnails", [], "Choose a file first, or use the sample."),
        ("thumbnails", [csv(name="a.png")], "a.png: It is not a JPEG, PNG, WEBP or GIF image."),
        ("thumbnails", [csv()] * (MAX_FILES + 1), f"Choose at most {MAX_FILES} files at once"),
        ("thumbnails", [csv()] * 101, f"Choose at most {MAX_FILES} files at once"),
    ],
)
def test_bad_input_is_refused_with_the_reason_and_nothing_starts(
    client, started, kind, uploads, problem
):
    response = client.post(f"/start/{kind}/", {"uploads": uploads}, **JSON)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(problem)
    for upload in uploads:
        upload.seek(0)
    page = client.post(f"/start/{kind}/", {"uploads": uploads})
    assert page.status_code == 400
    assert f'id="{kind}-problem" role="alert" >{problem}' in page.content.decode()
    assert started == []
    assert not list(Path(views.settings.MEDIA_ROOT).glob("*"))


def test_upload_that_is_too_large_is_refused_before_its_body_is_read(client, started):
    class Unread(io.RawIOBase):
        def read(self, *args):
            raise AssertionError("the body was read")

    response = client.generic(
        "POST",
        "/start/import/",
        content_type="multipart/form-data; boundary=x",
        CONTENT_LENGTH="100000000",
        **{"wsgi.input": Unread()},
        **JSON,
    )
    assert response.status_code == 413
    assert "more than 10 MB" in response.json()["error"]["message"]
    assert started == []


def test_files_that_are_too_large_together_are_refused(client, started):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    half = image.getvalue().ljust(MAX_BYTES // 2 + 1, b"\0")
    uploads = [csv(half, "a.png"), csv(half, "b.png")]
    response = client.post("/start/thumbnails/", {"uploads": uploads}, **JSON)
    assert response.status_code == 413
    assert started == []


def test_form_from_another_site_is_refused(started):
    response = Client(enforce_csrf_checks=True).post("/start/rates/", {"outcome": "fails"})
    assert response.status_code == 403
    assert started == []


def test_unreachable_queue_is_shown(client, started, monkeypatch):
    def fail(*args, **kwargs):
        raise OperationalError

    monkeypatch.setattr(views.fetch_rates, "delay", fail, raising=False)
    response = client.post("/start/rates/", {"outcome": "fails"})
    assert response.status_code == 503
    assert b"The queue cannot be reached. Nothing was started." in response.content


def test_unknown_form_and_wrong_method_are_refused(client, started):
    assert client.post("/start/nothing/").status_code == 404
    assert client.get("/start/import/").status_code == 405
    assert client.post("/").status_code == 405


def test_only_own_tasks_are_cancelled(client, own_tasks, monkeypatch):
    requested = []

    async def request_cancel(task_id):
        requested.append(task_id)

    monkeypatch.setattr(views, "request_cancel", request_cancel)
    assert client.post("/cancel/", {"task": ID}).status_code == 404
    own_tasks.append(status())
    assert client.post("/cancel/", {"task": ID}).status_code == 303
    assert client.post("/cancel/", {"task": ID}, **JSON).status_code == 202
    assert client.post("/cancel/").status_code == 404
    assert requested == [ID, ID]


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_text_and_only_unfinished_tasks_can_be_cancelled(
    client, own_tasks, state
):
    own_tasks.append(status(state=state))
    page = client.get("/").content.decode().split("<template")[0]
    assert f'data-part="state">{STATES[state][0]}</span>' in page
    ended = state in ("SUCCESS", "FAILURE", "REVOKED", "LOST")
    assert ('action="/cancel/" hidden' in page) == ended


@pytest.mark.parametrize("task_id", ["import-42", "a/b?c#d", 'a "quoted" id', "ä😀", "x" * 200])
def test_a_task_with_any_id_is_shown_and_can_be_cancelled(client, own_tasks, monkeypatch, task_id):
    requested = []

    async def request_cancel(task_id):
        requested.append(task_id)

    monkeypatch.setattr(views, "request_cancel", request_cancel)
    own_tasks.append(status(task_id=task_id))
    assert f'name="task" data-part="cancel-id" value="{escape(task_id)}"' in (
        client.get("/").content.decode()
    )
    assert client.post("/cancel/", {"task": task_id}).status_code == 303
    assert requested == [task_id]


@pytest.mark.parametrize("bad_rows", [5, "text", {"line": 1}, [None, 5, {"line": 1}], True])
def test_a_foreign_result_with_bad_rows_is_shown(client, own_tasks, bad_rows):
    own_tasks.append(status(state="SUCCESS", result={"bad_rows": bad_rows}))
    assert client.get("/").status_code == 200


NUMBERS = st.one_of(
    st.none(), st.integers(), st.floats(), st.sampled_from([1e308, -1e308, 5e-324, -0.0])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.sampled_from(["bad_rows", "line", "reason", "items", ""]), inner),
    ),
    max_leaves=8,
)


@hypothesis.settings(max_examples=100)
@given(
    state=st.sampled_from(["COUNTING", *STATES]),
    numbers=st.tuples(NUMBERS, NUMBERS),
    text=st.text(),
    value=VALUES,
)
def test_whatever_a_task_publishes_is_shown(state, numbers, text, value):
    texts = {
        **dict.fromkeys(("version", "run", "attempt"), "1"),
        "task_id": jsontext.encode_text(ID),
        "name": jsontext.encode_text(text),
        "state": jsontext.dumps(state),
        "progress": jsontext.encode_progress(*numbers, text, jsontext.encode_meta(value)),
        "error": jsontext.encode_error(text, value),
    }
    rows = [value, {"line": value, "reason": text}]
    for result in (value, {"bad_rows": value}, {"bad_rows": rows}):
        texts["result"], _ = jsontext.encode_result(result)
        shown = card(Status.from_json(compose(texts)))
        assert not re.search("nan|inf", (shown["progress"] or {"text": ""})["text"])
        assert escape(shown["error"]["message"]) in (
            render_to_string("demo/_task.html", {"card": shown})
        )


def test_every_address_of_the_page_is_under_the_path_of_the_site(client, own_tasks, settings):
    settings.FORCE_SCRIPT_NAME = "/app"
    own_tasks.append(status())
    with override_script_prefix("/app/"):
        page = client.get("/").content.decode()
    addresses = re.findall(r' (?:href|src|action)="([^"#][^"]*)"', page)
    config = re.search(r'id="realtime-config"[^>]*>([^<]+)', page)
    assert config is not None
    addresses += [json.loads(config[1])[key] for key in ("socket", "http")]
    assert len(addresses) >= 12
    # Django adds the path to those of static files as the process starts.
    assert [each for each in addresses if not each.startswith(("/app/", "/static/"))] == []


@pytest.mark.parametrize(
    ("fields", "state", "at"),
    [
        ({"state": "RETRY", "retry_at": "T"}, "retrying at", "T"),
        ({"state": "RETRY", "retry_at": None}, "retrying", None),
        ({"state": "RECEIVED", "eta": "T", "retry_at": "T", "attempt": 1}, "retrying at", "T"),
        ({"state": "RECEIVED", "eta": "T"}, "starts at", "T"),
        ({"state": "COUNTING"}, "running", None),
        ({"state": "STARTED", "cancelling": True}, "cancelling", None),
        ({"state": "REVOKED", "cancelling": True}, "cancelled", None),
    ],
)
def test_the_text_of_the_state_has_the_next_step(fields, state, at):
    shown = card(status(**fields))
    assert (shown["state"], shown["at"]) == (state, at)


@pytest.mark.parametrize(
    ("progress", "bar"),
    [
        (None, {"text": ""}),
        ({"current": 3, "total": None, "message": None}, {"text": "3"}),
        ({"current": 2, "total": 3, "message": None}, {"value": 2, "max": 3, "text": "66 %"}),
        ({"current": 2.0, "total": 0, "message": None}, {"text": "2"}),
        ({"current": 1e308, "total": -5, "message": None}, {"text": "1e+308"}),
        ({"current": 7, "total": 5, "message": None}, {"value": 7, "max": 5, "text": "100 %"}),
        ({"current": -7, "total": 5, "message": None}, {"value": -7, "max": 5, "text": "0 %"}),
        (
            {"current": 1e308, "total": 5e-324, "message": None},
            {"value": 1e308, "max": 5e-324, "text": "100 %"},
        ),
    ],
)
def test_bar_shows_known_progress(progress, bar):
    assert card(status(progress=progress))["progress"] == bar
    assert card(status(progress=progress, state="SUCCESS"))["progress"] is None


def test_markup_from_a_task_is_text_on_the_page(client, own_tasks):
    evil = "<script>alert(1)</script>"
    own_tasks.append(
        status(
            name=evil,
            state="FAILURE",
            error={"type": evil, "message": evil},
            progress={"current": 1, "total": 2, "message": evil},
            result={"bad_rows": [{"line": evil, "reason": evil}], "file": evil},
        )
    )
    page = client.get("/").content.decode()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 6


def test_result_is_shown_as_pretty_json_without_its_bad_rows():
    rows = [{"line": 2, "reason": "b is empty"}]
    shown = card(status(state="SUCCESS", result={"good": 1, "bad_rows": rows}))
    assert shown["bad_rows"] == [{"line": "2", "reason": "b is empty"}]
    assert json.loads(shown["result"]) == {"good": 1}
    assert card(status(state="SUCCESS", result=None))["result"] == ""
    assert card(status(state="SUCCESS", result=[]))["result"] == "[]"
