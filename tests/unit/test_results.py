"""Reading result backends as data: nothing that is stored is believed to be code."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace

import celery
import pytest
from celery import Celery
from celery.backends.mongodb import MongoBackend
from celery.backends.redis import RedisBackend
from celery.backends.rpc import RPCBackend
from celery.backends.s3 import S3Backend
from django.db import connection
from django.test import modify_settings

from realtime.results import is_readable, stored_endings, stored_metas, stored_result

#: Tables are made and dropped, which a test's own transaction would forbid.
pytestmark = pytest.mark.django_db(transaction=True)


def app_with(backend):
    return Celery("results", backend=backend, set_as_current=False)


@pytest.fixture
def sqlalchemy_app(tmp_path):
    app = app_with(f"db+sqlite:///{tmp_path / 'results.sqlite3'}")
    yield app
    app.backend.session_manager.invalidate(app.backend.url)


@pytest.fixture
def django_app():
    with modify_settings(INSTALLED_APPS={"append": "django_celery_results"}):
        from django_celery_results.models import TaskResult

        with connection.schema_editor() as editor:
            editor.create_model(TaskResult)
        yield app_with("django-db")
        with connection.schema_editor() as editor:
            editor.delete_model(TaskResult)


#: Until 5.7 Celery stores pickles there, whatever the serializer.
stores_pickles = celery.VERSION < (5, 7)
SQLALCHEMY = pytest.param(
    "sqlalchemy_app", marks=pytest.mark.skipif(stores_pickles, reason="only the state is read")
)


@pytest.fixture(params=[SQLALCHEMY, "django_app", "memory"])
def backend(request, monkeypatch):
    """A backend of each readable kind, empty; the service reads it."""
    name = request.param
    app = app_with("cache+memory://") if name == "memory" else request.getfixturevalue(name)
    monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=app.backend))
    return app.backend


def corrupt(backend, task_id, payload):
    """Put other bytes where the result of a stored task is."""
    if hasattr(backend, "TaskModel"):
        rows = backend.TaskModel._default_manager.filter(task_id=task_id)
        rows.update(result=payload.decode("latin-1"))
    elif hasattr(backend, "ResultSession"):
        session = backend.ResultSession()
        row = session.query(backend.task_cls).filter_by(task_id=task_id)
        row.update({"result": payload})
        session.commit()
        session.close()
    else:
        backend.set(backend.get_key_for_task(task_id), payload)


def test_endings_of_many_tasks_are_read_at_once(backend):
    backend.store_result("good", {"rows": 3}, "SUCCESS")
    backend.store_result("bad", ValueError("no such row", 7), "FAILURE")
    backend.mark_as_revoked("stopped", "terminated")
    backend.store_result("runs", {"current": 1}, "PROGRESS")
    endings = stored_endings(["good", "bad", "stopped", "runs", "never"])
    assert {task_id: state for task_id, (state, _) in endings.items()} == {
        "good": "SUCCESS", "bad": "FAILURE", "stopped": "REVOKED"
    }  # fmt: skip
    assert endings["good"][1]["result"] == '{"rows":3}'
    assert endings["bad"][1]["error"] == '{"type":"ValueError","message":"no such row, 7"}'
    assert endings["stopped"][1]["error"] == '{"type":"TaskRevokedError","message":"terminated"}'
    assert stored_result("good") == (True, {"rows": 3})
    assert stored_result("bad")[0] is False
    assert stored_metas([]) == {}


def test_an_exception_that_a_result_names_is_neither_imported_nor_made(backend, monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    error = type("Error", (Exception,), {"__module__": "wave"})
    backend.store_result("t", error("sly"), "FAILURE")
    assert stored_endings(["t"])["t"][1]["error"] == '{"type":"Error","message":"sly"}'
    assert "wave" not in sys.modules


class Sly:
    """Unpickling it runs code."""

    ran = False

    def __reduce__(self):
        return (setattr, (Sly, "ran", True))


def test_a_pickle_is_not_opened_and_hides_no_other_ending(backend):
    backend.store_result("other", 1, "SUCCESS")
    for state, result in (("SUCCESS", 1), ("FAILURE", ValueError())):
        backend.store_result(state, result, state)
        corrupt(backend, state, pickle.dumps(Sly()))
    endings = stored_endings(["SUCCESS", "FAILURE", "other"])
    assert not Sly.ran
    assert endings["other"][1]["result"] == "1"
    assert stored_result("SUCCESS")[0] is False
    if hasattr(backend, "mget"):  # state and result are one text, so neither is known
        assert set(endings) == {"other"}
        return
    success, failure = endings["SUCCESS"][1], endings["FAILURE"][1]
    assert (success["result"], success["truncated"]) == ("null", "true")
    assert failure["error"] == '{"type":"FAILURE","message":"it cannot be read as data"}'


@pytest.mark.skipif(not stores_pickles, reason="Celery 5.7 stores what it is told to")
def test_of_a_database_of_pickles_the_state_is_read(sqlalchemy_app, monkeypatch):
    backend = sqlalchemy_app.backend
    monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=backend))
    backend.store_result("good", 1, "SUCCESS")
    backend.store_result("bad", ValueError("x"), "FAILURE")
    endings = stored_endings(["good", "bad"])
    assert {task_id: state for task_id, (state, _) in endings.items()} == {
        "good": "SUCCESS", "bad": "FAILURE"
    }  # fmt: skip
    assert endings["good"][1]["truncated"] == "true"


@pytest.mark.parametrize("payload", [b"[]", b"7", b"{", b'{"status": ["SUCCESS"]}'])
def test_a_key_with_something_else_hides_no_other_ending(monkeypatch, payload):
    app = app_with("cache+memory://")
    monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=app.backend))
    app.backend.store_result("other", 1, "SUCCESS")
    corrupt(app.backend, "odd", payload)
    assert set(stored_endings(["odd", "other"])) == {"other"}


@pytest.mark.parametrize("name", ["rpc://", None])
def test_what_cannot_be_asked_is_not_asked(name, monkeypatch):
    app = Celery("results", broker="memory://", backend=name, set_as_current=False)
    monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=app.backend))
    assert stored_endings(["t"]) == {}


def test_the_kinds_that_can_be_asked():
    assert is_readable(RedisBackend)
    assert not any(is_readable(kind) for kind in (RPCBackend, MongoBackend, S3Backend))
