"""The smallest right on Redis that SECURITY.md names is enough for the service."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import sample_tasks
from tests.client.over_http import request
from tests.client.websocket import connect
from tests.publishing import fresh_id, token_for

pytestmark = pytest.mark.integration

SECURITY = Path(__file__).resolve().parents[2] / "SECURITY.md"


def documented(user: str) -> list[str]:
    """The rules of `ACL SETUSER user …` as the page prints them, over lines that end in a \\."""
    text = SECURITY.read_text(encoding="utf-8").replace("\\\n", " ")
    (rules,) = re.findall(rf"ACL SETUSER {user} (.*)", text)
    return str(rules).split()


async def run_a_task(service: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    token = token_for(service, topic)
    async with connect(service) as client:
        await client.subscribe(topic, token=token)
        sample_tasks.add.apply_async((1, 2), task_id=task_id)
        ending = (await client.ending(topic))[-1]
        assert ending["status"]["result"] == 3
        since = {"epoch": ending["epoch"], "offset": ending["offset"] - 1}
        assert (await client.subscribe(topic, token=token, since=since))["recovered"] is True
        assert (await client.ask("cancel", task_id=task_id))["type"] == "cancelled"
    assert request(service, "GET", f"/realtime/tasks/{task_id}/", token=token).code == 200
    assert request(service, "GET", "/realtime/readyz").code == 200


async def test_the_service_lives_on_the_commands_that_are_documented(
    start_service: Callable[..., Any],
) -> None:
    service = start_service(WORKERS="1", REALTIME='{"RECONCILE_INTERVAL": 0.2}')
    with redis.Redis.from_url(service.redis_url, decode_responses=True) as admin:
        for user in ("realtime", "celery"):
            rules = [rule for rule in documented(user) if not rule.startswith(">")]
            admin.execute_command("ACL", "SETUSER", user, ">word", *rules)
        admin.acl_log_reset()
        for process in (service.worker, service.web):
            process.env["REDIS_URL"] = service.redis_url.replace("//", "//realtime:word@")
            for key in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
                process.env[key] = service.redis_url.replace("//", "//celery:word@")
            process.kill()  # a worker takes two seconds to end by itself
            process.start()
        service.wait_ready()
        await run_a_task(service)
        service.worker.stop()
        denied = [
            (entry["username"], entry["reason"], entry["object"]) for entry in admin.acl_log()
        ]
        assert denied == []
        assert {entry["user"] for entry in admin.client_list()} >= {"realtime", "celery"}
        with (
            redis.Redis.from_url(service.redis_url.replace("//", "//realtime:word@")) as user,
            pytest.raises(redis.exceptions.NoPermissionError),
        ):
            user.set("celery-task-meta-x", "forged")
