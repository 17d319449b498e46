"""System checks: a mistake in the settings is found before it is met."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings as django_settings
from django.core import checks
from django.utils.module_loading import import_string

from .conf import conf
from .exceptions import SettingsError

_PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
#: Seconds that a token, which cannot be withdrawn, should be good for at most.
_TOKEN_AGE: Final = 900


@checks.register("realtime")
def check_settings(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check the keys of ``REALTIME``."""
    try:
        settings = conf()
    except SettingsError as error:
        return [checks.Error(str(error), id="realtime.E001")]
    found: list[checks.CheckMessage] = []
    for key in ("CAN_SUBSCRIBE", "REDACT"):
        path = getattr(settings, key)
        try:
            usable = not path or callable(import_string(path))
        except ImportError:
            usable = False
        if not usable:
            problem = f"REALTIME[{key!r}]: {path!r} is not the path of a function."
            found.append(checks.Error(problem, id="realtime.E003"))
    return found


@checks.register("realtime")
def check_layer(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that the channel layer receives what the service publishes."""
    try:
        alias, broker = conf().CHANNEL_LAYER, conf().BROKER
    except SettingsError:
        return []
    layer = getattr(django_settings, "CHANNEL_LAYERS", {}).get(alias)
    if layer is None or not broker.endswith(".RedisBroker"):
        return []
    config = layer.get("CONFIG", {})
    problem = ""
    if layer["BACKEND"] != _PUBSUB:
        problem = f"must be {_PUBSUB!r}, it is {layer['BACKEND']!r}"
    elif config.get("symmetric_encryption_keys"):
        problem = "must not encrypt: the publishing script cannot"
    elif config.get("serializer_format", "msgpack") != "msgpack":
        problem = "must use the serializer format 'msgpack'"
    elif len(config.get("hosts", ())) > 1:
        problem = "must have one host, the server of REALTIME['REDIS_URL']"
    if not problem:
        return []
    remedy = "Change it, or name a layer of its own in REALTIME['CHANNEL_LAYER']."
    return [checks.Error(f"CHANNEL_LAYERS[{alias!r}] {problem}.", hint=remedy, id="realtime.E002")]


@checks.register("realtime")
def check_celery(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that what makes Celery itself safer does not contradict itself."""
    celery = current_app.conf
    found: list[checks.CheckMessage] = []
    if celery.task_reject_on_worker_lost and not celery.task_acks_late:
        found.append(
            checks.Warning(
                "Celery's task_reject_on_worker_lost has no effect without task_acks_late.",
                hint="Set both, for tasks that may run twice, or neither.",
                id="realtime.W002",
            )
        )
    visibility = celery.broker_transport_options.get("visibility_timeout")
    if visibility and celery.task_acks_late and visibility <= (celery.task_time_limit or 0):
        found.append(
            checks.Warning(
                f"Celery's visibility_timeout of {visibility} s is not above the task_time_limit"
                f" of {celery.task_time_limit} s: a task that still runs is delivered again.",
                hint="Raise broker_transport_options['visibility_timeout'].",
                id="realtime.W003",
            )
        )
    return found


@checks.register("realtime")
def check_middleware(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that tasks are stamped with their owner."""
    if "realtime.middleware.OwnerMiddleware" in django_settings.MIDDLEWARE:
        return []
    return [
        checks.Warning(
            "Tasks started by requests belong to nobody, so only staff see them.",
            hint="Add 'realtime.middleware.OwnerMiddleware' to MIDDLEWARE,"
            " after AuthenticationMiddleware.",
            id="realtime.W001",
        )
    ]


# What is only dangerous where strangers can reach it: `manage.py check --deploy`.


@checks.register("realtime", deploy=True)
def check_deployment(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check the settings that keep strangers out."""
    try:
        return list(_dangers())
    except SettingsError:
        return []


def _dangers() -> Iterator[checks.CheckMessage]:
    settings = conf()
    if django_settings.DEBUG:
        yield checks.Error(
            "DEBUG is on: pages of errors show the inside to strangers.",
            hint="Set DEBUG = False.",
            id="realtime.E010",
        )
    if "*" in django_settings.ALLOWED_HOSTS:
        yield checks.Error(
            "ALLOWED_HOSTS holds '*': a page of any host may open a WebSocket as its own.",
            hint="Name the hosts.",
            id="realtime.E011",
        )
    listed = [*settings.ALLOWED_ORIGINS, *django_settings.CSRF_TRUSTED_ORIGINS]
    for origin in listed:
        scheme, _, host = origin.partition("://")
        if scheme != "https" or not host.removeprefix("*").strip("."):
            yield checks.Error(
                f"The origin {origin!r} may open a WebSocket with a visitor's session, and is not"
                " one host or domain over https.",
                hint="Correct REALTIME['ALLOWED_ORIGINS'] and CSRF_TRUSTED_ORIGINS.",
                id="realtime.E012",
            )
    celery = current_app.conf
    for key in ("accept_content", "result_accept_content"):
        accepted = set(celery[key] or celery.accept_content)
        if accepted - {"json", "application/json"}:
            yield checks.Error(
                f"Celery's {key} takes more than JSON: who can write to the broker can run code.",
                hint=f"Set {key} = ['json'].",
                id="realtime.E013",
            )
    if settings.TOKEN_AGE > _TOKEN_AGE:
        yield checks.Warning(
            f"A token is good for {settings.TOKEN_AGE} s, and cannot be withdrawn.",
            hint=f"Set REALTIME['TOKEN_AGE'] to at most {_TOKEN_AGE}: clients can renew.",
            id="realtime.W010",
        )
    url = urlsplit(settings.REDIS_URL)
    if not url.password and not _is_local(url.scheme, url.hostname):
        yield checks.Warning(
            "Redis is on another machine and needs no password.",
            hint="Give it a user and a password (see SECURITY.md), and a private network.",
            id="realtime.W011",
        )
    for key in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"):
        if not getattr(django_settings, key):
            yield checks.Warning(
                f"{key} is off: a WebSocket without TLS would carry the session.",
                hint=f"Serve over https and set {key} = True.",
                id="realtime.W012",
            )


def _is_local(scheme: str, host: str | None) -> bool:
    if scheme == "unix" or host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
