"""Owners of tasks: tenants, visitors who sign in, ids that are published again, forgetting."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

import realtime
from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.middleware import OwnerMiddleware
from realtime.ownership import VISITOR_KEY, owner_of_request, owner_of_user
from realtime.store import get_store
from realtime.web.access.tokens import read_token
from realtime.web.breaker import store_breaker
from tests.client.over_http import request
from tests.client.websocket import connect
from tests.conftest import web_starter
from tests.field.test_access import SITE, Browser
from tests.publishing import fresh_id, publish_change, secret_of, token_for
from tests.until import until

NOT_FOUND = {"code": "not_found", "message": "no such task, or not for you"}


@pytest.fixture(scope="module")
def webs(service: Any) -> Iterator[Callable[[str], Any]]:
    """Web processes of the small site by OWNER function, each started when it is first used."""
    started: dict[str, Any] = {}
    with web_starter(service) as start:

        def web(owner: str) -> Any:
            if owner not in started:
                path = {"OWNER": f"tests.policies.{owner}"} if owner else {}
                started[owner] = start(django=SITE, ACCESS_INTERVAL=3600, **path)
            return started[owner]

        yield web


# Owners of users


@pytest.mark.integration
async def test_users_of_two_tenants_with_one_primary_key_see_only_their_own_tasks(
    webs: Callable[[str], Any],
) -> None:
    name = f"user-{fresh_id()}"
    browsers = [Browser(webs("owner_in_one")), Browser(webs("owner_in_two"))]
    keys = {browser.sign_in(name) for browser in browsers}
    assert len(keys) == 1, "the same primary key"
    ids = [browser.ask("POST", "/start/").json()["id"] for browser in browsers]
    for browser, mine, other in zip(browsers, ids, reversed(ids), strict=True):
        assert browser.ask("GET", "/tasks/").json() == {"ids": [mine]}
        assert browser.ask("GET", f"/realtime/tasks/{mine}/").code == 200
        assert browser.ask("GET", f"/realtime/tasks/{other}/").json()["error"] == NOT_FOUND
        assert browser.ask("POST", f"/realtime/tasks/{other}/cancel/").code == 404
        async with connect(browser.web, session=browser.session) as client:
            answer = await client.subscribe("user:me")
            assert [status["task_id"] for status in answer["snapshot"]] == [mine]
            assert (await client.subscribe(f"task:{other}"))["code"] == "not_found"
            assert (await client.subscribe(f"user:{keys.copy().pop()}"))["code"] == "not_found"


@pytest.mark.integration
@pytest.mark.parametrize("name", ["nobody", "one of team", "two of team"])
async def test_a_sign_out_closes_the_users_connections_with_any_owner_function(
    webs: Callable[[str], Any], name: str
) -> None:
    browser, colleague = Browser(webs("owner_by_name")), Browser(webs("owner_by_name"))
    browser.sign_in(name)
    colleague.sign_in("three of team")
    async with (
        connect(browser.web, session=browser.session) as client,
        connect(colleague.web, session=colleague.session) as other,
    ):
        browser.ask("POST", "/sign-out/")
        assert await client.close_code() == 4501
        assert await other.has_nothing()


def user(name: str = "alice", key: object = 7) -> Any:
    return SimpleNamespace(username=name, pk=key, is_authenticated=True)


BY_NAME = {"OWNER": "tests.policies.owner_by_name"}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("owner_by_name", "broken"),
        ("owner_by_name", "number"),
        ("owner_by_name", "empty"),
        ("owner_by_name", "long"),
        ("owner_by_name", "line"),
        ("owner_later", "alice"),
    ],
)
def test_an_owner_function_that_fails_or_returns_no_owner_means_nobody_and_is_logged(
    caplog: pytest.LogCaptureFixture, function: str, name: str
) -> None:
    with override_settings(REALTIME={"OWNER": f"tests.policies.{function}"}):
        assert owner_of_user(user(name)) == ""
    (line,) = caplog.messages
    assert f"tests.policies.{function}" in line


@pytest.mark.parametrize(
    "path", ["tests.policies.owner_later", "tests.policies.absent", "no.where"]
)
def test_a_check_reports_an_owner_function_that_cannot_work(path: str) -> None:
    with override_settings(REALTIME={"OWNER": path}):
        (found,) = [each for each in run_checks(tags=["realtime"]) if each.id == "realtime.E003"]
    assert "REALTIME['OWNER']" in found.msg


def test_an_owner_function_may_return_none_and_reserved_names_are_hashed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with override_settings(REALTIME=BY_NAME):
        assert owner_of_user(user("nobody")) == ""
        for name in ("me", "visitor-1", "sha256-1"):
            assert owner_of_user(user(name)).startswith("sha256-")
        for name in ("a:b", "a b/c", "ä#é", "x" * 255, "*{}[]'\""):
            assert owner_of_user(user(name)) == name
    assert caplog.messages == []


@pytest.mark.django_db(transaction=True)
async def test_an_owner_function_that_queries_the_database_means_nobody_on_the_event_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alice = await User.objects.acreate(username="counts")
    with override_settings(REALTIME=BY_NAME):
        assert owner_of_user(alice) == ""
    assert "SynchronousOnlyOperation" in caplog.text


def test_a_user_without_an_owner_is_no_visitor() -> None:
    session = {VISITOR_KEY: "visitor-x"}
    with override_settings(REALTIME=BY_NAME):
        request: Any = SimpleNamespace(user=user("nobody"), session=session)
        assert owner_of_request(request, create=True) == ""


# A visitor signs in


@pytest.mark.integration
async def test_a_visitors_tasks_become_the_users_at_sign_in(
    webs: Callable[[str], Any], tmp_path: Any
) -> None:
    browser, until_file = Browser(webs("")), tmp_path / "go"
    task_id = browser.ask("POST", f"/start/?hold={until_file}").json()["id"]
    ended = browser.ask("POST", "/start/").json()["id"]
    body = {"topics": ["user:me", f"task:{task_id}"]}
    answer = browser.ask("POST", "/realtime/tokens/", body=body).json()
    visitors, before = answer["token"], browser.session
    key = browser.sign_in(f"user-{fresh_id()}")
    assert browser.session != before

    with secret_of(browser.web):
        visitor = next(each.ident for each in read_token(visitors) if each.kind == "user")
    in_flight = fresh_id()
    publish_change(in_flight, "PENDING", owner=visitor)
    late = request(browser.web, "POST", "/start/", session=before)
    assert late.code == 200, "the old session has no user"
    async with connect(browser.web, session=browser.session) as client:
        answer = await client.subscribe("user:me")
        assert {status["task_id"] for status in answer["snapshot"]} == {
            task_id,
            ended,
            in_flight,
        }
        assert (await client.subscribe(f"task:{task_id}"))["type"] == "subscribed"
        refused = await client.subscribe("user:me", token=visitors)
        assert refused["code"] == "unauthorized"
        refused = await client.subscribe(f"user:{key}", token=visitors)
        assert refused["code"] == "unauthorized"
        until_file.touch()
        assert (await client.subscribe(f"user:{visitor}"))["code"] == "not_found"
        events = await client.ending(f"task:{task_id}")
        assert events[-1]["status"]["state"] == "SUCCESS"
    assert set(browser.ask("GET", "/tasks/").json()["ids"]) == {task_id, ended, in_flight}
    assert browser.ask("POST", "/realtime/tokens/", body=body).json()["refused"] == []


class Store:
    """A store in which a visitor has ``count`` tasks, and whose first calls fail."""

    def __init__(self, tasks: int, failures: int = 0) -> None:
        self.tasks, self.failures = tasks, failures
        self.calls: list[tuple[str, str]] = []

    def adopt(self, visitor: str, owner: str) -> int:
        self.calls.append((visitor, owner))
        if self.failures:
            self.failures -= 1
            raise OSError("no Redis")
        moved = min(100, self.tasks)
        self.tasks -= moved
        return moved


@pytest.fixture
def adopting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Store], Client]]:
    def client_of(store: Store) -> Client:
        monkeypatch.setattr("realtime.web.access.adoption.get_store", lambda: store)
        client = Client()
        session = client.session
        session[VISITOR_KEY] = "visitor-x"
        session.save()
        return client

    with override_settings(**SITE, ALLOWED_HOSTS=["testserver"], REALTIME={"PREFIX": "adopting"}):
        yield client_of


@pytest.mark.django_db(transaction=True)
def test_a_visitor_with_many_tasks_is_moved_page_by_page(
    adopting: Callable[[Store], Client],
) -> None:
    store = Store(250)
    client = adopting(store)
    key = client.post("/sign-in/alice/").json()["key"]
    assert store.calls == [("visitor-x", str(key))] * 4
    assert VISITOR_KEY not in client.session
    client.get("/change/")
    assert len(store.calls) == 4


@pytest.mark.django_db(transaction=True)
def test_a_sign_in_succeeds_without_redis_and_later_requests_move_the_tasks(
    adopting: Callable[[Store], Client], caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(150, failures=1)
    client = adopting(store)
    assert client.post("/sign-in/alice/").status_code == 200
    assert client.session[VISITOR_KEY] == "visitor-x"
    assert "adopt_failed" in caplog.text
    client.get("/change/")
    assert len(store.calls) == 1, "no calls for a while after a failure"
    store_breaker.reset()
    assert client.get("/change/").status_code == 200
    assert store.tasks == 0
    assert VISITOR_KEY not in client.session
    assert client.get("/change/").status_code == 200
    assert len(store.calls) == 4


@pytest.mark.django_db(transaction=True)
def test_a_store_that_does_not_answer_delays_a_sign_in_briefly(
    adopting: Callable[[Store], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    store, released = Store(1), threading.Event()
    client = adopting(store)
    adopt = store.adopt

    def stuck(visitor: str, owner: str) -> int:
        released.wait(3600)
        return adopt(visitor, owner)

    monkeypatch.setattr(store, "adopt", stuck)
    try:
        # Joining this thread would take an hour.
        assert client.post("/sign-in/alice/").status_code == 200
        assert not released.is_set()
        assert client.session[VISITOR_KEY] == "visitor-x"
    finally:
        released.set()


async def test_the_middleware_continues_an_adoption_after_an_async_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(1)
    monkeypatch.setattr("realtime.web.access.adoption.get_store", lambda: store)

    class Session(dict[str, Any]):
        accessed = True

    session = Session({VISITOR_KEY: "visitor-x", "_auth_user_id": "7"})

    async def view(_request: Any) -> str:
        return "answer"

    request_: Any = SimpleNamespace(user=user(), session=session)
    middleware: Any = OwnerMiddleware(view)  # type: ignore[arg-type]
    with override_settings(REALTIME={"PREFIX": "adopting"}):
        assert await middleware(request_) == "answer"
    assert session == {"_auth_user_id": "7"}


# An id that is published again


def publish(task_id: str, publication: str, owner: str, state: str = "PENDING") -> int:
    return get_store().accept(
        Change(task_id=task_id, state=state, owner=owner, publication=publication)
    )


@pytest.mark.integration
async def test_tokens_of_the_earlier_owner_end_when_an_id_is_published_again(
    service: Any, people: Any
) -> None:
    task_id = fresh_id()
    topic = f"task:{task_id}"
    publish(task_id, "monday", str(people.alice.key))
    publish(task_id, "monday", str(people.alice.key), "SUCCESS")
    earlier = token_for(service, topic)
    path = f"/realtime/tasks/{task_id}/"
    assert request(service, "GET", path, token=earlier).code == 200
    made = time.time()
    until(lambda: time.time() > made + 0.002)  # the clocks count milliseconds
    publish(task_id, "tuesday", str(people.bob.key))
    for method, target in (("GET", path), ("GET", f"{path}result/"), ("POST", f"{path}cancel/")):
        answer = request(service, method, target, token=earlier)
        assert answer.code in (401, 404), target
    async with connect(service) as client:
        assert (await client.subscribe(topic, token=earlier))["code"] == "unauthorized"
        assert (await client.subscribe(topic, token=token_for(service, topic)))["snapshot"]
    assert request(service, "GET", path, session=people.alice.session).code == 404
    assert request(service, "GET", path, session=people.bob.session).code == 200


@pytest.mark.integration
def test_the_next_owner_of_an_id_does_not_get_an_earlier_result(service: Any, people: Any) -> None:
    from tests.sample_tasks import echo

    result = echo.apply_async(["x" * 10_000])
    task_id = result.id
    assert until(lambda: (found := realtime.status(task_id)) and found.successful)
    publish(task_id, "tuesday", str(people.bob.key))
    path = f"/realtime/tasks/{task_id}/result/"
    assert request(service, "GET", path, session=people.bob.session).code == 404
    for state in ("STARTED", "FAILURE"):
        publish(task_id, "tuesday", str(people.bob.key), state)
        assert request(service, "GET", path, session=people.bob.session).code == 404


# Forgetting


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_forget_removes_a_task_or_all_tasks_of_a_user(clean_redis: str) -> None:
    alice = User.objects.create(username="alice")
    owner = str(alice.pk)
    for task_id in ("a", "b", "c"):
        publish_change(task_id, "SUCCESS", owner=owner)
    publish_change("other", "SUCCESS", owner="somebody")
    assert realtime.forget(task_id="a") == 1
    assert realtime.forget(task_id="a") == 0
    assert realtime.status("a") is None
    assert realtime.forget(user=alice) == 2
    assert get_store().statuses(Topic("user", owner)) == []
    assert realtime.status("other") is not None
    for wrong in ({}, {"user": alice, "task_id": "a"}):
        with pytest.raises(TypeError, match="one of"):
            realtime.forget(**wrong)  # type: ignore[arg-type]


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_the_command_forgets_by_user_name_primary_key_owner_and_task(
    clean_redis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = User.objects.create(username="alice")
    for options in (
        ["--user", "alice"],
        ["--user-id", str(alice.pk)],
        ["--owner", str(alice.pk)],
        ["--task", "one", "two"],
    ):
        for task_id in ("one", "two"):
            publish_change(task_id, "SUCCESS", owner=alice.pk)
        call_command("forget_realtime", *options)
        assert capsys.readouterr().out == "2 tasks removed\n"
        assert realtime.status("one") is None
        get_broker_emptied()
    for options in (["--user", "nobody"], ["--user-id", "x"], ["--owner", ""]):
        with pytest.raises(CommandError):
            call_command("forget_realtime", *options)


def get_broker_emptied() -> None:
    """Remove the tombstones of forgotten ids, so that tests can use the ids again."""
    import redis
    from django.conf import settings

    with redis.Redis.from_url(settings.REALTIME["REDIS_URL"]) as client:
        client.flushdb()


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_a_deleted_users_tasks_are_removed_unless_another_user_has_the_same_owner(
    clean_redis: str,
) -> None:
    from django.conf import settings

    with override_settings(REALTIME={**settings.REALTIME, **BY_NAME}):
        first = User.objects.create(username="one of team")
        second = User.objects.create(username="two of team")
        publish_change("t", "SUCCESS", owner="team")
        first.delete()
        assert realtime.status("t") is not None
        second.delete()
        assert until(lambda: realtime.status("t") is None)


@pytest.mark.django_db(transaction=True)
def test_deleting_a_user_succeeds_without_redis(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Any:
        raise OSError("no Redis")

    monkeypatch.setattr("realtime.web.forgetting.get_store", away)
    alice = User.objects.create(username="alice")
    memory = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with (
        override_settings(CHANNEL_LAYERS=memory),
        caplog.at_level(logging.WARNING, "realtime.access"),
    ):
        alice.delete()
    assert not User.objects.exists()
    assert "forget_realtime" in caplog.text
