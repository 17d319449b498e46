"""Tenants and projects that share one Redis never see each other's tasks; and unusual task ids."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import AsyncClient, override_settings

from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.ownership import owner_of_user
from realtime.store import get_store
from realtime.web import cancel as cancel_module
from realtime.web.access.revocation import get_access_checker
from realtime.web.access.tokens import make_token
from realtime.web.hub import get_hub
from realtime.web.paths import to_path
from tests.client.protocol import position_in
from tests.client.session import SessionClient
from tests.conftest import using_redis
from tests.field.test_store import Listener

pytestmark = pytest.mark.integration

Tenant = contextlib.AbstractContextManager[None]


def person(tenant: str) -> Any:
    """The first user of a tenant. All of them have the same primary key."""
    return SimpleNamespace(pk=1, tenant=tenant, is_authenticated=True, is_staff=False)


def with_settings(**given: Any) -> Any:
    return override_settings(REALTIME={**settings.REALTIME, **given})


def tenants_by(what: str, url: str) -> Callable[[str], Tenant]:
    """Return the settings in which the tenants "a" and "b" differ."""

    @contextlib.contextmanager
    def enter(tenant: str) -> Iterator[None]:
        if what == "database":
            whole = urlsplit(url)
            number = int(whole.path.strip("/") or 0) + (tenant == "b")
            with using_redis(urlunsplit(whole._replace(path=f"/{number}"))):
                yield
        elif what == "prefix":
            with with_settings(PREFIX=f"project-{tenant}"):
                yield
        else:
            with with_settings(OWNER="tests.policies.owner_in_tenant"):
                yield

    return enter


class Party:
    """What one tenant publishes and sees; all its texts contain its name."""

    def __init__(self, name: str, ids: list[str]) -> None:
        self.name, self.ids = name, ids
        self.owner = owner_of_user(person(name))
        self.seen: list[str] = []

    def publish(self) -> None:
        for task_id in self.ids:
            for state in ("PENDING", "STARTED", "SUCCESS"):
                get_store().accept(
                    Change(
                        task_id=task_id,
                        state=state,
                        attempt=0,
                        publication=f"{self.name} {task_id}",
                        owner=self.owner,
                        run_id="r" if state != "PENDING" else "",
                        begins=state == "STARTED",
                        fields={"name": f'"of {self.name}"', "result": f'"of {self.name}"'},
                    )
                )

    async def attack(self, others_ids: list[str], others_token: str) -> int:
        """Read all that the tenant may and may not see; return the number of requests."""
        client = await SessionClient(person(self.name)).open()
        http = AsyncClient()
        answer = await client.ask("subscribe", topic="user:me", limit=20)
        assert answer["total"] == len(self.ids)
        self.seen.append(json.dumps(answer))
        count, after = 1, answer["next"]
        while after:
            page = await client.ask("page", topic="user:me", after=after, limit=200)
            self.seen.append(json.dumps(page))
            count, after = count + 1, page["next"]
        topics = [f"user:{self.owner}", *(f"task:{task_id}" for task_id in self.ids[:3])]
        own = {"Authorization": f"Bearer {make_token(topics)[0]}"}
        foreign = {"Authorization": f"Bearer {others_token}"}
        for task_id in (*self.ids[:3], *others_ids[:3]):
            answer = await client.ask("subscribe", topic=f"task:{task_id}")
            self.seen.append(json.dumps(answer))
            # In one project a token of the other tenant grants the other tenant's topics.
            tried = [own, foreign] if task_id in self.ids else [own]
            for headers in tried:
                for path in ("", "result/"):
                    path = f"/realtime/tasks/{to_path(task_id)}/{path}"
                    found = await http.get(path, headers=headers)
                    self.seen.append(found.content.decode())
                if headers is foreign or task_id not in self.ids:
                    path = f"/realtime/tasks/{to_path(task_id)}/cancel/"
                    cancelled = await http.post(path, headers=headers)
                    assert cancelled.status_code in (401, 404)
            if task_id in self.ids:
                topic = f"task:{task_id}"
                refused = await client.ask("subscribe", topic=topic, token=others_token)
                assert refused["code"] == "unauthorized"
            count += 4 * len(tried)
        self.seen += [json.dumps(frame) for frame in client.arrived]
        await client.leave()
        return count


@pytest.mark.parametrize("what", ["prefix", "database", "owner"])
async def test_two_tenants_with_equal_primary_keys_see_nothing_of_each_other(
    clean_redis: str, amount: Callable[[int, int], int], what: str
) -> None:
    enter, count = tenants_by(what, clean_redis), amount(60, 1000)
    tenants, listeners, tokens, answers, events = [], [], {}, 0, 0
    for name in ("a", "b"):
        with enter(name):
            ids = [f"{name if what == 'owner' else 't'}{number}" for number in range(count)]
            tenants.append(Party(name, ids))
            topics = [f"user:{tenants[-1].owner}", *(f"task:{task_id}" for task_id in ids)]
            listeners.append(await Listener().join(*topics))
            tokens[name] = make_token([*topics[:100]])[0]
    for tenant in tenants:
        with enter(tenant.name):
            await sync_to_async(tenant.publish)()
    for tenant, other, listener in zip(tenants, reversed(tenants), listeners, strict=True):
        with enter(tenant.name):
            received = await listener.received()
            assert len(received) == 2 * 3 * count
            tenant.seen += [event.text for event in received]
            answers += await tenant.attack(other.ids, tokens[other.name])
            events += len(received)
            await get_access_checker().close()
            await get_hub().close()
            await get_store().close()
    for listener in listeners:
        await listener.leave()  # the tenants may share a layer
    wrong = 0
    for tenant, other in zip(tenants, reversed(tenants), strict=True):
        wrong += sum(f"of {other.name}" in text for text in tenant.seen)
        assert any(f"of {tenant.name}" in text for text in tenant.seen)
    print(f"{what}: {wrong} of {events} events and {answers} answers were the other's")
    assert wrong == 0


# Unusual ids

TRAPS = [
    "a b", '"quoted"', "it's", "back\\slash", "\\", "*", "[a-z]?", "{}", "%", "%s%d%1", "%%b()",
    "nil", "null", "None", "undefined", "0", "-1", "1e9", "😀", "\u202eabc", "\u200b", "x" * 255,
    "ż" * 255, "task:1", "user:me", "realtime:task:1", "realtime:expiry:user:7", "ends:", ":", "::",
    "~", "~AA", "..", ".", "a/b", "a/result", "?q=1#f", "%2F%00", "<script>", "$(id)", "{{ 7*7 }}",
    "a,b;c", "+", "=", "\N{NO-BREAK SPACE}", "e\u0301", "\ufeff", "place 1 1", "__proto__",
]  # fmt: skip


@pytest.mark.parametrize("store", ["redis", "memory"])
async def test_an_unusual_id_is_shown_cancelled_and_forgotten_like_any_other(
    clean_redis: str, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    asked_to_cancel: list[str] = []
    control = SimpleNamespace(revoke=lambda task_id, **_how: asked_to_cancel.append(task_id))
    monkeypatch.setattr(cancel_module, "current_app", SimpleNamespace(control=control))
    in_memory = {"STORE": "realtime.store.memory.MemoryStore", "PREFIX": "traps"}
    given = in_memory if store == "memory" else {"PREFIX": "realtime"}
    layer = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    layers = layer if store == "memory" else settings.CHANNEL_LAYERS
    limits = {
        "MAX_FRAME_BURST": 10_000,
        "MAX_REFUSALS_PER_MINUTE": 10_000,
        "MAX_SUBSCRIPTIONS": 1000,
    }
    with with_settings(**given, **limits), override_settings(CHANNEL_LAYERS=layers):
        store = get_store()
        accept = sync_to_async(store.accept, thread_sensitive=False)
        http = AsyncClient()
        client = await SessionClient().open()
        try:
            for trap in TRAPS:
                common: dict[str, Any] = {"task_id": trap, "publication": "p", "owner": trap}
                fields = {"name": json.dumps(trap), "progress": json.dumps({"message": trap})}
                await accept(Change(state="PENDING", attempt=0, **common))
                token = make_token([f"task:{trap}", f"user:{trap}"])[0]
                headers = {"Authorization": f"Bearer {token}"}
                for topic in (f"task:{trap}", f"user:{trap}"):
                    answer = await client.ask("subscribe", topic=topic, token=token)
                    assert [each["task_id"] for each in answer["snapshot"]] == [trap], answer
                run = {"run_id": "r", "fields": fields}
                await accept(Change(state="STARTED", attempt=0, begins=True, **common, **run))
                await accept(Change(state="PROGRESS", attempt=0, counter=1, **common, **run))
                for topic in (f"task:{trap}", f"user:{trap}") * 2:
                    frame = await client.first(
                        lambda frame: frame["type"] == "event" and frame["topic"] == topic  # noqa: B023
                    )
                    assert frame["status"]["task_id"] == frame["status"]["name"] == trap
                    assert frame["status"]["progress"] == {"message": trap}
                base = f"/realtime/tasks/{to_path(trap)}/"
                found = await http.get(base, headers=headers)
                assert found.json()["status"]["task_id"] == trap
                assert (await http.post(f"{base}cancel/", headers=headers)).status_code == 202
                run["fields"] = {"result": json.dumps(trap)}
                await accept(Change(state="SUCCESS", attempt=0, **common, **run))
                assert (await http.get(f"{base}result/", headers=headers)).json() == trap
                since = position_in(answer)
                again = await client.ask("subscribe", topic=topic, token=token, since=since)
                assert [each["status"]["state"] for each in again["events"]][-1] == "SUCCESS"
                path = f"/realtime/topics/{topic.partition(':')[0]}:{to_path(trap)}/"
                listed = await http.get(path, headers=headers)
                assert [each["task_id"] for each in listed.json()["snapshot"]] == [trap]
                assert await sync_to_async(store.forget, thread_sensitive=False)(trap)
                assert (await store.read(Topic("user", trap))).total == 0
                for topic in (f"task:{trap}", f"user:{trap}"):
                    await client.ask("unsubscribe", topic=topic)
                client.arrived.clear()
            assert asked_to_cancel == TRAPS
        finally:
            await client.leave()
            await get_access_checker().close()
            await get_hub().close()
            await store.close()
            await asyncio.sleep(0)


async def test_one_token_fits_all_topics_of_a_page(clean_redis: str) -> None:
    client = await SessionClient().open()
    pages = [
        [f"task:{uuid.uuid4()}" for _ in range(128)],
        ["task:" + "ż" * 255, "user:" + "😀" * 255],
    ]
    for topics in pages:
        token = make_token(topics)[0]
        for topic in (topics[0], topics[-1]):
            answer = await client.ask("subscribe", topic=topic, token=token)
            assert answer["type"] == "subscribed"
    with pytest.raises(ValueError, match="too long for one token"):
        make_token([f"task:{secrets.token_hex(127)}" for _ in range(128)])
    await client.leave()
    await get_access_checker().close()
    await get_hub().close()
    await get_store().close()
