"""Until when access is granted: what ends a subscription or a connection."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings

from tests.client.over_http import request
from tests.client.websocket import Client, connect
from tests.publishing import fresh_id, publish_change, publish_progress, token_for

pytestmark = pytest.mark.integration

FORBIDDEN = {"type": "unsubscribed", "code": "forbidden"}

_MAKE = """
import json
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
user = User.objects.create_user({name!r}, password="before", is_staff={staff})
right = Permission.objects.get(content_type__app_label="realtime", codename="view_task")
if {how!r} == "user":
    user.user_permissions.add(right)
if {how!r} == "group":
    group = Group.objects.create(name={name!r})
    group.permissions.add(right)
    user.groups.add(group)
sessions = []
for _ in range(2):
    client = Client()
    client.force_login(user)
    sessions.append(client.cookies["sessionid"].value)
print(json.dumps([user.pk, *sessions]))
"""
_CHANGE = """
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.utils import timezone
user = User.objects.get(pk={key})
users = User.objects.filter(pk={key})
session = Session.objects.filter(pk={session!r})
"""


async def make_user(service: Any, *, staff: bool = False, how: str = "") -> Any:
    """A user, signed in twice, who may see all tasks by their own permission or their group's."""
    (user,) = await make_users(service, (staff, how))
    return user


async def make_users(service: Any, *kinds: tuple[bool, str]) -> list[Any]:
    """Several: whether staff, and by which right."""
    code = [_MAKE.format(name=fresh_id(), staff=staff, how=how) for staff, how in kinds]
    printed = await sync_to_async(service.run_code)("\n".join(code))
    found = [json.loads(line) for line in printed.splitlines()[-len(kinds) :]]
    return [SimpleNamespace(key=key, session=one, other=other) for key, one, other in found]


async def change(service: Any, user: Any, code: str) -> None:
    """Run code in another process of the same project."""
    await change_all(service, (user, code))


async def change_all(service: Any, *changes: tuple[Any, str]) -> None:
    """Run code for each of these users there."""
    given = [_CHANGE.format(key=user.key, session=user.session) + code for user, code in changes]
    await sync_to_async(service.run_code)("\n".join(given))


async def own_task(client: Client, user: Any) -> str:
    """A task of the user, to which the client has subscribed."""
    task_id = fresh_id()
    publish_change(task_id, "PENDING", owner=user.key)
    assert (await client.subscribe(f"task:{task_id}"))["type"] == "subscribed"
    return task_id


async def assert_closed(client: Client, code: int, *, reconnect: bool) -> None:
    assert await client.close_code() == code
    *_, closing = client.arrived
    assert (closing["type"], closing["code"], closing["reconnect"]) == ("closing", code, reconnect)


# At once, by Django's signals (the regular check comes after 24 s at the earliest)


async def test_signing_out_closes_the_connections_of_that_session_alone(service: Any) -> None:
    user = await make_user(service)
    async with (
        connect(service, session=user.session) as here,
        connect(service, session=user.other) as elsewhere,
    ):
        task_id = await own_task(here, user)
        await own_task(elsewhere, user)
        answer = await sync_to_async(request)(
            service, "POST", "/sign-out/", session=user.session, headers={"Origin": service.url}
        )
        assert answer.code == 302
        await assert_closed(here, 4501, reconnect=False)
        publish_change(task_id, "SUCCESS", owner=user.key)
        assert not [frame for frame in here.arrived if frame["type"] == "event"]
        assert await elsewhere.has_nothing()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param('user.set_password("after"); user.save()', id="another password"),
        pytest.param("user.is_active = False; user.save()", id="deactivated"),
        pytest.param(
            "user.is_active = False; user.save(update_fields=['is_active'])", id="that field alone"
        ),
        pytest.param("user.delete()", id="deleted"),
    ],
)
async def test_an_invalid_session_is_closed_whichever_process_made_the_change(
    service: Any, code: str
) -> None:
    user = await make_user(service)
    async with connect(service, session=user.session) as client:
        task_id = await own_task(client, user)
        await change(service, user, code)
        await assert_closed(client, 4501, reconnect=False)
        publish_change(task_id, "SUCCESS", owner=user.key)
        assert [frame["type"] for frame in client.arrived] == ["closing"]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param("user", "user.user_permissions.clear()", id="the permission"),
        pytest.param("group", "user.groups.clear()", id="the group"),
        pytest.param("group", "user.groups.get().user_set.clear()", id="the group, from its side"),
        pytest.param("group", "user.groups.get().permissions.clear()", id="the group's permission"),
        pytest.param("group", "user.groups.get().delete()", id="the group itself"),
        pytest.param("user", "user.is_staff = False; user.save()", id="being staff"),
    ],
)
async def test_a_withdrawn_right_ends_the_subscriptions_by_that_right_and_no_others(
    service: Any, how: str, code: str
) -> None:
    user = await make_user(service, staff=True, how=how)
    foreign = fresh_id()
    publish_change(foreign, "PENDING", owner="somebody")
    async with connect(service, session=user.session) as client:
        own = await own_task(client, user)
        for topic in (f"task:{foreign}", "user:somebody"):
            assert (await client.subscribe(topic))["type"] == "subscribed"
        await change(service, user, code)
        for topic in (f"task:{foreign}", "user:somebody"):
            frame = await client.event(topic)
            assert frame == {**FORBIDDEN, "topic": topic, "message": frame["message"]}
        publish_change(foreign, "SUCCESS", owner="somebody")
        publish_change(own, "SUCCESS", owner=user.key)
        assert (await client.event())["topic"] == f"task:{own}"
        assert await client.has_nothing()
        assert (await client.subscribe(f"task:{foreign}"))["code"] == "not_found"


async def test_other_changes_of_a_user_end_nothing(service: Any) -> None:
    user = await make_user(service, staff=True, how="user")
    foreign = fresh_id()
    publish_change(foreign, "PENDING", owner="somebody")
    async with connect(service, session=user.session) as client:
        await own_task(client, user)
        await client.subscribe(f"task:{foreign}")
        await change(service, user, "user.first_name = 'New'; user.save()")
        await change(service, user, "user.user_permissions.set(user.user_permissions.all())")
        publish_change(foreign, "SUCCESS", owner="somebody")
        assert (await client.event())["status"]["state"] == "SUCCESS"
        assert await client.has_nothing()


# By the regular check, without a signal


async def test_a_change_without_a_signal_is_found_by_the_next_check(
    service: Any, start_web: Callable[..., Any]
) -> None:
    web = await asyncio.to_thread(start_web, ACCESS_INTERVAL=0.2)
    cases = {
        "users.update(is_active=False)": (4501, False),
        "users.update(password='other')": (4501, False),
        "session.delete()": (4501, False),
        "session.update(expire_date=timezone.now())": (4002, True),
    }
    staff, *users = await make_users(service, (True, "user"), *[(False, "")] * len(cases))
    foreign = fresh_id()
    publish_change(foreign, "PENDING", owner="somebody")
    async with AsyncExitStack() as stack:
        clerk, *clients = [
            await stack.enter_async_context(connect(web, session=user.session))
            for user in (staff, *users)
        ]
        await clerk.subscribe(f"task:{foreign}")
        for client, user in zip(clients, users, strict=True):
            await own_task(client, user)
        await change_all(
            service, (staff, "users.update(is_staff=False)"), *zip(users, cases, strict=True)
        )
        for client, (code, reconnect) in zip(clients, cases.values(), strict=True):
            await assert_closed(client, code, reconnect=reconnect)
        assert (await clerk.event())["code"] == "forbidden"


# CAN_SUBSCRIBE


async def test_can_subscribe_may_allow_more_users_and_is_called_again(
    service: Any, start_web: Callable[..., Any]
) -> None:
    web = await asyncio.to_thread(
        start_web, CAN_SUBSCRIBE="tests.policies.friends", MAX_REFUSALS_PER_MINUTE=1000
    )
    user = await make_user(service)
    owned, nobodys = fresh_id(), fresh_id()
    publish_change(owned, "PENDING", owner="somebody")
    publish_change(nobodys, "PENDING")
    async with connect(web, session=user.session) as client:

        async def answers(topic: str) -> str:
            answer = await client.subscribe(topic)
            return str(answer.get("code", answer["type"]))

        async def becomes(name: str) -> None:
            await change(service, user, f"user.first_name = {name!r}; user.save()")
            # Until this process has received the message.
            async with asyncio.timeout(60):
                while await answers(f"task:{owned}") == before:
                    pass  # the client limits its own rate

        before = await answers(f"task:{owned}")
        assert before == "not_found"
        await becomes("friend")
        assert await answers(f"task:{owned}") == "subscribed"
        assert await answers(f"task:{nobodys}") == "not_found", "the function refuses it"
        assert await answers("user:somebody") == "not_found"
        assert await answers(f"task:{fresh_id()}") == "not_found", "there is no such task"

        for name in ("broken", "truthy"):
            before = "subscribed"
            await becomes(name)
            assert await answers(f"task:{owned}") == "not_found"
            withdrawn = [await client.event(f"task:{owned}")]
            assert withdrawn[0]["code"] == "forbidden"
            before = "not_found"
            await becomes("friend")
    log = web.process.log()
    assert "can_subscribe_failed" in log
    assert "the policy has failed" in log


async def test_can_subscribe_may_be_asynchronous_and_is_called_for_visitors_too(
    start_web: Callable[..., Any],
) -> None:
    service = await asyncio.to_thread(start_web, CAN_SUBSCRIBE="tests.policies.shared")
    owned, nobodys = fresh_id(), fresh_id()
    publish_change(owned, "PENDING", owner="somebody")
    publish_change(nobodys, "PENDING")
    async with connect(service) as client:
        assert (await client.subscribe(f"task:{nobodys}"))["type"] == "subscribed"
        assert (await client.subscribe(f"task:{owned}"))["code"] == "not_found"
        assert (await client.subscribe("user:me"))["code"] == "unauthorized"
    assert request(service, "GET", f"/realtime/tasks/{nobodys}/").code == 200
    answer = request(service, "POST", f"/realtime/tasks/{nobodys}/cancel/")
    assert answer.code == 404, "the function does not allow cancelling"


# Tokens


def short_token(service: Any, seconds: int, *topics: str) -> str:
    with override_settings(REALTIME={**settings.REALTIME, "TOKEN_AGE": seconds}):
        return token_for(service, *topics)


async def test_a_subscription_by_token_ends_with_its_token(service: Any) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    async with connect(service) as client:
        answer = await client.subscribe(topic, token=short_token(service, 3, topic))
        assert answer["type"] == "subscribed"
        assert await client.event(topic) == {
            "type": "unsubscribed",
            "topic": topic,
            "code": "unauthorized",
            "message": "the token is not valid any more",
        }
        publish_change(task_id, "SUCCESS")
        assert await client.has_nothing()
        assert (await client.ask("cancel", task_id=task_id))["code"] == "not_found"


async def test_renewing_a_token_in_band_loses_and_duplicates_no_event(
    service: Any,
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish_change(task_id, "PENDING")
    enough = threading.Event()
    publishing = asyncio.create_task(sync_to_async(_publish_until)(task_id, enough))
    offsets: list[int] = []
    renewals = 0
    async with connect(service) as client:
        first = await client.subscribe(topic, token=short_token(service, 4, topic))
        epoch, offset = first["epoch"], first["offset"]
        renewed_at = subscribed_at = time.monotonic()
        while True:
            if renewals >= 3 and time.monotonic() - subscribed_at > 4:
                enough.set()  # longer than the first token was valid
            elif time.monotonic() - renewed_at > 0.5:
                renewed_at, renewals = time.monotonic(), renewals + 1
                since = {"epoch": epoch, "offset": offset}
                await client.send({
                    "type": "subscribe", "id": 1000 + renewals, "topic": topic, "since": since,
                    "token": short_token(service, 60, topic),
                })  # fmt: skip
            frame = await client.next()
            if frame["type"] == "subscribed":
                assert frame["recovered"] is True
                events = frame["events"]
            else:
                assert frame["type"] == "event", frame
                events = [frame]
            for event in events:
                if event["offset"] > offset:  # the client's rule
                    assert event["offset"] - event.get("merged", 0) == offset + 1
                    offset = event["offset"]
                    offsets.append(offset)
            if events and events[-1]["status"]["state"] == "SUCCESS":
                break
    last = await publishing
    assert offsets == list(range(first["offset"] + 1, last + 1))


def _publish_until(task_id: str, enough: threading.Event) -> int:
    number = 0
    while not enough.is_set():
        number += 1
        publish_progress(task_id, number)
        time.sleep(0.005)
    return publish_change(task_id, "SUCCESS")
