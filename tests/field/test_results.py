"""Endings that only the result backend has: found soon, of the right life, with the right time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from asgiref.sync import sync_to_async
from celery.utils import uuid
from django.conf import settings
from django.test import AsyncClient, override_settings

import realtime
from realtime import results
from realtime.core import jsontext
from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.store.unfinished import Unfinished
from realtime.web import ending_search, endpoint
from realtime.web import recall as recall_module
from realtime.web import reconciler as module
from realtime.web.access.tokens import make_token
from realtime.web.reconciler import Reconciler
from realtime.web.slow_calls import THREADS
from tests.backends import DATABASES, KINDS, app_with, result_app
from tests.until import until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def backend(
    request: Any, clean_redis: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Iterator[Any]:
    """An empty result backend of the kind that the test names; the service reads it."""
    with result_app(getattr(request, "param", "memory"), tmp_path) as app:
        read_from(app.backend, monkeypatch)
        yield app.backend


def read_from(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.results.current_app", SimpleNamespace(backend=backend))


@pytest.fixture
def reconciler(clean_redis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reconciler]:
    monkeypatch.setattr(module, "_CONFIRM_AFTER", 0.01)
    made = Reconciler()
    yield made
    made.stop()


def publish(task_id: str, publication: str = "p1", *, ago: float = 0, **more: Any) -> None:
    at = jsontext.timestamp(datetime.now(UTC) - timedelta(seconds=ago))
    fields = {"published_at": at} | more.pop("fields", {})
    change = Change(task_id=task_id, publication=publication, fields=fields, **more)
    assert get_store().accept(change)


def wait_for_publication(task_id: str, *, ago: float = 0) -> str:
    publish(task_id, state="PENDING", attempt=0, ago=ago)
    return task_id


def begin(task_id: str, **more: Any) -> None:
    publish(task_id, state="STARTED", attempt=0, run_id="a", begins=True, **more)


def state_of(task_id: str) -> str | None:
    status = realtime.status(task_id)
    return status and status.state


def reconciles_until(reconciler: Reconciler, task_id: str, state: str) -> None:
    """Run rounds of the reconciler until the task is in this state."""

    def found() -> bool:
        reconciler.reconcile()
        return state_of(task_id) == state

    assert until(found)


# Among many


@pytest.mark.parametrize("backend", KINDS, indirect=True)
def test_an_ending_among_a_hundred_thousand_waiting_tasks_is_found_by_the_next_search(
    backend: Any, reconciler: Reconciler, amount: Callable[[int, int], int]
) -> None:
    ids = [uuid() for _ in range(amount(1_500, 100_000))]
    for task_id in ids:
        wait_for_publication(task_id)
    reconciler._search([])
    ended = [ids[0], ids[len(ids) // 2], ids[-1]]
    for task_id in ended:
        backend.store_result(task_id, 7, "SUCCESS")
    reconciler.reconcile()  # a long search continues beside the rounds
    assert until(lambda: [state_of(task_id) for task_id in ended] == ["SUCCESS"] * 3, 60)


@pytest.mark.parametrize("backend", DATABASES, indirect=True)
def test_a_database_is_not_queried_for_every_waiting_task_by_its_id(
    backend: Any, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    read = ending_search.stored_endings
    monkeypatch.setattr(
        ending_search, "stored_endings", lambda ids: searched.extend(ids) or read(ids)
    )
    monkeypatch.setattr(ending_search, "_ROTATION", 5)
    ids = [wait_for_publication(uuid()) for _ in range(40)]
    reconciler.reconcile()
    assert set(searched) == set(ids)
    for _ in range(2):
        searched.clear()
        backend.store_result(ids[-1], 7, "SUCCESS")
        reconciler.reconcile()
        assert len(searched) <= 6
    assert state_of(ids[-1]) == "SUCCESS"


@pytest.mark.parametrize("backend", DATABASES, indirect=True)
def test_an_ending_that_a_database_dates_long_before_is_found_by_its_id_in_turn(
    backend: Any, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending_search, "_ROTATION", 5)
    monkeypatch.setattr(
        ending_search, "OVERLAP", timedelta(seconds=-60)
    )  # as if it were 60 s behind
    ids = [wait_for_publication(uuid()) for _ in range(12)]
    reconciler.reconcile()
    backend.store_result(ids[-1], 7, "SUCCESS")
    reconciles_until(reconciler, ids[-1], "SUCCESS")


# Which publication it belongs to


@pytest.mark.parametrize("backend", KINDS, indirect=True)
@pytest.mark.parametrize("starts", [False, True], ids=["waits", "runs"])
def test_mondays_success_does_not_end_tuesdays_nightly_task(
    backend: Any, reconciler: Reconciler, starts: bool
) -> None:
    backend.store_result("nightly", "Monday's", "SUCCESS")  # its record has expired since
    publish("nightly", state="PENDING", attempt=0)
    if starts:
        begin("nightly")
    reconciler.reconcile()
    reconciler.reconcile()
    assert state_of("nightly") == ("STARTED" if starts else "PENDING")


@pytest.mark.parametrize("backend", DATABASES, indirect=True)
def test_tuesdays_success_ends_tuesdays_nightly_task(backend: Any, reconciler: Reconciler) -> None:
    backend.store_result("nightly", ValueError("Monday's"), "FAILURE")
    publish("nightly", state="PENDING", attempt=0)
    reconciler.reconcile()
    assert state_of("nightly") == "PENDING"
    backend.store_result("nightly", "Tuesday's", "SUCCESS")
    reconciler.reconcile()
    status = realtime.status("nightly")
    assert status is not None
    assert (status.state, status.result) == ("SUCCESS", "Tuesday's")


def test_an_ending_read_before_the_id_was_published_again_does_not_end_the_new_life(
    backend: Any, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = uuid()
    begin(task_id)
    backend.store_result(task_id, "first", "SUCCESS")
    kind = type(get_store())
    accept = kind.accept

    def race(store: Any, change: Change) -> int:
        monkeypatch.setattr(kind, "accept", accept)
        store.accept(Change(task_id=task_id, state="SUCCESS", run_id="a", publication="p1"))
        publish(task_id, "p2", state="PENDING", attempt=0)
        return accept(store, change)

    monkeypatch.setattr(kind, "accept", race)
    reconciler.reconcile()
    status = realtime.status(task_id)
    assert status is not None
    assert (status.state, status.run) == ("PENDING", 2)
    reconciler.reconcile()
    assert state_of(task_id) == "PENDING"


def test_an_ending_recalled_while_the_id_is_published_again_does_not_end_the_new_life(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.store_result("nightly", "Monday's", "SUCCESS")
    read = recall_module.stored_ending

    def slow(task_id: str) -> Any:
        found = read(task_id)
        publish("nightly", state="PENDING", attempt=0)
        return found

    monkeypatch.setattr(recall_module, "stored_ending", slow)
    assert recall_module.recall("nightly")
    assert state_of("nightly") == "PENDING"


def test_for_a_random_id_that_was_published_once_no_clock_decides(
    backend: Any, reconciler: Reconciler
) -> None:
    task_id = wait_for_publication(uuid(), ago=-3600)  # the publisher's clock is an hour fast
    backend.store_result(task_id, 7, "SUCCESS")
    reconciler.reconcile()
    assert state_of(task_id) == "SUCCESS"


# Whole results


@pytest.mark.parametrize("backend", KINDS, indirect=True)
@pytest.mark.parametrize("repeated", [False, True], ids=["published once", "published again"])
@pytest.mark.parametrize("stored", ["before", "after"])
@pytest.mark.parametrize("task_id", ["nightly", uuid()], ids=["own id", "unique id"])
def test_a_whole_result_is_read_by_one_query_if_it_belongs_to_the_publication(
    backend: Any, monkeypatch: pytest.MonkeyPatch, task_id: str, stored: str, repeated: bool
) -> None:
    if stored == "before":
        backend.store_result(task_id, 7, "SUCCESS")
    for publication in ["p1", "p2"] if repeated else ["p2"]:
        truncated = {"truncated": "true"}
        publish(task_id, publication, state="SUCCESS", attempt=0, fields=truncated)
    if stored == "after":
        published = datetime.now(UTC)
        # The time of a publication has milliseconds.
        until(lambda: datetime.now(UTC) - published > timedelta(milliseconds=2))
        backend.store_result(task_id, 7, "SUCCESS")
    queries: list[Any] = []
    read = results._metas
    monkeypatch.setattr(results, "_metas", lambda ids: queries.append(ids) or read(ids))
    belongs = stored == "after" or not (task_id == "nightly" or repeated)
    assert recall_module._whole_result(task_id) == ("7" if belongs else None)
    assert queries == [[task_id]]


# When it ended


@pytest.mark.parametrize("backend", KINDS, indirect=True)
@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("enable_utc", [True, False])
def test_an_ending_that_is_found_has_its_own_time_in_utc_whatever_the_time_zones(
    backend: Any, reconciler: Reconciler, use_tz: bool, enable_utc: bool
) -> None:
    zone = "America/Chicago"
    backend.app.conf.update(enable_utc=enable_utc, timezone=zone)
    with override_settings(USE_TZ=use_tz, TIME_ZONE=zone):
        task_id = wait_for_publication(uuid())
        reconciler.reconcile()
        before = jsontext.timestamp()
        backend.store_result(task_id, 7, "SUCCESS")
        after = jsontext.timestamp()
        reconciler.reconcile()
        status = realtime.status(task_id)
        assert status is not None
        assert before <= json.dumps(status.finished_at) <= after


@pytest.mark.parametrize("enable_utc", [True, False])
def test_an_eta_is_shown_in_utc_as_celery_means_it_whatever_the_time_zones(
    enable_utc: bool,
) -> None:
    app = app_with(None)
    app.conf.update(enable_utc=enable_utc, timezone="America/Chicago")
    naive = datetime(2026, 11, 28, 12)  # noqa: DTZ001 - Celery reads it as UTC
    aware = naive.replace(tzinfo=ZoneInfo("Asia/Kathmandu"))
    for eta, shown in ((naive, "2026-11-28T12:00"), (aware, "2026-11-28T06:15")):
        headers = app.amqp.as_task_v2(uuid(), "t", eta=eta).headers
        assert jsontext.timestamp_of(headers["eta"]) == f'"{shown}:00.000Z"'
    before = jsontext.timestamp(datetime.now(UTC) + timedelta(hours=1))
    headers = app.amqp.as_task_v2(uuid(), "t", countdown=3600).headers
    after = jsontext.timestamp(datetime.now(UTC) + timedelta(hours=1))
    assert before <= jsontext.timestamp_of(headers["eta"]) <= after


# A backend that does not reply


class Stuck:
    """A key-value backend that replies when it is released."""

    app = None

    def __init__(self) -> None:
        self.released = threading.Event()
        self.call_count = 0

    def get_key_for_task(self, task_id: str) -> str:
        return task_id

    def mget(self, keys: list[str]) -> list[None]:
        self.call_count += 1
        self.released.wait()
        return [None] * len(keys)


class Broken(Stuck):
    def mget(self, keys: list[str]) -> list[None]:
        raise ConnectionError("refused")


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service reads these backends like any key-value store."""
    from realtime.results import backends

    reader = backends._READERS["celery.backends.base.BaseKeyValueStoreBackend"]
    names = {f"{kind.__module__}.{kind.__qualname__}": reader for kind in (Stuck, Broken)}
    monkeypatch.setattr(backends, "_READERS", names)


@pytest.mark.parametrize("kind", [Stuck, Broken])
@pytest.mark.usefixtures("readable")
def test_a_backend_that_does_not_answer_keeps_no_dead_worker_secret(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, kind: type[Stuck]
) -> None:
    backend = kind()
    read_from(backend, monkeypatch)
    quick = {"RECONCILE_INTERVAL": 0.05, "LOST_TIMEOUT": 1}
    with override_settings(REALTIME=settings.REALTIME | quick):
        task_id = uuid()
        begin(task_id, worker="gone", redelivery_timeout=1)
        reconciler.reconcile()
        assert state_of(task_id) == "STALLED"
        # Its result may be stored: LOST waits for a reply, for a limited time.
        reconciles_until(reconciler, task_id, "LOST")
    backend.released.set()


@pytest.mark.usefixtures("readable")
def test_no_task_is_lost_before_the_backend_has_answered_for_it(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Stuck()
    read_from(backend, monkeypatch)
    with override_settings(REALTIME=settings.REALTIME | {"RECONCILE_INTERVAL": 0.05}):
        task_id = uuid()
        begin(task_id, worker="gone", redelivery_timeout=0)
        for _ in range(3):
            reconciler.reconcile()
        assert state_of(task_id) == "STALLED"
        backend.released.set()
        reconciles_until(reconciler, task_id, "LOST")


@pytest.mark.usefixtures("readable", "clean_redis")
async def test_requests_for_results_are_answered_and_few_wait_for_a_backend_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = Stuck()
    read_from(backend, monkeypatch)
    monkeypatch.setattr(endpoint, "TIME_LIMIT", 0.3)
    ids = [uuid() for _ in range(2 * THREADS)]
    for task_id in ids:
        fields = {"truncated": "true"}
        await sync_to_async(publish)(task_id, state="SUCCESS", attempt=0, fields=fields)
    token, _ = make_token([Topic("task", task_id) for task_id in ids])
    headers = {"Authorization": f"Bearer {token}"}
    client = AsyncClient()
    try:
        answers = await asyncio.gather(
            *(client.get(f"/realtime/tasks/{task_id}/result/", headers=headers) for task_id in ids)
        )
        waiting = backend.call_count  # after the release the other calls follow
    finally:
        backend.released.set()
        await get_store().close()
    assert {answer.status_code for answer in answers} == {503}
    assert 1 <= waiting <= THREADS


# What a worker has received


def test_records_of_a_living_workers_many_tasks_are_read_once(
    backend: Any, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = get_store()
    store.renew_lease("w", 60)
    ids = {uuid() for _ in range(300)}
    for task_id in ids:
        publish(task_id, state="RECEIVED", attempt=0, worker="w", redelivery_timeout=3700)
    reconciler.reconcile()
    read: list[str] = []
    records = Unfinished.records

    def counted(store: Any, task_ids: list[str], *more: Any) -> Any:
        read.extend(task_ids)
        return records(store, task_ids, *more)

    monkeypatch.setattr(Unfinished, "records", counted)
    reconciler.reconcile()
    assert len(read) < len(ids)  # a few in turn, twice
    ended = next(iter(ids))
    backend.store_result(ended, 7, "SUCCESS")
    reconciler.reconcile()
    assert state_of(ended) == "SUCCESS"
    store.end_lease("w")
    reconciler.reconcile()
    assert {state_of(task_id) for task_id in ids - {ended}} == {"STALLED"}
    store.renew_lease("w", 60)
    reconciler.reconcile()
    assert {state_of(task_id) for task_id in ids - {ended}} == {"RECEIVED"}


# Expiry


def test_ids_whose_records_expired_are_removed_from_redis(
    backend: Any, reconciler: Reconciler, clean_redis: str
) -> None:
    ids = [wait_for_publication(uuid()) for _ in range(5)]
    with redis.Redis.from_url(clean_redis) as client:
        for task_id in ids:
            client.delete(*client.keys(f"*:task:{task_id}"))
        reconciler.reconcile()
        assert client.zcard("realtime:waiting") == 0
