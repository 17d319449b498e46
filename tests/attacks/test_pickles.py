"""Code that is sent as data: pickles, and exceptions that name a module to be imported."""

from __future__ import annotations

import json
import pickle
import runpy
from pathlib import Path
from typing import Any

import pytest
import redis

from project.celery import app
from tests.client.over_http import request
from tests.client.websocket import connect
from tests.publishing import fresh_id, publish_change, token_for
from tests.sample_tasks import echo
from tests.until import until

pytestmark = pytest.mark.integration

#: A module that writes a file when it is imported.
TELLTALE = "tests.attacks.telltale"


class Telltale:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def store(service: Any, task_id: str, payload: bytes) -> None:
    """Put bytes where the result backend keeps a task's result."""
    with redis.Redis.from_url(service.redis_url) as client:
        client.set(f"celery-task-meta-{task_id}", payload)


async def test_a_pickle_on_the_broker_is_refused_and_the_worker_goes_on(
    service: Any, tmp_path: Path
) -> None:
    mark = tmp_path / "unpickled"
    pickle.loads(pickle.dumps(Telltale(mark)))  # noqa: S301 - that is what it would do
    assert mark.exists()
    mark.unlink()
    logged = service.worker.log().count("ContentDisallowed")
    with app.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish(
            (([Telltale(mark)], {}, {})),
            routing_key="celery",
            serializer="pickle",
            headers={"id": fresh_id(), "task": echo.name, "lang": "py"},
        )
    task_id = fresh_id()
    async with connect(service) as client:
        topic = f"task:{task_id}"
        await client.subscribe(topic, token=token_for(service, topic))
        echo.apply_async(("after it",), task_id=task_id)
        assert (await client.ending(topic))[-1]["status"]["result"] == "after it"
    assert until(lambda: service.worker.log().count("ContentDisallowed") > logged)
    assert not mark.exists()


def test_a_pickle_in_a_result_is_not_read(service: Any, people: Any, tmp_path: Path) -> None:
    mark, task_id, known = tmp_path / "unpickled", fresh_id(), fresh_id()
    publish_change(known, "SUCCESS", result=1)
    for each in (task_id, known):
        store(service, each, pickle.dumps(Telltale(mark)))
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/", session=people.auditor.session)
    assert answer.code == 404
    path = f"/realtime/tasks/{known}/result/"
    answer = request(service, "GET", path, session=people.auditor.session)
    assert (answer.code, answer.json()) == (200, 1), "what the record says"
    assert not mark.exists()


def test_an_exception_that_a_result_names_is_never_imported(
    service: Any, people: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    runpy.run_path(str(Path(__file__).with_name("telltale.py")))
    assert (tmp_path / "imported").exists(), "that is what it would do"
    task_id = fresh_id()
    named = {"exc_type": "Telltale", "exc_module": TELLTALE, "exc_message": ["touched"]}
    meta = {"status": "FAILURE", "result": named, "traceback": None, "children": []}
    store(service, task_id, json.dumps(meta | {"task_id": task_id}).encode())
    session = people.auditor.session
    answer = request(service, "GET", f"/realtime/tasks/{task_id}/", session=session)
    assert answer.json()["status"]["error"] == {"type": "Telltale", "message": "touched"}
    assert (
        request(service, "GET", f"/realtime/tasks/{task_id}/result/", session=session).code == 404
    )
    assert not (service.data_dir / "imported").exists()


def test_nothing_but_json_is_accepted() -> None:
    assert set(app.conf.accept_content) == set(app.conf.result_accept_content) == {"json"}
