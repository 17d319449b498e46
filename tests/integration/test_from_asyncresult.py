"""Each row of `docs/from-asyncresult.md`, on a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import celery.exceptions
import pytest
import redis
import websockets
from asgiref.sync import async_to_sync
from celery.result import AsyncResult
from django.test import override_settings

import realtime
from project.processes import ROOT, Process, free_port
from project.run import page_answers, web_command, worker_answers, worker_command
from tests.integration import asyncresult_tasks as tasks

pytestmark = pytest.mark.integration

HOST = "127.0.0.1"
wait = async_to_sync(realtime.wait)


@pytest.fixture(scope="module", autouse=True)
def worker(service: Any) -> Iterator[Process]:
    """A worker beside the service's own, which runs these tasks."""
    node = f"asyncresult-{free_port()}@tests"
    command = worker_command(node, 2)
    command += ["--queues", tasks.QUEUE, "--include", tasks.__name__]
    process = Process("worker", command, env=service.worker.env)
    process.start()
    try:
        process.wait_ready(lambda: worker_answers(node, service.redis_url))
        yield process
    finally:
        process.stop()


@pytest.fixture
def gate() -> Iterator[str]:
    """A gate at which a task waits until the test opens it; the end of the test opens it too."""
    name = f"gate-{uuid4()}"
    yield name
    tasks.open_gate(name)


@pytest.fixture(scope="module")
def site(service: Any) -> Iterator[str]:
    """The address of Daphne with the project and a view that waits."""
    port = free_port()
    module = "tests.integration.asyncresult_site"
    env = {**service.web.env, "PORT": str(port), "DJANGO_SETTINGS_MODULE": module}
    process = Process("web", web_command(), env=env)
    process.start()
    try:
        process.wait_ready(lambda: page_answers(HOST, port))
        yield f"http://{HOST}:{port}"
    finally:
        process.stop()


@pytest.fixture
def token(service: Any) -> Callable[[str], str]:
    """Return a function that makes a token for a task, which the service accepts."""

    def make(task_id: str) -> str:
        key = (service.data_dir / "secret_key").read_text()
        with override_settings(SECRET_KEY=key):
            return realtime.make_token([f"task:{task_id}"])[0]

    return make


def start(task: Any, *args: Any) -> AsyncResult[Any]:
    result: AsyncResult[Any] = task.apply_async(args, queue=tasks.QUEUE)
    return result


def get(url: str, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


# Reading


def test_state() -> None:
    task = start(tasks.add, 2, 3)
    wait(task.id, timeout=60)

    status = realtime.status(task.id)
    assert status is not None
    assert status.state == AsyncResult(task.id).state == "SUCCESS"


def test_result() -> None:
    task = start(tasks.add, 2, 3)
    assert wait(task.id, timeout=60).result == AsyncResult(task.id).result == 5


def test_large_result(service: Any, token: Callable[[str], str]) -> None:
    task = start(tasks.large, 100_000)
    status = wait(task.id, timeout=60)

    assert (status.result, status.truncated) == (None, True)
    url = f"{service.url}/realtime/tasks/{task.id}/result/"
    assert get(url, token(task.id)) == AsyncResult(task.id).result == "x" * 100_000


def test_ready_successful_failed(gate: str) -> None:
    good, bad, running = start(tasks.add, 1, 1), start(tasks.fail, "no"), start(tasks.hold, gate)
    tasks.wait_reached(gate)
    statuses = [wait(good.id, timeout=60), wait(bad.id, timeout=60), realtime.status(running.id)]

    assert [each and each.terminal for each in statuses] == [True, True, False]
    assert [each and each.successful for each in statuses] == [True, False, False]
    assert [each and each.failed for each in statuses] == [False, True, False]


def test_a_revoked_task_counts_as_failed(gate: str) -> None:
    task = start(tasks.hold, gate)
    tasks.wait_reached(gate)
    task.revoke(terminate=True)

    status = wait(task.id, timeout=60)
    assert (status.state, status.terminal, status.failed) == ("REVOKED", True, True)
    assert not AsyncResult(task.id).failed(), "here the two differ"


def test_info_of_a_custom_state(gate: str) -> None:
    task = start(tasks.report_the_celery_way, gate)
    tasks.wait_reached(gate)

    status = realtime.status(task.id)
    assert status is not None
    assert status.state == AsyncResult(task.id).state == "UPLOADING"
    assert status.progress == {"current": 3, "total": 4, "message": "part 3", "meta": None}
    assert AsyncResult(task.id).info["bucket"] == "b1", "other keys stay in the result backend"


def test_info_of_a_failed_task() -> None:
    task = start(tasks.fail, "no such customer")
    status = wait(task.id, timeout=60)

    assert status.state == "FAILURE"
    assert status.error == {"type": "ValueError", "message": "no such customer"}
    assert status.result is None


def test_name_retries_and_date_done() -> None:
    task = start(tasks.fail_once)
    status = wait(task.id, timeout=60)

    assert status.name == "tests.integration.asyncresult_tasks.fail_once"
    assert status.attempt == 1
    assert status.finished_at is not None
    assert status.finished_at.endswith("Z")
    assert AsyncResult(task.id).name is None, "Celery knows it with result_extended only"


# PENDING


def test_an_unknown_id_is_none() -> None:
    nobodys = str(uuid4())
    assert AsyncResult(nobodys).state == "PENDING"
    assert realtime.status(nobodys) is None


def test_waiting_for_an_unknown_id_ends_at_once() -> None:
    with pytest.raises(realtime.TaskNotFound) as caught:
        wait("no-such-id", timeout=3600)
    assert caught.value.task_id == "no-such-id"


def test_an_expired_record_is_none(service: Any) -> None:
    task = start(tasks.add, 1, 1)
    wait(task.id, timeout=60)
    with redis.Redis.from_url(service.redis_url) as server:
        assert server.delete(f"realtime:task:{task.id}") == 1  # as its expiry does
        assert realtime.status(task.id).state == "SUCCESS"  # read from the result backend
        assert server.delete(f"realtime:task:{task.id}", f"celery-task-meta-{task.id}") == 2

    assert realtime.status(task.id) is None
    with pytest.raises(realtime.TaskNotFound):
        wait(task.id, timeout=60)


def test_a_published_task_is_pending_from_the_start() -> None:
    task = tasks.add.apply_async((1, 1), queue="no-worker")
    status = realtime.status(task.id)
    assert status is not None
    assert (status.state, status.version) == ("PENDING", 1)


def test_a_running_task_is_started(gate: str) -> None:
    task = start(tasks.hold, gate)
    tasks.wait_reached(gate)

    assert AsyncResult(task.id).state == "PENDING", "this task has track_started off"
    status = realtime.status(task.id)
    assert status is not None
    assert status.state == "STARTED"


# Waiting


def test_get() -> None:
    assert wait(start(tasks.add, 2, 3).id, timeout=60).result == 5


async def test_get_in_asynchronous_code() -> None:
    for a in range(2):  # again, in the same event loop
        started = [start(tasks.add, a, b) for b in range(3)]
        statuses = await asyncio.gather(*(realtime.wait(t.id, timeout=60) for t in started))
        assert [status.result for status in statuses] == [a, a + 1, a + 2]


def test_get_in_an_ordinary_view_again_and_again(site: str, token: Callable[[str], str]) -> None:
    gates = [f"gate-{uuid4()}" for _ in range(2)]
    for gate in gates:
        task = start(tasks.hold, gate)
        tasks.wait_reached(gate)
        with ThreadPoolExecutor(max_workers=1) as pool:
            answer = pool.submit(get, f"{site}/ended/{task.id}/")
            tasks.open_gate(gate)
            assert answer.result() == {"state": "SUCCESS", "result": "held"}

    # The view used a connection that its process shares: other sockets must still receive events.
    task = start(tasks.add, 2, 3)
    frames = asyncio.run(follow(site, task.id, token(task.id)))
    assert last_status(frames)["result"] == 5


def test_get_in_a_plain_script(gate: str, service: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, django\n"
        "django.setup()\n"
        "from asgiref.sync import async_to_sync\n"
        "import realtime\n"
        "for task_id in sys.argv[1:]:\n"
        "    print(async_to_sync(realtime.wait)(task_id, timeout=60).result, flush=True)\n"
    )
    ended, running = start(tasks.add, 2, 3), start(tasks.hold, gate)
    tasks.wait_reached(gate)
    env = {**os.environ, **service.web.env, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(script), ended.id, running.id],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "5\n"
        tasks.open_gate(gate)
        output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("held\n", "", 0)


def test_get_of_a_task_that_ended_before() -> None:
    task = start(tasks.add, 2, 3)
    first = wait(task.id, timeout=60)
    assert wait(task.id, timeout=60) == first


def test_get_that_times_out(gate: str) -> None:
    task = start(tasks.hold, gate)
    tasks.wait_reached(gate)

    with pytest.raises(celery.exceptions.TimeoutError):
        task.get(timeout=0.3)
    with pytest.raises(realtime.WaitTimeout) as caught:
        wait(task.id, timeout=0.3)
    assert isinstance(caught.value, TimeoutError), "`except TimeoutError` catches it too"
    assert caught.value.status.state == "STARTED"


def test_get_of_a_failed_task_raises_nothing() -> None:
    task = start(tasks.fail, "no such customer")
    with pytest.raises(ValueError, match="no such customer"):
        task.get(timeout=60)

    status = wait(task.id, timeout=60)
    assert status.failed
    assert status.error == {"type": "ValueError", "message": "no such customer"}


def test_a_polling_loop_in_a_view(gate: str) -> None:
    task = start(tasks.hold, gate)
    tasks.wait_reached(gate)

    async def wait_while_it_ends() -> realtime.Status:
        waiting = asyncio.create_task(realtime.wait(task.id, timeout=60))
        await asyncio.to_thread(tasks.open_gate, gate)
        return await waiting

    assert asyncio.run(wait_while_it_ends()).result == "held"


def test_polling_in_javascript(service: Any, gate: str, token: Callable[[str], str]) -> None:
    task = start(tasks.hold, gate)
    tasks.wait_reached(gate)

    frames = asyncio.run(
        follow(service.url, task.id, token(task.id), begun=lambda: tasks.open_gate(gate))
    )
    assert [frame["type"] for frame in frames] == ["welcome", "subscribed", "event"]
    assert frames[1]["snapshot"][0]["state"] == "STARTED"
    assert last_status(frames)["state"] == "SUCCESS"


def test_a_view_that_answers_with_the_state(service: Any, token: Callable[[str], str]) -> None:
    task = start(tasks.add, 2, 3)
    wait(task.id, timeout=60)

    answer = get(f"{service.url}/realtime/tasks/{task.id}/", token(task.id))
    assert answer["status"] == wait(task.id, timeout=60).as_dict()


# Changing a task


def test_revoke(gate: str, service: Any, token: Callable[[str], str]) -> None:
    task = start(tasks.hold, gate)
    tasks.wait_reached(gate)
    task.revoke(terminate=True)

    status = wait(task.id, timeout=60)
    assert status.state == "REVOKED"
    assert status.error == {"type": "TaskRevokedError", "message": "terminated"}


async def test_cancel_instead_of_revoke(
    gate: str, service: Any, token: Callable[[str], str]
) -> None:
    task = start(tasks.hold, gate)
    await asyncio.to_thread(tasks.wait_reached, gate)

    address = service.ws_url
    async with websockets.connect(address, origin=service.url) as socket:
        await socket.send(subscribe(task.id, token(task.id)))
        await socket.send(json.dumps({"type": "cancel", "id": 2, "task_id": task.id}))
        frames: list[Any] = []
        # The answer and the events arrive in any order.
        while not (any_of(frames, "cancelled") and is_ended(last_status(frames))):
            frames.append(json.loads(await asyncio.wait_for(socket.recv(), 60)))
    statuses = [frame["status"] for frame in frames if frame["type"] == "event"]
    assert [(each["state"], each["cancelling"]) for each in statuses] == [
        ("STARTED", True),
        ("REVOKED", False),
    ]
    assert any_of(frames, "cancelled") == [{"type": "cancelled", "id": 2, "task_id": task.id}]


def test_forget() -> None:
    task = start(tasks.add, 2, 3)
    wait(task.id, timeout=60)
    task.forget()

    assert AsyncResult(task.id).state == "PENDING"
    assert wait(task.id, timeout=60).result == 5, "the record has an expiry of its own"


async def follow(
    url: str, task_id: str, token: str, *, begun: Callable[[], None] | None = None
) -> list[Any]:
    """Every frame until the task's ending; `begun` is called after the subscription."""
    address = f"{url.replace('http', 'ws')}/realtime/ws/"
    frames: list[Any] = []
    async with websockets.connect(address, origin=url) as socket:
        await socket.send(subscribe(task_id, token))
        while not is_ended(last_status(frames)):
            frames.append(json.loads(await asyncio.wait_for(socket.recv(), 60)))
            if frames[-1]["type"] == "subscribed" and begun is not None:
                await asyncio.to_thread(begun)
    return frames


def subscribe(task_id: str, token: str) -> str:
    frame = {"type": "subscribe", "id": 1, "topic": f"task:{task_id}", "token": token}
    return json.dumps(frame)


def any_of(frames: list[Any], kind: str) -> list[Any]:
    return [frame for frame in frames if frame["type"] == kind]


def last_status(frames: list[Any]) -> Any:
    """The newest status that was received, None before the first."""
    for frame in reversed(frames):
        for status in (frame.get("status"), *frame.get("snapshot", ())):
            if status is not None:
                return status
    return None


def is_ended(status: Any) -> bool:
    return status is not None and status["state"] in {"SUCCESS", "FAILURE", "REVOKED", "LOST"}
