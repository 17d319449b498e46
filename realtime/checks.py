"""System checks: a mistake in the settings is found before it is met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import current_app
from django.conf import settings as django_settings
from django.core import checks

from .conf import conf
from .exceptions import SettingsError

_PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


@checks.register("realtime")
def check_settings(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check the keys of ``REALTIME``."""
    try:
        conf()
    except SettingsError as error:
        return [checks.Error(str(error), id="realtime.E001")]
    return []


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
