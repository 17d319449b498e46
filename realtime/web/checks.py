"""System checks of what is served: without it a page stays empty and shows no error."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.management import get_commands
from django.utils.module_loading import import_string

from realtime.conf import conf
from realtime.exceptions import SettingsError

from .access.identity import can_sign_in

#: The apps whose `runserver` serves WSGI.
_WSGI_RUNSERVER: Final = ("django.core", "django.contrib.staticfiles")
#: The path of the client below STATIC_URL.
_CLIENT: Final = "realtime/client.js"
#: Objects of an ASGI application that are searched for consumers.
_MOST_OBJECTS: Final = 10_000
PUBSUB_LAYER: Final = "channels_redis.pubsub.RedisPubSubChannelLayer"
OWNER_MIDDLEWARE: Final = "realtime.middleware.OwnerMiddleware"
#: Commands of ``manage.py`` that serve, and the one that runs checks.
_SERVING: Final = ("check", "runserver", "serve")


@checks.register("realtime")
def check_proxies(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that visitors behind a proxy have addresses of their own."""
    try:
        trusted = conf().TRUSTED_PROXIES
    except SettingsError:
        return []
    signs = ("SECURE_PROXY_SSL_HEADER", "USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT")
    found = [key for key in signs if getattr(django_settings, key)]
    if trusted or not found:
        return []
    return [
        checks.Warning(
            f"{found[0]} means that the site is behind a proxy, and REALTIME['TRUSTED_PROXIES'] is"
            " 0: all visitors have the proxy's address and share one limit of connections.",
            hint="Set REALTIME['TRUSTED_PROXIES'] to the number of proxies in front that add to"
            " X-Forwarded-For.",
            id="realtime.W009",
        )
    ]


@checks.register("realtime")
def check_sign_in(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that sessions identify users and visitors, so that access does not need tokens."""
    if not can_sign_in():
        problem = "django.contrib.auth or the session storage is not installed"
    elif OWNER_MIDDLEWARE in django_settings.MIDDLEWARE and not _knows_users():
        problem = "no middleware in MIDDLEWARE sets request.user or request.session"
    else:
        return []
    return [
        checks.Warning(
            f"No session identifies a user: {problem}. Only tokens give access to tasks.",
            hint="Install django.contrib.auth and django.contrib.sessions with their middleware, or"
            " make tokens with realtime.make_token() and silence this check.",
            id="realtime.W014",
        )
    ]


def _knows_users() -> bool:
    from django.contrib.auth.middleware import AuthenticationMiddleware
    from django.contrib.sessions.middleware import SessionMiddleware

    for path in django_settings.MIDDLEWARE:
        with suppress(ImportError):  # Django itself reports it
            found = import_string(path)
            if not isinstance(found, type) or issubclass(
                found, AuthenticationMiddleware | SessionMiddleware
            ):
                return True  # a function may set the user too
    return False


@checks.register("realtime")
def check_serving(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that the client and the WebSocket are served."""
    # Other processes run checks too, such as workers: do not import the ASGI application there.
    if sys.argv[1:2] == [] or sys.argv[1] not in _SERVING:
        return []
    return [*_old_runserver(), *_missing_client(), *_missing_route()]


def _old_runserver() -> Iterator[checks.CheckMessage]:
    if django_settings.DEBUG and get_commands().get("runserver") in _WSGI_RUNSERVER:
        yield checks.Warning(
            "`manage.py runserver` serves no WebSockets.",
            hint="Put 'realtime' first into INSTALLED_APPS, before 'django.contrib.staticfiles'.",
            id="realtime.W006",
        )


def _missing_client() -> Iterator[checks.CheckMessage]:
    problem = remedy = ""
    if not apps.is_installed("django.contrib.staticfiles"):
        problem = "'django.contrib.staticfiles' is not in INSTALLED_APPS"
        remedy = "Add it, or serve the package's folder static/realtime at STATIC_URL yourself"
    else:
        from django.contrib.staticfiles import finders

        if finders.find(_CLIENT) is None:
            problem = f"no finder finds {_CLIENT}"
            remedy = "Add 'django.contrib.staticfiles.finders.AppDirectoriesFinder' to"
            remedy += " STATICFILES_FINDERS"
    if problem:
        yield checks.Warning(
            f"The JavaScript client is not served: {problem}.",
            hint=f"{remedy}.",
            id="realtime.W008",
        )


def _missing_route() -> Iterator[checks.CheckMessage]:
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    if not path:
        module = django_settings.ROOT_URLCONF.partition(".")[0]
        yield checks.Warning(
            "ASGI_APPLICATION is not set: `runserver` and `serve` have nothing to serve.",
            hint=f"Set ASGI_APPLICATION = '{module}.asgi.application'.",
            id="realtime.W007",
        )
        return
    try:
        application = import_string(path)
    except ImportError as error:
        yield checks.Warning(
            f"ASGI_APPLICATION: {path!r} cannot be imported: {error}.",
            hint="Name the application of the project's asgi.py.",
            id="realtime.W007",
        )
        return
    from .websocket import TaskConsumer  # only here: a worker does not need it

    consumers = set(_consumers(application))
    if not any(issubclass(each, TaskConsumer) for each in consumers):
        yield checks.Warning(
            f"{path!r} routes no WebSocket to this service.",
            hint="In asgi.py: application = realtime.routing.application(application).",
            id="realtime.W007",
        )
    alias = conf().CHANNEL_LAYER
    own = [each for each in consumers if getattr(each, "channel_layer_alias", None) == alias]
    if own and alias not in getattr(django_settings, "CHANNEL_LAYERS", {}):
        names = ", ".join(sorted(each.__name__ for each in own))
        yield checks.Warning(
            f"The project's own consumers have no channel layer: CHANNEL_LAYERS[{alias!r}] is not"
            f" set ({names}).",
            hint=f"Set CHANNEL_LAYERS = {{{alias!r}: {{'BACKEND': '{PUBSUB_LAYER}', 'CONFIG':"
            " {'hosts': [{'address': <REDIS_URL>, 'socket_timeout': None}]}}}.",
            id="realtime.W015",
        )


def _consumers(application: Any) -> Iterator[type]:
    """Yield the consumer classes that an ASGI application refers to, directly or not."""
    waiting: list[Any] = [application]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_OBJECTS:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, str | bytes | int | float | ModuleType | type):
            continue
        seen.add(id(each))
        if isinstance(found := getattr(each, "consumer_class", None), type):
            yield found
        elif isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list | tuple | set):
            waiting += each
        elif isinstance(each, partial):
            waiting += [each.func, *each.args, *each.keywords.values()]
        elif isinstance(each, FunctionType):
            # The variables of outer functions and the globals that a function uses.
            with suppress(ValueError):  # a variable without a value
                inner = inspect.getclosurevars(each)
                waiting += [*inner.nonlocals.values(), *inner.globals.values()]
        elif isinstance(each, MethodType):
            waiting += [each.__self__, each.__func__]
        else:
            waiting += getattr(each, "__dict__", {}).values()
