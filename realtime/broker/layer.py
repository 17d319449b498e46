"""How a message must look so that the Channels layer delivers it.

The script publishes by itself, in the format of ``channels_redis.pubsub.RedisPubSubChannelLayer``:
one ``PUBLISH`` of a MessagePack map to ``{prefix}__group__{group}``. ``async_to_sync(group_send)``
says the same at the price of a thread, an event loop and a connection a call. That format is the
layer's own: it is named here and nowhere else, and a contract test sends through the script and
receives through the real layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol, cast

from channels.layers import InMemoryChannelLayer, channel_layers
from django.conf import settings as django_settings
from django.core.signals import setting_changed

from realtime.conf import conf
from realtime.core.jsontext import dumps
from realtime.core.position import Position
from realtime.core.topics import TASK

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


def make_layer() -> ChannelLayer:
    """Return a layer like the configured one, with connections of its own; in memory the one.

    Whoever has it may flush it: that would make others who share a layer deaf.
    """
    layer = get_layer()
    if isinstance(layer, InMemoryChannelLayer):
        return layer
    alias = conf().CHANNEL_LAYER
    if alias in getattr(django_settings, "CHANNEL_LAYERS", {}):
        return cast(ChannelLayer, channel_layers.make_backend(alias))
    return _new_layer()


@lru_cache(maxsize=1)
def _own_layer() -> ChannelLayer:
    return _new_layer()


def _new_layer() -> ChannelLayer:
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


def from_message(message: Mapping[str, Any]) -> Event | None:
    """Read a group message; None for one that is not an event, or not of the topic it names.

    Whoever can publish on Redis can send anything.
    """
    match message:
        case {
            "type": "realtime.event",
            "topic": str(topic),
            "epoch": str(epoch),
            "offset": int(offset),
            "task_id": str(task_id),
            "state": str(state),
            "status": str(text),
        }:
            # A status begins with its task's id: see `compose`, and `accept.lua`.
            whose = text.startswith(f'{{"task_id":{dumps(task_id)},')
            if whose and (topic == f"{TASK}:{task_id}" or not topic.startswith(f"{TASK}:")):
                return Event(topic, Position(epoch, offset), task_id, state, text)
    return None


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting == "REALTIME":
        _own_layer.cache_clear()


setting_changed.connect(_forget)
