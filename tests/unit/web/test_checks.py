"""The checks of what is served: each omission is reported with its remedy."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.core.checks import CheckMessage, run_checks
from django.test import override_settings
from django.urls import path

from realtime import routing

HERE = __name__
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
STATICFILES = "django.contrib.staticfiles"


class OwnConsumer(AsyncJsonWebsocketConsumer):
    """A project's own consumer."""


class WithoutLayer(AsyncConsumer):
    """A consumer that needs no channel layer."""

    channel_layer_alias = None  # type: ignore[assignment]


django_application = get_asgi_application()
own = path("own/", OwnConsumer.as_asgi())  # type: ignore[arg-type]
layerless = path("own/", WithoutLayer.as_asgi())  # type: ignore[arg-type]


def of(*routes: Any) -> Any:
    """An application as Channels' documentation builds it."""
    router = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter([*routes])))
    return ProtocolTypeRouter({"http": django_application, "websocket": router})


with_service = of(*routing.websocket_urlpatterns)
with_service_and_own = of(own, *routing.websocket_urlpatterns)
with_service_and_layerless = of(layerless, *routing.websocket_urlpatterns)
only_own = of(layerless)


async def by_hand(scope: Any, receive: Any, send: Any) -> None:
    await (with_service if scope["type"] == "websocket" else django_application)(
        scope, receive, send
    )


def with_closure(inner: Any) -> Callable[..., Any]:
    async def call(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return call


closed_over = with_closure(with_service)
partially = functools.partial(with_closure, with_service)


class Mounted:
    """An application as a bound method."""

    def __init__(self) -> None:
        self.routes = {"/": [with_service]}

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve."""


bound = Mounted().serve


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, CheckMessage]]:
    monkeypatch.setattr(sys, "argv", ["manage.py", "check"])

    def run(**settings: Any) -> dict[str, CheckMessage]:
        with override_settings(**settings):
            messages = run_checks(tags=["realtime"])
        assert len(messages) == len({each.id for each in messages})
        return {str(each.id): each for each in messages}

    return run


Found = Callable[..., dict[str, CheckMessage]]


def test_this_project_passes_all_checks(found: Found) -> None:
    assert found() == {}
    assert found(DEBUG=True) == {}


def test_a_runserver_without_websockets_is_reported(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    for app in ("django.core", STATICFILES):
        monkeypatch.setattr("realtime.web.checks.get_commands", lambda app=app: {"runserver": app})
        messages = found(DEBUG=True)
        assert set(messages) == {"realtime.W006"}
        assert "'realtime' first" in str(messages["realtime.W006"].hint)
        assert found(DEBUG=False) == {}, "runserver is not used without DEBUG"


@pytest.mark.parametrize("app", ["realtime", "daphne", "their.own"])
def test_a_runserver_that_serves_websockets_passes(
    found: Found, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.web.checks.get_commands", lambda: {"runserver": app})
    assert found(DEBUG=True) == {}


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_asgi_application_is_reported(found: Found, value: str | None) -> None:
    messages = found(ASGI_APPLICATION=value)
    assert set(messages) == {"realtime.W007"}
    assert "'project.asgi.application'" in str(messages["realtime.W007"].hint)


@pytest.mark.parametrize("value", ["no.such.application", f"{HERE}.nothing", "nothing"])
def test_an_asgi_application_that_cannot_be_imported_is_reported(found: Found, value: str) -> None:
    messages = found(ASGI_APPLICATION=value)
    assert set(messages) == {"realtime.W007"}
    assert value in messages["realtime.W007"].msg


@pytest.mark.parametrize("name", ["django_application", "only_own"])
def test_an_application_without_the_service_is_reported(found: Found, name: str) -> None:
    messages = found(ASGI_APPLICATION=f"{HERE}.{name}")
    assert set(messages) == {"realtime.W007"}
    assert "routes no WebSocket" in messages["realtime.W007"].msg
    assert "routing.application" in str(messages["realtime.W007"].hint)


@pytest.mark.parametrize("name", ["with_service", "by_hand", "closed_over", "partially", "bound"])
def test_the_service_is_found_however_the_project_routes_to_it(found: Found, name: str) -> None:
    assert found(ASGI_APPLICATION=f"{HERE}.{name}") == {}


def test_own_consumers_without_a_channel_layer_are_reported(found: Found) -> None:
    messages = found(ASGI_APPLICATION=f"{HERE}.with_service_and_own", CHANNEL_LAYERS={})
    assert set(messages) == {"realtime.W015"}
    assert "OwnConsumer" in messages["realtime.W015"].msg
    assert PUBSUB in str(messages["realtime.W015"].hint)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("with_service_and_own", {"default": {"BACKEND": PUBSUB}}),
        ("with_service_and_layerless", {}),
        ("with_service", {}),
    ],
)
def test_a_channel_layer_is_required_only_where_a_consumer_uses_one(
    found: Found, name: str, layers: dict[str, Any]
) -> None:
    assert found(ASGI_APPLICATION=f"{HERE}.{name}", CHANNEL_LAYERS=layers) == {}


def test_a_client_that_no_finder_finds_is_reported(found: Found) -> None:
    from django.contrib.staticfiles import finders

    finders.get_finder.cache_clear()
    try:
        messages = found(STATICFILES_DIRS=[], STATICFILES_FINDERS=[])
    finally:
        finders.get_finder.cache_clear()
    assert set(messages) == {"realtime.W008"}
    assert "AppDirectoriesFinder" in str(messages["realtime.W008"].hint)


def test_missing_static_files_are_reported(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.web.checks.apps.is_installed", lambda name: name != STATICFILES)
    messages = found()
    assert set(messages) == {"realtime.W008"}
    assert STATICFILES in messages["realtime.W008"].msg


@pytest.mark.parametrize("argv", [["celery", "-A", "mysite", "worker"], ["manage.py"], ["x", "me"]])
def test_commands_that_do_not_serve_do_not_import_the_application(
    found: Found, argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert found(ASGI_APPLICATION="no.such.application") == {}


@pytest.mark.parametrize(
    "proxy",
    [
        {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")},
        {"USE_X_FORWARDED_HOST": True},
        {"USE_X_FORWARDED_PORT": True},
    ],
)
def test_a_proxy_that_is_not_counted_is_reported(found: Found, proxy: dict[str, Any]) -> None:
    messages = found(**proxy)
    assert set(messages) == {"realtime.W009"}
    assert "REALTIME['TRUSTED_PROXIES']" in str(messages["realtime.W009"].hint)
    assert found(**proxy, REALTIME={"TRUSTED_PROXIES": 1}) == {}


@pytest.mark.parametrize(
    "after",
    [
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
    ],
)
def test_an_owner_middleware_that_comes_too_early_is_reported(found: Found, after: str) -> None:
    messages = found(MIDDLEWARE=["realtime.middleware.OwnerMiddleware", after])
    assert set(messages) == {"realtime.W001"}
    assert after.rpartition(".")[2] in messages["realtime.W001"].msg
