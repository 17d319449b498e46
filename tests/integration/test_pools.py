"""Every way in which a task starts, runs and ends, in the pools other than prefork.

What each pool can do is Celery's: docs/celery.md has the table.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

import realtime
from project.celery import app
from project.processes import Process
from project.redis_server import embedded_redis
from project.run import worker_answers, worker_command
from realtime.store import get_store
from realtime.web.reconciler import Reconciler
from realtime.worker.leases import LEASE
from tests import sample_tasks
from tests.conftest import using_redis
from tests.statuses import ended, history, is_throttled, only_after_pending, reached, states, wait
from tests.until import until

pytestmark = pytest.mark.integration

#: Tasks that a pool of threads or greenlets runs at once.
AT_ONCE = 12
needs_gevent = pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None,
    reason="GEVENT IS NOT INSTALLED: its pool is not tested",
)
SOLO, THREADS = "solo", "threads"
GEVENT = pytest.param("gevent", marks=needs_gevent)


@dataclass
class Pool:
    """A worker with a pool other than prefork, with its own Redis."""

    redis_url: str
    redis: Process
    worker: Process
    start: Callable[[], None]


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Pool]]:
    """Start a worker with a pool, once."""
    with ExitStack() as stack:
        running: dict[str, Pool] = {}

        def get(name: str) -> Pool:
            if name not in running:
                running[name] = start(name, stack, tmp_path_factory)
            return running[name]

        yield get


def start(name: str, stack: ExitStack, folders: pytest.TempPathFactory) -> Pool:
    server, url = embedded_redis(folders.mktemp("redis"), keep=False)
    stack.callback(server.stop)
    node = f"worker-{name}@tests"
    command = worker_command(node, AT_ONCE)
    command[command.index("prefork")] = name
    env = {
        **os.environ,
        "DATA_DIR": str(folders.mktemp("service")),
        "REDIS_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "CELERY_IMPORTS": "tests.sample_tasks",
    }
    worker = Process(f"worker {name}", command, env=env)
    stack.callback(worker.kill)

    def begin() -> None:
        worker.start()
        worker.wait_ready(lambda: worker_answers(node, url))

    begin()
    return Pool(url, server, worker, begin)


@pytest.fixture
def pool(request: Any, pools: Any) -> Iterator[Pool]:
    """The pool that the test names; Django's settings and the Celery app here use its Redis."""
    found = pools(request.param)
    with using_redis(found.redis_url):
        yield found


def in_pools(*names: Any) -> Any:
    return pytest.mark.parametrize("pool", names, indirect=True)


everywhere = in_pools(THREADS, SOLO, GEVENT)


def stored(task_id: str) -> str:
    """The state of a task in the result backend."""
    return str(app.backend.get_state(task_id))


@everywhere
def test_a_task_publishes_each_state(pool: Pool) -> None:
    statuses = ended(sample_tasks.add.delay(1, 2).id)
    assert only_after_pending(states(statuses)) == ["RECEIVED", "STARTED", "SUCCESS"]
    assert statuses[-1].result == 3


@everywhere
@pytest.mark.parametrize(
    ("task", "state", "error", "backend"),
    [
        (sample_tasks.fail, "FAILURE", "ValueError", "FAILURE"),
        (sample_tasks.ignore, "REVOKED", "Ignore", "STARTED"),
        (sample_tasks.reject, "FAILURE", "Reject", "FAILURE"),
        (sample_tasks.return_an_object, "FAILURE", "EncodeError", "FAILURE"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_ending_is_published_exactly_once(
    pool: Pool, task: Any, state: str, error: str, backend: str
) -> None:
    statuses = ended(task.delay().id)
    assert (statuses[-1].state, statuses[-1].error["type"]) == (state, error)
    assert sum(status.terminal for status in statuses) == 1
    assert stored(statuses[-1].task_id) == backend


@everywhere
def test_an_unknown_task_fails(pool: Pool) -> None:
    last = ended(app.send_task("nobody.wrote.this").id)[-1]
    assert (last.state, last.error["type"]) == ("FAILURE", "NotRegistered")


@everywhere
@pytest.mark.parametrize("task", [sample_tasks.retry_until, sample_tasks.retry_by_itself])
def test_retries_are_published_in_order(pool: Pool, task: Any) -> None:
    for task_id in [task.delay(2).id for _ in range(3)]:
        statuses = ended(task_id)
        assert only_after_pending(states(statuses)) == [
            *("RECEIVED", "STARTED", "RETRY") * 2, "RECEIVED", "STARTED", "SUCCESS",
        ]  # fmt: skip
        assert statuses[-1].attempt == 2


@everywhere
def test_a_waiting_task_is_revoked_or_expires(pool: Pool) -> None:
    result = sample_tasks.add.apply_async((1, 2), countdown=3)
    app.control.revoke(result.id)
    expired = ended(sample_tasks.add.apply_async((1, 2), expires=-1).id)[-1]
    assert (expired.state, expired.error["message"]) == ("REVOKED", "expired")
    statuses = ended(result.id)
    assert statuses[-1].state == "REVOKED"
    assert "STARTED" not in states(statuses)


@everywhere
@pytest.mark.parametrize(
    ("task", "result"), [("replace", 42), ("replace_by_chain", 43), ("replace_by_group", [20, 22])]
)
def test_a_replaced_task_ends_once_and_as_its_replacement_does(
    pool: Pool, task: str, result: Any
) -> None:
    statuses = ended(getattr(sample_tasks, task).delay(20, 22).id)
    assert (statuses[-1].state, statuses[-1].result) == ("SUCCESS", result)
    assert sum(status.terminal for status in statuses) == 1


@everywhere
def test_progress_is_throttled_and_its_last_value_is_published_before_the_ending(
    pool: Pool,
) -> None:
    statuses = ended(sample_tasks.count_and_fail.delay(500).id)
    assert is_throttled(statuses)
    assert statuses[-2].progress == {"current": 499, "total": 500, "message": None, "meta": None}
    assert statuses[-1].state == "FAILURE"


# Many at once


@in_pools(THREADS, GEVENT)
def test_tasks_that_run_together_each_report_their_own_progress(pool: Pool) -> None:
    ids = [sample_tasks.meet.delay(AT_ONCE, number).id for number in range(AT_ONCE)]
    for number, task_id in enumerate(ids):
        statuses = ended(task_id)
        messages = {status.progress["message"] for status in statuses if status.progress}
        assert messages == {f"task {number}"}, pool.worker.log()[-2000:]
        assert (statuses[-1].state, statuses[-1].result) == ("SUCCESS", number)


@in_pools(THREADS, GEVENT)
def test_no_ending_of_many_is_lost_or_doubled(pool: Pool) -> None:
    kinds = [(sample_tasks.add, (1, 2)), (sample_tasks.retry_until, (1,)), (sample_tasks.fail, ())]
    sent = [(n % 3, kinds[n % 3][0].apply_async(kinds[n % 3][1]).id) for n in range(60)]
    for kind, task_id in sent:
        statuses = ended(task_id)
        assert statuses[-1].state == ("FAILURE" if kind == 2 else "SUCCESS")
        assert sum(status.terminal for status in statuses) == 1
        # Celery may store an attempt's RETRY after the SUCCESS of the next attempt.
        assert kind == 1 or stored(task_id) == statuses[-1].state
    assert not [run for run in get_store().running() if run.task_id in dict(sent).values()]


@in_pools(THREADS, GEVENT)
def test_endings_while_redis_stands_still_are_each_published_once(
    pool: Pool, tmp_path: Path
) -> None:
    release = tmp_path / "go"
    ids = [sample_tasks.hold.delay(str(release)).id for _ in range(AT_ONCE)]
    for task_id in ids:
        reached(task_id, "STARTED")
    os.kill(pool.redis.pid, signal.SIGSTOP)
    try:
        release.touch()
        time.sleep(1)  # the fault itself
    finally:
        os.kill(pool.redis.pid, signal.SIGCONT)
    for task_id in ids:
        statuses = ended(task_id)
        assert statuses[-1].result == "released"
        assert sum(status.terminal for status in statuses) == 1


@everywhere
def test_the_lease_is_renewed_while_tasks_run(pool: Pool, tmp_path: Path) -> None:
    release = tmp_path / "go"
    task_id = sample_tasks.hold.delay(str(release)).id
    reached(task_id, "STARTED")
    with redis.Redis.from_url(pool.redis_url) as client:
        # A worker that was killed before this one may have left a lease, which expires.
        left = {lease: client.pttl(lease) for lease in client.scan_iter("realtime:lease:*")}
        renewed = lambda: any(client.pttl(lease) > left[lease] for lease in left)  # noqa: E731
        assert until(renewed, LEASE)
    assert [run.alive for run in get_store().running()] == [True]
    release.touch()
    assert wait(task_id).result == "released"


# Limits and cancelling


@in_pools(THREADS, SOLO)
@pytest.mark.parametrize("task", [sample_tasks.pass_softly, sample_tasks.pass_hard])
def test_a_pool_without_limits_lets_the_task_end(pool: Pool, task: Any) -> None:
    assert ended(task.delay().id)[-1].state == "SUCCESS"


@in_pools(GEVENT)
def test_gevent_knows_the_hard_limit_only(pool: Pool) -> None:
    soft = sample_tasks.pass_softly.delay().id
    statuses = ended(sample_tasks.pass_hard.delay().id)
    assert (statuses[-1].state, statuses[-1].error["type"]) == ("FAILURE", "TimeLimitExceeded")
    assert sum(status.terminal for status in statuses) == 1
    assert stored(statuses[-1].task_id) == "FAILURE"
    assert ended(soft)[-1].state == "SUCCESS"


@in_pools(GEVENT)
def test_gevent_terminates_a_running_task(pool: Pool, tmp_path: Path) -> None:
    task_id = sample_tasks.hold.delay(str(tmp_path / "never")).id
    reached(task_id, "STARTED")
    app.control.revoke(task_id, terminate=True)
    statuses = ended(task_id)
    assert (statuses[-1].state, statuses[-1].error["message"]) == ("REVOKED", "terminated")
    assert stored(task_id) == "REVOKED"


@in_pools(THREADS, SOLO)
def test_a_task_that_cannot_be_terminated_stays_started(pool: Pool, tmp_path: Path) -> None:
    release = tmp_path / "go"
    task_id = sample_tasks.hold.delay(str(release)).id
    reached(task_id, "STARTED")
    app.control.revoke(task_id, terminate=True, reply=True, timeout=0.3)
    Reconciler().reconcile()
    assert states(history(task_id))[-1] == "STARTED"
    release.touch()
    assert ended(task_id)[-1].result == "released"
    assert stored(task_id) == "SUCCESS"


# Tasks that exit


@in_pools(THREADS, GEVENT)
def test_a_task_that_leaves_fails_though_celery_believes_that_it_runs(pool: Pool) -> None:
    statuses = ended(sample_tasks.leave.delay().id)
    assert (statuses[-1].state, statuses[-1].error["type"]) == ("FAILURE", "SystemExit")
    Reconciler().reconcile()
    assert realtime.status(statuses[-1].task_id) == statuses[-1]
    assert stored(statuses[-1].task_id) == "STARTED"


@in_pools(SOLO)
def test_a_task_that_exits_ends_the_solo_worker_and_fails(pool: Pool) -> None:
    statuses = ended(sample_tasks.leave.delay().id)
    assert (statuses[-1].state, statuses[-1].error["type"]) == ("FAILURE", "SystemExit")
    pool.worker.kill()
    pool.start()
    assert wait(sample_tasks.add.delay(1, 2).id).result == 3
