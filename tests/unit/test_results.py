"""Reading result backends as data: nothing that is stored is executed."""

from __future__ import annotations

import pickle
import sys
import traceback
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import celery
import pytest
from celery import Celery
from celery.backends.mongodb import MongoBackend
from celery.backends.redis import RedisBackend
from celery.backends.rpc import RPCBackend
from celery.backends.s3 import S3Backend
from celery.utils.serialization import get_pickleable_exception, get_pickled_exception
from django.test import override_settings

from realtime.core import jsontext
from realtime.results import (
    Ending,
    ended_since,
    is_readable,
    is_searchable,
    redaction,
    stored_endings,
    stored_result,
)
from realtime.results.backends import aware
from tests.backends import app_with, result_app

#: The tests create and drop tables, which is not possible in a test's own transaction.
pytestmark = pytest.mark.django_db(transaction=True)


#: Before 5.7 Celery stores pickles in SQLAlchemy's tables, with every serializer.
stores_pickles = celery.VERSION < (5, 7)
_skipped = pytest.mark.skipif(stores_pickles, reason="only the state is read")


@pytest.fixture(params=[pytest.param("sqlalchemy", marks=_skipped), "django", "memory"])
def backend(request, monkeypatch, tmp_path):
    """A backend of each readable kind, empty; the service reads it."""
    with result_app(request.param, tmp_path) as app:
        monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=app.backend))
        yield app.backend


def corrupt(backend, task_id, payload):
    """Replace the stored bytes of a task's result."""
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
    assert {task_id: found.state for task_id, found in endings.items()} == {
        "good": "SUCCESS", "bad": "FAILURE", "stopped": "REVOKED"
    }  # fmt: skip
    assert endings["good"].fields["result"] == '{"rows":3}'
    assert endings["bad"].fields["error"] == (
        """{"type":"ValueError","message":"('no such row', 7)"}"""
    )
    assert (
        endings["stopped"].fields["error"] == '{"type":"TaskRevokedError","message":"terminated"}'
    )
    assert stored_result("good") == (True, {"rows": 3})
    assert stored_result("bad")[0] is False
    assert stored_endings([]) == {}


def test_an_exception_that_a_result_names_is_neither_imported_nor_made(backend, monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    error = type("Error", (Exception,), {"__module__": "wave"})
    backend.store_result("t", error("sly"), "FAILURE")
    assert stored_endings(["t"])["t"].fields["error"] == '{"type":"Error","message":"sly"}'
    assert "wave" not in sys.modules


class Sly:
    """An object whose unpickling runs code."""

    ran = False

    def __reduce__(self):
        return (setattr, (Sly, "ran", True))


def test_a_pickle_is_not_loaded_and_hides_no_other_ending(backend):
    backend.store_result("other", 1, "SUCCESS")
    for state, result in (("SUCCESS", 1), ("FAILURE", ValueError())):
        backend.store_result(state, result, state)
        corrupt(backend, state, pickle.dumps(Sly()))
    endings = stored_endings(["SUCCESS", "FAILURE", "other"])
    assert not Sly.ran
    assert endings["other"].fields["result"] == "1"
    assert stored_result("SUCCESS")[0] is False
    if hasattr(backend, "mget"):  # state and result are one text, so neither is known
        assert set(endings) == {"other"}
        return
    success, failure = endings["SUCCESS"].fields, endings["FAILURE"].fields
    assert (success["result"], success["truncated"]) == ("null", "true")
    assert failure["error"] == '{"type":"FAILURE","message":"it cannot be read as data"}'


@pytest.mark.skipif(not stores_pickles, reason="Celery 5.7 stores what the serializer returns")
def test_the_state_is_read_from_a_database_of_pickles(monkeypatch, tmp_path):
    with result_app("sqlalchemy", tmp_path) as app:
        backend = app.backend
        monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=backend))
        backend.store_result("good", 1, "SUCCESS")
        backend.store_result("bad", ValueError("x"), "FAILURE")
        endings = stored_endings(["good", "bad"])
    assert {task_id: found.state for task_id, found in endings.items()} == {
        "good": "SUCCESS", "bad": "FAILURE"
    }  # fmt: skip
    assert endings["good"].fields["truncated"] == "true"


@pytest.mark.parametrize("payload", [b"[]", b"7", b"{", b'{"status": ["SUCCESS"]}'])
def test_a_key_with_another_value_hides_no_other_ending(monkeypatch, payload):
    app = app_with("cache+memory://")
    monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=app.backend))
    app.backend.store_result("other", 1, "SUCCESS")
    corrupt(app.backend, "odd", payload)
    assert set(stored_endings(["odd", "other"])) == {"other"}


@pytest.mark.parametrize("name", ["rpc://", None])
def test_a_backend_that_cannot_be_searched_is_not_queried(name, monkeypatch):
    app = Celery("results", broker="memory://", backend=name, set_as_current=False)
    monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=app.backend))
    assert stored_endings(["t"]) == {}


def test_which_kinds_of_backend_can_be_searched():
    assert is_readable(RedisBackend)
    assert not any(is_readable(kind) for kind in (RPCBackend, MongoBackend, S3Backend))


# The time of an ending


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("enable_utc", [True, False])
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/Chicago"])
def test_an_ending_has_its_own_time_in_utc_in_every_time_zone(backend, zone, enable_utc, use_tz):
    backend.app.conf.update(enable_utc=enable_utc, timezone=zone)
    with override_settings(USE_TZ=use_tz, TIME_ZONE=zone):
        before = datetime.now(UTC)
        backend.store_result("t", 1, "SUCCESS")
        after = datetime.now(UTC)
        found = stored_endings(["t"])["t"]
        # Apart from the precision of MySQL and SQLite, the three differ by milliseconds.
        assert before <= found.stored_at <= after
        assert found.fields["finished_at"] == jsontext.timestamp(found.stored_at)
        assert found.fields["finished_at"].endswith('Z"')
        if is_searchable():
            recent = [row for page in ended_since(before) for row in page]
            assert [(row.task_id, row.stored_at) for row in recent] == [("t", found.stored_at)]
            assert not [row for page in ended_since(after) for row in page]


def test_a_database_lists_what_ended_and_not_what_runs(backend):
    backend.store_result("good", 1, "SUCCESS")
    backend.store_result("bad", ValueError(), "FAILURE")
    backend.store_result("runs", {"current": 1}, "PROGRESS")
    backend.mark_as_started("begins")
    pages = list(ended_since(datetime.now(UTC) - timedelta(minutes=5)))
    found = {row.task_id for page in pages for row in page}
    assert found == ({"good", "bad"} if is_searchable() else set())


def test_more_tasks_than_a_page_are_all_read(backend, monkeypatch):
    monkeypatch.setattr("realtime.results.PAGE", 3)
    monkeypatch.setattr("realtime.results.backends.PAGE", 3)
    ids = [str(number) for number in range(8)]
    for task_id in ids:
        backend.store_result(task_id, 1, "SUCCESS")
    assert set(stored_endings(ids)) == set(ids)
    if is_searchable():
        pages = list(ended_since(datetime.now(UTC) - timedelta(minutes=1)))
        assert max(map(len, pages)) <= 3
        assert sorted(row.task_id for page in pages for row in page) == ids


def test_in_the_repeated_hour_of_autumn_an_ending_is_not_in_the_future(monkeypatch):
    berlin = ZoneInfo("Europe/Berlin")
    repeated = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001 - as a database returns it
    for now, hour in (("2026-10-25T00:31Z", 0), ("2026-10-25T01:31Z", 1)):
        clock = SimpleNamespace(now=lambda _zone, now=now: datetime.fromisoformat(now))
        monkeypatch.setattr("realtime.results.backends.datetime", clock)
        assert aware(repeated, berlin) == datetime(2026, 10, 25, hour, 30, tzinfo=UTC)


# The publication of an ending


def test_the_time_of_an_ending_decides_only_for_an_id_that_is_used_again():
    published = "2026-11-28T12:00:00.500Z"
    earlier = Ending("SUCCESS", {}, datetime(2026, 11, 28, 12, 0, 0, 499_000, tzinfo=UTC))
    later = earlier._replace(stored_at=earlier.stored_at + timedelta(milliseconds=2))
    whole = earlier._replace(stored_at=earlier.stored_at.replace(microsecond=0))
    unknown = earlier._replace(stored_at=None)
    random, named = str(uuid.uuid4()), str(uuid.uuid5(uuid.NAMESPACE_URL, "nightly"))
    for task_id, again in ((random, True), (named, False), ("nightly", False)):
        endings = (earlier, later, whole, unknown)
        believed = [
            each.belongs_to(task_id, again=again, published_at=published) for each in endings
        ]
        assert believed == [False, True, True, False]
        assert later.belongs_to(task_id, again=again, published_at=None) is not again
    assert earlier.belongs_to(random, again=False, published_at=published)
    assert unknown.belongs_to(random, again=False, published_at=None)
    for none in ("yesterday", "", "9" * 5000, "0001-01-01T00:00:00+14:00"):
        assert not later.belongs_to("nightly", again=False, published_at=none)
    assert later.belongs_to("nightly", again=False, published_at="2026-11-28T12:00:00")


# Failures


class NeedsTwo(Exception):
    """An exception that cannot be unpickled, nor can any of its base classes."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


class Derived(ValueError):
    """An exception that cannot be unpickled; a ValueError with its arguments can."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


class OwnText(Exception):
    def __str__(self):
        return f"its own text: {self.args[0]}"


class Outer:
    class Inner(Exception):
        pass


def stores_tracebacks(backend):
    return not hasattr(backend, "TaskModel")  # django-celery-results: of extended results only


@pytest.mark.parametrize(
    "error",
    [
        NeedsTwo(1, "x"), Derived(1, "x"), OwnText("x"), Outer.Inner("x"), ValueError(),
        ValueError("x"), ValueError("x", 7), ValueError("two\nlines"), KeyError("x"),
        FileNotFoundError(2, "No such file or directory", "rows.csv"),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("traced", [True, False])
def test_a_stored_failure_has_the_type_and_the_message_that_it_had(backend, error, traced):
    if isinstance(error, OwnText | FileNotFoundError) and not (
        traced and stores_tracebacks(backend)
    ):
        pytest.skip("only its arguments are stored, which are not its whole message")
    raised = get_pickleable_exception(error)  # as celery/app/trace.py does
    text = "".join(traceback.format_exception(raised)) if traced else None
    backend.mark_as_failure("t", raised, text)
    expected = redaction.encode_error(get_pickled_exception(raised))
    assert stored_endings(["t"])["t"].fields["error"] == expected
