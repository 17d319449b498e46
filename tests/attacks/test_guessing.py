"""Guessed ids: the answer about a foreign task is that about a missing one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.websocket import connect
from tests.publishing import fresh_id, publish_change

pytestmark = pytest.mark.integration


async def test_a_foreign_task_an_unknown_one_and_no_id_at_all_get_the_same_bytes(
    service: Any, people: Any
) -> None:
    foreign, nobodys = fresh_id(), fresh_id()
    publish_change(foreign, "PENDING", owner=people.alice.key)
    publish_change(nobodys, "PENDING")
    for session in ("", people.bob.session, people.clerk.session):
        async with connect(service, session=session) as client:
            received = set()
            for ident in (foreign, nobodys, fresh_id(), "not-a-uuid"):
                await client.send({"type": "subscribe", "id": 1, "topic": f"task:{ident}"})
                received.add(await client.socket.recv())
            (text,) = received
            assert text == (
                '{"type":"error","id":1,"code":"not_found",'
                '"message":"no such task, or not for you"}'
            )
