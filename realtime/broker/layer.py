"""How a message must look so that the Channels layer delivers it.

The script publishes by itself, in the format of ``channels_redis.pubsub.RedisPubSubChannelLayer``:
one ``PUBLISH`` of a MessagePack map to ``{prefix}__group__{group}``. ``async_to_sync(group_send)``
says the same at the price of a thread, an event loop and a connection a call. That format is the
layer's own: it is named here and nowhere else, and a contract test sends through the script and
receives through the real layer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol, cast

from channels.layers import channel_layers
from django.conf import settings as django_settings
from django.core.signals import setting_changed

from realtime.conf import conf
from realtime.core.position import Position

from .base import Event

#: The ``type`` of every event's group message. A consumer that did ``group_add`` by itself
#: receives it in its method ``realtime_event(message)``.
MESSAGE_TYPE = "realtime.event"


class ChannelLayer(Protocol):
    """What the service uses of a channel layer."""

    async def new_channel(self) -> str: ...
    async def send(self, channel: str, message: dict[str, Any]) -> None: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...
    async def flush(self) -> None: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...


def get_layer() -> ChannelLayer:
    """Return the configured layer; without one, a Pub/Sub layer on ``REDIS_URL``."""
    alias = conf().CHANNEL_LAYER
    if alias in getattr(django_settings, "CHANNEL_LAYERS", {}):
        return cast(ChannelLayer, channel_layers[alias])
    return _own_layer()


@lru_cache(maxsize=1)
def _own_layer() -> ChannelLayer:
    from channels_redis.pubsub import RedisPubSubChannelLayer

    # redis-py 8 gives up an idle read after 5 s by default; a subscriber idles for hours.
    address = {"address": conf().REDIS_URL, "socket_timeout": None}
    return cast(ChannelLayer, RedisPubSubChannelLayer(hosts=[address]))


def group_prefix() -> str:
    """Return what the layer puts before a group's name on Redis."""
    configured = getattr(django_settings, "CHANNEL_LAYERS", {}).get(conf().CHANNEL_LAYER, {})
    prefix = configured.get("CONFIG", {}).get("prefix", "asgi")
    return f"{prefix}__group__"


def to_message(event: Event) -> dict[str, Any]:
    """Return an event's group message, as ``accept.lua`` packs it."""
    return {
        "type": MESSAGE_TYPE,
        "topic": event.topic,
        "epoch": event.position.epoch,
        "offset": event.position.offset,
        "task_id": event.task_id,
        "state": event.state,
        "status": event.text,
    }


def from_message(message: dict[str, Any]) -> Event | None:
    """Read a group message; None for one that is not an event."""
    try:
        if message["type"] != MESSAGE_TYPE:
            return None
        return Event(
            topic=message["topic"],
            position=Position(message["epoch"], message["offset"]),
            task_id=message["task_id"],
            state=message["state"],
            text=message["status"],
        )
    except (KeyError, TypeError):
        return None


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        _own_layer.cache_clear()


setting_changed.connect(_forget)
