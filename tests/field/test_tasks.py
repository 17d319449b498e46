"""The reports and the owners of tasks in ordinary projects, with a real worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from celery import chain
from celery.utils import uuid

import realtime
from project.celery import app
from realtime.core.states import LOST
from realtime.ownership import owner_from
from realtime.results import stored_endings
from realtime.store import get_store
from tests import sample_tasks
from tests.field import pushed_tasks
from tests.field.conftest import LONG
from tests.field.workers import Workers, is_in, owner_of, workers
from tests.statuses import ended, states, wait
from tests.until import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A worker with two prefork processes that push all keys of `meta`."""
    with workers(tmp_path_factory, PROGRESS_META=True) as made:
        made.start(2)
        yield made


@pytest.fixture(autouse=True)
def _running(running: Workers) -> None:
    """Every test here uses that worker."""


def progress_is(task_id: str, current: float | None, message: str | None) -> bool:
    def there() -> bool:
        status = realtime.status(task_id)
        progress = status.progress if status else None
        return progress is not None and (progress["current"], progress["message"]) == (
            current,
            message,
        )

    return until(there)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process inside."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Progress


@pytest.mark.parametrize("task", [pushed_tasks.train, pushed_tasks.compute])
def test_the_newest_progress_is_shown_while_the_task_works_on(task: Any, tmp_path: Path) -> None:
    release = tmp_path / "go"
    task_id = task.delay(str(release)).id
    message = "training" if task is pushed_tasks.train else "computing"
    assert progress_is(task_id, 2, message)
    assert realtime.status(task_id).state == "PROGRESS"
    release.touch()
    assert ended(task_id)[-1].state == "SUCCESS"


def test_track_shows_all_rows_but_the_slow_last_one(tmp_path: Path) -> None:
    release = tmp_path / "go"
    task_id = pushed_tasks.slow_last_row.delay(str(release)).id
    assert progress_is(task_id, 49, None)
    release.touch()
    assert ended(task_id)[-1].progress["current"] == 50


def test_the_newest_foreign_update_is_shown_while_its_sender_works_on(tmp_path: Path) -> None:
    release, task_id = tmp_path / "go", uuid()
    pushed_tasks.train_the_old_way.delay(task_id, str(release))
    assert progress_is(task_id, 3, None)
    release.touch()


def test_a_time_limit_that_strikes_while_progress_is_reported_reaches_the_task() -> None:
    statuses = ended(pushed_tasks.over_the_limit.delay().id)
    assert (statuses[-1].state, statuses[-1].result) == ("SUCCESS", "stopped")
    assert statuses[-1].progress["message"] == "stopped"


@pytest.mark.parametrize("task", [pushed_tasks.count_often, pushed_tasks.alternate])
def test_however_often_a_task_reports_few_events_are_sent(task: Any) -> None:
    last = wait(task.delay(3000).id)
    assert last.version < 30 + 10 * _seconds(last)


def _seconds(status: Any) -> float:
    began, end = (datetime.fromisoformat(at) for at in (status.started_at, status.finished_at))
    return (end - began).total_seconds()


# States of existing code


def test_update_state_is_pushed_whatever_the_class_of_the_task() -> None:
    statuses = ended(pushed_tasks.update_with_own_class.delay().id)
    (packing,) = [status for status in statuses if status.state == "PACKING"]
    assert packing.progress == {"current": 1, "total": 2, "message": None, "meta": None}


def test_a_message_without_numbers_and_other_keys_of_meta_are_shown() -> None:
    cases = {
        "message": ({"status": "Downloading"}, (None, None, "Downloading", None)),
        "numbers": ({"total": 3}, (None, 3, None, None)),
        "more": ({"current": 1, "speed": "3 MB/s"}, (1, None, None, {"speed": "3 MB/s"})),
        "too much": ({"current": 1, "list": "x" * 2000}, (1, None, None, None)),
        "nothing": ("no mapping", None),
    }
    for meta, expected in cases.values():
        last = ended(pushed_tasks.say_only.delay(meta).id)[-1]
        found = last.progress and tuple(last.progress.values())
        assert found == expected
        assert last.progress is None or list(last.progress) == [
            "current",
            "total",
            "message",
            "meta",
        ]


def test_names_of_states_that_are_odd_count_as_progress() -> None:
    statuses = ended(pushed_tasks.name_states_oddly.delay().id)
    assert "UPLOADING" in states(statuses)
    assert {"with spaces", "bytes\n"}.isdisjoint(states(statuses))
    assert statuses[-1].progress["current"] == 3


def test_nothing_that_a_users_object_does_raises_in_the_task() -> None:
    last = ended(pushed_tasks.touch_hostile_objects.delay().id)[-1]
    assert (last.state, last.result) == ("SUCCESS", 9)
    assert last.progress["current"] is None
    assert last.progress["message"] == "<unprintable Hostile>"


# Reports on other tasks


def test_a_parent_goes_on_reporting_after_its_children_have_reported_on_it(tmp_path: Path) -> None:
    release = tmp_path / "go"
    parent = pushed_tasks.continue_after_children.delay(str(release)).id
    assert until(is_in(parent, "PROGRESS"))
    for number in range(10, 16):
        wait(pushed_tasks.update_parent.delay(parent, number).id)
    assert progress_is(parent, 15, None)
    release.touch()
    assert progress_is(parent, 50, "after")
    (tmp_path / "go-end").touch()
    shown = [status.progress["current"] for status in ended(parent) if status.progress]
    assert shown[-1] == 50
    assert set(range(10, 16)) <= set(shown)


# Threads, and tasks that are called


@pytest.mark.parametrize("way", ["to_thread", "context", "handle"])
def test_a_thread_of_a_task_reports_for_it_and_starts_tasks_of_its_owner(way: str) -> None:
    with owner_from(lambda: f"threads-{way}"):
        task_id = pushed_tasks.report_from_threads.delay(way).id
    last = ended(task_id)[-1]
    assert (last.progress["current"], last.progress["message"]) == (5, way)
    wait(last.result)
    assert owner_of(last.result) == f"threads-{way}"


def test_a_thread_that_does_not_know_its_task_is_logged_once_with_the_remedy(
    running: Workers,
) -> None:
    for _ in range(6):
        last = ended(pushed_tasks.report_from_threads.delay("plain").id)[-1]
        assert (last.state, last.progress) == ("SUCCESS", None)
    log = running.started[0].log()
    assert 1 <= log.count("thread_without_task") <= 2  # once in each process
    assert "realtime.this_task()" in log


@pytest.mark.parametrize("way", ["function", "apply", "update_state"])
def test_a_task_that_another_calls_reports_and_publishes_as_its_caller(way: str) -> None:
    with owner_from(lambda: f"calls-{way}"):
        task_id = pushed_tasks.call_another.delay(way).id
    statuses = ended(task_id)
    messages = [status.progress["message"] for status in statuses if status.progress]
    assert list(dict.fromkeys(messages)) == [way, "own"]
    assert states(statuses)[-1] == "SUCCESS"
    assert sum(status.terminal for status in statuses) == 1
    wait(statuses[-1].result)
    assert owner_of(statuses[-1].result) == f"calls-{way}"
    assert realtime.status(statuses[-1].result).parent_id is not None


# Publishing an id again


def test_an_id_that_is_published_again_after_its_end_begins_anew_with_its_new_owner() -> None:
    task_id = f"nightly-{uuid()}"
    with owner_from(lambda: "monday"):
        pushed_tasks.run_under_own_id.apply_async(task_id=task_id)
    first = wait(task_id)
    with owner_from(lambda: "tuesday"):
        pushed_tasks.run_under_own_id.apply_async(task_id=task_id)
    assert until(lambda: realtime.status(task_id).run == 2)
    second = wait(task_id)
    assert (second.state, second.run) == ("SUCCESS", 2)
    assert second.version > first.version
    assert owner_of(task_id) == "tuesday"


def test_publishing_an_id_that_runs_changes_nothing_until_its_new_run(tmp_path: Path) -> None:
    task_id, release = f"hourly-{uuid()}", tmp_path / "go"
    with owner_from(lambda: "first"):
        pushed_tasks.run_under_own_id.apply_async((str(release),), task_id=task_id)
    assert until(is_in(task_id, "STARTED"))
    with owner_from(lambda: "second"):
        pushed_tasks.run_under_own_id.apply_async((str(release),), task_id=task_id, countdown=1)
    assert owner_of(task_id) == "first"
    release.touch()
    assert until(lambda: owner_of(task_id) == "second")
    assert until(is_in(task_id, "SUCCESS"))
    assert realtime.status(task_id).run == 2


def test_a_retry_belongs_to_the_publication_of_its_first_message() -> None:
    with owner_from(lambda: "retrying"):
        task_id = sample_tasks.retry_until.delay(2).id
    last = ended(task_id)[-1]
    assert (last.state, last.run, last.attempt) == ("SUCCESS", 1, 2)
    assert owner_of(task_id) == "retrying"


# Ids


@pytest.mark.parametrize(
    "task_id",
    ["report:2026/11 #4", "ключ 🗝", "x" * 200, "a" * 255],
    ids=["odd", "unicode", "200", "255"],
)
def test_a_task_with_an_id_of_any_text_is_shown(task_id: str) -> None:
    sample_tasks.add.apply_async((1, 2), task_id=task_id)
    assert until(is_in(task_id, "SUCCESS"))


def test_an_id_that_no_topic_can_name_is_left_out_and_the_task_runs() -> None:
    results = [
        sample_tasks.add.apply_async((1, 2), task_id=task_id)
        for task_id in (f"a\nb-{uuid()}", f"{uuid()}-" + "x" * 300)
    ]
    assert [result.get(timeout=20) for result in results] == [3, 3]


# Failures


@pytest.mark.parametrize("way", list(pushed_tasks.failures()))
def test_a_failure_has_one_type_and_message_live_at_its_retry_and_in_the_backend(way: str) -> None:
    task_id = pushed_tasks.fail_in_a_way.delay(way).id
    statuses = ended(task_id)
    (retry,) = [status for status in statuses if status.state == "RETRY"]
    live = statuses[-1]
    assert live.state == "FAILURE"
    assert retry.error == live.error
    stored = json.loads(stored_endings([task_id])[task_id].fields["error"])
    assert stored == live.error


# Excluded tasks


def test_a_task_that_is_left_out_is_not_announced_and_its_children_are(
    running: Workers,
) -> None:
    with owner_from(lambda: pytest.fail("the owner was resolved")):
        silent = pushed_tasks.quiet.delay(1)
        parent = pushed_tasks.quiet_parent.delay()
    assert silent.get(timeout=20) == 1
    child = parent.get(timeout=20)
    assert wait(child).state == "SUCCESS"
    assert get_store().status(silent.id) is None
    assert get_store().status(parent.id) is None


def test_a_left_out_member_of_a_chain_is_not_announced() -> None:
    with owner_from(lambda: "chained"):
        last = chain(
            sample_tasks.add.si(1, 1), pushed_tasks.quiet.si(2), sample_tasks.add.si(2, 2)
        ).apply_async()
    assert get_store().status(last.parent.id) is None
    assert wait(last.id).result == 4
    assert owner_of(last.id) == "chained"
    assert get_store().status(last.parent.id) is None


def test_a_wrong_announcement_of_a_publisher_is_withdrawn_by_the_worker(
    monkeypatch: pytest.MonkeyPatch, running: Workers
) -> None:
    monkeypatch.setattr(app.tasks[pushed_tasks.quiet.name], "realtime", True)
    with stopped(running.started[0].pid):  # else it may withdraw the task before it is read
        task_id = pushed_tasks.quiet.delay(1).id
        assert until(lambda: get_store().status(task_id) is not None)
    assert until(lambda: get_store().status(task_id) is None)


# Cold shutdowns


@pytest.mark.parametrize("how", ["SIGQUIT", "REMAP_SIGTERM"] if LONG else ["SIGQUIT"])
def test_a_task_that_a_cold_shutdown_ends_is_lost_at_once_with_its_dependents(
    how: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    env = {"REMAP_SIGTERM": "SIGQUIT"} if how == "REMAP_SIGTERM" else {}
    with workers(tmp_path_factory) as alone:
        worker = alone.start(1, **env)
        never = str(tmp_path / "never")
        last = chain(sample_tasks.hold.si(never), sample_tasks.add.si(1, 1)).apply_async()
        assert until(is_in(last.parent.id, "STARTED"))
        os.kill(worker.pid, signal.SIGTERM if env else signal.SIGQUIT)
        for task_id in (last.parent.id, last.id):
            assert until(is_in(task_id, LOST))
            assert "shut down" in realtime.status(task_id).error["message"]


@pytest.mark.skipif(not LONG, reason="in the long form: test_waiting.py has it in short")
def test_an_unacknowledged_task_that_a_cold_shutdown_ends_runs_again(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    release = tmp_path / "go"
    with workers(tmp_path_factory) as alone:
        worker = alone.start(1)
        task_id = pushed_tasks.hold_late.delay(str(release)).id
        assert until(is_in(task_id, "STARTED"))
        os.kill(worker.pid, signal.SIGQUIT)
        assert until(lambda: worker.returncode is not None, 30)
        assert not realtime.status(task_id).terminal
        release.touch()
        alone.start(1)
        assert until(is_in(task_id, "SUCCESS"), 60)
        assert realtime.status(task_id).run == 2
