"""Endings that nobody announced, and workers that are gone."""

import json
import os
import signal
import time

import pytest
import redis
from asgiref.sync import async_to_sync

import realtime
from project.celery import app
from realtime.core.change import Change
from realtime.store import get_store
from realtime.web.reconciler import Reconciler
from tests import sample_tasks
from tests.constants import BRIEF_LEASES
from tests.statuses import history, reached, states, wait
from tests.until import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
]


def begin(task_id, worker="", redelivery_timeout=0, **more):
    change = Change(
        task_id=task_id, state="STARTED", attempt=0, run_id="a", begins=True, worker=worker,
        redelivery_timeout=redelivery_timeout, **more,
    )  # fmt: skip
    assert get_store().accept(change)


def store(task_id, result, state):
    app.backend.store_result(task_id, result, state)


@pytest.fixture
def reconciler(clean_redis):
    return Reconciler()


def test_a_success_that_nobody_announced_is_found_in_the_result_backend(reconciler):
    begin("t")
    store("t", {"rows": 3}, "SUCCESS")
    reconciler.reconcile()
    status = realtime.status("t")
    assert (status.state, status.result, status.error) == ("SUCCESS", {"rows": 3}, None)
    assert status.finished_at


def test_a_failure_that_nobody_announced_is_read_as_data(reconciler):
    begin("t")
    store("t", ValueError("bad row", 7), "FAILURE")
    reconciler.reconcile()
    status = realtime.status("t")
    assert status.state == "FAILURE"
    assert status.error == {"type": "ValueError", "message": "('bad row', 7)"}


def test_an_exception_named_in_a_result_is_never_made(reconciler):
    begin("t")
    payload = {
        "status": "FAILURE", "task_id": "t", "traceback": None, "children": [],
        "result": {"exc_type": "system", "exc_module": "os", "exc_message": ["touch /tmp/x"]},
    }  # fmt: skip
    app.backend.set(app.backend.get_key_for_task("t"), json.dumps(payload))
    reconciler.reconcile()
    assert realtime.status("t").error == {"type": "system", "message": "touch /tmp/x"}


def test_a_failure_of_an_earlier_run_does_not_end_the_one_that_runs(reconciler):
    begin("t")
    get_store().accept(Change(task_id="t", state="FAILURE"))
    get_store().renew_lease("alive", 60)
    change = Change(
        task_id="t", state="STARTED", attempt=0, run_id="b", begins=True, worker="alive"
    )
    get_store().accept(change)
    store("t", ValueError("first run"), "FAILURE")
    reconciler.reconcile()
    assert realtime.status("t").state == "STARTED"
    store("t", 42, "SUCCESS")
    reconciler.reconcile()
    assert realtime.status("t").state == "SUCCESS"


def test_a_waiting_task_that_was_revoked_is_found(reconciler):
    get_store().accept(Change(task_id="t", state="RECEIVED", attempt=0))
    app.backend.mark_as_revoked("t", "revoked")
    reconciler.reconcile()
    assert realtime.status("t").state == "REVOKED"


def test_living_tasks_are_not_changed(reconciler):
    get_store().renew_lease("w", 60)
    begin("t", worker="w")
    begin("unknown-worker")
    get_store().accept(Change(task_id="p", state="PENDING"))
    reconciler.reconcile()
    assert [realtime.status(t).state for t in ("t", "unknown-worker", "p")] == [
        "STARTED", "STARTED", "PENDING"
    ]  # fmt: skip


def test_an_expired_lease_stalls_and_a_renewed_one_ends_that(reconciler, monkeypatch):
    monkeypatch.setattr("realtime.web.reconciler._CONFIRM_AFTER", 0.01)
    begin("t", worker="w", redelivery_timeout=60)
    reconciler.reconcile()
    assert realtime.status("t").state == "STALLED"
    get_store().renew_lease("w", 60)
    reconciler.reconcile()
    assert realtime.status("t").state == "STARTED"
    get_store().end_lease("w")
    reconciler.reconcile()
    assert get_store().accept(
        Change(task_id="t", state="PROGRESS", attempt=0, run_id="a", counter=1)
    )


def test_a_lease_that_is_back_at_the_second_check_stalls_nothing(reconciler, monkeypatch):
    begin("t", worker="w", redelivery_timeout=60)
    monkeypatch.setattr(
        reconciler._stopped, "wait", lambda _seconds: get_store().renew_lease("w", 60)
    )
    reconciler.reconcile()
    assert realtime.status("t").state == "STARTED"


def test_a_task_that_stays_stalled_is_lost_after_its_timeout(reconciler, monkeypatch):
    monkeypatch.setattr("realtime.web.reconciler._CONFIRM_AFTER", 0.01)
    begin("t", worker="w", redelivery_timeout=0)
    begin("redelivered", worker="w", redelivery_timeout=3600)
    reconciler.reconcile()
    reconciler.reconcile()
    lost = realtime.status("t")
    assert (lost.state, lost.error["type"]) == ("LOST", "WorkerLostError")
    assert realtime.status("redelivered").state == "STALLED"


def test_a_task_whose_worker_is_back_during_a_search_is_not_lost(reconciler, monkeypatch):
    monkeypatch.setattr("realtime.web.reconciler._CONFIRM_AFTER", 0.01)
    begin("t", worker="w", redelivery_timeout=0)
    reconciler.reconcile()
    assert realtime.status("t").state == "STALLED"
    search = reconciler._endings.run

    def search_slowly(running):
        search(running)
        get_store().renew_lease("w", 60)
        assert get_store().accept(Change(task_id="t", state="PROGRESS", run_id="a", counter=1))

    monkeypatch.setattr(reconciler._endings, "run", search_slowly)
    reconciler.reconcile()
    assert realtime.status("t").state == "PROGRESS"


def test_one_process_leads_until_it_is_silent_for_too_long(clean_redis):
    store = get_store()
    assert store.elect("one", 60)
    assert not store.elect("two", 60)
    assert store.elect("one", 0.2)
    assert until(lambda: store.elect("two", 60))
    assert not store.elect("one", 60)


def test_records_that_expired_are_forgotten_by_the_lists(reconciler, clean_redis):
    begin("t", worker="w")
    with redis.Redis.from_url(clean_redis) as client:
        client.delete("realtime:task:t")
        reconciler.reconcile()
        assert client.zcard("realtime:running") == 0


SOON = {"RECONCILE_INTERVAL": 0.5}
BRIEF = {"CONSTANTS": BRIEF_LEASES}


def kill(process):
    """Kill a worker and its children at once, as a machine that fails does."""
    os.killpg(os.getpgid(process.pid), signal.SIGKILL)


def test_a_whole_worker_that_dies_is_stalled_then_lost(start_service, tmp_path):
    service = start_service(REALTIME=json.dumps({"LOST_TIMEOUT": 1, **SOON}), **BRIEF)
    task_id = sample_tasks.hold.delay(str(tmp_path / "never")).id
    reached(task_id, "STARTED")
    kill(service.worker)
    killed = time.monotonic()
    reached(task_id, "STALLED")
    assert time.monotonic() - killed < 20
    last = async_to_sync(realtime.wait)(task_id, timeout=40)
    assert (last.state, last.run) == ("LOST", 1)
    assert states(history(task_id))[-3:] == ["STARTED", "STALLED", "LOST"]


def test_the_task_of_a_paused_worker_is_stalled_and_continues(start_service, tmp_path):
    service = start_service(REALTIME=json.dumps(SOON), **BRIEF)
    release = tmp_path / "go"
    task_id = sample_tasks.hold.delay(str(release)).id
    reached(task_id, "STARTED")
    group = os.getpgid(service.worker.pid)
    os.killpg(group, signal.SIGSTOP)
    try:
        reached(task_id, "STALLED")
    finally:
        os.killpg(group, signal.SIGCONT)
    release.touch()
    assert wait(task_id).result == "released"


def test_a_task_older_than_its_record_is_remembered_from_the_result_backend(clean_redis):
    store("old", 42, "SUCCESS")
    assert realtime.status("old").result == 42
    store("older", 43, "SUCCESS")
    assert wait("older").result == 43
    assert realtime.status("never") is None
    with pytest.raises(realtime.TaskNotFound):
        wait("never")
