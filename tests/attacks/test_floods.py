"""Clients that exceed limits: of frames, refusals, subscriptions, connections."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.client.over_http import request
from tests.client.websocket import Client, connect
from tests.publishing import fresh_id, publish_change, token_for
from tests.raw import Web

pytestmark = pytest.mark.integration


async def assert_ended_by_rate(client: Client) -> list[Any]:
    assert await client.close_code() == 4503
    *frames, closing = client.arrived
    assert (closing["type"], closing["code"], closing["reconnect"]) == ("closing", 4503, False)
    return frames


async def test_a_flood_of_frames_ends_the_connection(service: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    async with connect(service) as client, connect(service) as neighbour:
        await neighbour.subscribe(topic, token=token_for(service, topic))
        began = time.monotonic()
        for number in range(200):
            await client.socket.send(json.dumps({"type": "ping", "id": number}))
        *pongs, error = await assert_ended_by_rate(client)
        took = time.monotonic() - began
        assert {frame["type"] for frame in pongs} == {"pong"}
        assert 50 <= len(pongs) <= 51 + 10 * took, "a burst is forgiven"
        assert (error["type"], error["code"]) == ("error", "limit")
        assert "10 frames a second" in error["message"]
        publish_change(task_id, "SUCCESS")
        assert (await neighbour.event(topic))["status"]["state"] == "SUCCESS"


async def test_a_client_that_keeps_the_rate_may_go_on(service: Any) -> None:
    async with connect(service) as client:
        for _ in range(70):  # 40 at once, then 8 a second
            assert (await client.ask("ping"))["type"] == "pong"


async def test_frames_above_the_rate_are_not_parsed(
    start_web: Callable[..., Web],
) -> None:
    """The limit applies before the content of a frame is read."""
    web = start_web(
        MAX_FRAME_BURST=20, MAX_FRAMES_PER_SECOND=0.001
    )  # however long it takes, there is no more
    async with connect(web) as client:
        for number in range(20):
            assert await client.ask("ping") == {"type": "pong", "id": number + 1}
        await client.socket.send("x" * 20_000)
        (error,) = await assert_ended_by_rate(client)
        assert error["code"] == "limit"


@pytest.mark.parametrize("ask", ["subscribe", "cancel"])
async def test_after_twenty_refusals_nothing_is_read_and_the_hundredth_ends_the_connection(
    start_web: Callable[..., Web], ask: str
) -> None:
    web = start_web(MAX_FRAMES_PER_SECOND=1000.0, MAX_FRAME_BURST=1000)
    topic = f"task:{fresh_id()}"
    async with connect(web) as client:
        assert (await client.subscribe(topic, token=token_for(web, topic)))["type"] == "subscribed"
        for number in range(100):
            key = {"topic": f"task:{fresh_id()}"} if ask == "subscribe" else {"task_id": "no"}
            await client.socket.send(json.dumps({"type": ask, "id": number, **key}))
        frames = await assert_ended_by_rate(client)
    assert [frame["code"] for frame in frames] == ["not_found"] * 20 + ["limit"] * 80
    assert all(1 <= frame["retry_after"] <= 60 for frame in frames[20:])


async def turned_away(service: Any, words: str, **who: Any) -> None:
    async with connect(service, **who) as client:
        assert client.welcome["type"] == "error", "it is not welcome"
        assert client.welcome["code"] == "limit"
        assert words in client.welcome["message"]
        assert await client.close_code() == 1013
        (closing,) = client.arrived
        assert (closing["type"], closing["code"], closing["reconnect"]) == ("closing", 1013, True)


async def welcomed(stack: AsyncExitStack, service: Any, count: int = 1, **who: Any) -> None:
    for _ in range(count):
        client = await stack.enter_async_context(connect(service, **who))
        assert client.welcome["type"] == "welcome"


async def test_the_eleventh_connection_of_a_user_is_refused_until_one_ends(
    service: Any, people: Any
) -> None:
    clerk = {"session": people.clerk.session}
    async with AsyncExitStack() as stack:
        await welcomed(stack, service, 9, **clerk)
        async with connect(service, **clerk) as tenth:
            assert tenth.welcome["type"] == "welcome"
            await turned_away(service, "10 connections a user", **clerk)
            await welcomed(stack, service, session=people.boss.session)
            await welcomed(stack, service)
        await until_welcome(service, **clerk)


async def until_welcome(service: Any, **who: Any) -> None:
    """Connect until there is room: the server notices the end of a connection a moment later."""
    async with asyncio.timeout(60):
        while True:
            async with connect(service, **who) as client:
                if client.welcome["type"] == "welcome":
                    return


async def test_no_header_changes_the_limit_of_an_address(
    start_web: Callable[..., Web],
) -> None:
    web = start_web(MAX_CONNECTIONS_PER_ADDRESS=4)  # of which its neighbour has one
    async with AsyncExitStack() as stack:
        await welcomed(stack, web, 3)
        await turned_away(web, "4 connections an address")
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP"):
            forged = [(name, "203.0.113.9")]
            await turned_away(web, "4 connections an address", headers=forged)
    await until_welcome(web)


async def test_behind_a_proxy_the_address_is_that_of_the_proxys_client(
    start_web: Callable[..., Web],
) -> None:
    web = start_web(MAX_CONNECTIONS_PER_ADDRESS=2, TRUSTED_PROXIES=1)

    def by_way_of(*hops: str) -> dict[str, Any]:
        return {"headers": [("X-Forwarded-For", hop) for hop in hops]}

    async with AsyncExitStack() as stack:
        await welcomed(stack, web, 2, **by_way_of("203.0.113.9"))
        # The client may send any addresses; the proxy appends the real one.
        for forged in ("198.51.100.1, 203.0.113.9", "x, y,203.0.113.9"):
            await turned_away(web, "2 connections an address", **by_way_of(forged))
        await turned_away(
            web, "2 connections an address", **by_way_of("198.51.100.1", "203.0.113.9")
        )
        await welcomed(stack, web, 2, **by_way_of("203.0.113.9, 198.51.100.1"))


async def test_a_full_process_answers_the_handshake_with_503_and_retry_after(
    start_web: Callable[..., Web],
) -> None:
    web = start_web(MAX_CONNECTIONS=4)  # of which its neighbour has one
    async with AsyncExitStack() as stack:
        await welcomed(stack, web, 3)
        for _ in range(3):
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(connect(web))
            response = refused.value.response
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) >= 1
        healthz = await asyncio.to_thread(request, web, "GET", "/realtime/healthz")
        assert healthz.code == 200
    async with asyncio.timeout(60):
        while True:
            with suppress(InvalidStatus):
                await until_welcome(web)
                break
