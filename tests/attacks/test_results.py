"""Results that JSON cannot express: the ending arrives, and every frame is strict JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests import unserializable_tasks
from tests.client.over_http import request
from tests.client.protocol import strict_json
from tests.client.websocket import connect
from tests.publishing import fresh_id, token_for
from tests.sample_tasks import echo

pytestmark = pytest.mark.integration

DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP]

#: What a task returns; the result in its status, and whether it is complete.
RESULTS: dict[str, tuple[Any, Any, bool]] = {
    "a datetime": (datetime(2026, 11, 22, 8, tzinfo=UTC), "2026-11-22T08:00:00+00:00", False),
    "a UUID": (UUID(int=5), "00000000-0000-0000-0000-000000000005", False),
    "a Decimal": (Decimal("1.10"), "1.10", False),
    "2^64": (2**64, 2**64, False),
    "bytes": (b"\x00\xff", None, True),
    "NaN": (float("nan"), None, True),
    "infinity": ({"x": [float("inf")]}, None, True),
    "half a surrogate pair": ("\ud800", None, True),
    "nested deeply": (DEEP, DEEP, False),
    "text": ("Überfällig \u2028 😀 </script>", "Überfällig \u2028 😀 </script>", False),
    "just small enough": ("x" * 4094, "x" * 4094, False),
    "one byte too large": ("x" * 4095, None, True),
    "a megabyte": ("x" * 1_000_000, None, True),
    "nothing": (None, None, False),
}


@pytest.mark.parametrize("case", RESULTS.values(), ids=RESULTS)
async def test_the_ending_arrives_as_strict_json_with_every_result(
    service: Any, case: tuple[Any, Any, bool]
) -> None:
    value, result, truncated = case
    task_id = fresh_id()
    topic = f"task:{task_id}"
    token = token_for(service, topic)
    async with connect(service) as client:
        await client.subscribe(topic, token=token)
        echo.apply_async((value,), task_id=task_id)
        status = (await client.ending(topic))[-1]["status"]
        again = await client.subscribe(topic, token=token)
    assert (status["state"], status["result"], status["truncated"]) == (
        "SUCCESS",
        result,
        truncated,
    )
    assert again["snapshot"] == [status]
    whole = request(service, "GET", f"/realtime/tasks/{task_id}/result/", token=token)
    assert whole.code == 200
    expected = value if truncated and _sayable(value) else result
    assert strict_json(whole.body.decode()) == expected


async def test_a_result_that_the_backend_cannot_express_ends_the_task_as_stored(
    start_service: Callable[..., Any],
) -> None:
    service = start_service(WORKERS="1", CELERY_IMPORTS=unserializable_tasks.__name__)
    delivered, stored = {}, {}
    async with connect(service) as client:
        for what in unserializable_tasks.MAKERS:
            task_id = fresh_id()
            topic = f"task:{task_id}"
            await client.subscribe(topic, token=token_for(service, topic))
            unserializable_tasks.give.apply_async((what,), task_id=task_id)
            status = (await client.ending(topic))[-1]["status"]
            delivered[what] = status["state"], status["truncated"]
            stored[what] = unserializable_tasks.give.AsyncResult(task_id).state
            assert status["result"] is None
            assert bool(status["error"]) == (status["state"] == "FAILURE")
        assert await client.has_nothing()
    assert {what: state for what, (state, _) in delivered.items()} == stored
    assert {what for what, (state, _) in delivered.items() if state == "SUCCESS"} == {
        "one too deep for a parser",
        "bytes",
        "ten megabytes",
    }
    assert all(truncated == (state == "SUCCESS") for state, truncated in delivered.values())


def _sayable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True
