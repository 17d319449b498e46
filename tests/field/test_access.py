"""Sessions, sign-outs, tokens and middleware in ordinary projects."""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.core.checks import run_checks
from django.core.signing import loads
from django.test import AsyncClient, Client, override_settings
from django.urls import path as url_path

from realtime import make_token, routing
from realtime.web.access.tokens import _salt, read_token
from realtime.web.breaker import PAUSE, layer_breaker
from realtime.web.paths import from_path, to_path
from tests.client.over_http import request
from tests.client.websocket import Client as SocketClient
from tests.client.websocket import connect
from tests.conftest import web_starter
from tests.publishing import fresh_id, publish_change, secret_of, token_for
from tests.until import until

SITE = {"ROOT_URLCONF": "tests.field.site"}
MEMORY = {"STORE": "realtime.store.memory.MemoryStore"}
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(scope="module")
def webs(service: Any) -> Iterator[Callable[[str], Any]]:
    """Web processes of the small site, each started when it is first used."""
    bare = {
        **SITE,
        "ROOT_URLCONF": "tests.field.bare_site",
        "INSTALLED_APPS": ["channels", "realtime"],
        "MIDDLEWARE": ["django.middleware.csrf.CsrfViewMiddleware"],
        "TEMPLATES": [],
    }
    engines = "django.contrib.sessions.backends."
    cache = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    given: dict[str, Any] = {
        "db": {"django": SITE},
        "signed_cookies": {"django": {**SITE, "SESSION_ENGINE": f"{engines}signed_cookies"}},
        "cached_db": {"django": {**SITE, "SESSION_ENGINE": f"{engines}cached_db", "CACHES": cache}},
        "bare": {"django": bare},
    }
    started: dict[str, Any] = {}
    with web_starter(service) as start:

        def web(name: str) -> Any:
            if name not in started:
                # No regular check runs: only signals have an effect.
                started[name] = start(**given[name], ACCESS_INTERVAL=3600)
            return started[name]

        yield web


class Browser:
    """Keeps the session cookie, as a browser does."""

    def __init__(self, web: Any) -> None:
        self.web = web
        self.session = ""

    def ask(self, method: str, path: str, **more: Any) -> Any:
        answer = request(self.web, method, path, session=self.session, **more)
        lines = answer.headers.get_all("Set-Cookie") or []
        if any(line.startswith("sessionid=") for line in lines):
            self.session = answer.cookie("sessionid").strip('"')
        return answer

    def sign_in(self, name: str) -> int:
        key: int = self.ask("POST", f"/sign-in/{quote(name)}/").json()["key"]
        return key


@asynccontextmanager
async def two_sessions(web: Any) -> AsyncIterator[tuple[Browser, SocketClient, SocketClient]]:
    """Two sessions of one user: the first one's browser, and the subscribed client of each."""
    name = f"user-{fresh_id()}"
    browser, other = Browser(web), Browser(web)
    for each in (browser, other):
        each.sign_in(name)
    async with (
        connect(web, session=browser.session) as client,
        connect(web, session=other.session) as others_client,
    ):
        for each in (client, others_client):
            assert (await each.subscribe("user:me"))["type"] == "subscribed"
        yield browser, client, others_client


# Signing out (P11)


@pytest.mark.integration
@pytest.mark.parametrize("engine", ["db", "signed_cookies", "cached_db"])
@pytest.mark.parametrize("meanwhile", ["/change/", "/cycle/"])
async def test_a_sign_out_closes_at_once_after_a_view_changed_the_session(
    webs: Callable[[str], Any], engine: str, meanwhile: str
) -> None:
    browser = Browser(webs(engine))
    browser.sign_in(f"user-{fresh_id()}")
    async with connect(browser.web, session=browser.session) as client:
        assert (await client.subscribe("user:me"))["type"] == "subscribed"
        assert browser.ask("GET", meanwhile).code == 200
        assert browser.ask("POST", "/sign-out/").code == 200
        assert await client.close_code() == 4501


@pytest.mark.integration
@pytest.mark.parametrize("engine", ["db", "signed_cookies", "cached_db"])
async def test_a_changed_password_closes_other_sessions_and_reconnects_this_one(
    webs: Callable[[str], Any], engine: str
) -> None:
    """Django gives this session another key, which its open pages do not have."""
    async with two_sessions(webs(engine)) as (browser, client, other):
        assert browser.ask("POST", "/change-password/").code == 200
        assert await client.close_code() == 1012
        assert await other.close_code() == 4501
    async with connect(browser.web, session=browser.session) as client:
        assert (await client.subscribe("user:me"))["type"] == "subscribed"


@pytest.mark.integration
async def test_a_sign_out_keeps_the_users_other_sessions_open(
    webs: Callable[[str], Any],
) -> None:
    async with two_sessions(webs("signed_cookies")) as (browser, client, other):
        browser.ask("POST", "/sign-out/")
        assert await client.close_code() == 4501
        assert await other.has_nothing()


@pytest.mark.integration
@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
async def test_a_sign_out_closes_at_once_after_the_view_emptied_the_session(
    webs: Callable[[str], Any], engine: str
) -> None:
    browser = Browser(webs(engine))
    browser.sign_in(f"user-{fresh_id()}")
    async with connect(browser.web, session=browser.session) as client:
        browser.ask("POST", "/flush-and-sign-out/")
        assert await client.close_code() == 4501


@pytest.mark.integration
async def test_a_sign_in_as_another_user_closes_the_earlier_connections(
    webs: Callable[[str], Any],
) -> None:
    browser = Browser(webs("signed_cookies"))
    browser.sign_in(f"user-{fresh_id()}")
    async with connect(browser.web, session=browser.session) as client:
        assert (await client.subscribe("user:me"))["type"] == "subscribed"
        browser.sign_in(f"user-{fresh_id()}")
        assert await client.close_code() == 4501
    async with connect(browser.web, session=browser.session) as client:
        assert (await client.subscribe("user:me"))["snapshot"] == []


# Renewing tokens (P1, P18)


@pytest.mark.integration
async def test_a_visitors_session_renews_the_token_for_a_task_that_it_started(
    webs: Callable[[str], Any],
) -> None:
    browser = Browser(webs("db"))
    task_id = browser.ask("POST", "/start/").json()["id"]
    foreign = fresh_id()
    publish_change(foreign, "STARTED", owner="somebody")
    topics = [f"task:{task_id}", "user:me", f"task:{foreign}", f"task:{fresh_id()}"]
    answer = browser.ask("POST", "/realtime/tokens/", body={"topics": topics})
    assert answer.code == 201
    body = answer.json()
    assert (body["topics"], body["refused"]) == (topics[:2], topics[2:])
    assert 890 <= body["expires_in"] <= 900
    with secret_of(browser.web):
        assert {topic.kind for topic in read_token(body["token"])} == {"task", "user"}
    async with connect(browser.web) as client:
        for topic in topics[:2]:
            assert (await client.subscribe(topic, token=body["token"]))["snapshot"]
        answered = await client.subscribe(topics[2], token=body["token"])
        assert answered["code"] == "unauthorized"
    stranger = Browser(browser.web)
    answer = stranger.ask("POST", "/realtime/tokens/", body={"topics": topics[:1]})
    assert answer.code == 404


@pytest.mark.integration
def test_a_leaked_token_cannot_renew_itself(webs: Callable[[str], Any]) -> None:
    web, topic = webs("db"), f"task:{fresh_id()}"
    publish_change(topic.removeprefix("task:"), "STARTED", owner="somebody")
    token = token_for(web, topic, "user:somebody")
    for topics in ([topic], ["user:somebody"], [topic, "user:somebody"]):
        answer = request(web, "POST", "/realtime/tokens/", token=token, body={"topics": topics})
        assert answer.code in (401, 404), topics


@pytest.mark.integration
def test_a_copy_of_a_visitors_cookie_grants_nothing_after_the_sign_in(
    webs: Callable[[str], Any],
) -> None:
    browser = Browser(webs("signed_cookies"))
    task_id = browser.ask("POST", "/start/").json()["id"]
    copied = browser.session
    browser.sign_in(f"user-{fresh_id()}")
    topics = ["user:me", f"task:{task_id}"]
    answer = browser.ask("POST", "/realtime/tokens/", body={"topics": topics})
    assert answer.json()["topics"] == topics
    answer = request(
        browser.web, "POST", "/realtime/tokens/", session=copied, body={"topics": topics}
    )
    assert answer.code == 401


# Sessions begin only when needed (P19, T24)


@pytest.mark.integration
def test_a_public_page_begins_no_session_until_the_visitor_starts_a_task(
    webs: Callable[[str], Any],
) -> None:
    browser = Browser(webs("db"))
    answer = browser.ask("GET", "/")
    assert answer.body == b"[]"
    assert answer.headers.get_all("Set-Cookie") is None
    started = browser.ask("POST", "/start/").json()
    with secret_of(browser.web):
        (topic,) = read_token(started["page"].strip("[]"))
        assert topic.ident.startswith("visitor-")
        assert read_token(browser.ask("GET", "/").body.decode().strip("[]")) == {topic}


# Middleware that applies to every view (P9)

LOGIN_REQUIRED = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "realtime.middleware.OwnerMiddleware",
]


@pytest.mark.django_db(transaction=True)
async def test_login_required_middleware_skips_the_services_views(
    clean_redis: str,
) -> None:
    publish_change("t-1", "STARTED")
    token = {"Authorization": f"Bearer {make_token(['task:t-1'])[0]}"}
    with override_settings(MIDDLEWARE=LOGIN_REQUIRED, ALLOWED_HOSTS=["testserver"]):
        for client in (AsyncClient(),):
            assert (await client.get("/realtime/healthz")).status_code == 200
            assert (await client.get("/realtime/readyz")).status_code in (200, 503)
            assert (await client.get("/realtime/tasks/t-1/", headers=token)).status_code == 200
            assert (await client.get("/realtime/tasks/t-1/")).status_code == 404
            assert (await client.post("/realtime/tokens/")).status_code == 400


@pytest.mark.django_db(transaction=True)
async def test_the_services_views_work_with_atomic_requests(
    clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django refuses asynchronous views with ATOMIC_REQUESTS."""
    from django.db import connections

    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        assert (await AsyncClient().get("/realtime/healthz")).status_code == 200


# A project without users or sessions (P10)


@pytest.mark.integration
async def test_without_sessions_and_users_tokens_grant_access(webs: Callable[[str], Any]) -> None:
    web, task_id = webs("bare"), fresh_id()
    publish_change(task_id, "STARTED", owner="somebody")
    token = token_for(web, f"task:{task_id}")
    async with connect(web, session="something") as client:
        assert (await client.subscribe(f"task:{task_id}", token=token))["snapshot"]
        assert (await client.subscribe(f"task:{task_id}"))["code"] == "not_found"
        assert (await client.subscribe("user:me"))["code"] == "unauthorized"
    path = f"/realtime/tasks/{task_id}/"
    assert request(web, "GET", path, token=token).code == 200
    assert request(web, "GET", path).code == 404
    assert request(web, "POST", f"{path}cancel/", csrf=False).code == 403
    assert request(web, "POST", f"{path}cancel/").code == 404
    assert request(web, "POST", f"{path}cancel/", token=token, csrf=False).code == 202
    body = {"topics": [f"task:{task_id}"]}
    assert request(web, "POST", "/realtime/tokens/", body=body).code == 404
    assert request(web, "POST", "/realtime/tokens/", body={"topics": ["user:me"]}).code == 401


def test_a_check_reports_missing_sessions_and_users() -> None:
    with override_settings(
        INSTALLED_APPS=["channels", "realtime"], AUTH_USER_MODEL="absent.User", MIDDLEWARE=[]
    ):
        found = {message.id for message in run_checks(tags=["realtime"])}
    assert "realtime.W014" in found


# A proxy that is not trusted (P12)


@pytest.mark.integration
async def test_the_log_names_the_setting_when_all_visitors_have_the_address_of_a_proxy(
    start_web: Callable[..., Any],
) -> None:
    web = start_web(MAX_CONNECTIONS_PER_ADDRESS=1)
    forwarded = [("X-Forwarded-For", "192.0.2.7")]
    async with connect(web, headers=forwarded):
        for _ in range(2):
            async with connect(web, headers=forwarded) as refused:
                assert refused.welcome["code"] == "limit"
                assert await refused.close_code() == 1013
    assert until(lambda: web.logged("TRUSTED_PROXIES"))
    assert not web.logged("TRUSTED_PROXIES", 2), "once a minute"


# While Redis is away: case W7


@pytest.mark.django_db(transaction=True)
def test_saving_users_while_redis_is_away_costs_time_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = User.objects.create(username="alice")
    sent = []

    async def swallow(message: Any) -> None:
        sent.append(message)
        raise TimeoutError

    monkeypatch.setattr("realtime.web.access.signals._send", swallow)
    with override_settings(REALTIME=MEMORY), caplog.at_level(logging.WARNING, "realtime"):
        for _ in range(5):
            user.save()
        user_logged_out.send(sender=User, request=None, user=user)
        assert len(sent) == 1
        (line,) = [each for each in caplog.messages if "access_message_failed" in each]
        assert f"skipped_for={PAUSE:g}" in line
        layer_breaker.reset()
        user.save()
        assert len(sent) == 2
    assert not layer_breaker.is_open, "new settings start clean"


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_never_answers_costs_time_once() -> None:
    user = User.objects.create(username="alice")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        layer = {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": address, "socket_timeout": None}]},
        }
        with override_settings(REALTIME={"REDIS_URL": address}, CHANNEL_LAYERS={"default": layer}):
            user.save()
            with suppress(BlockingIOError):
                while True:
                    silent.accept()[0].close()
            for _ in range(50):
                user.save()
            with pytest.raises(BlockingIOError):
                silent.accept()


# Ids in the paths of HTTP: case T13


@pytest.mark.parametrize("task_id", ["plain-ID_7", "a/b", "..", "a b", "ä", "x/result", "~", "\0"])
def test_any_id_has_one_path_that_decodes_to_it(task_id: str) -> None:
    assert from_path(to_path(task_id)) == task_id
    assert "/" not in to_path(task_id)
    assert to_path("plain-ID_7") == "plain-ID_7"


@pytest.mark.integration
@pytest.mark.parametrize("task_id", ["a/b #1?", "..", "nächtlich: 7", "~", "x" * 255])
def test_a_task_with_any_id_is_read_and_cancelled_over_http(service: Any, task_id: str) -> None:
    task_id = f"{fresh_id()}{task_id}"[-255:]
    publish_change(task_id, "STARTED")
    token = token_for(service, f"task:{task_id}")
    path = f"/realtime/tasks/{to_path(task_id)}/"
    assert request(service, "GET", path, token=token).json()["status"]["task_id"] == task_id
    assert request(service, "POST", f"{path}cancel/", token=token).json() == {"task_id": task_id}
    publish_change(task_id, "SUCCESS", result=[1])
    assert request(service, "GET", f"{path}result/", token=token).json() == [1]


@pytest.mark.integration
def test_a_malformed_id_gets_the_same_bytes_as_an_unknown_one(service: Any) -> None:
    unknown = request(service, "GET", f"/realtime/tasks/{fresh_id()}/")
    padded = base64.urlsafe_b64encode(b"a b").decode()
    not_canonical = "~YSC"  # two bits too many
    for segment in ("~", "~!", "~====", f"~{padded}=", "~_w", not_canonical, "a/b", "%00", "~AA"):
        answer = request(service, "GET", f"/realtime/tasks/{segment}/")
        assert (answer.code, answer.body) == (404, unknown.body), segment


# The project's own sockets (W11)


async def own(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def django_application(scope: Any, receive: Any, send: Any) -> None:
    """Replaces Django."""


ROUTER = URLRouter([url_path("chat/", own)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(lambda: routing.application(django_application, websocket=ROUTER), id="given"),
        pytest.param(
            lambda: routing.application(
                ProtocolTypeRouter({"http": django_application, "websocket": ROUTER})
            ),
            id="wrapped",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/app"])
async def test_the_projects_own_sockets_are_served_beside_the_service(
    application: Callable[[], Any], prefix: str
) -> None:
    async def answer(path: str) -> str:
        headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
        scope = {"type": "websocket", "path": path, "headers": headers, "scheme": "ws"}
        socket = ApplicationCommunicator(application(), scope)  # type: ignore[no-untyped-call]
        await socket.send_input({"type": "websocket.connect"})
        answer_type: str = (await socket.receive_output())["type"]
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        return answer_type

    with override_settings(
        FORCE_SCRIPT_NAME=prefix or None,
        ALLOWED_HOSTS=["testserver"],
        REALTIME=MEMORY,
        CHANNEL_LAYERS=IN_MEMORY,
    ):
        assert await answer(f"{prefix}/chat/") == "websocket.accept"
        assert await answer(f"{prefix}/nowhere/") == "websocket.close"
        assert await answer(f"{prefix}/realtime/ws/") == "websocket.accept"


# The cost of a request that publishes no change (T24)


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_a_task_that_is_not_pushed_costs_no_session_and_no_query(
    clean_redis: str, django_assert_num_queries: Any
) -> None:
    left_out = {"REALTIME": {**settings.REALTIME, "TASKS": ["!tests.sample_tasks.*"]}}
    user, visitor = Client(), Client()
    user.force_login(User.objects.create(username="alice"))
    with override_settings(**SITE, ALLOWED_HOSTS=["testserver"], **left_out):
        for client in (user, visitor):
            with django_assert_num_queries(0):
                assert client.post("/fire/").status_code == 200
        assert not visitor.cookies
    with override_settings(**SITE, ALLOWED_HOSTS=["testserver"]):
        assert visitor.post("/fire/").status_code == 200
        assert visitor.cookies, "this task is pushed"


@pytest.mark.django_db(transaction=True)
def test_the_services_own_views_load_no_user_for_publishing(
    django_assert_num_queries: Any,
) -> None:
    client = Client()
    client.force_login(User.objects.create(username="alice"))
    with (
        override_settings(**SITE, ALLOWED_HOSTS=["testserver"]),
        django_assert_num_queries(0),
    ):
        assert client.get("/realtime/healthz").status_code == 200


# Tokens contain the time at which they were made


def test_a_token_contains_the_time_at_which_it_was_made() -> None:
    before = time.time()
    token = make_token(["task:a"])[0]
    content = loads(token, salt=_salt())
    assert before - 0.01 <= content["made"] <= time.time() + 0.01
    assert json.dumps(content)
    assert SimpleNamespace(**content).topics == ["task:a"]
