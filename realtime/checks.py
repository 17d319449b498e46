"""System checks: a mistake in the settings is found before it is met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
