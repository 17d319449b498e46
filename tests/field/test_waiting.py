"""Tasks that would wait for ever: their worker is gone, or their message.

The project routes WebSockets itself and is served by plain Daphne. Worker after worker, all of the
same name, ends in another way.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import chain, chord
from django.conf import settings
from django.test import override_settings

import realtime
from project.celery import app
from project.processes import Process, free_port
from project.redis_server import embedded_redis
from project.run import page_answers, worker_answers, worker_command
from realtime.core.change import Change
from realtime.core.states import TERMINAL
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.web.hub import Hub, Subscription
from realtime.web.reconciler import Reconciler
from tests import sample_tasks
from tests.client.octets import HOST
from tests.conftest import READY, using_redis
from tests.constants import BRIEF_LEASES
from tests.field.conftest import LONG
from tests.field.late_tasks import hold_late
from tests.statuses import history, states
from tests.until import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

#: Not by a call, which would come after the fixtures.
IN_LONG = pytest.mark.skipif(not LONG, reason="in the long form")
NODE = "worker@same-name"
#: Seconds until a lease has expired and the leader has noticed it, on a busy machine.
PATIENT = 60.0


@dataclass
class Site:
    """A service in its own processes, and the workers that were started for it."""

    redis_url: str
    env: dict[str, str]
    stack: ExitStack
    worker: Process | None = None

    def start_worker(self, **env: str) -> Process:
        """Start a worker after the one before has ended."""
        if self.worker is not None:
            self.worker.kill()
        self.worker = worker = Process("worker", worker_command(NODE, 2), env=self.env | env)
        self.stack.callback(worker.kill)
        worker.start()
        worker.wait_ready(lambda: worker_answers(NODE, self.redis_url), timeout=READY)
        return worker


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        server, url = embedded_redis(tmp_path_factory.mktemp("redis"), keep=False)
        stack.callback(server.stop)
        stack.enter_context(using_redis(url))
        port = free_port()
        env = {
            **os.environ,
            "DATA_DIR": str(tmp_path_factory.mktemp("service")),
            "REDIS_URL": url,
            "HOST": HOST,
            "DJANGO_SETTINGS_MODULE": "tests.field.brief_settings",
            "CELERY_IMPORTS": "tests.sample_tasks,tests.field.late_tasks",
            "REALTIME": json.dumps({"LOST_TIMEOUT": 1, "RECONCILE_INTERVAL": 0.5}),
            "CONSTANTS": BRIEF_LEASES,
        }
        command = [sys.executable, "-m", "daphne", "-b", HOST, "-p", str(port)]
        web = Process("web", [*command, "tests.field.own_router:application"], env=env)
        stack.callback(web.kill)
        web.start()
        web.wait_ready(lambda: page_answers(HOST, port), timeout=READY)
        yield Site(url, env, stack)


def in_state(task_id: str, *expected: str) -> bool:
    """Whether a task reaches one of these states."""

    def there() -> bool:
        status = realtime.status(task_id)
        return status is not None and status.state in expected

    return until(there, PATIENT)


@pytest.fixture(scope="module")
def killed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The states of tasks whose worker was killed while it ran them, or had received them.

    As they were before another test starts a worker, which may be delivered what was received.
    """
    # Limits the wait for a received task: these are not redelivered.
    worker = site.start_worker(VISIBILITY_TIMEOUT="2")
    never = str(tmp_path_factory.mktemp("never") / "there")
    last = chain(sample_tasks.hold.si(never), sample_tasks.add.si(1, 2)).apply_async()
    body = chord([sample_tasks.hold.si(never)], sample_tasks.echo.s()).apply_async()
    eta = sample_tasks.add.apply_async((1, 2), countdown=3600).id
    for running in (last.parent.id, body.parent.results[0].id):
        assert in_state(running, "STARTED")
    received = sample_tasks.add.delay(1, 2).id  # both of its processes are busy
    for waiting in (received, eta):
        assert in_state(waiting, "RECEIVED")
    os.killpg(os.getpgid(worker.pid), signal.SIGKILL)
    ids = {
        "runs": last.parent.id,
        "is received": received,
        "has an ETA": eta,
        "waits behind it": last.id,
        "is the chord's body": body.id,
    }
    for task_id in ids.values():
        in_state(task_id, "LOST")
    return {which: states(history(task_id)) for which, task_id in ids.items()}


@pytest.mark.parametrize("which", ["runs", "is received", "has an ETA"])
def test_a_task_of_a_killed_worker_is_stalled_and_lost(
    killed: dict[str, list[str]], which: str
) -> None:
    assert killed[which][-2:] == ["STALLED", "LOST"]


@pytest.mark.parametrize("which", ["waits behind it", "is the chord's body"])
def test_dependents_of_a_lost_task_are_lost_with_it(
    killed: dict[str, list[str]], which: str
) -> None:
    assert killed[which][-1:] == ["LOST"]


@IN_LONG
def test_a_worker_that_starts_again_under_its_name_keeps_no_task_of_the_dead_one_alive(
    site: Site, killed: dict[str, str], tmp_path: Path
) -> None:
    worker = site.start_worker()
    task_id = sample_tasks.hold.delay(str(tmp_path / "never")).id
    assert in_state(task_id, "STARTED")
    os.killpg(os.getpgid(worker.pid), signal.SIGKILL)
    site.start_worker()
    assert in_state(task_id, "LOST"), realtime.status(task_id)


QUIT = {"signal": "SIGQUIT"}
TERM_AS_QUIT = {"signal": "SIGTERM", "REMAP_SIGTERM": "SIGQUIT"}
SOFT = {"signal": "SIGQUIT", "SOFT_SHUTDOWN": "1"}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(QUIT, id="cold"),
        pytest.param(TERM_AS_QUIT, id="remapped", marks=IN_LONG),
        pytest.param(SOFT, id="soft", marks=IN_LONG),
    ],
)
def test_after_a_cold_shutdown_each_task_ends_or_runs_again(
    site: Site, killed: dict[str, str], tmp_path: Path, how: dict[str, str]
) -> None:
    worker = site.start_worker(**how)
    release = tmp_path / "go"
    last = chain(sample_tasks.hold.si(str(release)), sample_tasks.add.si(1, 2)).apply_async()
    late = hold_late.delay(str(release)).id
    for running in (last.parent.id, late):
        assert in_state(running, "STARTED")
    received = sample_tasks.add.delay(1, 2).id
    assert in_state(received, "RECEIVED")
    os.kill(worker.pid, getattr(signal, how["signal"]))
    assert until(lambda: worker.returncode is not None, PATIENT)
    # Its message is gone: neither it nor its dependents will run.
    for task_id in (last.parent.id, last.id):
        assert in_state(task_id, *TERMINAL), realtime.status(task_id)
    release.touch()
    site.start_worker()
    for task_id, runs in ((late, 2), (received, 1)):
        assert in_state(task_id, "SUCCESS"), realtime.status(task_id)
        status = realtime.status(task_id)
        assert status is not None
        assert status.run == runs


# A message that is gone


class Watcher:
    """A subscriber of a topic, and its snapshots."""

    def __init__(self) -> None:
        self.snapshots: list[Sequence[str]] = []
        self.received = asyncio.Event()
        self.subscription = Subscription(lambda _event: None, self._snapshot)

    def _snapshot(self, reading: Any) -> None:
        self.snapshots.append(reading.texts)
        self.received.set()


@pytest.mark.parametrize("state", ["PENDING", "RETRY"] if LONG else ["PENDING"])
async def test_a_task_in_a_purged_queue_expires_and_its_subscribers_get_an_empty_snapshot(
    clean_redis: str, state: str
) -> None:
    brief = {"UNFINISHED_TTL": 3, "CHECK_INTERVAL": 0.2}
    with override_settings(REALTIME=settings.REALTIME | brief):
        task_id = await sync_to_async(lambda: sample_tasks.add.delay(1, 2).id)()
        if state == "RETRY":
            change = Change(task_id=task_id, state="RETRY", attempt=1)
            assert await sync_to_async(get_store().accept)(change)
        await sync_to_async(app.control.purge)()
        hub, watcher = Hub(), Watcher()
        try:
            reading, begin = await hub.subscribe(Topic("task", task_id), watcher.subscription)
            begin()
            assert json.loads(reading.texts[0])["state"] == state
            async with asyncio.timeout(PATIENT):
                await watcher.received.wait()
            assert watcher.snapshots[0] == []
        finally:
            await hub.close()
        await sync_to_async(Reconciler().reconcile)()
        assert await sync_to_async(get_store().waiting_ids)() == []
