"""Canvases of ordinary projects: the owners of their tasks, and the cost of announcing them."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import celery.app.task
import pytest
from celery import chain, chord, group
from celery.utils import uuid

import realtime
from project.celery import app
from realtime.core.change import Change
from realtime.core.states import RECEIVED
from realtime.core.topics import Topic
from realtime.ownership import owner_from
from realtime.store import get_store
from realtime.worker import canvas, messages, publishing, signals, task
from realtime.worker.publisher import publisher
from tests import sample_tasks
from tests.field import pushed_tasks
from tests.field.workers import Workers, is_in, owner_of, workers
from tests.statuses import ended, wait
from tests.until import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A worker with two prefork processes; result backends with and without a native join."""
    with workers(tmp_path_factory) as made:
        made.start(2)
        yield made


@pytest.fixture(autouse=True)
def _running(running: Workers) -> None:
    """Every test here uses that worker."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[Change]]:
    """The changes of each call of this process to the store."""
    made: list[list[Change]] = []
    store = get_store()
    send, send_all = store.send, store.send_all
    monkeypatch.setattr(store, "send", lambda change: made.append([change]) or send(change))
    monkeypatch.setattr(
        store, "send_all", lambda changes: made.append(list(changes)) or send_all(changes)
    )
    return made


@pytest.fixture
def nobody_runs() -> dict[str, str]:
    """Options that send tasks to a queue that no worker consumes."""
    return {"queue": f"nobody-{uuid()}"}


# Announcing


def test_a_group_is_announced_in_batches_and_its_owner_is_resolved_once(
    calls: list[list[Change]], nobody_runs: dict[str, str], amount: Callable[[int, int], int]
) -> None:
    size, resolved = amount(300, 1000), []
    with owner_from(lambda: resolved.append(1) or "crowd"):  # type: ignore[func-returns-value]
        result = group(sample_tasks.add.s(n, n) for n in range(size)).apply_async(**nobody_runs)
    assert publisher.flush(10)
    assert len(resolved) == 1
    assert Counter(change.task_id for call in calls for change in call) == {
        member.id: 1 for member in result.results
    }
    assert len({change.publication for call in calls for change in call}) == 1
    # A batch is sent when it is full, or when its first change has waited for 0.1 s.
    assert len(calls) <= size / 2
    assert realtime.status(result.results[-1].id).state == "PENDING"
    assert owner_of(result.results[0].id) == "crowd"


def test_the_tasks_in_the_messages_of_a_chord_are_announced_once(
    calls: list[list[Change]], nobody_runs: dict[str, str], amount: Callable[[int, int], int]
) -> None:
    size = amount(200, 2000)
    body = group(sample_tasks.echo.s() for _ in range(50))
    chord([sample_tasks.add.s(n, n) for n in range(size)], body).apply_async(**nobody_runs)
    assert publisher.flush(10)
    announced = Counter(change.task_id for call in calls for change in call)
    assert set(announced.values()) == {1}
    assert len(announced) == size + 50


def test_the_tasks_of_a_chord_are_traversed_once(
    monkeypatch: pytest.MonkeyPatch, nobody_runs: dict[str, str]
) -> None:
    seen: list[Any] = []
    found = messages._tasks_in
    monkeypatch.setattr(
        messages, "_tasks_in", lambda *args: seen.append(args[0]["task"]) or found(*args)
    )
    body = group(sample_tasks.echo.s() for _ in range(50))
    chord([sample_tasks.add.s(n, n) for n in range(100)], body).apply_async(**nobody_runs)
    assert len(seen) < 100


def test_a_canvas_that_was_published_can_be_published_again_under_new_ids() -> None:
    first = group(sample_tasks.add.s(1, 1), sample_tasks.add.s(2, 2))
    again = chord([sample_tasks.add.s(1, 1)], sample_tasks.echo.s())
    for each in (first, again):
        before = repr(dict(each))
        results = [each.apply_async(), each.apply_async()]
        assert results[0].id != results[1].id
        assert repr(dict(each)) == before


def test_a_canvas_of_a_generator_that_raises_announces_the_published_tasks(
    nobody_runs: dict[str, str],
) -> None:
    ids = [uuid() for _ in range(3)]

    def members() -> Iterator[Any]:
        for task_id in ids:
            yield sample_tasks.add.s(1, 1).set(task_id=task_id)
        raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        group(members()).apply_async(**nobody_runs)
    assert canvas.publication() == ""
    assert publisher.flush(10)
    known = [task_id for task_id in ids if get_store().status(task_id) is not None]
    # Celery reads the next member before it publishes one.
    assert known == ids[: len(known)]


def test_celerys_methods_are_wrapped_once_and_keep_their_signatures() -> None:
    methods = [group.apply_async, chord.apply_async, celery.app.task.Task.update_state]
    signals.connect()
    canvas.connect()
    task.connect()
    assert [group.apply_async, chord.apply_async, celery.app.task.Task.update_state] == methods
    for method in methods:
        assert not hasattr(method.__wrapped__, "__wrapped__")
        assert inspect.signature(method) == inspect.signature(method.__wrapped__)
    names = list(inspect.signature(celery.app.task.Task.update_state).parameters)
    assert names == ["self", "task_id", "state", "meta", "kwargs"]
    assert "exc" in inspect.signature(celery.app.task.Task.retry).parameters
    assert publishing._RETRY_CODE is celery.app.task.Task.retry.__code__


# Owners


@pytest.mark.parametrize("way", ["task", "chain", "group", "chord"])
def test_a_replaced_task_keeps_its_owner_and_so_do_the_tasks_that_replace_it(way: str) -> None:
    with owner_from(lambda: f"replaced-{way}"):
        task_id = pushed_tasks.become.delay(way).id
    last = ended(task_id)[-1]
    expected = [21, 22] if way == "group" else 42
    assert (last.state, last.result) == ("SUCCESS", expected)
    assert owner_of(task_id) == f"replaced-{way}"
    children = [
        status
        for status in get_store().statuses(Topic("user", f"replaced-{way}"))
        if status.task_id != task_id
    ]
    assert len(children) == {"task": 0, "chain": 1, "group": 2, "chord": 2}[way]
    assert until(lambda: all(is_in(child.task_id, "SUCCESS")() for child in children))


def test_links_bodies_and_callbacks_belong_to_the_owner_of_the_canvas() -> None:
    noted = [uuid() for _ in range(2)]
    with owner_from(lambda: "canvas"):
        result = chain(
            sample_tasks.add.si(1, 1),
            group(sample_tasks.add.s(1), sample_tasks.add.s(2)),
            sample_tasks.total.s().on_error(pushed_tasks.note_error.s().set(task_id=noted[0])),
            sample_tasks.fail.si("at the end").on_error(
                pushed_tasks.note_error.s().set(task_id=noted[1])
            ),
        ).apply_async()
    wait(result.id)
    assert until(lambda: owner_of(noted[1]) == "canvas")
    ids = [result.id, result.parent.id, *(each.id for each in result.parent.parent.results)]
    assert {owner_of(task_id) for task_id in ids} == {"canvas"}
    assert {realtime.status(task_id).run for task_id in ids} == {1}


def test_a_body_that_is_a_group_keeps_its_announced_records() -> None:
    body = group(sample_tasks.echo.s(), sample_tasks.total.s())
    with owner_from(lambda: "bodies"):
        result = chord([sample_tasks.add.s(1, 1), sample_tasks.add.s(2, 2)], body).apply_async()
    ids = [each.id for each in result.results]
    for task_id in ids:
        last = ended(task_id)[-1]
        assert (last.state, last.run) == ("SUCCESS", 1)
        assert owner_of(task_id) == "bodies"


# Error callbacks, and chords without a native join


def test_an_error_callback_of_a_killed_task_belongs_to_that_tasks_owner() -> None:
    noted = uuid()
    with owner_from(lambda: "killed"):
        pushed_tasks.killed_by_its_limit.apply_async(
            link_error=pushed_tasks.note_error.s().set(task_id=noted)
        )
    assert until(is_in(noted, "SUCCESS"), 30)
    assert owner_of(noted) == "killed"


def test_an_error_callback_of_a_chord_that_a_killed_task_broke_belongs_to_its_owner() -> None:
    noted = uuid()
    body = sample_tasks.total.s().on_error(pushed_tasks.note_error.s().set(task_id=noted))
    with owner_from(lambda: "broken"):
        chord(
            [pushed_tasks.killed_by_its_limit.si(), sample_tasks.add.si(1, 1)], body
        ).apply_async()
    assert until(is_in(noted, "SUCCESS"), 30)
    assert owner_of(noted) == "broken"


@contextmanager
def results_in(backend: str) -> Iterator[str]:
    """Let the Celery app here use another result backend."""
    app.conf.result_backend = backend
    app._backend_cache, app._local = None, threading.local()
    try:
        yield backend
    finally:
        app._backend_cache, app._local = None, threading.local()


def test_a_chord_without_native_join_shows_no_task_of_celerys_and_its_body_has_its_owner(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with workers(tmp_path_factory) as files, results_in(f"file://{tmp_path}") as backend:
        files.start(2, CELERY_RESULT_BACKEND=backend)
        noted = uuid()
        with owner_from(lambda: "files"):
            good = chord([sample_tasks.add.si(1, 1)], sample_tasks.total.s()).apply_async()
            chord(
                [sample_tasks.fail.si("a part")],
                sample_tasks.total.s().on_error(pushed_tasks.note_error.s().set(task_id=noted)),
            ).apply_async()
        assert ended(good.id)[-1].state == "SUCCESS"
        assert until(is_in(noted, "SUCCESS"), 30)
        assert {owner_of(good.id), owner_of(noted)} == {"files"}
        names = {status.name for status in get_store().statuses(Topic("user", "files"))}
        assert names == {
            sample_tasks.add.name,
            sample_tasks.total.name,
            sample_tasks.fail.name,
            pushed_tasks.note_error.name,
        }


# Excluded and received tasks


def test_a_left_out_member_of_a_group_is_not_announced(nobody_runs: dict[str, str]) -> None:
    result = group(sample_tasks.add.si(1, 1), pushed_tasks.quiet.si(1)).apply_async(**nobody_runs)
    shown, hidden = (each.id for each in result.results)
    assert realtime.status(shown).state == "PENDING"
    assert get_store().status(hidden) is None


def test_a_received_task_names_its_dependents(tmp_path: Path) -> None:
    last = chain(sample_tasks.hold.si(str(tmp_path / "go")), sample_tasks.add.si(1, 1)).apply_async(
        countdown=3600
    )
    assert until(is_in(last.parent.id, RECEIVED))
    (found,) = [each for each in get_store().running() if each.task_id == last.parent.id]
    assert found.alive
    assert [dependent.task_id for dependent in found.dependents] == [last.id]
    app.control.revoke(last.parent.id)
